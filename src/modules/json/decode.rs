//! Reads JSON text as CPython's scanner does, with its messages and positions.

use rhai::Dynamic;

use crate::language::dict::Dict;
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::list::List;
use crate::language::nesting::Level;

/// Why a text is no JSON, and where: at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    /// A JSONDecodeError.
    Malformed(&'static str, usize),
    /// Arrays, or objects, nest too deeply.
    TooDeep(&'static str),
    /// An integer that has no room in 64 bits.
    TooLarge(usize),
}

use Problem::Malformed;

/// Reads a text that holds one value and nothing else.
///
/// # Errors
/// JSONDecodeError; RecursionError, and OverflowError for an integer beyond 64 bits.
pub(super) fn decode(text: &str) -> Outcome<Dynamic> {
    let mut decoder = Decoder { text: text.as_bytes(), at: 0 };
    decoder.document().map_err(|problem| match problem {
        Malformed(message, at) => decode_error(message, text, at),
        Problem::TooDeep(what) => raise(
            "RecursionError",
            format!("maximum recursion depth exceeded while decoding a JSON {what} from a unicode string"),
        ),
        Problem::TooLarge(at) => {
            let Place { line, column, char } = Place::of(text, at);
            raise(
                "OverflowError",
                format!(
                    "integer beyond 64 bits: line {line} column {column} (char {char}): write it as a float or a string"
                ),
            )
        }
    })
}

fn decode_error(message: &str, text: &str, at: usize) -> Box<rhai::EvalAltResult> {
    let Place { line, column, char } = Place::of(text, at);
    let whole = format!("{message}: line {line} column {column} (char {char})");
    let exception = Exception::new(Class::known("JSONDecodeError"), whole);
    exception.set_attribute("msg", message.to_string().into());
    exception.set_attribute("doc", text.to_string().into());
    for (name, number) in [("pos", char), ("lineno", line), ("colno", column)] {
        exception.set_attribute(name, (number as i64).into());
    }
    exception.into_error()
}

/// A place in a text, in characters.
struct Place {
    line: usize,
    column: usize,
    char: usize,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = String::from_utf8_lossy(&text.as_bytes()[..at.min(text.len())]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, char: before.chars().count() }
    }
}

struct Decoder<'t> {
    text: &'t [u8],
    at: usize,
}

type Decoded<T> = Result<T, Problem>;

impl Decoder<'_> {
    fn document(&mut self) -> Decoded<Dynamic> {
        if self.text.starts_with("\u{feff}".as_bytes()) {
            return Err(Malformed("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0));
        }
        self.skip_blanks();
        let value = self.value()?;
        self.skip_blanks();
        if self.at < self.text.len() { Err(Malformed("Extra data", self.at)) } else { Ok(value) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn value(&mut self) -> Decoded<Dynamic> {
        match self.peek() {
            Some(b'"') => self.string().map(Dynamic::from),
            Some(b'{') => self.nested("object", Self::object),
            Some(b'[') => self.nested("array", Self::array),
            Some(b'n') if self.accept("null") => Ok(Dynamic::UNIT),
            Some(b't') if self.accept("true") => Ok(Dynamic::TRUE),
            Some(b'f') if self.accept("false") => Ok(Dynamic::FALSE),
            Some(b'N') if self.accept("NaN") => Ok(Dynamic::from_float(f64::NAN)),
            Some(b'I') if self.accept("Infinity") => Ok(Dynamic::from_float(f64::INFINITY)),
            Some(b'-') if self.accept("-Infinity") => Ok(Dynamic::from_float(f64::NEG_INFINITY)),
            _ => self.number(),
        }
    }

    fn nested(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Decoded<Dynamic>,
    ) -> Decoded<Dynamic> {
        let _level = Level::enter().ok_or(Problem::TooDeep(what))?;
        self.at += 1;
        self.skip_blanks();
        read(self)
    }

    fn object(&mut self) -> Decoded<Dynamic> {
        let dict = Dict::default();
        if self.accept("}") {
            return Ok(Dynamic::from(dict));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(Malformed("Expecting property name enclosed in double quotes", self.at));
            }
            let key = self.string()?;
            self.skip_blanks();
            if !self.accept(":") {
                return Err(Malformed("Expecting ':' delimiter", self.at));
            }
            self.skip_blanks();
            let value = self.value()?;
            // A text can always be a key.
            let _ = dict.set(key.into(), value);
            self.skip_blanks();
            if self.accept("}") {
                return Ok(Dynamic::from(dict));
            }
            if !self.accept(",") {
                return Err(Malformed("Expecting ',' delimiter", self.at));
            }
            self.skip_blanks();
        }
    }

    fn array(&mut self) -> Decoded<Dynamic> {
        let mut items = Vec::new();
        if self.accept("]") {
            return Ok(Dynamic::from(List::new(items)));
        }
        loop {
            items.push(self.value()?);
            self.skip_blanks();
            if self.accept("]") {
                return Ok(Dynamic::from(List::new(items)));
            }
            if !self.accept(",") {
                return Err(Malformed("Expecting ',' delimiter", self.at));
            }
            self.skip_blanks();
        }
    }

    fn string(&mut self) -> Decoded<String> {
        let begin = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte > 0x1f) {
                self.at += 1;
            }
            // It ends at an ASCII byte, so between two characters.
            value.push_str(std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default());
            match self.peek() {
                None => return Err(Malformed("Unterminated string starting at", begin)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some(b'\\') => {
                    self.at += 1;
                    value.push(self.escape(begin)?);
                }
                Some(_) => return Err(Malformed("Invalid control character at", self.at)),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, begin: usize) -> Decoded<char> {
        let code = self.peek().ok_or(Malformed("Unterminated string starting at", begin))?;
        self.at += 1;
        Ok(match code {
            b'"' | b'\\' | b'/' => char::from(code),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.code_unit()?;
                self.code_point(unit)
            }
            _ => return Err(Malformed("Invalid \\escape", self.at - 2)),
        })
    }

    /// The four digits of `\uXXXX`. CPython's scanner wants something behind them.
    fn code_unit(&mut self) -> Decoded<u32> {
        let invalid = Malformed("Invalid \\uXXXX escape", self.at - 1);
        let unit = self.text.get(self.at..self.at + 4).and_then(hexadecimal);
        match unit {
            Some(unit) if self.at + 4 < self.text.len() => {
                self.at += 4;
                Ok(unit)
            }
            _ => Err(invalid),
        }
    }

    /// The character for a code unit, and for the one after it if the two are a pair. Half a pair, which
    /// CPython keeps, is no character that a string can hold here; the replacement character stands in.
    fn code_point(&mut self, unit: u32) -> char {
        if let 0xd800..=0xdbff = unit
            && self.at + 6 < self.text.len()
            && self.text[self.at..].starts_with(b"\\u")
            && let Some(low @ 0xdc00..=0xdfff) = self.text.get(self.at + 2..self.at + 6).and_then(hexadecimal)
        {
            self.at += 6;
            return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).unwrap_or('\u{fffd}');
        }
        char::from_u32(unit).unwrap_or('\u{fffd}')
    }

    fn digits(&self, mut at: usize) -> usize {
        while self.text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    }

    fn number(&mut self) -> Decoded<Dynamic> {
        let start = self.at;
        let first = start + usize::from(self.peek() == Some(b'-'));
        let mut end = match self.text.get(first) {
            Some(b'0') => first + 1,
            Some(b'1'..=b'9') => self.digits(first),
            _ => return Err(Malformed("Expecting value", start)),
        };
        let mut is_float = false;
        if self.text.get(end) == Some(&b'.') && self.digits(end + 1) > end + 1 {
            end = self.digits(end + 1);
            is_float = true;
        }
        if let Some(b'e' | b'E') = self.text.get(end) {
            let exponent = end + 1 + usize::from(matches!(self.text.get(end + 1), Some(b'+' | b'-')));
            if self.digits(exponent) > exponent {
                end = self.digits(exponent);
                is_float = true;
            }
        }
        let text = std::str::from_utf8(&self.text[start..end]).unwrap_or_default();
        self.at = end;
        if is_float {
            return text.parse().map(Dynamic::from_float).map_err(|_| Malformed("Expecting value", start));
        }
        text.parse().map(Dynamic::from_int).map_err(|_| Problem::TooLarge(start))
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::identity::register;
    use crate::language::value::repr;

    fn problem(text: &str) -> String {
        match *decode(text).unwrap_err() {
            rhai::EvalAltResult::ErrorRuntime(value, _) => value.cast::<Exception>().message().to_string(),
            other => other.to_string(),
        }
    }

    #[test]
    fn values_are_read() {
        register::<List>();
        register::<Dict>();
        for (text, shown) in [
            (" null ", "None"),
            ("[true,false, -0, 1.5e3, -12]", "[True, False, 0, 1500.0, -12]"),
            (r#"{"b": 1, "a": [], "b": {}}"#, "{'b': {}, 'a': []}"),
            (r#""a\u00e9\n\ud83d\ude00\/é""#, "'aé\\n😀/é'"),
            ("[NaN, Infinity, -Infinity, 1e400]", "[nan, inf, -inf, inf]"),
            ("-9223372036854775808", "-9223372036854775808"),
            (r#""\ud83d""#, "'\u{fffd}'"),
        ] {
            assert_eq!(repr(&decode(text).unwrap()), shown, "{text}");
        }
    }

    #[test]
    fn errors_are_cpythons() {
        for (text, message) in [
            ("", "Expecting value: line 1 column 1 (char 0)"),
            ("[", "Expecting value: line 1 column 2 (char 1)"),
            ("[1", "Expecting ',' delimiter: line 1 column 3 (char 2)"),
            ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
            ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("{\"a\"", "Expecting ':' delimiter: line 1 column 5 (char 4)"),
            ("{\"a\":1,", "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)"),
            ("\"abc", "Unterminated string starting at: line 1 column 1 (char 0)"),
            ("\"\\", "Unterminated string starting at: line 1 column 1 (char 0)"),
            ("\"a\nb\"", "Invalid control character at: line 1 column 3 (char 2)"),
            ("\"\\x\"", "Invalid \\escape: line 1 column 2 (char 1)"),
            ("\"\\u12\"", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
            ("\"\\u1234", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
            ("01", "Extra data: line 1 column 2 (char 1)"),
            ("1.", "Extra data: line 1 column 2 (char 1)"),
            ("-", "Expecting value: line 1 column 1 (char 0)"),
            ("\n\n é x", "Expecting value: line 3 column 2 (char 3)"),
            ("\"é\u{1}", "Invalid control character at: line 1 column 3 (char 2)"),
            ("\u{feff}1", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        ] {
            assert_eq!(problem(text), message, "{text}");
        }
        assert!(problem(&"[".repeat(5000)).contains("while decoding a JSON array"));
        assert!(problem("[9223372036854775808]").starts_with("integer beyond 64 bits: line 1 column 2"));
    }
}
