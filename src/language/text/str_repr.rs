//! `repr()` of strings and bytes.

use std::fmt::Write as _;

/// `repr(s)`: single quotes unless that would need escapes and double ones
/// would not, and an escape for everything that is not printable.
#[must_use]
pub fn str_repr(s: &str) -> String {
    let quote = quote(s.contains('\''), s.contains('"'));
    let mut text = String::with_capacity(s.len() + 2);
    text.push(quote);
    for c in s.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' '..='~' if c == quote => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ if is_printable(c) => text.push(c),
            _ => push_escape(&mut text, c),
        }
    }
    text.push(quote);
    text
}

/// `repr(b)`: `b'..'`, with `\xNN` for everything that is not printable ASCII.
#[must_use]
pub fn bytes_repr(b: &[u8]) -> String {
    let quote = quote(b.contains(&b'\''), b.contains(&b'"'));
    let mut text = String::with_capacity(b.len() + 3);
    text.push('b');
    text.push(quote);
    for &byte in b {
        match char::from(byte) {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c @ ' '..='~' if c == quote => text.extend(['\\', c]),
            c @ ' '..='~' => text.push(c),
            c => push_escape(&mut text, c),
        }
    }
    text.push(quote);
    text
}

/// Turns a `repr` into what `ascii()` gives: everything outside ASCII is escaped.
#[must_use]
pub fn ascii_repr(repr: &str) -> String {
    let mut text = String::with_capacity(repr.len());
    for c in repr.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            push_escape(&mut text, c);
        }
    }
    text
}

fn quote(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

fn push_escape(text: &mut String, c: char) {
    let code = u32::from(c);
    let written = match code {
        0..=0xff => write!(text, "\\x{code:02x}"),
        0x100..=0xffff => write!(text, "\\u{code:04x}"),
        _ => write!(text, "\\U{code:08x}"),
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// `str.isprintable()` for a character outside ASCII. The standard library has
/// the same list of categories behind `escape_debug`, for its own version of
/// Unicode. It escapes combining characters too, but only at the beginning of
/// a string, hence the letter before it.
fn is_printable(c: char) -> bool {
    let mut buffer = *b"a\0\0\0\0";
    let length = 1 + c.encode_utf8(&mut buffer[1..]).len();
    let Ok(pair) = str::from_utf8(&buffer[..length]) else {
        return false;
    };
    pair.escape_debug().nth(1) != Some('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_choose_their_quotes() {
        assert_eq!(str_repr("abc"), "'abc'");
        assert_eq!(str_repr("it's"), "\"it's\"");
        assert_eq!(str_repr("say \"hi\""), "'say \"hi\"'");
        assert_eq!(str_repr("it's \"hi\""), "'it\\'s \"hi\"'");
        assert_eq!(str_repr(""), "''");
    }

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(str_repr("a\n\t\r\\b"), r"'a\n\t\r\\b'");
        assert_eq!(str_repr("\0\x1b\x7f\u{80}"), r"'\x00\x1b\x7f\x80'");
        assert_eq!(str_repr("\u{a0}\u{ad}\u{3000}"), r"'\xa0\xad\u3000'");
        assert_eq!(str_repr("\u{200b}\u{feff}\u{e000}"), r"'\u200b\ufeff\ue000'");
        assert_eq!(str_repr("\u{1f9ff}\u{e0001}"), "'\u{1f9ff}\\U000e0001'");
        assert_eq!(str_repr("进程 é e\u{301}"), "'进程 é e\u{301}'");
        assert_eq!(str_repr("\u{301}"), "'\u{301}'");
    }

    #[test]
    fn bytes() {
        assert_eq!(bytes_repr(b"abc"), "b'abc'");
        assert_eq!(bytes_repr(b"a'\n\xff\0"), r#"b"a'\n\xff\x00""#);
        assert_eq!(bytes_repr(b"'\"\\"), r#"b'\'"\\'"#);
    }

    #[test]
    fn ascii_escapes_the_rest() {
        assert_eq!(ascii_repr("'é进\u{1f600}'"), r"'\xe9\u8fdb\U0001f600'");
    }
}
