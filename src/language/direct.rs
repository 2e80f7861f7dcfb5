//! Methods that rhai calls directly, without looking for a function of the script's first.
//!
//! Before it calls a native, rhai looks whether the script has a function of that name for objects of that class, and
//! then one for all objects. For the small methods that scripts call all the time, those of locks and queues, that is a
//! fifth of the call. It knows that there is none where the name is none that a script could give to a function. So
//! the natives of [`NAMES`] are there under a second name with a [`MARK`] as well, and a program that uses such a name
//! for nothing but to call methods is parsed once more, with the marks ([`super::tokens`]).
//!
//! The receiver need not be an object of ours: whatever has no native under the second name gets the call under its
//! own name ([`register`]).

use std::any::TypeId;
use std::collections::BTreeSet;

use rhai::{
    Dynamic, FnNamespace, FnPtr, FuncRegistration, Module, NativeCallContext, RhaiFunc, Shared, Token,
};

use super::exception::Outcome;
use super::statements::enter;

/// The methods, in the order of the alphabet. Strings, arrays and maps have none of them but `get`: those would take
/// longer.
const NAMES: &[&str] = &[
    "acquire",
    "add",
    "empty",
    "full",
    "get",
    "get_lock",
    "get_nowait",
    "is_set",
    "locked",
    "notify",
    "poll",
    "put",
    "put_nowait",
    "qsize",
    "recv",
    "recv_bytes",
    "release",
    "send",
    "send_bytes",
    "submit",
    "task_done",
    "wait",
];

/// The one that is called for the sake of a `with`: `with v.get_lock() { … }` ([`super::one_round`]).
pub const GET_LOCK: &str = "get_lock";

/// What the second name ends with.
const MARK: char = '.';

/// The most arguments with which something else than a native can be called by a second name.
const MOST_ARGUMENTS: usize = 15;

/// What rhai calls.
pub type Body = dyn Fn(Option<NativeCallContext>, &mut [&mut Dynamic]) -> Outcome<Dynamic> + Send + Sync;

/// The second name of a native method, if it has one.
pub fn second_name(method: &str) -> Option<String> {
    NAMES.binary_search(&method).is_ok().then(|| format!("{method}{MARK}"))
}

/// Is it the second name of a method?
pub fn is_second_name(name: &str) -> bool {
    name.ends_with(MARK)
}

/// Puts a native method into a module under its second name too, if it has one. [`GET_LOCK`] is an attribute as well,
/// the value of which is entered when it is read.
pub fn add(module: &mut Module, namespace: FnNamespace, name: &str, types: &[TypeId], body: &Shared<Body>) {
    let Some(second) = second_name(name) else { return };
    let mut define = |name: &str, func| {
        let func = RhaiFunc::Method { func, has_context: true, is_pure: true, is_volatile: true };
        FuncRegistration::new(name).with_namespace(namespace).set_into_module_raw(module, types, func);
    };
    if name == GET_LOCK && types.len() == 1 {
        let body = Shared::clone(body);
        let enter = move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
            let context = context.expect("registered with a context");
            let value = body(Some(copy_of(&context)), args)?;
            enter(&context, value)
        };
        define(&format!("get${second}"), Shared::new(enter));
    }
    define(&second, Shared::clone(body));
}

fn copy_of<'a>(context: &'a NativeCallContext) -> NativeCallContext<'a> {
    NativeCallContext::new_with_all_fields(
        context.engine(),
        context.fn_name(),
        context.call_source(),
        context.global_runtime_state(),
        context.call_position(),
    )
}

/// What a program uses the names for.
#[derive(Default)]
pub struct Uses {
    called: BTreeSet<&'static str>,
    otherwise: BTreeSet<&'static str>,
    /// The name that was the last token, behind a point: is it called?
    last: Option<&'static str>,
}

impl Uses {
    /// Notes the next token, which stands behind a point or does not.
    pub fn note(&mut self, token: &Token, behind_point: bool) {
        if let Some(name) = self.last.take() {
            // `()` is one token.
            let is_called = matches!(token, Token::LeftParen | Token::Unit);
            let uses = if is_called { &mut self.called } else { &mut self.otherwise };
            uses.insert(name);
        }
        let (Token::Identifier(name) | Token::StringConstant(name)) = token else { return };
        let Ok(at) = NAMES.binary_search(&name.as_str()) else { return };
        if behind_point && matches!(token, Token::Identifier(_)) {
            self.last = Some(NAMES[at]);
        } else {
            self.otherwise.insert(NAMES[at]);
        }
    }

    /// The names by which methods are called, and which mean nothing else.
    pub fn only_called(mut self) -> BTreeSet<&'static str> {
        self.otherwise.extend(self.last);
        &self.called - &self.otherwise
    }
}

/// Lets all values be called by the second names, as by the first.
pub fn register(module: &mut Module) {
    for &name in NAMES {
        let body = move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
            call_by_first_name(&context.expect("registered with a context"), name, args)
        };
        let body: Shared<Body> = Shared::new(body);
        for count in 0..=MOST_ARGUMENTS {
            let types = vec![TypeId::of::<Dynamic>(); count + 1];
            add(module, FnNamespace::Global, name, &types, &body);
        }
    }
}

fn call_by_first_name(
    context: &NativeCallContext,
    name: &str,
    args: &mut [&mut Dynamic],
) -> Outcome<Dynamic> {
    if let Some(method) = own_method(args[0], name) {
        let (this, rest) = args.split_first_mut().expect("a method has a receiver");
        let rest: Vec<Dynamic> = rest.iter_mut().map(|arg| std::mem::take(*arg)).collect();
        return method.call_raw(context, Some(this), rest);
    }
    context.call_fn_raw(name, true, true, args)
}

/// The function that a map has under the name, which is its method.
fn own_method(receiver: &Dynamic, name: &str) -> Option<FnPtr> {
    receiver.as_map_ref().ok()?.get(name)?.read_lock::<FnPtr>().map(|function| function.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpreter;
    use crate::language::tokens;

    #[test]
    fn the_names_are_in_order() {
        assert!(NAMES.is_sorted());
        assert!(NAMES.contains(&GET_LOCK));
    }

    /// The names that are called directly in a script.
    fn direct(text: &str) -> Vec<&'static str> {
        let interpreter = Interpreter::builder().build().expect("builds");
        tokens::begin(Default::default(), Default::default());
        let parsed = interpreter.realm().engine().compile(text);
        let names = tokens::end();
        parsed.expect("is a script");
        names.direct.into_iter().collect()
    }

    #[test]
    fn a_name_is_called_directly_if_it_means_nothing_else() {
        assert_eq!(
            direct("q.put(1); q.a.get(); q?.get ( ); with v.get_lock() { }"),
            ["get", "get_lock", "put"]
        );
        assert_eq!(direct("`${q.get()}`; [|| q.put(1)]"), ["get", "put"]);
        assert!(direct("put(1); q.put(2)").is_empty());
        assert!(direct("q.put(1); q.put").is_empty());
        assert!(direct("fn put(x) { } q.put(1)").is_empty());
        assert!(direct("fn array.put(x) { } q.put(1)").is_empty());
        assert!(direct("let put = 1; q.put(1)").is_empty());
        assert!(direct("let m = #{ put: |x| x }; m.put(1)").is_empty());
        assert!(direct("let m = #{}; m[\"put\"] = |x| x; m.put(1)").is_empty());
        assert!(direct("time::get(1)").is_empty());
        assert!(direct("a.b(1); a.c()").is_empty());
    }
}
