//! Waits for a word of memory to change: one that processes share, or one of this process's.

use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{self, WaitFlags, WaitvFlags};

use super::blocking::{Interrupt, Woken};
use super::deadlock;
use super::sleepers::Sleepers;
use super::spin::Spin;
use super::sync::{Arc, AtomicU32, Ordering};
use super::thread::{Running, Thread};
use super::tick::take_interrupt;

/// A short spin until `word` is no longer `seen`; false if it still is.
#[inline(never)]
pub(super) fn spin_on_word(word: &AtomicU32, seen: u32) -> bool {
    let mut spin = Spin::new();
    while word.load(Ordering::Acquire) == seen && spin.once() {}
    spin.paid();
    word.load(Ordering::Acquire) != seen
}

/// [`spin_on_word`], and those who change the word know of it. A change that is seen in the spin is left alone for
/// another while, in which more may come.
pub(super) fn watch_word(word: &AtomicU32, seen: u32, sleepers: &Sleepers, gathering: Duration) -> bool {
    let mut spin = Spin::new();
    let mut is_watching = false;
    while word.load(Ordering::Acquire) == seen && spin.once() {
        if !is_watching {
            sleepers.watch(Spin::LIMIT);
            is_watching = true;
        }
    }
    spin.rest(gathering);
    if is_watching {
        sleepers.watch_no_more();
    }
    spin.paid();
    word.load(Ordering::SeqCst) != seen
}

/// The longest sleep on a word that processes share.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The same where the system cannot wait for two words at once (before Linux 5.16), so that Ctrl-C has to wait.
const LOOK_OFTEN: Duration = Duration::from_millis(50);

#[inline(never)]
pub(super) fn sleep_on_word(
    running: &Running,
    word: &AtomicU32,
    seen: u32,
    deadline: Option<Instant>,
    stuck: bool,
) -> Result<Woken, Interrupt> {
    let thread = &*running.thread;
    let own = Arc::new(AtomicU32::new(0));
    thread.parker.set_word(Some(Arc::clone(&own)));
    let result = match take_interrupt(running) {
        Err(interrupt) => Err(interrupt),
        Ok(()) => {
            let woken = if stuck {
                sleep_on_word_stuck(thread, word, seen, &own)
            } else {
                wait_for_words(word, seen, Some(&own), deadline, LOOK_AGAIN)
            };
            take_interrupt(running).map(|()| woken)
        }
    };
    thread.parker.set_word(None);
    result
}

/// Sleeps on a word that, as things stand, only a thread of this process would change, and looks whether any can.
fn sleep_on_word_stuck(thread: &Thread, word: &AtomicU32, seen: u32, own: &AtomicU32) -> Woken {
    let runtime = thread.runtime();
    let mut suspicious = runtime.count_runnable(-1) == 0;
    let mut suspicion = None;
    let until = Instant::now() + LOOK_AGAIN;
    while Instant::now() < until
        && word.load(Ordering::Acquire) == seen
        && own.load(Ordering::Acquire) == 0
        && !thread.needs_attention()
    {
        suspicious = (suspicious || runtime.runnable() == 0) && deadlock::examine(runtime, &mut suspicion);
        // A wake-up that came late for a change which was seen already still used up the wish to be woken: the caller has
        // to make it known again.
        if !thread.needs_attention() && sleep_until_woken(word, seen, Some(own), None, deadlock::GRACE) {
            break;
        }
    }
    runtime.count_runnable(1);
    Woken::Notified
}

/// Sleeps while `word` is `seen` and `own` is 0, until the deadline or until it is time to look again.
pub(super) fn wait_for_words(
    word: &AtomicU32,
    seen: u32,
    own: Option<&AtomicU32>,
    deadline: Option<Instant>,
    look_again: Duration,
) -> Woken {
    sleep_until_woken(word, seen, own, deadline, look_again);
    let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if word.load(Ordering::Acquire) == seen && is_over { Woken::TimedOut } else { Woken::Notified }
}

/// As [`wait_for_words`]; was it a wake-up that ended the sleep?
fn sleep_until_woken(
    word: &AtomicU32,
    seen: u32,
    own: Option<&AtomicU32>,
    deadline: Option<Instant>,
    look_again: Duration,
) -> bool {
    let until = |longest: Duration| {
        let left = deadline.map_or(longest, |d| d.saturating_duration_since(Instant::now()).min(longest));
        Timespec::try_from(left).ok()
    };
    // SAFETY: a private word of this process and one in shared memory, both alive for as long as the call.
    let shared = WaitFlags::SIZE_U32;
    let mut waits = [futex_wait(word, seen, shared), futex_wait(word, seen, shared)];
    let count = match own {
        Some(own) => {
            waits[1] = futex_wait(own, 0, shared | WaitFlags::PRIVATE);
            2
        }
        None => 1,
    };
    let longest = until(look_again).map(|left| monotonic_now() + left);
    let slept = futex::waitv(&waits[..count], WaitvFlags::empty(), longest.as_ref(), ClockId::Monotonic);
    if slept == Err(Errno::NOSYS) {
        return futex::wait(word, futex::Flags::empty(), seen, until(LOOK_OFTEN).as_ref()).is_ok();
    }
    slept.is_ok()
}

fn monotonic_now() -> Timespec {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)
}

fn futex_wait(word: &AtomicU32, value: u32, flags: WaitFlags) -> futex::Wait {
    let mut wait = futex::Wait::new();
    wait.val = u64::from(value);
    wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
    wait.flags = flags;
    wait
}

/// Wakes up to `waiters` threads, of any process, that wait for `word` to change; returns how many there were.
pub fn wake_word(word: &AtomicU32, waiters: u32) -> usize {
    // It fails for addresses that are no words only.
    futex::wake(word, futex::Flags::empty(), waiters.min(i32::MAX as u32)).unwrap_or(0)
}
