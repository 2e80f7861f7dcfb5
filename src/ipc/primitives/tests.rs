//! Processes that are killed while they hold, wait, or are inside.

use std::time::{Duration, Instant};

use super::*;
use crate::ipc::family::{self, End};
use crate::ipc::own_process;
use crate::ipc::{Shared, Zeroed};
use crate::runtime::primitives::{BrokenBarrier, WaitError};
use crate::runtime::sync::{Arc, AtomicU64, Ordering};
use crate::runtime::{GilMode, Interrupt, Label, OnDeadlock, Runtime, Site, Wait};

type Pid = libc::pid_t;

/// Forks a child that runs `f` and exits with what it returns.
fn fork(f: impl FnOnce() -> i32) -> Pid {
    // Known before, so that the children need not read it from /proc.
    family::Member::own();
    // SAFETY: the child uses the objects of the test only, and ends by _exit or is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        crate::ipc::after_fork();
        family::set_name("Process-1");
        let status = f();
        // SAFETY: ends the process without running anything of the parent's.
        unsafe { libc::_exit(status) };
    }
    child
}

/// Ends the child with SIGKILL and reaps it, as the interpreter does.
fn kill(child: Pid) {
    // SAFETY: plain system calls on a child of this test, which is left to be reaped last.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        let mut info = std::mem::MaybeUninit::uninit();
        libc::waitid(libc::P_PID, child as u32, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT);
    }
    family::ended(child as u32, End::Killed(libc::SIGKILL));
    reap(child);
}

/// Waits for the child's end; its exit code, or the negative number of a signal.
fn reap(child: Pid) -> i32 {
    let mut status = 0;
    // SAFETY: a plain system call on a child of this test.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

fn label() -> Label {
    Label { class: "Lock", ..Label::default() }
}

fn forever() -> Wait {
    Wait::forever(Site::default())
}

fn within(time: Duration) -> Wait {
    Wait { deadline: Some(Instant::now() + time), ..forever() }
}

fn at_once() -> Wait {
    Wait { try_only: true, ..forever() }
}

/// Numbers that tests and their children share.
#[derive(Default)]
struct Numbers([AtomicU64; 4]);

// SAFETY: atomics.
unsafe impl Zeroed for Numbers {
    const KIND: u32 = 0x6e75;
}

impl Numbers {
    fn new() -> Shared<Self> {
        Shared::new().unwrap()
    }

    fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::SeqCst)
    }

    fn add(&self, index: usize) -> u64 {
        self.0[index].fetch_add(1, Ordering::SeqCst)
    }

    /// Adds without an atomic addition: only a lock makes it right.
    fn add_torn(&self, index: usize) {
        let before = self.0[index].load(Ordering::Relaxed);
        std::hint::black_box(before);
        self.0[index].store(before + 1, Ordering::Relaxed);
    }

    /// Waits until the number is at least `least`.
    fn until(&self, index: usize, least: u64) {
        let limit = Instant::now() + Duration::from_secs(60);
        while self.get(index) < least {
            assert!(Instant::now() < limit, "number {index} is {} and not {least}", self.get(index));
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

#[test]
fn a_lock_is_one_processes_at_a_time() {
    if !own_process::is_own() {
        return;
    }
    let (lock, numbers) = (Lock::new(label()).unwrap(), Numbers::new());
    let count = || {
        for _ in 0..5000 {
            assert!(lock.acquire(&forever()).unwrap());
            numbers.add_torn(0);
            lock.release().unwrap();
        }
        0
    };
    let children = [fork(count), fork(count)];
    count();
    assert_eq!(children.map(reap), [0, 0]);
    assert_eq!(numbers.get(0), 15_000);
}

#[test]
fn another_process_may_release_a_lock() {
    if !own_process::is_own() {
        return;
    }
    let lock = Lock::new(label()).unwrap();
    assert!(lock.acquire(&forever()).unwrap());
    let child = fork(|| i32::from(lock.release().is_err()));
    assert_eq!(reap(child), 0);
    assert!(!lock.is_locked());
    assert!(lock.release().is_err(), "it is free");
}

#[test]
fn a_reentrant_lock_is_one_threads() {
    if !own_process::is_own() {
        return;
    }
    let lock = RLock::new(label()).unwrap();
    assert!(lock.acquire_times(3, &forever()).unwrap());
    let child = fork(|| {
        i32::from(lock.is_owned())
            + i32::from(lock.release().is_ok()) * 2
            + i32::from(lock.acquire(&at_once()).unwrap()) * 4
    });
    assert_eq!(reap(child), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(lock.release().is_err() && !lock.acquire(&at_once()).unwrap()));
    });
    for _ in 0..3 {
        lock.release().unwrap();
    }
    let child = fork(|| i32::from(!lock.acquire(&at_once()).unwrap()));
    assert_eq!(reap(child), 0, "free after as many releases");
}

#[test]
fn the_lock_of_a_killed_holder_stays_taken_and_says_whose_it_was() {
    if !own_process::is_own() {
        return;
    }
    let lock = Lock::new(label()).unwrap();
    let child = fork(|| {
        assert!(lock.acquire(&forever()).unwrap());
        loop {
            std::thread::park();
        }
    });
    while !lock.is_locked() {
        std::thread::yield_now();
    }
    let holder = lock.holder().unwrap();
    assert_eq!((holder.process().end(), holder.process().pid()), (None, Some(child as u32)));
    kill(child);
    assert!(!lock.acquire(&within(Duration::from_millis(20))).unwrap());
    assert_eq!(holder.process().end(), Some(End::Killed(libc::SIGKILL)));
    assert!(lock.release().is_ok(), "who knows better may free it");
    assert!(lock.acquire(&at_once()).unwrap());
}

/// Main waits for ever for what a killed process holds: that is the end of the run, and the report says whose.
#[test]
fn to_wait_for_a_killed_holder_is_a_deadlock() {
    if !own_process::is_own() {
        return;
    }
    for mode in GilMode::ALL {
        let lock =
            Lock::new(Label { class: "Lock", name: Some("mutex".into()), made: Site::default() }).unwrap();
        lock.state().lend();
        let child = fork(|| {
            assert!(lock.acquire(&Wait::forever(Site::new("a.rhai", 7))).unwrap());
            loop {
                std::thread::park();
            }
        });
        while !lock.is_locked() {
            std::thread::yield_now();
        }
        let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            kill(child);
        });
        let waited = runtime.run_main(|| lock.acquire(&Wait::forever(Site::new("a.rhai", 9))));
        killer.join().unwrap();
        assert_eq!(waited, Err(Interrupt::Stop));
        let report = runtime.take_deadlock().unwrap();
        let held = format!(
            "MainThread waits for Lock `mutex` at a.rhai, line 9, \
             held by Process-1 (pid {child}) since line 7, which was killed by SIGKILL: owner died"
        );
        assert!(report.contains(&held), "{report}");
    }
}

#[test]
fn to_wait_for_a_living_process_is_none() {
    if !own_process::is_own() {
        return;
    }
    let (lock, numbers) = (Lock::new(label()).unwrap(), Numbers::new());
    lock.state().lend();
    let child = fork(|| {
        assert!(lock.acquire(&forever()).unwrap());
        numbers.add(0);
        // Longer than it takes to call a deadlock one.
        std::thread::sleep(Duration::from_millis(1500));
        i32::from(lock.release().is_err())
    });
    numbers.until(0, 1);
    let runtime = Runtime::new(GilMode::default(), OnDeadlock::Exit, || {});
    assert_eq!(runtime.run_main(|| lock.acquire(&forever())), Ok(true));
    assert_eq!(runtime.take_deadlock(), None);
    assert_eq!(reap(child), 0);
}

/// Children that take and give back are killed at any moment. What one of them held is freed by the test, which
/// knows; the others go on, and what the lock protects is never seen half changed by two at once.
#[test]
fn a_storm_of_kills_leaves_the_lock_usable() {
    if !own_process::is_own() {
        return;
    }
    let (lock, numbers) = (Lock::new(label()).unwrap(), Numbers::new());
    let work = || -> i32 {
        loop {
            assert!(lock.acquire(&forever()).unwrap());
            assert_eq!(numbers.add(1), 0, "somebody else is inside");
            numbers.add_torn(0);
            numbers.0[1].store(0, Ordering::SeqCst);
            lock.release().unwrap();
        }
    };
    let mut children = vec![fork(work), fork(work), fork(work)];
    let mut held = 0;
    for round in 0..150_u64 {
        std::thread::sleep(Duration::from_micros(300 + round * 37 % 400));
        kill(children.remove(0));
        if lock.holder().is_some_and(|holder| holder.process().end().is_some()) {
            held += 1;
            numbers.0[1].store(0, Ordering::SeqCst);
            lock.release().unwrap();
        }
        let before = numbers.get(0);
        numbers.until(0, before + 1);
        children.push(fork(work));
    }
    assert!(held > 0, "none of 150 was killed with the lock");
    children.into_iter().for_each(kill);
}

#[test]
fn killed_waiters_take_no_permits_with_them() {
    if !own_process::is_own() {
        return;
    }
    let (semaphore, numbers) = (Semaphore::new(label(), 0, 100).unwrap(), Numbers::new());
    let wait = || {
        numbers.add(0);
        i32::from(!semaphore.acquire(&forever()).unwrap())
    };
    let mut children: Vec<Pid> = (0..6).map(|_| fork(wait)).collect();
    numbers.until(0, 6);
    children.drain(..3).for_each(kill);
    assert!(semaphore.release(3));
    assert!(children.into_iter().all(|child| reap(child) == 0));
    assert_eq!(semaphore.value(), 0);
    assert!(semaphore.release(100) && !semaphore.release(1), "no more than its bound");
    assert_eq!((semaphore.value(), semaphore.most()), (100, 100));
}

#[test]
fn an_event_wakes_every_process() {
    if !own_process::is_own() {
        return;
    }
    let (event, numbers) = (Event::new(label()).unwrap(), Numbers::new());
    assert!(!event.wait(&within(Duration::from_millis(5))).unwrap());
    let wait = || {
        numbers.add(0);
        i32::from(!event.wait(&forever()).unwrap())
    };
    let mut children: Vec<Pid> = (0..5).map(|_| fork(wait)).collect();
    numbers.until(0, 5);
    children.drain(..2).for_each(kill);
    event.set();
    assert!(children.into_iter().all(|child| reap(child) == 0));
    assert!(event.is_set() && event.wait(&at_once()).unwrap());
    event.clear();
    assert!(!event.is_set());
}

/// A waiter has seen the flag even if it was cleared before it came to look.
#[test]
fn a_set_that_is_cleared_at_once_wakes_all_the_same() {
    if !own_process::is_own() {
        return;
    }
    let (event, numbers) = (Event::new(label()).unwrap(), Numbers::new());
    let children: Vec<Pid> = (0..3)
        .map(|_| {
            fork(|| {
                for round in 0..50 {
                    let wait = Wait { deadline: None, ..forever() };
                    numbers.add(0);
                    if !event.wait(&wait).unwrap() {
                        return 1;
                    }
                    numbers.until(1, round + 1);
                }
                0
            })
        })
        .collect();
    for round in 0..50 {
        numbers.until(0, 3 * (round + 1));
        // They may not have begun to wait yet; then the flag, seen again and again, has to do.
        std::thread::sleep(Duration::from_millis(2));
        event.set();
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        event.clear();
        numbers.add(1);
    }
    for child in children {
        // Whoever was late for a set that was cleared at once still waits.
        for _ in 0..50 {
            event.set();
        }
        assert_eq!(reap(child), 0);
    }
}

fn condition() -> Arc<Condition> {
    Condition::new(Exclusive::RLock(RLock::new(label()).unwrap()), Line::new(label()).unwrap())
}

/// One wait of a child at the condition.
fn wait_at(condition: &Arc<Condition>, numbers: &Numbers) -> bool {
    assert!(condition.lock().acquire(&forever()).unwrap());
    numbers.add(0);
    let notified = condition.wait(None, Site::default()).unwrap().unwrap();
    let Exclusive::RLock(lock) = condition.lock() else { return false };
    notified && lock.release().is_ok()
}

fn notify(condition: &Condition, n: usize) {
    assert!(condition.lock().acquire(&forever()).unwrap());
    condition.notify(n);
    let Exclusive::RLock(lock) = condition.lock() else { return };
    lock.release().unwrap();
}

#[test]
fn a_notification_goes_to_those_who_live() {
    if !own_process::is_own() {
        return;
    }
    let (condition, numbers) = (condition(), Numbers::new());
    let mut children: Vec<Pid> = (0..6).map(|_| fork(|| i32::from(!wait_at(&condition, &numbers)))).collect();
    numbers.until(0, 6);
    while condition.waiting() < 6 {
        std::thread::yield_now();
    }
    children.drain(..3).for_each(kill);
    notify(&condition, 2);
    notify(&condition, 1);
    assert!(children.into_iter().all(|child| reap(child) == 0), "three notifications for three living");
    notify(&condition, usize::MAX);
    assert_eq!(condition.waiting(), 0, "the killed ones are come across at last");
}

#[test]
fn a_wait_without_the_lock_is_refused() {
    let condition = condition();
    assert!(matches!(condition.wait(None, Site::default()), Err(WaitError::NotOwned)));
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn a_wait_at_a_condition_ends_with_its_deadline_and_the_lock() {
    let condition = condition();
    let Exclusive::RLock(lock) = condition.lock() else { unreachable!() };
    assert!(lock.acquire_times(2, &forever()).unwrap());
    let deadline = Instant::now() + Duration::from_millis(10);
    assert_eq!(condition.wait(Some(deadline), Site::default()).unwrap(), Ok(false));
    assert_eq!(lock.owner().map(|(_, count)| count), Some(2), "taken as often as before");
    assert_eq!(condition.waiting(), 0);
}

/// Two processes wake each other by turns while a third one, which waits too, is killed again and again.
#[test]
fn a_storm_of_kills_leaves_the_condition_usable() {
    if !own_process::is_own() {
        return;
    }
    let (condition, numbers) = (condition(), Numbers::new());
    let take_turns = |mine: u64| {
        for _ in 0..300 {
            assert!(condition.lock().acquire(&forever()).unwrap());
            while numbers.get(2) % 2 != mine {
                assert!(condition.wait(None, Site::default()).unwrap().is_ok());
            }
            numbers.add(2);
            condition.notify(usize::MAX);
            let Exclusive::RLock(lock) = condition.lock() else { return 1 };
            lock.release().unwrap();
        }
        0
    };
    let children = [fork(|| take_turns(0)), fork(|| take_turns(1))];
    let mut killed = 0;
    while numbers.get(2) < 600 {
        let victim = fork(|| {
            assert!(condition.lock().acquire(&forever()).unwrap());
            numbers.add(3);
            loop {
                assert!(condition.wait(None, Site::default()).unwrap().is_ok());
            }
        });
        numbers.until(3, killed + 1);
        kill(victim);
        killed += 1;
        let Exclusive::RLock(lock) = condition.lock() else { unreachable!() };
        if lock.owner().is_some_and(|(owner, _)| owner.process().end().is_some()) {
            // It was killed between its waits and took the lock with it: enough.
            children.into_iter().for_each(kill);
            return;
        }
    }
    assert_eq!(children.map(reap), [0, 0]);
}

/// How a wait at a barrier failed.
#[derive(Debug, PartialEq)]
enum Failure {
    Broken,
    Interrupted,
    Action,
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

fn arrive(barrier: &Arc<Barrier>) -> Result<usize, Failure> {
    barrier.wait(&forever(), || Ok(()))
}

#[test]
fn a_barrier_opens_round_after_round() {
    if !own_process::is_own() {
        return;
    }
    let (barrier, numbers) = (Barrier::new(label(), 3).unwrap(), Numbers::new());
    let rounds = || {
        for round in 0..500_u64 {
            let arrived = barrier.wait(&forever(), || {
                numbers.add(1);
                Ok::<(), Failure>(())
            });
            match arrived {
                Ok(index) if index < 3 => numbers.0[0].fetch_add(index as u64, Ordering::SeqCst),
                _ => return 1,
            };
            if numbers.get(1) <= round {
                return 2;
            }
        }
        0
    };
    let children = [fork(rounds), fork(rounds)];
    assert_eq!(rounds(), 0);
    assert_eq!(children.map(reap), [0, 0]);
    assert_eq!((numbers.get(0), numbers.get(1)), (500 * 3, 500), "0, 1 and 2 once in every round");
    assert_eq!(barrier.waiting(), 0);
}

#[test]
fn who_is_late_breaks_the_barrier_for_all() {
    if !own_process::is_own() {
        return;
    }
    let (barrier, numbers) = (Barrier::new(label(), 3).unwrap(), Numbers::new());
    let child = fork(|| {
        numbers.add(0);
        i32::from(arrive(&barrier) != Err(Failure::Broken))
    });
    numbers.until(0, 1);
    let late = barrier.wait(&within(Duration::from_millis(20)), || Ok(()));
    assert_eq!(late, Err(Failure::Broken));
    assert_eq!(reap(child), 0);
    assert!(barrier.is_broken());
    assert_eq!(arrive(&barrier), Err(Failure::Broken));
    barrier.reset();
    assert!(!barrier.is_broken());
}

#[test]
fn a_failed_action_breaks_the_barrier() {
    let barrier = Barrier::new(label(), 1).unwrap();
    assert_eq!(barrier.wait(&forever(), || Err(Failure::Action)), Err(Failure::Action));
    assert!(barrier.is_broken());
}

#[test]
fn a_reset_sends_those_who_wait_away() {
    if !own_process::is_own() {
        return;
    }
    let (barrier, numbers) = (Barrier::new(label(), 2).unwrap(), Numbers::new());
    let child = fork(|| {
        numbers.add(0);
        i32::from(arrive(&barrier) != Err(Failure::Broken))
    });
    numbers.until(0, 1);
    while barrier.waiting() == 0 {
        std::thread::yield_now();
    }
    barrier.reset();
    assert_eq!(reap(child), 0);
    assert!(!barrier.is_broken() && barrier.waiting() == 0);
}

/// The last one to come is killed while it runs the action: nobody else would open the barrier.
#[test]
fn a_process_killed_in_the_action_breaks_the_barrier() {
    if !own_process::is_own() {
        return;
    }
    let (barrier, numbers) = (Barrier::new(label(), 2).unwrap(), Numbers::new());
    let waiting = fork(|| i32::from(arrive(&barrier) != Err(Failure::Broken)));
    while barrier.waiting() == 0 {
        std::thread::yield_now();
    }
    let acting = fork(|| {
        let _ = barrier.wait(&forever(), || {
            numbers.add(0);
            loop {
                std::thread::park();
            }
            #[expect(unreachable_code, reason = "the type of the action")]
            Ok::<(), Failure>(())
        });
        1
    });
    numbers.until(0, 1);
    let comes_later = fork(|| i32::from(arrive(&barrier) != Err(Failure::Broken)));
    kill(acting);
    assert_eq!([reap(waiting), reap(comes_later)], [0, 0]);
}

/// Processes at the barrier are killed again and again; an abort and a reset make it as new every time.
#[test]
fn a_storm_of_kills_leaves_the_barrier_usable() {
    if !own_process::is_own() {
        return;
    }
    let barrier = Barrier::new(label(), 3).unwrap();
    let began = Instant::now();
    for round in 0..60_u64 {
        // Where other programs keep the processors busy a round takes long.
        if round >= 10 && began.elapsed() > Duration::from_secs(3) {
            break;
        }
        let come_again = || loop {
            if arrive(&barrier).is_err() {
                return 0;
            }
        };
        let children = [fork(come_again), fork(come_again), fork(come_again)];
        std::thread::sleep(Duration::from_micros(500 + round * 91 % 900));
        kill(children[0]);
        barrier.abort();
        assert_eq!([reap(children[1]), reap(children[2])], [0, 0]);
        barrier.reset();
        assert!(!barrier.is_broken() && barrier.waiting() == 0);
    }
    let child = fork(|| i32::from(arrive(&barrier).is_err()));
    let other = fork(|| i32::from(arrive(&barrier).is_err()));
    assert!(arrive(&barrier).is_ok());
    assert_eq!([reap(child), reap(other)], [0, 0]);
}
