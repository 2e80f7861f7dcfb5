//! What becomes of a program's processes when something goes wrong: seen from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a script in a process group of its own.
fn start(code: &str) -> Child {
    spawn(Command::new(env!("CARGO_BIN_EXE_onelock")).args(["-e", code]))
}

/// The same under a limit of the shell's `ulimit`.
fn start_limited(limit: &str, code: &str) -> Child {
    let shell = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    spawn(Command::new("sh").args(["-c", &shell, env!("CARGO_BIN_EXE_onelock"), "-e", code]))
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the program starts")
}

/// The lines that a script prints, up to the first that is `last`.
fn read_until(child: &mut Child, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().expect("a pipe")).lines() {
        let line = line.expect("text");
        if line == last {
            return lines;
        }
        lines.push(line);
    }
    panic!("the script ended before it printed {last}: {lines:?}");
}

/// The processes of a group that still run; zombies do not count.
fn group(id: u32) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        (fields[0] != "Z" && fields[2] == id.to_string()).then(|| format!("{name}) {}", fields[0]))
    })
    .collect()
}

/// Waits until a condition holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a plain system call on processes that the test has started.
    unsafe { libc::kill(pid, signal) };
}

fn output(mut child: Child) -> (Option<i32>, String) {
    let mut status = None;
    eventually("the end of the script", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    let mut text = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
    (status.and_then(|status| status.code()), text)
}

#[test]
fn ctrl_c_reaches_the_whole_group_and_leaves_nobody() {
    let code = r#"
        fn wait(n) { time::sleep(600); }
        let all = [];
        for i in 0..2 { let p = Process(wait, [i]); p.start(); all.push(p); }
        fn compute() { while true {} }
        let p = Process(compute); p.start();
        time::sleep(0.2);
        print("ready");
        for q in all { q.join(); }
    "#;
    let mut child = start(code);
    let id = child.id();
    read_until(&mut child, "ready");
    kill(-(id as i32), libc::SIGINT);
    let (status, text) = output(child);
    assert_eq!(status, Some(130), "{text}");
    assert!(text.contains("KeyboardInterrupt"), "{text}");
    eventually("the end of all processes", || group(id).is_empty());
}

#[test]
fn a_killed_parent_takes_its_fork_server_along_and_not_its_children() {
    let code = r#"
        fn live() { print(os::getpid()); print("ready"); time::sleep(600); }
        let p = Process(live);
        p.start();
        p.join();
    "#;
    let mut child = start(code);
    let id = child.id();
    let lines = read_until(&mut child, "ready");
    let orphan: i32 = lines[0].parse().expect("a number");
    kill(id as i32, libc::SIGKILL);
    child.wait().expect("a child");
    // As in CPython the child lives on, as an orphan; everything of ours is gone.
    eventually("the end of the fork server", || group(id).len() == 1);
    assert!(fs::read_to_string(format!("/proc/{orphan}/stat")).is_ok());
    kill(orphan, libc::SIGKILL);
    eventually("the end of the orphan", || group(id).is_empty());
}

#[test]
fn nothing_is_left_behind() {
    let named = || -> Vec<_> {
        let files =
            |folder: &str| fs::read_dir(folder).map(|all| all.flatten().map(|e| e.file_name()).collect());
        let mut all: Vec<std::ffi::OsString> = files("/dev/shm").unwrap_or_default();
        all.extend(files("/tmp").unwrap_or_else(|_| Vec::new()));
        all.retain(|name| name.to_string_lossy().contains("onelock"));
        all
    };
    let before = named();
    let code = r#"
        fn fill(q) { for i in 0..100 { q.put("x" * 10000); } }
        let q = multiprocessing::Queue();
        for i in 0..3 { let p = Process(fill, [q]); p.start(); p.join(); }
        let d = Process(#{ target: || time::sleep(600), daemon: true });
        d.start();
        print("ready");
    "#;
    let mut child = start(code);
    let id = child.id();
    read_until(&mut child, "ready");
    let (status, text) = output(child);
    assert_eq!((status, text.as_str()), (Some(0), ""));
    eventually("the end of all processes", || group(id).is_empty());
    assert_eq!(named(), before);
}

/// Children that hold, wait, put and get are killed at any moment; the others go on.
#[test]
fn kills_at_any_moment_tear_nothing() {
    let code = r#"
        global q = multiprocessing::Queue();
        global guard = multiprocessing::Lock();
        fn work(seed) {
            random::seed(seed);
            let text = "abc" * random::randint(1, 3000);
            while true {
                q.put([seed, text, len(text)]);
                if guard.acquire(true, 0.001) { guard.release(); }
                try { let item = q.get(false); assert_eq(len(item[1]), item[2]); } catch (e) {
                    if e.type != "Empty" { print("torn", e); }
                }
            }
        }
        let running = [];
        for round in 0..60 {
            let p = Process(work, [round]);
            p.start();
            running.push(p);
            if len(running) == 3 {
                time::sleep(random::uniform(0.001, 0.02));
                let victim = running.remove(random::randint(0, 2));
                victim.kill();
                victim.join();
                if victim.exitcode != -9 { print("ended by itself", victim.exitcode); }
            }
        }
        for p in running { p.kill(); p.join(); }
        let rest = 0;
        while true {
            let item = ();
            try { item = q.get(true, 0.05); } catch (e) { break; }
            assert_eq(len(item[1]), item[2]);
            rest += 1;
        }
        q.put("alive");
        print(q.get());
        print("ready");
    "#;
    let mut child = start(code);
    let id = child.id();
    assert_eq!(read_until(&mut child, "ready"), ["alive"]);
    assert_eq!(output(child), (Some(0), String::new()));
    eventually("the end of all processes", || group(id).is_empty());
}

/// A limit on descriptors: an OSError that says so, and the program goes on.
#[test]
fn out_of_descriptors_is_an_oserror() {
    let code = r#"
        fn wait() { time::sleep(600); }
        let all = [];
        let error = ();
        try { for i in 0..100 { let p = Process(wait); p.start(); all.push(p); } } catch (e) { error = e; }
        assert_eq(error.type, "OSError");
        assert_eq(error.message, "[Errno 24] Too many open files");
        assert(len(all) > 0);
        for p in all { p.kill(); p.join(); p.close(); }
        all.clear();
        let p = Process(|| exit(3));
        p.start();
        p.join();
        assert_eq(p.exitcode, 3);
        print("ready");
    "#;
    let mut child = start_limited("-n 20", code);
    let id = child.id();
    read_until(&mut child, "ready");
    assert_eq!(output(child), (Some(0), String::new()));
    eventually("the end of all processes", || group(id).is_empty());
}

/// Children that hold a lock, hold one twice, wait for one, sit in a condition, put and get are killed at any moment:
/// the others go on, or they say who took the lock along.
#[test]
fn those_who_are_left_go_on_or_say_who_died() {
    let code = r#"
        fn lock(l, cell) { while true { l.acquire(); l.release(); cell.value += 1; } }
        fn rlock(l, cell) { while true { l.acquire(); l.acquire(); l.release(); l.release(); cell.value += 1; } }
        fn condition(c, cell) { while true { c.acquire(); c.notify(); c.wait(0.001); c.release(); cell.value += 1; } }
        fn queue(q, cell) {
            let text = "x" * 9000;
            while true { q.put(text); if q.get() != text { exit(7); } cell.value += 1; }
        }
        fn is_over(p) { p.exitcode != () }
        let kinds = [[lock, || multiprocessing::Lock()], [rlock, || multiprocessing::RLock()],
            [condition, || multiprocessing::Condition()], [queue, || multiprocessing::Queue()]];
        let stranded = 0;
        for round in 0..40 {
            let kind = kinds[round % 4];
            let shared = kind[1].call();
            let cells = [RawValue("q"), RawValue("q"), RawValue("q")];
            let running = [];
            for cell in cells { let p = Process(kind[0], [shared, cell]); p.start(); running.push(p); }
            while cells[0].value == 0 || cells[1].value == 0 || cells[2].value == 0 { time::sleep(0.001); }
            time::sleep(random::uniform(0.0, 0.005));
            let at = random::randint(0, 2);
            let victim = running.remove(at);
            cells.remove(at);
            victim.kill();
            victim.join();
            if victim.exitcode != -9 { print("ended by itself", victim.exitcode); }
            // The others go on, or they end, which is what the report of who held it is for.
            let before = [cells[0].value, cells[1].value];
            let limit = time::monotonic() + 30;
            while time::monotonic() < limit
                && !((cells[0].value > before[0] + 5 && cells[1].value > before[1] + 5) || (is_over(running[0]) && is_over(running[1])))
            { time::sleep(0.002); }
            if time::monotonic() >= limit { print("hangs", round, shared, before, cells); }
            for p in running {
                if is_over(p) { stranded += 1; if p.exitcode != 1 { print("round", round, "exit code", p.exitcode); } } else { p.kill(); p.join(); }
            }
        }
        print("stranded", stranded);
        print("ready");
    "#;
    let mut child = start(code);
    let id = child.id();
    let lines = read_until(&mut child, "ready");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let stranded: usize = line.strip_prefix("stranded ").expect("a number").parse().expect("a number");
    let (status, text) = output(child);
    assert_eq!(status, Some(0), "{text}");
    let reports: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(reports.len(), stranded, "{text}");
    for report in reports {
        assert!(
            report.contains("held by Process-") && report.ends_with("killed by SIGKILL: owner died"),
            "{report}"
        );
    }
    eventually("the end of all processes", || group(id).is_empty());
}

/// A limit on the size of files, and so of the memory file: an OSError that says so, and the program goes on.
#[test]
fn a_limit_on_files_is_an_oserror() {
    let code = r#"
        for make in [|| multiprocessing::Queue(), || multiprocessing::Lock(), || multiprocessing::Value("i", 0)] {
            let error = ();
            try { make.call(); } catch (e) { error = e; }
            assert_eq(error.type, "OSError");
            assert_eq(error.message, "[Errno 27] File too large");
        }
        print("ready");
    "#;
    let mut child = start_limited("-f 100", code);
    read_until(&mut child, "ready");
    assert_eq!(output(child), (Some(0), String::new()));
}

/// A limit on processes: an OSError that says so, and the program goes on once there is room again.
#[test]
fn out_of_processes_is_an_oserror() {
    const NOBODY_ELSE: u32 = 54_321;
    let code = r#"
        fn wait() { time::sleep(600); }
        let all = [];
        let error = ();
        try { for i in 0..100 { let p = Process(wait); p.start(); all.push(p); } } catch (e) { error = e; }
        assert_eq(error.type, "BlockingIOError");
        assert_eq(error.message, "[Errno 11] Resource temporarily unavailable");
        for p in all { p.kill(); p.join(); p.close(); }
        if len(all) > 0 {
            let p = Process(|| exit(3));
            p.start();
            p.join();
            assert_eq(p.exitcode, 3);
        }
        print("ready");
    "#;
    // The limit counts the processes and threads of a user, and the superuser has none. So he becomes somebody who
    // has no others; anybody else may start no process at all.
    let is_root = rustix::process::geteuid().is_root();
    let copy = std::env::temp_dir().join(format!("onelock-{}", std::process::id()));
    fs::copy(env!("CARGO_BIN_EXE_onelock"), &copy).expect("a copy that anybody can run");
    let mut command = Command::new(&copy);
    command
        .args(["-e", code])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if is_root {
        command.uid(NOBODY_ELSE).gid(NOBODY_ELSE);
    }
    let most = if is_root { 20 } else { 1 };
    // SAFETY: one system call, which takes no lock and no memory.
    unsafe {
        command.pre_exec(move || {
            use rustix::process::{Resource, Rlimit, setrlimit};
            Ok(setrlimit(Resource::Nproc, Rlimit { current: Some(most), maximum: Some(most) })?)
        });
    }
    let mut child = command.spawn().expect("the program starts");
    let id = child.id();
    read_until(&mut child, "ready");
    let ended = output(child);
    let _ = fs::remove_file(&copy);
    assert_eq!(ended, (Some(0), String::new()));
    eventually("the end of all processes", || group(id).is_empty());
}
