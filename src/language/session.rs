//! The text of a session: what was typed and what was loaded, as one script that grows.
//!
//! Rhai keeps the functions of all inputs in one library with one name, so a function alone does not tell which
//! input it came from. Its lines do: every input is read as if all those before stood above it, and the line
//! leads back to the input's own name and line.

use std::fmt::Write;

use crate::runtime::Site;
use crate::runtime::sync::{Arc, RwLock};

/// The name under which rhai knows every input.
pub const SESSION: &str = "<session>";

/// Rhai counts lines up to 65,535.
const MOST_LINES: usize = 60_000;

/// The inputs so far.
#[derive(Default)]
pub struct Session(RwLock<Inputs>);

#[derive(Default)]
struct Inputs {
    text: String,
    lines: usize,
    all: Vec<Input>,
}

struct Input {
    name: Arc<str>,
    /// How many lines stand above it.
    above: usize,
    /// How long the text was before.
    length: usize,
}

impl Session {
    /// Adds an input; returns it with as many empty lines above it as there are lines before, and their number.
    pub fn add(&self, name: &str, source: &str) -> (String, usize) {
        let mut inputs = self.0.write();
        let lines = source.lines().count();
        if inputs.lines + lines > MOST_LINES {
            // Tracebacks of the functions from before then show the wrong lines.
            *inputs = Inputs::default();
        }
        let (above, length) = (inputs.lines, inputs.text.len());
        inputs.all.push(Input { name: name.into(), above, length });
        inputs.lines += lines;
        for line in source.lines() {
            let _ = writeln!(inputs.text, "{line}");
        }
        ("\n".repeat(above) + source, above)
    }

    /// Takes the last input back: it was no program.
    pub fn withdraw(&self) {
        let mut inputs = self.0.write();
        if let Some(last) = inputs.all.pop() {
            inputs.text.truncate(last.length);
            inputs.lines = last.above;
        }
    }

    /// The whole text.
    pub fn text(&self) -> Arc<str> {
        self.0.read().text.as_str().into()
    }

    /// The input that a line belongs to, and the line's number in it.
    pub fn locate(&self, line: usize) -> Option<(Arc<str>, usize)> {
        let inputs = self.0.read();
        let input = inputs.all.iter().rev().find(|input| input.above < line)?;
        Some((Arc::clone(&input.name), line - input.above))
    }

    /// [`Session::locate`] as a place for reports.
    pub fn site(&self, line: u32) -> Site {
        match self.locate(line as usize) {
            Some((name, line)) => Site::new(&name, line as u32),
            None => Site::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_back_to_their_inputs() {
        let session = Session::default();
        assert_eq!(session.add("one", "a\nb"), ("a\nb".into(), 0));
        assert_eq!(session.add("wrong", "("), ("\n\n(".into(), 2));
        session.withdraw();
        assert_eq!(session.add("two", "c\n"), ("\n\nc\n".into(), 2));
        assert_eq!(session.add("three", "d"), ("\n\n\nd".into(), 3));
        assert_eq!(&*session.text(), "a\nb\nc\nd\n");
        let located = |line| session.locate(line).map(|(name, line)| (name.to_string(), line));
        assert_eq!(located(0), None);
        assert_eq!(located(2), Some(("one".into(), 2)));
        assert_eq!(located(3), Some(("two".into(), 1)));
        assert_eq!(located(4), Some(("three".into(), 1)));
    }
}
