//! The prompt: reads a statement, evaluates it, shows its value; threads go on meanwhile.
//!
//! One session is one run of an interpreter. The prompt waits for a line without the interpreter lock, so the
//! session's threads run while somebody types, and what they print appears above the prompt.

mod commands;
mod completion;
mod editor;
mod help;
mod screen;
mod source;
mod threads;

use std::io::Write;

use onelock::language::value::repr;
use onelock::modules::threading::report_uncaught;
use onelock::runtime::detached;
use onelock::{Error, GilMode, Interpreter};

use crate::cli::{Options, conclude, say, show_stats};
use crate::signals;
use editor::{Input, LineEditor};
use screen::Screen;

/// How a session ends.
pub enum End {
    /// With this exit status.
    Exit(i32),
    /// To be followed by another one under this mode.
    Restart(GilMode),
}

/// Runs the prompt until it is left; returns the exit status.
pub fn run(options: &Options) -> i32 {
    let screen = Screen::default();
    let mut editor = match LineEditor::new(&screen) {
        Ok(editor) => editor,
        Err(error) => {
            say(&format!("onelock: cannot read from this terminal: {error}\n"));
            return 1;
        }
    };
    let mut options = options.clone();
    let mut out = screen.clone();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "onelock {version}, GIL {}. Type :help for help, Ctrl-D to leave.", options.gil);
    loop {
        match session(&options, &mut editor, &screen) {
            End::Exit(status) => return status,
            End::Restart(mode) => options.gil = mode,
        }
    }
}

fn session(options: &Options, editor: &mut LineEditor, screen: &Screen) -> End {
    let builder = options.builder().stdout(screen.clone()).stderr(screen.for_stderr());
    let mut interpreter = match builder.build() {
        Ok(interpreter) => interpreter,
        Err(error) => return End::Exit(conclude(&error)),
    };
    signals::interrupt_on_ctrl_c(interpreter.interrupt_handle());
    let end = interpreter.session(|interpreter| {
        let mut session = Session { interpreter, editor, screen: screen.clone() };
        let end = session.serve();
        session.finish(end)
    });
    show_stats(options, &interpreter.stats());
    end
}

/// A running session.
struct Session<'a> {
    interpreter: &'a mut Interpreter,
    editor: &'a mut LineEditor,
    screen: Screen,
}

impl Session<'_> {
    /// Reads and evaluates until the end.
    fn serve(&mut self) -> End {
        let mut pending = String::new();
        loop {
            self.editor.learn(self.interpreter);
            let prompt = if pending.is_empty() { ">>> " } else { "... " };
            let line = match detached(|| self.editor.read(prompt)) {
                Input::Line(line) => line,
                Input::Interrupted => {
                    pending.clear();
                    self.show("KeyboardInterrupt\n");
                    continue;
                }
                Input::End if pending.is_empty() => return End::Exit(0),
                Input::End => "\n".into(),
                Input::Failed(why) => {
                    self.show(&format!("onelock: cannot read from this terminal: {why}\n"));
                    return End::Exit(1);
                }
            };
            if pending.is_empty() {
                if let Some(command) = line.trim().strip_prefix(':').filter(|rest| !rest.starts_with(':')) {
                    self.editor.remember(&line);
                    match self.command(command) {
                        Some(end) => return end,
                        None => continue,
                    }
                }
                if line.trim().is_empty() {
                    continue;
                }
            }
            if !pending.is_empty() {
                pending.push('\n');
            }
            pending.push_str(&line);
            if source::is_open(&pending) {
                continue;
            }
            // An empty line ends what only the parser thinks unfinished.
            let may_go_on = !line.trim().is_empty();
            match self.evaluate(&pending, may_go_on) {
                Evaluated::Unfinished => {}
                Evaluated::Done => {
                    self.editor.remember(&pending);
                    pending.clear();
                }
                Evaluated::Exit(status) => {
                    self.editor.remember(&pending);
                    return End::Exit(status);
                }
            }
        }
    }

    fn evaluate(&mut self, source: &str, may_go_on: bool) -> Evaluated {
        // A Ctrl-C that came too late for the statement before.
        self.interpreter.realm().runtime.clear_interrupt();
        match self.interpreter.eval_dynamic(source) {
            Err(Error::Syntax(error)) if error.incomplete_input && may_go_on => Evaluated::Unfinished,
            result => self.conclude(result),
        }
    }

    /// Shows what an evaluation came to.
    fn conclude(&mut self, result: Result<rhai::Dynamic, Error>) -> Evaluated {
        match result {
            Ok(value) if value.is_unit() => {}
            Ok(value) => self.show(&format!("{}\n", repr(&value))),
            Err(Error::Exception(exception)) => report_uncaught(self.interpreter.realm(), "", &exception),
            Err(Error::Exit { status, message }) => {
                if let Some(message) = message {
                    self.complain(&format!("{message}\n"));
                }
                return Evaluated::Exit(status);
            }
            Err(error) => self.complain(&format!("{error}\n")),
        }
        Evaluated::Done
    }

    /// The end of a program: waits for the threads that are no daemons.
    fn finish(&mut self, end: End) -> End {
        let End::Exit(status) = end else { return end };
        self.interpreter.realm().runtime.clear_interrupt();
        match self.interpreter.finish() {
            Ok(()) => End::Exit(status),
            Err(error) => {
                if let Error::Exception(exception) = &error {
                    report_uncaught(self.interpreter.realm(), "", exception);
                }
                End::Exit(conclude(&error))
            }
        }
    }

    fn show(&mut self, text: &str) {
        // A closed terminal is noticed by the next attempt to read from it.
        let _ = self.screen.write_all(text.as_bytes());
    }

    fn complain(&self, text: &str) {
        let _ = self.screen.for_stderr().write_all(text.as_bytes());
    }
}

enum Evaluated {
    /// More lines could make it a program.
    Unfinished,
    Done,
    /// By `exit()`.
    Exit(i32),
}
