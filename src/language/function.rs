//! A function that is called many times, by any thread: what pools run and what they tell of a result.

#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
use rhai::NativeCallContextStore;
use rhai::{Dynamic, FnPtr, Map, NativeCallContext, Shared};

use super::callable::{apply_keywords, as_function, check_count};
use super::exception::{Outcome, raise, shown_name};
use super::native;
use super::realm::{self, Realm};
use super::variables::{to_local, to_shared};
use crate::runtime::sync::{Arc, AtomicU64, Ordering};

/// A script function with what it captured, in the form that threads share.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
pub struct Function {
    function: Dynamic,
    context: NativeCallContextStore,
    engine: Shared<rhai::Engine>,
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
        if self.key == 0 || function.is_curried() || *self.fn_name() != *function.fn_name() {
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

    fn fn_name(&self) -> rhai::ImmutableString {
        self.function.read_lock::<FnPtr>().map(|f| f.fn_name().into()).unwrap_or_default()
    }

    /// The function's name as CPython would show it.
    pub fn name(&self) -> String {
        shown_name(&self.fn_name())
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

    /// The function as the calling thread may call it, again and again.
    pub fn local(&self) -> LocalFunction<'_> {
        LocalFunction {
            context: self.context.create_context(&self.engine),
            function: to_local(self.function.clone()).cast(),
            checked: None,
        }
    }

    /// Calls the function once.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call(&self, args: Vec<Dynamic>) -> Outcome<Dynamic> {
        self.local().call(args)
    }
}

/// Is it a script function without captured variables, of a name that no native has?
fn is_plain(realm: &Realm, function: &FnPtr) -> bool {
    !function.is_curried()
        && realm.functions.contains(function.fn_name())
        && native::signature_of(function.fn_name()).is_none()
}

/// A [`Function`] on the thread that calls it.
pub struct LocalFunction<'f> {
    context: NativeCallContext<'f>,
    function: FnPtr,
    /// The number of arguments that is known to be right.
    checked: Option<usize>,
}

impl LocalFunction<'_> {
    /// Calls the function.
    ///
    /// # Errors
    /// What the function raises; TypeError for a wrong number of arguments.
    pub fn call(&mut self, args: Vec<Dynamic>) -> Outcome<Dynamic> {
        if self.checked != Some(args.len()) {
            check_count(&self.function, args.len())?;
            self.checked = Some(args.len());
        }
        self.function.call_raw(&self.context, None, args)
    }
}
