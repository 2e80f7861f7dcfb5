//! A state behind a mutex, and threads that wait for it to change: what every primitive is made of.
//!
//! A [`Monitor`] is a mutex around the primitive's state. A thread that cannot have what it wants joins one of
//! the [`WaitQueue`]s *in* that state and blocks; whoever changes the state wakes as many as can now succeed.
//! A woken thread tries again: nothing is handed over, so a running thread may get in first, as in CPython. It
//! then waits at the head of the queue, not at its end.

use std::collections::VecDeque;
use std::time::Instant;

use super::blocking::{Interrupt, Reason, Until, Woken, block};
use super::site::Site;
use super::sync::{Arc, Mutex, MutexGuard};
use super::waiter::Waiter;

/// Threads that wait for one condition, the longest-waiting first.
#[derive(Default)]
pub struct WaitQueue {
    waiters: VecDeque<Arc<Waiter>>,
}

impl WaitQueue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Adds a waiter at the end.
    pub fn push(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.push_back(Arc::clone(waiter));
    }

    fn push_front(&mut self, waiter: &Arc<Waiter>) {
        self.waiters.push_front(Arc::clone(waiter));
    }

    /// Those who wait.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Waiter>> {
        self.waiters.iter()
    }

    /// Takes them all out without waking them.
    pub fn take(&mut self) -> Vec<Arc<Waiter>> {
        self.waiters.drain(..).collect()
    }

    /// Takes a waiter out; false if it was woken before.
    pub fn remove(&mut self, waiter: &Arc<Waiter>) -> bool {
        let position = self.waiters.iter().position(|w| Arc::ptr_eq(w, waiter));
        position.map(|at| self.waiters.remove(at)).is_some()
    }

    /// Wakes the first `n` waiters; returns how many there were.
    pub fn wake(&mut self, n: usize) -> usize {
        let n = n.min(self.waiters.len());
        self.waiters.drain(..n).for_each(|waiter| waiter.wake());
        n
    }

    /// Wakes the first waiter, if there is one.
    pub fn wake_one(&mut self) {
        if let Some(waiter) = self.waiters.pop_front() {
            waiter.wake();
        }
    }

    /// Wakes them all, those who sleep as soon as the caller sees to it: see [`super::wakeups`].
    pub(super) fn wake_all_later(&mut self) {
        self.waiters.drain(..).for_each(|waiter| waiter.wake_later());
    }

    /// Wakes them all.
    pub fn wake_all(&mut self) {
        self.wake(usize::MAX);
    }
}

/// How long a wait may last, and what reports say of it.
#[derive(Clone, Debug)]
pub struct Wait {
    /// When to give up; never if `None`.
    pub deadline: Option<Instant>,
    /// Give up at once instead of waiting.
    pub try_only: bool,
    /// The script line that waits.
    pub site: Site,
}

impl Wait {
    /// A wait without end.
    pub fn forever(site: Site) -> Self {
        Self { deadline: None, try_only: false, site }
    }
}

/// A state that threads wait on.
#[derive(Default)]
pub struct Monitor<S> {
    state: Mutex<S>,
}

impl<S> Monitor<S> {
    /// A monitor around `state`.
    pub fn new(state: S) -> Self {
        Self { state: Mutex::new(state) }
    }

    /// Looks at the state or changes it. Never blocks for long: no holder of this mutex waits for anything.
    pub fn enter(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }

    /// Tries `attempt` until it yields something, and waits in `queue` in between.
    ///
    /// Returns nothing when the deadline passed or when there was to be no waiting.
    ///
    /// # Errors
    /// [`Interrupt`], and then the attempt has not succeeded.
    pub fn wait_until<R>(
        &self,
        wait: &Wait,
        reason: impl Fn() -> Reason,
        queue: impl Fn(&mut S) -> &mut WaitQueue,
        mut attempt: impl FnMut(&mut S) -> Option<R>,
    ) -> Result<Option<R>, Interrupt> {
        let mut state = self.state.lock();
        if let Some(result) = attempt(&mut state) {
            return Ok(Some(result));
        }
        if wait.try_only {
            return Ok(None);
        }
        let waiter = Waiter::new();
        queue(&mut state).push(&waiter);
        loop {
            drop(state);
            let woken = block(Until::Notified(&waiter), reason(), wait.deadline, wait.site);
            state = self.state.lock();
            // A wake-up that comes together with the end of the wait must not be lost: pass it on.
            let was_woken = !queue(&mut state).remove(&waiter);
            match woken {
                Err(interrupt) => {
                    if was_woken {
                        queue(&mut state).wake_one();
                    }
                    return Err(interrupt);
                }
                Ok(woken) => {
                    if let Some(result) = attempt(&mut state) {
                        return Ok(Some(result));
                    }
                    if woken == Woken::TimedOut {
                        return Ok(None);
                    }
                }
            }
            waiter.reset();
            queue(&mut state).push_front(&waiter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::primitives::Lock;
    use crate::runtime::sync::{AtomicU64, Ordering};
    use crate::runtime::{GilMode, Label, OnDeadlock, Runtime, Thread};
    use std::time::Duration;

    /// Timeouts and releases at the same moment, many times: a wake-up that comes together with the end of a
    /// wait must reach the next waiter, or somebody sleeps for ever.
    #[test]
    fn a_wake_up_is_never_lost() {
        for mode in GilMode::ALL {
            let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
            let taken = Arc::new(AtomicU64::new(0));
            runtime.run_main(|| {
                let lock = Lock::new(Label::default());
                let threads: Vec<_> = (0..6_u32)
                    .map(|me| {
                        let thread = Thread::new(&runtime, "worker", false);
                        let (lock, taken) = (Arc::clone(&lock), Arc::clone(&taken));
                        let body = move || {
                            for round in 0..200_u32 {
                                let deadline = (me % 2 == 0).then(|| {
                                    Instant::now() + Duration::from_micros(u64::from(round * 7 % 50))
                                });
                                let wait = Wait { deadline, try_only: false, site: Site::default() };
                                if lock.acquire(&wait).unwrap() {
                                    taken.fetch_add(1, Ordering::Relaxed);
                                    lock.release().unwrap();
                                }
                            }
                        };
                        runtime.start(&thread, body, Site::default()).unwrap().unwrap();
                        thread
                    })
                    .collect();
                for thread in threads {
                    assert!(runtime.join(&thread, &Wait::forever(Site::default())).unwrap());
                }
                assert!(!lock.is_locked());
            });
            assert!(taken.load(Ordering::Relaxed) >= 600, "those without a deadline all succeed");
            assert_eq!(runtime.take_deadlock(), None);
        }
    }
}
