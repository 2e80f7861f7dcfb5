//! Formatting with `%`, as in C's printf: `"%s is %d" % [name, age]`.

use super::float_repr::{FloatLayout, Presentation, format_float};
use super::format_spec::{FormatError, FormatErrorKind, LONGEST_FIELD, LONGEST_TEXT, char_of};
use super::str_repr::ascii_repr;

/// What an argument is to a conversion.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An `int`, or a `bool` as 0 or 1.
    Int(i64),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(String),
    /// Anything else: only `%s`, `%r` and `%a` take it.
    Other,
}

/// The right operand of `%`. The formatter asks only for what the template
/// uses, so that `str()` and `repr()` run for nothing else.
pub trait Arguments {
    /// One argument, as the caller holds it.
    type Item;
    /// The caller's exception, which a [`FormatError`] turns into.
    type Error: From<FormatError>;

    /// The next positional argument, `None` after the last. An operand that is
    /// no tuple is its own only argument.
    fn next(&mut self) -> Option<Self::Item>;

    /// Whether `%(name)s` may look names up in the operand.
    fn is_mapping(&self) -> bool;

    /// The argument that belongs to a name; asked only of a mapping.
    ///
    /// # Errors
    /// A `KeyError` if there is none.
    fn by_key(&mut self, key: &str) -> Result<Self::Item, Self::Error>;

    /// Whether positional arguments are left.
    fn has_more(&self) -> bool;

    /// The argument as a number or a text.
    fn value(&self, item: &Self::Item) -> Value;

    /// The name of the argument's type, for messages.
    fn type_name(&self, item: &Self::Item) -> String;

    /// `str(item)`
    ///
    /// # Errors
    /// Whatever the conversion raises.
    fn to_str(&mut self, item: &Self::Item) -> Result<String, Self::Error>;

    /// `repr(item)`
    ///
    /// # Errors
    /// Whatever the conversion raises.
    fn to_repr(&mut self, item: &Self::Item) -> Result<String, Self::Error>;
}

/// `template % arguments`.
///
/// # Errors
/// What CPython raises for a wrong template or for arguments that do not fit.
pub fn format_percent<A: Arguments>(template: &str, arguments: &mut A) -> Result<String, A::Error> {
    let chars: Vec<char> = template.chars().collect();
    let mut formatter = Formatter {
        chars: &chars,
        position: 0,
        arguments,
        looked_up: None,
        by_name: false,
        text: String::with_capacity(template.len()),
    };
    while let Some(c) = formatter.take() {
        if c == '%' {
            formatter.conversion()?;
            if formatter.text.len() > LONGEST_TEXT {
                return Err(FormatError::text_too_long().into());
            }
        } else {
            formatter.text.push(c);
        }
    }
    let text = formatter.text;
    if arguments.has_more() && !arguments.is_mapping() {
        let message = "not all arguments converted during string formatting";
        return Err(type_error(message).into());
    }
    Ok(text)
}

fn type_error(message: impl Into<String>) -> FormatError {
    FormatError::new(FormatErrorKind::Type, message)
}

/// The flags between `%` and the conversion's letter.
#[derive(Default)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
}

/// One conversion: `%` flags width `.` precision code.
struct Conversion {
    flags: Flags,
    width: usize,
    precision: Option<usize>,
    code: char,
}

struct Formatter<'a, A: Arguments> {
    chars: &'a [char],
    position: usize,
    arguments: &'a mut A,
    /// What `%(name)` found, until the conversion takes it.
    looked_up: Option<A::Item>,
    /// After the first `%(name)` only names give arguments.
    by_name: bool,
    text: String,
}

impl<A: Arguments> Formatter<'_, A> {
    fn take(&mut self) -> Option<char> {
        let c = self.chars.get(self.position).copied()?;
        self.position += 1;
        Some(c)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let found = self.chars.get(self.position) == Some(&wanted);
        self.position += usize::from(found);
        found
    }

    fn next_argument(&mut self) -> Result<A::Item, FormatError> {
        let item = if self.by_name { self.looked_up.take() } else { self.arguments.next() };
        item.ok_or_else(|| type_error("not enough arguments for format string"))
    }

    fn conversion(&mut self) -> Result<(), A::Error> {
        if self.take_if('%') {
            self.text.push('%');
            return Ok(());
        }
        if self.take_if('(') {
            self.look_up()?;
        }
        let mut flags = Flags::default();
        loop {
            let flag = match self.chars.get(self.position) {
                Some('-') => &mut flags.left,
                Some('+') => &mut flags.plus,
                Some(' ') => &mut flags.space,
                Some('#') => &mut flags.alternate,
                Some('0') => &mut flags.zero,
                _ => break,
            };
            *flag = true;
            self.position += 1;
        }
        let mut width = 0;
        if self.take_if('*') {
            let number = self.star()?;
            flags.left |= number < 0;
            width = number.unsigned_abs();
        } else if let Some(number) = self.digits() {
            width = number.ok_or_else(|| FormatError::value("width too big"))?;
        }
        let mut precision = None;
        if self.take_if('.') {
            let number = if self.take_if('*') {
                self.star()?.max(0).unsigned_abs()
            } else {
                let number = self.digits().unwrap_or(Some(0));
                let number = number.filter(|&number| number <= i32::MAX.unsigned_abs().into());
                number.ok_or_else(|| FormatError::value("precision too big"))?
            };
            precision = Some(number);
        }
        // C's length modifiers mean nothing here.
        let _ = self.take_if('h') || self.take_if('l') || self.take_if('L');
        let Some(code) = self.take() else {
            return Err(FormatError::value("incomplete format").into());
        };
        let item = self.next_argument()?;
        let precision = precision.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        self.write(&item, &Conversion { flags, width, precision, code })
    }

    /// `(name)`, in which parentheses may nest.
    fn look_up(&mut self) -> Result<(), A::Error> {
        if !self.arguments.is_mapping() {
            return Err(type_error("format requires a mapping").into());
        }
        let mut key = String::new();
        let mut depth = 1_usize;
        loop {
            let Some(c) = self.take() else {
                return Err(FormatError::value("incomplete format key").into());
            };
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            key.push(c);
        }
        self.looked_up = Some(self.arguments.by_key(&key)?);
        self.by_name = true;
        Ok(())
    }

    /// A width or a precision that is an argument.
    fn star(&mut self) -> Result<i64, FormatError> {
        let item = self.next_argument()?;
        match self.arguments.value(&item) {
            Value::Int(number) => Ok(number),
            _ => Err(type_error("* wants int")),
        }
    }

    /// `Some(None)` is a number too big to be held.
    fn digits(&mut self) -> Option<Option<u64>> {
        let mut number = None;
        while let Some(digit) = self.chars.get(self.position).and_then(|c| c.to_digit(10)) {
            self.position += 1;
            let next = number.unwrap_or(Some(0_u64)).and_then(|number| number.checked_mul(10));
            let next = next.and_then(|number| number.checked_add(u64::from(digit)));
            number = Some(next.filter(|&number| number <= i64::MAX.unsigned_abs()));
        }
        number
    }

    fn write(&mut self, item: &A::Item, conversion: &Conversion) -> Result<(), A::Error> {
        let field = match conversion.code {
            's' | 'r' | 'a' => {
                let mut body = match conversion.code {
                    's' => self.arguments.to_str(item)?,
                    _ => self.arguments.to_repr(item)?,
                };
                if conversion.code == 'a' {
                    body = ascii_repr(&body);
                }
                if let Some(precision) = conversion.precision
                    && let Some((end, _)) = body.char_indices().nth(precision)
                {
                    body.truncate(end);
                }
                Field::text(body)
            }
            'c' => Field::text(self.character(item)?.to_string()),
            'd' | 'i' | 'u' | 'o' | 'x' | 'X' => self.integer(item, conversion)?,
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => self.float(item, conversion)?,
            code => {
                let shown = if (' '..='~').contains(&code) { code } else { '?' };
                let (number, index) = (u32::from(code), self.position - 1);
                let message =
                    format!("unsupported format character '{shown}' ({number:#x}) at index {index}");
                return Err(FormatError::value(message).into());
            }
        };
        field.write(conversion, &mut self.text)?;
        Ok(())
    }

    fn character(&self, item: &A::Item) -> Result<char, FormatError> {
        match self.arguments.value(item) {
            Value::Int(code) => char_of(code),
            Value::Str(text) => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(c), None) => Ok(c),
                    _ => Err(type_error("%c requires int or char")),
                }
            }
            Value::Float(_) | Value::Other => Err(type_error("%c requires int or char")),
        }
    }

    fn integer(&self, item: &A::Item, conversion: &Conversion) -> Result<Field, FormatError> {
        let code = conversion.code;
        let decimal = matches!(code, 'd' | 'i' | 'u');
        let (negative, digits) = match self.arguments.value(item) {
            Value::Int(number) => {
                let magnitude = number.unsigned_abs();
                let digits = match code {
                    'o' => format!("{magnitude:o}"),
                    'x' => format!("{magnitude:x}"),
                    'X' => format!("{magnitude:X}"),
                    _ => magnitude.to_string(),
                };
                (number < 0, digits)
            }
            Value::Float(number) if decimal => truncated(number)?,
            _ => {
                let wanted = if decimal { "a real number" } else { "an integer" };
                let kind = self.arguments.type_name(item);
                let message = format!("%{code} format: {wanted} is required, not {kind}");
                return Err(type_error(message));
            }
        };
        let precision = conversion.precision.unwrap_or(0);
        if precision > LONGEST_FIELD {
            return Err(FormatError::too_long());
        }
        let prefix = match code {
            'o' if conversion.flags.alternate => "0o",
            'x' if conversion.flags.alternate => "0x",
            'X' if conversion.flags.alternate => "0X",
            _ => "",
        };
        let zeros = "0".repeat(precision.saturating_sub(digits.len()));
        Ok(Field { is_number: true, negative, prefix, body: format!("{zeros}{digits}") })
    }

    fn float(&self, item: &A::Item, conversion: &Conversion) -> Result<Field, FormatError> {
        let number = match self.arguments.value(item) {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            Value::Str(_) | Value::Other => {
                let kind = self.arguments.type_name(item);
                return Err(type_error(format!("must be real number, not {kind}")));
            }
        };
        let presentation = match conversion.code {
            'e' | 'E' => Presentation::Exponent,
            'f' | 'F' => Presentation::Fixed,
            _ => Presentation::General,
        };
        let precision = conversion.precision.unwrap_or(6);
        if precision > LONGEST_FIELD {
            return Err(FormatError::too_long());
        }
        let mut layout = FloatLayout::new(presentation, precision);
        layout.alternate = conversion.flags.alternate;
        let mut text = format_float(number, layout);
        if conversion.code.is_ascii_uppercase() {
            text.make_ascii_uppercase();
        }
        let negative = text.starts_with('-');
        let body = text.split_off(usize::from(negative));
        Ok(Field { is_number: true, negative, prefix: "", body })
    }
}

/// `int(number)` as a sign and digits. A float can be beyond 64 bits, and
/// its digits are exact nevertheless.
fn truncated(number: f64) -> Result<(bool, String), FormatError> {
    if number.is_nan() {
        return Err(FormatError::value("cannot convert float NaN to integer"));
    }
    if number.is_infinite() {
        let message = "cannot convert float infinity to integer";
        return Err(FormatError::new(FormatErrorKind::Overflow, message));
    }
    let whole = number.trunc();
    Ok((whole < 0.0, format!("{:.0}", whole.abs())))
}

/// A converted argument before it is padded.
struct Field {
    is_number: bool,
    negative: bool,
    prefix: &'static str,
    body: String,
}

impl Field {
    fn text(body: String) -> Self {
        Self { is_number: false, negative: false, prefix: "", body }
    }

    fn write(&self, conversion: &Conversion, text: &mut String) -> Result<(), FormatError> {
        let Conversion { flags, width, .. } = conversion;
        if *width > LONGEST_FIELD {
            return Err(FormatError::too_long());
        }
        let sign = match self.is_number {
            true if self.negative => "-",
            true if flags.plus => "+",
            true if flags.space => " ",
            _ => "",
        };
        let length = sign.len() + self.prefix.len() + self.body.chars().count();
        let padding = width.saturating_sub(length);
        let (blanks, zeros, behind) = if flags.left {
            (0, 0, padding)
        } else if flags.zero && self.is_number {
            (0, padding, 0)
        } else {
            (padding, 0, 0)
        };
        text.extend(std::iter::repeat_n(' ', blanks));
        text.push_str(sign);
        text.push_str(self.prefix);
        text.extend(std::iter::repeat_n('0', zeros));
        text.push_str(&self.body);
        text.extend(std::iter::repeat_n(' ', behind));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{float_repr::float_repr, str_repr::str_repr};
    use super::*;

    struct Tuple(std::collections::VecDeque<Value>);

    impl Arguments for Tuple {
        type Item = Value;
        type Error = FormatError;

        fn next(&mut self) -> Option<Value> {
            self.0.pop_front()
        }
        fn is_mapping(&self) -> bool {
            self.0.front() == Some(&Value::Other)
        }
        fn by_key(&mut self, key: &str) -> Result<Value, FormatError> {
            match key {
                "n" => Ok(Value::Int(3)),
                "a(b)" => Ok(Value::Str("x".to_owned())),
                key => Err(FormatError::new(FormatErrorKind::Key, str_repr(key))),
            }
        }
        fn has_more(&self) -> bool {
            !self.0.is_empty()
        }
        fn value(&self, item: &Value) -> Value {
            item.clone()
        }
        fn type_name(&self, item: &Value) -> String {
            let name = match item {
                Value::Int(_) => "int",
                Value::Float(_) => "float",
                Value::Str(_) => "str",
                Value::Other => "dict",
            };
            name.to_owned()
        }
        fn to_str(&mut self, item: &Value) -> Result<String, FormatError> {
            match item {
                Value::Str(text) => Ok(text.clone()),
                item => self.to_repr(item),
            }
        }
        fn to_repr(&mut self, item: &Value) -> Result<String, FormatError> {
            Ok(match item {
                Value::Int(number) => number.to_string(),
                Value::Float(number) => float_repr(*number),
                Value::Str(text) => str_repr(text),
                Value::Other => "{}".to_owned(),
            })
        }
    }

    fn percent<const N: usize>(template: &str, values: [Value; N]) -> Result<String, String> {
        let formatted = format_percent(template, &mut Tuple(values.into()));
        formatted.map_err(|error| error.message)
    }

    fn ok<const N: usize>(template: &str, values: [Value; N], expected: &str) {
        assert_eq!(percent(template, values), Ok(expected.to_owned()));
    }

    fn fails<const N: usize>(template: &str, values: [Value; N], message: &str) {
        assert_eq!(percent(template, values), Err(message.to_owned()));
    }

    fn s(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    use Value::{Float, Int, Other};

    #[test]
    fn conversions() {
        ok("%s is %d", [s("任务"), Int(3)], "任务 is 3");
        ok("%d%% %i %u", [Int(50), Int(-1), Float(2.9)], "50% -1 2");
        ok("%x %X %o", [Int(255), Int(-255), Int(8)], "ff -FF 10");
        ok("%#x %#o %#X", [Int(255), Int(8), Int(255)], "0xff 0o10 0XFF");
        ok(
            "%e %.2f %g %G",
            [Float(1.5), Float(2.675), Float(1e7), Float(1e-7)],
            "1.500000e+00 2.67 1e+07 1E-07",
        );
        ok("%f %F", [Int(1), Float(f64::INFINITY)], "1.000000 INF");
        ok("%c%c", [Int(0x4e2d), s("a")], "中a");
        ok("%s %r %a", [s("é"), s("é"), s("é")], "é 'é' '\\xe9'");
        ok("%d", [Float(1e20)], "100000000000000000000");
        ok("%ld %hd", [Int(1), Int(2)], "1 2");
    }

    #[test]
    fn flags_width_and_precision() {
        ok(
            "[%5d|%-5d|%05d|%+d|% d]",
            [Int(42), Int(42), Int(-42), Int(1), Int(1)],
            "[   42|42   |-0042|+1| 1]",
        );
        ok("%*d|%-*d|%.*f", [Int(-4), Int(1), Int(3), Int(2), Int(1), Float(0.25)], "1   |2  |0.2");
        ok("%5.1s|%05s", [s("进程"), s("a")], "    进|    a");
        ok("%.5d|%#010x|%08.3f", [Int(-42), Int(255), Float(-1.5)], "-00042|0x000000ff|-001.500");
        ok("%#.0f %#g", [Float(3.0), Float(1.0)], "3. 1.00000");
    }

    #[test]
    fn keys() {
        ok("%(n)03d%(a(b))s", [Other], "003x");
        ok("no conversion", [Other], "no conversion");
        fails("%(z)s", [Other], "'z'");
        fails("%(n)s", [Int(1)], "format requires a mapping");
        fails("%(n)s %s", [Other], "not enough arguments for format string");
        fails("%(n", [Other], "incomplete format key");
    }

    #[test]
    fn messages_are_cpythons() {
        fails("%d %d", [Int(1)], "not enough arguments for format string");
        fails("%d", [Int(1), Int(2)], "not all arguments converted during string formatting");
        fails("%d", [s("a")], "%d format: a real number is required, not str");
        fails("%x", [Float(1.0)], "%x format: an integer is required, not float");
        fails("%f", [s("a")], "must be real number, not str");
        fails("%y", [Int(1)], "unsupported format character 'y' (0x79) at index 1");
        fails("%é", [Int(1)], "unsupported format character '?' (0xe9) at index 1");
        fails("100%", [Int(1)], "incomplete format");
        fails("%*d", [s("a"), Int(1)], "* wants int");
        fails("%c", [s("ab")], "%c requires int or char");
        fails("%c", [Int(-1)], "%c arg not in range(0x110000)");
        fails("%d", [Float(f64::NAN)], "cannot convert float NaN to integer");
        fails("%99999999999999999999d", [Int(1)], "width too big");
        fails("%.9999999999f", [Int(1)], "precision too big");
    }
}
