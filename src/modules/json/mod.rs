//! `json`: values as text and back.

mod decode;
mod encode;

use rhai::{Dynamic, ImmutableString};

use crate::language::exception::{Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::io::{bytes_of, decode_utf8};
use encode::{Style, encode};

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("json");
    module
        .exceptions()
        .function(
            "dumps(obj, *, skipkeys=False, ensure_ascii=True, allow_nan=True, indent=None, separators=None, default=None, sort_keys=False)",
            "A value as JSON text.",
            |call| {
                let value = call.required(0)?;
                let style = Style::of(call, 1)?;
                Ok(encode(&value, &style, call.context())?.into())
            },
        )
        .function(
            "dump(obj, fp, *, skipkeys=False, ensure_ascii=True, allow_nan=True, indent=None, separators=None, default=None, sort_keys=False)",
            "Writes a value as JSON text to a file, with one write().",
            |call| {
                let (value, file) = (call.required(0)?, call.required(1)?);
                let style = Style::of(call, 2)?;
                let text = encode(&value, &style, call.context())?;
                on_file(call, file, "write", Some(text.into())).map(|_| Dynamic::UNIT)
            },
        )
        .function("loads(s)", "The value that JSON text stands for; objects become dicts, arrays lists.", |call| {
            let text = call.required(0)?;
            loads(&text)
        })
        .function("load(fp)", "The value that a file's JSON text stands for.", |call| {
            let file = call.required(0)?;
            let text = on_file(call, file, "read", None)?;
            loads(&text)
        });
    module
}

/// A value as JSON text in the usual form.
///
/// # Errors
/// As `json.dumps`.
pub fn to_text(value: &Dynamic, context: &rhai::NativeCallContext) -> Outcome<String> {
    encode(value, &Style::default(), context)
}

/// The value that JSON text stands for.
///
/// # Errors
/// As `json.loads`.
pub fn from_text(text: &str) -> Outcome<Dynamic> {
    decode::decode(text)
}

fn loads(text: &Dynamic) -> Outcome<Dynamic> {
    if let Some(text) = text.read_lock::<ImmutableString>() {
        return decode::decode(&text);
    }
    if text.is_char() {
        return decode::decode(&value::str(text));
    }
    if let Some(bytes) = bytes_of(text) {
        // Bytes may begin with a byte order mark, a text may not.
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        return decode::decode(&decode_utf8(bytes)?);
    }
    let (kind, shown) = (value::type_name(text), value::repr(text));
    Err(raise("TypeError", format!("the JSON object must be str, bytes or bytearray, not {kind}: {shown}")))
}

/// Calls a method of anything that is like a file.
fn on_file(call: &Call, mut file: Dynamic, method: &str, argument: Option<Dynamic>) -> Outcome<Dynamic> {
    let mut argument = argument;
    let mut args: Vec<&mut Dynamic> = vec![&mut file];
    args.extend(argument.as_mut());
    let result = call.context().call_native_fn_raw(method, true, &mut args);
    result.map_err(|error| match *error {
        rhai::EvalAltResult::ErrorFunctionNotFound(..) => {
            let kind = value::type_name(&file);
            raise("AttributeError", format!("'{kind}' object has no attribute '{method}': give an open file"))
        }
        _ => error,
    })
}
