//! Native functions with Python's calling convention.
//!
//! A native is declared by a signature as Python's documentation writes it, one line of documentation, and a
//! function:
//!
//! ```text
//! module.function("put(item, block=True, timeout=None)", "Puts an item into the queue.", |call| …)
//! ```
//!
//! Leading arguments are positional; an object map in the last place, beyond the required parameters, holds
//! keywords, and `kwargs(#{…})` does anywhere. The same text makes the REPL's help and the error messages.

mod documentation;
mod signature;

use std::any::TypeId;
use std::time::{Duration, Instant};

use rhai::{
    Dynamic, FnNamespace, FuncRegistration, INT, ImmutableString, Map, Module, NativeCallContext, RhaiFunc,
    Shared,
};

pub use documentation::{Entry, entries, has_method, is_function, is_method_of, is_module, signature_of};
use documentation::{add_module, document, document_method};
pub use signature::{Parameter, Signature};

use super::exception::{Class, Exception, Outcome, raise};
use super::identity::{self, Handle};
use super::nesting::{cut_is_fine, uncut};
use super::realm::{self, Realm};
use super::value;
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Site, Wait};

/// `kwargs(#{…})`: keywords, wherever they stand.
#[derive(Clone)]
pub struct Keywords(pub Map);

/// A call of a native function.
pub struct Call<'c, 'a, 'd> {
    context: &'c NativeCallContext<'a>,
    signature: &'c Signature,
    args: &'c mut [&'d mut Dynamic],
    keywords: Option<Map>,
}

impl<'c, 'a, 'd> Call<'c, 'a, 'd> {
    fn new(
        context: &'c NativeCallContext<'a>,
        signature: &'c Signature,
        args: &'c mut [&'d mut Dynamic],
    ) -> Outcome<Self> {
        let mut call = Self { context, signature, args, keywords: None };
        if call.args.is_empty() && signature.required == 0 {
            return Ok(call);
        }
        call.find_keywords();
        if call.args.len() != signature.positional || call.keywords.is_some() {
            call.check()?;
        }
        Ok(call)
    }

    fn find_keywords(&mut self) {
        let Some(last) = self.args.len().checked_sub(1) else { return };
        let value = &self.args[last];
        let keywords = if let Some(keywords) = value.read_lock::<Keywords>() {
            keywords.0.clone()
        } else if last >= self.signature.required
            && (!self.signature.variadic || self.signature.parameters.len() > self.signature.positional)
            && value.is_map()
        {
            match value.as_map_ref() {
                // In a call with any number of arguments a map is one of them, unless all its keys are keywords.
                Ok(map) if !self.signature.variadic || self.names_keywords(&map) => map.clone(),
                _ => return,
            }
        } else {
            return;
        };
        self.keywords = Some(keywords);
        let args = std::mem::take(&mut self.args);
        self.args = &mut args[..last];
    }

    fn names_keywords(&self, map: &Map) -> bool {
        // Only those behind the arguments of any number: the others are given in front of them.
        let keywords = &self.signature.parameters[self.signature.positional..];
        !map.is_empty() && map.keys().all(|key| keywords.iter().any(|p| p.name == key.as_str()))
    }

    fn check(&self) -> Outcome<()> {
        let signature = self.signature;
        let given = self.args.len();
        let name = signature.name;
        if given > signature.positional && !signature.variadic {
            let most = signature.positional;
            return Err(raise(
                "TypeError",
                format!(
                    "{name}() takes at most {most} arguments but {given} were given: use {}",
                    signature.text
                ),
            ));
        }
        if let Some(keywords) = &self.keywords {
            for key in keywords.keys() {
                match signature.by_keyword(key.as_str()) {
                    Some(at) if at < given && !signature.variadic => {
                        return Err(raise(
                            "TypeError",
                            format!("{name}() got multiple values for argument '{key}'"),
                        ));
                    }
                    Some(_) => {}
                    None if signature.any_keyword => {}
                    None => {
                        let known: Vec<_> = signature.by_keywords().map(|p| p.name).collect();
                        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                        let text = format!(
                            "{name}() got an unexpected keyword argument '{key}': the keywords are {known}"
                        );
                        return Err(raise("TypeError", text));
                    }
                }
            }
        }
        for (at, parameter) in signature.parameters.iter().enumerate().skip(given) {
            let by_keyword = at >= signature.positional_only
                && self.keywords.as_ref().is_some_and(|k| k.contains_key(parameter.name));
            if parameter.required && !by_keyword && at < signature.positional {
                let text = format!(
                    "{name}() missing required argument '{}': use {}",
                    parameter.name, signature.text
                );
                return Err(raise("TypeError", text));
            }
        }
        Ok(())
    }

    /// Rhai's context of the call.
    pub fn context(&self) -> &'c NativeCallContext<'a> {
        self.context
    }

    /// The interpreter that makes the call.
    ///
    /// # Panics
    /// Outside a script, where nothing calls natives.
    pub fn realm(&self) -> Arc<Realm> {
        realm::current().expect("natives are called by scripts, and those run in a realm")
    }

    /// The script line of the call.
    pub fn site(&self) -> Site {
        let line = self.context.call_position().line().unwrap_or(0);
        realm::site(self.context.call_source().unwrap_or(""), line as u32)
    }

    /// What reports call the object that this call makes.
    pub fn label(&self, class: &'static str) -> Label {
        Label { class, name: self.object_name(), made: self.site() }
    }

    /// The name of the variable that the call's result is first given to, if it is known.
    pub fn object_name(&self) -> Option<Arc<str>> {
        self.realm().object_name(self.context.call_source(), self.context.call_position())
    }

    /// The argument for parameter `index`, or nothing if it was not given. It is thereby taken.
    pub fn argument(&mut self, index: usize) -> Option<Dynamic> {
        if index < self.signature.positional && index < self.args.len() {
            return Some(std::mem::take(self.args[index]).flatten());
        }
        let name = self.signature.parameters.get(index)?.name;
        if index < self.signature.positional_only {
            return None;
        }
        self.keywords.as_mut()?.remove(name).map(Dynamic::flatten)
    }

    /// The argument for the parameter called `name`, or nothing if it was not given or there is no such parameter.
    /// It is thereby taken.
    pub fn named(&mut self, name: &str) -> Option<Dynamic> {
        let index = self.signature.parameters.iter().position(|parameter| parameter.name == name)?;
        self.argument(index)
    }

    /// A timeout, as [`Call::seconds`], for the parameter called `name`.
    ///
    /// # Errors
    /// As [`Call::seconds`].
    pub fn named_seconds(&mut self, name: &str) -> Outcome<Option<f64>> {
        match self.signature.parameters.iter().position(|parameter| parameter.name == name) {
            Some(index) => self.seconds(index),
            None => Ok(None),
        }
    }

    /// Was a keyword given, and not taken yet?
    pub fn has_keyword(&self, name: &str) -> bool {
        self.keywords.as_ref().is_some_and(|keywords| keywords.contains_key(name))
    }

    /// How many arguments were given by position.
    pub fn positional(&self) -> usize {
        self.args.len()
    }

    /// Were just `count` arguments given, by position, and no keywords?
    pub fn is_plain(&self, count: usize) -> bool {
        self.args.len() == count && self.keywords.is_none()
    }

    /// Was `None` given by position at `index`?
    pub fn is_none(&self, index: usize) -> bool {
        self.args.get(index).is_some_and(|arg| arg.is_unit())
    }

    /// The argument for a parameter that has no default.
    ///
    /// # Errors
    /// TypeError when it was not given.
    pub fn required(&mut self, index: usize) -> Outcome<Dynamic> {
        let (name, text) = (self.parameter_name(index), self.signature.text);
        self.argument(index)
            .ok_or_else(|| raise("TypeError", format!("missing required argument '{name}': use {text}")))
    }

    fn parameter_name(&self, index: usize) -> &'static str {
        self.signature.parameters.get(index).map_or("?", |p| p.name)
    }

    /// The arguments from position `index` on, of a function that takes any number.
    pub fn rest(&mut self, index: usize) -> Vec<Dynamic> {
        self.args.iter_mut().skip(index).map(|arg| std::mem::take(*arg).flatten()).collect()
    }

    /// The keywords that were given and not taken.
    pub fn keywords(&mut self) -> Map {
        self.keywords.take().unwrap_or_default()
    }

    fn wrong_type(&self, index: usize, wanted: &str, value: &Dynamic) -> Box<rhai::EvalAltResult> {
        let (function, name) = (self.signature.name, self.parameter_name(index));
        let (kind, shown) = (value::type_name(value), shorten(&value::repr(value)));
        raise("TypeError", format!("{function}(): '{name}' must be {wanted}, not {kind}: {shown}"))
    }

    /// A truth value.
    pub fn bool_or(&mut self, index: usize, default: bool) -> bool {
        self.argument(index).map_or(default, |value| value::is_true(&value))
    }

    /// A whole number.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn int_or(&mut self, index: usize, default: i64) -> Outcome<i64> {
        match self.argument(index) {
            None => Ok(default),
            Some(value) => self.as_int(index, &value),
        }
    }

    fn as_int(&self, index: usize, value: &Dynamic) -> Outcome<i64> {
        if let Ok(n) = value.as_int() {
            return Ok(n);
        }
        value.as_bool().map(i64::from).map_err(|_| self.wrong_type(index, "an integer", value))
    }

    /// A whole number that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn int(&mut self, index: usize) -> Outcome<i64> {
        let value = self.required(index)?;
        self.as_int(index, &value)
    }

    /// A number that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn float(&mut self, index: usize) -> Outcome<f64> {
        let value = self.required(index)?;
        value::number(&value).ok_or_else(|| self.wrong_type(index, "a number", &value))
    }

    /// A text that must be given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn text(&mut self, index: usize) -> Outcome<ImmutableString> {
        let value = self.required(index)?;
        as_text(&value).ok_or_else(|| self.wrong_type(index, "a string", &value))
    }

    /// A text, or nothing if it was not given or `None`.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn optional_text(&mut self, index: usize) -> Outcome<Option<ImmutableString>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(None) };
        as_text(&value).map(Some).ok_or_else(|| self.wrong_type(index, "a string or None", &value))
    }

    /// Several values: an array, a list, or nothing if not given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn sequence(&mut self, index: usize) -> Outcome<Vec<Dynamic>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(Vec::new()) };
        value::items_of(&value)?.ok_or_else(|| self.wrong_type(index, "an array or list", &value))
    }

    /// Keywords for another function: a map, a dict, or nothing if not given.
    ///
    /// # Errors
    /// TypeError for anything else.
    pub fn mapping(&mut self, index: usize) -> Outcome<Map> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(Map::new()) };
        match value::mapping(&value) {
            Some(entries) => Ok(entries.into_iter().map(|(k, v)| (value::str(&k).into(), v)).collect()),
            None => Err(self.wrong_type(index, "a map or dict", &value)),
        }
    }

    /// A timeout in seconds, nothing for `None` or if it was not given; it may be negative.
    ///
    /// # Errors
    /// TypeError for anything but a number, OverflowError for one that no clock can hold.
    pub fn seconds(&mut self, index: usize) -> Outcome<Option<f64>> {
        let Some(value) = self.argument(index).filter(|v| !v.is_unit()) else { return Ok(None) };
        let seconds =
            value::number(&value).ok_or_else(|| self.wrong_type(index, "a number or None", &value))?;
        if seconds.is_nan() {
            return Err(raise("ValueError", "Invalid value NaN (not a number)"));
        }
        if seconds > TIMEOUT_MAX {
            return Err(raise("OverflowError", "timeout value is too large"));
        }
        Ok(Some(seconds))
    }

    /// A wait that ends after `seconds`, at once if that is not positive, never if it is `None`.
    pub fn wait_for(&self, seconds: Option<f64>) -> Wait {
        Wait {
            deadline: seconds.and_then(deadline_in),
            try_only: seconds.is_some_and(|s| s <= 0.0),
            site: self.site(),
        }
    }
}

/// The longest timeout, in seconds (`threading.TIMEOUT_MAX`).
pub const TIMEOUT_MAX: f64 = 9_223_372_036.0;

/// The moment that is `seconds` away.
fn deadline_in(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// A string, or a character, which is a string of length one to a script.
fn as_text(value: &Dynamic) -> Option<ImmutableString> {
    if let Ok(c) = value.as_char() {
        return Some(c.to_string().into());
    }
    value.read_lock::<ImmutableString>().map(|text| text.clone())
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// Puts a native under `name` into a rhai module, once for each number of arguments.
fn define<F>(module: &mut Module, name: &str, receiver: Option<TypeId>, signature: &'static str, function: F)
where
    F: Fn(Option<&Dynamic>, &mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
{
    define_in(module, FnNamespace::Global, name, receiver, signature, function);
}

/// Puts a function into a module from where it is reached by its qualified name only: `os.read` must not stand
/// in for the method `read` that some object does not have.
fn define_qualified<F>(module: &mut Module, name: &str, signature: &'static str, function: F)
where
    F: Fn(Option<&Dynamic>, &mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
{
    define_in(module, FnNamespace::Internal, name, None, signature, function);
}

fn define_in<F>(
    module: &mut Module,
    namespace: FnNamespace,
    name: &str,
    receiver: Option<TypeId>,
    signature: &'static str,
    function: F,
) where
    F: Fn(Option<&Dynamic>, &mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
{
    let signature = Signature::parse(signature);
    let counts = signature.counts();
    let has_receiver = receiver.is_some();
    let body = Shared::new(move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
        let context = context.as_ref().expect("registered with a context");
        let (receiver, args) = match args {
            [receiver, args @ ..] if has_receiver => (Some(&**receiver), args),
            args => (None, args),
        };
        let result =
            uncut(|| Call::new(context, &signature, args).and_then(|mut call| function(receiver, &mut call)));
        result.map_err(|mut error| {
            // Rhai notes the place of a method's call, but not of a qualified one: `time::sleep(1)`.
            if error.position().is_none() {
                error.set_position(context.call_position());
            }
            error
        })
    });
    for count in counts {
        let mut types: Vec<TypeId> = receiver.into_iter().collect();
        types.extend(std::iter::repeat_n(TypeId::of::<Dynamic>(), count));
        let (func, has_context, is_pure, is_volatile) = (body.clone() as Shared<_>, true, true, true);
        let func = match receiver {
            Some(_) => RhaiFunc::Method { func, has_context, is_pure, is_volatile },
            None => RhaiFunc::Pure { func, has_context, is_pure, is_volatile },
        };
        FuncRegistration::new(name).with_namespace(namespace).set_into_module_raw(module, types, func);
    }
}

/// A Python module under construction.
pub struct NativeModule {
    /// Its dotted name.
    pub name: &'static str,
    /// What `name::…` finds.
    pub module: Module,
    /// What is there unqualified: the module's classes, and the methods of their objects.
    pub builtins: Module,
    /// The names that the module defines, for `from name import …`.
    pub names: Vec<&'static str>,
    /// The names that are there without an import.
    pub unqualified: Vec<&'static str>,
    /// Types of this crate, and what scripts call them.
    pub types: Vec<(&'static str, &'static str)>,
    /// Those of them whose methods are called all the time.
    pub common_types: Vec<(&'static str, &'static str)>,
}

impl NativeModule {
    /// An empty module.
    pub fn new(name: &'static str) -> Self {
        add_module(name);
        Self {
            name,
            module: Module::new(),
            builtins: Module::new(),
            names: Vec::new(),
            unqualified: Vec::new(),
            types: Vec::new(),
            common_types: Vec::new(),
        }
    }

    /// Defines a function of the module.
    pub fn function<F>(&mut self, signature: &'static str, doc: &'static str, function: F) -> &mut Self
    where
        F: Fn(&mut Call) -> Outcome<Dynamic> + Clone + Send + Sync + 'static,
    {
        let name = signature.split('(').next().unwrap_or(signature);
        document(self.name, signature, doc);
        self.names.push(name);
        let qualified = format!("{}.{name}", self.name);
        let body = function.clone();
        define_qualified(&mut self.module, name, signature, move |_, call| body(call));
        define(&mut self.builtins, &qualified, None, signature, move |_, call| function(call));
        self
    }

    /// Defines a class's constructor, or another function that is there unqualified too.
    pub fn class<F>(&mut self, signature: &'static str, doc: &'static str, function: F) -> &mut Self
    where
        F: Fn(&mut Call) -> Outcome<Dynamic> + Clone + Send + Sync + 'static,
    {
        let name = signature.split('(').next().unwrap_or(signature);
        self.unqualified.push(name);
        let body = function.clone();
        define(&mut self.builtins, name, None, signature, move |_, call| body(call));
        self.function(signature, doc, function)
    }

    /// Defines a function that is only there unqualified.
    pub fn builtin<F>(&mut self, signature: &'static str, doc: &'static str, function: F) -> &mut Self
    where
        F: Fn(&mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
    {
        let name = signature.split('(').next().unwrap_or(signature);
        document(self.name, signature, doc);
        self.unqualified.push(name);
        define(&mut self.builtins, name, None, signature, move |_, call| function(call));
        self
    }

    /// Defines a constant of the module.
    pub fn constant(
        &mut self,
        name: &'static str,
        doc: &'static str,
        value: impl Into<Dynamic>,
    ) -> &mut Self {
        document(self.name, name, doc);
        self.names.push(name);
        self.set_constant(name, value.into());
        self
    }

    /// Makes a constant known as the module's, and under its qualified name, which is what importing it means.
    fn set_constant(&mut self, name: &str, value: Dynamic) {
        self.builtins.set_var(format!("{}.{name}", self.name), value.clone());
        self.module.set_var(name, value);
    }

    /// Makes a type's values handles: they compare by identity and print as their class says.
    pub fn handle<T: Handle>(&mut self) -> &mut Self {
        if T::IS_COMMON {
            self.common_types.push((std::any::type_name::<T>(), T::NAME));
        } else {
            self.named::<T>(T::NAME);
        }
        identity::register::<T>();
        let module = &mut self.builtins;
        FuncRegistration::new("==").set_into_module(module, |a: T, b: T| a.identity() == b.identity());
        FuncRegistration::new("!=").set_into_module(module, |a: T, b: T| a.identity() != b.identity());
        self.shown::<T>(Handle::repr);
        FuncRegistration::new("to_string")
            .with_purity(true)
            .set_into_module(&mut self.builtins, |this: &mut T| Handle::str(this));
        self
    }

    /// Says what scripts see as the name of a type that is no handle: in error messages, and as `type_of`.
    pub fn named<T: 'static>(&mut self, name: &'static str) -> &mut Self {
        self.types.push((std::any::type_name::<T>(), name));
        self
    }

    /// Says how a type's values print.
    pub fn shown<T: rhai::Variant + Clone>(&mut self, repr: fn(&T) -> String) -> &mut Self {
        let module = &mut self.builtins;
        for name in ["to_string", "to_debug"] {
            FuncRegistration::new(name)
                .with_purity(true)
                .set_into_module(module, move |this: &mut T| cut_is_fine(|| repr(this)));
        }
        self
    }

    /// Defines a method of `T`'s values.
    pub fn method<T, F>(&mut self, signature: &'static str, doc: &'static str, function: F) -> &mut Self
    where
        T: Handle,
        F: Fn(&T, &mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
    {
        document_method(TypeId::of::<T>(), T::NAME, signature, doc);
        let name = signature.split('(').next().unwrap_or(signature);
        self.method_of::<T, F>(name, signature, function)
    }

    /// Defines a method under another name than the signature's, or of a type that is no handle.
    pub fn method_of<T, F>(&mut self, name: &str, signature: &'static str, function: F) -> &mut Self
    where
        T: rhai::Variant + Clone,
        F: Fn(&T, &mut Call) -> Outcome<Dynamic> + Send + Sync + 'static,
    {
        define(&mut self.builtins, name, Some(TypeId::of::<T>()), signature, move |receiver, call| {
            let receiver = receiver.expect("a method has a receiver");
            let this = receiver.read_lock::<T>().ok_or_else(|| raise("TypeError", "wrong receiver"))?;
            function(&this, call)
        });
        self
    }

    /// Defines an attribute that can be read.
    pub fn attribute<T, F>(&mut self, name: &'static str, doc: &'static str, get: F) -> &mut Self
    where
        T: Handle,
        F: Fn(&T) -> Outcome<Dynamic> + Send + Sync + 'static,
    {
        document(T::NAME, name, doc);
        FuncRegistration::new(format!("get${name}"))
            .with_purity(true)
            .with_volatility(true)
            .set_into_module(&mut self.builtins, move |this: &mut T| get(this));
        self
    }

    /// Lets an attribute be assigned to.
    pub fn assignable<T, F>(&mut self, name: &'static str, set: F) -> &mut Self
    where
        T: Handle,
        F: Fn(&T, Dynamic) -> Outcome<()> + Send + Sync + 'static,
    {
        let set = Arc::new(set);
        let again = Arc::clone(&set);
        let setter = || FuncRegistration::new(format!("set${name}")).with_purity(true).with_volatility(true);
        setter().set_into_module(&mut self.builtins, move |this: &mut T, value: Dynamic| set(this, value));
        // Rhai finds a function of these very types at once, and one for anything only after all others, which
        // it has to do anew in every `with` block.
        setter()
            .set_into_module(&mut self.builtins, move |this: &mut T, value: INT| again(this, value.into()));
        self
    }

    /// Defines the exception classes of the module: a constructor and the class as a value, for each. They are
    /// there unqualified too, but for those that share their name with a builtin class, as `TimeoutError` does.
    pub fn exceptions(&mut self) -> &mut Self {
        let own = self.name;
        for class in super::exception::CLASSES.iter().filter(|class| class.module == own) {
            self.exception(class);
            if own == "builtins" || Class::in_module("builtins", class.name).is_none() {
                define(&mut self.builtins, class.name, None, CONSTRUCTOR, construct(class));
                self.builtins.set_var(class.name, Dynamic::from(super::types::Type::Exception(class)));
                self.unqualified.push(class.name);
            }
        }
        self
    }

    /// Defines the exception classes of another module in this one, all or those of the names given, and not
    /// unqualified: builtin classes may have the same names.
    pub fn exceptions_of(&mut self, module: &str, names: Option<&[&str]>) -> &mut Self {
        let is_wanted = |name: &str| names.is_none_or(|names| names.contains(&name));
        for class in super::exception::CLASSES.iter().filter(|c| c.module == module && is_wanted(c.name)) {
            self.exception(class);
        }
        self
    }

    fn exception(&mut self, class: &'static Class) {
        define_qualified(&mut self.module, class.name, CONSTRUCTOR, construct(class));
        // What `from module import Class` makes of `Class()`.
        let qualified = format!("{}.{}", self.name, class.name);
        define(&mut self.builtins, &qualified, None, CONSTRUCTOR, construct(class));
        self.set_constant(class.name, Dynamic::from(super::types::Type::Exception(class)));
        self.names.push(class.name);
    }
}

const CONSTRUCTOR: &str = "exception(*args)";

fn construct(class: &'static Class) -> impl Fn(Option<&Dynamic>, &mut Call) -> Outcome<Dynamic> {
    move |_, call| Ok(Dynamic::from(Exception::from_args(class, call.rest(0))))
}
