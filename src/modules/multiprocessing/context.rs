//! Start methods, and contexts, which are the module with one of them.

use rhai::Dynamic;

use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::Realm;
use crate::language::value;
use crate::runtime::sync::{Arc, Mutex};

use super::pool::new_process_pool;
use super::process;

/// How a child begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMethod {
    /// As a copy of its parent, with the module-level variables as they are.
    #[default]
    Fork,
    /// With a fresh interpreter that runs the script once more as `__mp_main__`.
    Spawn,
    /// The same, under the name that CPython has for having it forked by a server.
    Forkserver,
}

/// All of them, in CPython's order.
const METHODS: [StartMethod; 3] = [StartMethod::Fork, StartMethod::Spawn, StartMethod::Forkserver];

impl StartMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Spawn => "spawn",
            Self::Forkserver => "forkserver",
        }
    }

    /// What the names of a context's processes begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Fork => "Fork",
            Self::Spawn => "Spawn",
            Self::Forkserver => "ForkServer",
        }
    }

    pub(super) fn of_number(number: u64) -> Self {
        METHODS.into_iter().find(|method| *method as u64 == number).unwrap_or_default()
    }
}

impl std::str::FromStr for StartMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = METHODS.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| format!("'{text}' is no start method: use fork, spawn or forkserver"))
    }
}

impl std::fmt::Display for StartMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The method that was chosen, if one was.
#[derive(Default)]
struct Chosen(Mutex<Option<StartMethod>>);

/// The method for processes that say nothing else.
pub(super) fn start_method(realm: &Realm) -> StartMethod {
    realm.extension::<Chosen>().0.lock().unwrap_or_default()
}

/// Chooses the method of an interpreter, over any choice before.
pub fn set_start_method(realm: &Realm, method: StartMethod) {
    *realm.extension::<Chosen>().0.lock() = Some(method);
}

fn method_named(name: &str) -> Outcome<StartMethod> {
    name.parse().map_err(|_| {
        raise(
            "ValueError",
            format!("cannot find context for {}: use fork, spawn or forkserver", value::repr(&name.into())),
        )
    })
}

/// `get_context("spawn")`.
#[derive(Clone)]
pub struct Context(Arc<Option<StartMethod>>);

impl Context {
    /// The method of processes made through it.
    pub fn method(&self) -> Option<StartMethod> {
        *self.0
    }
}

impl Handle for Context {
    const NAME: &'static str = "Context";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

fn choose(call: &mut Call) -> Outcome<Dynamic> {
    let realm = call.realm();
    let name = call.optional_text(0)?;
    let force = call.bool_or(1, false);
    let chosen = realm.extension::<Chosen>();
    let mut chosen = chosen.0.lock();
    if chosen.is_some() && !force {
        return Err(raise("RuntimeError", "context has already been set"));
    }
    *chosen = name.map(|name| method_named(&name)).transpose()?;
    Ok(Dynamic::UNIT)
}

/// Reads a context or the name of a start method, as in `Pool(context=…)`; nothing for `None`.
///
/// # Errors
/// ValueError for a name that no method has, TypeError for anything else.
pub fn context_argument(call: &mut Call, index: usize) -> Outcome<Option<StartMethod>> {
    let Some(given) = call.argument(index).filter(|given| !given.is_unit()) else { return Ok(None) };
    if let Some(context) = given.read_lock::<Context>() {
        return Ok(context.method());
    }
    match given.read_lock::<rhai::ImmutableString>() {
        Some(name) => method_named(&name).map(Some),
        None => {
            let shown = value::repr(&given);
            Err(raise("TypeError", format!("a context is what get_context() returns, not {shown}")))
        }
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<Context>()
        .function(
            "set_start_method(method, force=False)",
            "Chooses how processes begin: fork, spawn or forkserver.",
            choose,
        )
        .function("get_start_method(allow_none=False)", "How processes begin.", |call| {
            let realm = call.realm();
            if call.bool_or(0, false) && realm.extension::<Chosen>().0.lock().is_none() {
                return Ok(Dynamic::UNIT);
            }
            let method = start_method(&realm);
            set_start_method(&realm, method);
            Ok(method.name().into())
        })
        .function("get_all_start_methods()", "The start methods that there are.", |_| {
            Ok(Dynamic::from(List::new(METHODS.iter().map(|method| method.name().into()).collect())))
        })
        .function(
            "get_context(method=None)",
            "An object with everything of this module, whose processes begin by that method.",
            |call| {
                let method = call.optional_text(0)?.map(|name| method_named(&name)).transpose()?;
                Ok(Dynamic::from(Context(Arc::new(method))))
            },
        )
        .method::<Context, _>(
            "get_start_method(allow_none=False)",
            "How the context's processes begin.",
            |context, call| Ok(context.method().unwrap_or_else(|| start_method(&call.realm())).name().into()),
        )
        .method::<Context, _>(
            "set_start_method(method, force=False)",
            "The default context: chooses the method. Any other: ValueError.",
            |context, call| match context.method() {
                None => choose(call),
                Some(_) => Err(raise("ValueError", "cannot set start method of concrete context")),
            },
        )
        .method::<Context, _>(
            process::SIGNATURE,
            "A process that begins by the context's method.",
            |context, call| process::construct(call, context.method()),
        )
        .method::<Context, _>(
            "Pool(processes=None, initializer=None, initargs=(), maxtasksperchild=None)",
            "A pool whose processes begin by the context's method.",
            |context, call| new_process_pool(call, context.method()),
        );
}
