//! Functions over everything that can be iterated over: `sorted`, `map`, `zip`, `sum`, `max`, …
//!
//! Where Python's are lazy, these make an array at once.

use std::cmp::Ordering;

use rhai::{Dynamic, NativeCallContext};

use super::exactly;
use super::iteration::iterate;
use super::numbers::overflow;
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Outcome, raise};
use crate::language::list::sort_values;
use crate::language::native::{Call, NativeModule};
use crate::language::value::{self, is_true};

pub(super) fn fill(module: &mut NativeModule) {
    module
        .builtin(
            "sorted(iterable, *, key=None, reverse=False)",
            "The items in order, by what key makes of each; equal ones stay as they came.",
            |call| {
                let iterable = call.required(0)?;
                let key = call.argument(1);
                let reverse = call.bool_or(2, false);
                let items = iterate(call.context(), &iterable)?;
                sort(call.context(), items, key, reverse, None).map(Dynamic::from)
            },
        )
        .builtin("reversed(sequence)", "The items, the last one first.", |call| {
            let sequence = call.required(0)?;
            let mut items = iterate(call.context(), &sequence)?;
            items.reverse();
            Ok(items.into())
        })
        .builtin("enumerate(iterable, start=0)", "[number, item] for every item.", |call| {
            let iterable = call.required(0)?;
            let start = call.int_or(1, 0)?;
            let items = iterate(call.context(), &iterable)?;
            let mut numbered = Vec::with_capacity(items.len());
            for (n, item) in items.into_iter().enumerate() {
                let number = start.checked_add(n as i64);
                let number =
                    number.ok_or_else(|| raise("OverflowError", "enumerate(): too large a number"))?;
                numbered.push(pair(number.into(), item));
            }
            Ok(numbered.into())
        })
        .builtin(
            "zip(*iterables)",
            "Arrays of the first items, the second ones, and so on, while all have one.",
            zip,
        )
        .builtin(
            "map(function, *iterables)",
            "What the function makes of each item, or of one item of each.",
            map,
        )
        .builtin("filter(function, iterable)", "The items for which the function is true.", |call| {
            let (function, iterable) = (call.required(0)?, call.required(1)?);
            let items = iterate(call.context(), &iterable)?;
            if function.is_unit() {
                return Ok(items.into_iter().filter(is_true).collect::<Vec<_>>().into());
            }
            let function = as_function(&function)?;
            let mut kept = Vec::new();
            for item in items {
                if is_true(&invoke(call.context(), &function, None, vec![item.clone()])?) {
                    kept.push(item);
                }
            }
            Ok(kept.into())
        })
        .builtin("any(iterable)", "Is one of the items true?", |call| {
            let iterable = call.required(0)?;
            Ok(iterate(call.context(), &iterable)?.iter().any(is_true).into())
        })
        .builtin("all(iterable)", "Are all items true?", |call| {
            let iterable = call.required(0)?;
            Ok(iterate(call.context(), &iterable)?.iter().all(is_true).into())
        })
        .builtin("sum(iterable, start=0)", "The sum of the items.", |call| {
            let iterable = call.required(0)?;
            let start = call.argument(1).unwrap_or(Dynamic::ZERO);
            let items = iterate(call.context(), &iterable)?;
            sum(call.context(), items, start)
        })
        .builtin(
            "min(*values, key=None, default=None)",
            "The smallest of the values, or of an iterable.",
            |call| extreme(call, "min", Ordering::Less),
        )
        .builtin(
            "max(*values, key=None, default=None)",
            "The greatest of the values, or of an iterable.",
            |call| extreme(call, "max", Ordering::Greater),
        );
    // Rhai's of an integer and a float is always a float: `max(3, 2.5)` would be `3.0`.
    let natives = &mut module.builtins;
    exactly("min")
        .set_into_module(natives, |a: i64, b: f64| if b < a as f64 { Dynamic::from(b) } else { a.into() });
    exactly("min")
        .set_into_module(natives, |a: f64, b: i64| if (b as f64) < a { Dynamic::from(b) } else { a.into() });
    exactly("max")
        .set_into_module(natives, |a: i64, b: f64| if b > a as f64 { Dynamic::from(b) } else { a.into() });
    exactly("max")
        .set_into_module(natives, |a: f64, b: i64| if b as f64 > a { Dynamic::from(b) } else { a.into() });
}

fn pair(a: Dynamic, b: Dynamic) -> Dynamic {
    vec![a, b].into()
}

/// The items in order. `receiver` is the list whose `sort` this is, if it is one.
///
/// # Errors
/// What `key` raises; TypeError when two items cannot be compared.
pub(super) fn sort(
    context: &NativeCallContext,
    mut items: Vec<Dynamic>,
    key: Option<Dynamic>,
    reverse: bool,
    receiver: Option<&Dynamic>,
) -> Outcome<Vec<Dynamic>> {
    let Some(key) = key.filter(|key| !key.is_unit()) else {
        sort_values(&mut items, reverse)?;
        return Ok(items);
    };
    let key = as_function(&key)?;
    let mut ranked = Vec::with_capacity(items.len());
    for item in items {
        ranked.push((invoke(context, &key, receiver, vec![item.clone()])?, item));
    }
    let mut failure = None;
    ranked.sort_by(|(a, _), (b, _)| {
        let order = if failure.is_some() { Ok(Ordering::Equal) } else { value::compare(a, b) };
        match order {
            Ok(order) if reverse => order.reverse(),
            Ok(order) => order,
            Err(error) => {
                failure = Some(error);
                Ordering::Equal
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(ranked.into_iter().map(|(_, item)| item).collect()),
    }
}

/// The iterables' items side by side, as many rows as the shortest has.
fn rows(context: &NativeCallContext, iterables: &[Dynamic]) -> Outcome<Vec<Vec<Dynamic>>> {
    let columns: Vec<Vec<Dynamic>> =
        iterables.iter().map(|iterable| iterate(context, iterable)).collect::<Outcome<_>>()?;
    let height = columns.iter().map(Vec::len).min().unwrap_or(0);
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let row = |_| columns.iter_mut().filter_map(Iterator::next).collect();
    Ok((0..height).map(row).collect())
}

fn zip(call: &mut Call) -> Outcome<Dynamic> {
    let iterables = call.rest(0);
    let rows = rows(call.context(), &iterables)?;
    Ok(rows.into_iter().map(Dynamic::from).collect::<Vec<_>>().into())
}

fn map(call: &mut Call) -> Outcome<Dynamic> {
    let function = call.required(0)?;
    let iterables = call.rest(1);
    let function = as_function(&function)?;
    if iterables.is_empty() {
        return Err(raise(
            "TypeError",
            "map() must have at least two arguments: use map(function, iterable)",
        ));
    }
    let mut results = Vec::new();
    for row in rows(call.context(), &iterables)? {
        results.push(invoke(call.context(), &function, None, row)?);
    }
    Ok(results.into())
}

fn sum(context: &NativeCallContext, items: Vec<Dynamic>, start: Dynamic) -> Outcome<Dynamic> {
    if start.is_string() || start.is_char() {
        return Err(raise("TypeError", "sum() can't sum strings [use ''.join(seq) instead]"));
    }
    items.into_iter().try_fold(start, |total, item| add(context, total, item))
}

fn add(context: &NativeCallContext, mut a: Dynamic, mut b: Dynamic) -> Outcome<Dynamic> {
    let whole = |x: &Dynamic| x.as_int().or_else(|_| x.as_bool().map(i64::from)).ok();
    if let (Some(a), Some(b)) = (whole(&a), whole(&b)) {
        return a.checked_add(b).map(Dynamic::from).ok_or_else(|| overflow(format!("{a} + {b}")));
    }
    if let (Some(a), Some(b)) = (value::number(&a), value::number(&b)) {
        return Ok((a + b).into());
    }
    if b.is_string() || b.is_unit() || (value::number(&a).is_some() && !b.is_variant()) {
        // Rhai would make a text of them.
        let (a, b) = (value::type_name(&a), value::type_name(&b));
        return Err(raise("TypeError", format!("unsupported operand type(s) for +: '{a}' and '{b}'")));
    }
    context.call_fn_raw("+", false, false, &mut [&mut a, &mut b])
}

fn extreme(call: &mut Call, function: &str, wanted: Ordering) -> Outcome<Dynamic> {
    let mut values = call.rest(0);
    let key = call.argument(0).filter(|key| !key.is_unit()).map(|key| as_function(&key)).transpose()?;
    let default = call.argument(1);
    match values.len() {
        0 => {
            let text = format!("{function} expected at least 1 argument, got 0");
            return Err(raise("TypeError", text));
        }
        1 => values = iterate(call.context(), &values[0])?,
        _ if default.is_some() => {
            let text =
                format!("Cannot specify a default for {function}() with multiple positional arguments");
            return Err(raise("TypeError", text));
        }
        _ => {}
    }
    let mut best: Option<(Dynamic, Dynamic)> = None;
    for value in values {
        let rank = match &key {
            Some(key) => invoke(call.context(), key, None, vec![value.clone()])?,
            None => value.clone(),
        };
        let is_better = match &best {
            Some((_, known)) => value::compare(&rank, known)? == wanted,
            None => true,
        };
        if is_better {
            best = Some((value, rank));
        }
    }
    match best.map(|(value, _)| value).or(default) {
        Some(value) => Ok(value),
        None => Err(raise("ValueError", format!("{function}() arg is an empty sequence"))),
    }
}
