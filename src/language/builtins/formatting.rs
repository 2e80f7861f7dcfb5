//! Texts with values in them: `"%s is %d" % [name, age]`, `"{} and {}".format(a, b)`, `format(x, ".2f")`.

use rhai::{Array, Dynamic, EvalAltResult, ImmutableString, Map, NativeCallContext};

use super::attributes;
use super::call_style::written_as_method;
use super::exactly;
use super::strings::method;
use crate::language::dict::{Dict, missing};
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::list::{List, position};
use crate::language::native::{Call, NativeModule};
use crate::language::nesting::uncut;
use crate::language::text::format_spec::{FormatError, FormatErrorKind, Scalar, format_scalar};
use crate::language::text::percent::{Arguments, Value, format_percent};
use crate::language::text::str_format::{Access, Field, FieldName, Fields, missing_index, parse, render};
use crate::language::text::str_repr::ascii_repr;
use crate::language::value;

impl From<FormatError> for Box<EvalAltResult> {
    fn from(error: FormatError) -> Self {
        let class = match error.kind {
            FormatErrorKind::Value => "ValueError",
            FormatErrorKind::Type => "TypeError",
            FormatErrorKind::Index => "IndexError",
            FormatErrorKind::Key => "KeyError",
            FormatErrorKind::Overflow => "OverflowError",
            FormatErrorKind::Memory => "MemoryError",
        };
        Exception::new(Class::known(class), error.message).into_error()
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    exactly("%").set_into_module(&mut module.builtins, |template: ImmutableString, operand: Dynamic| {
        uncut(|| percent(&template, operand)).map(ImmutableString::from)
    });
    module.builtin("format(value, format_spec='')", "The value as the format specification says.", |call| {
        let value = call.required(0)?;
        let spec = call.optional_text(1)?.unwrap_or_default();
        format_value(&value, &spec).map(Dynamic::from)
    });
    method(module, "format(*args, **kwargs)", format_method);
}

/// `template % operand`. An array holds the values, as a tuple does in Python. A list is one value where the
/// template has one place, as in Python, and holds the values where it has several.
fn percent(template: &str, operand: Dynamic) -> Outcome<String> {
    let is_mapping = operand.is::<Map>() || operand.is::<Dict>();
    let spread = operand.is::<Array>() || operand.is::<List>() && places(template) > 1;
    let values = match spread {
        true => value::sequence(&operand).unwrap_or_default(),
        false => vec![operand.clone()],
    };
    format_percent(
        template,
        &mut Operand { values: values.into_iter(), mapping: is_mapping.then_some(operand) },
    )
}

/// How many values a template of `%` takes.
fn places(template: &str) -> usize {
    let mut count = 0;
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(literal) = after.strip_prefix('%') {
            rest = literal;
        } else {
            count += 1;
            rest = after;
        }
    }
    count
}

struct Operand {
    values: std::vec::IntoIter<Dynamic>,
    mapping: Option<Dynamic>,
}

impl Arguments for Operand {
    type Item = Dynamic;
    type Error = Box<EvalAltResult>;

    fn next(&mut self) -> Option<Dynamic> {
        self.values.next()
    }

    fn is_mapping(&self) -> bool {
        self.mapping.is_some()
    }

    fn by_key(&mut self, key: &str) -> Outcome<Dynamic> {
        let key = Dynamic::from(ImmutableString::from(key));
        let mapping = self.mapping.clone().unwrap_or_default();
        item(&mapping, &key)
    }

    fn has_more(&self) -> bool {
        self.values.len() > 0
    }

    fn value(&self, item: &Dynamic) -> Value {
        if let Ok(n) = item.as_int().or_else(|_| item.as_bool().map(i64::from)) {
            return Value::Int(n);
        }
        match item.as_float() {
            Ok(x) => Value::Float(x),
            Err(_) if item.is_string() || item.is_char() => Value::Str(value::str(item)),
            Err(_) => Value::Other,
        }
    }

    fn type_name(&self, item: &Dynamic) -> String {
        value::type_name(item)
    }

    fn to_str(&mut self, item: &Dynamic) -> Outcome<String> {
        Ok(value::str(item))
    }

    fn to_repr(&mut self, item: &Dynamic) -> Outcome<String> {
        Ok(value::repr(item))
    }
}

/// `value[key]` of a mapping.
fn item(mapping: &Dynamic, key: &Dynamic) -> Outcome<Dynamic> {
    if let Some(dict) = mapping.read_lock::<Dict>() {
        return dict.index(key);
    }
    let name = value::str(key);
    let found = mapping.as_map_ref().ok().and_then(|map| map.get(name.as_str()).cloned());
    found.ok_or_else(|| missing(key))
}

/// `"…".format(…)`; written as a function, it is `format(value, spec)`.
fn format_method(template: &str, call: &mut Call) -> Outcome<Dynamic> {
    let args = call.rest(0);
    if written_as_method(call.context(), "format") == Some(false) {
        let spec = args.first().map(value::str).unwrap_or_default();
        return format_value(&template.to_string().into(), &spec).map(Dynamic::from);
    }
    let keywords = call.keywords();
    let mut values = Values { context: call.context(), args, keywords };
    let pieces = parse(template)?;
    render(&pieces, &mut values).map(Dynamic::from)
}

struct Values<'c, 'a> {
    context: &'c NativeCallContext<'a>,
    args: Vec<Dynamic>,
    keywords: Map,
}

impl Fields for Values<'_, '_> {
    type Item = Dynamic;
    type Error = Box<EvalAltResult>;

    fn look_up(&mut self, field: &Field) -> Outcome<Dynamic> {
        let mut found = match &field.name {
            FieldName::Index(index) => self.args.get(*index).cloned().ok_or_else(|| missing_index(*index))?,
            FieldName::Key(name) => self.keywords.get(name.as_str()).cloned().ok_or_else(|| {
                let names = "keywords come as kwargs(#{…})";
                raise("KeyError", format!("{}: {names}", value::repr(&name.clone().into())))
            })?,
        };
        for access in &field.path {
            found = self.access(&found, access)?;
        }
        Ok(match field.conversion {
            Some('r') => value::repr(&found).into(),
            Some('a') => ascii_repr(&value::repr(&found)).into(),
            Some(_) => value::str(&found).into(),
            None => found,
        })
    }

    fn format(&mut self, item: Dynamic, spec: &str) -> Outcome<String> {
        format_value(&item, spec)
    }
}

impl Values<'_, '_> {
    fn access(&self, object: &Dynamic, access: &Access) -> Outcome<Dynamic> {
        match access {
            Access::Attribute(name) => attributes::require(self.context, object, name),
            Access::Item(key) => item(object, &ImmutableString::from(key.as_str()).into()),
            Access::Index(index) => match value::sequence(object) {
                Some(items) => {
                    let at = position(*index as i64, items.len());
                    at.map(|at| items[at].clone())
                        .ok_or_else(|| raise("IndexError", "list index out of range"))
                }
                None => item(object, &(*index as i64).into()),
            },
        }
    }
}

/// `format(value, spec)`.
fn format_value(value: &Dynamic, spec: &str) -> Outcome<String> {
    if spec.is_empty() {
        return Ok(value::str(value));
    }
    let text;
    let scalar = if let Ok(n) = value.as_int() {
        Scalar::Int(n)
    } else if let Ok(x) = value.as_float() {
        Scalar::Float(x)
    } else if let Ok(b) = value.as_bool() {
        Scalar::Bool(b)
    } else if value.is_string() || value.is_char() {
        text = value::str(value);
        Scalar::Str(&text)
    } else {
        let kind = value::type_name(value);
        return Err(raise(
            "TypeError",
            format!("unsupported format string passed to {kind}.__format__: '{spec}'"),
        ));
    };
    Ok(format_scalar(scalar, spec)?)
}
