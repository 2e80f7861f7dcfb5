//! Values as Python sees them: `str`, `repr`, truth, equality, order, and the names of types.

use std::cell::RefCell;
use std::cmp::Ordering;

use rhai::{Dynamic, FnPtr, ImmutableString, Map};

use super::builtins::bytearray::ByteArray;
use super::builtins::range::Range;
use super::dict::Dict;
use super::exception::{Exception, Outcome, raise};
use super::identity::{class_name, handle_length, handle_repr, handle_str, identity};
use super::list::List;
use super::nesting::{Level, may_be_so_long, note_cut};
use super::text::float_repr::float_repr;
use super::text::str_repr::{bytes_repr, str_repr};
use super::types::Type;
use super::variables::is_same_function;

/// `str(value)`: what printing shows.
pub fn str(value: &Dynamic) -> String {
    if value.is_shared() {
        return str(&value.flatten_clone());
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return text.to_string();
    }
    if let Ok(c) = value.as_char() {
        return c.to_string();
    }
    if let Some(exception) = value.read_lock::<Exception>() {
        return exception.message().to_string();
    }
    handle_str(value).unwrap_or_else(|| repr(value))
}

/// `repr(value)`.
pub fn repr(value: &Dynamic) -> String {
    if value.is_shared() {
        return repr(&value.flatten_clone());
    }
    if value.is_unit() {
        return "None".into();
    }
    if let Ok(n) = value.as_int() {
        return n.to_string();
    }
    if let Ok(x) = value.as_float() {
        return float_repr(x);
    }
    if let Ok(b) = value.as_bool() {
        return if b { "True".into() } else { "False".into() };
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return str_repr(&text);
    }
    if let Ok(c) = value.as_char() {
        return str_repr(&c.to_string());
    }
    if let Ok(items) = value.as_array_ref() {
        return repr_sequence(&items, items.as_ptr() as usize);
    }
    if let Ok(map) = value.as_map_ref() {
        let entries: Vec<_> =
            map.iter().map(|(k, v)| (Dynamic::from(k.as_str().to_string()), v.clone())).collect();
        return repr_mapping(&entries, std::ptr::from_ref::<Map>(&map) as usize);
    }
    if let Ok(bytes) = value.as_blob_ref() {
        return bytes_repr(&bytes);
    }
    if let Some(exception) = value.read_lock::<Exception>() {
        return exception.repr();
    }
    if let Some(function) = value.read_lock::<FnPtr>() {
        return format!("<function {}>", super::exception::shown_name(function.fn_name()));
    }
    handle_repr(value).unwrap_or_else(|| match value.to_string() {
        // Rhai knows no better than the name of the implementation's type.
        text if value.is_variant() && text == value.type_name() => format!("<{} object>", type_name(value)),
        text => text,
    })
}

thread_local! {
    /// The containers whose repr is being made: one that contains itself is shown as `[...]`.
    static OPEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Shows a container. What is nested too deeply is left out, and that is noted: see [`super::nesting`].
fn once_inside(container: usize, inside: &str, show: impl FnOnce() -> String) -> String {
    if OPEN.with_borrow(|open| open.contains(&container)) {
        return inside.into();
    }
    let Some(_level) = Level::enter() else {
        note_cut();
        return inside.into();
    };
    OPEN.with_borrow_mut(|open| open.push(container));
    let text = show();
    OPEN.with_borrow_mut(Vec::pop);
    text
}

/// `[1, 'two', None]`.
pub fn repr_sequence(items: &[Dynamic], container: usize) -> String {
    once_inside(container, "[...]", || {
        let mut text = String::from("[");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            text.push_str(&repr(item));
            if !may_be_so_long(text.len()) {
                break;
            }
        }
        text.push(']');
        text
    })
}

/// `{'a': 1}`.
pub fn repr_mapping(entries: &[(Dynamic, Dynamic)], container: usize) -> String {
    once_inside(container, "{...}", || {
        let mut text = String::from("{");
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            text.push_str(&repr(key));
            text.push_str(": ");
            text.push_str(&repr(value));
            if !may_be_so_long(text.len()) {
                break;
            }
        }
        text.push('}');
        text
    })
}

/// `bool(value)`.
pub fn is_true(value: &Dynamic) -> bool {
    if value.is_shared() {
        return is_true(&value.flatten_clone());
    }
    if value.is_unit() {
        return false;
    }
    if let Ok(b) = value.as_bool() {
        return b;
    }
    if let Ok(n) = value.as_int() {
        return n != 0;
    }
    if let Ok(x) = value.as_float() {
        return x != 0.0;
    }
    length(value).is_none_or(|length| length > 0)
}

/// `len(value)`; nothing for values that have no length.
pub fn length(value: &Dynamic) -> Option<usize> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Some(text.chars().count());
    }
    if let Some(list) = value.read_lock::<List>() {
        return Some(list.len());
    }
    if let Some(dict) = value.read_lock::<Dict>() {
        return Some(dict.len());
    }
    if let Ok(items) = value.as_array_ref() {
        return Some(items.len());
    }
    if let Ok(map) = value.as_map_ref() {
        return Some(map.len());
    }
    if let Some(range) = value.read_lock::<Range>() {
        return Some(range.len());
    }
    if let Some(buffer) = value.read_lock::<ByteArray>() {
        return Some(buffer.len());
    }
    if let Ok(bytes) = value.as_blob_ref() {
        return Some(bytes.len());
    }
    handle_length(value)
}

/// The bytes of a blob or a buffer; nothing for other values.
pub fn bytes(value: &Dynamic) -> Option<Vec<u8>> {
    if let Some(buffer) = value.read_lock::<ByteArray>() {
        return Some(buffer.to_vec());
    }
    value.as_blob_ref().ok().map(|bytes| bytes.clone())
}

/// The items of an array or a list; nothing for other values.
pub fn sequence(value: &Dynamic) -> Option<Vec<Dynamic>> {
    if let Some(list) = value.read_lock::<List>() {
        return Some(list.snapshot());
    }
    value.as_array_ref().ok().map(|items| items.clone())
}

/// The items of what is a sequence of any kind: an array, a list, a range, bytes; nothing for other values.
///
/// # Errors
/// MemoryError for a range of too many numbers.
pub fn items_of(value: &Dynamic) -> Outcome<Option<Vec<Dynamic>>> {
    if let Some(range) = value.read_lock::<Range>() {
        return range.to_items().map(Some);
    }
    if let Some(bytes) = bytes(value) {
        return Ok(Some(bytes.into_iter().map(|byte| i64::from(byte).into()).collect()));
    }
    Ok(sequence(value))
}

/// The entries of a map or a dict; nothing for other values.
pub fn mapping(value: &Dynamic) -> Option<Vec<(Dynamic, Dynamic)>> {
    if let Some(dict) = value.read_lock::<Dict>() {
        return Some(dict.items());
    }
    let map = value.as_map_ref().ok()?;
    Some(map.iter().map(|(k, v)| (Dynamic::from(ImmutableString::from(k.as_str())), v.clone())).collect())
}

/// A number as a float; nothing for other values.
pub fn number(value: &Dynamic) -> Option<f64> {
    if let Ok(n) = value.as_int() {
        return Some(n as f64);
    }
    if let Ok(b) = value.as_bool() {
        return Some(f64::from(b));
    }
    value.as_float().ok()
}

/// `a == b`.
///
/// # Errors
/// RecursionError for values that are nested too deeply, such as two lists that contain each other.
pub fn equals(a: &Dynamic, b: &Dynamic) -> Outcome<bool> {
    if a.is_shared() || b.is_shared() {
        return equals(&a.flatten_clone(), &b.flatten_clone());
    }
    if let Some(equal) = simple_equals(a, b) {
        return Ok(equal);
    }
    let _level = Level::enter_or_raise(IN_COMPARISON)?;
    if let (Some(a), Some(b)) = (sequence(a), sequence(b)) {
        if a.len() != b.len() {
            return Ok(false);
        }
        return a.iter().zip(&b).try_fold(true, |equal, (a, b)| Ok(equal && equals(a, b)?));
    }
    if let (Some(a), Some(b)) = (mapping(a), mapping(b)) {
        return equal_mappings(a, b);
    }
    Ok(false)
}

const IN_COMPARISON: &str = " in comparison";

fn equal_mappings(a: Vec<(Dynamic, Dynamic)>, b: Vec<(Dynamic, Dynamic)>) -> Outcome<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let b = Dict::from_pairs(b)?;
    for (key, value) in a {
        match b.get(&key)? {
            Some(other) if equals(&value, &other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The index of the first of `items` that equals `item`.
///
/// # Errors
/// RecursionError when one cannot be compared.
pub fn position_of(items: &[Dynamic], item: &Dynamic) -> Outcome<Option<usize>> {
    for (at, found) in items.iter().enumerate() {
        if equals(found, item)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// How many of `items` equal `item`.
///
/// # Errors
/// RecursionError when one cannot be compared.
pub fn count(items: &[Dynamic], item: &Dynamic) -> Outcome<i64> {
    items.iter().try_fold(0, |count, found| Ok(count + i64::from(equals(found, item)?)))
}

/// `a == b` where nothing inside them has to be compared; nothing for two arrays, lists, maps or dicts.
fn simple_equals(a: &Dynamic, b: &Dynamic) -> Option<bool> {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return Some(a == b);
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Some(a == b);
    }
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return Some(a == b);
    }
    if a.is_unit() || b.is_unit() {
        return Some(a.is_unit() && b.is_unit());
    }
    if identity(a).is_some_and(|address| identity(b) == Some(address)) {
        return Some(true);
    }
    if is_sequence(a) && is_sequence(b) || is_mapping(a) && is_mapping(b) {
        return None;
    }
    Some(equal_objects(a, b))
}

fn is_sequence(value: &Dynamic) -> bool {
    value.is_array() || value.is::<List>()
}

fn is_mapping(value: &Dynamic) -> bool {
    value.is_map() || value.is::<Dict>()
}

fn equal_objects(a: &Dynamic, b: &Dynamic) -> bool {
    if let (Some(a), Some(b)) = (bytes(a), bytes(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (a.read_lock::<Range>(), b.read_lock::<Range>()) {
        return a.equals(*b);
    }
    if let (Some(a), Some(b)) = (a.read_lock::<FnPtr>(), b.read_lock::<FnPtr>()) {
        return is_same_function(&a, &b);
    }
    if let (Some(a), Some(b)) = (a.read_lock::<Exception>(), b.read_lock::<Exception>()) {
        return a.identity() == b.identity();
    }
    if let (Some(a), Some(b)) = (a.read_lock::<Type>(), b.read_lock::<Type>()) {
        return *a == *b;
    }
    false
}

/// Is it the very same value: the same object, or an equal one that is no object?
pub fn is_same_item(a: &Dynamic, b: &Dynamic) -> bool {
    if a.type_id() != b.type_id() {
        return false;
    }
    // Only values of types that rhai does not know can have an identity; asking costs more than this.
    let identities = if a.is_variant() { identity(a).zip(identity(b)) } else { None };
    match identities {
        Some((a, b)) => a == b,
        None if a.as_float().is_ok_and(f64::is_nan) => b.as_float().is_ok_and(f64::is_nan),
        None => equals(a, b).unwrap_or(false),
    }
}

fn text(value: &Dynamic) -> Option<String> {
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Some(text.to_string());
    }
    value.as_char().ok().map(|c| c.to_string())
}

/// How `a` and `b` are ordered, sequences element by element, as Python's tuples are.
///
/// # Errors
/// TypeError when they cannot be compared.
pub fn compare(a: &Dynamic, b: &Dynamic) -> Outcome<Ordering> {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return Ok(a.cmp(&b));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a.partial_cmp(&b).unwrap_or(Ordering::Equal));
    }
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return Ok(a.cmp(&b));
    }
    if let (Some(a), Some(b)) = (sequence(a), sequence(b)) {
        let _level = Level::enter_or_raise(IN_COMPARISON)?;
        for (a, b) in a.iter().zip(&b) {
            if !equals(a, b)? {
                return compare(a, b);
            }
        }
        return Ok(a.len().cmp(&b.len()));
    }
    if let (Some(a), Some(b)) = (bytes(a), bytes(b)) {
        return Ok(a.cmp(&b));
    }
    let (a, b) = (type_name(a), type_name(b));
    Err(raise("TypeError", format!("'<' not supported between instances of '{a}' and '{b}'")))
}

/// `type(value).__name__`.
pub fn type_name(value: &Dynamic) -> String {
    if value.is_shared() {
        return type_name(&value.flatten_clone());
    }
    if value.is_unit() {
        return "NoneType".into();
    }
    if let Some(exception) = value.read_lock::<Exception>() {
        return exception.class().name.into();
    }
    if let Some(name) = class_name(value) {
        return name.into();
    }
    python_name(value.type_name()).into()
}

/// Python's name for what rhai calls a type.
pub fn python_name(type_name: &str) -> &str {
    match type_name {
        "()" => "NoneType",
        "i64" => "int",
        "f64" => "float",
        // Rhai says so of a parameter that takes a text in whatever form.
        "string" | "char" | "&str | ImmutableString | String" => "str",
        "array" => "list",
        "map" => "dict",
        "blob" => "bytes",
        "Fn" => "function",
        name => name.rsplit("::").next().unwrap_or(name),
    }
}
