//! A function that is called many times, by any thread: what pools run and what they tell of a result.

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::grain::{SharedProgram, Vm};
use rhai::{Dynamic, Engine, FnArgsVec, FnPtr, ImmutableString, Map, NativeCallContext, Shared};

use super::callable::{apply_keywords, as_function, check_count};
use super::compiled::machine;
use super::exception::{Outcome, arrived, raise, shown_name};
use super::native;
use super::realm::{self, Realm};
use super::variables::{to_local, to_shared};
use crate::runtime::sync::{Arc, AtomicU64, Ordering};

/// A script function with what it captured, in the form that threads share.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub struct Function {
    function: Dynamic,
    /// The function's name, as rhai knows it.
    called: ImmutableString,
    /// The function's name, as CPython would show it.
    name: Arc<str>,
    context: NativeCallContextStore,
    engine: Shared<Engine>,
    /// A number of its own, if the name alone says which function it is; else 0.
    key: u64,
}

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
impl Function {
    /// Takes what `function` needs from the calling thread. Captured variables become shared slots.
    ///
    /// # Errors
    /// TypeError if `function` is no function.
    pub fn new(context: &NativeCallContext, function: &Dynamic) -> Outcome<Arc<Self>> {
        let realm = realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
        let function = as_function(function)?;
        static KEYS: AtomicU64 = AtomicU64::new(1);
        let is_plain = is_plain(&realm, &function);
        let key = if is_plain { KEYS.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Ok(Arc::new(Self {
            called: function.fn_name().into(),
            name: shown_name(function.fn_name()).into(),
            function: to_shared(function.into()),
            context: context.store_data(),
            engine: realm.engine().clone(),
            key,
        }))
    }

    /// [`Function::new`], but for `last` if that is the same function: copying the context costs more than a
    /// short call does.
    ///
    /// # Errors
    /// As [`Function::new`].
    pub fn new_or_last(
        context: &NativeCallContext,
        function: &Dynamic,
        last: &mut Option<Arc<Self>>,
    ) -> Outcome<Arc<Self>> {
        if let (Some(last), Some(function)) = (&*last, function.read_lock::<FnPtr>())
            && last.is(context, &function)
        {
            return Ok(Arc::clone(last));
        }
        let new = Self::new(context, function)?;
        if new.key > 0 {
            *last = Some(Arc::clone(&new));
        }
        Ok(new)
    }

    fn is(&self, context: &NativeCallContext, function: &FnPtr) -> bool {
        if self.key == 0 || function.is_curried() || self.called != function.fn_name() {
            return false;
        }
        let (own, other) = (&self.context.global, context.global_runtime_state());
        own.lib.len() == other.lib.len()
            && own.lib.iter().zip(&other.lib).all(|(a, b)| Shared::ptr_eq(a, b))
            && own.num_imports() == 0
            && other.num_imports() == 0
            && own.source == other.source
    }

    /// A number that this function has and no other, if its name alone says which it is; else 0.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The function as a value, in the form that threads share.
    pub fn pointer(&self) -> &Dynamic {
        &self.function
    }

    /// The function's name as CPython would show it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Puts keyword arguments into the places of the function's parameters.
    ///
    /// # Errors
    /// TypeError if a keyword is none of them.
    pub fn arguments(&self, args: Vec<Dynamic>, keywords: Map) -> Outcome<Vec<Dynamic>> {
        if keywords.is_empty() {
            return Ok(args);
        }
        let realm = realm::current().ok_or_else(|| raise("RuntimeError", "no interpreter"))?;
        let function = self.function.read_lock::<FnPtr>().map(|f| f.clone());
        let function = function.ok_or_else(|| raise("TypeError", "not a function"))?;
        apply_keywords(&realm.functions, &function, args, keywords)
    }

    /// Calls the function once.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call(self: &Arc<Self>, args: Vec<Dynamic>) -> Outcome<Dynamic> {
        Caller::new(&self.engine).load(self).call(args.into_iter())
    }

    /// The compiled function that a call with `count` arguments, captured variables among them, finds.
    fn program(&self, pointer: &FnPtr, count: usize) -> Option<SharedProgram> {
        realm::current()?.compiled.program_of(pointer, count, &self.context.global)
    }
}

/// Is it a script function without captured variables, of a name that no native has?
fn is_plain(realm: &Realm, function: &FnPtr) -> bool {
    !function.is_curried()
        && realm.functions.contains(function.fn_name())
        && native::signature_of(function.fn_name()).is_none()
}

/// What calls functions on one thread, one after the other. The machine that a function runs on costs more than a
/// short call does; it is kept for the next call of the same function.
pub struct Caller<'e> {
    engine: &'e Engine,
    ready: Option<Ready<'e>>,
}

/// A machine that has run a function and may run it again.
struct Ready<'e> {
    function: Arc<Function>,
    /// With how many arguments, captured variables among them.
    count: usize,
    program: SharedProgram,
    vm: Box<Vm<'e>>,
}

impl<'e> Caller<'e> {
    /// One that has called nothing yet.
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine, ready: None }
    }

    /// Makes ready for calls of `function`.
    pub fn load<'c>(&'c mut self, function: &'c Arc<Function>) -> Loaded<'c, 'e> {
        let known = self.ready.as_ref().filter(|ready| Arc::ptr_eq(&ready.function, function));
        let count = known.map(|ready| ready.count);
        // Without captured variables the name says it all, and the machine knows it already.
        let pointer = match count {
            Some(_) => None,
            None => Some(to_local(function.function.clone()).cast()),
        };
        Loaded { caller: self, function, pointer, count }
    }
}

/// A function that is called again and again.
pub struct Loaded<'c, 'e> {
    caller: &'c mut Caller<'e>,
    function: &'c Arc<Function>,
    /// The function with what it captured, as the calling thread may use it.
    pointer: Option<FnPtr>,
    /// The number of arguments, captured variables among them, that is known to be right.
    count: Option<usize>,
}

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
impl Loaded<'_, '_> {
    /// Calls the function.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    #[inline]
    pub fn call(&mut self, args: impl ExactSizeIterator<Item = Dynamic>) -> Outcome<Dynamic> {
        let captured = self.pointer.as_ref().map_or(0, |pointer| pointer.curry().len());
        let count = captured + args.len();
        if self.count != Some(count) {
            self.prepare(args.len(), count)?;
        }
        let function = self.function;
        let context = &function.context;
        let Some(ready) = &mut self.caller.ready else {
            let context = context.create_context(&function.engine);
            let pointer = self.pointer.get_or_insert_with(|| to_local(function.function.clone()).cast());
            return pointer.call_raw(&context, None, args.collect::<FnArgsVec<_>>()).map_err(arrived);
        };
        let captured = self.pointer.iter().flat_map(|pointer| pointer.curry().iter().cloned());
        let all: FnArgsVec<Dynamic> = captured.chain(args).collect();
        let level = context.global.level + 1;
        let result = ready.vm.call_function(&ready.program, &function.called, all, level, context.pos);
        if result.is_err() {
            // What an error left on the machine is nobody's business.
            self.count = None;
            self.caller.ready = None;
        }
        result.map_err(arrived)
    }

    /// Checks the number of arguments, and makes the machine that runs the function if it is a compiled one.
    #[inline(never)]
    fn prepare(&mut self, given: usize, count: usize) -> Outcome<()> {
        let function = self.function;
        let pointer = self.pointer.get_or_insert_with(|| to_local(function.function.clone()).cast());
        self.caller.ready = None;
        self.count = None;
        check_count(pointer, given)?;
        self.count = Some(count);
        self.caller.ready = function.program(pointer, count).map(|program| Ready {
            function: Arc::clone(function),
            count,
            program,
            vm: machine(self.caller.engine, &function.context.global),
        });
        Ok(())
    }
}

impl Drop for Loaded<'_, '_> {
    fn drop(&mut self) {
        // What a closure captured must not live for as long as the thread idles.
        if self.function.key == 0 {
            self.caller.ready = None;
        }
    }
}
