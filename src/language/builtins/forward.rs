//! Rhai's methods of arrays and maps on a `list` and a `dict`.
//!
//! They run on a copy, never under the container's lock, so their callbacks may do anything, even to the very
//! container. What they change in the copy is put back, if nobody has changed the container meanwhile.
//!
//! A function that is the value of a dict's key is a method of the dict, as with rhai's maps: `d.run()`.

use std::any::TypeId;
use std::collections::HashMap;

use rhai::{Array, Dynamic, EvalContext, FnPtr, ImmutableString, Map, NativeCallContext};

use crate::language::callable::free_taken_variables;
use crate::language::dict::Dict;
use crate::language::exception::{Outcome, arrived, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native;
use crate::language::value;
use crate::language::variables::{to_local, to_shared};
use crate::runtime::sync::RwLock;

/// Calls a method that no native of the receiver's type is; nothing if the object has none of that name either.
pub type MissingMethod = fn(&Dynamic, &str, Vec<Dynamic>) -> Outcome<Option<Dynamic>>;

static HANDLERS: RwLock<Option<HashMap<TypeId, MissingMethod>>> = RwLock::new(None);

/// Says what becomes of method calls on objects of type `T` that no native fits, for objects whose methods are not
/// known beforehand.
pub fn on_missing_method<T: 'static>(handler: MissingMethod) {
    HANDLERS.write().get_or_insert_default().insert(TypeId::of::<T>(), handler);
}

/// What `Engine::on_missing_function` asks when a call has failed: is it a method that the dict holds itself, or
/// one of a host's functions for arrays or maps, on a list or dict? Rhai's own functions of that kind are natives
/// of the list and the dict, and do not come here.
///
/// # Errors
/// What the function raises.
pub fn forward(
    name: &str,
    args: &mut [&mut Dynamic],
    is_method: bool,
    mut context: EvalContext,
) -> Outcome<Option<Dynamic>> {
    // It is asked about every failed call; most are of natives that have raised an exception.
    let Some((receiver, rest)) = args.split_first_mut() else { return Ok(None) };
    if is_method && receiver.is_variant() {
        let handler = HANDLERS.read().as_ref().and_then(|all| all.get(&(**receiver).type_id()).copied());
        if let Some(handler) = handler {
            let rest = rest.iter().map(|arg| (**arg).clone()).collect();
            return handler(&(**receiver).clone(), name, rest);
        }
    }
    if !receiver.is_variant() || !(receiver.is::<List>() || receiver.is::<Dict>()) {
        return Ok(None);
    }
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Ok(None);
    }
    let mut receiver = (**receiver).clone();
    let own = if is_method { own_method(&receiver, name) } else { None };
    if own.is_none() && native::signature_of(name).is_some() {
        return Ok(None);
    }
    let source = context.source().map(str::to_string);
    let engine = context.engine();
    let global = context.global_runtime_state_mut();
    let position = rhai::Position::NONE;
    let context = NativeCallContext::new_with_all_fields(engine, name, source.as_deref(), global, position);
    let rest: Vec<Dynamic> = rest.iter().map(|arg| (**arg).clone()).collect();
    if let Some(method) = own {
        return method.call_raw(&context, Some(&mut receiver), rest).map(Some).map_err(arrived);
    }
    let result = match (receiver.read_lock::<List>(), receiver.read_lock::<Dict>()) {
        (Some(list), _) => call_on_snapshot(&context, &list, name, rest, true),
        (_, Some(dict)) => call_on_map(&context, &dict, name, rest),
        _ => return Ok(None),
    };
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error, name) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The function that a dict has under a name that is no method of all dicts.
fn own_method(receiver: &Dynamic, name: &str) -> Option<FnPtr> {
    let function = receiver.read_lock::<Dict>()?.get(&ImmutableString::from(name).into()).ok()??;
    let is_dicts =
        |entry: &native::Entry| entry.owner == Dict::NAME && entry.signature.split('(').next() == Some(name);
    if native::entries().iter().any(is_dicts) {
        return None;
    }
    function.try_cast()
}

fn is_not_found(error: &rhai::EvalAltResult, name: &str) -> bool {
    matches!(error, rhai::EvalAltResult::ErrorFunctionNotFound(signature, _)
        if signature.strip_prefix(name).is_some_and(|rest| rest.starts_with(" (")))
}

/// Calls the array method `name` on the items of a list; if it `changes` them, the list gets the new ones.
///
/// # Errors
/// What the method or its callback raises; RuntimeError when the list was changed meanwhile.
pub(super) fn call_on_snapshot(
    context: &NativeCallContext,
    list: &List,
    name: &str,
    args: Vec<Dynamic>,
    changes: bool,
) -> Outcome<Dynamic> {
    let before = list.change(|items| items.clone());
    let array: Array = before.iter().cloned().map(to_local).collect();
    let mut array = Dynamic::from_array(array);
    let result = call_plain(context, name, &mut array, args, &Dynamic::from(list.clone()))?;
    if changes {
        let after = array.into_array().unwrap_or_default();
        commit(list, &before, after, name)?;
    }
    Ok(result)
}

/// Replaces the items of a list by `after`, which were made from `before`.
///
/// # Errors
/// RuntimeError when the list is not as it was before.
pub(super) fn commit(list: &List, before: &[Dynamic], after: Vec<Dynamic>, name: &str) -> Outcome<()> {
    if is_same(before, &after) {
        return Ok(());
    }
    let after: Vec<Dynamic> = after.into_iter().map(to_shared).collect();
    // The old items are dropped outside the lock: one may be the last reference to something that runs code.
    let old = list.change(|items| is_same(items, before).then(|| std::mem::replace(items, after)));
    match old {
        Some(old) => {
            drop(old);
            Ok(())
        }
        None => Err(raise(
            "RuntimeError",
            format!("list changed during {name}(): another thread or the function did"),
        )),
    }
}

/// Are the items the very same?
pub(super) fn is_same(a: &[Dynamic], b: &[Dynamic]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| value::is_same_item(a, b))
}

/// Calls the map method `name` on the entries of a dict whose keys are texts. What it changes is set and
/// removed key by key; other entries stay as they are.
///
/// # Errors
/// What the method or its callback raises.
pub(super) fn call_on_map(
    context: &NativeCallContext,
    dict: &Dict,
    name: &str,
    args: Vec<Dynamic>,
) -> Outcome<Dynamic> {
    let before = dict.to_map();
    let mut map = Dynamic::from_map(before.clone());
    let result = call_plain(context, name, &mut map, args, &Dynamic::from(dict.clone()))?;
    let after = map.try_cast::<Map>().unwrap_or_default();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        dict.remove(&key.as_str().to_string().into())?;
    }
    for (key, value) in after {
        if !before.get(&key).is_some_and(|old| value::is_same_item(old, &value)) {
            dict.set(key.as_str().to_string().into(), value)?;
        }
    }
    Ok(result)
}

/// Calls one of rhai's natives, with plain arrays and maps in place of lists and dicts.
fn call_plain(
    context: &NativeCallContext,
    name: &str,
    target: &mut Dynamic,
    args: Vec<Dynamic>,
    receiver: &Dynamic,
) -> Outcome<Dynamic> {
    let mut args: Vec<Dynamic> = args.into_iter().map(|arg| plain(arg, receiver)).collect();
    let mut all: Vec<&mut Dynamic> = std::iter::once(target).chain(args.iter_mut()).collect();
    context.call_native_fn_raw(name, true, &mut all)
}

/// An argument as rhai's natives take it. A function that captured the receiver gets the receiver itself: rhai
/// holds the variable for as long as the method runs.
fn plain(arg: Dynamic, receiver: &Dynamic) -> Dynamic {
    if let Some(function) = arg.read_lock::<FnPtr>() {
        return free_taken_variables(&function, receiver).into();
    }
    if let Some(list) = arg.read_lock::<List>() {
        return list.snapshot().into();
    }
    if let Some(dict) = arg.read_lock::<Dict>() {
        return dict.to_map().into();
    }
    arg
}

#[cfg(test)]
mod tests {
    use crate::Interpreter;

    #[test]
    fn functions_of_the_host_for_arrays_and_maps_take_lists_and_dicts() {
        let mut interpreter = Interpreter::builder()
            .configure(|engine| {
                engine.register_fn("second", |array: &mut rhai::Array| array[1].clone());
                engine.register_fn("double_all", |array: &mut rhai::Array| {
                    array.iter_mut().for_each(|item| *item = (item.as_int().unwrap() * 2).into());
                });
                engine.register_fn("put_x", |map: &mut rhai::Map| {
                    map.insert("x".into(), 1.into());
                });
            })
            .build()
            .unwrap();
        let second: i64 = interpreter.eval("let l = list([1, 2]); l.double_all(); l.second()").unwrap();
        assert_eq!(second, 4);
        let x: i64 = interpreter.eval("let d = dict(); d.put_x(); d.x").unwrap();
        assert_eq!(x, 1);
        assert!(interpreter.eval_dynamic("list().nonsense()").is_err());
    }
}
