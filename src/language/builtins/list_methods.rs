//! The methods of `list`: Python's, and rhai's array methods where the name is free.
//!
//! What changes a list without asking a script function is one atomic operation. What takes a function (`map`,
//! `filter`, `sort_by`, …) is rhai's own, on a copy: see [`super::forward`].

use rhai::{Dynamic, FnPtr, NativeCallContext};

use super::arguments::integer;
use super::forward::{call_on_snapshot, commit};
use super::functional::sort;
use super::iteration::iterate;
use super::limits::check_items;
use super::list_sections::clamp;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::{self, Handle};
use crate::language::list::{List, position};
use crate::language::native::{Call, NativeModule};
use crate::language::realm;
use crate::language::value;
use crate::language::variables::{to_local, to_shared};

/// Rhai's array methods that only look at the items, or return new ones.
const LOOKING: [&str; 13] = [
    "all(predicate)",
    "filter(predicate)",
    "find(predicate, *start)",
    "find_map(function, *start)",
    "index_of(item_or_predicate, *start)",
    "map(function)",
    "order(*comparer)",
    "order_by(comparer)",
    "order_desc()",
    "reduce(function, *initial)",
    "reduce_rev(function, *initial)",
    "some(predicate)",
    "zip(array, function)",
];

/// Rhai's array methods that may change the items.
const CHANGING: [&str; 4] = ["dedup(*comparer)", "for_each(function)", "sort_by(comparer)", "sort_desc()"];

/// How often a sort starts again because another thread has changed the list meanwhile.
const SORT_ATTEMPTS: usize = 100;

pub(super) fn fill(module: &mut NativeModule) {
    identity::register::<List>();
    module.named::<List>("list");
    module.shown::<List>(Handle::repr);
    python_changing(module);
    python_looking(module);
    rhai_simple(module);
    for (signatures, changes) in [(&LOOKING[..], false), (&CHANGING[..], true)] {
        for signature in signatures {
            let name = signature.split('(').next().unwrap_or(signature);
            let doc = "Rhai's method of arrays, on the items of the list.";
            module.method::<List, _>(signature, doc, move |list, call| {
                let args = call.rest(0);
                call_on_snapshot(call.context(), list, name, args, changes)
            });
        }
    }
}

/// Items as this thread may use them.
pub(super) fn local_items(items: Vec<Dynamic>) -> Vec<Dynamic> {
    items.into_iter().map(to_local).collect()
}

fn python_changing(module: &mut NativeModule) {
    module
        .method::<List, _>("append(item)", "Adds an item at the end.", |list, call| {
            list.append(call.required(0)?);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("extend(iterable)", "Adds the items of another sequence at the end.", |list, call| {
            let iterable = call.required(0)?;
            list.extend(iterate(call.context(), &iterable)?);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("insert(index, item)", "Inserts an item before the index.", |list, call| {
            let (index, item) = (call.int(0)?, call.required(1)?);
            list.insert(index, item);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("remove(item)", "Takes out the first item that equals this one.", |list, call| {
            let item = call.required(0)?;
            list.remove(&item)?;
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("pop(index=-1)", "Takes out an item, the last one by default.", |list, call| {
            let index = call.argument(0).map(|index| integer(&index, "pop()'s index")).transpose()?;
            list.pop(index)
        })
        .method::<List, _>("clear()", "Takes out all items.", |list, _| {
            list.replace(Vec::new());
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("reverse()", "Turns the order of the items round.", |list, _| {
            list.change(|items| items.reverse());
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>(
            "sort(key=None, reverse=False)",
            "Sorts the items in place, by what key makes of each. A function of two items compares, as in rhai.",
            sort_in_place,
        );
}

fn python_looking(module: &mut NativeModule) {
    module
        .method::<List, _>("copy()", "Another list of the same items.", |list, _| {
            Ok(Dynamic::from(List::new(list.snapshot())))
        })
        .method::<List, _>("count(item)", "How many items equal this one.", |list, call| {
            let item = call.required(0)?;
            value::count(&list.snapshot(), &item).map(Dynamic::from)
        })
        .method::<List, _>(
            "index(item, start=0, stop=None)",
            "The index of the first item that equals this one; ValueError if none does.",
            |list, call| {
                let item = call.required(0)?;
                let start = call.int_or(1, 0)?;
                let stop = call.argument(2).filter(|stop| !stop.is_unit());
                let stop = stop.map_or(Ok(i64::MAX), |stop| integer(&stop, "index()'s stop"))?;
                find(&list.snapshot(), &item, start, stop)
            },
        );
}

/// The index of an item between two positions.
///
/// # Errors
/// ValueError.
pub(super) fn find(items: &[Dynamic], item: &Dynamic, start: i64, stop: i64) -> Outcome<Dynamic> {
    let (start, stop) = (clamp(start, items.len()), clamp(stop, items.len()));
    let part = items.get(start..stop.max(start)).unwrap_or_default();
    match value::position_of(part, item)? {
        Some(at) => Ok(((start + at) as i64).into()),
        None => Err(raise("ValueError", format!("{} is not in list", value::repr(item)))),
    }
}

fn rhai_simple(module: &mut NativeModule) {
    module
        .method::<List, _>("push(item)", "Adds an item at the end.", |list, call| {
            list.append(call.required(0)?);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("shift()", "Takes out the first item; () if there is none.", |list, _| {
            let first = list.change(|items| (!items.is_empty()).then(|| items.remove(0)));
            Ok(first.map(to_local).unwrap_or_default())
        })
        .method::<List, _>("truncate(length)", "Cuts the list off after so many items.", |list, call| {
            let length = usize::try_from(call.int(0)?).unwrap_or(0);
            let cut = list.change(|items| items.split_off(length.min(items.len())));
            drop(cut);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("chop(length)", "Keeps only so many of the last items.", |list, call| {
            let length = usize::try_from(call.int(0)?).unwrap_or(0);
            let cut = list.change(|items| {
                let tail = items.split_off(items.len().saturating_sub(length));
                std::mem::replace(items, tail)
            });
            drop(cut);
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("pad(length, item)", "Adds the item until there are so many.", |list, call| {
            let (length, item) = (call.int(0)?, to_shared(call.required(1)?));
            check_items("the padded list", length)?;
            let length = usize::try_from(length).unwrap_or(0);
            list.change(|items| items.resize(items.len().max(length), item));
            Ok(Dynamic::UNIT)
        })
        .method::<List, _>("get(index)", "The item at the index; () if there is none.", |list, call| {
            let index = call.int(0)?;
            let item = list.change(|items| position(index, items.len()).map(|at| items[at].clone()));
            Ok(item.map(to_local).unwrap_or_default())
        })
        .method::<List, _>(
            "set(index, item)",
            "Replaces the item at the index, if there is one.",
            |list, call| {
                let (index, item) = (call.int(0)?, to_shared(call.required(1)?));
                let old = list.change(|items| {
                    position(index, items.len()).map(|at| std::mem::replace(&mut items[at], item))
                });
                drop(old);
                Ok(Dynamic::UNIT)
            },
        )
        .method::<List, _>("is_empty()", "Are there no items?", |list, _| Ok(list.is_empty().into()))
        .method::<List, _>("to_array()", "The items as a plain array.", |list, _| Ok(list.snapshot().into()));
    module
        .attribute::<List, _>("len", "How many items there are.", |list| Ok((list.len() as i64).into()))
        .attribute::<List, _>("is_empty", "Are there no items?", |list| Ok(list.is_empty().into()));
}

fn sort_in_place(list: &List, call: &mut Call) -> Outcome<Dynamic> {
    let key = call.argument(0).filter(|key| !key.is_unit());
    let reverse = call.bool_or(1, false);
    if let Some(comparer) = key.as_ref().filter(|key| takes_two(key)) {
        return call_on_snapshot(call.context(), list, "sort", vec![comparer.clone()], true);
    }
    let receiver = Dynamic::from(list.clone());
    // With a key there is one attempt, as in CPython: calling a function twice for an item would be seen.
    let attempts = if key.is_some() { 1 } else { SORT_ATTEMPTS };
    for _ in 0..attempts {
        if try_sort(call.context(), list, &key, reverse, &receiver)? {
            return Ok(Dynamic::UNIT);
        }
    }
    Err(raise("ValueError", "list modified during sort: sort a copy, or hold a lock around it"))
}

/// Sorts the items and puts them back; false if the list was changed meanwhile.
fn try_sort(
    context: &NativeCallContext,
    list: &List,
    key: &Option<Dynamic>,
    reverse: bool,
    receiver: &Dynamic,
) -> Outcome<bool> {
    let before = list.change(|items| items.clone());
    let sorted = sort(context, local_items(before.clone()), key.clone(), reverse, Some(receiver))?;
    Ok(commit(list, &before, sorted, "sort").is_ok())
}

/// Is it a script function of two parameters, which compares two items and does not make a key of one?
fn takes_two(function: &Dynamic) -> bool {
    let Some(function) = function.read_lock::<FnPtr>() else { return false };
    let Some(realm) = realm::current() else { return false };
    let known = realm.functions.parameters(function.fn_name());
    !known.is_empty() && known.iter().all(|params| params.len() == function.curry().len() + 2)
}
