//! `type(x)` and the names of classes as values: `isinstance(e, ValueError)`, `type(e).__name__`.

use rhai::Dynamic;

use super::exception::{Class, Exception};
use super::value;

/// A class as a value.
#[derive(Clone, Debug)]
pub enum Type {
    /// An exception class.
    Exception(&'static Class),
    /// Any other, by its Python name: `int`, `list`, `Lock`.
    Named(String),
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exception(a), Self::Exception(b)) => std::ptr::eq(*a, *b),
            _ => self.name() == other.name(),
        }
    }
}

impl Type {
    /// The class of a value.
    pub fn of(value: &Dynamic) -> Self {
        match value.read_lock::<Exception>() {
            Some(exception) => Self::Exception(exception.class()),
            None => Self::Named(value::type_name(value)),
        }
    }

    /// `__name__`.
    pub fn name(&self) -> &str {
        match self {
            Self::Exception(class) => class.name,
            Self::Named(name) => name,
        }
    }

    /// What `repr` shows.
    pub fn repr(&self) -> String {
        match self {
            Self::Exception(class) => format!("<class '{}'>", class.qualified_name()),
            _ => format!("<class '{}'>", self.name()),
        }
    }

    /// The exception class, if it is one.
    pub fn exception_class(&self) -> Option<&'static Class> {
        match self {
            Self::Exception(class) => Some(class),
            Self::Named(_) => None,
        }
    }
}

/// Is `value` an instance of the class called `name`, which may be qualified as in `queue.Empty`?
pub fn is_instance_of_name(value: &Dynamic, name: &str) -> bool {
    if let Some(exception) = value.read_lock::<Exception>() {
        let class = match name.rsplit_once(['.', ':']) {
            Some((module, name)) => {
                Class::in_module(module.trim_end_matches(':').replace("::", ".").as_str(), name)
            }
            None if exception.class().name == name => Some(exception.class()),
            None => Class::named(name),
        };
        return class.is_some_and(|class| exception.is_instance(class));
    }
    let own = value::type_name(value);
    own == name
        || name == "object"
        || match name {
            "int" => own == "bool",
            "callable" => own == "function",
            "tuple" => own == "list",
            _ => false,
        }
}

/// `isinstance(value, class)`, where the class is a class, its name, or an array of them.
pub fn is_instance(value: &Dynamic, class: &Dynamic) -> bool {
    if let Some(classes) = value::sequence(class) {
        return classes.iter().any(|class| is_instance(value, class));
    }
    if let Some(class) = class.read_lock::<Type>() {
        return match &*class {
            Type::Exception(class) => value.read_lock::<Exception>().is_some_and(|e| e.is_instance(class)),
            Type::Named(name) => is_instance_of_name(value, name),
        };
    }
    class.read_lock::<rhai::ImmutableString>().is_some_and(|name| is_instance_of_name(value, &name))
        || class.read_lock::<rhai::FnPtr>().is_some_and(|class| is_instance_of_name(value, class.fn_name()))
}
