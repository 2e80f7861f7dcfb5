//! The line editor: history, completion, the matching bracket.

use std::borrow::Cow;
use std::path::PathBuf;

use etcetera::BaseStrategy;
use onelock::Interpreter;
use rustyline::completion::Completer;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter, MatchingBracketHighlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::completion::Names;
use super::screen::Screen;

/// What reading a line came to.
pub enum Input {
    /// Somebody typed this; a pasted text may have several lines.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
    /// The terminal is gone.
    Failed(String),
}

/// Reads lines from the terminal.
pub struct LineEditor {
    editor: Editor<Assistant, DefaultHistory>,
    screen: Screen,
    /// Nothing when there is no place for it: then the history ends with the session.
    history: Option<PathBuf>,
}

impl LineEditor {
    /// An editor that tells `screen` what it shows.
    ///
    /// # Errors
    /// The terminal's.
    pub fn new(screen: &Screen) -> rustyline::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .auto_add_history(false)
            .max_history_size(10_000)?
            .build();
        let mut editor = Editor::with_config(config)?;
        let brackets = MatchingBracketHighlighter::new();
        editor.set_helper(Some(Assistant { screen: screen.clone(), brackets, names: Names::default() }));
        let history = history_file();
        if let Some(path) = &history {
            // The first session has none.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, screen: screen.clone(), history })
    }

    /// Learns the session's variables and functions, for completion.
    pub fn learn(&mut self, interpreter: &Interpreter) {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.names = Names::of(interpreter);
        }
    }

    /// Reads a line.
    pub fn read(&mut self, prompt: &str) -> Input {
        // The terminal is asked only then: what `input()` prints before it reads is ended by whoever answers.
        self.editor.set_check_cursor_position(self.screen.begin_prompt());
        let result = self.editor.readline(prompt);
        self.screen.end_prompt();
        match result {
            Ok(line) => Input::Line(line),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Input::Interrupted,
            Err(ReadlineError::Eof) => Input::End,
            Err(error) => Input::Failed(error.to_string()),
        }
    }

    /// Puts a whole statement into the history.
    pub fn remember(&mut self, statement: &str) {
        let added = self.editor.add_history_entry(statement.trim_end());
        if let (Ok(true), Some(path)) = (added, &self.history) {
            // A history that cannot be written is no reason to stop.
            let _ = self.editor.append_history(path);
        }
    }
}

/// `onelock/history` in the user's state directory, whose folders are made.
fn history_file() -> Option<PathBuf> {
    let folder = etcetera::choose_base_strategy().ok()?.state_dir()?.join("onelock");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// What helps while a line is typed.
struct Assistant {
    screen: Screen,
    brackets: MatchingBracketHighlighter,
    names: Names,
}

impl Helper for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
impl Validator for Assistant {}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        self.names.complete(line, at, context)
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, at: usize) -> Cow<'l, str> {
        self.screen.show_line(line, at);
        self.brackets.highlight(line, at)
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        self.screen.show_prompt(prompt);
        prompt.into()
    }

    fn highlight_char(&self, line: &str, at: usize, kind: CmdKind) -> bool {
        self.brackets.highlight_char(line, at, kind);
        // Every change must pass by the screen.
        true
    }
}
