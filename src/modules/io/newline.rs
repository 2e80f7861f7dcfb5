//! Where lines end, and what the ends are turned into.

use std::borrow::Cow;

use crate::language::exception::{Outcome, raise};

/// The argument `newline` of `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newline {
    /// `None`: `\n`, `\r` and `\r\n` all end a line, and a script sees `\n`.
    Universal,
    /// `''`: they all end a line, and a script sees them as they are.
    Untranslated,
    /// Only `\n` does.
    LineFeed,
    /// Only `\r` does; a `\n` is written as `\r`.
    CarriageReturn,
    /// Only `\r\n` does; a `\n` is written as `\r\n`.
    Both,
}

impl Newline {
    /// The value of the argument.
    ///
    /// # Errors
    /// ValueError for a text that cannot end lines.
    pub fn named(newline: Option<&str>) -> Outcome<Self> {
        match newline {
            None => Ok(Self::Universal),
            Some("") => Ok(Self::Untranslated),
            Some("\n") => Ok(Self::LineFeed),
            Some("\r") => Ok(Self::CarriageReturn),
            Some("\r\n") => Ok(Self::Both),
            Some(other) => Err(raise(
                "ValueError",
                format!("illegal newline value: {other:?}: use None, '', '\\n', '\\r' or '\\r\\n'"),
            )),
        }
    }

    /// How long the first line of `bytes` is, with its end; nothing if its end is not there.
    pub fn line_length(self, bytes: &[u8], is_end: bool) -> Option<usize> {
        let find = |byte: u8| bytes.iter().position(|b| *b == byte);
        match self {
            Self::LineFeed => find(b'\n').map(|at| at + 1),
            Self::CarriageReturn => find(b'\r').map(|at| at + 1),
            Self::Both => bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2),
            Self::Universal | Self::Untranslated => {
                let at = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
                self.end_length(&bytes[at..], is_end).map(|length| at + length)
            }
        }
    }

    /// How long the end of a line at the head of `bytes` is; nothing if that depends on bytes that are not there
    /// yet.
    fn end_length(self, bytes: &[u8], is_end: bool) -> Option<usize> {
        match bytes {
            [b'\r', b'\n', ..] => Some(2),
            [b'\r'] if !is_end => None,
            _ => Some(1),
        }
    }

    /// How many bytes a script sees as one `\n` at the head of `bytes`: none if it is no end of a line that is
    /// translated. Nothing if that depends on bytes that are not there yet.
    pub fn translated_length(self, bytes: &[u8], is_end: bool) -> Option<usize> {
        match bytes.first() {
            Some(b'\r') if self == Self::Universal => self.end_length(bytes, is_end),
            _ => Some(0),
        }
    }

    /// A text that was read, as a script sees it.
    pub fn from_file(self, text: String) -> String {
        if self == Self::Universal && text.contains('\r') {
            return text.replace("\r\n", "\n").replace('\r', "\n");
        }
        text
    }

    /// A script's text, as it is written.
    pub fn to_file(self, text: &str) -> Cow<'_, str> {
        let end = match self {
            Self::CarriageReturn => "\r",
            Self::Both => "\r\n",
            // The system's own line end is \n.
            Self::Universal | Self::Untranslated | Self::LineFeed => return text.into(),
        };
        text.replace('\n', end).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(newline: Newline, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let length = newline.line_length(bytes, true).unwrap_or(bytes.len());
            lines.push(newline.from_file(String::from_utf8_lossy(&bytes[..length]).into_owned()));
            bytes = &bytes[length..];
        }
        lines
    }

    #[test]
    fn lines_end_as_in_cpython() {
        let bytes = b"abc\r\nd\re\nlast";
        assert_eq!(lines(Newline::Universal, bytes), ["abc\n", "d\n", "e\n", "last"]);
        assert_eq!(lines(Newline::Untranslated, bytes), ["abc\r\n", "d\r", "e\n", "last"]);
        assert_eq!(lines(Newline::LineFeed, bytes), ["abc\r\n", "d\re\n", "last"]);
        assert_eq!(lines(Newline::CarriageReturn, bytes), ["abc\r", "\nd\r", "e\nlast"]);
        assert_eq!(lines(Newline::Both, bytes), ["abc\r\n", "d\re\nlast"]);
    }

    #[test]
    fn a_carriage_return_at_the_end_may_be_half_of_a_line_end() {
        assert_eq!(Newline::Universal.line_length(b"a\r", false), None);
        assert_eq!(Newline::Universal.line_length(b"a\r", true), Some(2));
        assert_eq!(Newline::Universal.translated_length(b"\r", false), None);
        assert_eq!(Newline::Universal.translated_length(b"\r\nx", false), Some(2));
        assert_eq!(Newline::LineFeed.translated_length(b"\r\nx", false), Some(0));
    }

    #[test]
    fn line_ends_are_written() {
        assert_eq!(Newline::CarriageReturn.to_file("a\nb\r\n"), "a\rb\r\r");
        assert_eq!(Newline::Both.to_file("a\nb\r\n"), "a\r\nb\r\r\n");
        assert_eq!(Newline::Universal.to_file("a\nb\r\n"), "a\nb\r\n");
    }
}
