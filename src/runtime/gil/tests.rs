use std::time::Duration;

use super::*;
use crate::runtime::sync::{Arc, AtomicBool, AtomicU64};
use crate::runtime::{Interrupt, OnDeadlock, Runtime, Site, Thread, Wait, sleep_for, tick};

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

#[test]
fn a_check_interval_counts_ten_ticks_for_a_safepoint() {
    for (ticks, budget) in [(1, 1), (10, 1), (11, 2), (100, 10), (10_000, 1000)] {
        assert_eq!(Gil::new(GilMode::Ticks(ticks)).tick_budget(), budget);
    }
}

/// Threads that sleep and threads that compute, and so wait for the lock, all told to stop while
/// another one keeps the lock and never gives it up: they end without it.
#[test]
fn dismissed_threads_end_without_the_lock() {
    for mode in [GilMode::Ticks(100), GilMode::Interval(Duration::from_micros(200)), GilMode::Off] {
        let runtime = Runtime::new(mode, OnDeadlock::Wait, || {});
        runtime.run_main(|| {
            for number in 0..12 {
                let thread = Thread::new(&runtime, "daemon", true);
                let time = Duration::from_secs(if number % 3 == 0 { 3600 } else { 0 });
                let body = move || {
                    let mut result = sleep_for(time, Site::default());
                    while result.is_ok() {
                        result = tick();
                    }
                    assert_eq!(result, Err(Interrupt::Stop));
                };
                runtime.start(&thread, body, Site::default()).unwrap().unwrap();
            }
            runtime.dismiss_others();
            // This thread does not tick, so nobody else gets the lock.
            while runtime.thread_count() > 1 {
                std::thread::yield_now();
            }
        });
    }
}
