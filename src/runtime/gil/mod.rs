//! The global interpreter lock.
//!
//! # How `interval` works (CPython since 3.2, `Python/ceval_gil.c`)
//!
//! The lock is a flag behind a mutex. Whoever finds it taken joins a queue and sleeps. The first in the queue
//! sleeps no longer than the switch interval: when that ran out and the lock did not change hands meanwhile, it
//! *asks* for it: it sets the drop request of the holder, which the holder sees at its next tick. The holder then
//! releases the lock, wakes the first waiter and joins the queue itself — and may not take the lock before some
//! other thread really had it. Without that last rule a release followed by an acquire would be no hand-over at
//! all: the old holder is running and would win against a thread that has yet to wake up.
//!
//! The interval counts from the waiter's side: nobody sets a timer while nobody waits. A thread that blocks
//! on its own (a lock, a sleep, I/O) gives the lock up at once and forces nothing. It then wakes the first waiter
//! that also comes from a wait, and only if there is none one that was made to give the lock up: threads that
//! answer each other are not thrown back by a full interval at each step because a third one computes. That one
//! cannot starve: when it has waited its interval, it is the first to be woken.
//!
//! Only the first waiter keeps time. A waiter that becomes the first in its sleep is woken by the holder, within
//! the next [`LOOK`] safepoints, to set its timer; so a thousand waiters cost one timer, and a holder that soon
//! blocks costs none.
//!
//! # How `ticks` works (CPython 2)
//!
//! The lock is a semaphore. The holder counts ticks and every N of them posts it and waits for it again at once.
//! Nobody asks and nobody is waited for: whoever wins, wins. On two processors the waiter wakes up on the other
//! one, mostly finds the lock taken again and goes back to sleep — the thrashing that made two threads slower
//! than one.
//!
//! # `off`
//!
//! No lock: [`Gil::acquire`] and [`Gil::release`] return at once.
//!
//! # Dismissal
//!
//! A thread that was told to stop for good, [`Attention::DISMISSED`], runs no more script. If it does not hold
//! the lock it does not queue for it either: what is left for it to do, dropping values and taking itself out of
//! the registry, is what threads do side by side under `off`.
//!
//! [`Attention::DISMISSED`]: super::thread::Attention::DISMISSED

mod interval;
mod mode;
mod semaphore;
mod ticks;

use std::time::Duration;

pub use mode::GilMode;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::thread::Thread;
use super::wakeups;
use interval::IntervalLock;
use ticks::TicksLock;

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

/// How many ticks a safepoint counts for. CPython 2's ticks were bytecode instructions, of which a round of a small
/// loop has about ten, while the evaluator comes to one safepoint there. With this, a check interval lasts about as
/// long as it did then, and that is what decides how often a waiter that wakes up wins.
pub(super) const TICKS_PER_SAFEPOINT: u32 = 10;

/// Under `interval` the holder looks at every so many safepoints whether anybody keeps time.
const LOOK: u32 = 1000;

enum Lock {
    Ticks(TicksLock),
    Interval(IntervalLock),
    Off,
}

/// The global interpreter lock of one interpreter.
pub struct Gil {
    lock: Lock,
    check_interval: AtomicU32,
    switch_interval_ns: AtomicU64,
}

impl Gil {
    /// A free lock that works in `mode` for its whole life.
    pub fn new(mode: GilMode) -> Self {
        let (lock, ticks, interval) = match mode {
            GilMode::Ticks(ticks) => (Lock::Ticks(TicksLock::new()), ticks, GilMode::DEFAULT_INTERVAL),
            GilMode::Interval(interval) => {
                (Lock::Interval(IntervalLock::new()), GilMode::DEFAULT_TICKS, interval)
            }
            GilMode::Off => (Lock::Off, GilMode::DEFAULT_TICKS, GilMode::DEFAULT_INTERVAL),
        };
        Self {
            lock,
            check_interval: AtomicU32::new(ticks),
            switch_interval_ns: AtomicU64::new(interval.as_nanos() as u64),
        }
    }

    /// The mode, with the settings as they are now.
    pub fn mode(&self) -> GilMode {
        match &self.lock {
            Lock::Ticks(_) => GilMode::Ticks(self.check_interval()),
            Lock::Interval(_) => GilMode::Interval(self.switch_interval()),
            Lock::Off => GilMode::Off,
        }
    }

    /// Is there a lock at all?
    pub fn is_enabled(&self) -> bool {
        !matches!(self.lock, Lock::Off)
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

    /// No thread that waits for the lock wakes up of itself until [`Gil::resume_clock`]. For the holder, who keeps
    /// the lock meanwhile.
    pub(super) fn pause_clock(&self) {
        if let Lock::Interval(lock) = &self.lock {
            lock.pause_clock();
        }
    }

    /// Ends what [`Gil::pause_clock`] began.
    pub(super) fn resume_clock(&self) {
        if let Lock::Interval(lock) = &self.lock {
            lock.resume_clock();
        }
    }

    /// In a forked child: nobody waits for the lock, and `only`, the one thread, holds it.
    pub(super) fn after_fork(&self, only: &Thread) {
        match &self.lock {
            Lock::Ticks(lock) => lock.after_fork(),
            Lock::Interval(lock) => lock.after_fork(),
            Lock::Off => {}
        }
        self.acquire(only, false);
    }

    /// What the lock did so far.
    pub fn counters(&self) -> GilCounters {
        match &self.lock {
            Lock::Ticks(lock) => lock.counters(),
            Lock::Interval(lock) => lock.counters(),
            Lock::Off => GilCounters::default(),
        }
    }

    /// The number of safepoints after which a thread comes to [`Gil::budget_spent`].
    pub(super) fn tick_budget(&self) -> u32 {
        match self.lock {
            Lock::Ticks(_) => self.check_interval().div_ceil(TICKS_PER_SAFEPOINT),
            Lock::Interval(_) => LOOK,
            Lock::Off => u32::MAX,
        }
    }

    /// Takes the lock for `thread`, the calling thread, and waits for as long as it is taken. False, without the
    /// lock, if the thread was dismissed while it waited and `may_leave` allows for that.
    // Not inlined, like `release`: what they need of the stack must be free while a thread sleeps between them.
    #[inline(never)]
    pub(super) fn acquire(&self, thread: &Thread, may_leave: bool) -> bool {
        match &self.lock {
            Lock::Ticks(lock) => lock.acquire(thread, may_leave),
            Lock::Interval(lock) => lock.acquire(thread, self.switch_interval(), may_leave),
            Lock::Off => true,
        }
    }

    /// Gives the lock up because `thread`, the calling thread, is about to block or has finished. A thread that
    /// was dismissed need not have it.
    #[inline(never)]
    pub(super) fn release(&self, thread: &Thread) {
        match &self.lock {
            Lock::Ticks(lock) => lock.release(thread),
            Lock::Interval(lock) => lock.release(thread),
            Lock::Off => {}
        }
        wakeups::make_up();
    }

    /// The tick budget ran out. False if the thread was dismissed and does not have the lock any more.
    pub(super) fn budget_spent(&self, thread: &Thread) -> bool {
        wakeups::make_up();
        match &self.lock {
            Lock::Ticks(lock) => lock.budget_spent(thread),
            Lock::Interval(lock) => {
                lock.find_timekeeper();
                true
            }
            Lock::Off => true,
        }
    }

    /// Gives the lock up once (`sleep(0)`): where somebody waits for it, until somebody took it. False as in
    /// [`Gil::budget_spent`].
    pub(super) fn yield_now(&self, thread: &Thread) -> bool {
        wakeups::make_up();
        match &self.lock {
            Lock::Ticks(lock) => {
                lock.release(thread);
                std::thread::yield_now();
                lock.acquire(thread, true)
            }
            Lock::Interval(lock) => lock.hand_over(thread, self.switch_interval(), false),
            Lock::Off => {
                std::thread::yield_now();
                true
            }
        }
    }

    /// Gives the lock up to whoever asked for it and waits until it was taken (CPython 3's forced switch). False
    /// as in [`Gil::budget_spent`].
    pub(super) fn switch(&self, thread: &Thread) -> bool {
        wakeups::make_up();
        match &self.lock {
            Lock::Interval(lock) => lock.hand_over(thread, self.switch_interval(), true),
            Lock::Ticks(_) | Lock::Off => true,
        }
    }

    /// Has those who wait for the lock look whether they were dismissed.
    pub(super) fn recheck(&self) {
        match &self.lock {
            Lock::Ticks(lock) => lock.recheck(),
            Lock::Interval(lock) => lock.recheck(),
            Lock::Off => {}
        }
    }
}

#[cfg(test)]
mod tests;
