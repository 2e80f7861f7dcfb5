//! Builds the rhai engine that speaks the language of this project.

use std::collections::BTreeMap;

use rhai::module_resolvers::{FileModuleResolver, ModuleResolversCollection};
use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Shared};

use super::exception::{Outcome, interrupted, raise};
use super::identity::{class_name, identity};
use super::modules::ModuleNames;
use super::native::NativeModule;
use super::realm::{self, Realm};
use super::variables::{Unsent, synchronise, to_shared};
use super::{builtins, direct, interruption, native, pointer, statements, tokens};
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::tick;

/// CPython's default recursion limit.
const RECURSION_LIMIT: usize = 1000;
/// How deeply expressions may nest in a script's text.
const EXPRESSION_DEPTH: usize = 200;

/// What rhai calls the types of its own values.
const PLAIN_TYPES: [&str; 9] = ["()", "bool", "i64", "f64", "char", "string", "array", "map", "Fn"];

/// Builds the engine of a realm out of native modules.
#[allow(deprecated, reason = "rhai calls its volatile hooks deprecated")]
pub fn build(realm: &Arc<Realm>, modules: Vec<NativeModule>) -> Engine {
    let mut engine = Engine::new_raw();
    engine.register_global_module(StandardPackage::new().as_shared_module());
    // The interner is a lock that every string operation of every thread would take.
    engine.set_max_strings_interned(0);
    engine.set_max_call_levels(RECURSION_LIMIT);
    engine.set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH);

    let mut names = ModuleNames::default();
    let mut natives = NativeModules::new();
    let mut all_builtins = Module::new();
    let mut second = Module::new();
    let mut third = Module::new();
    let mut packages: Vec<(&'static str, Module)> = Vec::new();
    for module in modules {
        names.add(&module);
        for (path, name) in module.first_types {
            // Where rhai looks first.
            engine.register_type_with_name_raw(path, name);
        }
        for (path, name) in module.second_types {
            second.set_custom_type_raw(path, name);
        }
        for (path, name) in module.third_types {
            third.set_custom_type_raw(path, name);
        }
        all_builtins.combine(module.builtins);
        for (path, name) in module.types {
            // Combining modules loses the names of types.
            all_builtins.set_custom_type_raw(path, name);
        }
        packages.push((module.name, module.module));
    }
    for name in PLAIN_TYPES {
        // As it is, but found at once: rhai looks for the name of every call's result, module after module.
        let shown = engine.map_type_name(name).to_string();
        third.set_custom_type_raw(name, shown);
    }
    let (inner, mut roots): (Vec<_>, Vec<_>) = packages.into_iter().partition(|(name, _)| name.contains('.'));
    for (name, module) in inner {
        let module = indexed(name, module);
        // What `from concurrent import futures` makes of `futures::wait`.
        engine.register_static_module(name, module.clone());
        nest(&mut roots, name, module);
    }
    for (name, module) in roots {
        let module = indexed(name, module);
        natives.insert(name, module.clone());
        engine.register_static_module(name, module);
    }
    direct::register(&mut all_builtins);
    let all_builtins: Shared<Module> = all_builtins.into();
    engine.register_global_module(all_builtins.clone());
    engine.register_global_module(third.into());
    engine.register_global_module(second.into());

    let names = Arc::new(names);
    realm.set_modules(Arc::clone(&names));
    statements::register(&mut engine, &names);
    set_resolver(&mut engine, natives);
    set_variables(&mut engine, realm, &names, all_builtins);
    engine.on_parse_token(|token, _, _| tokens::replace(token));
    engine.on_progress(|_| match tick() {
        Ok(()) => {
            synchronise();
            None
        }
        Err(interrupt) if !interruption::is_due(interrupt) => None,
        Err(interrupt) => Some(stop_token(interrupt)),
    });
    engine.on_missing_function(|name, args, is_method, context| {
        if direct::is_second_name(name) {
            // The call under the first name has been here.
            return Ok(None);
        }
        let unsent = args.iter().find_map(|arg| arg.read_lock::<Unsent>().map(|unsent| unsent.clone()));
        if let Some(unsent) = unsent {
            return Err(unsent.error());
        }
        let receiver = args.first().map(|receiver| (**receiver).clone());
        match builtins::forward(name, args, is_method, context)? {
            None if is_method => receiver.map_or(Ok(None), |receiver| no_such_method(&receiver, name)),
            result => Ok(result),
        }
    });
    engine
        .register_indexer_get(|unsent: &mut Unsent, _: &str| -> Outcome<Dynamic> { Err(unsent.error()) })
        .register_indexer_set(|unsent: &mut Unsent, _: &str, _: Dynamic| -> Outcome<()> {
            Err(unsent.error())
        });
    for operator in OPERATORS {
        // The evaluators do not ask about an operator that nothing fits in the same way.
        engine.register_fn(*operator, |a: Unsent, _: Dynamic| -> Outcome<Dynamic> { Err(a.error()) });
        engine.register_fn(*operator, |_: Dynamic, b: Unsent| -> Outcome<Dynamic> { Err(b.error()) });
    }
    let output = Arc::downgrade(realm);
    engine.on_print(move |text| {
        if let Some(realm) = output.upgrade() {
            // A closed standard output is noticed by whoever looks at the result of `print` with `file`.
            let _ = realm.stdout.write(&format!("{text}\n"));
        }
    });
    let output = Arc::downgrade(realm);
    engine.on_debug(move |text, source, position| {
        if let Some(realm) = output.upgrade() {
            let source = source.map_or_else(String::new, |source| format!("{source} @ "));
            let _ = realm.stdout.write(&format!("{source}{position:?} | {text}\n"));
        }
    });
    engine
}

/// What can be computed of two values.
const OPERATORS: &[&str] = &["+", "-", "*", "/", "%", "**", "<", "<=", ">", ">=", "&", "|", "^", "<<", ">>"];

/// AttributeError for a method that objects of the receiver's class do not have; rhai says the rest.
fn no_such_method(receiver: &Dynamic, name: &str) -> Outcome<Option<Dynamic>> {
    match class_name(receiver) {
        Some(class)
            if !name.contains('$')
                && !name.starts_with("__")
                && !native::is_method_of(receiver.type_id(), class, name) =>
        {
            Err(raise("AttributeError", format!("'{class}' object has no attribute '{name}'")))
        }
        _ => Ok(None),
    }
}

/// The value that ends a computation from a safepoint, where rhai offers no other error.
fn stop_token(interrupt: crate::runtime::Interrupt) -> Dynamic {
    match *interrupted(interrupt) {
        rhai::EvalAltResult::ErrorRuntime(value, _) | rhai::EvalAltResult::ErrorTerminated(value, _) => value,
        _ => Dynamic::UNIT,
    }
}

/// Ready to be shared: rhai would make a copy of one that is not indexed, or has no name.
fn indexed(name: &str, mut module: Module) -> Shared<Module> {
    module.set_id(name);
    module.build_index();
    module.into()
}

/// Puts `concurrent.futures` into `concurrent`, and so on.
fn nest(roots: &mut Vec<(&'static str, Module)>, name: &'static str, module: Shared<Module>) {
    let (root, rest) = name.split_once('.').expect("a dotted name");
    if !roots.iter().any(|(name, _)| *name == root) {
        roots.push((root, Module::new()));
    }
    let root = roots.iter_mut().find(|(name, _)| *name == root).expect("just made");
    insert(&mut root.1, rest, module);
}

fn insert(parent: &mut Module, path: &str, module: Shared<Module>) {
    match path.split_once('.') {
        None => {
            parent.set_sub_module(path, module);
        }
        Some((first, rest)) => {
            let mut child = parent.get_sub_module(first).cloned().unwrap_or_default();
            insert(&mut child, rest, module);
            parent.set_sub_module(first, child);
        }
    }
}

/// What `import "threading" as t` finds.
type NativeModules = BTreeMap<&'static str, Shared<Module>>;

struct NativeResolver(NativeModules);

impl ModuleResolver for NativeResolver {
    fn resolve(
        &self,
        _engine: &Engine,
        _source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Outcome<Shared<Module>> {
        let module = self.0.get(path).cloned();
        module.ok_or_else(|| EvalAltResult::ErrorModuleNotFound(path.into(), position).into())
    }
}

fn set_resolver(engine: &mut Engine, natives: NativeModules) {
    let mut resolvers = ModuleResolversCollection::new();
    resolvers.push(NativeResolver(natives));
    resolvers.push(FileModuleResolver::new());
    engine.set_module_resolver(resolvers);
}

#[allow(deprecated, reason = "rhai calls its volatile hooks deprecated")]
fn set_variables(
    engine: &mut Engine,
    realm: &Arc<Realm>,
    names: &Arc<ModuleNames>,
    builtins: Shared<Module>,
) {
    let any_self_captured = Arc::clone(&realm.has_self_captured);
    let realm = Arc::downgrade(realm);
    let names = Arc::clone(names);
    engine.on_var(move |name, index, context| {
        interruption::raise_postponed()?;
        // The realm outlives everything that runs in it; a look-up for a local variable must cost nothing.
        if index > 0 && !any_self_captured.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(realm) = realm.upgrade() else { return Ok(None) };
        if index > 0 {
            return Ok(object_of_local(&realm, name, context));
        }
        if let Some(value) = realm.globals.resolve(name) {
            // A local variable of a block that rhai searches by name hides the global one.
            return Ok(if context.scope().contains(name) { None } else { Some(value) });
        }
        if context.scope().contains(name) {
            return Ok(object_of_local(&realm, name, context));
        }
        // A closure asks for every name in it that is no variable of its own, and fails if there is no answer.
        if name == "__name__" {
            return Ok(Some(realm.name().into()));
        }
        if let Some(unsent) = realm.globals.unsent(name) {
            return Err(unsent.error());
        }
        if realm.functions.contains(name) {
            return Ok(pointer::named(name).map(Dynamic::from));
        }
        if let Some(constant) = builtins.get_var(name) {
            return Ok(Some(constant));
        }
        if names.contains(name) {
            return Ok(Some(name.to_string().into()));
        }
        let function = native_function(name);
        // The variable of a `catch` inside the closure: it will be there when it is needed.
        Ok(function.or_else(|| realm.bound.read().contains(name).then(|| Dynamic::from(Unbound))))
    });
}

/// The object that a local variable refers to, for variables that a callback captured which is given to one of
/// their own methods; an array or map becomes a list or dict first.
fn object_of_local(realm: &Realm, name: &str, mut context: rhai::EvalContext) -> Option<Dynamic> {
    if !realm.is_self_captured(name) {
        return None;
    }
    let value = context.scope().get(name)?.flatten_clone();
    if value.is_array() || value.is_map() {
        let object = to_shared(value);
        let place = context.scope_mut().get_mut(name)?;
        *place = object.clone();
        return Some(object);
    }
    identity(&value).map(|_| value)
}

/// What a closure captures for the variable of a `catch` or `with` that is inside of it.
#[derive(Clone)]
pub struct Unbound;

/// The name of a native function as a value: `map(len, xs)`.
pub(super) fn native_function(name: &str) -> Option<Dynamic> {
    let is_qualified = name.contains('.') && native::signature_of(name).is_some();
    let is_one = is_qualified || native::is_function(name);
    is_one.then(|| pointer::native(name)).flatten().map(Dynamic::from)
}

/// The realm of the calling thread.
///
/// # Panics
/// Outside a script.
pub fn current_realm() -> Arc<Realm> {
    realm::current().expect("called by a script")
}
