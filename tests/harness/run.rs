//! Runs a script in a process of its own.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a run went.
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    /// The exit status, none if a signal ended the process.
    pub status: Option<i32>,
    pub wall: Duration,
    pub timed_out: bool,
}

/// Runs `script` in an empty folder of its own, with nothing on standard input.
pub fn run(script: &Path, gil: &str, engine: &str, args: &[String], limit: Duration) -> Run {
    let folder = std::env::temp_dir().join(format!(
        "onelock-test-{}-{:?}-{}",
        std::process::id(),
        std::thread::current().id(),
        script.file_stem().unwrap_or_default().to_string_lossy()
    ));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_onelock"))
        .args(["--gil", gil, "--engine", engine])
        .arg(script)
        .args(args)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the onelock command starts");
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if began.elapsed() > limit {
            timed_out = true;
            child.kill().expect("the child is ours");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = began.elapsed();
    let run = Run {
        stdout: stdout.join().expect("the reader ends with the pipe"),
        stderr: stderr.join().expect("the reader ends with the pipe"),
        status: status.code(),
        wall,
        timed_out,
    };
    // Only clean-up: what a script left there is of no use to anybody.
    let _ = std::fs::remove_dir_all(&folder);
    run
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.expect("piped").read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
