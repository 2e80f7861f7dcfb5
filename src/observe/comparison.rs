//! The same script under each mode of the lock: how long it took, what the lock did, what it printed.
//!
//! Every run is a process of its own, so that none profits from what another one warmed up, and the kernel
//! says what it used. What only the run itself knows, its [`Totals`], comes back through a pipe.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;

use super::table::{count, figures, milliseconds};
use super::totals::Totals;
use crate::runtime::GilMode;

/// What is compared: a script and how it is run.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The `onelock` program.
    pub program: &'a Path,
    /// Options that hold under every mode.
    pub options: &'a [OsString],
    /// The script and its arguments.
    pub script: &'a [OsString],
}

/// One run from outside and inside.
struct Run {
    wall: Duration,
    cpu: Duration,
    status: ExitStatus,
    stdout: String,
    stderr: String,
    /// Nothing when the process ended without telling.
    totals: Option<Totals>,
}

/// The runs under each mode.
pub struct Comparison {
    modes: Vec<(GilMode, Vec<Run>)>,
}

impl Comparison {
    /// Runs the script under each mode in turn, for so many rounds.
    ///
    /// # Errors
    /// The system's, when no process can be started.
    pub fn measure(subject: &Subject, rounds: usize) -> io::Result<Self> {
        let mut modes: Vec<(GilMode, Vec<Run>)> = GilMode::ALL.map(|mode| (mode, Vec::new())).into();
        for _ in 0..rounds.max(1) {
            for (mode, runs) in &mut modes {
                runs.push(run(subject, *mode)?);
            }
        }
        Ok(Self { modes })
    }

    /// The exit status of the first mode that failed; 0 if none did.
    pub fn exit_status(&self) -> i32 {
        let statuses = self.modes.iter().flat_map(|(_, runs)| runs).map(|run| run.status);
        statuses
            .map(|s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)))
            .find(|s| *s != 0)
            .unwrap_or(0)
    }

    fn first(&self) -> &Run {
        &self.modes[0].1[0]
    }

    fn figures(&self) -> String {
        let mut header = vec![String::new()];
        header.extend(self.modes.iter().map(|(mode, _)| mode.to_string()));
        let row = |name: &str, cell: &dyn Fn(&[Run]) -> String| {
            let mut row = vec![name.to_string()];
            row.extend(self.modes.iter().map(|(_, runs)| cell(runs)));
            row
        };
        let total = |runs: &[Run], figure: fn(&Totals) -> u64| {
            let known: Vec<u64> = runs.iter().filter_map(|run| run.totals.as_ref().map(figure)).collect();
            median(known).map_or("?".into(), count)
        };
        let time = |times: Vec<Duration>| median(times).map_or("?".into(), milliseconds);
        let waited =
            |runs: &[Run]| time(runs.iter().filter_map(|run| Some(run.totals.as_ref()?.waited)).collect());
        let rows = vec![
            row("wall time, ms", &|runs| time(runs.iter().map(|run| run.wall).collect())),
            row("CPU time, ms", &|runs| time(runs.iter().map(|run| run.cpu).collect())),
            row("waited for the GIL, ms", &waited),
            row("switches", &|runs| total(runs, |t| t.switches)),
            row("forced switches", &|runs| total(runs, |t| t.forced_switches)),
            row("output", &|runs| self.output(&runs[0])),
            row("exit status", &|runs| exit(runs[0].status)),
        ];
        figures(header, rows)
    }

    fn output(&self, run: &Run) -> String {
        let first = self.first();
        if std::ptr::eq(first, run) {
            return lines(run.stdout.lines().count());
        }
        match differing_lines(&first.stdout, &run.stdout) {
            0 => "the same".into(),
            n => format!("{} differ{}", lines(n), if n == 1 { "s" } else { "" }),
        }
    }

    /// The first line that a run printed otherwise than the first run.
    fn first_difference(&self) -> Option<String> {
        let first = self.first();
        let (mode, run) = self.modes[1..]
            .iter()
            .map(|(mode, runs)| (mode, &runs[0]))
            .find(|(_, run)| run.stdout != first.stdout)?;
        let (mut one, mut other) = (first.stdout.lines(), run.stdout.lines());
        let mut line = 1;
        loop {
            match (one.next(), other.next()) {
                (Some(a), Some(b)) if a == b => line += 1,
                // Nothing but the last line's end.
                (None, None) => return None,
                (a, b) => {
                    let shown = |text: Option<&str>| text.map_or("(no more lines)".into(), str::to_string);
                    let modes = [self.modes[0].0.to_string(), mode.to_string()];
                    let width = modes.iter().map(String::len).max().unwrap_or(0);
                    let [a, b] = [shown(a), shown(b)];
                    return Some(format!(
                        "first difference, line {line}:\n  {:width$}  {a}\n  {:width$}  {b}\n",
                        modes[0], modes[1]
                    ));
                }
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.figures())?;
        let rounds = self.modes[0].1.len();
        if rounds > 1 {
            writeln!(f, "(medians of {rounds} rounds; output and exit status are the first round's)")?;
        }
        if let Some(difference) = self.first_difference() {
            write!(f, "\n{difference}")?;
        }
        let mut told = Vec::new();
        for (mode, runs) in &self.modes {
            let said = runs[0].stderr.trim_end();
            if !runs[0].status.success() && !said.is_empty() && !told.contains(&said) {
                write!(f, "\nstandard error under {mode}:\n{}\n", indented(said))?;
                told.push(said);
            }
        }
        Ok(())
    }
}

fn lines(n: usize) -> String {
    format!("{} line{}", count(n as u64), if n == 1 { "" } else { "s" })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "?".into(),
    }
}

/// In how many places two texts have different lines, those that only one of them has included.
fn differing_lines(a: &str, b: &str) -> usize {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    a.iter().zip(&b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len())
}

/// The middle one, of an even number the higher of the two.
fn median<T: Ord>(mut values: Vec<T>) -> Option<T> {
    values.sort();
    let middle = values.len() / 2;
    values.into_iter().nth(middle)
}

fn run(subject: &Subject, mode: GilMode) -> io::Result<Run> {
    let (totals, told) = io::pipe()?;
    rustix::io::fcntl_setfd(&told, FdFlags::empty())?;
    let mut command = Command::new(subject.program);
    command.arg("--gil").arg(mode.to_string()).arg("--stats-json").arg(told.as_raw_fd().to_string());
    command.args(subject.options).args(subject.script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn()?;
    drop(told);
    let (stdout, stderr) = outputs(&mut child)?;
    let (status, cpu) = reap(&child)?;
    Ok(Run { wall: began.elapsed(), cpu, status, stdout, stderr, totals: read_totals(totals) })
}

/// Everything that a child prints, on both streams at once, so that it never waits for its reader.
fn outputs(child: &mut Child) -> io::Result<(String, String)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| err.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stderr)));
        let read = out.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stdout));
        reader.join().map_err(|_| io::Error::other("reading standard error failed"))?.and(read)
    })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((text(stdout), text(stderr)))
}

/// Waits for a child; the kernel says how long it and the children that it waited for were computing.
fn reap(child: &Child) -> io::Result<(ExitStatus, Duration)> {
    let pid = child.id() as libc::pid_t;
    let mut status = 0;
    loop {
        // SAFETY: `rusage` is plain numbers, for which zero is a value; both pointers live through the call.
        let (answer, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &mut status, 0, &mut usage), usage)
        };
        if answer == pid {
            return Ok((ExitStatus::from_raw(status), time(usage.ru_utime) + time(usage.ru_stime)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn time(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// What the run told of itself: one short line, which a pipe passes on whole. A grandchild may still have the
/// other end open, so this does not wait for the end.
fn read_totals(mut pipe: PipeReader) -> Option<Totals> {
    rustix::io::ioctl_fionbio(&pipe, true).ok()?;
    let mut line = [0; 4096];
    let length = pipe.read(&mut line).ok()?;
    Totals::from_json(std::str::from_utf8(&line[..length]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_place_by_place() {
        assert_eq!(differing_lines("a\nb\n", "a\nb\n"), 0);
        assert_eq!(differing_lines("a\nb\n", "b\na\n"), 2);
        assert_eq!(differing_lines("a\n", "a\nb\nc\n"), 2);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3, 1, 2]), Some(2));
        assert_eq!(median(Vec::<u64>::new()), None);
    }
}
