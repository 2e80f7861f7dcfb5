//! The mode of `open`: what may be done with a file, and whether it is text.

use std::fs::OpenOptions;

use crate::language::exception::{Outcome, raise};

/// A mode that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// As it was given.
    pub text: String,
    /// The file may be read.
    pub reads: bool,
    /// The file may be written.
    pub writes: bool,
    /// Everything is written at the end of the file.
    pub appends: bool,
    /// Bytes, not text.
    pub is_binary: bool,
    /// What is written is not what is read: a socket's file.
    pub is_duplex: bool,
    creates: bool,
    truncates: bool,
}

impl Mode {
    /// Reads `r`, `w`, `x` or `a`, with `b` or `t` and `+`.
    ///
    /// # Errors
    /// ValueError for anything else.
    pub fn parse(text: &str) -> Outcome<Self> {
        let has = |c: char| text.contains(c);
        let is_repeated = text.char_indices().any(|(at, c)| text[..at].contains(c));
        if is_repeated || !text.chars().all(|c| "rwxabt+".contains(c)) {
            let text = format!("invalid mode: '{text}': use r, w, x or a, with b or t and +");
            return Err(raise("ValueError", text));
        }
        if has('t') && has('b') {
            return Err(raise("ValueError", "can't have text and binary mode at once"));
        }
        match text.chars().filter(|c| "rwxa".contains(*c)).count() {
            0 => {
                let text = "Must have exactly one of create/read/write/append mode and at most one plus";
                return Err(raise("ValueError", text));
            }
            1 => {}
            _ => return Err(raise("ValueError", "must have exactly one of create/read/write/append mode")),
        }
        Ok(Self {
            text: text.to_string(),
            reads: has('r') || has('+'),
            writes: !has('r') || has('+'),
            appends: has('a'),
            is_binary: has('b'),
            is_duplex: false,
            creates: has('x'),
            truncates: has('w'),
        })
    }

    /// Reads the mode of a socket's file: `r` and `w`, together or not, and `b`; nothing means `r`.
    ///
    /// # Errors
    /// ValueError for anything else.
    pub fn of_socket(text: &str) -> Outcome<Self> {
        let has = |c: char| text.contains(c);
        if !text.chars().all(|c| "rwb".contains(c)) {
            return Err(raise("ValueError", format!("invalid mode '{text}' (only r, w, b allowed)")));
        }
        Ok(Self {
            text: text.to_string(),
            reads: has('r') || !has('w'),
            writes: has('w'),
            appends: false,
            is_binary: has('b'),
            is_duplex: has('r') && has('w'),
            creates: false,
            truncates: false,
        })
    }

    /// How the system is to open the file.
    pub fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(self.reads).write(self.writes).append(self.appends).truncate(self.truncates);
        options.create(self.truncates || self.appends).create_new(self.creates);
        options
    }

    /// The class that CPython gives such a file.
    pub fn class(&self) -> &'static str {
        match (self.is_binary, self.reads, self.writes) {
            (false, ..) => "TextIOWrapper",
            (true, true, true) if self.is_duplex => "BufferedRWPair",
            (true, true, true) => "BufferedRandom",
            (true, true, false) => "BufferedReader",
            (true, false, _) => "BufferedWriter",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        let mode = Mode::parse("r").unwrap();
        assert!(mode.reads && !mode.writes && !mode.is_binary);
        let mode = Mode::parse("ab+").unwrap();
        assert!(mode.reads && mode.writes && mode.appends && mode.is_binary && !mode.truncates);
        let mode = Mode::parse("+r").unwrap();
        assert!(mode.reads && mode.writes && !mode.creates);
        for text in ["z", "rw", "r+w", "", "b", "t", "rbt", "rr", "r++", "U", "+"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
        let mode = Mode::of_socket("rwb").unwrap();
        assert!(mode.reads && mode.writes && mode.is_binary && mode.is_duplex);
        let mode = Mode::of_socket("").unwrap();
        assert!(mode.reads && !mode.writes && !mode.is_duplex);
        assert!(Mode::of_socket("r+").is_err());
    }
}
