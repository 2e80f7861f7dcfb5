//! Running the sides in turn and reading what they say.
//!
//! A round runs CPython and then each variant of onelock once, so that a slow minute of the machine
//! slows all of them; the ratio of a round compares only runs of that round.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::{Also, Case, Run};

/// One thing that a run told about itself, or that was seen from outside.
pub struct Metric {
    pub name: String,
    pub value: f64,
    pub unit: String,
}

/// What one run gave.
pub struct Sample {
    pub metrics: Vec<Metric>,
    /// What it printed beside its metrics: the same on every side, or they did not do the same work.
    pub output: String,
}

/// The rounds of one side. When a run fails, the side is not run again.
pub type Side = Result<Vec<Sample>, String>;

pub struct Rounds {
    pub python: Option<Side>,
    pub variants: Vec<Side>,
}

pub fn rounds(case: &Case, count: usize, timeout: Duration, progress: impl Fn(&str, usize, usize)) -> Rounds {
    let mut rounds = Rounds {
        python: case.python.as_ref().map(|_| Ok(Vec::new())),
        variants: case.variants.iter().map(|_| Ok(Vec::new())).collect(),
    };
    for round in 1..=count {
        progress(&case.name, round, count);
        let python = case.python.iter().zip(&mut rounds.python);
        let variants = case.variants.iter().map(|variant| &variant.run).zip(&mut rounds.variants);
        for (run, side) in python.chain(variants) {
            if let Ok(samples) = side {
                match sample(run, case, timeout) {
                    Ok(sample) => samples.push(sample),
                    Err(why) => *side = Err(why),
                }
            }
        }
    }
    rounds
}

fn sample(run: &Run, case: &Case, timeout: Duration) -> Result<Sample, String> {
    let mut ends = Vec::new();
    for _ in 0..case.repeat {
        ends.push(to_the_end(run, timeout).map_err(|error| error.to_string())??);
    }
    let seen = |also: &Also| {
        let (name, unit, of): (_, _, fn(&End) -> f64) = match also {
            Also::Wall => ("wall", "ms", |end| end.wall * 1e3),
            Also::Cpu => ("cpu", "ms", |end| end.cpu * 1e3),
            Also::Rss => ("rss", "MB", |end| end.rss),
        };
        let value = median(ends.iter().map(|(end, _)| of(end)).collect());
        Metric { name: name.into(), value, unit: unit.into() }
    };
    // What repeats within a round is timed from outside; its first output stands for all.
    let (mut metrics, output) = read(&ends[0].1)?;
    if metrics.is_empty() {
        metrics.push(seen(&Also::Wall));
    }
    for metric in case.also.iter().map(seen) {
        if metrics.iter().all(|known| known.name != metric.name) {
            metrics.push(metric);
        }
    }
    Ok(Sample { metrics, output })
}

/// Takes `metric NAME VALUE UNIT` lines out of what a run printed.
fn read(stdout: &str) -> Result<(Vec<Metric>, String), String> {
    let mut metrics = Vec::new();
    let mut output = String::new();
    for line in stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"metric") {
            let &[_, name, value, unit] = words.as_slice() else {
                return Err(format!("not `metric NAME VALUE UNIT`: {line}"));
            };
            let value = value.parse().map_err(|_| format!("{value} is not a number: {line}"))?;
            metrics.push(Metric { name: name.into(), value, unit: unit.into() });
        } else {
            output.push_str(line);
            output.push('\n');
        }
    }
    Ok((metrics, output))
}

/// The end of a process, as the kernel tells it.
struct End {
    status: ExitStatus,
    /// From just before the start until the process was reaped, in seconds.
    wall: f64,
    /// User and system time, in seconds.
    cpu: f64,
    /// The most memory that was resident at once, in MB.
    rss: f64,
}

/// Runs a program with its output in files, so that nothing but the process itself is waited for.
/// The outer error is ours, the inner one is the program's.
fn to_the_end(run: &Run, timeout: Duration) -> io::Result<Result<(End, String), String>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (stdout, stderr) = (folder.join("versus.stdout"), folder.join("versus.stderr"));
    let mut command = Command::new(&run.program);
    command
        .args(&run.args)
        .current_dir(folder)
        .env_remove("ONELOCK_GIL")
        .env_remove("ONELOCK_ENGINE")
        .process_group(0);
    command.stdin(Stdio::null()).stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    let start = Instant::now();
    let pid = command.spawn()?.id() as libc::pid_t;

    let (reaped, end) = mpsc::channel();
    thread::spawn(move || reaped.send(reap(pid, start)));
    let gone = match end.recv_timeout(timeout) {
        Ok(gone) => gone?,
        Err(_) => {
            // SAFETY: signals only the group that the process was started in, children included.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
            end.recv().map_err(io::Error::other)??;
            return Ok(Err(format!("not done after {} s", timeout.as_secs())));
        }
    };
    let stderr = fs::read_to_string(&stderr)?;
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).map(str::trim);
    match (gone.status.success(), last) {
        (true, None) => Ok(Ok((gone, fs::read_to_string(&stdout)?))),
        // An exception in a thread leaves the status at 0, but the work undone.
        (true, Some(said)) => Ok(Err(format!("it wrote to stderr: {said}"))),
        (false, said) => Ok(Err(format!("{}: {}", gone.status, said.unwrap_or("nothing on stderr")))),
    }
}

/// Waits for a child; the kernel hands over what it used, its own reaped children included.
fn reap(pid: libc::pid_t, start: Instant) -> io::Result<End> {
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zero is a value; both pointers live through the call.
    let (answer, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &mut status, 0, &mut usage), usage)
    };
    if answer != pid {
        return Err(io::Error::last_os_error());
    }
    Ok(End {
        status: ExitStatus::from_raw(status),
        wall: start.elapsed().as_secs_f64(),
        cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        rss: usage.ru_maxrss as f64 / 1024.0,
    })
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}
