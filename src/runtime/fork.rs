//! fork(2) and the threads: what must hold before, and what must be put right in the child.
//!
//! Only the thread that forks exists in the child, but memory is as all threads left it: a mutex that another
//! thread held stays locked for ever. So before a fork the others come to rest: those that compute stop at
//! their next safepoint, and then every OS thread of the process is seen asleep in the kernel, where none is in
//! the middle of one of our short critical sections. CPython gets the first half from its lock.

use std::fs;
use std::time::{Duration, Instant};

use super::registry::Runtime;
use super::signals;
use super::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use super::thread::{self, Attention, Thread};
use super::worker;

/// How long a fork waits for the other threads to rest. One that sits in a long native call is then left where it
/// is; it holds none of the runtime's locks there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stops threads at their safepoints while one of them forks.
#[derive(Default)]
pub(super) struct Rest {
    wanted: AtomicBool,
    lock: Mutex<()>,
    over: Condvar,
    on_fork: Mutex<Option<fn()>>,
}

impl Rest {
    /// At a safepoint of a thread that was asked to rest: sleeps until the fork is done.
    pub(super) fn pause(&self, thread: &Thread) {
        let mut lock = self.lock.lock();
        while self.wanted.load(Ordering::Acquire) {
            self.over.wait(&mut lock);
        }
        drop(lock);
        thread.clear(Attention::REST);
    }

    fn end(&self) {
        let lock = self.lock.lock();
        self.wanted.store(false, Ordering::Release);
        drop(lock);
        self.over.notify_all();
    }
}

impl Runtime {
    /// Calls `f` while every other thread of the process rests, so that it may fork. In the child, call
    /// [`Runtime::after_fork`] first of all.
    pub fn at_rest<R>(&self, f: impl FnOnce() -> R) -> R {
        if !has_other_tasks() {
            return f();
        }
        self.rest.wanted.store(true, Ordering::Release);
        let current = thread::current();
        for other in self.threads() {
            if current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, &other)) {
                other.ask(Attention::REST);
            }
        }
        let patience = Instant::now() + PATIENCE;
        let mut quiet = 0;
        // Twice in a row: one look may fall between two sleeps of a thread that is waking up.
        while quiet < 2 && Instant::now() < patience {
            quiet = if other_tasks_sleep() { quiet + 1 } else { 0 };
            std::thread::yield_now();
        }
        let result = f();
        self.rest.end();
        result
    }

    /// After the end of a thread: in a child that this very thread has forked, the program is over with it, for
    /// its main thread exists in the parent only.
    pub(super) fn end_if_forked_here(self: &Arc<Self>, thread: &Arc<Thread>) {
        if self.main_thread().is_some_and(|main| Arc::ptr_eq(&main, thread)) {
            self.run_main(|| {
                // Ctrl-C ends the wait, and the process is over in any case.
                let _ = self.join_non_daemons();
            });
            // SAFETY: ends the process; the exit handlers belong to the main thread that is not here.
            unsafe { libc::_exit(0) }
        }
    }

    /// Calls `f` in every child that is forked from now on, after the runtime was put right in it: whoever has a
    /// thread of his own starts it again there.
    pub fn on_fork(&self, f: fn()) {
        *self.rest.on_fork.lock() = Some(f);
    }

    /// In a forked child that goes on running scripts: the calling thread is the only one and the main thread, and
    /// it has the lock.
    pub fn after_fork(self: &Arc<Self>) {
        self.forget_other_threads();
        let on_fork = *self.rest.on_fork.lock();
        if let Some(on_fork) = on_fork {
            on_fork();
        }
    }

    /// The part of [`Runtime::after_fork`] that starts no threads, for a process that is to be forked again.
    pub fn forget_other_threads(self: &Arc<Self>) {
        worker::after_fork();
        signals::after_fork();
        self.rest.wanted.store(false, Ordering::Release);
        self.become_only_thread();
    }
}

/// The scheduling state of every other OS thread of this process.
fn other_tasks() -> impl Iterator<Item = char> {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter(move |task| *task.file_name() != *own).filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // The command's name, in parentheses, may contain anything.
        stat.rsplit(')').next()?.trim_start().chars().next()
    })
}

fn has_other_tasks() -> bool {
    other_tasks().next().is_some()
}

fn other_tasks_sleep() -> bool {
    other_tasks().all(|state| !matches!(state, 'R' | 'D'))
}
