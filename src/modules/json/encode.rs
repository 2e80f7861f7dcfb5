//! Writes values as JSON text, character for character as CPython does.

use std::fmt::Write;

use rhai::{Dynamic, FnPtr, NativeCallContext};

use crate::language::builtins::check_size;
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::identity;
use crate::language::native::Call;
use crate::language::nesting::Level;
use crate::language::text::float_repr::float_repr;
use crate::language::value;

/// How a value is written: the keywords of `json.dumps`.
pub(super) struct Style {
    /// What one level of nesting is indented by; everything on one line if there is none.
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: (String, String),
    sort_keys: bool,
    ensure_ascii: bool,
    allow_nan: bool,
    skip_keys: bool,
    /// Turns what JSON has no word for into something else.
    default: Option<FnPtr>,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            indent: None,
            separators: (", ".into(), ": ".into()),
            sort_keys: false,
            ensure_ascii: true,
            allow_nan: true,
            skip_keys: false,
            default: None,
        }
    }
}

impl Style {
    /// Reads the keywords, which begin at parameter `first`: skipkeys, ensure_ascii, allow_nan, indent,
    /// separators, default, sort_keys.
    ///
    /// # Errors
    /// TypeError for a keyword of the wrong type, ValueError for separators that are not two.
    pub(super) fn of(call: &mut Call, first: usize) -> Outcome<Self> {
        let skip_keys = call.bool_or(first, false);
        let ensure_ascii = call.bool_or(first + 1, true);
        let allow_nan = call.bool_or(first + 2, true);
        let indent = indent(call.argument(first + 3))?;
        let separators = call.sequence(first + 4)?;
        let default = call.argument(first + 5).filter(|default| !default.is_unit());
        let sort_keys = call.bool_or(first + 6, false);
        let separators = match &separators[..] {
            [] => ((if indent.is_some() { "," } else { ", " }).to_string(), ": ".to_string()),
            [item, key] => (value::str(item), value::str(key)),
            others => {
                let given = others.len();
                let text = format!("separators must be two texts, [',', ':'], not {given}");
                return Err(raise("ValueError", text));
            }
        };
        let default = default.as_ref().map(as_function).transpose()?;
        Ok(Self { indent, separators, sort_keys, ensure_ascii, allow_nan, skip_keys, default })
    }
}

fn indent(argument: Option<Dynamic>) -> Outcome<Option<String>> {
    let Some(argument) = argument.filter(|argument| !argument.is_unit()) else { return Ok(None) };
    if argument.is_string() || argument.is_char() {
        return Ok(Some(value::str(&argument)));
    }
    let spaces = argument.as_int().or_else(|_| argument.as_bool().map(i64::from));
    match spaces.map(|spaces| usize::try_from(spaces).unwrap_or_default()) {
        Ok(spaces) if spaces <= 1000 => Ok(Some(" ".repeat(spaces))),
        _ => {
            let (kind, shown) = (value::type_name(&argument), value::repr(&argument));
            let text = format!("indent must be a text or a number of spaces up to 1000, not {kind}: {shown}");
            Err(raise("TypeError", text))
        }
    }
}

/// Writes a value.
///
/// # Errors
/// TypeError for what JSON has no word for, ValueError for a value that contains itself, RecursionError, and
/// whatever the style's `default` raises.
pub(super) fn encode(value: &Dynamic, style: &Style, context: &NativeCallContext) -> Outcome<String> {
    let mut encoder = Encoder { style, context, text: String::new(), open: Vec::new(), depth: 0 };
    encoder.value(value)?;
    Ok(encoder.text)
}

struct Encoder<'a> {
    style: &'a Style,
    context: &'a NativeCallContext<'a>,
    text: String,
    /// The objects that are being written: one that comes again inside itself has no end.
    open: Vec<usize>,
    depth: usize,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Dynamic) -> Outcome<()> {
        if value.is_shared() {
            return self.value(&value.flatten_clone());
        }
        // A value that is in itself many times over may make a text that has no end in practice.
        check_size("the JSON text", self.text.len() as u128, 1)?;
        if value.is_unit() {
            self.text.push_str("null");
        } else if let Ok(number) = value.as_int() {
            let _ = write!(self.text, "{number}");
        } else if let Ok(truth) = value.as_bool() {
            self.text.push_str(if truth { "true" } else { "false" });
        } else if let Ok(number) = value.as_float() {
            let number = self.float(number)?;
            self.text.push_str(&number);
        } else if value.is_string() || value.is_char() {
            self.string(&value::str(value));
        } else {
            return self.compound(value);
        }
        Ok(())
    }

    fn compound(&mut self, value: &Dynamic) -> Outcome<()> {
        let address = identity(value);
        if address.is_some_and(|address| self.open.contains(&address)) {
            return Err(raise("ValueError", "Circular reference detected"));
        }
        // Without an identity a default() that returns what it got would have no end either.
        let _level = Level::enter_or_raise(" while encoding a JSON object")?;
        self.depth += 1;
        self.open.extend(address);
        if let Some(items) = value::sequence(value) {
            self.array(&items)?;
        } else if let Some(entries) = value::mapping(value) {
            self.object(entries)?;
        } else {
            let replaced = self.replaced(value)?;
            self.value(&replaced)?;
        }
        if address.is_some() {
            self.open.pop();
        }
        self.depth -= 1;
        Ok(())
    }

    fn replaced(&self, value: &Dynamic) -> Outcome<Dynamic> {
        match &self.style.default {
            Some(default) => invoke(self.context, default, None, vec![value.clone()]),
            None => {
                let kind = value::type_name(value);
                Err(raise("TypeError", format!("Object of type {kind} is not JSON serializable")))
            }
        }
    }

    fn array(&mut self, items: &[Dynamic]) -> Outcome<()> {
        self.text.push('[');
        for (index, item) in items.iter().enumerate() {
            self.begin_item(index);
            self.value(item)?;
        }
        self.end_items(items.len());
        self.text.push(']');
        Ok(())
    }

    fn object(&mut self, mut entries: Vec<(Dynamic, Dynamic)>) -> Outcome<()> {
        if self.style.sort_keys {
            sort_by_key(&mut entries)?;
        }
        self.text.push('{');
        let mut written = 0;
        for (key, value) in &entries {
            let Some(key) = self.key(key)? else { continue };
            self.begin_item(written);
            written += 1;
            self.string(&key);
            self.text.push_str(&self.style.separators.1);
            self.value(value)?;
        }
        self.end_items(written);
        self.text.push('}');
        Ok(())
    }

    fn begin_item(&mut self, index: usize) {
        if index > 0 {
            self.text.push_str(&self.style.separators.0);
        }
        self.new_line(self.depth);
    }

    fn end_items(&mut self, written: usize) {
        if written > 0 {
            self.new_line(self.depth - 1);
        }
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.text.push('\n');
            for _ in 0..depth {
                self.text.push_str(indent);
            }
        }
    }

    /// A key as text; nothing if it is none and is to be skipped.
    fn key(&self, key: &Dynamic) -> Outcome<Option<String>> {
        if key.is_string() || key.is_char() {
            return Ok(Some(value::str(key)));
        }
        if let Ok(truth) = key.as_bool() {
            return Ok(Some(if truth { "true".into() } else { "false".into() }));
        }
        if let Ok(number) = key.as_float() {
            return self.float(number).map(Some);
        }
        if key.is_unit() {
            return Ok(Some("null".into()));
        }
        if let Ok(number) = key.as_int() {
            return Ok(Some(number.to_string()));
        }
        if self.style.skip_keys {
            return Ok(None);
        }
        let (kind, shown) = (value::type_name(key), value::repr(key));
        Err(raise("TypeError", format!("keys must be str, int, float, bool or None, not {kind}: {shown}")))
    }

    fn float(&self, number: f64) -> Outcome<String> {
        if number.is_finite() {
            return Ok(float_repr(number));
        }
        if !self.style.allow_nan {
            return Err(raise("ValueError", "Out of range float values are not JSON compliant"));
        }
        Ok(match number {
            n if n.is_nan() => "NaN",
            n if n > 0.0 => "Infinity",
            _ => "-Infinity",
        }
        .into())
    }

    fn string(&mut self, text: &str) {
        push_string(&mut self.text, text, self.style.ensure_ascii);
    }
}

/// Sorts entries by their keys.
fn sort_by_key(entries: &mut [(Dynamic, Dynamic)]) -> Outcome<()> {
    let mut failure = None;
    entries.sort_by(|(a, _), (b, _)| {
        value::compare(a, b).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            std::cmp::Ordering::Equal
        })
    });
    failure.map_or(Ok(()), Err)
}

/// Writes a string with its quotes.
fn push_string(target: &mut String, text: &str, ensure_ascii: bool) {
    target.push('"');
    for c in text.chars() {
        match c {
            '"' => target.push_str("\\\""),
            '\\' => target.push_str("\\\\"),
            '\n' => target.push_str("\\n"),
            '\r' => target.push_str("\\r"),
            '\t' => target.push_str("\\t"),
            '\u{8}' => target.push_str("\\b"),
            '\u{c}' => target.push_str("\\f"),
            ' '..='~' => target.push(c),
            '\0'..='\u{1f}' => push_escape(target, c),
            _ if ensure_ascii => push_escape(target, c),
            _ => target.push(c),
        }
    }
    target.push('"');
}

/// `\uXXXX`, twice for a character that needs a surrogate pair.
fn push_escape(target: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = write!(target, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_in_cpython() {
        let written = |text: &str, ensure_ascii| {
            let mut target = String::new();
            push_string(&mut target, text, ensure_ascii);
            target
        };
        let text = "\u{7f}é😀\0\u{8}\u{c}\n\r\t\"\\/";
        assert_eq!(written(text, true), r#""\u007f\u00e9\ud83d\ude00\u0000\b\f\n\r\t\"\\/""#);
        assert_eq!(written(text, false), "\"\u{7f}é😀\\u0000\\b\\f\\n\\r\\t\\\"\\\\/\"");
    }

    #[test]
    fn entries_are_sorted_by_key() {
        let mut entries: Vec<(Dynamic, Dynamic)> = vec![("b".into(), 1.into()), ("a".into(), Dynamic::UNIT)];
        sort_by_key(&mut entries).unwrap();
        assert_eq!(value::str(&entries[0].0), "a");
        entries.push((1.into(), Dynamic::UNIT));
        assert!(sort_by_key(&mut entries).is_err());
    }
}
