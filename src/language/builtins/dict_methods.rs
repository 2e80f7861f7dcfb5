//! The methods, indexes and operators of `dict`: Python's, and rhai's map methods where the name is free.

use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};

use super::arguments::at_most_one;
use super::containers::pairs;
use super::exactly;
use super::forward::call_on_map;
use super::write_back::{Place, is_write_back, note};
use crate::language::dict::{Dict, missing};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::{self, Handle};
use crate::language::native::{Call, NativeModule};
use crate::language::value;

/// Rhai's map methods that take a function, and `to_json`.
const FORWARDED: [&str; 4] = ["filter(predicate)", "map(function)", "merge(map)", "to_json()"];

pub(super) fn fill(module: &mut NativeModule) {
    identity::register::<Dict>();
    module.named::<Dict>("dict");
    module.shown::<Dict>(Handle::repr);
    python_looking(module);
    python_changing(module);
    rhai_methods(module);
    operators(module);
}

fn python_looking(module: &mut NativeModule) {
    module
        .method::<Dict, _>(
            "get(key, *default)",
            "The value of the key; the default or None if it is not there.",
            |d, call| {
                let key = call.required(0)?;
                let default = at_most_one(call, "get", 1)?;
                Ok(d.get(&key)?.or(default).unwrap_or_default())
            },
        )
        .method::<Dict, _>("keys()", "The keys, in the order in which they came.", |d, _| Ok(d.keys().into()))
        .method::<Dict, _>("values()", "The values, in the order of the keys.", |d, _| Ok(d.values().into()))
        .method::<Dict, _>("items()", "[key, value] for every entry.", |d, _| {
            let items = d.items().into_iter().map(|(key, value)| Dynamic::from(vec![key, value]));
            Ok(items.collect::<Vec<_>>().into())
        })
        .method::<Dict, _>("copy()", "Another dict of the same entries.", |d, _| {
            Dict::from_pairs(d.items()).map(Dynamic::from)
        });
}

fn python_changing(module: &mut NativeModule) {
    module
        .method::<Dict, _>(
            "update(*mapping, **kwargs)",
            "Sets the entries of another mapping, or [key, value] pairs.",
            update,
        )
        .method::<Dict, _>(
            "pop(key, *default)",
            "Takes out the key and returns its value, or the default.",
            |d, call| {
                let key = call.required(0)?;
                let default = at_most_one(call, "pop", 1)?;
                d.remove(&key)?.or(default).ok_or_else(|| missing(&key))
            },
        )
        .method::<Dict, _>("popitem()", "Takes out the newest entry, and returns [key, value].", |d, _| {
            let (key, value) = d.popitem()?;
            Ok(vec![key, value].into())
        })
        .method::<Dict, _>(
            "setdefault(key, *default)",
            "The value of the key, which is set to the default first if it is not there.",
            |d, call| {
                let key = call.required(0)?;
                let default = at_most_one(call, "setdefault", 1)?;
                d.setdefault(key, default.unwrap_or_default())
            },
        )
        .method::<Dict, _>("clear()", "Takes out all entries.", |d, _| {
            d.clear();
            Ok(Dynamic::UNIT)
        });
}

fn update(dict: &Dict, call: &mut Call) -> Outcome<Dynamic> {
    let mut source = call.rest(0);
    let keywords = call.keywords();
    if source.len() > 1 {
        return Err(raise("TypeError", format!("update expected at most 1 argument, got {}", source.len())));
    }
    if let Some(source) = source.pop() {
        for (key, value) in pairs(call, &source, "dictionary update sequence")? {
            dict.set(key, value)?;
        }
    }
    for (key, value) in keywords {
        dict.set(ImmutableString::from(key.as_str()).into(), value)?;
    }
    Ok(Dynamic::UNIT)
}

fn rhai_methods(module: &mut NativeModule) {
    module
        .method::<Dict, _>(
            "remove(key)",
            "Takes out the key; its value, or () if it is not there.",
            |d, call| {
                let key = call.required(0)?;
                Ok(d.remove(&key)?.unwrap_or_default())
            },
        )
        .method::<Dict, _>("set(key, value)", "Sets the value of the key.", |d, call| {
            let (key, value) = (call.required(0)?, call.required(1)?);
            d.set(key, value).map(Dynamic::from)
        })
        .method::<Dict, _>("mixin(map)", "Sets the entries of another mapping.", update)
        .method::<Dict, _>(
            "fill_with(map)",
            "Sets those entries of another mapping that are not there.",
            |d, call| {
                let source = call.required(0)?;
                for (key, value) in pairs(call, &source, "fill_with()'s mapping")? {
                    drop(d.setdefault(key, value)?);
                }
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Dict, _>("contains(key)", "Is the key there?", |d, call| {
            let key = call.required(0)?;
            Ok(d.get(&key)?.is_some().into())
        })
        .method::<Dict, _>("is_empty()", "Are there no entries?", |d, _| Ok(d.is_empty().into()))
        .method::<Dict, _>(
            "drain(predicate)",
            "Takes out the entries that satisfy the function, as a map.",
            |d, call| {
                let args = call.rest(0);
                call_on_map(call.context(), d, "drain", args)
            },
        )
        .method::<Dict, _>(
            "retain(predicate)",
            "Keeps only the entries that satisfy the function.",
            |d, call| {
                let args = call.rest(0);
                call_on_map(call.context(), d, "retain", args)
            },
        )
        .method::<Dict, _>("to_map()", "The entries whose keys are texts, as a plain map.", |d, _| {
            Ok(d.to_map().into())
        });
    for signature in FORWARDED {
        let name = signature.split('(').next().unwrap_or(signature);
        let doc = "Rhai's method of maps, on the entries of the dict.";
        module.method::<Dict, _>(signature, doc, move |d, call| {
            let args = call.rest(0);
            call_on_map(call.context(), d, name, args)
        });
    }
}

fn operators(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    exactly("index$get$").set_into_module(natives, get);
    exactly("index$set$").set_into_module(natives, set);
    exactly("==").set_into_module(natives, |a: Dict, b: Dict| equals(a, b));
    exactly("!=").set_into_module(natives, |a: Dict, b: Dict| differs(a, b));
    exactly("==").set_into_module(natives, |a: Dict, b: Map| equals(a, b));
    exactly("!=").set_into_module(natives, |a: Dict, b: Map| differs(a, b));
    exactly("==").set_into_module(natives, |a: Map, b: Dict| equals(a, b));
    exactly("!=").set_into_module(natives, |a: Map, b: Dict| differs(a, b));
    for name in ["+", "|"] {
        exactly(name).set_into_module(natives, |a: Dict, b: Dict| merged(a.items(), b.items()));
        exactly(name)
            .set_into_module(natives, |a: Dict, b: Map| merged(a.items(), Dict::from_map(b).items()));
        exactly(name)
            .set_into_module(natives, |a: Map, b: Dict| merged(Dict::from_map(a).items(), b.items()));
    }
    for name in ["+=", "|="] {
        exactly(name).set_into_module(natives, |a: &mut Dict, b: Dict| set_all(a, b.items()));
        exactly(name).set_into_module(natives, |a: &mut Dict, b: Map| set_all(a, Dict::from_map(b).items()));
    }
}

fn equals<A: rhai::Variant + Clone, B: rhai::Variant + Clone>(a: A, b: B) -> Outcome<bool> {
    value::equals(&Dynamic::from(a), &Dynamic::from(b))
}

fn differs<A: rhai::Variant + Clone, B: rhai::Variant + Clone>(a: A, b: B) -> Outcome<bool> {
    equals(a, b).map(|equal| !equal)
}

fn merged(a: Vec<(Dynamic, Dynamic)>, b: Vec<(Dynamic, Dynamic)>) -> Outcome<Dict> {
    Dict::from_pairs(a.into_iter().chain(b))
}

fn set_all(dict: &Dict, entries: Vec<(Dynamic, Dynamic)>) -> Outcome<()> {
    entries.into_iter().try_for_each(|(key, value)| dict.set(key, value))
}

fn get(context: NativeCallContext, dict: &mut Dict, key: Dynamic) -> Outcome<Dynamic> {
    let value = dict.index(&key)?;
    note(&context, dict.identity(), Place::of(&key), &value);
    Ok(value)
}

fn set(context: NativeCallContext, dict: &mut Dict, key: Dynamic, value: Dynamic) -> Outcome<()> {
    if is_write_back(&context, dict.identity(), Place::of(&key), &value) {
        return Ok(());
    }
    dict.set(key, value)
}
