//! `local`: attributes that each thread has for itself.

use std::cell::RefCell;
use std::collections::HashMap;

use rhai::{Dynamic, ImmutableString};

use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::runtime::sync::{Arc, AtomicU64, Ordering};

/// A script's reference to a thread-local object.
#[derive(Clone)]
pub struct LocalHandle(Arc<u64>);

impl Handle for LocalHandle {
    const NAME: &'static str = "_thread._local";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

type Attributes = HashMap<ImmutableString, Dynamic>;

thread_local! {
    /// This thread's attributes, by the object's number.
    static ATTRIBUTES: RefCell<HashMap<u64, Attributes>> = RefCell::default();
}

/// Drops the attributes of a thread that is over.
pub fn forget_locals() {
    let attributes = ATTRIBUTES.take();
    drop(attributes);
}

fn get(local: &LocalHandle, name: &str) -> Outcome<Dynamic> {
    let value = ATTRIBUTES.with_borrow(|all| all.get(&*local.0).and_then(|own| own.get(name).cloned()));
    value.ok_or_else(|| raise("AttributeError", format!("'_thread._local' object has no attribute '{name}'")))
}

pub(super) fn define(module: &mut NativeModule) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    module.handle::<LocalHandle>().class(
        "local()",
        "An object whose attributes each thread has for itself.",
        |_| Ok(Dynamic::from(LocalHandle(Arc::new(NEXT.fetch_add(1, Ordering::Relaxed))))),
    );
    rhai::FuncRegistration::new_index_getter()
        .with_purity(true)
        .set_into_module(&mut module.builtins, |this: &mut LocalHandle, name: &str| get(this, name));
    rhai::FuncRegistration::new_index_setter().with_purity(true).set_into_module(
        &mut module.builtins,
        |this: &mut LocalHandle, name: &str, value: Dynamic| {
            let old = ATTRIBUTES
                .with_borrow_mut(|all| all.entry(*this.0).or_default().insert(name.into(), value.flatten()));
            drop(old);
        },
    );
}
