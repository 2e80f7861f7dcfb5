//! fork(2) and the threads: what must hold before, and what must be put right in the child.
//!
//! Only the thread that forks exists in the child, but memory is as all threads left it: a mutex that another
//! thread held stays locked for ever. So before a fork the others come to rest: those that compute stop at
//! their next safepoint, and then every OS thread of the process is seen asleep in the kernel, where none is in
//! the middle of one of our short critical sections. CPython gets the first half from its lock.

use std::fs;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use super::blocking;
use super::registry::Runtime;
use super::signals;
use super::sync::{Arc, AtomicBool, AtomicPtr, Condvar, Mutex, Ordering, free_after_fork};
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
    listen: Mutex<Option<fn()>>,
    /// This is a forked child in which nobody was called yet that is to listen.
    is_deaf: AtomicBool,
}

/// The main thread of a forked child in which nobody listens for Ctrl-C yet. Never freed.
static DEAF: AtomicPtr<Thread> = AtomicPtr::new(null_mut());

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
        // Whoever wakes up in the very moment of the fork holds locks that nobody in the child would release.
        self.gil().pause_clock();
        let patience = Instant::now() + PATIENCE;
        let mut quiet = 0;
        // Twice in a row: one look may fall between two sleeps of a thread that is waking up.
        while quiet < 2 && Instant::now() < patience {
            quiet = if other_tasks_sleep() { quiet + 1 } else { 0 };
            std::thread::yield_now();
        }
        let parent = std::process::id();
        let result = f();
        if std::process::id() != parent {
            // The child gets rid of all this in `after_fork`: a lock that was taken here stays taken.
            return result;
        }
        self.gil().resume_clock();
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

    /// Has `f` called in every child that is forked from now on, before its main thread first waits for something
    /// or has company: whoever listens for Ctrl-C with a thread of his own starts it again there. Many children are
    /// over before that, and until then [`interrupt_deaf`] is all that is needed.
    pub fn on_fork(&self, f: fn()) {
        *self.rest().listen.lock() = Some(f);
    }

    /// In a forked child that goes on running scripts: the calling thread is the only one and the main thread, and
    /// it has the lock.
    pub fn after_fork(self: &Arc<Self>) {
        self.forget_other_threads();
        if let Some(main) = self.main_thread().filter(|_| self.rest().listen.lock().is_some()) {
            DEAF.store(Arc::into_raw(main).cast_mut(), Ordering::Release);
            self.rest().is_deaf.store(true, Ordering::Release);
        }
    }

    /// The calling thread is about to wait, or to start another one: somebody has to listen from now on.
    #[inline]
    pub(super) fn listen(&self) {
        if self.rest().is_deaf.load(Ordering::Relaxed) {
            self.begin_to_listen();
        }
    }

    #[cold]
    fn begin_to_listen(&self) {
        if !self.rest().is_deaf.swap(false, Ordering::AcqRel) {
            return;
        }
        let listen = *self.rest().listen.lock();
        // Ctrl-C comes to one of the two: to whom this one's flags belong, or to who listens.
        with_interrupts_held(|| {
            DEAF.store(null_mut(), Ordering::Release);
            listen.into_iter().for_each(|listen| listen());
        });
    }

    /// The part of [`Runtime::after_fork`] that starts no threads, for a process that is to be forked again.
    pub fn forget_other_threads(self: &Arc<Self>) {
        blocking::after_fork();
        worker::after_fork();
        signals::after_fork();
        self.rest.wanted.store(false, Ordering::Release);
        // SAFETY: a thread that was about to rest may have it; it guards nothing.
        unsafe { free_after_fork(&self.rest.lock) };
        self.become_only_thread();
    }
}

/// Ctrl-C has come: to be called by the signal's handler. Does what [`Runtime::interrupt_main`] does if the process is
/// a forked one in which nobody listens yet, which means that its only thread computes; else it does nothing.
pub fn interrupt_deaf() {
    // SAFETY: a thread's record that is never freed.
    let Some(main) = (unsafe { DEAF.load(Ordering::Acquire).as_ref() }) else { return };
    if main.runtime().has_own_interrupt() {
        return;
    }
    if main.has(Attention::KEYBOARD_INTERRUPT) {
        // SAFETY: ends the process; a signal handler may do that.
        unsafe { libc::_exit(128 + libc::SIGINT) }
    }
    main.ask(Attention::KEYBOARD_INTERRUPT);
}

/// Calls `f` while SIGINT has to wait, in a process with one thread.
fn with_interrupts_held(f: impl FnOnce()) {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut held = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are made by sigemptyset and filled by pthread_sigmask before they are read.
    unsafe {
        libc::sigemptyset(held.as_mut_ptr());
        libc::sigaddset(held.as_mut_ptr(), libc::SIGINT);
        libc::sigemptyset(before.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, held.as_ptr(), before.as_mut_ptr());
    }
    f();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut()) };
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
