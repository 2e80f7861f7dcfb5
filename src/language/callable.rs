//! Script functions as values: how natives call them, on this thread and on others.

use std::collections::HashMap;

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::grain::{SharedProgram, Vm};
use rhai::{AST, Dynamic, EvalAltResult, FnArgsVec, FnPtr, ImmutableString, Map, NativeCallContext, Shared};

use super::cell::cell_of;
use super::compiled::machine;
use super::exception::{Outcome, arrived, raise};
use super::variables::{to_local, to_shared};
use super::{pointer, value};
use crate::runtime::sync::RwLock;

/// The parameters of every script function, for keyword arguments and for errors about their number.
#[derive(Default)]
pub struct FunctionTable(RwLock<HashMap<String, Vec<Vec<String>>>>);

impl FunctionTable {
    /// Adds a program's functions.
    pub fn add(&self, ast: &AST) {
        let mut table = self.0.write();
        for function in ast.iter_functions() {
            let params: Vec<String> = function.params.iter().map(|p| p.to_string()).collect();
            let known = table.entry(function.name.to_string()).or_default();
            known.retain(|k| k.len() != params.len());
            known.push(params);
        }
    }

    /// The parameter lists of the functions called `name`.
    pub fn parameters(&self, name: &str) -> Vec<Vec<String>> {
        self.0.read().get(name).cloned().unwrap_or_default()
    }

    /// May the function called `name` be called with that many arguments, as far as is known?
    fn accepts(&self, name: &str, given: usize) -> bool {
        let table = self.0.read();
        table.get(name).is_none_or(|known| known.iter().any(|params| params.len() == given))
    }

    /// Is there a script function of that name?
    pub fn contains(&self, name: &str) -> bool {
        self.0.read().contains_key(name)
    }

    /// CPython's message for a call with the wrong number of arguments; nothing if the number is right or
    /// nothing is known of the function.
    pub fn explain_count(&self, name: &str, given: usize) -> Option<String> {
        let known = self.parameters(name);
        if known.is_empty() || known.iter().any(|params| params.len() == given) {
            return None;
        }
        let params = known.iter().max_by_key(|params| params.len())?;
        let shown = super::exception::shown_name(name);
        Some(wrong_count(&shown, params, given))
    }
}

fn wrong_count(name: &str, params: &[String], given: usize) -> String {
    if given > params.len() {
        let s = if params.len() == 1 { "" } else { "s" };
        let was = if given == 1 { "was" } else { "were" };
        return format!("{name}() takes {} positional argument{s} but {given} {was} given", params.len());
    }
    let missing: Vec<String> = params[given..].iter().map(|p| format!("'{p}'")).collect();
    let list = match &missing[..] {
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
        [] => String::new(),
    };
    let s = if missing.len() == 1 { "" } else { "s" };
    format!("{name}() missing {} required positional argument{s}: {list}", missing.len())
}

/// The place of a call: what else can be called from there, later and on any thread.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub type CallSite = NativeCallContextStore;

/// A function with the arguments of one call, ready to run on any thread.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub struct Callable {
    function: Dynamic,
    /// The function's name, as rhai knows it.
    called: ImmutableString,
    this: Option<Dynamic>,
    args: Vec<Dynamic>,
    context: NativeCallContextStore,
    engine: Shared<rhai::Engine>,
}

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
impl Callable {
    /// Takes what `function` needs from the calling thread. Captured variables become shared slots, arrays and
    /// maps among the arguments stay copies.
    ///
    /// # Errors
    /// TypeError if `function` is no function, or if a keyword is none of its parameters.
    pub fn new(
        context: &NativeCallContext,
        function: &Dynamic,
        args: Vec<Dynamic>,
        keywords: Map,
    ) -> Outcome<Self> {
        let realm = super::realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
        let function = as_function(function)?;
        let args = match keywords.is_empty() {
            true => args,
            false => apply_keywords(&realm.functions, &function, args, keywords)?,
        };
        Ok(Self {
            called: function.fn_name().into(),
            function: to_shared(function.into()),
            this: None,
            args: args.into_iter().map(Dynamic::flatten).collect(),
            context: context.store_data(),
            engine: realm.engine().clone(),
        })
    }

    /// Takes a function and its arguments as another process has sent them, to be called from `context`.
    pub fn received(
        context: CallSite,
        engine: &Shared<rhai::Engine>,
        function: Dynamic,
        args: Vec<Dynamic>,
    ) -> Self {
        let called = function.read_lock::<FnPtr>().map(|function| function.fn_name().into());
        let called = called.unwrap_or_default();
        Self { called, function, this: None, args, context, engine: engine.clone() }
    }

    /// What `this` is bound to in the function.
    pub fn set_this(&mut self, this: Dynamic) {
        self.this = Some(this);
    }

    /// The function's name as CPython would show it in `Thread-1 (name)`.
    pub fn name(&self) -> String {
        super::exception::shown_name(&self.called)
    }

    /// Calls the function on the calling thread, with other arguments than its own, as often as wanted.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call_with(&self, args: Vec<Dynamic>) -> Outcome<Dynamic> {
        let context = self.context.create_context(&self.engine);
        let function = to_local(self.function.clone()).cast::<FnPtr>();
        check_count(&function, args.len())?;
        function.call_raw(&context, None, args).map_err(arrived)
    }

    /// Calls the function on the calling thread.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call(mut self: Box<Self>) -> Outcome<Dynamic> {
        let result = match self.prepare()? {
            Some(program) => self.call_compiled_anew(&program),
            None => self.call_engine(),
        };
        result.map_err(arrived)
    }

    /// As [`Callable::call`], on a machine that was made for the place of the call.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call_on(&mut self, machine: &mut Vm<'_>) -> Outcome<Dynamic> {
        let result = match self.prepare()? {
            Some(program) => {
                let args = all_args(&self.function, &mut self.args);
                self.call_compiled(machine, &program, args)
            }
            None => self.call_engine(),
        };
        result.map_err(arrived)
    }

    /// Makes the captured variables the calling thread's, and looks for the compiled function.
    // Not inlined, like the others: a thread that sleeps in its function keeps only what that needs on the stack.
    #[inline(never)]
    fn prepare(&mut self) -> Outcome<Option<SharedProgram>> {
        let function = to_local(std::mem::take(&mut self.function)).cast::<FnPtr>();
        check_count(&function, self.args.len())?;
        let count = function.curry().len() + self.args.len();
        let program = match (&self.this, super::realm::current()) {
            (None, Some(realm)) => realm.compiled.program_of(&function, count, &self.context.global),
            _ => None,
        };
        self.function = function.into();
        Ok(program)
    }

    #[inline(never)]
    fn call_compiled_anew(&mut self, program: &SharedProgram) -> Outcome<Dynamic> {
        let args = all_args(&self.function, &mut self.args);
        self.call_compiled(&mut machine(&self.engine, &self.context.global), program, args)
    }

    fn call_compiled(
        &self,
        machine: &mut Vm<'_>,
        program: &SharedProgram,
        args: FnArgsVec<Dynamic>,
    ) -> Outcome<Dynamic> {
        machine.call_function(program, &self.called, args, self.context.global.level + 1, self.context.pos)
    }

    #[inline(never)]
    fn call_engine(&mut self) -> Outcome<Dynamic> {
        let context = self.context.create_context(&self.engine);
        let function = std::mem::take(&mut self.function).cast::<FnPtr>();
        function.call_raw(&context, self.this.as_mut(), std::mem::take(&mut self.args))
    }
}

/// What a function captured, and its arguments.
#[inline(never)]
fn all_args(function: &Dynamic, args: &mut Vec<Dynamic>) -> FnArgsVec<Dynamic> {
    let captured = function.read_lock::<FnPtr>();
    let captured = captured.iter().flat_map(|function| function.iter_curry().cloned());
    captured.chain(std::mem::take(args)).collect()
}

/// The function that a value stands for: a function pointer or a function's name.
///
/// # Errors
/// TypeError.
pub fn as_function(value: &Dynamic) -> Outcome<FnPtr> {
    let value = value.flatten_clone();
    if let Some(function) = value.read_lock::<FnPtr>() {
        return Ok(function.clone());
    }
    if let Some(name) = value.read_lock::<rhai::ImmutableString>() {
        return pointer::named(&name).ok_or_else(|| {
            raise("TypeError", format!("'{}' is no function's name: give a function", name.as_str()))
        });
    }
    let shown = value::repr(&value);
    Err(raise(
        "TypeError",
        format!(
            "'{}' object is not callable: {shown} stands where a function is needed",
            value::type_name(&value)
        ),
    ))
}

/// Checks the number of arguments of a script function, with CPython's message.
///
/// # Errors
/// TypeError if it is wrong.
pub fn check_count(function: &FnPtr, given: usize) -> Outcome<()> {
    let Some(realm) = super::realm::current() else { return Ok(()) };
    let curried = function.curry().len();
    if realm.functions.accepts(function.fn_name(), given + curried) {
        return Ok(());
    }
    let known = realm.functions.parameters(function.fn_name());
    let Some(params) = known.iter().max_by_key(|params| params.len()) else { return Ok(()) };
    let own = params.get(curried.min(params.len())..).unwrap_or_default();
    let shown = super::exception::shown_name(function.fn_name());
    Err(raise("TypeError", wrong_count(&shown, own, given)))
}

/// Puts keyword arguments into the places of the function's parameters.
///
/// # Errors
/// TypeError for a keyword that is no parameter, and for a parameter that gets no argument.
pub fn apply_keywords(
    table: &FunctionTable,
    function: &FnPtr,
    mut args: Vec<Dynamic>,
    mut keywords: Map,
) -> Outcome<Vec<Dynamic>> {
    let name = super::exception::shown_name(function.fn_name());
    let curried = function.curry().len();
    let wanted = curried + args.len() + keywords.len();
    let known = table.parameters(function.fn_name());
    let params = known
        .iter()
        .find(|params| params.len() == wanted)
        .or_else(|| known.iter().max_by_key(|params| params.len()))
        .ok_or_else(|| raise("TypeError", format!("{name}() takes no keyword arguments")))?;
    let own = params.get(curried.min(params.len())..).unwrap_or_default();
    for (index, param) in own.iter().enumerate() {
        match keywords.remove(param.as_str()) {
            Some(_) if index < args.len() => {
                return Err(raise(
                    "TypeError",
                    format!("{name}() got multiple values for argument '{param}'"),
                ));
            }
            Some(value) if index == args.len() => args.push(value),
            Some(_) => {
                let missing = &own[args.len()];
                let text = format!("{name}() missing 1 required positional argument: '{missing}'");
                return Err(raise("TypeError", text));
            }
            None => {}
        }
    }
    match keywords.keys().next() {
        None => Ok(args),
        Some(unknown) => {
            let names = own.join(", ");
            let text = format!(
                "{name}() got an unexpected keyword argument '{unknown}': its parameters are ({names})"
            );
            Err(raise("TypeError", text))
        }
    }
}

/// Calls a script function from a native one, on the same thread.
///
/// `receiver` is the object whose method makes the call. Rhai holds the variable that contains it for as long
/// as the method runs, and a callback that captured that variable would find it taken; it gets the object.
///
/// # Errors
/// What the function raises.
pub fn invoke(
    context: &NativeCallContext,
    function: &FnPtr,
    receiver: Option<&Dynamic>,
    args: Vec<Dynamic>,
) -> Result<Dynamic, Box<EvalAltResult>> {
    check_count(function, args.len())?;
    let result = match receiver {
        Some(receiver) if function.is_curried() => {
            free_taken_variables(function, receiver).call_raw(context, None, args)
        }
        _ => function.call_raw(context, None, args),
    };
    result.map_err(arrived)
}

/// The function with the receiver itself in place of captured variables that are taken.
pub fn free_taken_variables(function: &FnPtr, receiver: &Dynamic) -> FnPtr {
    let is_taken = |value: &Dynamic| cell_of(value).is_some_and(|cell| cell.try_read().is_err());
    if !function.iter_curry().any(is_taken) {
        return function.clone();
    }
    let mut freed = function.clone();
    let curry: Vec<Dynamic> = function
        .iter_curry()
        .map(|value| if is_taken(value) { receiver.clone() } else { value.clone() })
        .collect();
    freed.set_curry(curry);
    freed
}
