//! Parts of a list: slices, and rhai's methods that take a range or a start and a length.

use rhai::Dynamic;

use super::arguments::integer;
use super::forward::call_on_snapshot;
use super::iteration::iterate;
use super::list_methods::local_items;
use super::range::{InclusiveSlice, Slice};
use crate::language::exception::{Outcome, raise};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::to_shared;

/// The first index and the one behind the last that a slice `a..b` or `a..=b` means; nothing for other values.
/// Negative numbers count from the end, and what is too far out stops at the ends, as in Python.
pub(super) fn bounds(index: &Dynamic, length: usize) -> Option<(usize, usize)> {
    let (start, end) = if let Some(range) = index.read_lock::<Slice>() {
        (range.start, range.end)
    } else if let Some(range) = index.read_lock::<InclusiveSlice>() {
        // `a..=-1` ends with the last item.
        (*range.start(), if *range.end() == -1 { i64::MAX } else { range.end().saturating_add(1) })
    } else {
        return None;
    };
    let start = clamp(start, length);
    Some((start, clamp(end, length).max(start)))
}

/// The position that a bound of a slice means.
pub(super) fn clamp(index: i64, length: usize) -> usize {
    let length = length as i64;
    let at = if index < 0 { index.saturating_add(length).max(0) } else { index.min(length) };
    at as usize
}

/// The part of a list that a range, or a start and a length, means.
fn section(first: Dynamic, length: Option<Dynamic>) -> Outcome<Section> {
    if first.is::<Slice>() || first.is::<InclusiveSlice>() {
        return Ok(Section::Slice(first));
    }
    let start = first.as_int().map_err(|_| {
        let (kind, shown) = (value::type_name(&first), value::repr(&first));
        raise(
            "TypeError",
            format!("a range such as 1..3 or a start and a length is needed, not {kind}: {shown}"),
        )
    })?;
    let length = length.map_or(Ok(i64::MAX), |length| integer(&length, "the length"))?;
    Ok(Section::Length(start, length))
}

enum Section {
    Slice(Dynamic),
    Length(i64, i64),
}

impl Section {
    fn bounds(&self, length: usize) -> (usize, usize) {
        match self {
            Self::Slice(range) => bounds(range, length).unwrap_or((0, 0)),
            Self::Length(start, count) => {
                let start = clamp(*start, length);
                let end = start.saturating_add(usize::try_from(*count).unwrap_or(0)).min(length);
                (start, end)
            }
        }
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    module
        .method::<List, _>("extract(range_or_start, length=None)", "A list of a part of the items.", |list, call| {
            let section = section(call.required(0)?, call.argument(1))?;
            let part = list.change(|items| {
                let (start, end) = section.bounds(items.len());
                items[start..end].to_vec()
            });
            Ok(Dynamic::from(List::new(local_items(part))))
        })
        .method::<List, _>("split(index)", "Cuts the list in two, and returns the second half as a list.", |list, call| {
            let index = call.int(0)?;
            let tail = list.change(|items| items.split_off(clamp(index, items.len())));
            Ok(Dynamic::from(List::new(local_items(tail))))
        })
        .method::<List, _>(
            "splice(range_or_start, length_or_items, items=None)",
            "Replaces a part of the items by others.",
            splice,
        )
        .method::<List, _>(
            "drain(range_or_start, length=None)",
            "Takes out a part of the items, or those for which a function is true, and returns them as a list.",
            |list, call| match by_function(list, call, "drain")? {
                Ok(result) => Ok(result),
                Err(section) => {
                    let taken: Vec<Dynamic> = list.change(|items| {
                        let (start, end) = section.bounds(items.len());
                        items.drain(start..end).collect()
                    });
                    Ok(Dynamic::from(List::new(local_items(taken))))
                }
            },
        )
        .method::<List, _>(
            "retain(range_or_start, length=None)",
            "Keeps a part of the items, or those for which a function is true, and returns the others as a list.",
            |list, call| match by_function(list, call, "retain")? {
                Ok(result) => Ok(result),
                Err(section) => {
                    let taken: Vec<Dynamic> = list.change(|items| {
                        let (start, end) = section.bounds(items.len());
                        let mut dropped = items.split_off(end);
                        let kept = items.split_off(start);
                        let mut before = std::mem::replace(items, kept);
                        before.append(&mut dropped);
                        before
                    });
                    Ok(Dynamic::from(List::new(local_items(taken))))
                }
            },
        );
}

/// `drain` and `retain` with a function are rhai's; with a part of the list they are done here, at once.
fn by_function(list: &List, call: &mut Call, name: &str) -> Outcome<Result<Dynamic, Section>> {
    let first = call.required(0)?;
    if first.is_fnptr() {
        return call_on_snapshot(call.context(), list, name, vec![first], true).map(Ok);
    }
    section(first, call.argument(1)).map(Err)
}

fn splice(list: &List, call: &mut Call) -> Outcome<Dynamic> {
    let first = call.required(0)?;
    let second = call.required(1)?;
    let (section, new) = match call.argument(2) {
        Some(new) => {
            let (start, length) =
                (integer(&first, "splice()'s start")?, integer(&second, "splice()'s length")?);
            (Section::Length(start, length), new)
        }
        None => (Section::Slice(first), second),
    };
    let new: Vec<Dynamic> = iterate(call.context(), &new)?.into_iter().map(to_shared).collect();
    let old: Vec<Dynamic> = list.change(|items| {
        let (start, end) = section.bounds(items.len());
        items.splice(start..end, new).collect()
    });
    drop(old);
    Ok(Dynamic::UNIT)
}
