//! The threads of this process: the registry, the global interpreter lock, blocking, interrupts, deadlocks.
//!
//! Nothing here knows Rhai. The layers above see a handful of ideas: a [`Runtime`] owns the [`Gil`] and the
//! records of its [`Thread`]s; a running thread calls [`tick`] at its safepoints and [`block`] to wait; a
//! primitive is a [`Monitor`], which is a state and the queues of those who wait for it.

mod blocking;
mod condvar;
mod deadlock;
mod fork;
mod gil;
mod monitor;
pub mod primitives;
mod registry;
mod signals;
mod site;
mod sleepers;
mod spawn;
mod spin;
mod stack;
pub mod sync;
mod thread;
mod tick;
mod waiter;
mod wakeups;
mod words;
mod worker;

pub use blocking::{
    Bell, Interrupt, Reason, Resource, Until, Woken, block, block_since, detached, sleep_for,
};
pub use deadlock::OnDeadlock;
pub use fork::interrupt_deaf;
pub use gil::{Gil, GilCounters, GilMode};
pub use monitor::{Monitor, Wait, WaitQueue};
pub use registry::Runtime;
pub use site::{Label, Site};
pub use sleepers::Sleepers;
pub(crate) use spin::Spin;
pub use thread::{Attention, Thread, ThreadId, ThreadState, ThreadTimes, current, current_id};
pub use tick::{
    forget_large_block, note_large_block, postpone_interrupt, stack_is_low, take_keyboard_interrupt, tick,
};
pub use waiter::Waiter;
pub use words::wake_word;
