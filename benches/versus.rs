//! onelock beside CPython: the same work on both sides, in turn, round by round.
//!
//! A pair is `versus/<group>/<name>.rhai` with `<name>.py` beside it; README.md says how a row is
//! formed. Beside the pairs stands what has no script: the time from start to exit.
//!
//! ```text
//! cargo bench --bench versus                     every pair
//! cargo bench --bench versus -- queue language/  those whose name has one of these in it
//! cargo bench --bench versus -- --rounds 3 --list
//! ```

#[path = "versus/cases.rs"]
mod cases;
#[path = "versus/machine.rs"]
mod machine;
#[path = "versus/measure.rs"]
mod measure;
#[path = "versus/table.rs"]
mod table;

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: cargo bench --bench versus -- [OPTIONS] [FILTER]...
  FILTER           run only the pairs whose GROUP/NAME contains one of these
  --rounds N       how many times each side runs (default 7)
  --timeout S      seconds after which a run is ended and its row fails (default 60)
  --gil MODES      these modes, joined by commas, for every pair, whatever its header says
  --onelock PATH   another binary than the one that was just built
  --list           the names and their modes, without running them
The Python side is `python3`, or what the environment variable PYTHON names.";

struct Options {
    rounds: usize,
    timeout: Duration,
    gil: Option<Vec<String>>,
    onelock: PathBuf,
    python: String,
    filters: Vec<String>,
    list: bool,
}

fn main() -> ExitCode {
    // `cargo bench` says `--bench`; `cargo test --benches` does not, and wants no measurement.
    let measuring = env::args().any(|arg| arg == "--bench");
    let options = match parse(env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("versus: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/versus");
    let cases = match cases::find(&folder, &options) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("versus: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.list || !measuring {
        for case in &cases {
            let labels: Vec<&str> = case.variants.iter().map(|v| v.label.as_str()).collect();
            println!("{}  [{}]", case.name, labels.join(", "));
        }
        return ExitCode::SUCCESS;
    }
    if cases.is_empty() {
        eprintln!("versus: no pair's name contains {}", options.filters.join(" or "));
        return ExitCode::FAILURE;
    }
    print!("{}", machine::header(&options));
    compare(&cases, &options)
}

/// Runs every case and prints a table for each group as soon as the group is done.
fn compare(cases: &[cases::Case], options: &Options) -> ExitCode {
    let mut all_well = true;
    for group in cases.chunk_by(|a, b| a.group() == b.group()) {
        let mut rows = Vec::new();
        for case in group {
            let rounds = measure::rounds(case, options.rounds, options.timeout, progress);
            rows.extend(table::rows(case, &rounds));
        }
        clear_progress();
        all_well &= rows.iter().all(|row| row.trouble.is_none());
        print!("\n{}", table::render(group[0].group(), &rows));
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One line on the terminal that says what runs now; nothing when the table goes to a file.
fn progress(case: &str, round: usize, of: usize) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{case}: round {round} of {of}");
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// `None` when help was asked for.
fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        rounds: 7,
        timeout: Duration::from_secs(60),
        gil: None,
        onelock: PathBuf::from(env!("CARGO_BIN_EXE_onelock")),
        python: machine::interpreter_behind(&env::var("PYTHON").unwrap_or_else(|_| "python3".into())),
        filters: Vec::new(),
        list: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--bench" | "--test" => {}
            "--help" | "-h" => return Ok(None),
            "--list" => options.list = true,
            "--rounds" => options.rounds = positive(&value()?)? as usize,
            "--timeout" => options.timeout = Duration::from_secs(positive(&value()?)?),
            "--gil" => options.gil = Some(value()?.split(',').map(String::from).collect()),
            "--onelock" => options.onelock = PathBuf::from(value()?),
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            filter => options.filters.push(filter.into()),
        }
    }
    Ok(Some(options))
}

fn positive(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is not a whole number above 0")),
    }
}
