//! `int("…", base)` and `float("…")`.

use std::fmt;

use super::str_repr::str_repr;

/// Why a text is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberError {
    /// `ValueError`: the text, or the base, with CPython's message.
    Invalid(String),
    /// `OverflowError`: an integer beyond 64 bits.
    Overflow,
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(message) => f.write_str(message),
            Self::Overflow => f.write_str("int too big to convert"),
        }
    }
}

impl std::error::Error for NumberError {}

/// `int(text, base)`. Base 0 takes the base from the prefix.
///
/// # Errors
/// [`NumberError::Invalid`] for what CPython refuses, [`NumberError::Overflow`]
/// for what 64 bits cannot hold.
pub fn parse_int(text: &str, base: i64) -> Result<i64, NumberError> {
    let base = match u32::try_from(base) {
        Ok(base @ (0 | 2..=36)) => base,
        _ => {
            let message = "int() base must be >= 2 and <= 36, or 0";
            return Err(NumberError::Invalid(message.to_owned()));
        }
    };
    let magnitude = parse_magnitude(&to_ascii(text), base);
    match magnitude {
        Some(Some(number)) => i64::try_from(number).map_err(|_| NumberError::Overflow),
        Some(None) => Err(NumberError::Overflow),
        None => {
            // CPython's %.200R cuts the repr, not the text.
            let repr: String = str_repr(text).chars().take(200).collect();
            let message = format!("invalid literal for int() with base {base}: {repr}");
            Err(NumberError::Invalid(message))
        }
    }
}

/// The number, `Some(None)` if it is well formed but too big, `None` if it is
/// not well formed.
fn parse_magnitude(text: &str, base: u32) -> Option<Option<i128>> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let prefixed = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'b' | b'B', ..] => 2,
        _ => 0,
    };
    let has_prefix = prefixed != 0 && (base == 0 || base == prefixed);
    // One underscore may stand between the prefix and the digits.
    let digits = match unsigned.get(2..) {
        Some(digits) if has_prefix => digits.strip_prefix('_').unwrap_or(digits),
        _ => unsigned,
    };
    let radix = match base {
        0 if has_prefix => prefixed,
        0 => 10,
        base => base,
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = Some(0_i128);
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for c in group.chars() {
            let digit = c.to_digit(radix)?;
            number = number.and_then(|number| {
                let next = number.checked_mul(i128::from(radix))?;
                next.checked_add(i128::from(digit))
            });
        }
    }
    // As in Python's source, "010" is no octal number any more, and "00" is 0.
    if base == 0 && !has_prefix && digits.starts_with('0') && number != Some(0) {
        return None;
    }
    Some(number.map(|number| if negative { -number } else { number }))
}

/// `float(text)`.
///
/// # Errors
/// [`NumberError::Invalid`] for what CPython refuses.
pub fn parse_float(text: &str) -> Result<f64, NumberError> {
    let ascii = to_ascii(text);
    let number = without_underscores(&ascii).and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        let repr = str_repr(text);
        NumberError::Invalid(format!("could not convert string to float: {repr}"))
    })
}

/// Underscores may only stand between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    let misplaced = bytes
        .iter()
        .enumerate()
        .any(|(index, &byte)| byte == b'_' && !(index > 0 && is_digit(index - 1) && is_digit(index + 1)));
    (!misplaced).then(|| text.replace('_', ""))
}

/// Strips white space, and makes the decimal digits of all scripts ASCII ones.
fn to_ascii(text: &str) -> String {
    text.trim().chars().map(ascii_digit).collect()
}

/// The zeros of the decimal digits outside ASCII (category Nd); the other nine
/// follow each of them.
const ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x1_04a0, 0x1_0d30, 0x1_1066, 0x1_10f0,
    0x1_1136, 0x1_11d0, 0x1_12f0, 0x1_1450, 0x1_14d0, 0x1_1650, 0x1_16c0, 0x1_1730, 0x1_18e0, 0x1_1950,
    0x1_1c50, 0x1_1d50, 0x1_1da0, 0x1_6a60, 0x1_6ac0, 0x1_6b50, 0x1_d7ce, 0x1_d7d8, 0x1_d7e2, 0x1_d7ec,
    0x1_d7f6, 0x1_e140, 0x1_e2f0, 0x1_e950, 0x1_fbf0,
];

fn ascii_digit(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let code = u32::from(c);
    let block = ZEROS.partition_point(|&zero| zero <= code);
    let zero = block.checked_sub(1).map_or(0, |index| ZEROS[index]);
    char::from_digit(code - zero, 10).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, base, expected) in [
            ("12", 10, 12),
            (" \t-1_000\n", 10, -1000),
            ("+7", 10, 7),
            ("007", 10, 7),
            ("ff", 16, 255),
            ("0xFF", 16, 255),
            ("0x_ff", 0, 255),
            ("-0b101", 0, -5),
            ("0o17", 8, 15),
            ("0b1", 16, 0xb1),
            ("z", 36, 35),
            ("0_0", 0, 0),
            ("１２", 10, 12),
            ("٣", 10, 3),
            ("9223372036854775807", 10, i64::MAX),
            ("-9223372036854775808", 10, i64::MIN),
        ] {
            assert_eq!(parse_int(text, base), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_integer() {
        for (text, base) in [
            ("", 10),
            ("abc", 10),
            ("1__0", 10),
            ("_1", 10),
            ("1_", 10),
            ("+-1", 10),
            ("- 1", 10),
            ("0x", 16),
            ("0xg", 16),
            ("0b2", 0),
            ("010", 0),
            ("1.0", 10),
            ("0x__f", 0),
            ("\x1c1", 10),
            ("8", 8),
            ("²", 10),
            ("0x10", 10),
            ("010\0", 10),
        ] {
            let message = format!("invalid literal for int() with base {base}: {}", str_repr(text));
            assert_eq!(parse_int(text, base), Err(NumberError::Invalid(message)));
        }
        let message = "int() base must be >= 2 and <= 36, or 0".to_owned();
        assert_eq!(parse_int("1", 1), Err(NumberError::Invalid(message)));
        assert_eq!(parse_int("9223372036854775808", 10), Err(NumberError::Overflow));
        assert_eq!(parse_int(&"9".repeat(100), 10), Err(NumberError::Overflow));
    }

    #[test]
    fn a_long_text_is_cut_in_the_message() {
        let error = parse_int(&"x".repeat(300), 10).unwrap_err().to_string();
        assert!(error.ends_with(&"x".repeat(199)) && !error.ends_with(&"x".repeat(200)));
    }

    #[test]
    fn floats() {
        for (text, expected) in [
            ("1.5", 1.5),
            (" -1e3\n", -1000.0),
            ("1_000.5_0", 1000.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("+Infinity", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("1e400", f64::INFINITY),
            ("１.５", 1.5),
        ] {
            assert_eq!(parse_float(text), Ok(expected), "{text:?}");
        }
        assert!(parse_float("nAn").unwrap().is_nan());
        assert!(parse_float("-0").unwrap().is_sign_negative());
    }

    #[test]
    fn what_is_no_float() {
        for text in ["x", "", ".", "1__0", "_1", "1_", "1_.0", "1e", "1e_5", "0x10", "in_f", "1 2"] {
            let message = format!("could not convert string to float: {}", str_repr(text));
            assert_eq!(parse_float(text), Err(NumberError::Invalid(message)));
        }
    }
}
