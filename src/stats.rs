//! What the lock and the threads of a run did, as numbers.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::{GilCounters, GilMode, Runtime, Thread, ThreadTimes};

/// One thread's share.
#[derive(Clone, Debug)]
pub struct ThreadStats {
    /// Its name.
    pub name: String,
    /// Is it over?
    pub finished: bool,
    /// Its ticks and times.
    pub times: ThreadTimes,
}

/// What happened since the interpreter was built.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The lock's mode.
    pub mode: GilMode,
    /// The lock's counters.
    pub gil: GilCounters,
    /// The threads, in the order in which they were started.
    pub threads: Vec<ThreadStats>,
}

impl Stats {
    pub(crate) fn of(runtime: &Runtime) -> Self {
        let of_thread = |thread: &Arc<Thread>| ThreadStats {
            name: thread.name().to_string(),
            finished: !thread.is_alive(),
            times: thread.times(),
        };
        Self {
            mode: runtime.gil().mode(),
            gil: runtime.gil().counters(),
            threads: runtime.all_threads().iter().map(of_thread).collect(),
        }
    }

    /// The time that all threads together waited for the lock.
    pub fn waited(&self) -> Duration {
        self.threads.iter().map(|thread| thread.times.waited).sum()
    }
}
