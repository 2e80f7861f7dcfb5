//! The two ends of a wait: the [`Waiter`] that whoever ends it knows, and the [`Parker`] on which the thread sleeps.

use std::os::fd::OwnedFd;

use super::sync::{Arc, AtomicU8, AtomicU32, Condvar, Mutex, Ordering};
use super::thread::Thread;
use super::wakeups::{self, PutOff};
use super::words::wake_word;

const IDLE: u8 = 0;
/// Counted among the threads that only another thread can free.
const STUCK: u8 = 1;
const NOTIFIED: u8 = 2;

/// One wait of one thread, as those who can end it see it.
pub struct Waiter {
    thread: Option<Arc<Thread>>,
    state: AtomicU8,
    /// Used only where no script thread waits: by an embedder's thread.
    pub(super) parker: Parker,
}

impl Waiter {
    /// A wait of the calling thread that has not begun.
    #[inline(never)]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { thread: super::current(), state: AtomicU8::new(IDLE), parker: Parker::default() })
    }

    /// Makes the waiter ready for another wait.
    pub fn reset(&self) {
        self.state.store(IDLE, Ordering::Release);
    }

    /// Was [`Waiter::wake`] called since the last reset?
    pub fn is_notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Ends the wait, or lets the next one of this waiter end at once.
    pub fn wake(&self) {
        self.end().unpark();
    }

    /// [`Waiter::wake`], but a thread that sleeps is woken only when the caller, who may have the lock that it needs
    /// next, sees to that: see [`wakeups`].
    pub(super) fn wake_later(&self) {
        let parker = self.end();
        let state = parker.lock.lock();
        if state.polling.is_some() || state.on_word.is_some() {
            drop(state);
            parker.unpark();
        } else if let Some(wakeup) = parker.wake.announce() {
            wakeups::put_off(PutOff::Sleeper(wakeup));
        }
    }

    /// Notes that the wait is over; returns where its thread may still sleep.
    fn end(&self) -> &Parker {
        let before = self.state.swap(NOTIFIED, Ordering::AcqRel);
        match &self.thread {
            Some(thread) => {
                if before == STUCK {
                    thread.runtime().count_runnable(1);
                }
                &thread.parker
            }
            None => &self.parker,
        }
    }

    /// Counts the thread as stuck; false if the waiter was notified meanwhile.
    pub(super) fn enter_stuck(&self) -> bool {
        self.state.compare_exchange(IDLE, STUCK, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The wait ended without a notification: takes the thread out of the stuck ones.
    pub(super) fn leave_stuck(&self, thread: &Thread) {
        if self.state.compare_exchange(STUCK, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            thread.runtime().count_runnable(1);
        }
    }
}

/// Where one thread sleeps.
#[derive(Default)]
pub(super) struct Parker {
    pub(super) lock: Mutex<ParkState>,
    pub(super) wake: Condvar,
}

#[derive(Default)]
pub(super) struct ParkState {
    /// Set while the thread sleeps in poll(2) instead of on the condition variable.
    pub(super) polling: Option<Arc<OwnedFd>>,
    /// Set while the thread sleeps in futex_waitv(2): counted up by whoever wakes it.
    on_word: Option<Arc<AtomicU32>>,
    /// The deadlock detector wants the thread to look round.
    pub(super) recheck: bool,
}

impl Parker {
    /// The word on which the thread is about to sleep in futex_waitv(2), or nothing when it no longer does.
    pub(super) fn set_word(&self, word: Option<Arc<AtomicU32>>) {
        self.lock.lock().on_word = word;
    }

    /// Makes the thread look at its wake-up conditions again.
    pub(super) fn unpark(&self) {
        let state = self.lock.lock();
        if let Some(event) = &state.polling {
            // An eventfd write of 1 fails only when its counter is full, and then it is readable already.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
        if let Some(word) = &state.on_word {
            word.fetch_add(1, Ordering::Release);
            wake_word(word, 1);
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Makes the thread check for a deadlock from where it sleeps.
    pub(super) fn recheck(&self) {
        self.lock.lock().recheck = true;
        self.wake.notify_all();
    }
}
