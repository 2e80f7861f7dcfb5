//! A state that several processes share, and waiting for it to change.
//!
//! The counterpart of [`crate::runtime::Monitor`] in shared memory: a [`Guard`] around the state, and one futex
//! word that counts changes. Who cannot have what he wants reads the word under the guard and sleeps while it
//! keeps that value; who changes the state counts it up and wakes. A waiter that is killed may take a wake-up
//! with it; therefore nobody sleeps for more than half a second without looking again.

use std::cell::UnsafeCell;
use std::time::{Duration, Instant};

use crate::runtime::sync::{AtomicU32, Ordering};
use crate::runtime::{Interrupt, Reason, Sleepers, Until, Wait, Woken, block_since};

use super::guard::Guard;
use super::shared::Zeroed;

/// A state in shared memory with those who wait for it to change. All zero is `S` all zero and nobody waiting.
#[repr(C)]
pub struct Monitor<S> {
    guard: Guard,
    changes: AtomicU32,
    /// Those who sleep until it changes.
    sleepers: Sleepers,
    state: UnsafeCell<S>,
}

// SAFETY: the state is reached only under the guard.
unsafe impl<S: Send> Sync for Monitor<S> {}

// SAFETY: zero is a free guard, no waiters, and a valid `S`.
unsafe impl<S: Zeroed + Send> Zeroed for Monitor<S> {
    const KIND: u32 = S::KIND;
}

/// Whom a change of the state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Nobody waits for it.
    Nobody,
    /// One waiter can have it.
    One,
    /// All waiters have to see it.
    All,
}

/// What came of looking at the state.
pub enum Attempt<R> {
    /// It was as wanted.
    Done(R),
    /// It was as wanted, and there is as much for another one who may be asleep.
    DoneWithMore(R),
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

    /// As [`Monitor::enter`], and wakes those who wait for the change.
    pub fn change<R>(&self, whom: Wake, f: impl FnOnce(&mut S, bool) -> R) -> R {
        self.change_if(|state, recovered| (whom, f(state, recovered)))
    }

    /// As [`Monitor::change`], where `f` says whom the change is for.
    pub fn change_if<R>(&self, f: impl FnOnce(&mut S, bool) -> (Wake, R)) -> R {
        let (whom, result) = self.enter(|state, recovered| {
            let (whom, result) = f(state, recovered);
            if whom != Wake::Nobody {
                self.changes.fetch_add(1, Ordering::SeqCst);
            }
            (whom, result)
        });
        match whom {
            Wake::Nobody => {}
            Wake::One => self.sleepers.wake_one(&self.changes),
            Wake::All => self.sleepers.wake_all(&self.changes),
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
        let mut look = || {
            self.enter(|state, recovered| match attempt(state, recovered) {
                Attempt::Done(result) => Ok((result, false)),
                Attempt::DoneWithMore(result) => Ok((result, true)),
                Attempt::Wait => Err(self.changes.load(Ordering::Relaxed)),
            })
        };
        let mut seen = match look() {
            Ok((result, _)) => return Ok(Some(result)),
            Err(_) if wait.try_only => return Ok(None),
            Err(seen) => seen,
        };
        let since = Instant::now();
        loop {
            let until = Until::Passed {
                word: &self.changes,
                seen,
                sleepers: &self.sleepers,
                gathering: Duration::ZERO,
            };
            let woken = match block_since(until, reason(), wait.deadline, wait.site, since) {
                Ok(woken) => woken,
                Err(interrupt) => {
                    // It may have come together with a wake-up: pass that on.
                    self.sleepers.wake_one(&self.changes);
                    return Err(interrupt);
                }
            };
            match look() {
                Ok((result, more)) => {
                    if more {
                        self.sleepers.wake_one(&self.changes);
                    }
                    return Ok(Some(result));
                }
                Err(_) if woken == Woken::TimedOut => return Ok(None),
                Err(now) => seen = now,
            }
        }
    }
}
