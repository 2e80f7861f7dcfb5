//! Who holds a lock that processes share.

use std::cell::Cell;

use crate::ipc::family::Member;
use crate::runtime::sync::{AtomicI64, Ordering};
use crate::runtime::{ThreadId, current_id};

/// A thread of a process, as shared memory remembers it. All zero is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Holder {
    process: Member,
    /// The thread's `ident`, or a negative number for an embedder's thread.
    thread: i64,
}

/// The number of the calling thread, which is none of a script's.
#[cold]
fn foreign_thread() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    thread_local! {
        static NUMBER: Cell<i64> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(LAST.fetch_sub(1, Ordering::Relaxed) - 1);
    }
    NUMBER.get()
}

impl Holder {
    /// The calling thread.
    pub fn own() -> Self {
        Self { process: Member::own(), thread: current_id().map_or_else(foreign_thread, ThreadId::ident) }
    }

    /// A thread of the calling process.
    pub fn of_thread(thread: Option<ThreadId>) -> Self {
        Self { process: Member::own(), thread: thread.map_or(0, ThreadId::ident) }
    }

    /// The thread's `ident`, if it is one of the calling process.
    pub fn ident(self) -> Option<i64> {
        self.is_own_process().then_some(self.thread)
    }

    /// The process.
    pub fn process(self) -> Member {
        self.process
    }

    /// Is it a thread of the calling process?
    pub fn is_own_process(self) -> bool {
        self.process == Member::own()
    }

    /// What a report says of the holder: its name, the line where it took the lock, and how it ended.
    pub(super) fn describe(self, line: u32) -> String {
        let mut text = self.process.to_string();
        if line > 0 {
            text.push_str(&format!(" since line {line}"));
        }
        if let Some(end) = self.process.end() {
            text.push_str(&format!(", which {end}: owner died"));
        }
        text
    }
}
