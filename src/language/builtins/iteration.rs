//! Going through anything that a `for` can go through; `iter` and `next`.

use std::any::TypeId;
use std::sync::OnceLock;

use rhai::{AST, Dynamic, ImmutableString, Map, NativeCallContext, Position, Scope};

use super::arguments::at_most_one;
use super::bytearray::ByteArray;
use super::limits::check_items;
use super::range::{InclusiveSlice, Range, Slice};
use crate::language::dict::Dict;
use crate::language::exception::{Outcome, exception_of, raise};
use crate::language::generator::{self, item_or_stop};
use crate::language::identity::{Handle, class_name};
use crate::language::list::List;
use crate::language::native::{self, NativeModule};
use crate::language::realm;
use crate::language::value;
use crate::language::variables::to_local;
use crate::runtime::sync::{Arc, Mutex};

/// The items that a `for` over `value` would see, all at once.
///
/// # Errors
/// TypeError for a value that cannot be iterated over, MemoryError for too many items, and what a lazy iterator
/// raises on the way.
pub fn iterate(context: &NativeCallContext, value: &Dynamic) -> Outcome<Vec<Dynamic>> {
    if value.is_shared() {
        return iterate(context, &value.flatten_clone());
    }
    if let Some(items) = value::sequence(value) {
        return Ok(items);
    }
    if let Some(dict) = value.read_lock::<Dict>() {
        return Ok(dict.keys());
    }
    if let Some(map) = value.read_lock::<Map>() {
        return Ok(map.keys().map(|key| ImmutableString::from(key.as_str()).into()).collect());
    }
    if let Some(range) = value.read_lock::<Range>() {
        return range.to_items();
    }
    if let Some(range) = value.read_lock::<Slice>() {
        return Range::new(range.start, range.end, 1)?.to_items();
    }
    if let Some(range) = value.read_lock::<InclusiveSlice>() {
        let mut items = Range::new(*range.start(), *range.end(), 1)?.to_items()?;
        if range.start() <= range.end() {
            items.push((*range.end()).into());
        }
        return Ok(items);
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        check_items("the characters of the string", text.len() as u128)?;
        return Ok(text.chars().map(|c| Dynamic::from(c.to_string())).collect());
    }
    if let Some(bytes) = super::bytes::bytes_of(value) {
        check_items("the bytes", bytes.len() as u128)?;
        return Ok(bytes.iter().map(|byte| i64::from(*byte).into()).collect());
    }
    if let Some(iterator) = value.read_lock::<Iter>() {
        return Ok(iterator.0.lock().by_ref().collect());
    }
    if value.is_int() || value.is_float() || value.is_bool() || value.is_unit() || value.is_fnptr() {
        return Err(not_iterable(value));
    }
    run_loop(context, value)
}

fn not_iterable(value: &Dynamic) -> Box<rhai::EvalAltResult> {
    let (kind, shown) = (value::type_name(value), value::repr(value));
    raise("TypeError", format!("'{kind}' object is not iterable: {shown} is no sequence"))
}

/// A loop in the script language. Rhai keeps to itself how it iterates over the types that other modules
/// define, so the loop that only it can run is given to it.
#[derive(Default)]
struct Loop(OnceLock<AST>);

const LOOP: &str = "let collected = []; for item in $iterable { collected.push(item); } collected";
const ITERABLE: &str = "iterable_of_builtin";

fn run_loop(context: &NativeCallContext, value: &Dynamic) -> Outcome<Vec<Dynamic>> {
    let realm = realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
    let mut scope = Scope::new();
    scope.push_dynamic(ITERABLE, value.clone());
    let program = realm.extension::<Loop>();
    let program = program.0.get_or_init(|| {
        let source = LOOP.replace("$iterable", ITERABLE);
        context.engine().compile_with_scope(&scope, source).expect("the loop is well formed")
    });
    let result = context.engine().eval_ast_with_scope::<rhai::Array>(&mut scope, program);
    result.map_err(|mut error| {
        // The line is one of the loop's, and no reader knows it: the call's takes its place.
        error.set_position(Position::NONE);
        match *error {
            rhai::EvalAltResult::ErrorFor(_) => not_iterable(value),
            _ => error,
        }
    })
}

/// What `iter` makes: the items that were there, one after the other. Threads may share it.
#[derive(Clone)]
pub(super) struct Iter(Arc<Mutex<std::vec::IntoIter<Dynamic>>>);

impl Handle for Iter {
    const NAME: &'static str = "iterator";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// Is it an iterator that makes its items one by one?
fn is_lazy(value: &Dynamic) -> bool {
    class_name(value).is_some_and(|class| native::has_method(class, "__next__"))
}

fn next_of_lazy(
    context: &NativeCallContext,
    mut iterator: Dynamic,
    default: Option<Dynamic>,
) -> Outcome<Dynamic> {
    if !is_lazy(&iterator) {
        let kind = value::type_name(&iterator);
        let text = format!("'{kind}' object is not an iterator: next() takes what iter() makes");
        return Err(raise("TypeError", text));
    }
    let item = context.call_native_fn_raw("__next__", true, &mut [&mut iterator]);
    match (item, default) {
        (Err(error), Some(default)) if exception_of(&error, "", "").class().name == "StopIteration" => {
            Ok(default)
        }
        (item, _) => item,
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    generator::define(module);
    module.handle::<Iter>();
    module
        .builtin("iter(iterable)", "An iterator over the items, for next().", |call| {
            let iterable = call.required(0)?;
            if iterable.is::<Iter>() || is_lazy(&iterable) {
                return Ok(iterable);
            }
            let items = iterate(call.context(), &iterable)?;
            Ok(Dynamic::from(Iter(Arc::new(Mutex::new(items.into_iter())))))
        })
        .builtin(
            "next(iterator, *default)",
            "The next item; at the end the default, or StopIteration.",
            |call| {
                let iterator = call.required(0)?;
                let default = at_most_one(call, "next", 1)?;
                let Some(known) = iterator.read_lock::<Iter>() else {
                    return next_of_lazy(call.context(), iterator.clone(), default);
                };
                let item = known.0.lock().next();
                item_or_stop(item.or(default))
            },
        );
    let natives = &mut module.builtins;

    natives.set_iter(TypeId::of::<Iter>(), |iterator| {
        let iterator = iterator.cast::<Iter>();
        Box::new(std::iter::from_fn(move || iterator.0.lock().next()))
    });
    natives.set_iter(TypeId::of::<List>(), |list| Box::new(Items { list: list.cast(), index: 0 }));
    natives.set_iter(TypeId::of::<Dict>(), |dict| Box::new(dict.cast::<Dict>().keys().into_iter()));
    natives.set_iter(TypeId::of::<ByteArray>(), |bytes| {
        let bytes = bytes.cast::<ByteArray>().to_vec();
        Box::new(bytes.into_iter().map(|byte| Dynamic::from(i64::from(byte))))
    });
    natives.set_iter(TypeId::of::<Map>(), |map| {
        let keys: Vec<Dynamic> =
            map.cast::<Map>().into_keys().map(|key| ImmutableString::from(key.as_str()).into()).collect();
        Box::new(keys.into_iter())
    });
}

/// A loop over a list looks at the list itself, index by index, as in CPython: it sees what is appended while
/// it runs, and ends when the list has become too short.
struct Items {
    list: List,
    index: usize,
}

impl Iterator for Items {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        let item = self.list.change(|items| items.get(self.index).cloned())?;
        self.index += 1;
        Some(to_local(item))
    }
}
