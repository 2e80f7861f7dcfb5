//! Where the figures come from: the lines that stand above the tables.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use crate::Options;

pub fn header(options: &Options) -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let mut out = String::new();
    for (name, value) in [
        ("cpu", format!("{}, {cores} cores", cpu_model())),
        ("kernel", file("/proc/sys/kernel/osrelease")),
        ("load", file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ("python", version(&options.python)),
        ("onelock", version(&options.onelock.to_string_lossy())),
        ("rounds", options.rounds.to_string()),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<8} {value}");
    }
    out
}

fn cpu_model() -> String {
    let info = file("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

fn file(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// The interpreter itself, where `python` is a script that looks for one (pyenv's is) and takes its time.
pub fn interpreter_behind(python: &str) -> String {
    let asked = Command::new(python).args(["-c", "import sys; print(sys.executable)"]).output();
    let path = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    path.ok().filter(|path| !path.is_empty()).unwrap_or_else(|| python.into())
}

/// What `PROGRAM --version` says.
fn version(program: &str) -> String {
    match Command::new(program).arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().into(),
        Err(error) => format!("{program}: {error}"),
    }
}
