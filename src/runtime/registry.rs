//! The runtime of one interpreter: its lock, its threads, and how they begin and end.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use super::blocking::{Interrupt, Reason};
use super::deadlock::OnDeadlock;
use super::fork::Rest;
use super::gil::{Gil, GilMode};
use super::monitor::{Monitor, Wait, WaitQueue};
use super::signals::Signals;
use super::site::Site;
use super::sync::{Arc, AtomicI64, AtomicU64, AtomicUsize, Mutex, Ordering};
use super::thread::{self, Attention, Thread, ThreadId, ThreadState};
use super::tick::book_ticks;
use super::{wakeups, worker};

/// How long the end of a run waits for daemons to come to a safepoint before it goes on without them.
const DAEMON_GRACE: Duration = Duration::from_secs(1);

/// How many finished threads the statistics remember.
const MOST_REMEMBERED: usize = 1000;

/// The stack of a script thread. It is address space: only what is touched becomes memory. So large that a chain of
/// some 300,000 closures, each of which captured the one before, can be dropped: rhai drops them inside each other.
const DEFAULT_STACK_SIZE: usize = 64 << 20;

#[derive(Default)]
struct Registry {
    /// By the order of their starts; the main thread is number 0.
    alive: BTreeMap<u64, Arc<Thread>>,
    started: u64,
    /// Threads that are over, for the statistics: no more than [`MOST_REMEMBERED`].
    finished: Vec<Arc<Thread>>,
    /// Those who wait for the end of a thread, by that thread.
    joiners: HashMap<ThreadId, WaitQueue>,
    /// Those who wait until no thread is left but the main one.
    emptied: WaitQueue,
}

impl Registry {
    fn enter(&mut self, thread: &Arc<Thread>) {
        self.started += 1;
        thread.set_place(self.started);
        self.alive.insert(self.started, Arc::clone(thread));
    }

    /// The thread is over: takes it out and wakes who waits for that, as [`wakeups::make_up`] then sees to.
    fn leave(&mut self, thread: &Arc<Thread>) {
        thread.set_state(ThreadState::Finished);
        self.alive.remove(&thread.place());
        if self.finished.len() < MOST_REMEMBERED && !self.finished.iter().any(|t| Arc::ptr_eq(t, thread)) {
            self.finished.push(Arc::clone(thread));
        }
        if let Some(mut joiners) = self.joiners.remove(&thread.id()) {
            joiners.wake_all_later();
        }
        if self.alive.len() <= 1 {
            self.emptied.wake_all_later();
        }
    }
}

/// The threads of one interpreter and what they share.
pub struct Runtime {
    gil: Gil,
    signals: Signals,
    registry: Monitor<Registry>,
    /// Threads that are alive and not stuck: see [`super::deadlock`].
    runnable: AtomicI64,
    on_deadlock: OnDeadlock,
    deadlock: Mutex<Option<String>>,
    main: Mutex<Option<Arc<Thread>>>,
    thread_numbers: AtomicU64,
    stack_size: AtomicUsize,
    synchronise: fn(),
    pub(super) rest: Rest,
}

impl Runtime {
    /// A runtime without threads. `synchronise` is called on a thread before it blocks and after it was
    /// woken; it makes what the thread wrote visible to others, and the other way round.
    pub fn new(mode: GilMode, on_deadlock: OnDeadlock, synchronise: fn()) -> Arc<Self> {
        Arc::new(Self {
            gil: Gil::new(mode),
            signals: Signals::default(),
            registry: Monitor::default(),
            // The host: while no run goes on it may still act, so nothing is stuck.
            runnable: AtomicI64::new(1),
            on_deadlock,
            deadlock: Mutex::new(None),
            main: Mutex::new(None),
            thread_numbers: AtomicU64::new(0),
            stack_size: AtomicUsize::new(DEFAULT_STACK_SIZE),
            synchronise,
            rest: Rest::default(),
        })
    }

    /// The global interpreter lock.
    pub fn gil(&self) -> &Gil {
        &self.gil
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// What a deadlock leads to.
    pub fn on_deadlock(&self) -> OnDeadlock {
        self.on_deadlock
    }

    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// In a forked child: forgets every thread but the calling one, which becomes the main thread.
    pub(super) fn become_only_thread(self: &Arc<Self>) {
        let only = thread::current().unwrap_or_else(|| Thread::new(self, "MainThread", false));
        only.set_native_id();
        {
            let mut registry = self.registry.enter();
            // Not dropped: the last reference to another thread's record may lead to anything of its values.
            std::mem::forget(std::mem::take(&mut *registry));
            only.set_place(0);
            registry.alive.insert(0, Arc::clone(&only));
        }
        self.runnable.store(1, Ordering::SeqCst);
        *self.main.lock() = Some(Arc::clone(&only));
        self.gil.after_fork(&only);
    }

    pub(super) fn synchronise(&self) {
        (self.synchronise)();
    }

    pub(super) fn runnable(&self) -> i64 {
        self.runnable.load(Ordering::SeqCst)
    }

    /// Adds to the number of threads that are not stuck; returns what it is now.
    pub(super) fn count_runnable(&self, change: i64) -> i64 {
        self.runnable.fetch_add(change, Ordering::SeqCst) + change
    }

    /// The threads that have been started and are not finished, in the order of their starts.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        self.registry.enter().alive.values().cloned().collect()
    }

    fn first_thread(&self) -> Option<Arc<Thread>> {
        self.registry.enter().alive.values().next().cloned()
    }

    /// The threads that are alive and the first that are over, in the order in which they were made.
    pub fn all_threads(&self) -> Vec<Arc<Thread>> {
        let registry = self.registry.enter();
        let mut all: Vec<_> = registry.finished.iter().chain(registry.alive.values()).cloned().collect();
        all.sort_by_key(|thread| thread.id());
        all.dedup_by_key(|thread| thread.id());
        all
    }

    /// How many threads are alive.
    pub fn thread_count(&self) -> usize {
        self.registry.enter().alive.len()
    }

    /// The number of the next thread that gets a default name, from 1 on.
    pub fn next_thread_number(&self) -> u64 {
        self.thread_numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The stack size of threads that are started from now on, in bytes.
    pub fn stack_size(&self) -> usize {
        self.stack_size.load(Ordering::Relaxed)
    }

    /// Changes the stack size of threads that are started from now on.
    pub fn set_stack_size(&self, bytes: usize) {
        self.stack_size.store(bytes, Ordering::Relaxed);
    }

    /// The default stack size, in bytes.
    pub fn default_stack_size() -> usize {
        DEFAULT_STACK_SIZE
    }

    /// The main thread, once a run has begun.
    pub fn main_thread(&self) -> Option<Arc<Thread>> {
        self.main.lock().clone()
    }

    /// Runs `f` on the calling OS thread as the main thread, with the lock.
    pub fn run_main<R>(self: &Arc<Self>, f: impl FnOnce() -> R) -> R {
        if thread::current().is_some_and(|current| Arc::ptr_eq(current.runtime(), self)) {
            return f();
        }
        let main = Arc::clone(self.main.lock().get_or_insert_with(|| Thread::new(self, "MainThread", false)));
        let _running = MainGuard::enter(self, main);
        f()
    }

    /// Starts `thread` with `body`, and blocks until it has taken its first step, as CPython does.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn start(
        self: &Arc<Self>,
        thread: &Arc<Thread>,
        body: impl FnOnce() + Send + 'static,
        site: Site,
    ) -> Result<Result<(), Interrupt>, io::Error> {
        {
            let mut registry = self.registry.enter();
            thread.set_state(ThreadState::Ready);
            registry.enter(thread);
        }
        self.count_runnable(1);
        let begun = Arc::new(Begun::default());
        let job = {
            let (thread, begun) = (Arc::clone(thread), Arc::clone(&begun));
            move || {
                begin(&thread, begun);
                body();
                thread.runtime().finish(&thread);
                thread.runtime().end_if_forked_here(&thread);
            }
        };
        self.listen();
        if let Err(error) = worker::run(Box::new(job), self.stack_size()) {
            self.registry.enter().alive.remove(&thread.place());
            thread.set_state(ThreadState::Initial);
            self.count_runnable(-1);
            return Err(error);
        }
        let reason = || Reason::Start(Arc::clone(thread));
        let started =
            begun.wait_until(&Wait::forever(site), reason, |s| &mut s.1, |s| s.0.then_some(())).map(drop);
        // Unless the wait has, which gives up the lock.
        wakeups::make_up();
        Ok(started)
    }

    #[inline(never)]
    /// The calling thread is over: takes it out of the registry, wakes who waits for it, and lets go of the lock.
    fn finish(self: &Arc<Self>, thread: &Arc<Thread>) {
        book_ticks();
        self.synchronise();
        // Whoever started this thread may wait for its end at once, and is to find that it has come.
        let starter = wakeups::take();
        self.gil.release(thread);
        self.registry.enter().leave(thread);
        starter.into_iter().for_each(wakeups::put_off);
        thread::detach();
        if self.count_runnable(-1) == 0
            && let Some(stuck) = self.first_thread()
        {
            stuck.parker.recheck();
        }
    }

    /// Blocks until `thread` is over; false when the deadline came first.
    ///
    /// # Errors
    /// [`Interrupt`] as in [`super::block`].
    pub fn join(&self, thread: &Arc<Thread>, wait: &Wait) -> Result<bool, Interrupt> {
        let reason = || Reason::Join(Arc::clone(thread));
        let over = self.registry.wait_until(
            wait,
            reason,
            |r| r.joiners.entry(thread.id()).or_default(),
            |_| matches!(thread.state(), ThreadState::Finished).then_some(()),
        );
        let mut registry = self.registry.enter();
        if registry.joiners.get(&thread.id()).is_some_and(WaitQueue::is_empty) {
            registry.joiners.remove(&thread.id());
        }
        over.map(|over| over.is_some())
    }

    /// The end of a program, called by the main thread: waits for every thread that is no daemon.
    ///
    /// # Errors
    /// [`Interrupt::KeyboardInterrupt`] when Ctrl-C cut the wait short.
    pub fn join_non_daemons(&self) -> Result<(), Interrupt> {
        let current = thread::current();
        loop {
            let next = self
                .threads()
                .into_iter()
                .find(|t| !t.is_daemon() && current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, t)));
            let Some(thread) = next else { return Ok(()) };
            self.join(&thread, &Wait::forever(Site::default()))?;
        }
    }

    /// Makes every thread but the main one, which calls this, stop: at its next safepoint, or in its wait. Waits a
    /// little for those that compute.
    pub fn stop_others(&self) {
        self.dismiss_others();
        let deadline = Some(Instant::now() + DAEMON_GRACE);
        let wait = Wait { deadline, try_only: false, site: Site::default() };
        // Interrupted by a second Ctrl-C: then they are left behind at once.
        let _ = self.registry.wait_until(
            &wait,
            || Reason::External("daemon threads to stop"),
            |r| &mut r.emptied,
            |r| (r.alive.len() <= 1).then_some(()),
        );
    }

    /// Tells every thread but the main one to stop for good.
    pub(super) fn dismiss_others(&self) {
        let main = self.main_thread();
        for thread in self.threads() {
            if main.as_ref().is_none_or(|main| !Arc::ptr_eq(main, &thread)) {
                thread.interrupt(Attention::STOP.and(Attention::DISMISSED));
            }
        }
        self.gil.recheck();
    }

    /// Ctrl-C: raises KeyboardInterrupt in the main thread, wherever it computes or waits. False if there is
    /// no main thread, or if the one before was not delivered yet. Nothing happens if the script has a handler of
    /// its own for SIGINT, which the signal itself has reached.
    pub fn interrupt_main(&self) -> bool {
        if self.has_own_interrupt() {
            return true;
        }
        match self.main_thread() {
            Some(main) if main.is_alive() && !main.has(Attention::KEYBOARD_INTERRUPT) => {
                main.interrupt(Attention::KEYBOARD_INTERRUPT);
                true
            }
            _ => false,
        }
    }

    /// Withdraws a KeyboardInterrupt that nobody saw.
    pub fn clear_interrupt(&self) {
        if let Some(main) = self.main_thread() {
            main.clear(Attention::KEYBOARD_INTERRUPT);
        }
    }

    pub(super) fn end_in_deadlock(&self, report: String) {
        self.deadlock.lock().get_or_insert(report);
        if let Some(main) = self.main_thread() {
            main.interrupt(Attention::STOP);
        }
        self.dismiss_others();
    }

    /// The report of the deadlock that ended the run, if one did; it is thereby taken, and the main thread may
    /// go on.
    pub fn take_deadlock(&self) -> Option<String> {
        let report = self.deadlock.lock().take()?;
        if let Some(main) = self.main_thread() {
            main.clear(Attention::STOP);
        }
        Some(report)
    }
}

/// Has a thread taken its first step?
type Begun = Monitor<(bool, WaitQueue)>;

/// The first step of a thread, on its own OS thread.
// Not inlined, here and at its like: whatever these calls need of the stack is free again while the script runs.
#[inline(never)]
fn begin(thread: &Arc<Thread>, begun: Arc<Begun>) {
    thread::attach(thread);
    thread.runtime().gil().acquire(thread, false);
    let mut begun = begun.enter();
    begun.0 = true;
    if thread.runtime().gil().is_enabled() {
        begun.1.wake_all_later();
    } else {
        begun.1.wake_all();
    }
}

/// The main thread is attached and alive for as long as this exists.
struct MainGuard<'a> {
    runtime: &'a Runtime,
    main: Arc<Thread>,
}

impl<'a> MainGuard<'a> {
    fn enter(runtime: &'a Runtime, main: Arc<Thread>) -> Self {
        thread::attach(&main);
        main.clear(Attention::STOP);
        main.clear(Attention::KEYBOARD_INTERRUPT);
        main.set_state(ThreadState::Ready);
        runtime.registry.enter().alive.insert(0, Arc::clone(&main));
        runtime.gil.acquire(&main, false);
        Self { runtime, main }
    }
}

impl Drop for MainGuard<'_> {
    fn drop(&mut self) {
        book_ticks();
        self.runtime.synchronise();
        self.runtime.gil.release(&self.main);
        self.runtime.registry.enter().leave(&self.main);
        wakeups::make_up();
        thread::detach();
    }
}
