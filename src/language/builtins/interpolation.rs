//! The text that `print(x)`, `` `${x}` `` and `"text: " + x` show: `True`, `None`, `['a', 1]`.
//!
//! The last two ask for `to_string`, of which rhai has its own for these types. In a script that uses nothing but
//! rhai, everything shows as in rhai: `true`, nothing at all, `["a", 1]`.

use rhai::{Array, Blob, Dynamic, FnPtr, Map, NativeCallContext, Variant};

use super::exactly;
use crate::language::native::NativeModule;
use crate::language::nesting::cut_is_fine;
use crate::language::realm::Realm;
use crate::language::{realm, value};
use crate::runtime::sync::Ordering;

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
    exactly("to_string").set_into_module(&mut module.builtins, |context: NativeCallContext, value: T| {
        let realm = realm::current();
        cut_is_fine(|| shown(&context, realm.as_deref(), &Dynamic::from(value)))
    });
}

/// What printing a value shows.
pub(super) fn shown(context: &NativeCallContext, realm: Option<&Realm>, value: &Dynamic) -> String {
    let is_plain = realm.is_some_and(|realm| realm.plain_rhai.load(Ordering::Relaxed));
    if !is_plain || value.is_variant() {
        return value::str(value);
    }
    if value.is_array() || value.is_map() {
        // Rhai shows the items as in a script, which is what its `to_debug` does.
        let text = context.call_native_fn_raw("to_debug", true, &mut [&mut value.clone()]);
        return text.map_or_else(|_| value::str(value), |text| text.to_string());
    }
    if value.is_unit() { String::new() } else { value.to_string() }
}
