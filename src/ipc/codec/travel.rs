//! Which objects of the modules above may travel, and how.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;

use rhai::Dynamic;

use super::decoder::Decoder;
use super::encoder::Encoder;
use crate::language::exception::Outcome;
use crate::language::identity::Handle;
use crate::runtime::sync::{Arc, RwLock};

/// An object that can be sent to another process of this program.
pub trait Travel: Handle {
    /// What the type is called in messages; no other type has it.
    const TAG: &'static str;

    /// Writes what [`Travel::unpack`] needs.
    ///
    /// # Errors
    /// TypeError, or what the type raises, when this very object must not travel or not that way
    /// ([`Encoder::purpose`]).
    fn pack(&self, out: &mut Encoder) -> Outcome<()>;

    /// Makes the object again from what [`Travel::pack`] wrote.
    ///
    /// # Errors
    /// UnpicklingError ([`Decoder::bad`]) for bytes that `pack` would not write.
    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self>;
}

#[derive(Clone, Copy)]
pub(super) struct Traveller {
    pub tag: &'static str,
    pub identity: fn(&Dynamic) -> usize,
    pub pack: fn(&Dynamic, &mut Encoder) -> Outcome<()>,
    pub unpack: fn(&mut Decoder<'_>) -> Outcome<Dynamic>,
}

#[derive(Clone, Default)]
struct Travellers {
    by_type: HashMap<TypeId, Traveller>,
    by_tag: HashMap<&'static str, Traveller>,
}

static TRAVELLERS: RwLock<Option<Arc<Travellers>>> = RwLock::new(None);

thread_local! {
    /// A copy per thread: looking one up touches nothing that threads share.
    static KNOWN: RefCell<Arc<Travellers>> = RefCell::default();
}

/// Lets the objects of a type travel.
///
/// # Panics
/// When another type has the same tag.
pub fn register<T: Travel>() {
    let traveller = Traveller {
        tag: T::TAG,
        identity: |value| value.read_lock::<T>().map_or(0, |object| object.identity()),
        pack: |value, out| match value.read_lock::<T>().map(|object| object.clone()) {
            Some(object) => object.pack(out),
            None => unreachable!("found by its type"),
        },
        unpack: |input| T::unpack(input).map(Dynamic::from),
    };
    let mut travellers = TRAVELLERS.write();
    let mut all = travellers.as_deref().cloned().unwrap_or_default();
    if all.by_type.insert(TypeId::of::<T>(), traveller).is_none() {
        assert!(all.by_tag.insert(T::TAG, traveller).is_none(), "two types travel as {}", T::TAG);
        *travellers = Some(Arc::new(all));
    }
}

fn look_up(find: impl Fn(&Travellers) -> Option<Traveller>) -> Option<Traveller> {
    KNOWN.with_borrow_mut(|known| {
        if let Some(found) = find(known) {
            return Some(found);
        }
        *known = Arc::clone(TRAVELLERS.read().as_ref()?);
        find(known)
    })
}

/// How a value travels, if it is an object of a registered type.
pub(super) fn of_value(value: &Dynamic) -> Option<Traveller> {
    let id = value.type_id();
    look_up(|all| all.by_type.get(&id).copied())
}

/// The type that is called `tag` in messages.
pub(super) fn of_tag(tag: &str) -> Option<Traveller> {
    look_up(|all| all.by_tag.get(tag).copied())
}
