//! Python's format specification mini-language, for `format()`,
//! `str.format` and f-strings: `[[fill]align][sign][z][#][0][width][,_][.precision][type]`.

use std::fmt;

use super::float_repr::{FloatLayout, Presentation, float_repr, format_float};

/// The longest field that a width or a precision may ask for, in characters.
/// An allocation that fails would end the process; this becomes an exception.
pub const LONGEST_FIELD: usize = 1 << 28;
/// The longest text, in bytes.
pub const LONGEST_TEXT: usize = 1 << 30;

/// The Python exception that a [`FormatError`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatErrorKind {
    /// `ValueError`
    Value,
    /// `TypeError`
    Type,
    /// `IndexError`
    Index,
    /// `KeyError`
    Key,
    /// `OverflowError`
    Overflow,
    /// `MemoryError`
    Memory,
}

/// A template, a specification or an argument that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError {
    /// The class of the exception.
    pub kind: FormatErrorKind,
    /// CPython's message.
    pub message: String,
}

impl FormatError {
    /// An error of any kind.
    #[must_use]
    pub fn new(kind: FormatErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// A `ValueError`.
    #[must_use]
    pub fn value(message: impl Into<String>) -> Self {
        Self::new(FormatErrorKind::Value, message)
    }

    /// What a whole text longer than [`LONGEST_TEXT`] is answered with.
    #[must_use]
    pub fn text_too_long() -> Self {
        Self::new(FormatErrorKind::Memory, format!("a formatted text is limited to {LONGEST_TEXT} bytes"))
    }

    /// What a field longer than [`LONGEST_FIELD`] is answered with.
    #[must_use]
    pub fn too_long() -> Self {
        let message = format!("a formatted field is limited to {LONGEST_FIELD} characters");
        Self::new(FormatErrorKind::Memory, message)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FormatError {}

/// A value that a specification can be applied to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// An `int`.
    Int(i64),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(&'a str),
    /// A `bool`, which formats as an `int` unless the specification is empty.
    Bool(bool),
}

impl Scalar<'_> {
    fn type_name(self) -> &'static str {
        match self {
            Scalar::Int(_) => "int",
            Scalar::Float(_) => "float",
            Scalar::Str(_) => "str",
            Scalar::Bool(_) => "bool",
        }
    }
}

/// `format(value, spec)`.
///
/// # Errors
/// What CPython raises for a specification that is wrong, or wrong for the
/// type of the value.
pub fn format_scalar(value: Scalar<'_>, spec: &str) -> Result<String, FormatError> {
    if spec.is_empty() {
        return Ok(match value {
            Scalar::Int(value) => value.to_string(),
            Scalar::Float(value) => float_repr(value),
            Scalar::Str(value) => value.to_owned(),
            Scalar::Bool(value) => if value { "True" } else { "False" }.to_owned(),
        });
    }
    let spec = Spec::parse(spec, value)?;
    match value {
        Scalar::Int(number) => format_int(number, &spec, value),
        Scalar::Bool(number) => format_int(i64::from(number), &spec, value),
        Scalar::Float(number) => format_number(number, &spec, value),
        Scalar::Str(text) => format_str(text, &spec, value),
    }
}

/// A parsed specification; `None` is what was not given.
struct Spec {
    fill: char,
    align: char,
    sign: Option<char>,
    no_negative_zero: bool,
    alternate: bool,
    width: Option<usize>,
    separator: Option<char>,
    precision: Option<usize>,
    code: Option<char>,
}

impl Spec {
    fn parse(text: &str, value: Scalar<'_>) -> Result<Self, FormatError> {
        let chars: Vec<char> = text.chars().collect();
        let mut rest = chars.as_slice();
        let default_align = if matches!(value, Scalar::Str(_)) { '<' } else { '>' };
        let mut fill = None;
        let mut align = None;
        if let [first, second @ ('<' | '>' | '=' | '^'), tail @ ..] = rest {
            (fill, align, rest) = (Some(*first), Some(*second), tail);
        } else if let [first @ ('<' | '>' | '=' | '^'), tail @ ..] = rest {
            (align, rest) = (Some(*first), tail);
        }
        let sign = take(&mut rest, &[' ', '+', '-']);
        let no_negative_zero = take(&mut rest, &['z']).is_some();
        let alternate = take(&mut rest, &['#']).is_some();
        if fill.is_none() && take(&mut rest, &['0']).is_some() {
            fill = Some('0');
            if align.is_none() && default_align == '>' {
                align = Some('=');
            }
        }
        let width = take_number(&mut rest)?;
        let mut separator = take(&mut rest, &[',']);
        if let Some(underscore) = take(&mut rest, &['_']) {
            if separator.is_some() {
                return Err(FormatError::value("Cannot specify both ',' and '_'."));
            }
            separator = Some(underscore);
        }
        if separator == Some('_') && rest.first() == Some(&',') {
            return Err(FormatError::value("Cannot specify both ',' and '_'."));
        }
        let mut precision = None;
        if take(&mut rest, &['.']).is_some() {
            precision = take_number(&mut rest)?;
            if precision.is_none() {
                return Err(FormatError::value("Format specifier missing precision"));
            }
        }
        let code = match rest {
            [] => None,
            [code] => Some(*code),
            _ => {
                let kind = value.type_name();
                let message = format!("Invalid format specifier '{text}' for object of type '{kind}'");
                return Err(FormatError::value(message));
            }
        };
        if let Some(separator) = separator {
            // A string's type is 's' even where the specification does not say so.
            let code = code.or(matches!(value, Scalar::Str(_)).then_some('s'));
            check_separator(separator, code)?;
        }
        Ok(Self {
            fill: fill.unwrap_or(' '),
            align: align.unwrap_or(default_align),
            sign,
            no_negative_zero,
            alternate,
            width,
            separator,
            precision,
            code,
        })
    }

    /// Digits between two separators.
    fn group(&self) -> usize {
        if matches!(self.code, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 }
    }
}

fn check_separator(separator: char, code: Option<char>) -> Result<(), FormatError> {
    match code {
        None | Some('d' | 'e' | 'f' | 'g' | 'E' | 'G' | '%' | 'F') => Ok(()),
        Some('b' | 'o' | 'x' | 'X') if separator == '_' => Ok(()),
        Some(code) => {
            Err(FormatError::value(format!("Cannot specify '{separator}' with '{}'.", visible(code))))
        }
    }
}

/// CPython's messages show a character that is not printable ASCII as `\xNN`.
fn visible(code: char) -> String {
    if ('!'..='\x7f').contains(&code) { code.to_string() } else { format!("\\x{:x}", u32::from(code)) }
}

fn take(rest: &mut &[char], wanted: &[char]) -> Option<char> {
    let (first, tail) = rest.split_first()?;
    wanted.contains(first).then(|| {
        *rest = tail;
        *first
    })
}

fn take_number(rest: &mut &[char]) -> Result<Option<usize>, FormatError> {
    let mut number = None;
    while let Some((digit, tail)) = rest.split_first()
        && let Some(digit) = digit.to_digit(10)
    {
        let next = number.unwrap_or(0_u64).checked_mul(10);
        number = next.and_then(|next| next.checked_add(u64::from(digit)));
        if number.is_none_or(|number| number > i64::MAX.unsigned_abs()) {
            return Err(FormatError::value("Too many decimal digits in format string"));
        }
        *rest = tail;
    }
    Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

fn unknown_code(code: char, value: Scalar<'_>) -> FormatError {
    let (code, kind) = (visible(code), value.type_name());
    FormatError::value(format!("Unknown format code '{code}' for object of type '{kind}'"))
}

fn format_str(text: &str, spec: &Spec, value: Scalar<'_>) -> Result<String, FormatError> {
    if let Some(code) = spec.code.filter(|&code| code != 's') {
        return Err(unknown_code(code, value));
    }
    let refused = match spec.sign {
        Some(' ') => Some("Space"),
        Some(_) => Some("Sign"),
        None if spec.no_negative_zero => Some("Negative zero coercion (z)"),
        None if spec.alternate => Some("Alternate form (#)"),
        None if spec.align == '=' => Some("'=' alignment"),
        None => None,
    };
    if let Some(refused) = refused {
        let message = format!("{refused} not allowed in string format specifier");
        return Err(FormatError::value(message));
    }
    let body: String = match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    Layout { rest: &body, ..Layout::default() }.write(spec)
}

fn format_int(number: i64, spec: &Spec, value: Scalar<'_>) -> Result<String, FormatError> {
    let code = spec.code.unwrap_or('d');
    match code {
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' => {
            return format_number(number as f64, spec, value);
        }
        'b' | 'c' | 'd' | 'n' | 'o' | 'x' | 'X' => {}
        _ => return Err(unknown_code(code, value)),
    }
    if spec.precision.is_some() {
        return Err(FormatError::value("Precision not allowed in integer format specifier"));
    }
    if spec.no_negative_zero {
        let message = "Negative zero coercion (z) not allowed in integer format specifier";
        return Err(FormatError::value(message));
    }
    if code == 'c' {
        let refused = match (spec.sign, spec.alternate) {
            (Some(_), _) => Some("Sign"),
            (None, true) => Some("Alternate form (#)"),
            (None, false) => None,
        };
        if let Some(refused) = refused {
            let message = format!("{refused} not allowed with integer format specifier 'c'");
            return Err(FormatError::value(message));
        }
        let body = char_of(number)?.to_string();
        return Layout { rest: &body, ..Layout::default() }.write(spec);
    }
    let magnitude = number.unsigned_abs();
    let (prefix, digits) = match code {
        'b' => ("0b", format!("{magnitude:b}")),
        'o' => ("0o", format!("{magnitude:o}")),
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        _ => ("", magnitude.to_string()),
    };
    let prefix = if spec.alternate { prefix } else { "" };
    Layout { negative: number < 0, prefix, digits: &digits, rest: "" }.write(spec)
}

/// The character that `c` makes of a code point.
///
/// # Errors
/// `OverflowError` for what is no code point, and `ValueError` for a surrogate,
/// which Python's strings can hold and UTF-8 cannot.
pub fn char_of(code_point: i64) -> Result<char, FormatError> {
    let code = u32::try_from(code_point).unwrap_or(u32::MAX);
    if let 0xd800..=0xdfff = code {
        let message = format!("%c arg {code:#x} is a surrogate, not a character");
        return Err(FormatError::value(message));
    }
    char::from_u32(code)
        .ok_or_else(|| FormatError::new(FormatErrorKind::Overflow, "%c arg not in range(0x110000)"))
}

fn format_number(number: f64, spec: &Spec, value: Scalar<'_>) -> Result<String, FormatError> {
    let (presentation, upper) = match spec.code {
        None if spec.precision.is_none() => (Presentation::Repr, false),
        None | Some('g' | 'n') => (Presentation::General, false),
        Some('G') => (Presentation::General, true),
        Some('e') => (Presentation::Exponent, false),
        Some('E') => (Presentation::Exponent, true),
        Some('f' | '%') => (Presentation::Fixed, false),
        Some('F') => (Presentation::Fixed, true),
        Some(code) => return Err(unknown_code(code, value)),
    };
    let precision = spec.precision.unwrap_or(6);
    if precision > i32::MAX as usize {
        return Err(FormatError::value("precision too big"));
    }
    if precision > LONGEST_FIELD {
        return Err(FormatError::too_long());
    }
    let percent = spec.code == Some('%');
    let number = if percent { number * 100.0 } else { number };
    let mut text = format_float(
        number,
        FloatLayout {
            presentation,
            precision,
            alternate: spec.alternate,
            point_zero: spec.code.is_none(),
            no_negative_zero: spec.no_negative_zero,
        },
    );
    if upper {
        text.make_ascii_uppercase();
    }
    if percent {
        text.push('%');
    }
    let unsigned = text.strip_prefix('-').unwrap_or(&text);
    let whole = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = unsigned.split_at(whole);
    let negative = unsigned.len() < text.len();
    Layout { negative, prefix: "", digits, rest }.write(spec)
}

/// The parts of a formatted value: `-0x` `1f`, or `-` `123` `.5e+10`. Only the
/// digits are grouped and filled up with zeros.
#[derive(Default)]
struct Layout<'a> {
    negative: bool,
    prefix: &'a str,
    digits: &'a str,
    rest: &'a str,
}

impl Layout<'_> {
    fn write(&self, spec: &Spec) -> Result<String, FormatError> {
        let width = spec.width.unwrap_or(0);
        if width > LONGEST_FIELD {
            return Err(FormatError::too_long());
        }
        let sign = match spec.sign {
            _ if self.negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let others = sign.len() + self.prefix.len() + self.rest.chars().count();
        let zero_filled = spec.fill == '0' && spec.align == '=';
        let least = if zero_filled { width.saturating_sub(others) } else { 0 };
        let digits = match (self.digits, spec.separator) {
            ("", _) => String::new(),
            (digits, None) => format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len()))),
            (digits, Some(separator)) => group(digits, separator, spec.group(), least),
        };
        let padding = width.saturating_sub(others + digits.len());
        let (left, inner, right) = match spec.align {
            '<' => (0, 0, padding),
            '^' => (padding / 2, 0, padding - padding / 2),
            '=' => (0, padding, 0),
            _ => (padding, 0, 0),
        };
        let mut text = String::new();
        text.extend(std::iter::repeat_n(spec.fill, left));
        text.push_str(sign);
        text.push_str(self.prefix);
        text.extend(std::iter::repeat_n(spec.fill, inner));
        text.push_str(&digits);
        text.push_str(self.rest);
        text.extend(std::iter::repeat_n(spec.fill, right));
        Ok(text)
    }
}

/// Puts separators between groups of digits, with zeros on the left up to a
/// width. A separator never comes first, so the result can be one longer.
fn group(digits: &str, separator: char, size: usize, width: usize) -> String {
    let mut reversed = String::new();
    let mut source = digits.chars().rev();
    let mut remaining = digits.len();
    let mut width = width;
    loop {
        let length = size.min(remaining.max(width).max(1));
        reversed.extend((0..length).map(|_| source.next().unwrap_or('0')));
        remaining = remaining.saturating_sub(length);
        width = width.saturating_sub(length);
        if remaining == 0 && width == 0 {
            return reversed.chars().rev().collect();
        }
        width = width.saturating_sub(1);
        reversed.push(separator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64, spec: &str) -> String {
        format_scalar(Scalar::Int(value), spec).unwrap()
    }

    fn float(value: f64, spec: &str) -> String {
        format_scalar(Scalar::Float(value), spec).unwrap()
    }

    fn text(value: &str, spec: &str) -> String {
        format_scalar(Scalar::Str(value), spec).unwrap()
    }

    #[test]
    fn integers() {
        assert_eq!(int(42, ""), "42");
        assert_eq!(int(42, "5"), "   42");
        assert_eq!(int(-42, "05d"), "-0042");
        assert_eq!(int(42, "*^+7"), "**+42**");
        assert_eq!(int(255, "#06x"), "0x00ff");
        assert_eq!(int(255, "#X"), "0XFF");
        assert_eq!(int(-5, "=+6b"), "-  101");
        assert_eq!(int(1_234_567, ","), "1,234,567");
        assert_eq!(int(0xdead_beef, "_x"), "dead_beef");
        assert_eq!(int(1234, "010,"), "00,001,234");
        assert_eq!(int(123, "04,"), "0,123");
        assert_eq!(int(0x4e2d, "<3c"), "中  ");
        assert_eq!(int(3, ".2f"), "3.00");
        assert_eq!(int(i64::MIN, "d"), "-9223372036854775808");
        assert_eq!(format_scalar(Scalar::Bool(true), "").unwrap(), "True");
        assert_eq!(format_scalar(Scalar::Bool(true), "3").unwrap(), "  1");
    }

    #[test]
    fn floats() {
        assert_eq!(float(1.5, ""), "1.5");
        assert_eq!(float(1.0, ".3"), "1.0");
        assert_eq!(float(123.0, ".3"), "1.23e+02");
        assert_eq!(float(2.5, ".0f"), "2");
        assert_eq!(float(2.5, "#.0f"), "2.");
        assert_eq!(float(0.12345, ".1%"), "12.3%");
        assert_eq!(float(1e20, "#"), "1.e+20");
        assert_eq!(float(-1234.5, "015,.2f"), "-000,001,234.50");
        assert_eq!(float(f64::INFINITY, "06"), "000inf");
        assert_eq!(float(f64::NAN, "F"), "NAN");
        assert_eq!(float(-0.001, "z.1f"), "0.0");
        assert_eq!(float(1e-7, "G"), "1E-07");
    }

    #[test]
    fn strings() {
        assert_eq!(text("ab", "5"), "ab   ");
        assert_eq!(text("ab", "05"), "ab000");
        assert_eq!(text("进程", "中>4.1s"), "中中中进");
        assert_eq!(text("ab", "^5"), " ab  ");
    }

    #[test]
    fn messages_are_cpythons() {
        let error = |value, spec| format_scalar(value, spec).unwrap_err().message;
        for (spec, message) in [
            ("d", "Unknown format code 'd' for object of type 'str'"),
            ("é", "Unknown format code '\\xe9' for object of type 'str'"),
            ("+", "Sign not allowed in string format specifier"),
            ("=5", "'=' alignment not allowed in string format specifier"),
            (",", "Cannot specify ',' with 's'."),
            ("xyz", "Invalid format specifier 'xyz' for object of type 'str'"),
        ] {
            assert_eq!(error(Scalar::Str("a"), spec), message);
        }
        for (spec, message) in [
            (".", "Format specifier missing precision"),
            (".2", "Precision not allowed in integer format specifier"),
            (",_", "Cannot specify both ',' and '_'."),
            ("99999999999999999999", "Too many decimal digits in format string"),
            ("s", "Unknown format code 's' for object of type 'int'"),
        ] {
            assert_eq!(error(Scalar::Int(1), spec), message);
        }
        let error = format_scalar(Scalar::Int(-1), "c").unwrap_err();
        assert_eq!(error.kind, FormatErrorKind::Overflow);
        let error = format_scalar(Scalar::Int(1), "999999999999").unwrap_err();
        assert_eq!(error.kind, FormatErrorKind::Memory);
    }
}
