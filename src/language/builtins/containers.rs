//! Making containers, and their length: `list`, `tuple`, `dict`, `len`.

use rhai::Dynamic;

use super::arguments::at_most_one;
use super::iteration::iterate;
use crate::language::dict::Dict;
use crate::language::exception::{Outcome, raise};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    module
        .builtin(
            "list(*iterable)",
            "A list of the items: one that everybody who has it sees change.",
            |call| {
                let items = match at_most_one(call, "list", 0)? {
                    Some(iterable) => iterate(call.context(), &iterable)?,
                    None => Vec::new(),
                };
                Ok(Dynamic::from(List::new(items)))
            },
        )
        .builtin("tuple(*iterable)", "An array of the items: a value, as Python's tuples are.", |call| {
            match at_most_one(call, "tuple", 0)? {
                Some(iterable) => iterate(call.context(), &iterable).map(Dynamic::from),
                None => Ok(Dynamic::from_array(Vec::new())),
            }
        })
        .builtin(
            "dict(*mapping, **kwargs)",
            "A dict of a mapping's entries, or of [key, value] pairs; keywords come as kwargs(#{…}).",
            dict,
        )
        .builtin("len(object)", "How many items the object has.", |call| {
            let object = call.required(0)?;
            match value::length(&object) {
                Some(length) => Ok((length as i64).into()),
                None => {
                    let kind = value::type_name(&object);
                    Err(raise(
                        "TypeError",
                        format!("object of type '{kind}' has no len(): {}", value::repr(&object)),
                    ))
                }
            }
        });
}

fn dict(call: &mut Call) -> Outcome<Dynamic> {
    let mut source = call.rest(0);
    let keywords = call.keywords();
    if source.len() > 1 {
        let given = source.len();
        return Err(raise("TypeError", format!("dict expected at most 1 argument, got {given}")));
    }
    let dict = Dict::default();
    if let Some(source) = source.pop() {
        for (key, value) in pairs(call, &source, "dictionary update sequence")? {
            dict.set(key, value)?;
        }
    }
    for (key, value) in keywords {
        dict.set(key.as_str().to_string().into(), value)?;
    }
    Ok(Dynamic::from(dict))
}

/// The entries of a mapping, or pairs of keys and values.
///
/// # Errors
/// TypeError or ValueError, as CPython's `dict.update`.
pub(super) fn pairs(call: &Call, source: &Dynamic, what: &str) -> Outcome<Vec<(Dynamic, Dynamic)>> {
    if let Some(entries) = value::mapping(source) {
        return Ok(entries);
    }
    let items = iterate(call.context(), source)?;
    let pair = |(index, item): (usize, &Dynamic)| {
        let mut pair = iterate(call.context(), item).map_err(|_| {
            raise(
                "TypeError",
                format!("cannot convert {what} element #{index} to a sequence: it must be [key, value]"),
            )
        })?;
        match (pair.len(), pair.pop(), pair.pop()) {
            (2, Some(value), Some(key)) => Ok((key, value)),
            (length, ..) => Err(raise(
                "ValueError",
                format!("{what} element #{index} has length {length}; 2 is required"),
            )),
        }
    };
    items.iter().enumerate().map(pair).collect()
}
