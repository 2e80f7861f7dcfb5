//! The record of a script thread, and which one the calling OS thread runs.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

use super::blocking::Reason;
use super::registry::Runtime;
use super::site::Site;
use super::stack;
use super::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use super::waiter::Parker;

/// A thread's identifier: unique for the life of the process, and never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(u64);

impl ThreadId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number itself.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// The number that scripts see as `ident`. It looks like CPython's, which are addresses: large, and far
    /// from the small numbers that a lesson counts with.
    pub fn ident(self) -> i64 {
        0x7f00_0000_0000 + (self.0 as i64) * 0x1000
    }
}

/// Why a thread must leave the fast path at its next tick: a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention(u32);

impl Attention {
    /// A waiter asks for the lock.
    pub const GIL_DROP_REQUEST: Self = Self(1);
    /// Ctrl-C: raise KeyboardInterrupt.
    pub const KEYBOARD_INTERRUPT: Self = Self(2);
    /// The program is over: stop at the next safepoint.
    pub const STOP: Self = Self(4);
    /// Another thread is about to fork: rest at the next safepoint.
    pub const REST: Self = Self(8);
    /// It has to stop for good and needs the lock no more. Never without [`Attention::STOP`].
    pub const DISMISSED: Self = Self(16);
    /// A signal came in: call its handler. Of the main thread only.
    pub const CALL: Self = Self(32);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a thread is doing.
#[derive(Clone, Debug)]
pub enum ThreadState {
    /// It exists and was not started.
    Initial,
    /// It runs, or could run as soon as it has the lock.
    Ready,
    /// It waits for something else than the lock.
    Blocked {
        /// What for.
        reason: Reason,
        /// Since when.
        since: Instant,
        /// On which line.
        site: Site,
    },
    /// It is over.
    Finished,
}

/// Times and counts that only the thread itself writes, and none of them at a tick.
#[derive(Default)]
pub struct ThreadCounters {
    ticks: AtomicU64,
    held_ns: AtomicU64,
    waited_ns: AtomicU64,
    blocked_ns: AtomicU64,
    /// When the thread took the lock, in nanoseconds since the process began; 0 while it does not hold it.
    holds_since_ns: AtomicU64,
}

/// One reading of [`ThreadCounters`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadTimes {
    /// Ticks passed: ten for each safepoint.
    pub ticks: u64,
    /// Time with the lock.
    pub held: Duration,
    /// Time in which the thread could have run but for the lock.
    pub waited: Duration,
    /// Time asleep: in locks, queues, sleeps, I/O.
    pub blocked: Duration,
}

fn nanoseconds_now() -> u64 {
    use std::sync::OnceLock;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

impl ThreadCounters {
    // Only the owning thread adds, so a load and a store do where others would need a read-modify-write.
    fn add(cell: &AtomicU64, amount: u64) {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    pub(super) fn add_ticks(&self, n: u64) {
        Self::add(&self.ticks, n);
    }

    pub(super) fn add_waited(&self, time: Duration) {
        Self::add(&self.waited_ns, time.as_nanos() as u64);
    }

    pub(super) fn add_blocked(&self, time: Duration) {
        Self::add(&self.blocked_ns, time.as_nanos() as u64);
    }

    pub(super) fn begin_holding(&self) {
        self.holds_since_ns.store(nanoseconds_now(), Ordering::Relaxed);
    }

    pub(super) fn end_holding(&self) {
        let since = self.holds_since_ns.swap(0, Ordering::Relaxed);
        if since > 0 {
            Self::add(&self.held_ns, nanoseconds_now().saturating_sub(since));
        }
    }
}

/// The record of one script thread. It outlives the OS thread that runs it.
pub struct Thread {
    id: ThreadId,
    runtime: Arc<Runtime>,
    name: Mutex<Arc<str>>,
    daemon: AtomicBool,
    native_id: AtomicU32,
    /// Its place among the threads that are alive, 0 for the main thread.
    place: AtomicU64,
    attention: AtomicU32,
    waiting_for_gil: AtomicBool,
    state: Mutex<ThreadState>,
    counters: ThreadCounters,
    pub(super) parker: Parker,
    /// Where it sleeps until it is its turn to have the lock, with the lock's mutex.
    pub(super) turn: Condvar,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({}, {:?})", self.name(), self.id)
    }
}

impl Thread {
    /// The record of a thread that has yet to start.
    pub fn new(runtime: &Arc<Runtime>, name: &str, daemon: bool) -> Arc<Self> {
        Arc::new(Self {
            id: ThreadId::next(),
            runtime: Arc::clone(runtime),
            name: Mutex::new(name.into()),
            daemon: AtomicBool::new(daemon),
            native_id: AtomicU32::new(0),
            place: AtomicU64::new(0),
            attention: AtomicU32::new(0),
            waiting_for_gil: AtomicBool::new(false),
            state: Mutex::new(ThreadState::Initial),
            counters: ThreadCounters::default(),
            parker: Parker::default(),
            turn: Condvar::new(),
        })
    }

    /// The thread's identifier.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// The interpreter process that the thread belongs to.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The name that reports use.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.lock())
    }

    /// Renames the thread.
    pub fn set_name(&self, name: &str) {
        *self.name.lock() = name.into();
    }

    /// Is the thread dropped at the end of the program instead of waited for?
    pub fn is_daemon(&self) -> bool {
        self.daemon.load(Ordering::Relaxed)
    }

    /// Makes the thread a daemon, or not; the caller checks that it has not started.
    pub fn set_daemon(&self, daemon: bool) {
        self.daemon.store(daemon, Ordering::Relaxed);
    }

    /// The kernel's number of the OS thread, 0 before the start.
    pub fn native_id(&self) -> u32 {
        self.native_id.load(Ordering::Relaxed)
    }

    pub(super) fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// What the thread is doing now.
    pub fn state(&self) -> ThreadState {
        self.state.lock().clone()
    }

    // Not inlined: two of these states would otherwise lie on the stack of every thread that waits.
    #[inline(never)]
    pub(super) fn set_state(&self, state: ThreadState) {
        let old = std::mem::replace(&mut *self.state.lock(), state);
        // What it waited for may hold the last reference to something large: not under the mutex.
        drop(old);
    }

    /// Has it been started and not finished?
    pub fn is_alive(&self) -> bool {
        matches!(*self.state.lock(), ThreadState::Ready | ThreadState::Blocked { .. })
    }

    /// Has it been started at all?
    pub fn was_started(&self) -> bool {
        !matches!(*self.state.lock(), ThreadState::Initial)
    }

    /// Could it run but for the lock?
    pub fn is_waiting_for_gil(&self) -> bool {
        self.waiting_for_gil.load(Ordering::Relaxed)
    }

    /// The OS thread that runs it is another one, in a forked child.
    pub(super) fn set_native_id(&self) {
        let native = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        self.native_id.store(native, Ordering::Relaxed);
    }

    pub(super) fn set_waiting_for_gil(&self, waiting: bool) {
        self.waiting_for_gil.store(waiting, Ordering::Relaxed);
    }

    /// The thread's counts so far.
    pub fn times(&self) -> ThreadTimes {
        let cell = |c: &AtomicU64| Duration::from_nanos(c.load(Ordering::Relaxed));
        let since = self.counters.holds_since_ns.load(Ordering::Relaxed);
        let held_now = if since > 0 { nanoseconds_now().saturating_sub(since) } else { 0 };
        ThreadTimes {
            ticks: self.counters.ticks.load(Ordering::Relaxed),
            held: cell(&self.counters.held_ns) + Duration::from_nanos(held_now),
            waited: cell(&self.counters.waited_ns),
            blocked: cell(&self.counters.blocked_ns),
        }
    }

    pub(super) fn counters(&self) -> &ThreadCounters {
        &self.counters
    }

    /// Makes the thread look up at its next tick. It does not wake a thread that waits: see [`Thread::interrupt`].
    pub(super) fn ask(&self, what: Attention) {
        self.attention.fetch_or(what.0, Ordering::Release);
    }

    pub(super) fn clear(&self, what: Attention) {
        if self.has(what) {
            self.attention.fetch_and(!what.0, Ordering::AcqRel);
        }
    }

    pub(super) fn has(&self, what: Attention) -> bool {
        self.attention.load(Ordering::Acquire) & what.0 != 0
    }

    pub(super) fn needs_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) != 0
    }

    /// Was it told to stop for good?
    pub(super) fn is_dismissed(&self) -> bool {
        self.has(Attention::DISMISSED)
    }

    /// Makes the thread look up now, wherever it computes or waits.
    pub fn interrupt(&self, what: Attention) {
        self.ask(what);
        self.parker.unpark();
    }
}

/// What the safepoint needs at hand: reached through one thread-local pointer.
pub(super) struct Running {
    pub(super) thread: Arc<Thread>,
    /// Safepoints left until [`super::tick`] leaves the fast path.
    pub(super) budget: Cell<u32>,
    /// The lowest address that the stack may come down to.
    pub(super) stack_limit: usize,
    /// The budget that `budget` started from, to count those that are over.
    pub(super) granted: Cell<u32>,
    /// A block of enormous size was allocated since the last safepoint.
    pub(super) large_block: Cell<bool>,
}

thread_local! {
    static RUNNING: Cell<*const Running> = const { Cell::new(std::ptr::null()) };
    static KEEP: RefCell<Option<Box<Running>>> = const { RefCell::new(None) };
}

/// Calls `f` with what the calling OS thread runs; none outside a script thread.
#[inline]
pub(super) fn with_running<R>(f: impl FnOnce(Option<&Running>) -> R) -> R {
    let pointer = RUNNING.get();
    // SAFETY: the pointer is null, or that of the box in `KEEP`, which `detach` drops only after it has set
    // the pointer to null; both are this OS thread's own, and no reference leaves `f`.
    f(unsafe { pointer.as_ref() })
}

/// The script thread that the calling OS thread runs; none on threads that are not ours.
pub fn current() -> Option<Arc<Thread>> {
    with_running(|running| running.map(|r| Arc::clone(&r.thread)))
}

/// The identifier of the script thread that the calling OS thread runs.
pub fn current_id() -> Option<ThreadId> {
    with_running(|running| running.map(|running| running.thread.id()))
}

/// Makes the calling OS thread run `thread`, without the lock yet.
pub(super) fn attach(thread: &Arc<Thread>) {
    thread.set_native_id();
    let budget = thread.runtime.gil().tick_budget();
    let running = Box::new(Running {
        thread: Arc::clone(thread),
        budget: Cell::new(budget),
        granted: Cell::new(budget),
        large_block: Cell::new(false),
        stack_limit: stack::limit(),
    });
    RUNNING.set(&*running);
    KEEP.with_borrow_mut(|keep| *keep = Some(running));
}

/// The opposite of [`attach`].
pub(super) fn detach() {
    RUNNING.set(std::ptr::null());
    drop(KEEP.with_borrow_mut(Option::take));
}
