//! The commands that begin with a colon.

use std::path::Path;

use onelock::observe::report;
use onelock::{Error, GilMode, read_script};

use super::threads::overview;
use super::{End, Evaluated, Session, help};

/// Name, argument, what it does.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    ("help", "[NAME]", "this text, or what a module, class, function or method does"),
    ("gil", "[MODE]", "the GIL's mode and counters; with a mode, a new session under it"),
    ("threads", "", "what every thread is doing"),
    ("load", "FILE", "runs a file in this session"),
    ("quit", "", "leaves, as Ctrl-D does"),
];

impl Session<'_> {
    /// Does what `line`, without its colon, says; the session's end if it is that.
    pub(super) fn command(&mut self, line: &str) -> Option<End> {
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        match (name, argument) {
            ("help" | "h" | "?", "") => self.show(&help::overview()),
            ("help" | "h" | "?", what) => self.show(&help::about(what)),
            ("gil", "") => self.show(&report(&self.interpreter.stats())),
            ("gil", mode) => return self.restart(mode),
            ("threads", "") => self.show(&overview(&self.interpreter.realm().runtime)),
            ("load", "") => self.complain(":load needs a file: use :load FILE\n"),
            ("load", file) => return self.load(Path::new(file)),
            ("quit" | "q" | "exit", "") => return Some(End::Exit(0)),
            _ => {
                let known = COMMANDS.iter().any(|(known, ..)| *known == name);
                let why = if known {
                    format!(":{name} takes no argument")
                } else {
                    format!("no command ':{name}'")
                };
                self.complain(&format!("{why}: use :help\n"));
            }
        }
        None
    }

    fn restart(&mut self, mode: &str) -> Option<End> {
        match mode.parse::<GilMode>() {
            Err(error) => {
                self.complain(&format!("{error}\n"));
                None
            }
            Ok(mode) => {
                self.show(&format!(
                    "The mode holds for a whole run, so a new session begins under {mode}: \
                     variables, functions and threads of this one are gone.\n"
                ));
                self.interpreter.realm().runtime.stop_others();
                Some(End::Restart(mode))
            }
        }
    }

    fn load(&mut self, file: &Path) -> Option<End> {
        let name = file.to_string_lossy();
        self.interpreter.realm().runtime.clear_interrupt();
        let result = read_script(file).and_then(|text| self.interpreter.eval_named(&name, &text));
        match result {
            // What a file's last statement comes to is not what one loads it for.
            Ok(_) => None,
            Err(error @ Error::Io { .. }) => {
                self.complain(&format!("{error}\n"));
                None
            }
            result => match self.conclude(result) {
                Evaluated::Exit(status) => Some(End::Exit(status)),
                _ => None,
            },
        }
    }
}
