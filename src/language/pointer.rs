//! Function pointers by name: what a process tells another one so that it finds the same function.

use std::cell::RefCell;
use std::sync::OnceLock;

use rhai::{AST, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext, ScriptFuncDef};

use super::callable::FunctionTable;
use super::engine::native_function;
use super::exception::{Outcome, raise};
use super::{realm, tokens};

/// The function behind a pointer, without what the pointer captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A function of the program, or a method or native that is called by its plain name.
    Plain(String),
    /// A closure of the program, whose name the parser made.
    Closure(String),
    /// A native, by its qualified name: `time.sleep`.
    Native(String),
}

thread_local! {
    /// Set while a native's pointer is asked for its name instead of being called: the answer.
    static ASKED: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// To be called first by the pointer of the native `name`: true if it was only asked who it is.
fn answer(name: &str) -> bool {
    ASKED.with_borrow_mut(|asked| match asked {
        Some(answer) => {
            *answer = Some(name.to_string());
            true
        }
        None => false,
    })
}

impl Name {
    /// The name of the function that a pointer leads to.
    pub fn of(function: &FnPtr) -> Self {
        let name = function.fn_name().to_string();
        if function.is_anonymous() {
            return Self::Closure(name);
        }
        let mut bare = function.clone();
        bare.set_curry([]);
        // Rhai shows the three kinds of pointers as `Fn`, `Fn*` (a script's) and `Fn#` (a native's).
        let qualified = format!("{bare:?}").starts_with("Fn#").then(|| ask(&bare)).flatten();
        qualified.map_or(Self::Plain(name), Self::Native)
    }

    /// A pointer to the function of that name in the program that the calling thread runs.
    ///
    /// # Errors
    /// AttributeError if it has none.
    pub fn resolve(&self) -> Outcome<FnPtr> {
        let realm = realm::current();
        let functions = realm.as_ref().map(|realm| &realm.functions);
        match self {
            Self::Plain(name) => named(name).ok_or_else(|| missing(name)),
            Self::Closure(name) => {
                let known = functions.map(|functions| functions.parameters(name));
                match known.as_deref() {
                    Some([]) => Err(missing(name)),
                    Some([params, ..]) => Ok(closure(name, params)),
                    None => Ok(closure(name, &[])),
                }
            }
            Self::Native(name) => native_function(name)
                .and_then(|function| function.try_cast::<FnPtr>())
                .ok_or_else(|| missing(name)),
        }
    }
}

/// A pointer to the function called `name`; nothing for what can be no function's name.
pub(super) fn named(name: &str) -> Option<FnPtr> {
    match FnPtr::new(name) {
        Ok(function) => Some(function),
        // Rhai makes no pointer of a word that it reserves, but follows one that it has.
        Err(_) => tokens::is_freed(name).then(|| closure(name, &[])),
    }
}

/// A pointer to the native with that name, which may be qualified. The pointer's own name is none of a script's
/// function: that would be called instead of the native, and its parameters would count.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub fn native(name: &str) -> Option<FnPtr> {
    let called = name.to_string();
    let body = move |context: NativeCallContext, args: &mut [&mut Dynamic]| {
        if answer(&called) {
            return Ok(Dynamic::UNIT);
        }
        let mut args: Vec<Dynamic> = args.iter_mut().map(|arg| arg.take()).collect();
        let mut args: Vec<&mut Dynamic> = args.iter_mut().collect();
        context.call_native_fn_raw(&called, false, &mut args)
    };
    let short = name.rsplit('.').next().unwrap_or(name);
    let functions = realm::current();
    let functions = functions.as_ref().map(|realm| &realm.functions);
    FnPtr::from_dyn_fn(free_name(functions, short), Box::new(body)).ok()
}

/// The name, or another one that looks like it: none of these functions has it, and rhai makes a pointer of it, which it
/// does not of words that are special to its parser, such as `print`.
pub fn free_name(functions: Option<&FunctionTable>, name: &str) -> String {
    let mut name = name.to_string();
    while functions.is_some_and(|functions| functions.contains(&name)) || FnPtr::new(&*name).is_err() {
        name.push('_');
    }
    name
}

fn missing(name: &str) -> Box<rhai::EvalAltResult> {
    let shown = super::exception::shown_name(name);
    raise(
        "AttributeError",
        format!(
            "Can't get attribute '{shown}' on <module '__main__'>: this process's program has no such function"
        ),
    )
}

/// The qualified name of the native behind a pointer.
fn ask(function: &FnPtr) -> Option<String> {
    ASKED.set(Some(None));
    let answered = match realm::current() {
        Some(realm) => function.call::<Dynamic>(realm.engine(), &AST::empty(), ()),
        None => function.call::<Dynamic>(&Engine::new_raw(), &AST::empty(), ()),
    };
    let answer = ASKED.take().flatten();
    answered.ok().and(answer)
}

/// A pointer to a closure. Rhai makes them only from definitions, of which name and parameters matter.
fn closure(name: &str, params: &[String]) -> FnPtr {
    let mut definition = definition().clone();
    definition.name = name.into();
    definition.params = params.iter().map(ImmutableString::from).collect();
    FnPtr::from(definition)
}

/// The definition of a function that does nothing, as the parser makes it.
pub(super) fn definition() -> &'static ScriptFuncDef {
    static DEFINITION: OnceLock<ScriptFuncDef> = OnceLock::new();
    DEFINITION.get_or_init(|| {
        let ast = Engine::new_raw().compile("fn f() {}").expect("a function that does nothing");
        ScriptFuncDef::clone(ast.iter_fn_def().next().expect("the one that was just compiled"))
    })
}
