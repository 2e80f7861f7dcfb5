//! `ticks`: CPython 2's lock. See the module above.

use std::time::Instant;

use super::GilCounters;
use super::semaphore::Semaphore;
use crate::runtime::sync::{AtomicU64, Ordering};
use crate::runtime::thread::Thread;

/// Counters and names that only the holder writes, so a load and a store do.
#[derive(Default)]
struct Book {
    /// The thread that holds the lock, 0 if none does.
    holder: AtomicU64,
    last_holder: AtomicU64,
    switches: AtomicU64,
    waits: AtomicU64,
}

pub(super) struct TicksLock {
    semaphore: Semaphore,
    book: Book,
}

fn add_one(cell: &AtomicU64) {
    cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl TicksLock {
    pub(super) fn new() -> Self {
        Self { semaphore: Semaphore::new(), book: Book::default() }
    }

    /// In a forked child: free, and nobody waits.
    pub(super) fn after_fork(&self) {
        self.semaphore.reset();
        for cell in [&self.book.holder, &self.book.last_holder, &self.book.switches, &self.book.waits] {
            cell.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn counters(&self) -> GilCounters {
        GilCounters {
            switches: self.book.switches.load(Ordering::Relaxed),
            waits: self.book.waits.load(Ordering::Relaxed),
            ..GilCounters::default()
        }
    }

    /// See [`super::Gil::acquire`].
    pub(super) fn acquire(&self, thread: &Thread, may_leave: bool) -> bool {
        let waited = !self.semaphore.try_wait();
        if waited && !self.wait(thread, may_leave) {
            return false;
        }
        let (me, book) = (thread.id().number(), &self.book);
        book.holder.store(me, Ordering::Relaxed);
        if book.last_holder.load(Ordering::Relaxed) != me {
            if book.last_holder.load(Ordering::Relaxed) != 0 {
                add_one(&book.switches);
            }
            book.last_holder.store(me, Ordering::Relaxed);
        }
        if waited {
            add_one(&book.waits);
        }
        thread.counters().begin_holding();
        true
    }

    fn wait(&self, thread: &Thread, may_leave: bool) -> bool {
        let began = Instant::now();
        thread.set_waiting_for_gil(true);
        let taken = self.semaphore.wait(|| may_leave && thread.is_dismissed());
        thread.set_waiting_for_gil(false);
        thread.counters().add_waited(began.elapsed());
        taken
    }

    /// See [`super::Gil::release`].
    pub(super) fn release(&self, thread: &Thread) {
        if self.book.holder.load(Ordering::Relaxed) != thread.id().number() {
            debug_assert!(thread.is_dismissed(), "released by a thread that does not hold it");
            return;
        }
        self.book.holder.store(0, Ordering::Relaxed);
        thread.counters().end_holding();
        self.semaphore.post();
    }

    /// The tick budget ran out: gives the lock up and takes it again at once.
    pub(super) fn budget_spent(&self, thread: &Thread) -> bool {
        if !self.semaphore.has_waiters() {
            return true;
        }
        self.release(thread);
        self.acquire(thread, true)
    }

    /// Has every waiter look whether it may leave.
    pub(super) fn recheck(&self) {
        self.semaphore.wake_all();
    }
}
