//! Text as bytes: the encodings that files have, and what happens to bytes that are none.

use crate::language::exception::{Class, Exception, Outcome, raise};

/// How characters are written as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Every character.
    Utf8,
    /// The first 128 characters.
    Ascii,
    /// The first 256 characters.
    Latin1,
}

/// What to do with bytes that stand for no character, and with characters that have no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Raise a UnicodeError.
    Strict,
    /// Leave them out.
    Ignore,
    /// Put a question mark in their place.
    Replace,
    /// Put an escape, `\xff`, in their place.
    Escape,
}

/// An encoding and its way with errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    encoding: Encoding,
    on_error: OnError,
}

/// What is wrong at a place in a text or in bytes: from `start` to before `end`.
struct Flaw {
    start: usize,
    end: usize,
    reason: &'static str,
}

impl Codec {
    /// UTF-8, strictly.
    pub const UTF8: Self = Self { encoding: Encoding::Utf8, on_error: OnError::Strict };

    /// The codec for the arguments `encoding` and `errors` of `open`.
    ///
    /// # Errors
    /// LookupError for names that are not known.
    pub fn named(encoding: Option<&str>, errors: Option<&str>) -> Outcome<Self> {
        let name = encoding.unwrap_or("utf-8");
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let encoding = match plain.to_ascii_lowercase().as_str() {
            "utf8" | "u8" | "utf" => Encoding::Utf8,
            "ascii" | "usascii" | "646" => Encoding::Ascii,
            "latin1" | "latin" | "l1" | "iso88591" | "88591" | "cp819" => Encoding::Latin1,
            _ => {
                let text = format!("unknown encoding: {name}: use utf-8, ascii or latin-1");
                return Err(raise("LookupError", text));
            }
        };
        let on_error = match errors.unwrap_or("strict") {
            "strict" => OnError::Strict,
            "ignore" => OnError::Ignore,
            "replace" => OnError::Replace,
            "backslashreplace" => OnError::Escape,
            name => {
                let text = format!(
                    "unknown error handler name '{name}': use strict, ignore, replace or backslashreplace"
                );
                return Err(raise("LookupError", text));
            }
        };
        Ok(Self { encoding, on_error })
    }

    /// The encoding's name as exceptions show it.
    fn name(self) -> &'static str {
        match self.encoding {
            Encoding::Utf8 => "utf-8",
            Encoding::Ascii => "ascii",
            Encoding::Latin1 => "latin-1",
        }
    }

    /// How many bytes the first character of `bytes` has, or what stands in its place; nothing if that depends
    /// on bytes that are not there yet.
    pub fn first_length(self, bytes: &[u8], is_end: bool) -> Option<usize> {
        let first = *bytes.first()?;
        if self.encoding != Encoding::Utf8 || first < 0x80 {
            return Some(1);
        }
        let wanted = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        match std::str::from_utf8(&bytes[..bytes.len().min(wanted)]) {
            Ok(_) => Some(wanted),
            Err(flaw) => match flaw.error_len() {
                Some(length) => Some(length),
                None if is_end => Some(bytes.len()),
                None => None,
            },
        }
    }

    /// Bytes as text.
    ///
    /// # Errors
    /// UnicodeDecodeError, if errors are not to be passed over.
    pub fn decode(self, bytes: &[u8]) -> Outcome<String> {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            let (good, flaw) = self.decode_good(rest);
            text.push_str(&good);
            let Some(flaw) = flaw else { return Ok(text) };
            match self.on_error {
                OnError::Strict => return Err(self.decode_error(bytes, bytes.len() - rest.len(), &flaw)),
                OnError::Ignore => {}
                OnError::Replace => text.push('\u{fffd}'),
                OnError::Escape => {
                    rest[flaw.start..flaw.end]
                        .iter()
                        .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
                }
            }
            rest = &rest[flaw.end..];
        }
    }

    /// The text before the first flaw, and the flaw.
    fn decode_good(self, bytes: &[u8]) -> (std::borrow::Cow<'_, str>, Option<Flaw>) {
        match self.encoding {
            Encoding::Latin1 => (bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(), None),
            Encoding::Ascii => {
                let good = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len());
                let flaw = (good < bytes.len()).then_some(Flaw {
                    start: good,
                    end: good + 1,
                    reason: "ordinal not in range(128)",
                });
                (String::from_utf8_lossy(&bytes[..good]), flaw)
            }
            Encoding::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => (text.into(), None),
                Err(error) => {
                    let start = error.valid_up_to();
                    let (length, reason) = match error.error_len() {
                        None => (bytes.len() - start, "unexpected end of data"),
                        Some(length) if matches!(bytes[start], 0xc2..=0xf4) => {
                            (length, "invalid continuation byte")
                        }
                        Some(length) => (length, "invalid start byte"),
                    };
                    (
                        String::from_utf8_lossy(&bytes[..start]),
                        Some(Flaw { start, end: start + length, reason }),
                    )
                }
            },
        }
    }

    fn decode_error(self, bytes: &[u8], offset: usize, flaw: &Flaw) -> Box<rhai::EvalAltResult> {
        let (start, end) = (offset + flaw.start, offset + flaw.end);
        let what = match end - start {
            1 => format!("byte 0x{:02x} in position {start}", bytes[start]),
            _ => format!("bytes in position {start}-{}", end - 1),
        };
        self.unicode_error("UnicodeDecodeError", "decode", &what, start, end, flaw.reason)
    }

    fn unicode_error(
        self,
        class: &str,
        verb: &str,
        what: &str,
        start: usize,
        end: usize,
        reason: &str,
    ) -> Box<rhai::EvalAltResult> {
        let name = self.name();
        let message = format!("'{name}' codec can't {verb} {what}: {reason}");
        let exception = Exception::new(Class::known(class), message);
        exception.set_attribute("encoding", name.into());
        exception.set_attribute("start", (start as i64).into());
        exception.set_attribute("end", (end as i64).into());
        exception.set_attribute("reason", reason.to_string().into());
        exception.into_error()
    }

    /// Text as bytes.
    ///
    /// # Errors
    /// UnicodeEncodeError, if errors are not to be passed over.
    pub fn encode(self, text: &str) -> Outcome<Vec<u8>> {
        let limit = match self.encoding {
            Encoding::Utf8 => return Ok(text.as_bytes().to_vec()),
            Encoding::Ascii => 0x80,
            Encoding::Latin1 => 0x100,
        };
        let mut bytes = Vec::with_capacity(text.len());
        for (index, c) in text.chars().enumerate() {
            let code = u32::from(c);
            match self.on_error {
                // Below the limit a character is its own byte.
                _ if code < limit => bytes.push(code as u8),
                OnError::Strict => return Err(self.encode_error(text, index, limit)),
                OnError::Ignore => {}
                OnError::Replace => bytes.push(b'?'),
                OnError::Escape => bytes.extend(escape(c).into_bytes()),
            }
        }
        Ok(bytes)
    }

    fn encode_error(self, text: &str, start: usize, limit: u32) -> Box<rhai::EvalAltResult> {
        let run = text.chars().skip(start).take_while(|c| u32::from(*c) >= limit).count();
        let what = match text.chars().nth(start) {
            Some(c) if run == 1 => format!("character '{}' in position {start}", escape(c)),
            _ => format!("characters in position {start}-{}", start + run - 1),
        };
        let reason = if limit == 0x80 { "ordinal not in range(128)" } else { "ordinal not in range(256)" };
        self.unicode_error("UnicodeEncodeError", "encode", &what, start, start + run, reason)
    }
}

/// A character beyond ASCII as Python escapes it.
fn escape(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code @ 0x100..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Outcome<T>) -> String {
        match *result.unwrap_err() {
            rhai::EvalAltResult::ErrorRuntime(value, _) => value.cast::<Exception>().message().to_string(),
            other => other.to_string(),
        }
    }

    fn codec(encoding: &str, errors: &str) -> Codec {
        Codec::named(Some(encoding), Some(errors)).unwrap()
    }

    #[test]
    fn names_are_known() {
        assert_eq!(Codec::named(None, None).unwrap(), Codec::UTF8);
        for name in ["utf8", "UTF-8", "utf_8"] {
            assert_eq!(codec(name, "strict"), Codec::UTF8);
        }
        assert!(message(Codec::named(Some("gbk"), None)).starts_with("unknown encoding: gbk"));
        assert!(message(Codec::named(None, Some("x"))).starts_with("unknown error handler name 'x'"));
    }

    #[test]
    fn wrong_bytes_are_reported_as_in_cpython() {
        for (bytes, expected) in [
            (&b"ab\xff\xfe"[..], "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"),
            (b"ab\xe4\xbdx", "'utf-8' codec can't decode bytes in position 2-3: invalid continuation byte"),
            (b"\xf0\x9f\x98", "'utf-8' codec can't decode bytes in position 0-2: unexpected end of data"),
            (b"\xe4", "'utf-8' codec can't decode byte 0xe4 in position 0: unexpected end of data"),
        ] {
            assert_eq!(message(Codec::UTF8.decode(bytes)), expected);
        }
        assert_eq!(
            message(codec("ascii", "strict").decode(b"a\xf0")),
            "'ascii' codec can't decode byte 0xf0 in position 1: ordinal not in range(128)"
        );
    }

    #[test]
    fn wrong_bytes_are_passed_over_as_in_cpython() {
        let bytes = b"ab\xff\xfe\ncd\xe4\xbd";
        for (errors, expected) in [
            ("ignore", "ab\ncd"),
            ("replace", "ab\u{fffd}\u{fffd}\ncd\u{fffd}"),
            ("backslashreplace", "ab\\xff\\xfe\ncd\\xe4\\xbd"),
        ] {
            assert_eq!(codec("utf-8", errors).decode(bytes).unwrap(), expected);
        }
    }

    #[test]
    fn characters_without_bytes_are_reported_as_in_cpython() {
        for (encoding, text, expected) in [
            (
                "ascii",
                "aé",
                "'ascii' codec can't encode character '\\xe9' in position 1: ordinal not in range(128)",
            ),
            (
                "ascii",
                "aéé",
                "'ascii' codec can't encode characters in position 1-2: ordinal not in range(128)",
            ),
            (
                "latin-1",
                "a中",
                "'latin-1' codec can't encode character '\\u4e2d' in position 1: ordinal not in range(256)",
            ),
        ] {
            assert_eq!(message(codec(encoding, "strict").encode(text)), expected);
        }
        assert_eq!(codec("latin-1", "replace").encode("é中").unwrap(), b"\xe9?");
        assert_eq!(codec("ascii", "backslashreplace").encode("a😀").unwrap(), b"a\\U0001f600");
    }

    #[test]
    fn characters_are_found_in_bytes() {
        let text = "é中😀a".as_bytes();
        assert_eq!(Codec::UTF8.first_length(text, false), Some(2));
        assert_eq!(Codec::UTF8.first_length(&text[2..4], false), None);
        assert_eq!(Codec::UTF8.first_length(&text[2..4], true), Some(2));
        assert_eq!(Codec::UTF8.first_length(b"\xffabc", false), Some(1));
        assert_eq!(Codec::UTF8.first_length(b"", true), None);
    }
}
