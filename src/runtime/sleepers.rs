//! Those who sleep on a word in memory that processes share, so that nobody is woken in vain.
//!
//! Who goes to sleep says so here, and who changes the word wakes one sleeper only if somebody said so since the
//! last wake-up. A sleeper that leaves says it again for the others, and then looks whether there is something
//! for them as well: so wake-ups pass from one to the next, each is one system call, and a change that nobody
//! waits for makes none.
//!
//! Who spins before it would sleep says that, too, and until when: it sees a change without being woken, and then
//! looks whether there is something for the sleepers as well. A killed one is believed for those few microseconds.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::words::wake_word;

/// Who sleeps on a word. All zero is nobody.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Sleepers {
    /// How many there are; too many if one was killed in its sleep, which costs a system call for each change.
    count: AtomicU32,
    /// 1 if one of them wants to be woken and nobody has done so yet.
    wanted: AtomicU32,
    /// Until when somebody looks at the word all the time, by the system's clock in nanoseconds.
    watched_until: AtomicU64,
}

/// The time on a clock that all processes share, in nanoseconds.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Sleepers {
    /// Does nobody sleep?
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Does somebody sleep whom nobody has woken yet? To be asked after a sequentially consistent store to the word.
    pub fn want_waking(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) != 0
    }

    /// The caller looks at the word all the time, for so long at most. What it finds it takes, and then calls
    /// [`Sleepers::wake_one`] if there is more.
    pub(super) fn watch(&self, time: Duration) {
        self.watched_until.store(now() + time.as_nanos() as u64, Ordering::SeqCst);
    }

    /// The caller will look at the word once more, and no longer all the time.
    pub(super) fn watch_no_more(&self) {
        self.watched_until.store(0, Ordering::SeqCst);
    }

    /// Does somebody see a change at once?
    fn is_watched(&self) -> bool {
        let until = self.watched_until.load(Ordering::SeqCst);
        until != 0 && now() < until
    }

    /// The caller is about to sleep. It must look at the word once more afterwards, as futex(2) does.
    pub(super) fn enter(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wanted.store(1, Ordering::SeqCst);
    }

    /// The caller sleeps no longer. What it finds it takes, and then calls [`Sleepers::wake_one`] if there is
    /// more.
    pub(super) fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::Relaxed) > 1 {
            self.wanted.store(1, Ordering::SeqCst);
        }
    }

    /// Wakes one of those who sleep on `word`, which the caller has changed by a sequentially consistent store, unless
    /// somebody sees it without being woken.
    pub fn wake_one(&self, word: &AtomicU32) {
        loop {
            let change = word.load(Ordering::SeqCst);
            if self.wanted.load(Ordering::SeqCst) == 0
                || self.is_watched()
                || self.wanted.swap(0, Ordering::SeqCst) == 0
                || wake_word(word, 1) > 0
                || self.is_empty()
            {
                return;
            }
            // Whoever wants it is about to sleep. He has seen this change, but may not see the next one, and whoever
            // makes that must know of him: also one who has looked while this said that nobody wants to be woken.
            self.wanted.store(1, Ordering::SeqCst);
            if word.load(Ordering::SeqCst) == change {
                return;
            }
        }
    }

    /// Wakes all who sleep on `word`, which the caller has changed by a sequentially consistent store: also when one
    /// was woken and not seen since, who may have been killed, so that the others would wait for him to say that
    /// they want to be woken.
    pub fn wake_all(&self, word: &AtomicU32) {
        let wanted = self.wanted.load(Ordering::SeqCst) != 0 && self.wanted.swap(0, Ordering::SeqCst) != 0;
        if wanted || !self.is_empty() {
            wake_word(word, u32::MAX);
        }
    }
}
