//! Indexes, operators and `in` of lists; between a list and a plain array too.

use rhai::{Array, Dynamic, FnPtr, Module, NativeCallContext, Variant};

use super::exactly;
use super::iteration::iterate;
use super::limits::repeat_items;
use super::list_methods::local_items;
use super::list_sections::bounds;
use super::write_back::{Place, is_write_back, note};
use crate::language::exception::{Class, Outcome, exception_of, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::NativeModule;
use crate::language::value;
use crate::language::variables::to_shared;

/// What holds a sequence of values.
trait Items: Variant + Clone {
    fn items(&self) -> Vec<Dynamic>;
}

impl Items for List {
    fn items(&self) -> Vec<Dynamic> {
        self.snapshot()
    }
}

impl Items for Array {
    fn items(&self) -> Vec<Dynamic> {
        self.clone()
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    module.method::<List, _>("contains(item)", "Does one of the items equal this one?", |list, call| {
        let item = call.required(0)?;
        Ok(list.find(&item)?.is_some().into())
    });
    let natives = &mut module.builtins;
    exactly("index$get$").set_into_module(natives, get);
    exactly("index$set$").set_into_module(natives, set);
    between::<List, List>(natives);
    between::<List, Array>(natives);
    between::<Array, List>(natives);
    exactly("+").set_into_module(natives, |_: List, other: Dynamic| -> Outcome<Dynamic> {
        let kind = value::type_name(&other);
        Err(raise("TypeError", format!("can only concatenate list (not \"{kind}\") to list: use append()")))
    });
    exactly("+=").set_into_module(natives, |context: NativeCallContext, list: &mut List, other: Dynamic| {
        extend(&context, list, other)
    });
    exactly("*")
        .set_into_module(natives, |list: List, n: i64| repeat_items(&list.snapshot(), n).map(List::new));
    exactly("*")
        .set_into_module(natives, |n: i64, list: List| repeat_items(&list.snapshot(), n).map(List::new));
    exactly("*=").set_into_module(natives, |list: &mut List, n: i64| -> Outcome<()> {
        let items = repeat_items(&list.snapshot(), n)?;
        list.replace(items);
        Ok(())
    });
}

/// The operators between two kinds of sequence, at least one of which is a list.
fn between<A: Items, B: Items>(natives: &mut Module) {
    exactly("==").set_into_module(natives, |a: A, b: B| equals(a, b));
    exactly("!=").set_into_module(natives, |a: A, b: B| equals(a, b).map(|equal| !equal));
    exactly("+").set_into_module(natives, |a: A, b: B| List::new([a.items(), b.items()].concat()));
    exactly("<").set_into_module(natives, |a: A, b: B| compare(a, b).map(std::cmp::Ordering::is_lt));
    exactly("<=").set_into_module(natives, |a: A, b: B| compare(a, b).map(std::cmp::Ordering::is_le));
    exactly(">").set_into_module(natives, |a: A, b: B| compare(a, b).map(std::cmp::Ordering::is_gt));
    exactly(">=").set_into_module(natives, |a: A, b: B| compare(a, b).map(std::cmp::Ordering::is_ge));
}

fn equals(a: impl Items, b: impl Items) -> Outcome<bool> {
    value::equals(&Dynamic::from(a), &Dynamic::from(b))
}

fn compare(a: impl Items, b: impl Items) -> Outcome<std::cmp::Ordering> {
    value::compare(&Dynamic::from(a), &Dynamic::from(b))
}

fn get(context: NativeCallContext, list: &mut List, index: Dynamic) -> Outcome<Dynamic> {
    if let Ok(at) = index.as_int() {
        let item = list.get(at)?;
        note(&context, list.identity(), Some(Place::Number(at)), &item);
        return Ok(item);
    }
    let part =
        list.change(|items| bounds(&index, items.len()).map(|(start, end)| items[start..end].to_vec()));
    match part {
        Some(part) => Ok(Dynamic::from(List::new(local_items(part)))),
        None => Err(bad_index(&index)),
    }
}

fn set(context: NativeCallContext, list: &mut List, index: Dynamic, item: Dynamic) -> Outcome<()> {
    if let Ok(at) = index.as_int() {
        if is_write_back(&context, list.identity(), Some(Place::Number(at)), &item) {
            return Ok(());
        }
        return list.set(at, item);
    }
    let new: Vec<Dynamic> = iterate(&context, &item)?.into_iter().map(to_shared).collect();
    let old: Option<Vec<Dynamic>> = list.change(|items| {
        bounds(&index, items.len()).map(|(start, end)| items.splice(start..end, new).collect())
    });
    old.map(drop).ok_or_else(|| bad_index(&index))
}

fn bad_index(index: &Dynamic) -> Box<rhai::EvalAltResult> {
    if let Some(name) = index.read_lock::<rhai::ImmutableString>() {
        let name = name.as_str();
        let text =
            format!("list indices must be integers or slices, not str: '{name}' is no attribute of lists");
        return raise("TypeError", text);
    }
    let kind = value::type_name(index);
    raise("TypeError", format!("list indices must be integers or slices, not {kind}"))
}

fn is_type_error(error: &rhai::EvalAltResult) -> bool {
    exception_of(error, "", "").is_instance(Class::known("TypeError"))
}

/// `list += other`: the items of what can be iterated over, as in Python; anything else as an item, as in rhai.
fn extend(context: &NativeCallContext, list: &List, other: Dynamic) -> Outcome<()> {
    if other.is_int() || other.is_float() || other.is_bool() || other.is_unit() || other.is::<FnPtr>() {
        list.append(other);
        return Ok(());
    }
    match iterate(context, &other) {
        Ok(items) => list.extend(items),
        Err(error) if is_type_error(&error) => list.append(other),
        Err(error) => return Err(error),
    }
    Ok(())
}
