//! `Namespace`, `Value` and `Array` of `multiprocessing.dummy`: between threads any object is shared.

use std::collections::BTreeMap;

use rhai::{Dynamic, FuncRegistration, ImmutableString};

use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::runtime::sync::{Arc, Mutex};

#[derive(Clone)]
struct Namespace(Arc<Mutex<BTreeMap<ImmutableString, Dynamic>>>);

impl Handle for Namespace {
    const NAME: &'static str = "Namespace";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let attributes: Vec<_> = self.0.lock().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let shown: Vec<String> = attributes
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| format!("{name}={}", value::repr(value)))
            .collect();
        format!("Namespace({})", shown.join(", "))
    }
}

#[derive(Clone)]
struct Value(Arc<(String, Mutex<Dynamic>)>);

impl Handle for Value {
    const NAME: &'static str = "Value";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let value = self.0.1.lock().clone();
        format!("<Value({}, {})>", value::repr(&self.0.0.clone().into()), value::repr(&value))
    }
}

/// The constructor of `Namespace`.
pub(super) fn new_namespace(call: &mut Call) -> Outcome<Dynamic> {
    let attributes =
        call.keywords().into_iter().map(|(name, value)| (name.as_str().into(), to_shared(value)));
    Ok(Dynamic::from(Namespace(Arc::new(Mutex::new(attributes.collect())))))
}

/// The constructor of `Value`.
pub(super) fn new_value(call: &mut Call) -> Outcome<Dynamic> {
    let typecode = call.text(0)?.to_string();
    let value = to_shared(call.required(1)?);
    Ok(Dynamic::from(Value(Arc::new((typecode, Mutex::new(value))))))
}

/// The constructor of `Array`.
pub(super) fn new_array(call: &mut Call) -> Outcome<Dynamic> {
    const TYPECODES: &str = "bBuhHiIlLqQfd";
    let typecode = call.text(0)?;
    if typecode.chars().count() != 1 || !TYPECODES.contains(typecode.as_str()) {
        let text = "bad typecode (must be b, B, u, h, H, i, I, l, L, q, Q, f or d)";
        return Err(raise("ValueError", text));
    }
    let sequence = call.required(1)?;
    Ok(Dynamic::from(List::new(iterate(call.context(), &sequence)?)))
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<Namespace>()
        .handle::<Value>()
        .attribute::<Value, _>("value", "The value.", |shared| {
            synchronise();
            Ok(to_local(shared.0.1.lock().clone()))
        })
        .assignable::<Value, _>("value", |shared, value| {
            synchronise();
            let old = std::mem::replace(&mut *shared.0.1.lock(), to_shared(value));
            drop(old);
            Ok(())
        });
    FuncRegistration::new_index_getter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut Namespace, name: &str| -> Outcome<Dynamic> {
            synchronise();
            let found = this.0.lock().get(name).cloned().map(to_local);
            found.ok_or_else(|| {
                raise("AttributeError", format!("'Namespace' object has no attribute '{name}'"))
            })
        },
    );
    FuncRegistration::new_index_setter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut Namespace, name: &str, value: Dynamic| {
            synchronise();
            let old = this.0.lock().insert(name.into(), to_shared(value));
            drop(old);
        },
    );
}
