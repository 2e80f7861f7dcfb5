//! The global interpreter lock.
//!
//! # How `interval` works (CPython since 3.2, `Python/ceval_gil.c`)
//!
//! The lock is a flag behind a mutex. Whoever finds it taken waits on the condition variable `freed`, but
//! only for the switch interval. When the wait runs out and the lock did not change hands meanwhile, the
//! waiter *asks* for it: it sets the drop request of the holder, which the holder sees at its next tick. The
//! holder then releases the lock, signals `freed` — and waits on a second condition variable, `switched`,
//! until some other thread really took it. Without that last step a release followed by an acquire would be
//! no hand-over at all: the old holder is running and would win against a thread that has yet to wake up.
//!
//! The interval counts from the waiter's side: nobody sets a timer while nobody waits. A thread that blocks
//! on its own (a lock, a sleep, I/O) gives the lock up at once and forces nothing.
//!
//! # How `ticks` works (CPython 2)
//!
//! The holder counts ticks and every N of them releases the lock and takes it again at once. Nobody asks and
//! nobody is waited for: whoever wins, wins. On two processors the waiter wakes up on the other one, finds
//! the lock taken again and goes back to sleep — the thrashing that made two threads slower than one.
//!
//! # `off`
//!
//! No lock: [`Gil::acquire`] and [`Gil::release`] return at once.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::spin::Spin;
use super::sync::{AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use super::thread::{Attention, Thread, ThreadId};

/// When the holder of the global interpreter lock gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilMode {
    /// Every so many ticks, as in CPython 2 (`sys.setcheckinterval`, 100).
    Ticks(u32),
    /// When another thread has waited for so long, as in CPython since 3.2 (`sys.setswitchinterval`, 5 ms).
    Interval(Duration),
    /// There is no lock: threads run in parallel.
    Off,
}

impl GilMode {
    /// CPython 2's check interval.
    pub const DEFAULT_TICKS: u32 = 100;
    /// CPython 3's switch interval.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(5);
    /// The three modes with their default settings, in the order in which they are compared.
    pub const ALL: [Self; 3] =
        [Self::Ticks(Self::DEFAULT_TICKS), Self::Interval(Self::DEFAULT_INTERVAL), Self::Off];

    /// The mode's name without its setting: `ticks`, `interval` or `off`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticks(_) => "ticks",
            Self::Interval(_) => "interval",
            Self::Off => "off",
        }
    }
}

impl Default for GilMode {
    fn default() -> Self {
        Self::Interval(Self::DEFAULT_INTERVAL)
    }
}

impl fmt::Display for GilMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticks(n) => write!(f, "ticks:{n}"),
            Self::Interval(d) => write!(f, "interval:{}ms", d.as_secs_f64() * 1e3),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for GilMode {
    type Err = String;

    /// Reads `ticks`, `ticks:N`, `interval`, `interval:5`, `interval:5ms`, `interval:0.5ms` or `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, setting) = match text.split_once(':') {
            Some((name, setting)) => (name, Some(setting)),
            None => (text, None),
        };
        match (name, setting) {
            ("off", None) => Ok(Self::Off),
            ("ticks", None) => Ok(Self::Ticks(Self::DEFAULT_TICKS)),
            ("interval", None) => Ok(Self::Interval(Self::DEFAULT_INTERVAL)),
            ("ticks", Some(n)) => match n.parse() {
                Ok(n) if n > 0 => Ok(Self::Ticks(n)),
                _ => {
                    Err(format!("'{n}' is no number of ticks: use a whole number from 1 on, as in ticks:100"))
                }
            },
            ("interval", Some(ms)) => match ms.trim_end_matches("ms").parse::<f64>() {
                Ok(n) if n > 0.0 && n <= 1e9 => Ok(Self::Interval(Duration::from_secs_f64(n / 1e3))),
                _ => {
                    Err(format!("'{ms}' is no switch interval: use milliseconds above 0, as in interval:5ms"))
                }
            },
            _ => Err(format!("'{text}' is no GIL mode: use ticks[:N], interval[:MS] or off")),
        }
    }
}

/// What the lock did since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GilCounters {
    /// The lock went from one thread to another.
    pub switches: u64,
    /// Switches that a waiter asked for after its interval, and for which the holder waited.
    pub forced_switches: u64,
    /// A waiter's interval ran out and it asked the holder to give the lock up.
    pub drop_requests: u64,
    /// An acquire found the lock taken.
    pub waits: u64,
}

#[derive(Default)]
struct State {
    /// The thread that holds the lock, as an address that is valid for as long as it does.
    holder: Option<*const Thread>,
    last_holder: Option<ThreadId>,
    waiters: u32,
    counters: GilCounters,
}

// SAFETY: `holder` is only ever dereferenced under the mutex, and while it is set the thread it points to is
// between its acquire and its release, so it owns an `Arc` of its record.
unsafe impl Send for State {}

/// The global interpreter lock of one interpreter.
pub struct Gil {
    mode: GilMode,
    state: Mutex<State>,
    /// Signalled when the lock becomes free.
    freed: Condvar,
    /// Signalled when another thread than the last one took the lock.
    switched: Condvar,
    check_interval: AtomicU32,
    switch_interval_ns: AtomicU64,
}

impl Gil {
    /// A free lock that works in `mode` for its whole life.
    pub fn new(mode: GilMode) -> Self {
        let (ticks, interval) = match mode {
            GilMode::Ticks(n) => (n, GilMode::DEFAULT_INTERVAL),
            GilMode::Interval(d) => (GilMode::DEFAULT_TICKS, d),
            GilMode::Off => (GilMode::DEFAULT_TICKS, GilMode::DEFAULT_INTERVAL),
        };
        Self {
            mode,
            state: Mutex::default(),
            freed: Condvar::new(),
            switched: Condvar::new(),
            check_interval: AtomicU32::new(ticks),
            switch_interval_ns: AtomicU64::new(interval.as_nanos() as u64),
        }
    }

    /// The mode, with the settings as they are now.
    pub fn mode(&self) -> GilMode {
        match self.mode {
            GilMode::Ticks(_) => GilMode::Ticks(self.check_interval()),
            GilMode::Interval(_) => GilMode::Interval(self.switch_interval()),
            GilMode::Off => GilMode::Off,
        }
    }

    /// Is there a lock at all?
    pub fn is_enabled(&self) -> bool {
        self.mode != GilMode::Off
    }

    /// How many ticks the holder keeps the lock under [`GilMode::Ticks`].
    pub fn check_interval(&self) -> u32 {
        self.check_interval.load(Ordering::Relaxed)
    }

    /// Changes the check interval; threads take the new value after their current interval.
    pub fn set_check_interval(&self, ticks: u32) {
        self.check_interval.store(ticks.max(1), Ordering::Relaxed);
    }

    /// How long a waiter waits before it asks for the lock under [`GilMode::Interval`].
    pub fn switch_interval(&self) -> Duration {
        Duration::from_nanos(self.switch_interval_ns.load(Ordering::Relaxed))
    }

    /// Changes the switch interval, from the next wait on.
    pub fn set_switch_interval(&self, interval: Duration) {
        self.switch_interval_ns.store((interval.as_nanos() as u64).max(1), Ordering::Relaxed);
    }

    /// In a forked child: nobody waits for the lock, and `only`, the one thread, holds it.
    pub(super) fn after_fork(&self, only: &Thread) {
        *self.state.lock() = State::default();
        self.acquire(only);
    }

    /// What the lock did so far.
    pub fn counters(&self) -> GilCounters {
        self.state.lock().counters
    }

    /// The number of ticks after which a thread comes to [`Gil::tick_expired`].
    pub(super) fn tick_budget(&self) -> u32 {
        match self.mode {
            GilMode::Ticks(_) => self.check_interval(),
            _ => u32::MAX,
        }
    }

    /// Takes the lock for `thread`, the calling thread, and waits for as long as it is taken.
    pub(super) fn acquire(&self, thread: &Thread) {
        if self.mode == GilMode::Off {
            return;
        }
        // A thread that just woke another one is about to block: a short look saves both a sleep. Not under
        // ticks, where the sleep-and-lose of CPython 2 is the point.
        if matches!(self.mode, GilMode::Interval(_)) {
            let mut spin = Spin::new();
            while spin.once() {
                if let Some(mut state) = self.state.try_lock()
                    && state.holder.is_none()
                {
                    self.take(&mut state, thread);
                    return;
                }
            }
        }
        let mut state = self.state.lock();
        if state.holder.is_some() {
            self.wait_until_free(&mut state, thread);
        }
        self.take(&mut state, thread);
    }

    fn wait_until_free(&self, state: &mut parking_lot::MutexGuard<'_, State>, thread: &Thread) {
        let began = Instant::now();
        state.counters.waits += 1;
        state.waiters += 1;
        thread.set_waiting_for_gil(true);
        while state.holder.is_some() {
            if self.mode_is_ticks() {
                self.freed.wait(state);
                continue;
            }
            let before = state.counters.switches;
            let timed_out = self.freed.wait_for(state, self.switch_interval()).timed_out();
            if timed_out
                && state.counters.switches == before
                && let Some(holder) = state.holder
            {
                state.counters.drop_requests += 1;
                // SAFETY: see `State::holder`; the mutex is held.
                unsafe { &*holder }.ask(Attention::GIL_DROP_REQUEST);
            }
        }
        state.waiters -= 1;
        thread.set_waiting_for_gil(false);
        thread.counters().add_waited(began.elapsed());
    }

    fn mode_is_ticks(&self) -> bool {
        matches!(self.mode, GilMode::Ticks(_))
    }

    fn take(&self, state: &mut State, thread: &Thread) {
        state.holder = Some(thread as *const Thread);
        if state.last_holder != Some(thread.id()) {
            if state.last_holder.is_some() {
                state.counters.switches += 1;
            }
            state.last_holder = Some(thread.id());
            self.switched.notify_all();
        }
        thread.clear(Attention::GIL_DROP_REQUEST);
        thread.counters().begin_holding();
    }

    /// Gives the lock up because `thread`, the calling thread, is about to block or has finished.
    pub(super) fn release(&self, thread: &Thread) {
        if self.mode == GilMode::Off {
            return;
        }
        let mut state = self.state.lock();
        self.set_free(&mut state, thread);
    }

    fn set_free(&self, state: &mut State, thread: &Thread) {
        debug_assert!(
            state.holder == Some(thread as *const Thread),
            "released by a thread that does not hold it"
        );
        state.holder = None;
        thread.counters().end_holding();
        if state.waiters > 0 {
            self.freed.notify_one();
        }
    }

    /// The tick budget ran out: gives the lock up and takes it again at once (CPython 2).
    pub(super) fn tick_expired(&self, thread: &Thread) {
        let mut state = self.state.lock();
        if state.waiters == 0 {
            return;
        }
        state.holder = None;
        thread.counters().end_holding();
        drop(state);
        // Signalled with the mutex free, as CPython 2 did: while the kernel wakes one waiter, another one that is
        // awake may slip in. Nothing else lets a waiter win here.
        self.freed.notify_one();
        self.acquire(thread);
    }

    /// Gives the lock up once (`sleep(0)`): where somebody waits for it, until somebody took it.
    pub(super) fn yield_now(&self, thread: &Thread) {
        match self.mode {
            GilMode::Off => std::thread::yield_now(),
            GilMode::Ticks(_) => {
                self.release(thread);
                std::thread::yield_now();
                self.acquire(thread);
            }
            GilMode::Interval(_) => self.hand_over(thread, false),
        }
    }

    /// Gives the lock up to whoever asked for it and waits until it was taken (CPython 3's forced switch).
    pub(super) fn switch(&self, thread: &Thread) {
        if self.mode != GilMode::Off {
            self.hand_over(thread, true);
        }
    }

    fn hand_over(&self, thread: &Thread, forced: bool) {
        let mut state = self.state.lock();
        if state.waiters == 0 {
            thread.clear(Attention::GIL_DROP_REQUEST);
            return;
        }
        self.set_free(&mut state, thread);
        state.counters.forced_switches += u64::from(forced);
        while state.last_holder == Some(thread.id()) && state.waiters > 0 {
            self.switched.wait(&mut state);
        }
        if state.holder.is_some() {
            self.wait_until_free(&mut state, thread);
        }
        self.take(&mut state, thread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_printed() {
        for (text, mode) in [
            ("ticks", GilMode::Ticks(100)),
            ("ticks:7", GilMode::Ticks(7)),
            ("interval", GilMode::Interval(Duration::from_millis(5))),
            ("interval:0.5ms", GilMode::Interval(Duration::from_micros(500))),
            ("interval:20", GilMode::Interval(Duration::from_millis(20))),
            ("off", GilMode::Off),
        ] {
            assert_eq!(text.parse::<GilMode>(), Ok(mode), "{text}");
            assert_eq!(mode.to_string().parse::<GilMode>(), Ok(mode), "{mode}");
        }
    }

    #[test]
    fn bad_modes_are_refused_with_the_way_out() {
        for text in ["", "on", "ticks:0", "ticks:x", "interval:-1", "interval:abc", "off:1"] {
            let error = text.parse::<GilMode>().unwrap_err();
            assert!(error.contains("use"), "{text}: {error}");
        }
    }

    use crate::runtime::sync::{Arc, AtomicBool, AtomicU64};
    use crate::runtime::{OnDeadlock, Runtime, Site, Thread, Wait, tick};

    /// Two threads that do nothing but tick, until each has seen the other one run; what the lock counted.
    fn two_that_compute(mode: GilMode) -> GilCounters {
        let runtime = Runtime::new(mode, OnDeadlock::Wait, || {});
        let other_ran = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        runtime.run_main(|| {
            let thread = Thread::new(&runtime, "other", false);
            let (ran, stop) = (Arc::clone(&other_ran), Arc::clone(&done));
            let body = move || {
                while !stop.load(Ordering::Relaxed) {
                    ran.fetch_add(1, Ordering::Relaxed);
                    tick().unwrap();
                }
            };
            runtime.start(&thread, body, Site::default()).unwrap().unwrap();
            for _ in 0..3 {
                let before = other_ran.load(Ordering::Relaxed);
                while other_ran.load(Ordering::Relaxed) == before {
                    tick().unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(runtime.join(&thread, &Wait::forever(Site::default())).unwrap());
        });
        runtime.gil().counters()
    }

    #[test]
    fn a_waiter_is_given_the_lock_after_its_interval() {
        let counters = two_that_compute(GilMode::Interval(Duration::from_millis(1)));
        assert!(counters.forced_switches >= 3, "{counters:?}");
        assert!(counters.drop_requests >= counters.forced_switches, "{counters:?}");
    }

    #[test]
    fn ticks_force_nothing() {
        let counters = two_that_compute(GilMode::Ticks(10));
        assert_eq!((counters.forced_switches, counters.drop_requests), (0, 0));
        assert!(counters.switches > 0);
    }

    #[test]
    fn off_counts_nothing() {
        assert_eq!(two_that_compute(GilMode::Off), GilCounters::default());
    }
}
