//! A condition variable between processes, on top of a lock that they share.

use std::io;
use std::time::Instant;

use super::lock::Lock;
use super::rlock::RLock;
use crate::ipc::arena::Offset;
use crate::ipc::waiters::{Ticket, Told, Waiters};
use crate::ipc::{Monitor, Shared, Zeroed};
use crate::runtime::primitives::shared::{Place, SharedCondition};
use crate::runtime::primitives::{NotOwned, WaitError};
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

/// Those who wait at a condition in shared memory, the longest-waiting first.
pub struct Line {
    label: Label,
    queue: Shared<Queue>,
}

impl Line {
    /// An empty line.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { label, queue: Shared::new()? }))
    }

    /// The line whose queue this is, as another process sent it.
    pub fn of(label: Label, queue: Shared<Queue>) -> Arc<Self> {
        Arc::new(Self { label, queue })
    }

    /// The queue, to be sent to another process.
    pub fn queue(&self) -> &Shared<Queue> {
        &self.queue
    }

    /// What reports call the condition.
    pub fn label(&self) -> &Label {
        &self.label
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

    fn stand(self: &Arc<Self>) -> io::Result<Stand> {
        let ticket = Ticket::new()?;
        self.enter(|waiters| waiters.push(&ticket));
        Ok(Stand { line: Arc::clone(self), ticket })
    }

    fn tell(&self, n: usize) -> Told {
        self.enter(|waiters| waiters.tell(NOTIFIED, n))
    }

    /// Wakes up to `n` of those who wait, the longest-waiting first.
    pub fn notify(&self, n: usize) {
        self.tell(n).wake();
    }
}

/// A place in a line. Dropping it leaves the line, and passes on a notification that nobody asked for any more.
struct Stand {
    line: Arc<Line>,
    ticket: Ticket,
}

impl Stand {
    fn wait(self, wait: &Wait) -> Result<bool, Interrupt> {
        self.ticket.wait(wait, || Reason::Resource(Arc::clone(&self.line) as _), || false)?;
        // Between the end of the wait and now, a notification may have come.
        let notified = self.line.enter(|waiters| waiters.remove(&self.ticket)) == NOTIFIED;
        self.ticket.settle();
        Ok(notified)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if self.ticket.is_settled() {
            return;
        }
        if self.line.enter(|waiters| waiters.remove(&self.ticket)) == NOTIFIED {
            self.line.notify(1);
        }
    }
}

impl Place for Stand {
    fn wait(self: Box<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        Self::wait(*self, wait)
    }

    fn leave(self: Box<Self>) {}
}

impl SharedCondition for Line {
    fn enlist(self: Arc<Self>) -> io::Result<Box<dyn Place>> {
        Ok(Box::new(self.stand()?))
    }

    fn notify(&self, n: usize) {
        Self::notify(self, n);
    }
}

/// A condition variable in shared memory. The callers check that the lock is held as their rules want it.
pub struct Condition {
    lock: Exclusive,
    line: Arc<Line>,
}

impl Condition {
    /// A condition on `lock` with this line.
    pub fn new(lock: Exclusive, line: Arc<Line>) -> Arc<Self> {
        Arc::new(Self { lock, line })
    }

    /// Those who wait.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// What tells the condition from others, in every process.
    pub fn place(&self) -> Offset {
        self.line.queue.place()
    }

    /// The lock.
    pub fn lock(&self) -> &Exclusive {
        &self.lock
    }

    /// Frees the lock, waits to be notified, and takes the lock again; false when the deadline came first.
    ///
    /// # Errors
    /// [`WaitError`]. [`Interrupt`] inside; the lock is then held again, unless the program is over.
    pub fn wait(&self, deadline: Option<Instant>, site: Site) -> Result<Result<bool, Interrupt>, WaitError> {
        let stand = self.line.stand()?;
        let count = self.lock.release_all()?;
        let notified = stand.wait(&Wait { deadline, try_only: false, site });
        Ok(self.take_again(count, site).and(notified))
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

    /// Tells up to `n` of those who wait, the longest-waiting first, that they may go on. Whoever sleeps is woken as
    /// soon as the lock is free: at once if that is one that another thread may free.
    pub fn notify(&self, n: usize) {
        let told = self.line.tell(n);
        match &self.lock {
            Exclusive::RLock(lock) if lock.is_owned() => lock.wake_when_free(told),
            _ => told.wake(),
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line.waiting()
    }
}

impl Resource for Line {
    fn describe(&self) -> String {
        format!("a notification of {}", self.label)
    }

    fn is_shared(&self) -> bool {
        !self.queue.is_private()
    }
}
