//! `multiprocessing::Value` and `Array`: values of C's types in memory that processes share.

mod array;
mod cell;
mod guard;
mod typecode;
mod value;

use rhai::Dynamic;

use crate::language::exception::{Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::value as python;

use array::{ArrayHandle, RawArrayHandle};
use cell::Cell;
use guard::Guard;
use typecode::TypeCode;
use value::{RawValueHandle, ValueHandle};

/// Reads the type code, parameter 0.
fn typecode(call: &mut Call) -> Outcome<TypeCode> {
    let code = call.required(0)?;
    TypeCode::of(&python::str(&code)).ok_or_else(|| {
        let shown = python::repr(&code);
        let text = format!("{shown} is no typecode: use one of {}", TypeCode::all());
        raise("TypeError", text)
    })
}

fn raw_value(call: &mut Call) -> Outcome<RawValueHandle> {
    let code = typecode(call)?;
    let cell = Cell::new(code, 1)?;
    if let Some(init) = call.argument(1) {
        cell.set(0, &init)?;
    }
    Ok(RawValueHandle(cell))
}

fn raw_array(call: &mut Call) -> Outcome<RawArrayHandle> {
    let code = typecode(call)?;
    let init = call.required(1)?;
    let cell = match init.as_int() {
        Ok(count) => {
            let size = usize::try_from(count)
                .map_err(|_| raise("ValueError", format!("Array length must be >= 0, not {count}")))?;
            Cell::new(code, size)?
        }
        Err(_) => {
            let items = array::items_of(call.context(), &init)?;
            let cell = Cell::new(code, items.len())?;
            items.iter().enumerate().try_for_each(|(index, item)| cell.set(index, item))?;
            cell
        }
    };
    Ok(RawArrayHandle(cell))
}

fn new_value(call: &mut Call) -> Outcome<Dynamic> {
    let raw = raw_value(call)?;
    Ok(match Guard::from_argument(call.argument(2), call)? {
        Some(guard) => Dynamic::from(ValueHandle::new(raw, guard)),
        None => Dynamic::from(raw),
    })
}

fn new_array(call: &mut Call) -> Outcome<Dynamic> {
    let raw = raw_array(call)?;
    Ok(match Guard::from_argument(call.argument(2), call)? {
        Some(guard) => Dynamic::from(ArrayHandle::new(raw, guard)),
        None => Dynamic::from(raw),
    })
}

fn synchronized(call: &mut Call) -> Outcome<Dynamic> {
    let object = call.required(0)?;
    let guard = Guard::from_argument(call.argument(1).filter(|lock| !lock.is_unit()), call)?;
    let guard = guard.ok_or_else(|| raise("AttributeError", "False has no method 'acquire'"))?;
    if let Some(raw) = object.read_lock::<RawValueHandle>() {
        return Ok(Dynamic::from(ValueHandle::new(raw.clone(), guard)));
    }
    if let Some(raw) = object.read_lock::<RawArrayHandle>() {
        return Ok(Dynamic::from(ArrayHandle::new(raw.clone(), guard)));
    }
    Err(raise(
        "TypeError",
        format!("synchronized() needs a RawValue or a RawArray, not {}", python::repr(&object)),
    ))
}

fn copy(call: &mut Call) -> Outcome<Dynamic> {
    let object = call.required(0)?;
    if let Some(raw) = object.read_lock::<RawValueHandle>() {
        return Ok(Dynamic::from(RawValueHandle(raw.0.copy()?)));
    }
    if let Some(raw) = object.read_lock::<RawArrayHandle>() {
        return Ok(Dynamic::from(RawArrayHandle(raw.0.copy()?)));
    }
    Err(raise("TypeError", format!("copy() needs a RawValue or a RawArray, not {}", python::repr(&object))))
}

const VALUE: &str = "Value(typecode_or_type, init=0, lock=True)";
const VALUE_DOC: &str = "A value of a C type that processes share: .value, under a lock of its own or the one given; \
                         without get_lock() if lock is False.";
const ARRAY: &str = "Array(typecode_or_type, size_or_initializer, lock=True)";
const ARRAY_DOC: &str =
    "Values of a C type that processes share: so many zeros, or copies of a sequence's items.";
const RAW_VALUE: &str = "RawValue(typecode_or_type, init=0)";
const RAW_VALUE_DOC: &str = "A value of a C type that processes share, without a lock.";
const RAW_ARRAY: &str = "RawArray(typecode_or_type, size_or_initializer)";
const RAW_ARRAY_DOC: &str = "Values of a C type that processes share, without a lock.";

/// Defines the classes in `multiprocessing`, and their methods.
pub(super) fn define(module: &mut NativeModule) {
    value::define(module);
    array::define(module);
    module
        .class(VALUE, VALUE_DOC, new_value)
        .class(ARRAY, ARRAY_DOC, new_array)
        .class(RAW_VALUE, RAW_VALUE_DOC, |call| raw_value(call).map(Dynamic::from))
        .class(RAW_ARRAY, RAW_ARRAY_DOC, |call| raw_array(call).map(Dynamic::from));
}

/// `multiprocessing.sharedctypes`.
pub(super) fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.sharedctypes");
    module
        .function(VALUE, VALUE_DOC, new_value)
        .function(ARRAY, ARRAY_DOC, new_array)
        .function(RAW_VALUE, RAW_VALUE_DOC, |call| raw_value(call).map(Dynamic::from))
        .function(RAW_ARRAY, RAW_ARRAY_DOC, |call| raw_array(call).map(Dynamic::from))
        .function("synchronized(obj, lock=None)", "A RawValue or RawArray with a lock.", synchronized)
        .function("copy(obj)", "Another RawValue or RawArray with the same contents.", copy);
    module
}
