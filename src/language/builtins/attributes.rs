//! `hasattr`, `getattr`, `setattr`, `delattr`: attributes by a name that is known only when the script runs.
//!
//! For objects they are rhai's property functions, and the string indexer behind them; for maps and dicts they
//! are the keys. A method that is asked for by name comes as a function that is bound to its object.

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, NativeCallContext};

use super::arguments::at_most_one;
use super::exactly;
use crate::language::dict::Dict;
use crate::language::exception::{Exception, Outcome, raise};
use crate::language::identity::identity;
use crate::language::list::List;
use crate::language::native::{self, NativeModule};
use crate::language::{pointer, value};

/// Rhai's name of the indexers' functions.
const INDEX_GET: &str = "index$get$";
const INDEX_SET: &str = "index$set$";

pub(super) fn fill(module: &mut NativeModule) {
    module
        .builtin("hasattr(object, name)", "Does the object have the attribute, method or key?", |call| {
            let (object, name) = (call.required(0)?, call.text(1)?);
            Ok(get(call.context(), &object, &name)?.is_some().into())
        })
        .builtin("getattr(object, name, *default)", "The attribute of that name, or the default.", |call| {
            let (object, name) = (call.required(0)?, call.text(1)?);
            let default = at_most_one(call, "getattr", 2)?;
            match get(call.context(), &object, &name)?.or(default) {
                Some(value) => Ok(value),
                None => Err(missing(&object, &name)),
            }
        })
        .builtin("setattr(object, name, value)", "Sets the attribute of that name.", |call| {
            let (object, name, value) = (call.required(0)?, call.text(1)?, call.required(2)?);
            set(call.context(), object, &name, value).map(Dynamic::from)
        })
        .builtin("delattr(object, name)", "Takes the attribute away; on a dict, the key.", |call| {
            let (object, name) = (call.required(0)?, call.text(1)?);
            let removed = match object.read_lock::<Dict>() {
                Some(dict) => dict.remove(&Dynamic::from(name.clone()))?,
                None => None,
            };
            match removed {
                Some(_) => Ok(Dynamic::UNIT),
                None => Err(missing(&object, &name)),
            }
        });
    // A plain map is changed where it stands, which takes a native that rhai hands a reference to.
    let natives = &mut module.builtins;
    exactly("setattr").set_into_module(natives, |map: &mut Map, name: ImmutableString, value: Dynamic| {
        map.insert(name.as_str().into(), value);
    });
    exactly("delattr").set_into_module(natives, |map: &mut Map, name: ImmutableString| {
        match map.remove(name.as_str()) {
            Some(_) => Ok(()),
            None => Err(raise("AttributeError", format!("the map has no attribute '{name}'"))),
        }
    });
}

fn missing(object: &Dynamic, name: &str) -> Box<EvalAltResult> {
    let kind = value::type_name(object);
    raise("AttributeError", format!("'{kind}' object has no attribute '{name}'"))
}

/// The attribute.
///
/// # Errors
/// AttributeError, and what reading it raises.
pub(super) fn require(context: &NativeCallContext, object: &Dynamic, name: &str) -> Outcome<Dynamic> {
    get(context, object, name)?.ok_or_else(|| missing(object, name))
}

/// The attribute, or nothing if there is none.
fn get(context: &NativeCallContext, object: &Dynamic, name: &str) -> Outcome<Option<Dynamic>> {
    if let Ok(map) = object.as_map_ref() {
        return Ok(map.get(name).cloned());
    }
    if let Some(dict) = object.read_lock::<Dict>() {
        return match dict.get(&Dynamic::from(ImmutableString::from(name)))? {
            Some(value) => Ok(Some(value)),
            None => Ok(method(object, name)),
        };
    }
    let mut object = object.clone();
    match context.call_native_fn_raw(format!("get${name}"), true, &mut [&mut object]) {
        Ok(value) => return Ok(Some(value)),
        Err(error) if is_unknown(&error) => {}
        Err(error) => return Err(error),
    }
    if let Some(method) = method(&object, name) {
        return Ok(Some(method));
    }
    if !has_named_items(&object) {
        return Ok(None);
    }
    match context.call_native_fn_raw(
        INDEX_GET,
        true,
        &mut [&mut object, &mut ImmutableString::from(name).into()],
    ) {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A method as a function that is bound to the object.
fn method(object: &Dynamic, name: &str) -> Option<Dynamic> {
    let class = value::type_name(object);
    let is_method = |signature: &str| signature.split_once('(').is_some_and(|(known, _)| known == name);
    native::entries().iter().find(|entry| entry.owner == class && is_method(entry.signature))?;
    let mut function = pointer::named(name)?;
    function.add_curry(object.clone());
    Some(function.into())
}

fn set(context: &NativeCallContext, mut object: Dynamic, name: &str, mut value: Dynamic) -> Outcome<()> {
    match context.call_native_fn_raw(format!("set${name}"), true, &mut [&mut object, &mut value]) {
        Err(error) if is_unknown(&error) && has_named_items(&object) => {}
        Err(error) if is_unknown(&error) => return Err(missing(&object, name)),
        result => return result.map(drop),
    }
    let key = &mut ImmutableString::from(name).into();
    match context.call_native_fn_raw(INDEX_SET, true, &mut [&mut object, key, &mut value]) {
        Err(error) if is_unknown(&error) => Err(missing(&object, name)),
        result => result.map(drop),
    }
}

/// Is a text a sensible index of the object? Those of lists, arrays and bytes are numbers.
fn has_named_items(object: &Dynamic) -> bool {
    !object.is_array()
        && !object.is_blob()
        && !object.is_string()
        && !object.is::<List>()
        && (identity(object).is_some() || object.is_variant())
}

/// Does the error say that there is no such attribute, and not that asking for it failed?
fn is_unknown(error: &EvalAltResult) -> bool {
    match error {
        EvalAltResult::ErrorDotExpr(..) | EvalAltResult::ErrorIndexingType(..) => true,
        EvalAltResult::ErrorRuntime(value, _) => value
            .read_lock::<Exception>()
            .is_some_and(|e| matches!(e.class().name, "AttributeError" | "KeyError")),
        _ => false,
    }
}
