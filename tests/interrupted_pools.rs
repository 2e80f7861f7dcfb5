//! Ctrl-C while workers are busy: one traceback, and nobody is left.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Runs a script whose workers sleep for a minute once `ready` is printed, and interrupts the whole group then, as
/// a terminal does. Returns standard error and the exit status.
fn interrupt(script: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onelock"))
        .args(["-e", script])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut ready = [0; 6];
    child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("the workers are ready");
    let group = Pid::from_raw(child.id() as i32).expect("a process has a number");
    let began = Instant::now();
    kill_process_group(group, Signal::INT).expect("the group is there");
    // Ends when nobody has the pipes open any more: no orphan is left.
    let output = child.wait_with_output().expect("the program ends");
    assert!(began.elapsed() < Duration::from_secs(30), "somebody slept on");
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

fn check(script: &str) {
    let (stderr, status) = interrupt(script);
    assert_eq!(stderr.matches("Traceback (most recent call last)").count(), 1, "{stderr}");
    assert!(stderr.contains("KeyboardInterrupt"), "{stderr}");
    assert!(!stderr.contains("never retrieved"), "{stderr}");
    assert_eq!(status, Some(130), "{stderr}");
}

#[test]
fn a_map_of_a_pool() {
    check("let pool = Pool(2); pool.map(|x| { if x == 0 { print(\"ready\"); } sleep(60); }, range(4), 1);");
}

#[test]
fn a_pool_in_with() {
    check(
        "with Pool(2) as pool { pool.apply_async(|| { loop { } }); \
         pool.apply(|| { print(\"ready\"); sleep(60); }); }",
    );
}

#[test]
fn an_executor() {
    check("let ex = ProcessPoolExecutor(2); ex.submit(|| { print(\"ready\"); sleep(60); }).result();");
}

#[test]
fn a_result_whose_answer_the_main_thread_takes() {
    check(
        "let pool = Pool(2); let other = pool.apply_async(|x| x, [1]); \
         pool.apply_async(|| { print(\"ready\"); sleep(60); }).get();",
    );
}

#[test]
fn futures_as_they_are_completed() {
    check(
        "from concurrent.futures import as_completed; let ex = ProcessPoolExecutor(2); let fs = [ex.submit(|| 1)]; \
         fs.push(ex.submit(|| { print(\"ready\"); sleep(60); })); for f in as_completed(fs) { }",
    );
}

#[test]
fn threads() {
    check("let pool = ThreadPool(2); pool.apply(|| { print(\"ready\"); sleep(60); });");
}

#[test]
fn an_executor_whose_futures_nobody_asks() {
    check(
        "let ex = ProcessPoolExecutor(2); let fs = list(); \
         for i in range(8) { fs.append(ex.submit(|| { print(\"ready\"); sleep(60); })); } sleep(60);",
    );
}
