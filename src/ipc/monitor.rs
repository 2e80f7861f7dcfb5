//! A state that several processes share, and waiting for it to change.
//!
//! The counterpart of [`crate::runtime::Monitor`] in shared memory: a [`Guard`] around the state, and one futex
//! word that counts changes. Who cannot have what he wants reads the word under the guard and sleeps while it
//! keeps that value; who changes the state counts it up and wakes. A waiter that is killed may take a wake-up
//! with it; therefore nobody sleeps for more than half a second without looking again.

use std::cell::UnsafeCell;
use std::time::Instant;

use crate::runtime::sync::{AtomicU32, Ordering};
use crate::runtime::{Interrupt, Reason, Until, Wait, Woken, block_since, wake_word};

use super::guard::Guard;
use super::shared::Zeroed;

/// A state in shared memory with those who wait for it to change. All zero is `S` all zero and nobody waiting.
#[repr(C)]
pub struct Monitor<S> {
    guard: Guard,
    changes: AtomicU32,
    /// How many may be asleep; too many if one was killed, which costs a system call now and then.
    waiting: AtomicU32,
    state: UnsafeCell<S>,
}

// SAFETY: the state is reached only under the guard.
unsafe impl<S: Send> Sync for Monitor<S> {}

// SAFETY: zero is a free guard, no waiters, and a valid `S`.
unsafe impl<S: Zeroed + Send> Zeroed for Monitor<S> {
    const KIND: u32 = S::KIND;
}

/// What came of looking at the state.
pub enum Attempt<R> {
    /// It was as wanted.
    Done(R),
    /// It was not: wait for a change.
    Wait,
}

impl<S> Monitor<S> {
    /// Looks at the state or changes it. `f` is told whether the process that was inside before was killed there,
    /// so that the state may be half changed; it must not block.
    pub fn enter<R>(&self, f: impl FnOnce(&mut S, bool) -> R) -> R {
        let held = self.guard.lock();
        // SAFETY: the guard is held, and `f` cannot come here again without a deadlock of its own making.
        f(unsafe { &mut *self.state.get() }, held.is_recovered())
    }

    /// As [`Monitor::enter`], and wakes up to `waiters` of those who wait for a change.
    pub fn change<R>(&self, waiters: u32, f: impl FnOnce(&mut S, bool) -> R) -> R {
        self.change_if(|state, recovered| (waiters, f(state, recovered)))
    }

    /// As [`Monitor::change`], where `f` says how many waiters the change is for: none if it changed nothing that
    /// anybody waits for.
    pub fn change_if<R>(&self, f: impl FnOnce(&mut S, bool) -> (u32, R)) -> R {
        let (waiters, result) = self.enter(|state, recovered| {
            let (waiters, result) = f(state, recovered);
            if waiters > 0 {
                self.changes.fetch_add(1, Ordering::Release);
            }
            (waiters, result)
        });
        if waiters > 0 && self.waiting.load(Ordering::SeqCst) > 0 {
            wake_word(&self.changes, waiters);
        }
        result
    }

    /// Tries `attempt` until it is done, sleeping in between; nothing when the deadline passed or there was to
    /// be no waiting.
    ///
    /// # Errors
    /// [`Interrupt`], and then the attempt has not succeeded.
    pub fn wait_until<R>(
        &self,
        wait: &Wait,
        reason: impl Fn() -> Reason,
        mut attempt: impl FnMut(&mut S, bool) -> Attempt<R>,
    ) -> Result<Option<R>, Interrupt> {
        if wait.try_only {
            return Ok(self.enter(|state, recovered| match attempt(state, recovered) {
                Attempt::Done(result) => Some(result),
                Attempt::Wait => None,
            }));
        }
        let mut look = |registered: bool| {
            self.enter(|state, recovered| match attempt(state, recovered) {
                Attempt::Done(result) => Ok(result),
                Attempt::Wait => {
                    if !registered {
                        self.waiting.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(self.changes.load(Ordering::Relaxed))
                }
            })
        };
        let mut seen = match look(false) {
            Ok(result) => return Ok(Some(result)),
            Err(seen) => seen,
        };
        let since = Instant::now();
        let result = loop {
            let until = Until::Changed { word: &self.changes, seen };
            let woken = match block_since(until, reason(), wait.deadline, wait.site, since) {
                Ok(woken) => woken,
                Err(interrupt) => {
                    // It may have come together with a wake-up: pass that on.
                    wake_word(&self.changes, 1);
                    break Err(interrupt);
                }
            };
            match look(true) {
                Ok(result) => break Ok(Some(result)),
                Err(_) if woken == Woken::TimedOut => break Ok(None),
                Err(now) => seen = now,
            }
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }
}
