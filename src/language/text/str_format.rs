//! The templates of `str.format`: `"{} is {age:>{width}} {0[key]!r}"`.

use super::format_spec::{FormatError, FormatErrorKind, LONGEST_TEXT};

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stays as it is.
    Literal(String),
    /// A replacement field.
    Field(Field),
}

/// A replacement field: `{name.attribute[item]!conversion:spec}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Which argument it starts from.
    pub name: FieldName,
    /// What is looked up in the argument, from left to right.
    pub path: Vec<Access>,
    /// `r`, `s` or `a`.
    pub conversion: Option<char>,
    /// The format specification; it may have fields in it, but they have none.
    pub spec: Vec<Piece>,
}

/// The argument of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// A positional argument; the fields that give no name are numbered here.
    Index(usize),
    /// A keyword argument.
    Key(String),
}

/// A step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// `.name`
    Attribute(String),
    /// `[3]`
    Index(usize),
    /// `[key]`, without quotes
    Item(String),
}

/// Takes a template apart.
///
/// # Errors
/// CPython's `ValueError` for a template that is not well formed.
pub fn parse(template: &str) -> Result<Vec<Piece>, FormatError> {
    let chars: Vec<char> = template.chars().collect();
    let mut numbering = Numbering::Open;
    numbering.pieces(&chars, 2)
}

/// What a template is filled with.
pub trait Fields {
    /// A value, as the caller holds it.
    type Item;
    /// The caller's exception.
    type Error: From<FormatError>;

    /// The value that a field names, with its path and its conversion applied.
    ///
    /// # Errors
    /// What the lookup raises; [`missing_index`] makes one of CPython's.
    fn look_up(&mut self, field: &Field) -> Result<Self::Item, Self::Error>;

    /// `format(item, spec)`
    ///
    /// # Errors
    /// What the specification raises.
    fn format(&mut self, item: Self::Item, spec: &str) -> Result<String, Self::Error>;
}

/// Puts a parsed template together. As in CPython, a field is looked up before
/// the fields in its specification are.
///
/// # Errors
/// What the fields raise.
pub fn render<F: Fields>(pieces: &[Piece], fields: &mut F) -> Result<String, F::Error> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Field(field) => {
                let item = fields.look_up(field)?;
                let spec = render(&field.spec, fields)?;
                text.push_str(&fields.format(item, &spec)?);
            }
        }
        if text.len() > LONGEST_TEXT {
            return Err(FormatError::text_too_long().into());
        }
    }
    Ok(text)
}

/// The `IndexError` of a positional argument that is not there.
#[must_use]
pub fn missing_index(index: usize) -> FormatError {
    let message = format!("Replacement index {index} out of range for positional args tuple");
    FormatError::new(FormatErrorKind::Index, message)
}

/// How the fields so far were numbered. A template numbers all or none.
#[derive(Clone, Copy)]
enum Numbering {
    Open,
    Automatic(usize),
    Manual,
}

/// The text between the braces of a field.
struct Markup<'a> {
    name: &'a [char],
    conversion: Option<char>,
    spec: &'a [char],
}

impl Numbering {
    fn pieces(&mut self, chars: &[char], depth: usize) -> Result<Vec<Piece>, FormatError> {
        if depth == 0 {
            return Err(FormatError::value("Max string recursion exceeded"));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = chars;
        while let [c, tail @ ..] = rest {
            rest = tail;
            match (c, tail) {
                ('{', ['{', tail @ ..]) | ('}', ['}', tail @ ..]) => {
                    literal.push(*c);
                    rest = tail;
                }
                ('}', _) => {
                    return Err(FormatError::value("Single '}' encountered in format string"));
                }
                ('{', []) => {
                    return Err(FormatError::value("Single '{' encountered in format string"));
                }
                ('{', _) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let (markup, tail) = markup(tail)?;
                    pieces.push(Piece::Field(self.field(&markup, depth)?));
                    rest = tail;
                }
                (c, _) => literal.push(*c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(pieces)
    }

    fn field(&mut self, markup: &Markup<'_>, depth: usize) -> Result<Field, FormatError> {
        let end = markup.name.iter().position(|c| matches!(c, '.' | '['));
        let (first, path) = markup.name.split_at(end.unwrap_or(markup.name.len()));
        let name = self.name(first)?;
        let path = parse_path(path)?;
        if let Some(c) = markup.conversion.filter(|c| !matches!(c, 'r' | 's' | 'a')) {
            let shown = match c {
                '!'..='~' => c.to_string(),
                c => format!("\\x{:x}", u32::from(c)),
            };
            return Err(FormatError::value(format!("Unknown conversion specifier {shown}")));
        }
        let spec = if markup.spec.contains(&'{') {
            self.pieces(markup.spec, depth - 1)?
        } else if markup.spec.is_empty() {
            Vec::new()
        } else {
            vec![Piece::Literal(markup.spec.iter().collect())]
        };
        let conversion = markup.conversion;
        Ok(Field { name, path, conversion, spec })
    }

    fn name(&mut self, text: &[char]) -> Result<FieldName, FormatError> {
        let given = parse_index(text)?;
        if given.is_none() && !text.is_empty() {
            return Ok(FieldName::Key(text.iter().collect()));
        }
        let (index, next) = match (*self, given) {
            (Self::Open, None) => (0, Self::Automatic(1)),
            (Self::Automatic(next), None) => (next, Self::Automatic(next + 1)),
            (Self::Open | Self::Manual, Some(index)) => (index, Self::Manual),
            (Self::Manual, None) => {
                let message = "cannot switch from manual field specification to automatic field numbering";
                return Err(FormatError::value(message));
            }
            (Self::Automatic(_), Some(_)) => {
                let message = "cannot switch from automatic field numbering to manual field specification";
                return Err(FormatError::value(message));
            }
        };
        *self = next;
        Ok(FieldName::Index(index))
    }
}

/// Splits what follows a `{` into the field and the text after its `}`.
fn markup(chars: &[char]) -> Result<(Markup<'_>, &[char]), FormatError> {
    let mut position = 0;
    let (name, end) = loop {
        match chars.get(position) {
            None => return Err(FormatError::value("expected '}' before end of string")),
            Some('{') => return Err(FormatError::value("unexpected '{' in field name")),
            Some('[') => {
                // A key may hold any character but the bracket that ends it.
                let key = chars[position + 1..].iter().position(|&c| c == ']');
                position = key.map_or(chars.len(), |length| position + 1 + length);
            }
            Some(end @ ('}' | ':' | '!')) => break (&chars[..position], *end),
            Some(_) => position += 1,
        }
    };
    let mut rest = &chars[position + 1..];
    let mut conversion = None;
    if end == '!' {
        let Some((&c, tail)) = rest.split_first() else {
            let message = "end of string while looking for conversion specifier";
            return Err(FormatError::value(message));
        };
        conversion = Some(c);
        rest = tail;
        match rest.split_first() {
            Some((':', tail)) => rest = tail,
            Some(('}', tail)) => return Ok((Markup { name, conversion, spec: &[] }, tail)),
            Some(_) => {
                return Err(FormatError::value("expected ':' after conversion specifier"));
            }
            None => {}
        }
    }
    if end == '}' {
        return Ok((Markup { name, conversion, spec: &[] }, rest));
    }
    let mut depth = 1_usize;
    for (position, c) in rest.iter().enumerate() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let spec = &rest[..position];
            return Ok((Markup { name, conversion, spec }, &rest[position + 1..]));
        }
    }
    Err(FormatError::value("unmatched '{' in format spec"))
}

/// What follows the name of a field: `.name` and `[key]`, any number of them.
fn parse_path(mut rest: &[char]) -> Result<Vec<Access>, FormatError> {
    let mut path = Vec::new();
    while let [c, tail @ ..] = rest {
        let (text, after) = match c {
            '.' => {
                let end = tail.iter().position(|c| matches!(c, '.' | '['));
                tail.split_at(end.unwrap_or(tail.len()))
            }
            '[' => match tail.iter().position(|&c| c == ']') {
                Some(end) => (&tail[..end], &tail[end + 1..]),
                None => return Err(FormatError::value("Missing ']' in format string")),
            },
            _ => {
                let message = "Only '.' or '[' may follow ']' in format field specifier";
                return Err(FormatError::value(message));
            }
        };
        if text.is_empty() {
            return Err(FormatError::value("Empty attribute in format string"));
        }
        path.push(match (c, parse_index(text)?) {
            ('.', _) => Access::Attribute(text.iter().collect()),
            (_, Some(index)) => Access::Index(index),
            (_, None) => Access::Item(text.iter().collect()),
        });
        rest = after;
    }
    Ok(path)
}

/// A text of nothing but digits is a number, anything else a name.
fn parse_index(text: &[char]) -> Result<Option<usize>, FormatError> {
    if text.is_empty() || !text.iter().all(char::is_ascii_digit) {
        return Ok(None);
    }
    let digits: String = text.iter().collect();
    match digits.parse::<usize>() {
        Ok(index) if index <= isize::MAX.unsigned_abs() => Ok(Some(index)),
        _ => Err(FormatError::value("Too many decimal digits in format string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: FieldName) -> Field {
        Field { name, path: Vec::new(), conversion: None, spec: Vec::new() }
    }

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.to_owned())
    }

    #[test]
    fn fields_and_literals() {
        let pieces = parse("a{{{}}}b{}").unwrap();
        let expected = [
            literal("a{"),
            Piece::Field(field(FieldName::Index(0))),
            literal("}b"),
            Piece::Field(field(FieldName::Index(1))),
        ];
        assert_eq!(pieces, expected);
        let pieces = parse("{name}").unwrap();
        assert_eq!(pieces, [Piece::Field(field(FieldName::Key("name".to_owned())))]);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn paths_conversions_and_specs() {
        let [Piece::Field(found)] = &parse("{0.a[b}:c][3]!r:>{w}}").unwrap()[..] else {
            panic!("one field");
        };
        let expected = [Access::Attribute("a".to_owned()), Access::Item("b}:c".to_owned()), Access::Index(3)];
        assert_eq!(found.path, expected);
        assert_eq!(found.conversion, Some('r'));
        let width = Piece::Field(field(FieldName::Key("w".to_owned())));
        assert_eq!(found.spec, [literal(">"), width]);
    }

    struct Numbers(Vec<usize>);

    impl Fields for Numbers {
        type Item = usize;
        type Error = FormatError;

        fn look_up(&mut self, field: &Field) -> Result<usize, FormatError> {
            match field.name {
                FieldName::Index(index) if index < 3 => self.0.push(index),
                FieldName::Index(index) => return Err(missing_index(index)),
                FieldName::Key(_) => {}
            }
            Ok(self.0.len())
        }
        fn format(&mut self, item: usize, spec: &str) -> Result<String, FormatError> {
            Ok(format!("<{item}:{spec}>"))
        }
    }

    #[test]
    fn automatic_numbers_count_the_outer_field_first() {
        let mut fields = Numbers(Vec::new());
        let text = render(&parse("{:x{}}-{}").unwrap(), &mut fields);
        assert_eq!(text.as_deref(), Ok("<1:x<2:>>-<3:>"));
        assert_eq!(fields.0, [0, 1, 2]);
        let error = render(&parse("{3:{4}}").unwrap(), &mut fields).unwrap_err();
        let message = "Replacement index 3 out of range for positional args tuple";
        assert_eq!((error.kind, &*error.message), (FormatErrorKind::Index, message));
    }

    #[test]
    fn messages_are_cpythons() {
        for (template, message) in [
            ("a}", "Single '}' encountered in format string"),
            ("a{", "Single '{' encountered in format string"),
            ("{a", "expected '}' before end of string"),
            ("{0[a}", "expected '}' before end of string"),
            ("{a{", "unexpected '{' in field name"),
            ("{!", "end of string while looking for conversion specifier"),
            ("{!r", "unmatched '{' in format spec"),
            ("{!}", "unmatched '{' in format spec"),
            ("{!rs}", "expected ':' after conversion specifier"),
            ("{:", "unmatched '{' in format spec"),
            ("{!x}", "Unknown conversion specifier x"),
            ("{!é}", "Unknown conversion specifier \\xe9"),
            ("{:{:{}}}", "Max string recursion exceeded"),
            ("{0.}", "Empty attribute in format string"),
            ("{0[]}", "Empty attribute in format string"),
            ("{0[a]x}", "Only '.' or '[' may follow ']' in format field specifier"),
            ("{99999999999999999999}", "Too many decimal digits in format string"),
            ("{}{0}", "cannot switch from automatic field numbering to manual field specification"),
            ("{0}{}", "cannot switch from manual field specification to automatic field numbering"),
        ] {
            let error = parse(template).unwrap_err();
            assert_eq!((error.kind, &*error.message), (FormatErrorKind::Value, message));
        }
    }
}
