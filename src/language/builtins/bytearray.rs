//! `bytearray`: bytes that change in place, with reference semantics.

use rhai::{Blob, Dynamic, NativeCallContext};

use super::arguments::integer;
use super::exactly;
use super::iteration::iterate;
use super::limits;
use super::list_sections::bounds;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::position;
use crate::language::native::{Call, NativeModule};
use crate::language::text::str_repr::bytes_repr;
use crate::language::value;
use crate::language::variables::synchronise;
use crate::runtime::sync::{Arc, Mutex};

/// A reference to a buffer of bytes. Clones refer to the same buffer.
#[derive(Clone, Default)]
pub struct ByteArray(Arc<Mutex<Vec<u8>>>);

impl Handle for ByteArray {
    const NAME: &'static str = "bytearray";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("bytearray({})", bytes_repr(&self.to_vec()))
    }
}

impl ByteArray {
    /// A buffer of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.change(|bytes| bytes.len())
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.change(|bytes| bytes.clone())
    }

    /// Runs `change` on the bytes, as one atomic operation.
    pub fn change<R>(&self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        synchronise();
        change(&mut self.0.lock())
    }

    /// Writes `source` over the bytes from `offset` on, which must be there.
    ///
    /// # Errors
    /// ValueError when it does not fit.
    pub fn write_at(&self, offset: usize, source: &[u8]) -> Outcome<()> {
        self.change(|bytes| {
            let length = bytes.len();
            match offset.checked_add(source.len()).and_then(|end| bytes.get_mut(offset..end)) {
                Some(place) => {
                    place.copy_from_slice(source);
                    Ok(())
                }
                None => {
                    let size = source.len();
                    Err(raise(
                        "ValueError",
                        format!("{size} bytes at offset {offset} do not fit into {length} bytes"),
                    ))
                }
            }
        })
    }

    fn get(&self, index: i64) -> Outcome<i64> {
        self.change(|bytes| {
            let at = position(index, bytes.len()).ok_or_else(|| out_of_range(index, bytes.len()))?;
            Ok(bytes[at].into())
        })
    }

    fn set(&self, index: i64, byte: i64) -> Outcome<()> {
        let byte = byte_of(byte)?;
        self.change(|bytes| {
            let at = position(index, bytes.len()).ok_or_else(|| out_of_range(index, bytes.len()))?;
            bytes[at] = byte;
            Ok(())
        })
    }
}

fn out_of_range(index: i64, length: usize) -> Box<rhai::EvalAltResult> {
    raise("IndexError", format!("bytearray index out of range: index {index} of {length} bytes"))
}

/// A number as a byte.
///
/// # Errors
/// ValueError.
pub(super) fn byte_of(n: i64) -> Outcome<u8> {
    u8::try_from(n).map_err(|_| raise("ValueError", format!("byte must be in range(0, 256), not {n}")))
}

/// The bytes that `bytes(x)` and `bytearray(x)` are made of: so many zeros, the bytes of a buffer, or numbers.
///
/// # Errors
/// TypeError, ValueError, MemoryError.
pub(super) fn make_bytes(
    context: &NativeCallContext,
    source: Option<&Dynamic>,
    function: &str,
) -> Outcome<Vec<u8>> {
    let Some(source) = source else { return Ok(Vec::new()) };
    if let Ok(length) = source.as_int() {
        let length =
            usize::try_from(length).map_err(|_| raise("ValueError", format!("negative count: {length}")))?;
        limits::check(&format!("{function}({length})"), length as u128, 1)?;
        return Ok(vec![0; length]);
    }
    if let Some(bytes) = super::bytes::bytes_of(source) {
        return Ok(bytes);
    }
    if source.is_string() {
        let text = format!(
            "string argument without an encoding: write text.encode() or {function}(text, \"utf-8\")"
        );
        return Err(raise("TypeError", text));
    }
    iterate(context, source)?.iter().map(|item| byte_of(integer(item, "a byte")?)).collect()
}

/// `bytes(x)` and `bytearray(x)`, also of a text and its encoding.
pub(super) fn from_call(call: &mut Call, function: &str) -> Outcome<Vec<u8>> {
    let mut args = call.rest(0);
    let encoding = (args.len() == 2).then(|| args.pop()).flatten();
    if args.len() > 1 {
        return Err(raise("TypeError", format!("{function}() takes at most 2 arguments")));
    }
    match (args.first(), encoding) {
        (Some(text), Some(encoding)) if text.is_string() => {
            super::bytes::encode(&value::str(text), &value::str(&encoding), "strict")
        }
        (_, Some(_)) => Err(raise("TypeError", "encoding without a string argument")),
        (source, None) => make_bytes(call.context(), source, function),
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    module.handle::<ByteArray>();
    module.builtin(
        "bytearray(*source)",
        "A buffer of bytes that can be changed: so many zeros, or a copy of bytes or numbers.",
        |call| from_call(call, "bytearray").map(|bytes| Dynamic::from(ByteArray::new(bytes))),
    );
    module
        .method::<ByteArray, _>("append(byte)", "Adds a byte at the end.", |buffer, call| {
            let byte = byte_of(call.int(0)?)?;
            buffer.change(|bytes| bytes.push(byte));
            Ok(Dynamic::UNIT)
        })
        .method::<ByteArray, _>("extend(source)", "Adds bytes at the end.", |buffer, call| {
            let source = call.required(0)?;
            let more = make_bytes(call.context(), Some(&source), "bytearray")?;
            buffer.change(|bytes| bytes.extend(more));
            Ok(Dynamic::UNIT)
        })
        .method::<ByteArray, _>("pop(index=-1)", "Takes out a byte.", |buffer, call| {
            let index = call.int_or(0, -1)?;
            buffer.change(|bytes| {
                let at = position(index, bytes.len()).ok_or_else(|| out_of_range(index, bytes.len()))?;
                Ok(i64::from(bytes.remove(at)).into())
            })
        })
        .method::<ByteArray, _>("clear()", "Takes out everything.", |buffer, _| {
            buffer.change(Vec::clear);
            Ok(Dynamic::UNIT)
        })
        .method::<ByteArray, _>("copy()", "Another buffer with the same bytes.", |buffer, _| {
            Ok(Dynamic::from(ByteArray::new(buffer.to_vec())))
        })
        .method::<ByteArray, _>("reverse()", "Turns the order of the bytes round.", |buffer, _| {
            buffer.change(|bytes| bytes.reverse());
            Ok(Dynamic::UNIT)
        })
        .method::<ByteArray, _>("to_blob()", "The bytes as a value of their own.", |buffer, _| {
            Ok(Dynamic::from_blob(buffer.to_vec()))
        });
    let natives = &mut module.builtins;

    exactly("index$get$").set_into_module(
        natives,
        |buffer: &mut ByteArray, index: Dynamic| -> Outcome<Dynamic> {
            if let Ok(index) = index.as_int() {
                return buffer.get(index).map(Dynamic::from);
            }
            let bytes = buffer.to_vec();
            let (start, end) = bounds(&index, bytes.len()).ok_or_else(|| bad_index(&index))?;
            Ok(Dynamic::from(ByteArray::new(bytes[start..end].to_vec())))
        },
    );
    exactly("index$set$").set_into_module(
        natives,
        |context: NativeCallContext, buffer: &mut ByteArray, index: Dynamic, value: Dynamic| -> Outcome<()> {
            if let Ok(index) = index.as_int() {
                return buffer.set(index, integer(&value, "a byte")?);
            }
            let new = make_bytes(&context, Some(&value), "bytearray")?;
            buffer.change(|bytes| {
                let (start, end) = bounds(&index, bytes.len()).ok_or_else(|| bad_index(&index))?;
                bytes.splice(start..end, new);
                Ok(())
            })
        },
    );
    exactly("contains").set_into_module(natives, |buffer: &mut ByteArray, byte: i64| {
        buffer.change(|bytes| bytes.iter().any(|b| i64::from(*b) == byte))
    });
    exactly("get$len").set_into_module(natives, |buffer: &mut ByteArray| buffer.len() as i64);
    exactly("==").set_into_module(natives, |a: ByteArray, b: ByteArray| a.to_vec() == b.to_vec());
    exactly("!=").set_into_module(natives, |a: ByteArray, b: ByteArray| a.to_vec() != b.to_vec());
    exactly("==").set_into_module(natives, |a: ByteArray, b: Blob| a.to_vec() == b);
    exactly("!=").set_into_module(natives, |a: ByteArray, b: Blob| a.to_vec() != b);
    exactly("==").set_into_module(natives, |a: Blob, b: ByteArray| a == b.to_vec());
    exactly("!=").set_into_module(natives, |a: Blob, b: ByteArray| a != b.to_vec());
    exactly("+").set_into_module(natives, |a: ByteArray, b: ByteArray| joined(a.to_vec(), &b.to_vec()));
    exactly("+").set_into_module(natives, |a: ByteArray, b: Blob| joined(a.to_vec(), &b));
    exactly("+").set_into_module(natives, |a: Blob, b: ByteArray| [a, b.to_vec()].concat());
    exactly("+=").set_into_module(natives, |a: &mut ByteArray, b: Blob| a.change(|bytes| bytes.extend(b)));
    exactly("+=").set_into_module(natives, |a: &mut ByteArray, b: ByteArray| {
        let more = b.to_vec();
        a.change(|bytes| bytes.extend(more));
    });
    exactly("*").set_into_module(natives, |a: ByteArray, n: i64| {
        limits::repeat_bytes(&a.to_vec(), n).map(ByteArray::new)
    });
}

fn joined(mut a: Vec<u8>, b: &[u8]) -> ByteArray {
    a.extend_from_slice(b);
    ByteArray::new(a)
}

fn bad_index(index: &Dynamic) -> Box<rhai::EvalAltResult> {
    let kind = value::type_name(index);
    raise("TypeError", format!("bytearray indices must be integers or slices, not {kind}"))
}
