//! Between processes: shared memory and what lives in it.
//!
//! The processes of one program form a family. They map one [`arena`], a memory file without a name, in which a
//! [`Shared`] object is known by its offset; a [`Guard`] protects the state of such an object for the length of
//! a few instructions and is freed by the kernel if its holder is killed; a [`Monitor`] is such a state together
//! with those who wait for it to change; a [`Channel`] carries messages, which are
//! [`values`] in the form of the [`codec`]; the [`family`] knows which process holds what, and whether it lives.

mod apart;
pub mod arena;
mod cells;
mod channel;
mod child;
pub mod codec;
mod compact;
pub mod connection;
mod deposits;
pub mod family;
pub mod fork_server;
mod guard;
mod maps;
mod monitor;
#[cfg(test)]
mod own_process;
mod parts;
pub mod primitives;
mod shared;
mod spares;
pub mod values;
mod waiters;
mod watch;
mod working_set;

pub use apart::apart;
pub use cells::{CType, Cells, Head as CellsHead};
pub use channel::{Channel, SendError};
pub use child::{Child, die_of_interrupts, ignore_interrupts};
pub use guard::{Guard, Held};
pub use monitor::{Attempt, Monitor, Wake};
pub use parts::{Head, Parts};
pub use shared::{Shared, Zeroed, release_all, share_with_fork, unshare};

/// As [`after_fork`], in a process that was forked after [`share_with_fork`]: the references are its own.
pub fn after_shared_fork() {
    guard::after_fork();
    primitives::after_fork();
    deposits::after_fork();
}

/// To be called in a process that was just forked, before it touches anything of this module: it is another
/// process now, its thread is another thread, and it holds none of its parent's references.
pub fn after_fork() {
    guard::after_fork();
    primitives::after_fork();
    shared::after_fork();
    family::after_fork();
    watch::after_fork();
    deposits::after_fork();
}
