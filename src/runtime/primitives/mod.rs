//! The synchronisation primitives of one process, each a state in a [`Monitor`](super::Monitor).

mod barrier;
mod condition;
mod event;
mod lock;
mod queue;
mod rlock;
mod semaphore;
pub mod shared;

pub use barrier::{Barrier, BrokenBarrier, Standing};
pub use condition::{Condition, Exclusive, NotOwned, WaitError};
pub use event::Event;
pub use lock::{Lock, NotLocked};
pub use queue::{Discipline, Moved, Put, Queue, TooManyDone};
pub use rlock::RLock;
pub use semaphore::Semaphore;
