//! In a manager's server: making objects, and calling their methods by name.

use rhai::{Dynamic, EvalAltResult, FnPtr, ImmutableString, Map, NativeCallContext};

use super::referent::{Array, Namespace, Value};
use crate::language::builtins::iterate;
use crate::language::dict::Dict;
use crate::language::exception::{Outcome, arrived, raise};
use crate::language::list::List;
use crate::language::native::Keywords;
use crate::language::value;
use crate::language::variables::to_shared;

/// Which native makes an object of a type that every SyncManager has.
fn constructor(typeid: &str) -> Option<&'static str> {
    Some(match typeid {
        "Queue" | "JoinableQueue" => "queue.Queue",
        "Event" => "threading.Event",
        "Lock" => "threading.Lock",
        "RLock" => "threading.RLock",
        "Semaphore" => "threading.Semaphore",
        "BoundedSemaphore" => "threading.BoundedSemaphore",
        "Condition" => "threading.Condition",
        "Barrier" => "threading.Barrier",
        "Pool" => "multiprocessing.Pool",
        "list" => "list",
        "dict" => "dict",
        _ => return None,
    })
}

/// Makes an object of a type that every SyncManager has.
///
/// # Errors
/// What its constructor raises.
pub fn construct(context: &NativeCallContext, typeid: &str, mut args: Vec<Dynamic>) -> Outcome<Dynamic> {
    let mut keywords = Map::new();
    if let Some(last) = args.pop_if(|last| last.is::<Keywords>()) {
        keywords = last.cast::<Keywords>().0;
    }
    let mut next = |name: &str| {
        if args.is_empty() { keywords.remove(name) } else { Some(args.remove(0)) }
    };
    match typeid {
        "Namespace" => {
            let map = args.pop().and_then(|map| map.try_cast::<Map>()).unwrap_or(keywords);
            return Ok(Dynamic::from(Namespace::new(map)));
        }
        "Value" => {
            let (typecode, initial) = (next("typecode"), next("value"));
            let typecode = typecode.ok_or_else(|| missing("Value", "typecode"))?;
            let initial = initial.ok_or_else(|| missing("Value", "value"))?;
            return Ok(Dynamic::from(Value::new(value::str(&typecode), initial)));
        }
        "Array" => {
            let (typecode, items) = (next("typecode"), next("sequence"));
            let typecode = typecode.ok_or_else(|| missing("Array", "typecode"))?;
            let items = items.ok_or_else(|| missing("Array", "sequence"))?;
            let items = iterate(context, &items)?;
            return Array::new(&value::str(&typecode), &items).map(Dynamic::from);
        }
        _ => {}
    }
    let native = constructor(typeid).ok_or_else(|| raise("KeyError", format!("'{typeid}'")))?;
    if !keywords.is_empty() {
        args.push(Dynamic::from(Keywords(keywords)));
    }
    call_native(context, native, args)
}

fn missing(class: &str, parameter: &str) -> Box<EvalAltResult> {
    raise("TypeError", format!("{class}() missing 1 required positional argument: '{parameter}'"))
}

fn call_native(context: &NativeCallContext, name: &str, mut args: Vec<Dynamic>) -> Outcome<Dynamic> {
    let mut args: Vec<&mut Dynamic> = args.iter_mut().collect();
    context.call_native_fn_raw(name, false, &mut args)
}

fn call_method(
    context: &NativeCallContext,
    name: &str,
    object: &Dynamic,
    mut args: Vec<Dynamic>,
) -> Outcome<Dynamic> {
    let mut object = object.clone();
    let mut all: Vec<&mut Dynamic> = std::iter::once(&mut object).chain(args.iter_mut()).collect();
    context.call_native_fn_raw(name, true, &mut all)
}

/// Calls a method.
///
/// # Errors
/// What the method raises; AttributeError if there is none of that name.
pub fn invoke(
    context: &NativeCallContext,
    object: &Dynamic,
    method: &str,
    args: Vec<Dynamic>,
) -> Outcome<Dynamic> {
    if let Some(result) = directly(object, method, &args) {
        return result;
    }
    match (method, &args[..]) {
        ("__str__", []) => return Ok(value::str(object).into()),
        ("__repr__", []) => return Ok(value::repr(object).into()),
        ("#GETVALUE", []) => return Ok(object.clone()),
        ("__len__", []) => {
            let kind = value::type_name(object);
            let length = value::length(object)
                .ok_or_else(|| raise("TypeError", format!("object of type '{kind}' has no len()")))?;
            return Ok((length as i64).into());
        }
        ("__getattribute__", [name]) => return get_attribute(context, object, &value::str(name)),
        ("__setattr__", [name, new]) => return set_attribute(context, object, &value::str(name), new),
        ("__delattr__", [name]) => {
            return match object.read_lock::<Namespace>() {
                Some(namespace) => namespace.remove(&value::str(name)).map(Dynamic::from),
                None => Err(no_attribute(object, &value::str(name))),
            };
        }
        ("__iter__", []) => return iterate(context, object).map(Dynamic::from),
        _ => {}
    }
    let native = match method {
        "__getitem__" => "index$get$",
        "__setitem__" => "index$set$",
        "__contains__" => "contains",
        "__delitem__" if object.is::<List>() || object.is::<Dict>() => return delete(object, &args),
        "__add__" => "+",
        "__mul__" => "*",
        method => method,
    };
    match call_method(context, native, object, args.clone()) {
        Err(error) if is_not_found(&error, native) => {
            let own = object.read_lock::<Dict>().and_then(|dict| dict.get(&method.into()).ok().flatten());
            match own.and_then(|own| own.try_cast::<FnPtr>()) {
                // A dict whose values are functions is an object with methods.
                Some(function) => {
                    function.call_raw(context, Some(&mut object.clone()), args).map_err(arrived)
                }
                None => Err(no_attribute(object, method)),
            }
        }
        result => result,
    }
}

fn is_not_found(error: &EvalAltResult, name: &str) -> bool {
    matches!(error, EvalAltResult::ErrorFunctionNotFound(signature, _) if signature.starts_with(name))
}

fn no_attribute(object: &Dynamic, name: &str) -> Box<EvalAltResult> {
    let kind = value::type_name(object);
    raise("AttributeError", format!("'{kind}' object has no attribute '{name}'"))
}

/// The most frequent calls, without a search for the native.
fn directly(object: &Dynamic, method: &str, args: &[Dynamic]) -> Option<Outcome<Dynamic>> {
    if let Some(dict) = object.read_lock::<Dict>() {
        return match (method, args) {
            ("__getitem__", [key]) => Some(dict.index(key)),
            ("__setitem__", [key, new]) => Some(dict.set(key.clone(), new.clone()).map(Dynamic::from)),
            ("get", [key]) => Some(dict.get(key).map(Option::unwrap_or_default)),
            ("get", [key, default]) => Some(dict.get(key).map(|v| v.unwrap_or_else(|| default.clone()))),
            ("__contains__", [key]) => Some(dict.get(key).map(|found| found.is_some().into())),
            _ => None,
        };
    }
    if let Some(list) = object.read_lock::<List>() {
        return match (method, args) {
            ("append", [item]) => {
                list.append(item.clone());
                Some(Ok(Dynamic::UNIT))
            }
            ("__getitem__", [index]) => index.as_int().ok().map(|index| list.get(index)),
            ("__setitem__", [index, new]) => {
                index.as_int().ok().map(|index| list.set(index, new.clone()).map(Dynamic::from))
            }
            _ => None,
        };
    }
    if let Some(current) = object.read_lock::<Value>() {
        return match (method, args) {
            ("get", []) => Some(Ok(current.get())),
            ("set", [new]) => {
                current.set(new.clone());
                Some(Ok(Dynamic::UNIT))
            }
            _ => None,
        };
    }
    let array = object.read_lock::<Array>()?;
    match (method, args) {
        ("__getitem__", [index]) => Some(array.get(index)),
        ("__setitem__", [index, new]) => Some(array.set(index, new).map(Dynamic::from)),
        _ => None,
    }
}

fn delete(object: &Dynamic, args: &[Dynamic]) -> Outcome<Dynamic> {
    let [key] = args else { return Err(raise("TypeError", "expected 1 argument")) };
    if let Some(dict) = object.read_lock::<Dict>() {
        return match dict.remove(key)? {
            Some(_) => Ok(Dynamic::UNIT),
            None => Err(crate::language::dict::missing(key)),
        };
    }
    match (object.read_lock::<List>(), key.as_int()) {
        (Some(list), Ok(index)) => list.pop(Some(index)).map(|_| Dynamic::UNIT),
        _ => Err(raise("TypeError", "list indices must be integers")),
    }
}

fn get_attribute(context: &NativeCallContext, object: &Dynamic, name: &str) -> Outcome<Dynamic> {
    if let Some(namespace) = object.read_lock::<Namespace>() {
        return namespace.get(name);
    }
    let getter = format!("get${name}");
    match call_method(context, &getter, object, Vec::new()) {
        Err(error)
            if matches!(
                *error,
                EvalAltResult::ErrorDotExpr(..) | EvalAltResult::ErrorFunctionNotFound(..)
            ) =>
        {
            let own = object.read_lock::<Dict>().map(|dict| dict.get(&ImmutableString::from(name).into()));
            match own.transpose()?.flatten() {
                Some(value) => Ok(value),
                None => Err(no_attribute(object, name)),
            }
        }
        result => result,
    }
}

fn set_attribute(
    context: &NativeCallContext,
    object: &Dynamic,
    name: &str,
    new: &Dynamic,
) -> Outcome<Dynamic> {
    if let Some(namespace) = object.read_lock::<Namespace>() {
        namespace.set(name, to_shared(new.clone()));
        return Ok(Dynamic::UNIT);
    }
    call_method(context, &format!("set${name}"), object, vec![new.clone()])
}
