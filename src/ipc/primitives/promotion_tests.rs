//! Primitives that are moved into shared memory while threads hold them, wait for them, or are about to.

use std::time::{Duration, Instant};

use super::*;
use crate::runtime::primitives as local;
use crate::runtime::primitives::BrokenBarrier;
use crate::runtime::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::runtime::{
    GilMode, Interrupt, Label, OnDeadlock, Runtime, Site, Thread, ThreadState, Wait, sleep_for,
};

fn forever() -> Wait {
    Wait::forever(Site::default())
}

fn within(time: Duration) -> Wait {
    Wait { deadline: Some(Instant::now() + time), ..forever() }
}

fn at_once() -> Wait {
    Wait { try_only: true, ..forever() }
}

/// Runs `test` as the main thread, in every mode; no wait of it may last for ever.
fn in_every_mode(test: impl Fn(&Arc<Runtime>)) {
    for mode in GilMode::ALL {
        let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
        runtime.run_main(|| test(&runtime));
        assert_eq!(runtime.take_deadlock(), None, "{mode}");
    }
}

fn start(runtime: &Arc<Runtime>, body: impl FnOnce() + Send + 'static) -> Arc<Thread> {
    let thread = Thread::new(runtime, "worker", false);
    runtime.start(&thread, body, Site::default()).unwrap().unwrap();
    thread
}

fn join(runtime: &Runtime, threads: Vec<Arc<Thread>>) {
    for thread in threads {
        assert!(runtime.join(&thread, &within(Duration::from_secs(60))).unwrap(), "it still waits");
    }
}

fn pause() {
    sleep_for(Duration::from_micros(200), Site::default()).unwrap();
}

/// Waits until all these threads wait for something.
fn until_all_wait(threads: &[Arc<Thread>]) {
    while !threads.iter().all(|thread| matches!(thread.state(), ThreadState::Blocked { .. })) {
        pause();
    }
}

fn promote_lock(lock: &local::Lock) {
    let made = lock.promote(|held| {
        let lock = match held {
            None => Lock::new(Label::default())?,
            Some(held) => Lock::taken(Label::default(), Holder::of_thread(held.thread), held.site.line)?,
        };
        Ok::<_, std::io::Error>(lock as _)
    });
    made.unwrap();
}

fn promote_rlock(lock: &local::RLock) {
    let made = lock.promote(|held| {
        let lock = match held {
            None => RLock::new(Label::default())?,
            Some((held, count)) => {
                RLock::taken(Label::default(), Holder::of_thread(held.thread), count as u32, held.site.line)?
            }
        };
        Ok::<_, std::io::Error>(lock as _)
    });
    made.unwrap();
}

fn promote_condition(condition: &local::Condition) {
    match condition.lock() {
        local::Exclusive::Lock(lock) => promote_lock(lock),
        local::Exclusive::RLock(lock) => promote_rlock(lock),
    }
    condition.promote(|| Ok::<_, std::io::Error>(Line::new(Label::default())? as _)).unwrap();
}

fn promote_event(event: &local::Event) {
    let make = |set, sets| Ok::<_, std::io::Error>(Event::standing(Label::default(), set, sets)? as _);
    event.promote(make).unwrap();
}

fn promote_semaphore(semaphore: &local::Semaphore) {
    let make = |value, bound: Option<u64>| {
        Ok::<_, std::io::Error>(Semaphore::new(Label::default(), value, bound.unwrap_or(u64::MAX))? as _)
    };
    semaphore.promote(make).unwrap();
}

fn promote_barrier(barrier: &local::Barrier) {
    let make = |standing, waiting| {
        let (barrier, places) = Barrier::standing(Label::default(), standing, waiting)?;
        Ok::<_, std::io::Error>((barrier as _, places))
    };
    barrier.promote(make).unwrap();
}

#[test]
fn a_lock_is_promoted_while_it_is_held_and_waited_for() {
    in_every_mode(|runtime| {
        let lock = local::Lock::new(Label::default());
        assert!(lock.acquire(&forever()).unwrap());
        let inside = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..5_u64)
            .map(|me| {
                let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
                start(runtime, move || {
                    // Two of them have a deadline that passes while they wait in shared memory.
                    let wait = if me < 2 { within(Duration::from_millis(30)) } else { forever() };
                    assert_eq!(lock.acquire(&wait).unwrap(), me >= 2);
                    if me >= 2 {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        pause();
                        inside.store(0, Ordering::SeqCst);
                        lock.release().unwrap();
                    }
                })
            })
            .collect();
        until_all_wait(&threads);
        promote_lock(&lock);
        assert!(lock.is_locked() && !lock.acquire(&at_once()).unwrap());
        sleep_for(Duration::from_millis(60), Site::default()).unwrap();
        lock.release().unwrap();
        join(runtime, threads);
        assert!(!lock.is_locked() && lock.release().is_err());
    });
}

/// Threads take and give back as fast as they can, some with deadlines, when the lock is promoted.
#[test]
fn a_lock_is_promoted_at_any_moment() {
    in_every_mode(|runtime| {
        for round in 0..40_u64 {
            let lock = local::Lock::new(Label::default());
            let (inside, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let threads: Vec<_> = (0..3_u64)
                .map(|me| {
                    let (lock, inside, taken) = (Arc::clone(&lock), Arc::clone(&inside), Arc::clone(&taken));
                    start(runtime, move || {
                        for turn in 0..50_u64 {
                            let wait = if me == 0 {
                                within(Duration::from_micros(turn * 7 % 40))
                            } else {
                                forever()
                            };
                            if lock.acquire(&wait).unwrap() {
                                assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                                taken.fetch_add(1, Ordering::SeqCst);
                                inside.store(false, Ordering::SeqCst);
                                lock.release().unwrap();
                            }
                        }
                    })
                })
                .collect();
            sleep_for(Duration::from_micros(round * 13 % 300), Site::default()).unwrap();
            promote_lock(&lock);
            join(runtime, threads);
            assert!(taken.load(Ordering::SeqCst) >= 100 && !lock.is_locked());
        }
    });
}

#[test]
fn a_reentrant_lock_keeps_its_owner_and_its_count() {
    in_every_mode(|runtime| {
        let lock = local::RLock::new(Label::default());
        assert!(lock.acquire_times(3, &forever()).unwrap());
        let waiter = {
            let lock = Arc::clone(&lock);
            start(runtime, move || {
                assert!(lock.acquire(&forever()).unwrap());
                assert!(lock.release().is_ok() && lock.release().is_err());
            })
        };
        until_all_wait(std::slice::from_ref(&waiter));
        promote_rlock(&lock);
        assert!(lock.is_owned() && lock.count() == 3);
        assert!(lock.acquire(&at_once()).unwrap());
        for _ in 0..4 {
            lock.release().unwrap();
        }
        join(runtime, vec![waiter]);
        assert!(lock.release().is_err() && lock.owner().is_none());
    });
}

#[test]
fn a_semaphore_keeps_its_value_and_its_bound() {
    in_every_mode(|runtime| {
        let semaphore = local::Semaphore::new(Label::default(), 2, true);
        assert!(semaphore.acquire(&forever()).unwrap() && semaphore.acquire(&forever()).unwrap());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let semaphore = Arc::clone(&semaphore);
                start(runtime, move || assert!(semaphore.acquire(&forever()).unwrap()))
            })
            .collect();
        until_all_wait(&threads);
        promote_semaphore(&semaphore);
        assert!(semaphore.release(1) && semaphore.release(1));
        while threads.iter().filter(|thread| thread.is_alive()).count() > 1 {
            pause();
        }
        assert!(semaphore.release(1));
        join(runtime, threads);
        assert!(semaphore.release(2) && !semaphore.release(1), "no more than its bound");
        assert_eq!(semaphore.value(), 2);
    });
}

/// A set that is cleared at once is seen by everybody who waited, even by those who are on their way from the one
/// event to the other.
#[test]
fn nobody_misses_a_set_because_of_the_promotion() {
    in_every_mode(|runtime| {
        for round in 0..30 {
            let event = local::Event::new(Label::default());
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let event = Arc::clone(&event);
                    start(runtime, move || assert!(event.wait(&forever()).unwrap()))
                })
                .collect();
            until_all_wait(&threads);
            if round % 3 == 0 {
                event.set();
                event.clear();
            }
            promote_event(&event);
            event.set();
            event.clear();
            join(runtime, threads);
            assert!(!event.is_set() && !event.wait(&at_once()).unwrap());
        }
    });
}

/// The longest-waiting are woken first, also across the promotion, and exactly as many as are notified.
#[test]
fn the_line_at_a_condition_moves_in_its_order() {
    in_every_mode(|runtime| {
        let lock = local::Exclusive::RLock(local::RLock::new(Label::default()));
        let condition = local::Condition::new(Label::default(), lock);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let release = |condition: &local::Condition| match condition.lock() {
            local::Exclusive::RLock(lock) => lock.release().unwrap(),
            local::Exclusive::Lock(_) => unreachable!(),
        };
        let mut threads = Vec::new();
        for me in 0..4 {
            let (own, woken) = (Arc::clone(&condition), Arc::clone(&woken));
            threads.push(start(runtime, move || {
                assert!(own.lock().acquire(&forever()).unwrap());
                assert_eq!(own.wait(None, Site::default()).unwrap(), Ok(true));
                woken.lock().push(me);
                release(&own);
            }));
            until_all_wait(&threads);
            if me == 2 {
                // The last one comes when the line is in shared memory.
                promote_condition(&condition);
            }
        }
        for expected in [vec![0], vec![0, 1], vec![0, 1, 2, 3]] {
            let more = expected.len() - woken.lock().len();
            assert!(condition.lock().acquire(&forever()).unwrap());
            condition.notify(more).unwrap();
            release(&condition);
            let limit = Instant::now() + Duration::from_secs(60);
            while woken.lock().len() < expected.len() {
                assert!(Instant::now() < limit, "a notification was lost");
                pause();
            }
            let mut now = woken.lock().clone();
            now.sort_unstable();
            assert_eq!(now, expected);
        }
        join(runtime, threads);
    });
}

/// Waits with short deadlines end, notifications come, and the line moves, all at the same time: as many waits
/// are notified as notifications found somebody, and nobody is left behind.
#[test]
fn a_condition_is_promoted_at_any_moment() {
    in_every_mode(|runtime| {
        for round in 0..30_u64 {
            let lock = local::Lock::new(Label::default());
            let condition =
                local::Condition::new(Label::default(), local::Exclusive::Lock(Arc::clone(&lock)));
            let stop = Arc::new(AtomicBool::new(false));
            let threads: Vec<_> = (0..3_u64)
                .map(|me| {
                    let (condition, lock, stop) =
                        (Arc::clone(&condition), Arc::clone(&lock), Arc::clone(&stop));
                    start(runtime, move || {
                        assert!(lock.acquire(&forever()).unwrap());
                        while !stop.load(Ordering::SeqCst) {
                            let deadline = (me == 0).then(|| Instant::now() + Duration::from_micros(50));
                            condition.wait(deadline, Site::default()).unwrap().unwrap();
                            assert!(lock.is_locked());
                        }
                        lock.release().unwrap();
                    })
                })
                .collect();
            sleep_for(Duration::from_micros(round * 17 % 300), Site::default()).unwrap();
            promote_condition(&condition);
            stop.store(true, Ordering::SeqCst);
            assert!(lock.acquire(&forever()).unwrap());
            condition.notify(usize::MAX).unwrap();
            lock.release().unwrap();
            join(runtime, threads);
        }
    });
}

/// How a wait at a barrier failed.
#[derive(Debug, PartialEq)]
enum Failure {
    Broken,
    Interrupted,
    Memory,
}

impl From<BrokenBarrier> for Failure {
    fn from(_: BrokenBarrier) -> Self {
        Self::Broken
    }
}

impl From<Interrupt> for Failure {
    fn from(_: Interrupt) -> Self {
        Self::Interrupted
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Memory
    }
}

#[test]
fn those_who_have_come_to_a_barrier_keep_their_numbers() {
    in_every_mode(|runtime| {
        for promote_after in 0..3 {
            let barrier = local::Barrier::new(Label::default(), 3);
            let indexes = Arc::new(Mutex::new(Vec::new()));
            let mut threads = Vec::new();
            for me in 0..2 {
                if me == promote_after {
                    promote_barrier(&barrier);
                }
                let (own, indexes) = (Arc::clone(&barrier), Arc::clone(&indexes));
                threads.push(start(runtime, move || {
                    for _ in 0..5 {
                        let index = own.wait(&forever(), || Ok::<(), Failure>(())).unwrap();
                        indexes.lock().push(index);
                    }
                }));
                until_all_wait(&threads);
            }
            if promote_after == 2 {
                promote_barrier(&barrier);
            }
            assert_eq!(barrier.waiting(), 2);
            for _ in 0..5 {
                let index = barrier.wait(&forever(), || Ok::<(), Failure>(())).unwrap();
                indexes.lock().push(index);
            }
            join(runtime, threads);
            let mut all = indexes.lock().clone();
            all.sort_unstable();
            assert_eq!(all, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
            assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
        }
    });
}

#[test]
fn a_barrier_is_promoted_while_its_action_runs() {
    in_every_mode(|runtime| {
        for succeeds in [true, false] {
            let barrier = local::Barrier::new(Label::default(), 2);
            let expected = if succeeds { Ok(0) } else { Err(Failure::Broken) };
            let waiter = {
                let barrier = Arc::clone(&barrier);
                start(runtime, move || {
                    assert_eq!(barrier.wait(&forever(), || Ok::<(), Failure>(())), expected);
                })
            };
            until_all_wait(std::slice::from_ref(&waiter));
            let result = barrier.wait(&forever(), || {
                promote_barrier(&barrier);
                if succeeds { Ok(()) } else { Err(Failure::Memory) }
            });
            assert_eq!(result, if succeeds { Ok(1) } else { Err(Failure::Memory) });
            join(runtime, vec![waiter]);
            assert_eq!(barrier.is_broken(), !succeeds);
        }
    });
}

#[test]
fn a_deadline_from_before_the_promotion_breaks_the_barrier() {
    in_every_mode(|runtime| {
        let barrier = local::Barrier::new(Label::default(), 2);
        let waiter = {
            let barrier = Arc::clone(&barrier);
            start(runtime, move || {
                let wait = within(Duration::from_millis(30));
                assert_eq!(barrier.wait(&wait, || Ok::<(), Failure>(())), Err(Failure::Broken));
            })
        };
        until_all_wait(std::slice::from_ref(&waiter));
        promote_barrier(&barrier);
        join(runtime, vec![waiter]);
        assert!(barrier.is_broken());
        barrier.reset();
        assert!(!barrier.is_broken());
    });
}
