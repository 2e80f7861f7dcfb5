//! `` `${x}` `` and `"text: " + x` show what `print(x)` does: `True`, `None`, `['a', 1]`.
//!
//! Both ask for `to_string`, of which rhai has its own for these types.

use rhai::{Array, Blob, Dynamic, FnPtr, Map, Variant};

use super::exactly;
use crate::language::native::NativeModule;
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    shown_as_printed::<()>(module);
    shown_as_printed::<bool>(module);
    shown_as_printed::<f64>(module);
    shown_as_printed::<Array>(module);
    shown_as_printed::<Map>(module);
    shown_as_printed::<Blob>(module);
    shown_as_printed::<FnPtr>(module);
}

fn shown_as_printed<T: Variant + Clone>(module: &mut NativeModule) {
    exactly("to_string").set_into_module(&mut module.builtins, |value: T| value::str(&Dynamic::from(value)));
}
