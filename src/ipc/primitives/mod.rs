//! The synchronisation primitives between processes: those of [`crate::runtime::primitives`] with their state in
//! shared memory.
//!
//! Every change of a state takes effect by its last store, so that a process that is killed in the middle leaves
//! either the old state or the new one. What a killed process held stays held, as in CPython; a thread that
//! waits for it without a deadline is then stuck, and reports say who held it and how that one ended.

mod barrier;
mod condition;
mod event;
mod holder;
mod lock;
#[cfg(test)]
mod promotion_tests;
mod rlock;
mod semaphore;
#[cfg(test)]
mod tests;

pub use barrier::{Barrier, Memory as BarrierState};
pub use condition::{Condition, Exclusive, Line, Queue as ConditionState};
pub use event::{Event, State as EventState};
pub use holder::Holder;
pub use lock::{Lock, State as LockState};
pub(super) use rlock::after_fork;
pub use rlock::{RLock, State as RLockState};
pub use semaphore::{Semaphore, State as SemaphoreState};
