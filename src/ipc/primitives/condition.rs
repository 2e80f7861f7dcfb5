//! A condition variable between processes, on top of a lock that they share.

use std::io;
use std::time::Instant;

use super::lock::Lock;
use super::rlock::RLock;
use crate::ipc::arena::Offset;
use crate::ipc::waiters::{Ticket, Waiters};
use crate::ipc::{Monitor, Shared, Zeroed};
use crate::runtime::primitives::NotOwned;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Reason, Resource, Site, Wait};

/// What a waiter is told.
const NOTIFIED: u32 = 1;

/// Those who wait at one, in shared memory.
#[repr(C)]
pub struct Queue {
    waiters: Monitor<Waiters>,
}

// SAFETY: all zero is an empty list; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for Queue {
    const KIND: u32 = u32::from_be_bytes(*b"Cond");

    fn release(&self) {
        self.waiters.enter(|waiters, _| waiters.release());
    }
}

/// The lock of a condition.
#[derive(Clone)]
pub enum Exclusive {
    /// A plain one.
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
        self.acquire_times(1, wait)
    }

    fn acquire_times(&self, count: u32, wait: &Wait) -> Result<bool, Interrupt> {
        match self {
            Self::Lock(lock) => lock.acquire(wait),
            Self::RLock(lock) => lock.acquire_times(count, wait),
        }
    }

    fn release_all(&self) -> Result<u32, NotOwned> {
        match self {
            Self::Lock(lock) => lock.release().map(|()| 1).map_err(|_| NotOwned),
            Self::RLock(lock) => lock.release_all(),
        }
    }
}

/// A condition variable in shared memory. The callers check that the lock is held as their rules want it.
pub struct Condition {
    label: Label,
    lock: Exclusive,
    queue: Shared<Queue>,
}

impl Condition {
    /// A condition on `lock`.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label, lock: Exclusive) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { label, lock, queue: Shared::new()? }))
    }

    /// The condition on `lock` whose queue this is, as another process sent them.
    pub fn of(label: Label, lock: Exclusive, queue: Shared<Queue>) -> Arc<Self> {
        Arc::new(Self { label, lock, queue })
    }

    /// The queue of those who wait, to be sent to another process together with the lock.
    pub fn queue(&self) -> &Shared<Queue> {
        &self.queue
    }

    /// What tells the condition from others, in every process.
    pub fn place(&self) -> Offset {
        self.queue.place()
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The lock.
    pub fn lock(&self) -> &Exclusive {
        &self.lock
    }

    fn enter<R>(&self, f: impl FnOnce(&Waiters) -> R) -> R {
        self.queue.waiters.enter(|waiters, recovered| {
            if recovered {
                waiters.repair();
            }
            f(waiters)
        })
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.enter(Waiters::count)
    }

    /// Frees the lock, waits to be notified, and takes the lock again; false when the deadline came first.
    ///
    /// # Errors
    /// [`NotOwned`] without the lock; the system's when shared memory is used up. [`Interrupt`] inside; the lock
    /// is then held again, unless the program is over.
    pub fn wait(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<Result<bool, Interrupt>, WaitError> {
        let ticket = Ticket::new()?;
        self.enter(|waiters| waiters.push(&ticket));
        let count = match self.lock.release_all() {
            Ok(count) => count,
            Err(error) => {
                self.enter(|waiters| waiters.remove(&ticket));
                return Err(error.into());
            }
        };
        let notified = self.wait_for_notification(&ticket, &Wait { deadline, try_only: false, site });
        Ok(self.take_again(count, site).and(notified))
    }

    fn wait_for_notification(self: &Arc<Self>, ticket: &Ticket, wait: &Wait) -> Result<bool, Interrupt> {
        let told = ticket.wait(wait, || Reason::Resource(Arc::clone(self) as _), || false);
        let was_notified = self.enter(|waiters| waiters.remove(ticket)) == NOTIFIED;
        match told {
            Err(interrupt) => {
                if was_notified {
                    self.notify(1);
                }
                Err(interrupt)
            }
            Ok(_) => Ok(was_notified),
        }
    }

    /// Takes the lock back; Ctrl-C meanwhile is reported only when the lock is held.
    fn take_again(&self, count: u32, site: Site) -> Result<(), Interrupt> {
        let mut pending = Ok(());
        loop {
            match self.lock.acquire_times(count, &Wait::forever(site)) {
                Ok(_) => return pending,
                Err(Interrupt::Stop) => return Err(Interrupt::Stop),
                Err(interrupt) => pending = Err(interrupt),
            }
        }
    }

    /// Wakes up to `n` of those who wait, the longest-waiting first.
    pub fn notify(&self, n: usize) {
        self.enter(|waiters| waiters.tell(NOTIFIED, n));
    }
}

/// Why a wait at a condition did not begin.
#[derive(Debug)]
pub enum WaitError {
    /// The lock is not held.
    NotOwned,
    /// There is no more shared memory.
    Memory(io::Error),
}

impl From<NotOwned> for WaitError {
    fn from(_: NotOwned) -> Self {
        Self::NotOwned
    }
}

impl From<io::Error> for WaitError {
    fn from(error: io::Error) -> Self {
        Self::Memory(error)
    }
}

impl Resource for Condition {
    fn describe(&self) -> String {
        format!("a notification of {}", self.label)
    }

    fn is_shared(&self) -> bool {
        !self.queue.is_private()
    }
}
