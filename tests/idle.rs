//! Whoever waits computes nothing: seen by the time that the kernel gave to the program's threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Everything that can be waited for without end, each by a process or a thread of its own.
const EVERYBODY_WAITS: &str = r#"
    from multiprocessing import Manager, Pool, Pipe;
    from concurrent::futures import ProcessPoolExecutor, ThreadPoolExecutor;

    global kept = [];
    fn in_process(target, args) { kept.append(args); Process(#{ target: target, args: args, daemon: true }).start(); }
    fn in_thread(target, args) { kept.append(args); Thread(#{ target: target, args: args, daemon: true }).start(); }

    let lock = multiprocessing::Lock();
    let never = multiprocessing::Event();
    lock.acquire();
    for start in [in_process, in_thread] {
        start.call(|l| l.acquire(), [lock]);
        start.call(|e| e.wait(), [never]);
        start.call(|c| with c { c.wait(); }, [multiprocessing::Condition()]);
        start.call(|b| b.wait(), [multiprocessing::Barrier(2)]);
        start.call(|s| s.acquire(), [multiprocessing::Semaphore(0)]);
        start.call(|q| q.get(), [multiprocessing::Queue()]);
        start.call(|q| q.get(), [multiprocessing::SimpleQueue()]);
        let full = multiprocessing::Queue(1);
        full.put(1);
        start.call(|q| q.put(2), [full]);
        let unfinished = multiprocessing::JoinableQueue();
        unfinished.put(1);
        start.call(|q| q.join(), [unfinished]);
        let ends = Pipe();
        start.call(|c| c.recv(), [ends[0]]);
        kept.append(ends);
    }
    in_thread(|q| q.get(), [queue::Queue()]);
    in_thread(|e| e.wait(), [threading::Event()]);
    in_thread(|| time::sleep(3600), []);
    let m = Manager();
    let d = m.dict(#{ a: 1 });
    in_process(|q| q.get(), [m.Queue()]);
    assert_eq(d["a"], 1);
    let pool = Pool(2);
    assert_eq(pool.apply(|x| x + 1, [1]), 2);
    let processes = ProcessPoolExecutor(2);
    assert_eq(processes.submit(|x| x + 1, 1).result(), 2);
    let threads = ThreadPoolExecutor(2);
    assert_eq(threads.submit(|x| x + 1, 1).result(), 2);
    print("everybody waits");
    never.wait();
"#;

/// How much of a core everybody together may use: none of it, but what the kernel itself does on a wake-up.
const SHARE: f64 = 0.05;
/// How often a thread may look round in a second.
const LOOKS: f64 = 12.0;

/// What a thread has done so far.
#[derive(Clone, Copy, Default)]
struct Done {
    /// Nanoseconds on a processor.
    computed: u64,
    /// How often it fell asleep.
    sleeps: u64,
}

/// The threads of all processes of a group, by their names and numbers.
fn threads(group: u32) -> BTreeMap<String, Done> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
        let belongs = stat.rsplit_once(')').is_some_and(|(_, rest)| {
            rest.split_whitespace().nth(2).is_some_and(|field| field == group.to_string())
        });
        if !belongs {
            continue;
        }
        for task in fs::read_dir(process.path().join("task")).into_iter().flatten().flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let times = read("schedstat");
            let status = read("status");
            let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            let name = format!("{} {}", task.path().display(), read("comm").trim());
            let done = Done {
                computed: times.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0),
                sleeps: sleeps.and_then(|count| count.trim().parse().ok()).unwrap_or(0),
            };
            found.insert(name, done);
        }
    }
    found
}

/// What each thread did within a second and more: the share of a core that all used, and who looked round too often.
fn watch(group: u32) -> (f64, Vec<String>) {
    let (before, began) = (threads(group), Instant::now());
    thread::sleep(Duration::from_secs(1));
    let (after, seconds) = (threads(group), began.elapsed().as_secs_f64());
    let mut computed = 0;
    let mut restless = Vec::new();
    for (name, now) in after {
        let then = before.get(&name).copied().unwrap_or_default();
        computed += now.computed - then.computed;
        let looks = (now.sleeps - then.sleeps) as f64 / seconds;
        if looks > LOOKS {
            restless.push(format!("{name}: {looks:.0} times a second"));
        }
    }
    (computed as f64 / 1e9 / seconds, restless)
}

#[test]
fn nobody_computes_while_everybody_waits() {
    for mode in ["interval", "ticks", "off"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_onelock"))
            .args(["--gil", mode, "-e", EVERYBODY_WAITS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let mut output = BufReader::new(program.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("text");
        assert_eq!(line, "everybody waits\n", "--gil {mode}");
        // Some are still on their way to where they wait.
        let deadline = Instant::now() + Duration::from_secs(30);
        let (share, restless) = loop {
            let (share, restless) = watch(program.id());
            if (share < SHARE && restless.is_empty()) || Instant::now() > deadline {
                break (share, restless);
            }
        };
        let count = threads(program.id()).len();
        // SAFETY: the group that was started above, whose first process is not reaped yet.
        unsafe { libc::kill(-(program.id() as i32), libc::SIGKILL) };
        program.wait().expect("it is over");
        assert!(count > 40, "--gil {mode}: {count} threads");
        assert!(share < SHARE, "--gil {mode}: {count} threads used {share:.3} of a core");
        assert!(restless.is_empty(), "--gil {mode}: {restless:#?}");
        println!("{mode}: {count} threads, {share:.4} of a core");
    }
}
