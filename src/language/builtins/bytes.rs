//! Bytes: `bytes(…)`, encodings, and Python's methods of bytes on rhai's blobs and on buffers.

use rhai::{Blob, Dynamic, ImmutableString, NativeCallContext};

use super::bytearray::{ByteArray, from_call};
use super::call_style::written_as_method;
use super::exactly;
use super::iteration::iterate;
use super::limits;
use crate::language::exception::{Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::value;

pub(super) use crate::language::value::bytes as bytes_of;

/// The encodings that are known.
#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Ascii,
    Latin1,
}

impl Encoding {
    fn named(name: &str) -> Outcome<Self> {
        match name.to_lowercase().replace(['_', ' '], "-").as_str() {
            "utf-8" | "utf8" | "u8" => Ok(Self::Utf8),
            "ascii" | "us-ascii" => Ok(Self::Ascii),
            "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" => Ok(Self::Latin1),
            _ => {
                let text = format!("unknown encoding: {name}: the known ones are utf-8, ascii, latin-1");
                Err(raise("LookupError", text))
            }
        }
    }

    fn limit(self) -> u32 {
        match self {
            Self::Utf8 => 0x110000,
            Self::Ascii => 0x80,
            Self::Latin1 => 0x100,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Ascii => "ascii",
            Self::Latin1 => "latin-1",
        }
    }
}

/// What to do about what cannot be encoded or decoded.
fn replacement(errors: &str, replace: &str) -> Outcome<Option<String>> {
    match errors {
        "strict" => Ok(None),
        "ignore" => Ok(Some(String::new())),
        "replace" => Ok(Some(replace.to_string())),
        _ => {
            let text = format!("unknown error handler name '{errors}': use strict, ignore or replace");
            Err(raise("LookupError", text))
        }
    }
}

/// `text.encode(encoding, errors)`.
///
/// # Errors
/// UnicodeEncodeError, LookupError.
pub(super) fn encode(text: &str, encoding: &str, errors: &str) -> Outcome<Blob> {
    let encoding = Encoding::named(encoding)?;
    let replacement = replacement(errors, "?")?;
    if let Encoding::Utf8 = encoding {
        return Ok(text.as_bytes().to_vec());
    }
    let mut bytes = Blob::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match (u32::from(c), &replacement) {
            (code, _) if code < encoding.limit() => bytes.push(code as u8),
            (_, Some(replacement)) => bytes.extend_from_slice(replacement.as_bytes()),
            (code, None) => {
                let (name, limit) = (encoding.name(), encoding.limit());
                let text = format!("'{name}' codec can't encode character '\\u{code:04x}' in position {at}");
                return Err(raise("UnicodeEncodeError", format!("{text}: ordinal not in range({limit})")));
            }
        }
    }
    Ok(bytes)
}

/// `bytes.decode(encoding, errors)`.
///
/// # Errors
/// UnicodeDecodeError, LookupError.
pub(super) fn decode(bytes: &[u8], encoding: &str, errors: &str) -> Outcome<String> {
    let encoding = Encoding::named(encoding)?;
    let replacement = replacement(errors, "\u{fffd}")?;
    let bad = |at: usize, reason: &str| {
        let (name, byte) = (encoding.name(), bytes[at]);
        let text = format!("'{name}' codec can't decode byte {byte:#04x} in position {at}: {reason}");
        raise("UnicodeDecodeError", text)
    };
    if let Encoding::Utf8 = encoding {
        let mut text = String::with_capacity(bytes.len());
        let mut done = 0;
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            // A byte that may begin a character, but is not followed by the rest of one.
            let starts = (0xc2..0xf5).contains(&chunk.invalid()[0]);
            match &replacement {
                Some(replacement) => text.push_str(replacement),
                None if !starts => return Err(bad(done, "invalid start byte")),
                None if done + chunk.invalid().len() == bytes.len() => {
                    return Err(bad(done, "unexpected end of data"));
                }
                None => return Err(bad(done, "invalid continuation byte")),
            }
            done += chunk.invalid().len();
        }
        return Ok(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        match &replacement {
            _ if u32::from(*byte) < encoding.limit() => text.push(char::from(*byte)),
            Some(replacement) => text.push_str(replacement),
            None => return Err(bad(at, "ordinal not in range(128)")),
        }
    }
    Ok(text)
}

/// A method of blobs and of buffers alike.
fn method<F>(module: &mut NativeModule, signature: &'static str, function: F)
where
    F: Fn(&[u8], &mut Call) -> Outcome<Dynamic> + Clone + Send + Sync + 'static,
{
    let name = signature.split('(').next().unwrap_or(signature);
    let again = function.clone();
    module.method_of::<Blob, _>(name, signature, move |bytes, call| function(bytes, call));
    module.method_of::<ByteArray, _>(name, signature, move |buffer, call| again(&buffer.to_vec(), call));
}

pub(super) fn fill(module: &mut NativeModule) {
    module.builtin(
        "bytes(*source)",
        "Bytes: so many zeros, those of a text and its encoding, or numbers.",
        |call| from_call(call, "bytes").map(Dynamic::from_blob),
    );
    method(module, "decode(encoding='utf-8', errors='strict')", |bytes, call| {
        let encoding = call.optional_text(0)?.unwrap_or_else(|| "utf-8".into());
        let errors = call.optional_text(1)?.unwrap_or_else(|| "strict".into());
        decode(bytes, &encoding, &errors).map(Dynamic::from)
    });
    method(module, "upper()", |bytes, _| Ok(Dynamic::from_blob(bytes.to_ascii_uppercase())));
    method(module, "lower()", |bytes, _| Ok(Dynamic::from_blob(bytes.to_ascii_lowercase())));
    method(module, "hex()", |bytes, _| {
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
    });
    method(module, "strip()", |bytes, _| Ok(Dynamic::from_blob(bytes.trim_ascii().to_vec())));
    method(module, "lstrip()", |bytes, _| Ok(Dynamic::from_blob(bytes.trim_ascii_start().to_vec())));
    method(module, "rstrip()", |bytes, _| Ok(Dynamic::from_blob(bytes.trim_ascii_end().to_vec())));
    method(module, "startswith(prefix)", |bytes, call| {
        let prefix = part(call, "startswith")?;
        Ok(bytes.starts_with(&prefix).into())
    });
    method(module, "endswith(suffix)", |bytes, call| {
        let suffix = part(call, "endswith")?;
        Ok(bytes.ends_with(&suffix).into())
    });
    method(module, "find(part)", |bytes, call| {
        let part = part(call, "find")?;
        Ok(position(bytes, &part).map_or(-1, |at| at as i64).into())
    });
    method(module, "count(part)", |bytes, call| {
        let part = part(call, "count")?;
        Ok((pieces(bytes, &part).len() as i64 - 1).into())
    });
    method(module, "split(separator=None)", |bytes, call| {
        let pieces = match call.argument(0).filter(|separator| !separator.is_unit()) {
            None => bytes
                .split(u8::is_ascii_whitespace)
                .filter(|piece| !piece.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
            Some(separator) => match bytes_of(&separator) {
                Some(separator) if separator.is_empty() => {
                    return Err(raise("ValueError", "empty separator"));
                }
                Some(separator) => pieces(bytes, &separator),
                None => return Err(not_bytes("split", &separator)),
            },
        };
        Ok(pieces.into_iter().map(Dynamic::from_blob).collect::<Vec<_>>().into())
    });
    method(module, "join(iterable)", |bytes, call| {
        let iterable = call.required(0)?;
        let mut joined = Blob::new();
        for (index, item) in iterate(call.context(), &iterable)?.iter().enumerate() {
            limits::check("the joined bytes", (joined.len() + bytes.len()) as u128, 1)?;
            if index > 0 {
                joined.extend_from_slice(bytes);
            }
            joined.extend(bytes_of(item).ok_or_else(|| not_bytes("join", item))?);
        }
        Ok(Dynamic::from_blob(joined))
    });
    let natives = &mut module.builtins;
    // `text.bytes()` is the number of bytes in rhai.
    exactly("bytes").set_into_module(
        natives,
        |context: NativeCallContext, text: ImmutableString| -> Outcome<i64> {
            match written_as_method(&context, "bytes") {
                Some(false) => {
                    Err(raise("TypeError", "string argument without an encoding: write text.encode()"))
                }
                _ => Ok(text.len() as i64),
            }
        },
    );
    exactly("contains")
        .set_into_module(natives, |bytes: &mut Blob, part: Blob| position(bytes, &part).is_some());
    exactly("contains").set_into_module(natives, |buffer: &mut ByteArray, part: Blob| {
        position(&buffer.to_vec(), &part).is_some()
    });
}

fn not_bytes(function: &str, value: &Dynamic) -> Box<rhai::EvalAltResult> {
    let (kind, shown) = (value::type_name(value), value::repr(value));
    raise(
        "TypeError",
        format!("{function}(): a bytes-like object is required, not '{kind}': {shown} needs .encode()"),
    )
}

/// The argument, as bytes; a number is one byte.
fn part(call: &mut Call, function: &str) -> Outcome<Vec<u8>> {
    let part = call.required(0)?;
    if let Ok(byte) = part.as_int() {
        return Ok(vec![super::bytearray::byte_of(byte)?]);
    }
    bytes_of(&part).ok_or_else(|| not_bytes(function, &part))
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    bytes.windows(part.len()).position(|window| window == part)
}

/// The parts of `bytes` between the separators.
fn pieces(bytes: &[u8], separator: &[u8]) -> Vec<Blob> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !separator.is_empty()
        && let Some(at) = position(rest, separator)
    {
        pieces.push(rest[..at].to_vec());
        rest = &rest[at + separator.len()..];
    }
    pieces.push(rest.to_vec());
    pieces
}
