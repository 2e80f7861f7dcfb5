//! Runs a script in a process of its own.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How a run went.
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    /// The exit status, none if a signal ended the process.
    pub status: Option<i32>,
    pub wall: Duration,
    /// Did the script, or a process that it started, not end in time?
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_onelock"));
    // SAFETY: signal(2) may be called between fork and exec.
    unsafe {
        // Whoever runs the tests in the background ignores Ctrl-C, and so would the script.
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut child = command
        .args(["--gil", gil, "--engine", engine])
        .arg(script)
        .args(args)
        .current_dir(&folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the onelock command starts");
    let group = Pid::from_child(&child);
    let (stdout, stderr) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
    let left = || limit.saturating_sub(began.elapsed());
    let status = loop {
        match child.try_wait().expect("the child is ours") {
            None if left().is_zero() => break None,
            None => std::thread::sleep(Duration::from_millis(2)),
            status => break status,
        }
    };
    let wall = began.elapsed();
    // The processes that the script started may still write, or hang.
    let timed_out = status.is_none() || !stdout.ends_within(left()) || !stderr.ends_within(left());
    if timed_out {
        // Nobody is left in the group if what hangs has made one of its own.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = status.unwrap_or_else(|| child.wait().expect("the child is ours"));
    let run = Run { stdout: stdout.text(), stderr: stderr.text(), status: status.code(), wall, timed_out };
    // Only clean-up: what a script left there is of no use to anybody.
    let _ = std::fs::remove_dir_all(&folder);
    run
}

/// What comes out of a pipe, read by a thread.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let mut pipe = pipe.expect("piped");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = channel();
        let all = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            loop {
                match pipe.read(&mut some).expect("a pipe can be read") {
                    0 => break,
                    count => all.lock().expect("nobody panics").extend_from_slice(&some[..count]),
                }
            }
            // Nobody listens any more after a time-out.
            let _ = ended.send(());
        });
        Self { bytes, end }
    }

    fn ends_within(&self, patience: Duration) -> bool {
        self.end.recv_timeout(patience).is_ok()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics")).into_owned()
    }
}
