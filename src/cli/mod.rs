//! The command line: what the options mean, and a file per subcommand.

mod compare;
mod lessons;
mod nearest;
mod run;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::fd::RawFd;

use clap::{Args, Parser, Subcommand, ValueEnum};
use onelock::{Builder, Error, Evaluator, GilMode, Interpreter, OnDeadlock, StartMethod};

pub use nearest::nearest;
pub use run::show_stats;

use run::Program;

/// The status of an error in the command line or in a script's text.
const USAGE: i32 = 2;

const USAGES: &str = "onelock [OPTIONS] [SCRIPT [ARGS]...]
       onelock compare SCRIPT [ARGS]...
       onelock lessons [NUMBER|NAME|CHAPTER] [--show]";

const AFTER_HELP: &str =
    "Without a script: the prompt, or the script on standard input if that is no terminal.
A script called `compare` or `lessons` is run with ./compare.";

/// Runs Rhai scripts with Python's concurrency library behind a global interpreter lock of your choice.
#[derive(Parser)]
#[command(
    name = "onelock",
    version,
    disable_help_subcommand = true,
    override_usage = USAGES,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Run CODE instead of a script
    #[arg(short = 'e', value_name = "CODE", allow_hyphen_values = true)]
    code: Option<String>,
    /// The script, `-` for standard input, and what it finds in sys::argv
    #[arg(value_name = "SCRIPT", trailing_var_arg = true)]
    script: Vec<OsString>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How scripts are run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// When threads switch: ticks[:N], interval[:MS] or off
    #[arg(
        long,
        value_name = "MODE",
        env = "ONELOCK_GIL",
        default_value_t,
        hide_default_value = true,
        global = true
    )]
    pub gil: GilMode,
    /// What evaluates scripts: grain (bytecode) or ast
    #[arg(long, env = "ONELOCK_ENGINE", default_value_t, hide_default_value = true, global = true)]
    pub engine: Evaluator,
    /// How child processes begin: fork, spawn or forkserver; a script's set_start_method() has to use force then
    #[arg(long, value_name = "METHOD", global = true)]
    pub start_method: Option<StartMethod>,
    /// Show what the lock and every thread did, after the run, on stderr
    #[arg(long, global = true)]
    pub stats: bool,
    /// What a deadlock leads to: a report and the end, or CPython's way, which is to hang
    #[arg(long, value_name = "POLICY", value_enum, default_value_t, global = true)]
    pub on_deadlock: DeadlockPolicy,
    /// Write totals to this file descriptor: for `onelock compare`
    #[arg(long, value_name = "FD", hide = true)]
    stats_json: Option<RawFd>,
}

/// The values of `--on-deadlock`.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DeadlockPolicy {
    /// Report who waits for what, and exit with status 1
    #[default]
    Exit,
    /// Hang
    Wait,
}

#[derive(Subcommand)]
enum Command {
    /// Run a script under each GIL mode and show the figures side by side
    Compare(compare::Compare),
    /// List the lessons, or run one
    Lessons(lessons::Lessons),
}

impl Options {
    /// An interpreter with these settings, yet to be built.
    pub fn builder(&self) -> Builder {
        let on_deadlock = match self.on_deadlock {
            DeadlockPolicy::Exit => OnDeadlock::Exit,
            DeadlockPolicy::Wait => OnDeadlock::Wait,
        };
        let builder = Interpreter::builder().gil(self.gil).evaluator(self.engine).on_deadlock(on_deadlock);
        match self.start_method {
            Some(method) => builder.start_method(method),
            None => builder,
        }
    }
}

/// Does what the command line says; returns the exit status.
pub fn main() -> i32 {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Compare(compare)) => return compare.run(&cli.options),
        Some(Command::Lessons(lessons)) => return lessons.run(&cli.options),
        None => {}
    }
    let words: Vec<String> = cli.script.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let program = match (&cli.code, cli.script.first()) {
        (Some(code), _) => Ok(Program::of_code(code, words)),
        (None, Some(script)) if script == "-" => Program::on_stdin(words),
        (None, Some(script)) => Program::in_file(script.as_ref(), words),
        (None, None) if std::io::stdin().is_terminal() => return crate::repl::run(&cli.options),
        (None, None) => Program::on_stdin(vec![String::new()]),
    };
    match program {
        Ok(program) => program.run(&cli.options),
        Err(message) => complain(&message),
    }
}

/// Says on stderr what is wrong; returns the exit status for that.
fn complain(message: &str) -> i32 {
    say(&format!("onelock: {message}\n"));
    USAGE
}

/// Writes to standard output. Whoever closed it does not want to know more.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes to standard error.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Says why a script ended, if that was not said when it happened; returns the exit status.
pub fn conclude(error: &Error) -> i32 {
    match error {
        Error::Exit { message: None, .. } | Error::Exception(_) => {}
        Error::Io { .. } => say(&format!("onelock: {error}\n")),
        _ => say(&format!("{error}\n")),
    }
    error.exit_status()
}
