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

mod call;
mod documentation;
mod signature;

use std::any::TypeId;

use rhai::{
    Dynamic, DynamicReadLock, FnNamespace, FuncRegistration, INT, Module, NativeCallContext, RhaiFunc,
    Shared, Variant,
};

pub use call::{Call, Keywords, TIMEOUT_MAX};
pub use documentation::{Entry, entries, has_method, is_function, is_method_of, is_module, signature_of};
use documentation::{add_module, document, document_method};
pub use signature::{Parameter, Signature};

use super::direct;
use super::exception::{Class, Exception, Outcome, raise};
use super::identity::{self, Handle, Rank};
use super::nesting::{cut_is_fine, uncut};

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
    let body = move |context: Option<NativeCallContext>, args: &mut [&mut Dynamic]| {
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
    };
    let body: Shared<direct::Body> = Shared::new(body);
    for count in counts {
        let mut types: Vec<TypeId> = receiver.into_iter().collect();
        types.extend(std::iter::repeat_n(TypeId::of::<Dynamic>(), count));
        let (func, has_context, is_pure, is_volatile) = (Shared::clone(&body), true, true, true);
        let func = match receiver {
            Some(_) => RhaiFunc::Method { func, has_context, is_pure, is_volatile },
            None => RhaiFunc::Pure { func, has_context, is_pure, is_volatile },
        };
        if has_receiver {
            direct::add(module, namespace, name, &types, &body);
        }
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
    /// The same for those of [`Rank::First`].
    pub first_types: Vec<(&'static str, &'static str)>,
    /// And for those of [`Rank::Second`].
    pub second_types: Vec<(&'static str, &'static str)>,
    /// Those of [`Rank::Third`].
    pub third_types: Vec<(&'static str, &'static str)>,
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
            first_types: Vec::new(),
            second_types: Vec::new(),
            third_types: Vec::new(),
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
        let name = (std::any::type_name::<T>(), T::NAME);
        match T::RANK {
            Rank::First => self.first_types.push(name),
            Rank::Second => self.second_types.push(name),
            Rank::Third => self.third_types.push(name),
            Rank::Rare => self.types.push(name),
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
            function(&*receiver_of::<T>(receiver.expect("a method has a receiver"))?, call)
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
        let func = move |_: Option<NativeCallContext>, args: &mut [&mut Dynamic]| match args {
            [this, ..] => get(&*receiver_of::<T>(this)?),
            [] => Err(raise("TypeError", "no receiver")),
        };
        let func = RhaiFunc::Method {
            func: Shared::new(func),
            has_context: false,
            is_pure: true,
            is_volatile: true,
        };
        FuncRegistration::new(format!("get${name}")).with_namespace(FnNamespace::Global).set_into_module_raw(
            &mut self.builtins,
            [TypeId::of::<T>()],
            func,
        );
        self
    }

    /// Lets an attribute be assigned to.
    pub fn assignable<T, F>(&mut self, name: &'static str, set: F) -> &mut Self
    where
        T: Handle,
        F: Fn(&T, Dynamic) -> Outcome<()> + Send + Sync + 'static,
    {
        let func = Shared::new(move |_: Option<NativeCallContext>, args: &mut [&mut Dynamic]| match args {
            [this, value, ..] => {
                let value = std::mem::take(*value);
                set(&*receiver_of::<T>(this)?, value).map(Dynamic::from)
            }
            _ => Err(raise("TypeError", "no value")),
        });
        // Rhai finds a function of these very types at once, and one for anything only after all others, which
        // it has to do anew in every `with` block.
        for value in [TypeId::of::<Dynamic>(), TypeId::of::<INT>()] {
            let (func, has_context, is_pure, is_volatile) = (func.clone() as Shared<_>, false, true, true);
            let func = RhaiFunc::Method { func, has_context, is_pure, is_volatile };
            FuncRegistration::new(format!("set${name}"))
                .with_namespace(FnNamespace::Global)
                .set_into_module_raw(&mut self.builtins, [TypeId::of::<T>(), value], func);
        }
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

/// The object whose method or attribute it is.
#[inline]
fn receiver_of<T: Variant + Clone>(value: &Dynamic) -> Outcome<DynamicReadLock<'_, T>> {
    value.read_lock::<T>().ok_or_else(|| raise("TypeError", "wrong receiver"))
}

const CONSTRUCTOR: &str = "exception(*args)";

fn construct(class: &'static Class) -> impl Fn(Option<&Dynamic>, &mut Call) -> Outcome<Dynamic> {
    move |_, call| Ok(Dynamic::from(Exception::from_args(class, call.rest(0))))
}
