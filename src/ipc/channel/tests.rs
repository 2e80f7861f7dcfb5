//! What a channel promises: order, bounds, wake-ups, and that killed processes tear nothing.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::*;
use crate::ipc::arena;
use crate::ipc::own_process;
use crate::runtime::Site;
use crate::runtime::sync::AtomicU64;

fn forever() -> Wait {
    Wait::forever(Site::default())
}

fn at_once() -> Wait {
    Wait { deadline: None, try_only: true, site: Site::default() }
}

fn within(time: Duration) -> Wait {
    Wait { deadline: Some(Instant::now() + time), try_only: false, site: Site::default() }
}

const LONG: Duration = Duration::from_secs(60);

/// A message whose bytes follow from its first 16: who sent it, and which of his it is.
fn message(sender: u64, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = [sender.to_le_bytes(), number.to_le_bytes()].concat();
    let mut state = sender << 32 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    while bytes.len() < length.max(16) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push((state >> 56) as u8);
    }
    bytes
}

/// Who sent a message and which of his it is; nothing if a byte of it is wrong.
fn check(bytes: &[u8]) -> Option<(u64, u64)> {
    let sender = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let number = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    (message(sender, number, bytes.len()) == bytes).then_some((sender, number))
}

/// Lengths of all kinds: mostly short, some that need a block.
fn length_of(number: u64) -> usize {
    match number % 40 {
        0 => 9_000 + (number % 7_000) as usize,
        1..10 => (number % 3_000) as usize,
        _ => 16 + (number % 50) as usize,
    }
}

/// Two threads may both be asleep although one of them has woken the other: he has not got to run yet.
#[test]
fn who_waits_for_what_is_there_is_not_stuck() {
    use super::lonely::ALL_DONE;
    let channel = Channel::new(1).unwrap().named(Default::default());
    let is_stuck = |wanted| !channel.reason(wanted).is_external(LONG);
    let stuck = || [is_stuck(&ITEM), is_stuck(&ROOM), is_stuck(&ALL_DONE)];
    assert_eq!(stuck(), [true, false, false]);
    assert!(channel.send(&message(1, 1, 16), &at_once()).unwrap());
    assert_eq!(stuck(), [false, true, true]);
    assert!(channel.receive(&at_once()).unwrap().is_some());
    assert_eq!(stuck(), [true, false, true]);
}

#[test]
fn a_run_may_grow_and_a_single_message_is_not_waited_for() {
    let channel = Channel::new(100).unwrap();
    let send = |count: usize| (0..count).for_each(|_| assert!(channel.send(b"m", &at_once()).unwrap()));
    let receive_all = || while channel.receive(&at_once()).unwrap().is_some() {};
    receive_all();
    assert_eq!(channel.gathering(), Duration::ZERO, "nothing has come yet");
    for _ in 0..3 {
        send(1);
        receive_all();
        assert_eq!(channel.gathering(), Duration::ZERO, "a reply");
    }
    send(11);
    receive_all();
    assert_eq!(channel.gathering(), 10 * PER_MESSAGE);
    receive_all();
    assert_eq!(channel.gathering(), 10 * PER_MESSAGE, "to look once more changes nothing");
    send(100);
    receive_all();
    assert_eq!(channel.gathering(), LONGEST_GATHERING);
    send(1);
    receive_all();
    assert_eq!(channel.gathering(), Duration::ZERO, "the stream is over");
    // The same for who waits for room.
    assert_eq!(channel.state.sending.gathering(), Duration::ZERO);
    send(100);
    assert!(!channel.send(b"m", &at_once()).unwrap());
    assert_eq!(channel.state.sending.gathering(), LONGEST_GATHERING);
}

#[test]
fn messages_of_every_length_come_out_in_order() {
    let channel = Channel::new(0).unwrap();
    let lengths = [0, 1, 7, 8, 9, 4_000, 4_096, 8_191, 8_192, 8_193, 65_536, 1_000_000, 3, 70_000, 0];
    for _ in 0..20 {
        for (i, length) in lengths.into_iter().enumerate() {
            assert!(channel.send(&vec![i as u8; length], &at_once()).unwrap());
        }
        assert_eq!(channel.len(), lengths.len());
        for (i, length) in lengths.into_iter().enumerate() {
            let received = channel.receive(&at_once()).unwrap().unwrap();
            assert!(received.len() == length && received.iter().all(|byte| *byte == i as u8), "{length}");
        }
        assert_eq!(channel.receive(&at_once()).unwrap(), None);
    }
}

#[test]
fn a_bound_is_kept() {
    let channel = Channel::new(2).unwrap();
    assert!(channel.send(b"a", &at_once()).unwrap() && channel.send(b"b", &at_once()).unwrap());
    assert!(channel.is_full());
    assert!(!channel.send(b"c", &at_once()).unwrap());
    assert!(!channel.send(&[b'c'; 20_000], &within(Duration::from_millis(5))).unwrap());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| channel.send(b"c", &forever()));
        while channel.state.receiving.outer.sleepers.is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(channel.receive(&forever()).unwrap().unwrap(), b"a");
        assert!(sender.join().unwrap().unwrap());
    });
    assert_eq!(channel.len(), 2);
    assert_eq!(channel.receive(&forever()).unwrap().unwrap(), b"b");
    assert_eq!(channel.receive(&forever()).unwrap().unwrap(), b"c");
}

/// A read that panics, as a decoder might, has taken its message and holds nothing.
#[test]
fn a_bound_for_bytes_is_kept() {
    let channel = Channel::with_most_bytes(1_000, 1 << 20).unwrap();
    let send = |length: usize| channel.send(&message(1, 0, length), &at_once()).unwrap();
    let take = || channel.receive_with(&at_once(), |bytes| bytes.len()).unwrap();
    for _ in 0..3 {
        assert_eq!((0..).take_while(|_| send(100_000)).count(), 10);
        assert!(send(SHORT as usize), "short ones are not counted");
        assert!(!send(SHORT as usize + 50_000));
        assert_eq!(take(), Some(100_000));
        assert!(send(100_000));
        assert!(!send(100_000));
        while take().is_some() {}
        assert!(send(5 << 20), "nothing is under way: any length goes");
        assert!(!send(100));
        assert_eq!(take(), Some(5 << 20));
        assert!(send(100_000));
        assert_eq!(take(), Some(100_000));
    }
}

#[test]
fn a_wait_for_room_can_be_called_off() {
    let channel = Channel::new(1).unwrap();
    let is_off = AtomicU32::new(0);
    assert!(channel.send(b"first", &at_once()).unwrap());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            channel.send_unless(Parts::whole(b"second"), forever, || is_off.load(Ordering::SeqCst) != 0)
        });
        is_off.store(1, Ordering::SeqCst);
        while !sender.is_finished() {
            channel.wake_senders();
            std::thread::yield_now();
        }
        assert!(!sender.join().unwrap().unwrap());
    });
    assert_eq!(channel.len(), 1);
}

#[test]
fn a_panic_of_the_reader_blocks_nobody() {
    let channel = Channel::new(0).unwrap();
    for length in [10, 100_000] {
        channel.send(&vec![1; length], &forever()).unwrap();
        channel.send(&vec![2; length], &forever()).unwrap();
        let read = || channel.receive_with(&forever(), |_| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).is_err());
        assert_eq!(channel.receive(&within(LONG)).unwrap().unwrap(), vec![2; length]);
    }
}

/// Every receiver asleep gets its message by a wake-up of its own: were one lost, its sleep would last the half
/// second after which a sleeper looks again, and the rounds would take minutes.
#[test]
fn no_wake_up_is_lost() {
    let (there, back) = (Channel::new(3).unwrap(), Channel::new(3).unwrap());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(message) = there.receive(&forever()).unwrap().filter(|m| !m.is_empty()) {
                    assert!(back.send(&message, &forever()).unwrap());
                }
            });
        }
        for _ in 0..300 {
            for _ in 0..4 {
                assert!(there.send(b"x", &forever()).unwrap());
            }
            for _ in 0..4 {
                back.receive(&forever()).unwrap().unwrap();
            }
        }
        for _ in 0..4 {
            assert!(there.send(b"", &forever()).unwrap());
        }
    });
    assert!(began.elapsed() < Duration::from_secs(40), "{:?} for 300 rounds", began.elapsed());
}

/// Waits that end by the clock at the moment at which a message arrives lose neither the message nor the wake-up.
#[test]
fn a_timeout_at_the_moment_of_an_arrival_loses_nothing() {
    let channel = Channel::new(1).unwrap();
    let rounds = 3_000_u64;
    let (mut sent, mut received) = (0, 0);
    std::thread::scope(|scope| {
        let receivers = [0, 1].map(|me| {
            let channel = &channel;
            scope.spawn(move || {
                let mut got = 0;
                for round in 0.. {
                    let wait = within(Duration::from_micros(round * (7 + me) % 60));
                    match channel.receive(&wait).unwrap() {
                        Some(message) if message.is_empty() => return got,
                        Some(_) => got += 1,
                        None => {}
                    }
                }
                got
            })
        });
        for round in 0..rounds {
            let wait = within(Duration::from_micros(round * 11 % 60));
            sent += u64::from(channel.send(b"x", &wait).unwrap());
        }
        for _ in &receivers {
            assert!(channel.send(b"", &within(LONG)).unwrap());
        }
        received = receivers.map(|receiver| receiver.join().unwrap()).iter().sum();
    });
    assert!(sent > 0);
    assert_eq!(sent, received);
}

/// The segments that were read are used again: a queue that never grows long stays small however much goes
/// through it.
#[test]
fn segments_are_used_again() {
    let channel = Channel::new(0).unwrap();
    let mut segments = std::collections::HashSet::new();
    for number in 0..20_000_u64 {
        channel.send(&message(1, number, 500), &at_once()).unwrap();
        if number >= 20 {
            assert!(
                channel.receive_with(&at_once(), |m| check(m) == Some((1, number - 20))).unwrap().unwrap()
            );
        }
        let sending = &channel.state.sending;
        segments.insert(sending.place(sending.outer.count.load(Ordering::Relaxed)).get().0);
    }
    assert!(segments.len() <= 4, "10 MB went through {} segments", segments.len());
}

fn memory_in_use() -> u64 {
    rustix::fs::fstat(arena::file().unwrap().as_fd()).unwrap().st_blocks as u64 * 512
}

/// The memory of messages that were received, or that nobody will receive, goes back to the system.
#[test]
fn memory_is_returned() {
    let megabytes = 300_u64 << 20;
    for is_received in [true, false] {
        let channel = Channel::new(0).unwrap();
        for number in 0..megabytes / 2 / 500_000 {
            channel.send(&message(1, number, 500_000), &at_once()).unwrap();
        }
        let short = vec![7; 8_000];
        for _ in 0..megabytes / 2 / 8_000 {
            channel.send(&short, &at_once()).unwrap();
        }
        let most = memory_in_use();
        assert!(most > megabytes - (megabytes >> 3));
        while is_received && channel.receive_with(&at_once(), |_| ()).unwrap().is_some() {}
        drop(channel);
        // Other tests share the arena, and need far less than this.
        assert!(memory_in_use() < most - megabytes / 2, "received: {is_received}");
    }
}

/// Runs `body` in a child, which ends with 0 if it returns true.
fn fork(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child runs only what is here and ends without returning into the test.
    match unsafe { libc::fork() } {
        0 => {
            crate::ipc::after_fork();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => child,
    }
}

fn reap(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a child of this test.
    unsafe { libc::waitpid(child, &mut status, 0) };
    status
}

fn send_all(channel: &Channel, sender: u64, numbers: std::ops::Range<u64>) -> bool {
    numbers
        .into_iter()
        .all(|n| channel.send(&message(sender, n, length_of(n)), &within(LONG)).unwrap_or(false))
}

/// Receives until an empty message comes, and reports how many whole messages came and the sum of their numbers;
/// false if one was torn, or two of one sender came in the wrong order.
fn receive_all(channel: &Channel, report: &Channel) -> bool {
    let (mut count, mut sum) = (0_u64, 0_u64);
    let mut last = [None; 8];
    while let Ok(Some(bytes)) = channel.receive(&within(LONG)) {
        if bytes.is_empty() {
            let result = [count.to_le_bytes(), sum.to_le_bytes()].concat();
            return report.send(&result, &within(LONG)).unwrap_or(false);
        }
        let Some((sender, number)) = check(&bytes) else { return false };
        let last = &mut last[sender as usize];
        if last.is_some_and(|last| last >= number) {
            return false;
        }
        *last = Some(number);
        count += 1;
        sum += number;
    }
    false
}

/// Two sending and two receiving processes, with messages that were there before and made the channel grow.
#[test]
fn two_senders_and_two_receivers_after_growth() {
    if !own_process::is_own() {
        return;
    }
    for capacity in [0, 50] {
        let (channel, report) = (Channel::new(capacity).unwrap(), Channel::new(0).unwrap());
        let each = 20_000_u64;
        let before = if capacity == 0 { 20_000 } else { 40 };
        assert!(send_all(&channel, 0, 0..before));
        let receivers = [0, 1].map(|_| fork(|| receive_all(&channel, &report)));
        let senders = [1, 2].map(|me| {
            let channel = channel.clone();
            fork(move || send_all(&channel, me, 0..each))
        });
        assert_eq!(senders.map(reap), [0, 0]);
        for _ in receivers {
            assert!(channel.send(b"", &within(LONG)).unwrap());
        }
        assert_eq!(receivers.map(reap), [0, 0], "torn or out of order");
        let (mut count, mut sum) = (0, 0);
        for _ in receivers {
            let result = report.receive(&within(LONG)).unwrap().unwrap();
            count += u64::from_le_bytes(result[..8].try_into().unwrap());
            sum += u64::from_le_bytes(result[8..].try_into().unwrap());
        }
        assert_eq!(count, before + 2 * each);
        assert_eq!(sum, (0..before).sum::<u64>() + 2 * (0..each).sum::<u64>());
    }
}

/// Counts that the storm's processes share.
struct Tally {
    received: AtomicU64,
    torn: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Zeroed for Tally {
    const KIND: u32 = 0x5441;
}

/// Senders and receivers are killed every few milliseconds, hundreds of times; the others go on, and nothing that
/// comes out is torn.
#[test]
fn a_storm_of_kills_tears_nothing_and_blocks_nobody() {
    if !own_process::is_own() {
        return;
    }
    for (capacity, bytes) in [(100, 0), (0, 0), (0, 200_000)] {
        let channel = Channel::with_most_bytes(capacity, bytes).unwrap();
        let tally = Shared::<Tally>::new().unwrap();
        let send = |me: u64| {
            let mut number = 0;
            loop {
                // Not too far ahead of the receivers, of whom two may be dead.
                if channel.len() < 5_000
                    && !channel.send(&message(me, number, length_of(number)), &within(LONG)).unwrap()
                {
                    return false;
                }
                number += 1;
            }
        };
        let receive = || loop {
            match channel.receive(&within(LONG)).unwrap().as_deref().map(check) {
                Some(Some(_)) => tally.received.fetch_add(1, Ordering::Relaxed),
                _ => tally.torn.fetch_add(1, Ordering::Relaxed),
            };
        };
        let start = |place: usize| match place {
            0 | 1 => fork(|| send(place as u64)),
            _ => fork(receive),
        };
        let mut children = [0, 1, 2, 3].map(start);
        for round in 0..250_u64 {
            std::thread::sleep(Duration::from_micros(500 + round * 977 % 2_000));
            let before = tally.received.load(Ordering::Relaxed);
            let victim = (round * 7 % 11 % 4) as usize;
            // SAFETY: a child of this test.
            unsafe { libc::kill(children[victim], libc::SIGKILL) };
            reap(children[victim]);
            children[victim] = start(victim);
            let began = Instant::now();
            while tally.received.load(Ordering::Relaxed) <= before {
                assert!(began.elapsed() < LONG, "nothing moves after kill {round}");
                std::thread::yield_now();
            }
        }
        for child in children {
            // SAFETY: a child of this test.
            unsafe { libc::kill(child, libc::SIGKILL) };
            reap(child);
        }
        while let Some(bytes) = channel.receive(&at_once()).unwrap() {
            assert!(check(&bytes).is_some(), "torn");
        }
        assert_eq!(tally.torn.load(Ordering::Relaxed), 0, "torn");
        assert!(send_all(&channel, 5, 0..90));
        for number in 0..90 {
            assert_eq!(channel.receive_with(&at_once(), check).unwrap(), Some(Some((5, number))));
        }
        if bytes > 0 {
            let room = (0..).take_while(|_| channel.send(&[0; 10_000], &at_once()).unwrap()).count();
            assert_eq!(room, 20, "not one byte more or less is counted as under way");
        }
    }
}

/// When the arena is full a send is an error, what was sent before stays, and the channel goes on afterwards.
#[test]
fn a_full_arena_is_an_error() {
    const ALONE: &str = "ONELOCK_TEST_FULL_ARENA";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own: the other tests need the arena.
        let test = "ipc::channel::tests::a_full_arena_is_an_error";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads", "1", "-q"])
            .env(ALONE, "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    let channel = Channel::new(0).unwrap();
    channel.send(b"first", &at_once()).unwrap();
    let mut taken = Vec::new();
    for power in (6..=44).rev() {
        while let Ok(block) = arena::allocate(1 << power) {
            taken.push((block, 1 << power));
        }
    }
    let mut sent = 1;
    let error = loop {
        match channel.send(&message(1, sent, 1_000), &at_once()) {
            Ok(true) => sent += 1,
            Ok(false) => unreachable!("there is no bound"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendError::Memory(_)), "{error}");
    assert!(matches!(channel.send(&[0; 100_000], &at_once()), Err(SendError::Memory(_))));
    assert_eq!(channel.len() as u64, sent);
    taken.into_iter().for_each(|(block, bytes)| arena::release(block, bytes));
    assert!(channel.send(&message(1, sent, 1_000), &at_once()).unwrap());
    assert_eq!(channel.receive(&at_once()).unwrap().unwrap(), b"first");
    for number in 1..=sent {
        assert_eq!(channel.receive_with(&at_once(), check).unwrap(), Some(Some((1, number))));
    }
}

/// A channel handed over by its place is the same one, and lives as long as one of its handles.
#[test]
fn handles_are_adopted() {
    let channel = Channel::new(0).unwrap();
    let same = Channel::from(Shared::adopt(channel.shared().lend()).unwrap());
    channel.send(b"x", &at_once()).unwrap();
    let place = same.place();
    drop(channel);
    assert_eq!(same.receive(&at_once()).unwrap().unwrap(), b"x");
    drop(same);
    assert!(Shared::<State>::adopt(place).is_none());
}

/// Waiters for the end of all tasks come through, however many there are and whoever reports the last one.
#[test]
fn joining_waits_for_every_task() {
    let channel = Channel::new(0).unwrap();
    assert!(!channel.task_done());
    assert!(channel.join(&at_once()).unwrap());
    for _ in 0..100 {
        (0..3).for_each(|_| assert!(channel.send(b"x", &at_once()).unwrap()));
        assert!(!channel.join(&within(Duration::from_micros(50))).unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    assert!(channel.join(&within(LONG)).unwrap());
                    assert!(done.load(Ordering::SeqCst), "joined before the last task was done");
                });
            }
            assert!(channel.task_done() && channel.task_done());
            assert_eq!(channel.unfinished(), 1);
            done.store(true, Ordering::SeqCst);
            assert!(channel.task_done());
        });
        (0..3).for_each(|_| assert!(channel.receive(&at_once()).unwrap().is_some()));
        assert!(!channel.task_done());
    }
    channel.set_unfinished(2);
    assert_eq!(channel.unfinished(), 2);
    assert!(channel.task_done() && channel.task_done() && !channel.task_done());
}

/// Tasks reported by processes at the same time: the parent's `join` ends after the last of them and not before.
#[test]
fn tasks_are_done_by_other_processes() {
    if !own_process::is_own() {
        return;
    }
    let channel = Channel::new(0).unwrap();
    let each = 3_000;
    assert!(send_all(&channel, 0, 0..2 * each));
    let work = || (0..each).all(|_| channel.receive(&within(LONG)).unwrap().is_some() && channel.task_done());
    let children = [0, 1].map(|_| fork(work));
    assert!(channel.join(&within(LONG)).unwrap());
    assert_eq!((channel.len(), channel.unfinished()), (0, 0));
    assert_eq!(children.map(reap), [0, 0]);
}
