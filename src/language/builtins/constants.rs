//! Names for values: `None`, `True`, `False`, and classes that have no function of their name.

use std::hash::{DefaultHasher, Hash, Hasher};

use rhai::{Dynamic, FnPtr};

use super::exactly;
use crate::language::exception::shown_name;
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::types::Type;

/// Classes that scripts name in `isinstance(x, …)` or compare with `type(x)`, and whose constructor is not
/// there under that name.
const CLASSES: [&str; 2] = ["object", "function"];

impl Handle for Type {
    const NAME: &'static str = "type";

    fn identity(&self) -> usize {
        // A class is one object, however often it is asked for.
        let mut hasher = DefaultHasher::new();
        self.exception_class().map(std::ptr::from_ref).hash(&mut hasher);
        self.name().hash(&mut hasher);
        hasher.finish() as usize
    }

    fn repr(&self) -> String {
        Self::repr(self)
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    module.exceptions();
    module.handle::<Type>();
    let natives = &mut module.builtins;
    natives.set_var("None", ());
    natives.set_var("True", true);
    natives.set_var("False", false);
    for name in CLASSES {
        natives.set_var(name, Dynamic::from(Type::Named(name.into())));
    }

    // The name of a builtin class is a function, which makes objects of the class: `type(x) == int`.
    exactly("==").set_into_module(natives, |a: Type, b: FnPtr| a.name() == b.fn_name());
    exactly("!=").set_into_module(natives, |a: Type, b: FnPtr| a.name() != b.fn_name());
    exactly("==").set_into_module(natives, |a: FnPtr, b: Type| a.fn_name() == b.name());
    exactly("!=").set_into_module(natives, |a: FnPtr, b: Type| a.fn_name() != b.name());
    exactly("get$__name__").set_into_module(natives, |class: &mut Type| class.name().to_string());
    exactly("get$__name__").set_into_module(natives, |function: &mut FnPtr| shown_name(function.fn_name()));
    exactly("get$__module__").set_into_module(natives, |class: &mut Type| {
        class.exception_class().map_or("builtins", |class| class.module).to_string()
    });
}
