//! Worker processes: the jobs of a pool or an executor, made by children.
//!
//! A crew has two channels in shared memory. Its jobs are encoded where they are handed in and go into the first
//! one, from which every worker takes the next; the answers come back in the second one, and so do the notices of
//! workers' deaths, behind whatever a worker had answered before. Before a worker takes a job out it notes the
//! job's number in shared memory, so that the parent knows which job went with a worker that was killed.

mod crew;
mod message;
mod outbox;
mod seat;
mod worker;

use crate::language::native::NativeModule;

pub use crew::{Kind, ProcessCrew};

/// Defines what children call, and lets them be told where they work.
pub(super) fn define(module: &mut NativeModule) {
    crate::ipc::codec::register::<seat::Seat>();
    module.handle::<seat::Seat>();
    module.function(worker::SIGNATURE, "What a worker process of a pool runs.", worker::work);
}
