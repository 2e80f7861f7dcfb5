//! A condition variable on top of a lock that the script may share between several.

use std::time::Instant;

use super::lock::Lock;
use super::rlock::RLock;
use crate::runtime::sync::Arc;
use crate::runtime::{
    Interrupt, Label, Monitor, Reason, Resource, Site, Until, Wait, WaitQueue, Waiter, Woken, block,
};

/// The calling thread does not hold the lock that it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwned;

/// The lock of a condition.
#[derive(Clone)]
pub enum Exclusive {
    /// A plain one. Taken by anybody counts as taken by the caller, as in CPython.
    Lock(Arc<Lock>),
    /// A reentrant one, which is freed completely for as long as the thread waits.
    RLock(Arc<RLock>),
}

impl Exclusive {
    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire(&self, wait: &Wait) -> Result<bool, Interrupt> {
        match self {
            Self::Lock(lock) => lock.acquire(wait),
            Self::RLock(lock) => lock.acquire(wait),
        }
    }

    fn is_owned(&self) -> bool {
        match self {
            Self::Lock(lock) => lock.is_locked(),
            Self::RLock(lock) => lock.is_owned(),
        }
    }

    fn release_all(&self) -> Result<usize, NotOwned> {
        match self {
            Self::Lock(lock) => lock.release().map(|()| 1).map_err(|_| NotOwned),
            Self::RLock(lock) => lock.release_all(),
        }
    }

    fn acquire_times(&self, count: usize, wait: &Wait) -> Result<bool, Interrupt> {
        match self {
            Self::Lock(lock) => lock.acquire(wait),
            Self::RLock(lock) => lock.acquire_times(count, wait),
        }
    }
}

/// A condition variable.
pub struct Condition {
    label: Label,
    lock: Exclusive,
    waiters: Monitor<WaitQueue>,
}

impl Condition {
    /// A condition on `lock`.
    pub fn new(label: Label, lock: Exclusive) -> Arc<Self> {
        Arc::new(Self { label, lock, waiters: Monitor::default() })
    }

    /// The lock.
    pub fn lock(&self) -> &Exclusive {
        &self.lock
    }

    /// Frees the lock, waits to be notified, and takes the lock again; false when the deadline came first.
    ///
    /// # Errors
    /// [`NotOwned`] without the lock. [`Interrupt`] inside; the lock is then held again, unless the program is over.
    pub fn wait(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<Result<bool, Interrupt>, NotOwned> {
        if !self.lock.is_owned() {
            return Err(NotOwned);
        }
        let waiter = Waiter::new();
        self.waiters.enter().push(&waiter);
        let count = self.lock.release_all()?;
        let reason = Reason::Resource(Arc::clone(self) as _);
        let woken = block(Until::Notified(&waiter), reason, deadline, site);
        let was_removed = self.waiters.enter().remove(&waiter);
        let notified = match woken {
            Ok(woken) => Ok(woken == Woken::Notified || !was_removed),
            Err(interrupt) => {
                if !was_removed {
                    self.waiters.enter().wake_one();
                }
                Err(interrupt)
            }
        };
        Ok(self.take_again(count, site).and(notified))
    }

    /// Takes the lock back; Ctrl-C meanwhile is reported only when the lock is held.
    fn take_again(&self, count: usize, site: Site) -> Result<(), Interrupt> {
        let mut pending = Ok(());
        loop {
            match self.lock.acquire_times(count, &Wait::forever(site)) {
                Ok(_) => return pending,
                Err(Interrupt::Stop) => return Err(Interrupt::Stop),
                Err(interrupt) => pending = Err(interrupt),
            }
        }
    }

    /// Wakes `n` of the threads that wait.
    ///
    /// # Errors
    /// [`NotOwned`] without the lock.
    pub fn notify(&self, n: usize) -> Result<(), NotOwned> {
        if !self.lock.is_owned() {
            return Err(NotOwned);
        }
        self.waiters.enter().wake(n);
        Ok(())
    }
}

impl Resource for Condition {
    fn describe(&self) -> String {
        format!("a notification of {}", self.label)
    }
}
