//! Promotion, step by step: a queue of threads is handed to another process while it is in use.

use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult};

use super::object::{Class, QueueHandle};
use crate::ipc::codec::{self, Purpose};
use crate::language::exception::Exception;
use crate::language::identity::Handle;
use crate::runtime::sync::{Arc, AtomicI64, AtomicU64, Mutex, Ordering};
use crate::runtime::{GilMode, Label, OnDeadlock, Runtime, Site, Thread, ThreadState, Wait, sleep_for};

fn queue(capacity: usize) -> QueueHandle {
    codec::register::<QueueHandle>();
    QueueHandle::new(Class::Queue, Label::default(), capacity, true)
}

fn forever() -> Wait {
    Wait::forever(Site::default())
}

fn at_once() -> Wait {
    Wait { deadline: None, try_only: true, site: Site::default() }
}

/// What happens when the queue is handed to a process: the process's handle of it.
fn hand_over(queue: &QueueHandle) -> Result<QueueHandle, String> {
    let message = codec::encode(&Dynamic::from(queue.clone()), Purpose::Start);
    let bytes = message.map_err(text)?.sent();
    Ok(codec::decode(&bytes, Vec::new()).map_err(text)?.cast())
}

fn text(error: impl AsRef<EvalAltResult>) -> String {
    match error.as_ref() {
        EvalAltResult::ErrorRuntime(thrown, _) => thrown.clone().cast::<Exception>().message().to_string(),
        other => other.to_string(),
    }
}

/// Runs `body` in the main thread of a runtime, for every mode of the lock.
fn in_every_mode(body: impl Fn(&Arc<Runtime>)) {
    for mode in GilMode::ALL {
        let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
        runtime.run_main(|| body(&runtime));
        assert_eq!(runtime.take_deadlock(), None);
    }
}

fn start(runtime: &Arc<Runtime>, body: impl FnOnce() + Send + 'static) -> Arc<Thread> {
    let thread = Thread::new(runtime, "worker", false);
    runtime.start(&thread, body, Site::default()).unwrap().unwrap();
    thread
}

fn pause() {
    sleep_for(Duration::from_millis(1), Site::default()).unwrap();
}

fn until_blocked(thread: &Arc<Thread>) {
    while !matches!(thread.state(), ThreadState::Blocked { .. }) {
        pause();
    }
}

fn join(runtime: &Arc<Runtime>, thread: &Arc<Thread>) {
    assert!(runtime.join(thread, &forever()).unwrap());
}

#[test]
fn items_and_their_count_go_along() {
    let queue = queue(5);
    (0..4_i64).for_each(|n| assert!(queue.put(n.into(), &forever()).unwrap()));
    assert_eq!(queue.get(&forever()).unwrap().unwrap().as_int(), Ok(0));
    let same = hand_over(&queue).unwrap();
    assert_eq!(same.identity(), queue.identity());
    assert_eq!((queue.len(), queue.unfinished(), queue.is_full()), (3, 4, false));
    assert!(queue.put(4.into(), &forever()).unwrap() && queue.put(5.into(), &forever()).unwrap());
    assert!(queue.is_full() && !queue.put(6.into(), &at_once()).unwrap());
    for n in 1..=5 {
        assert_eq!(queue.get(&at_once()).unwrap().unwrap().as_int(), Ok(n));
    }
    assert!(queue.get(&at_once()).unwrap().is_none());
    assert!((0..6).all(|_| queue.task_done()));
    assert!(!queue.task_done());
    queue.join(&forever()).unwrap();
}

#[test]
fn an_item_that_cannot_travel_refuses_and_changes_nothing() {
    #[derive(Clone)]
    struct Rooted;
    let queue = queue(0);
    assert!(queue.put(1.into(), &forever()).unwrap());
    assert!(queue.put(Dynamic::from(Rooted), &forever()).unwrap());
    let error = hand_over(&queue).err().unwrap();
    assert!(error.contains("item 1 of the queue"), "{error}");
    assert_eq!((queue.len(), queue.unfinished()), (2, 2));
    assert_eq!(queue.get(&forever()).unwrap().unwrap().as_int(), Ok(1));
    assert!(queue.get(&forever()).unwrap().unwrap().is::<Rooted>());
    assert!(hand_over(&queue).is_ok());
}

/// Each kind of waiter is asleep when the queue is handed over, and is served by what happens to it afterwards.
#[test]
fn waiters_go_on_waiting_in_shared_memory() {
    in_every_mode(|runtime| {
        let (empty, full) = (queue(0), queue(1));
        assert!(full.put(1.into(), &forever()).unwrap());
        let got = Arc::new(AtomicI64::new(0));
        let getter = start(runtime, {
            let (queue, got) = (empty.clone(), Arc::clone(&got));
            move || got.store(queue.get(&forever()).unwrap().unwrap().as_int().unwrap(), Ordering::Relaxed)
        });
        let putter = start(runtime, {
            let queue = full.clone();
            move || assert!(queue.put(2.into(), &forever()).unwrap())
        });
        let joiner = start(runtime, {
            let queue = full.clone();
            move || queue.join(&forever()).unwrap()
        });
        [&getter, &putter, &joiner].into_iter().for_each(until_blocked);
        let (empty, full) = (hand_over(&empty).unwrap(), hand_over(&full).unwrap());
        assert!(empty.put(7.into(), &forever()).unwrap());
        join(runtime, &getter);
        assert_eq!(got.load(Ordering::Relaxed), 7);
        assert_eq!(full.get(&forever()).unwrap().unwrap().as_int(), Ok(1));
        join(runtime, &putter);
        assert_eq!(full.get(&forever()).unwrap().unwrap().as_int(), Ok(2));
        assert!(full.task_done() && joiner.is_alive() && full.task_done());
        join(runtime, &joiner);
    });
}

/// A deadline from before the step still holds after it.
#[test]
fn a_deadline_stays_where_it_was() {
    in_every_mode(|runtime| {
        let queue = queue(0);
        let took = Arc::new(Mutex::new(None));
        let begin = Instant::now();
        let wait = Wait {
            deadline: Some(begin + Duration::from_millis(60)),
            try_only: false,
            site: Site::default(),
        };
        let getter = start(runtime, {
            let (queue, took) = (queue.clone(), Arc::clone(&took));
            move || {
                assert!(queue.get(&wait).unwrap().is_none());
                *took.lock() = Some(begin.elapsed());
            }
        });
        until_blocked(&getter);
        hand_over(&queue).unwrap();
        join(runtime, &getter);
        assert!(took.lock().unwrap() >= Duration::from_millis(60));
    });
}

/// Threads put, get and report while the queue is handed over, at a different moment each time: nothing is lost,
/// doubled or out of a producer's order.
#[test]
fn promotion_in_the_middle_of_the_traffic() {
    in_every_mode(|runtime| {
        for round in 0..20_u64 {
            let queue = queue(if round % 2 == 0 { 0 } else { 3 });
            let each = 300_i64;
            let (sum, under_way) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)));
            let producers = [0, 1].map(|me| {
                let (queue, under_way) = (queue.clone(), Arc::clone(&under_way));
                start(runtime, move || {
                    for n in 0..each {
                        assert!(queue.put((me * 1000 + n).into(), &forever()).unwrap());
                        under_way.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            let consumers = [0, 1].map(|_| {
                let (queue, sum) = (queue.clone(), Arc::clone(&sum));
                start(runtime, move || {
                    let mut last = [-1; 2];
                    while let Ok(n) = queue.get(&forever()).unwrap().unwrap().as_int() {
                        let last = &mut last[(n / 1000) as usize];
                        assert!(*last < n, "out of order");
                        *last = n;
                        sum.fetch_add(n, Ordering::Relaxed);
                        assert!(queue.task_done());
                    }
                    assert!(queue.task_done());
                })
            });
            while under_way.load(Ordering::Relaxed) < round * 15 {
                sleep_for(Duration::from_micros(10), Site::default()).unwrap();
            }
            let there = hand_over(&queue).unwrap();
            producers.iter().for_each(|thread| join(runtime, thread));
            consumers.iter().for_each(|_| assert!(there.put(Dynamic::UNIT, &forever()).unwrap()));
            there.join(&forever()).unwrap();
            consumers.iter().for_each(|thread| join(runtime, thread));
            assert_eq!(sum.load(Ordering::Relaxed), (0..each).map(|n| 2 * n + 1000).sum::<i64>());
            assert_eq!((queue.len(), queue.unfinished()), (0, 0));
        }
    });
}

/// Queues that contain themselves and each other.
#[test]
fn circles_of_queues() {
    let (a, b) = (queue(0), queue(0));
    a.put(Dynamic::from(a.clone()), &forever()).unwrap();
    a.put(Dynamic::from(b.clone()), &forever()).unwrap();
    b.put(Dynamic::from(a.clone()), &forever()).unwrap();
    let there = hand_over(&a).unwrap();
    let itself = there.get(&at_once()).unwrap().unwrap().cast::<QueueHandle>();
    let other = there.get(&at_once()).unwrap().unwrap().cast::<QueueHandle>();
    assert_eq!((itself.identity(), other.identity()), (a.identity(), b.identity()));
    let back = other.get(&at_once()).unwrap().unwrap().cast::<QueueHandle>();
    assert_eq!(back.identity(), a.identity());
}

/// Threads that hand over queues which contain each other, at the same time.
#[test]
fn two_promotions_at_once() {
    for _ in 0..200 {
        let (a, b) = (queue(0), queue(0));
        a.put(Dynamic::from(b.clone()), &forever()).unwrap();
        b.put(Dynamic::from(a.clone()), &forever()).unwrap();
        std::thread::scope(|scope| {
            for queue in [&a, &b] {
                scope.spawn(|| assert_eq!(hand_over(queue).unwrap().len(), 1));
            }
        });
        for (queue, other) in [(&a, &b), (&b, &a)] {
            let item = queue.get(&at_once()).unwrap().unwrap().cast::<QueueHandle>();
            assert_eq!(item.identity(), other.identity());
        }
    }
}
