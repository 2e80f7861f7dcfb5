//! Values that are a few bytes, or hold the bytes that travel: written and read without an encoder or a decoder,
//! which for a number would cost more than everything else. The format is the same.

use rhai::{Dynamic, ImmutableString};

use super::tag;
use crate::ipc::parts::{Head, Parts};

/// Hands the message of such a value, behind `head`, to `send`; nothing for another value. `head` has three bytes
/// at most.
#[inline]
pub fn with_plain<R>(value: &Dynamic, mut head: Head, send: impl FnOnce(Parts<'_>) -> R) -> Option<R> {
    if value.is_shared() {
        return None;
    }
    if let Ok(n) = value.as_int() {
        match i8::try_from(n) {
            Ok(n) => {
                head.push(tag::SMALL);
                head.push(n as u8);
            }
            Err(_) => {
                head.push(tag::INT);
                head.extend(n as u64);
            }
        }
    } else if value.is_string() {
        let text = value.as_immutable_string_ref().ok()?;
        return Some(send(long(head, tag::TEXT, text.as_bytes())));
    } else if value.is_unit() {
        head.push(tag::UNIT);
    } else if let Ok(b) = value.as_bool() {
        head.push(if b { tag::TRUE } else { tag::FALSE });
    } else if let Ok(x) = value.as_float() {
        head.push(tag::FLOAT);
        head.extend(x.to_bits());
    } else if value.is_blob() {
        let bytes = value.as_blob_ref().ok()?;
        return Some(send(long(head, tag::BLOB, &bytes)));
    } else {
        return None;
    }
    Some(send(Parts { head, body: &[] }))
}

fn long(mut head: Head, tag: u8, bytes: &[u8]) -> Parts<'_> {
    head.push(tag);
    let mut length = bytes.len() as u64;
    while length >= 0x80 {
        head.push(length as u8 | 0x80);
        length >>= 7;
    }
    head.push(length as u8);
    Parts { head, body: bytes }
}

/// The value of a message of a few bytes that is a number, a truth value or nothing; none for all others. It
/// allocates nothing and takes no time.
#[inline]
pub fn scalar(message: &[u8]) -> Option<Dynamic> {
    Some(match message {
        [tag::SMALL, n] => i64::from(*n as i8).into(),
        [tag::INT, word @ ..] => i64::from_le_bytes(word.try_into().ok()?).into(),
        [tag::UNIT] => Dynamic::UNIT,
        [tag::FALSE] => false.into(),
        [tag::TRUE] => true.into(),
        [tag::FLOAT, word @ ..] => f64::from_le_bytes(word.try_into().ok()?).into(),
        _ => return None,
    })
}

/// The value of a message that is a text or bytes and nothing else, or a [`scalar`]; none for all others, also for
/// bytes that are no message.
#[inline]
pub(super) fn plain(message: &[u8]) -> Option<Dynamic> {
    let (tag, rest) = message.split_first()?;
    if !matches!(*tag, tag::TEXT | tag::BLOB) {
        return scalar(message);
    }
    let (mut length, mut shift, mut bytes) = (0_u64, 0, rest);
    loop {
        let (byte, left) = bytes.split_first()?;
        length |= u64::from(byte & 0x7f) << shift;
        bytes = left;
        if *byte < 0x80 {
            break;
        }
        shift += 7;
        // Lengths beyond this are the decoder's business.
        if shift > 49 {
            return None;
        }
    }
    if bytes.len() as u64 != length {
        return None;
    }
    match *tag {
        tag::TEXT => std::str::from_utf8(bytes).ok().map(|text| ImmutableString::from(text).into()),
        _ => Some(Dynamic::from_blob(bytes.to_vec())),
    }
}
