//! Optional arguments that may be maps.
//!
//! In a signature with defaults, a map in the last place holds keywords. Python's `d.get(k, {})`, `str({})` and
//! their like take no keywords at all, so here these are declared with `*rest`, where a map is data.

use rhai::Dynamic;

use crate::language::exception::{Outcome, raise};
use crate::language::native::Call;
use crate::language::value;

/// The one argument from position `index` on, if it was given.
///
/// # Errors
/// TypeError when more were given, or keywords.
pub(super) fn at_most_one(call: &mut Call, function: &str, index: usize) -> Outcome<Option<Dynamic>> {
    let mut rest = call.rest(index);
    if rest.len() > 1 {
        let (most, given) = (index + 1, index + rest.len());
        let text = format!("{function}() takes at most {most} arguments but {given} were given");
        return Err(raise("TypeError", text));
    }
    if let Some(name) = call.keywords().keys().next() {
        return Err(raise(
            "TypeError",
            format!("{function}() takes no keyword arguments: '{name}' was given"),
        ));
    }
    Ok(rest.pop())
}

/// A value as a whole number.
///
/// # Errors
/// TypeError that says what was to be a number.
pub(super) fn integer(value: &Dynamic, what: &str) -> Outcome<i64> {
    value.as_int().or_else(|_| value.as_bool().map(i64::from)).map_err(|_| {
        let (kind, shown) = (value::type_name(value), value::repr(value));
        raise("TypeError", format!("'{kind}' object cannot be interpreted as an integer: {what} is {shown}"))
    })
}
