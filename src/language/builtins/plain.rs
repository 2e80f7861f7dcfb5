//! Python's methods on rhai's plain arrays and maps, where rhai has none of the name.
//!
//! A plain array or map is a value, not an object: it is changed where it stands, and nobody else sees it. Where
//! rhai has a method of the name, that one stays: `xs.append(ys)` of two arrays joins them, `xs.remove(i)` and
//! `xs.insert(i, x)` take an index, and `pop()` of nothing is `()`.

use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use super::arguments::integer;
use super::exactly;
use super::functional::sort;
use super::iteration::iterate;
use super::list_methods::find;
use crate::language::dict::missing;
use crate::language::exception::{Outcome, raise};
use crate::language::list::position;
use crate::language::native::NativeModule;
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    arrays(module);
    maps(module);
}

fn arrays(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    exactly("append").set_into_module(natives, |array: &mut Array, item: Dynamic| array.push(item));
    exactly("extend").set_into_module(
        natives,
        |context: NativeCallContext, array: &mut Array, iterable: Dynamic| -> Outcome<()> {
            array.extend(iterate(&context, &iterable)?);
            Ok(())
        },
    );
    exactly("count").set_into_module(natives, |array: &mut Array, item: Dynamic| value::count(array, &item));
    exactly("index")
        .set_into_module(natives, |array: &mut Array, item: Dynamic| find(array, &item, 0, i64::MAX));
    exactly("index").set_into_module(natives, |array: &mut Array, item: Dynamic, start: i64| {
        find(array, &item, start, i64::MAX)
    });
    exactly("index").set_into_module(natives, |array: &mut Array, item: Dynamic, start: i64, stop: i64| {
        find(array, &item, start, stop)
    });
    exactly("copy").set_into_module(natives, |array: &mut Array| array.clone());
    exactly("pop").set_into_module(natives, |array: &mut Array, index: Dynamic| -> Outcome<Dynamic> {
        let index = integer(&index, "pop()'s index")?;
        match position(index, array.len()) {
            Some(at) => Ok(array.remove(at)),
            None if array.is_empty() => Err(raise("IndexError", "pop from empty list")),
            None => {
                let length = array.len();
                Err(raise("IndexError", format!("pop index out of range: index {index} of {length} items")))
            }
        }
    });
    exactly("sort").set_into_module(
        natives,
        |context: NativeCallContext, array: &mut Array, mut keywords: Map| -> Outcome<()> {
            let (key, reverse) = (keywords.remove("key"), keywords.remove("reverse"));
            if let Some(unknown) = keywords.keys().next() {
                let text = format!(
                    "sort() got an unexpected keyword argument '{unknown}': the keywords are key, reverse"
                );
                return Err(raise("TypeError", text));
            }
            let reverse = reverse.is_some_and(|reverse| value::is_true(&reverse));
            *array = sort(&context, array.clone(), key, reverse, None)?;
            Ok(())
        },
    );
}

fn maps(module: &mut NativeModule) {
    let natives = &mut module.builtins;
    exactly("items").set_into_module(natives, |map: &mut Map| -> Array {
        let entry = |(key, value): (&rhai::Identifier, &Dynamic)| {
            Dynamic::from(vec![ImmutableString::from(key.as_str()).into(), value.clone()])
        };
        map.iter().map(entry).collect()
    });
    exactly("get").set_into_module(natives, |map: &mut Map, key: ImmutableString, default: Dynamic| {
        map.get(key.as_str()).cloned().unwrap_or(default)
    });
    exactly("pop").set_into_module(natives, |map: &mut Map, key: ImmutableString| -> Outcome<Dynamic> {
        map.remove(key.as_str()).ok_or_else(|| missing(&key.into()))
    });
    exactly("pop").set_into_module(natives, |map: &mut Map, key: ImmutableString, default: Dynamic| {
        map.remove(key.as_str()).unwrap_or(default)
    });
    exactly("update").set_into_module(natives, |map: &mut Map, other: Dynamic| -> Outcome<()> {
        let entries = value::mapping(&other).ok_or_else(|| {
            let kind = value::type_name(&other);
            raise("TypeError", format!("update() takes a map or dict, not {kind}"))
        })?;
        map.extend(entries.into_iter().map(|(key, value)| (value::str(&key).into(), value)));
        Ok(())
    });
    exactly("setdefault").set_into_module(
        natives,
        |map: &mut Map, key: ImmutableString, default: Dynamic| {
            map.entry(key.as_str().into()).or_insert(default).clone()
        },
    );
    exactly("copy").set_into_module(natives, |map: &mut Map| map.clone());
}
