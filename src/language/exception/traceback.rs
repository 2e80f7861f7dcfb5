//! Where an exception was raised: a frame per call, the outermost first.

use std::fmt::Write;

use rhai::{EvalAltResult, Position};

use crate::language::realm;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The script, as it was given.
    pub file: String,
    /// The line, 0 if it is not known.
    pub line: usize,
    /// The column, 0 if it is not known.
    pub column: usize,
    /// The function, `<module>` for the script itself.
    pub function: String,
}

impl Frame {
    /// A frame at the place that rhai names.
    pub fn at(file: &str, line: usize, column: usize, function: String) -> Self {
        let site = realm::site(file, line as u32);
        Self { file: site.file.into(), line: site.line as usize, column, function }
    }
}

/// The frames of a raised exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traceback {
    frames: Vec<Frame>,
}

impl Traceback {
    /// Reads the frames off a rhai error, which wraps the innermost one once per call.
    ///
    /// `outermost` is the script's code that `error` came out of, `<module>` as a rule. An empty one stands for
    /// no script at all: a thread's function is called by nobody.
    pub fn of(error: &EvalAltResult, file: &str, outermost: &str) -> Self {
        let mut frames = Vec::new();
        let (mut error, mut file, mut function) = (error, file.to_string(), outermost.to_string());
        if let (true, EvalAltResult::ErrorInFunctionCall(name, source, inner, _)) =
            (outermost.is_empty(), error)
        {
            (error, file, function) = (inner, source.clone(), shown_name(name));
        }
        loop {
            let position = error.position();
            let (line, column) = (position.line().unwrap_or(0), position.position().unwrap_or(0));
            match error {
                EvalAltResult::ErrorInFunctionCall(name, source, inner, _) => {
                    frames.push(Frame::at(&file, line, column, function));
                    if !source.is_empty() {
                        file.clone_from(source);
                    }
                    function = shown_name(name);
                    error = inner;
                }
                EvalAltResult::ErrorInModule(name, inner, _) => {
                    frames.push(Frame::at(&file, line, column, function));
                    file.clone_from(name);
                    function = "<module>".into();
                    error = inner;
                }
                _ => {
                    // Without a file it is the place of nothing: the evaluator ran out of stack between two calls.
                    if line > 0 && !file.is_empty() {
                        frames.push(Frame::at(&file, line, column, function));
                    }
                    return Self { frames };
                }
            }
        }
    }

    /// A traceback of these frames, the outermost first.
    pub fn from_frames(frames: Vec<Frame>) -> Self {
        Self { frames }
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames, the outermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The place where the exception was raised.
    pub fn innermost(&self) -> Option<&Frame> {
        self.frames.last()
    }

    /// The frames as CPython prints them; `source` yields a file's line for the excerpt and the pointer.
    pub fn render(&self, source: impl Fn(&str, usize) -> Option<String>) -> String {
        let mut text = String::from("Traceback (most recent call last):\n");
        // A recursion shows its ends, not a screen of the same.
        const ENDS: usize = 8;
        let skipped = self.frames.len().saturating_sub(2 * ENDS);
        for (index, frame) in self.frames.iter().enumerate() {
            if skipped > 0 && (ENDS..ENDS + skipped).contains(&index) {
                if index == ENDS {
                    let _ = writeln!(text, "  [{skipped} more calls]");
                }
                continue;
            }
            let _ = writeln!(text, "  File \"{}\", line {}, in {}", frame.file, frame.line, frame.function);
            if let Some(line) = source(&frame.file, frame.line) {
                let _ = writeln!(text, "    {}", line.trim());
                if index + 1 == self.frames.len() && frame.column > 0 {
                    let indent = line.chars().count() - line.trim_start().chars().count();
                    let column = frame.column.saturating_sub(indent + 1);
                    let _ = writeln!(text, "    {}^", blanks_under(line.trim(), column));
                }
            }
        }
        text
    }
}

/// Blanks as wide as the first `columns` characters of `line` on a terminal.
pub fn blanks_under(line: &str, columns: usize) -> String {
    line.chars().take(columns).map(|c| if is_wide(c) { "  " } else { " " }).collect()
}

/// Does a terminal give the character two columns? (The East Asian wide ranges that scripts use.)
fn is_wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x20000..=0x3fffd)
}

/// A function's name as a traceback shows it: closures have none of their own.
pub fn shown_name(name: &str) -> String {
    if name.starts_with("anon$") { "<lambda>".into() } else { name.to_string() }
}

impl From<&Frame> for Position {
    fn from(frame: &Frame) -> Self {
        match u16::try_from(frame.line) {
            Ok(line) if line > 0 => Self::new(line, frame.column.min(usize::from(u16::MAX)) as u16),
            _ => Self::NONE,
        }
    }
}
