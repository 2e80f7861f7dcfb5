//! What can end a script.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rhai::{ParseError, ParseErrorType};

use crate::language::exception::Exception;
use crate::language::value;

/// Why a script did not run to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The script could not be read.
    Io {
        /// The script.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The script's text is no program.
    Syntax(SyntaxError),
    /// An exception that the script did not catch.
    Exception(Exception),
    /// The script called `exit` with something else than 0 or nothing.
    Exit {
        /// The exit status.
        status: i32,
        /// The text that `exit` was given instead of a number; it belongs on standard error.
        message: Option<String>,
    },
    /// Every thread waited for another one; the report says who for what.
    Deadlock(String),
    /// The thread was stopped from outside.
    Stopped,
}

impl Error {
    /// What a `SystemExit` means.
    pub(crate) fn exit(exception: &Exception) -> Self {
        let code = exception.args().first();
        match code {
            None => Self::Exit { status: 0, message: None },
            Some(code) if code.is_unit() => Self::Exit { status: 0, message: None },
            Some(code) => match code.as_int().or_else(|_| code.as_bool().map(i64::from)) {
                // As in the shell: the lowest eight bits.
                Ok(status) => Self::Exit { status: (status & 0xff) as i32, message: None },
                Err(_) => Self::Exit { status: 1, message: Some(value::str(code)) },
            },
        }
    }

    /// The exit status of a command that ends with this error.
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Io { .. } | Self::Syntax(_) => 2,
            Self::Exit { status, .. } => *status,
            Self::Exception(exception) if exception.class().name == "KeyboardInterrupt" => 130,
            Self::Exception(_) | Self::Deadlock(_) | Self::Stopped => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Syntax(error) => error.fmt(f),
            Self::Exception(exception) => f.write_str(&exception.summary()),
            Self::Exit { message: Some(message), .. } => f.write_str(message),
            Self::Exit { status, message: None } => write!(f, "exit status {status}"),
            Self::Deadlock(report) => f.write_str(report.trim_end()),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {}

/// A text that is no program.
#[derive(Clone, Debug)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// The script's name.
    pub file: String,
    /// The line, from 1 on; 0 if it is not known.
    pub line: usize,
    /// The column, from 1 on; 0 if it is not known.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// More text could make it a program: what a prompt needs to know.
    pub incomplete_input: bool,
}

impl SyntaxError {
    pub(crate) fn new(error: &ParseError, file: &str, source: &str) -> Self {
        let lines: Vec<&str> = source.lines().collect();
        let position = error.position();
        // The end of the text has no position: point behind its last line.
        let line = position.line().unwrap_or(lines.len());
        let text = lines.get(line.wrapping_sub(1)).copied().unwrap_or_default().to_string();
        let column = position.position().unwrap_or_else(|| text.chars().count() + 1);
        let incomplete_input = match error.err_type() {
            ParseErrorType::UnexpectedEOF => true,
            ParseErrorType::MissingToken(..) => position.line().is_none() || position.is_none(),
            ParseErrorType::BadInput(error) => matches!(error, rhai::LexError::UnterminatedString),
            _ => false,
        };
        Self {
            message: error.err_type().to_string(),
            file: file.into(),
            line,
            column,
            text,
            incomplete_input,
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  File \"{}\", line {}", self.file, self.line)?;
        if !self.text.trim().is_empty() {
            let indent = self.text.chars().count() - self.text.trim_start().chars().count();
            writeln!(f, "    {}", self.text.trim())?;
            let before = self.column.saturating_sub(indent + 1);
            writeln!(f, "    {}^", crate::language::exception::blanks_under(self.text.trim(), before))?;
        }
        write!(f, "SyntaxError: {}", self.message)
    }
}

impl std::error::Error for SyntaxError {}
