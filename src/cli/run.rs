//! Running one script: from a file, standard input, or the command line.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::path::Path;

use onelock::observe::{Totals, report};
use onelock::{Error, Stats, read_script};

use super::nearest::nearest;
use super::{Options, complain, conclude, say};
use crate::signals;

/// A script's text, what tracebacks call it, and `sys::argv`.
pub(super) struct Program {
    name: String,
    text: String,
    argv: Vec<String>,
}

impl Program {
    /// A script whose text is known.
    pub(super) fn new(name: &str, text: &str, argv: Vec<String>) -> Self {
        Self { name: name.into(), text: text.into(), argv }
    }

    /// The text after `-e`.
    pub(super) fn of_code(code: &str, args: Vec<String>) -> Self {
        let argv = std::iter::once("-e".to_string()).chain(args).collect();
        Self { name: "<string>".into(), text: code.into(), argv }
    }

    /// What standard input holds.
    pub(super) fn on_stdin(argv: Vec<String>) -> Result<Self, String> {
        let mut text = String::new();
        match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(Self { name: "<stdin>".into(), text, argv }),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err("cannot read the script on standard input: it is no UTF-8".into())
            }
            Err(error) => Err(format!("cannot read the script on standard input: {error}")),
        }
    }

    /// A script file.
    pub(super) fn in_file(path: &Path, argv: Vec<String>) -> Result<Self, String> {
        match read_script(path) {
            Ok(text) => Ok(Self { name: path.to_string_lossy().into_owned(), text, argv }),
            Err(Error::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Err(no_such_script(path)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Runs it to its end; returns the exit status.
    pub(super) fn run(self, options: &Options) -> i32 {
        let totals = options.stats_json.map(inherited);
        let builder = options.builder().argv(self.argv).print_tracebacks(true).modules_for(&self.text);
        let mut interpreter = match builder.build() {
            Ok(interpreter) => interpreter,
            Err(error) => return complain(&error.to_string()),
        };
        signals::interrupt_on_ctrl_c(interpreter.interrupt_handle());
        let result = interpreter.run_source(&self.name, &self.text);
        let status = result.map_or_else(|error| conclude(&error), |()| 0);
        show_stats(options, &interpreter.stats());
        if let Some(Ok(mut totals)) = totals {
            // Nobody is left to tell if the comparison is gone.
            let _ = writeln!(totals, "{}", Totals::of(&interpreter.stats()).to_json());
        }
        interpreter.leak_engine();
        status
    }
}

/// Prints the statistics if they were asked for.
pub fn show_stats(options: &Options, stats: &Stats) {
    if options.stats {
        say(&format!("\n{}", report(stats)));
    }
}

/// The descriptor that `--stats-json` names, kept from the processes that the script starts.
fn inherited(fd: RawFd) -> std::io::Result<File> {
    // SAFETY: `onelock compare` left the descriptor open for this process, and nothing else uses it here.
    let file = unsafe { File::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
    Ok(file)
}

/// Names the script that is not there, and a file beside it with nearly the same name.
fn no_such_script(path: &Path) -> String {
    let mut message = format!("no script '{}'", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else {
        message.push_str(&format!(": there is no folder '{}'", folder.display()));
        return message;
    };
    let names = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let with_ending = format!("{name}.rhai");
    let meant = names.iter().find(|known| **known == with_ending).map(String::as_str);
    match meant.or_else(|| nearest(&name, names.iter().map(String::as_str))) {
        Some(meant) => {
            message.push_str(&format!(": did you mean '{}'?", path.with_file_name(meant).display()))
        }
        None => message.push_str(&format!(
            " in {}",
            if folder == Path::new(".") { "this folder".into() } else { format!("'{}'", folder.display()) }
        )),
    }
    message
}
