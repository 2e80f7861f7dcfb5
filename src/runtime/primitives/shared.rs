//! What a primitive goes on as when other processes get it too.
//!
//! A primitive begins within its process, where it is fastest. When it is first written into a message for
//! another process it is *promoted*: with its state locked, the state is copied into shared memory; then whoever
//! waits on it is woken and goes on waiting on the one in shared memory, until the same deadline and with the
//! same place in the line where there is one. From then on every operation is passed on. The runtime does not
//! know shared memory, only these traits.

use std::any::Any;
use std::io;

use super::barrier::BrokenBarrier;
use super::condition::NotOwned;
use super::lock::NotLocked;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Site, ThreadId, Wait};

/// A lock in shared memory.
pub trait SharedLock: Any + Send + Sync {
    /// As [`super::Lock::acquire`].
    ///
    /// # Errors
    /// [`Interrupt`].
    fn acquire(self: Arc<Self>, wait: &Wait) -> Result<bool, Interrupt>;
    /// As [`super::Lock::release`].
    ///
    /// # Errors
    /// [`NotLocked`].
    fn release(&self) -> Result<(), NotLocked>;
    /// Is it taken?
    fn is_locked(&self) -> bool;
}

/// A reentrant lock in shared memory.
pub trait SharedRLock: Any + Send + Sync {
    /// As [`super::RLock::acquire_times`].
    ///
    /// # Errors
    /// [`Interrupt`].
    fn acquire_times(self: Arc<Self>, count: usize, wait: &Wait) -> Result<bool, Interrupt>;
    /// As [`super::RLock::release`].
    ///
    /// # Errors
    /// [`NotOwned`].
    fn release(&self) -> Result<(), NotOwned>;
    /// As [`super::RLock::release_all`].
    ///
    /// # Errors
    /// [`NotOwned`].
    fn release_all(&self) -> Result<usize, NotOwned>;
    /// Does the calling thread hold it?
    fn is_owned(&self) -> bool;
    /// How often it is taken.
    fn count(&self) -> usize;
    /// Who holds it, as scripts number threads; 0 for a thread of another process.
    fn owner(&self) -> Option<i64>;
}

/// A semaphore in shared memory.
pub trait SharedSemaphore: Any + Send + Sync {
    /// As [`super::Semaphore::acquire`].
    ///
    /// # Errors
    /// [`Interrupt`].
    fn acquire(self: Arc<Self>, wait: &Wait) -> Result<bool, Interrupt>;
    /// As [`super::Semaphore::release`].
    fn release(&self, n: u64) -> bool;
    /// How many are left.
    fn value(&self) -> u64;
}

/// An event in shared memory.
pub trait SharedEvent: Any + Send + Sync {
    /// Waits for the flag, or for more sets than the waiter has `seen`; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`].
    fn wait(self: Arc<Self>, wait: &Wait, seen: Option<u64>) -> Result<bool, Interrupt>;
    /// As [`super::Event::set`].
    fn set(&self);
    /// As [`super::Event::clear`].
    fn clear(&self);
    /// Is the flag set?
    fn is_set(&self) -> bool;
}

/// The waiters of a condition in shared memory.
pub trait SharedCondition: Any + Send + Sync {
    /// Puts the calling thread, or one that it acts for, at the end of the line.
    ///
    /// # Errors
    /// The system's, when shared memory is used up.
    fn enlist(self: Arc<Self>) -> io::Result<Box<dyn Place>>;
    /// Wakes up to `n` of those who wait.
    fn notify(&self, n: usize);
}

/// A place in a line in shared memory.
pub trait Place: Send {
    /// Waits; true if it was notified, false if the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; a notification that came with it is passed on.
    fn wait(self: Box<Self>, wait: &Wait) -> Result<bool, Interrupt>;
    /// Gives the place up; a notification that came meanwhile is passed on.
    fn leave(self: Box<Self>);
}

/// The places of those who wait, in their order.
pub type Places = Vec<Box<dyn Place>>;

/// A barrier in shared memory.
pub trait SharedBarrier: Any + Send + Sync {
    /// As [`super::Barrier::wait`], with an action that returns whether it succeeded.
    ///
    /// # Errors
    /// [`BarrierFailure`].
    fn wait(self: Arc<Self>, wait: &Wait, action: &mut dyn FnMut() -> bool) -> Result<usize, BarrierFailure>;
    /// How many have come and wait.
    fn waiting(&self) -> usize;
    /// Is it broken?
    fn is_broken(&self) -> bool;
    /// As [`super::Barrier::abort`].
    fn abort(&self);
    /// As [`super::Barrier::reset`].
    fn reset(&self);
    /// The action that was running when the barrier was promoted is over.
    fn finish(&self, succeeded: bool);
}

/// How a wait at a barrier in shared memory failed.
#[derive(Debug)]
pub enum BarrierFailure {
    /// The barrier is broken.
    Broken,
    /// The wait was interrupted.
    Interrupted(Interrupt),
    /// The action failed.
    Action,
    /// There is no shared memory left.
    Memory(io::Error),
}

impl BarrierFailure {
    /// As the caller's error; `action` is that of the action.
    pub(super) fn into_error<E: From<BrokenBarrier> + From<Interrupt> + From<io::Error>>(
        self,
        action: Option<E>,
    ) -> E {
        match (self, action) {
            (Self::Action, Some(error)) => error,
            (Self::Broken | Self::Action, _) => BrokenBarrier.into(),
            (Self::Interrupted(interrupt), _) => interrupt.into(),
            (Self::Memory(error), _) => error.into(),
        }
    }
}

/// A thread that holds something, and where it took it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The thread; none for an embedder's.
    pub thread: Option<ThreadId>,
    /// Where.
    pub site: Site,
}
