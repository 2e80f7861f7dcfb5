//! Natives that could take the whole process down by one huge allocation.
//!
//! An allocation that fails ends a Rust process; no script may do that. So whatever makes something as long as
//! an argument says is checked first: 1 GiB per operation, beyond it a MemoryError that names the size.

use rhai::{Array, Blob, Dynamic, ImmutableString};

use super::exactly;
use crate::language::exception::{Outcome, raise};
use crate::language::native::NativeModule;

/// The most bytes that one operation may allocate.
const LIMIT: u128 = 1 << 30;

/// Checks that `count` times `unit` bytes may be allocated at once.
///
/// # Errors
/// MemoryError that names the size and the limit.
pub fn check(what: &str, count: impl TryInto<u128>, unit: usize) -> Outcome<()> {
    let bytes = count.try_into().unwrap_or(0).saturating_mul(unit as u128);
    if bytes <= LIMIT {
        return Ok(());
    }
    let size = bytes.div_ceil(1 << 20);
    Err(raise(
        "MemoryError",
        format!("{what} would take {size} MiB: one operation may allocate 1024 MiB at most"),
    ))
}

/// Checks that `count` items may be put into one array or list.
///
/// # Errors
/// MemoryError.
pub(super) fn check_items(what: &str, count: impl TryInto<u128>) -> Outcome<()> {
    check(what, count, size_of::<Dynamic>())
}

/// `text * count`.
///
/// # Errors
/// MemoryError.
pub(super) fn repeat_text(text: &str, count: i64) -> Outcome<String> {
    let count = usize::try_from(count).unwrap_or(0);
    check("the repeated string", text.len() as u128 * count as u128, 1)?;
    Ok(text.repeat(count))
}

/// `bytes * count`.
///
/// # Errors
/// MemoryError.
pub(super) fn repeat_bytes(bytes: &[u8], count: i64) -> Outcome<Blob> {
    let count = usize::try_from(count).unwrap_or(0);
    check("the repeated bytes", bytes.len() as u128 * count as u128, 1)?;
    Ok(bytes.repeat(count))
}

/// `items * count`.
///
/// # Errors
/// MemoryError.
pub(super) fn repeat_items(items: &[Dynamic], count: i64) -> Outcome<Vec<Dynamic>> {
    let count = usize::try_from(count).unwrap_or(0);
    check_items("the repeated list", items.len() as u128 * count as u128)?;
    // Nothing at all can be repeated any number of times.
    let count = if items.is_empty() { 0 } else { count };
    let mut repeated = Vec::with_capacity(items.len() * count);
    (0..count).for_each(|_| repeated.extend_from_slice(items));
    Ok(repeated)
}

pub(super) fn fill(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    exactly("pad").set_into_module(natives, |array: &mut Array, length: i64, item: Dynamic| -> Outcome<()> {
        check_items("the padded array", length)?;
        array.resize(array.len().max(usize::try_from(length).unwrap_or(0)), item);
        Ok(())
    });
    exactly("pad").set_into_module(natives, |bytes: &mut Blob, length: i64, byte: i64| -> Outcome<()> {
        check("the padded blob", length, 1)?;
        bytes.resize(bytes.len().max(usize::try_from(length).unwrap_or(0)), (byte & 0xff) as u8);
        Ok(())
    });
    exactly("pad").set_into_module(
        natives,
        |text: &mut ImmutableString, length: i64, c: char| -> Outcome<()> {
            pad(text, length, &c.to_string())
        },
    );
    exactly("pad")
        .set_into_module(natives, |text: &mut ImmutableString, length: i64, padding: ImmutableString| {
            pad(text, length, &padding)
        });
    exactly("replace").set_into_module(
        natives,
        |text: &mut ImmutableString, old: ImmutableString, new: ImmutableString| replace(text, &old, &new),
    );
    exactly("replace").set_into_module(
        natives,
        |text: &mut ImmutableString, old: char, new: ImmutableString| {
            replace(text, old.encode_utf8(&mut [0; 4]), &new)
        },
    );
    exactly("blob").set_into_module(natives, |length: i64| blob(length, 0));
    exactly("blob").set_into_module(natives, blob);
    exactly("*").set_into_module(natives, |text: ImmutableString, n: i64| repeat_text(&text, n).map(to_text));
    exactly("*").set_into_module(natives, |n: i64, text: ImmutableString| repeat_text(&text, n).map(to_text));
    exactly("*").set_into_module(natives, |c: char, n: i64| repeat_text(&c.to_string(), n).map(to_text));
    exactly("*").set_into_module(natives, |n: i64, c: char| repeat_text(&c.to_string(), n).map(to_text));
    exactly("*").set_into_module(natives, |bytes: Blob, n: i64| repeat_bytes(&bytes, n));
    exactly("*").set_into_module(natives, |n: i64, bytes: Blob| repeat_bytes(&bytes, n));
    exactly("*").set_into_module(natives, |items: Array, n: i64| repeat_items(&items, n));
    exactly("*").set_into_module(natives, |n: i64, items: Array| repeat_items(&items, n));
}

/// Rhai's `replace`: puts `new` into the place of every `old`, in the string itself.
fn replace(text: &mut ImmutableString, old: &str, new: &str) -> Outcome<()> {
    let places = text.matches(old).count();
    check("the string with the replacements", text.len() as u128 + places as u128 * new.len() as u128, 1)?;
    *text = text.replace(old, new).into();
    Ok(())
}

fn to_text(text: String) -> ImmutableString {
    text.into()
}

fn blob(length: i64, byte: i64) -> Outcome<Blob> {
    check("the blob", length, 1)?;
    Ok(vec![(byte & 0xff) as u8; usize::try_from(length).unwrap_or(0)])
}

/// Rhai's `pad`: adds `padding` until the text has `length` characters.
fn pad(text: &mut ImmutableString, length: i64, padding: &str) -> Outcome<()> {
    check("the padded string", length, 4)?;
    let wanted = usize::try_from(length).unwrap_or(0);
    let present = text.chars().count();
    if present < wanted && !padding.is_empty() {
        let missing = padding.chars().cycle().take(wanted - present);
        *text = text.chars().chain(missing).collect::<String>().into();
    }
    Ok(())
}
