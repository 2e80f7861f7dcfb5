//! Handles: values that are references to an object, and the identity by which they are compared.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rhai::{Dynamic, Variant};

use super::exception::Outcome;
use crate::runtime::Site;
use crate::runtime::sync::{Arc, AtomicU64, Ordering, RwLock};

/// How often scripts call a class's methods. Rhai looks for the name of the receiver's class in every call of a method,
/// once in a direct one ([`super::direct`]) and twice in others: from the smallest in a few names, among those of one
/// rank after those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// All the time, and between threads, or with little to do in a call, as a `Value`: every further class in this rank
    /// delays the calls of all.
    First,
    /// All the time, and between processes, where a call takes a little longer itself.
    Second,
    /// All the time, but each call takes a while itself: there is a task behind it.
    Third,
    /// Now and then.
    Rare,
}

/// A reference to an object that scripts share by handing it around: a lock, a queue, a thread, a list.
pub trait Handle: Variant + Clone {
    /// The class's name as scripts see it.
    const NAME: &'static str;

    /// How soon rhai finds the class's name.
    const RANK: Rank = Rank::Rare;

    /// The address that tells the object from others.
    fn identity(&self) -> usize;

    /// What `repr` shows.
    fn repr(&self) -> String {
        format!("<{} object at {:#x}>", Self::NAME, self.identity())
    }

    /// What `with` does first, for a class that can say it without being called as a method: much of what a `with`
    /// costs is to find one.
    fn enter(&self, _site: Site) -> Option<Outcome<Dynamic>> {
        None
    }

    /// What `with` does last, for a class that has [`Handle::enter`] and lets every exception pass.
    fn exit(&self) -> Option<Outcome<Dynamic>> {
        None
    }

    /// What printing shows.
    fn str(&self) -> String {
        self.repr()
    }

    /// What `len` says, for a class that has a length.
    fn length(&self) -> Option<usize> {
        None
    }
}

type IdentityOf = fn(&Dynamic) -> Option<usize>;
type ReprOf = fn(&Dynamic) -> Option<String>;
type LengthOf = fn(&Dynamic) -> Option<usize>;
type EnterOf = fn(&Dynamic, Site) -> Option<Outcome<Dynamic>>;
/// How a handle that was entered as a context manager is left.
pub type ExitOf = fn(&Dynamic) -> Outcome<Dynamic>;

/// What is known of one handle type.
#[derive(Clone, Copy)]
struct HandleType {
    name: &'static str,
    identity: IdentityOf,
    repr: ReprOf,
    str: ReprOf,
    length: LengthOf,
    enter: EnterOf,
    exit: ExitOf,
}

static TYPES: RwLock<Option<Arc<HashMap<TypeId, HandleType>>>> = RwLock::new(None);
/// Counts the registrations: what a thread remembers is of one number.
static VERSION: AtomicU64 = AtomicU64::new(0);

/// What a thread has looked up, also that a type is no handle.
#[derive(Default)]
struct Known {
    version: u64,
    types: HashMap<TypeId, Option<HandleType>, BuildHasherDefault<IsHash>>,
}

/// A type's id is a hash already.
#[derive(Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

thread_local! {
    /// A copy per thread, so that comparing two handles touches nothing that threads write.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Makes a type known as a handle.
pub fn register<T: Handle>() {
    let id = TypeId::of::<T>();
    let mut types = TYPES.write();
    if types.as_ref().is_some_and(|types| types.contains_key(&id)) {
        return;
    }
    let mut all = types.as_deref().cloned().unwrap_or_default();
    all.insert(
        id,
        HandleType {
            name: T::NAME,
            identity: |value| value.read_lock::<T>().map(|handle| handle.identity()),
            repr: |value| value.read_lock::<T>().map(|handle| handle.repr()),
            str: |value| value.read_lock::<T>().map(|handle| handle.str()),
            length: |value| value.read_lock::<T>().and_then(|handle| handle.length()),
            enter: |value, site| value.read_lock::<T>().and_then(|handle| handle.enter(site)),
            exit: |value| {
                value.read_lock::<T>().and_then(|handle| handle.exit()).unwrap_or(Ok(Dynamic::UNIT))
            },
        },
    );
    *types = Some(Arc::new(all));
    VERSION.fetch_add(1, Ordering::Release);
}

fn known(value: &Dynamic) -> Option<HandleType> {
    let id = value.type_id();
    KNOWN.with_borrow_mut(|known| {
        let version = VERSION.load(Ordering::Acquire);
        if known.version != version {
            *known = Known { version, types: HashMap::default() };
        }
        let look_up = || TYPES.read().as_ref().and_then(|types| types.get(&id).copied());
        *known.types.entry(id).or_insert_with(look_up)
    })
}

/// The object that a handle refers to; nothing for values that are no handles.
pub fn identity(value: &Dynamic) -> Option<usize> {
    known(value).and_then(|handle| (handle.identity)(value))
}

/// A handle's `repr`; nothing for values that are no handles.
pub fn handle_repr(value: &Dynamic) -> Option<String> {
    known(value).and_then(|handle| (handle.repr)(value))
}

/// What printing a handle shows; nothing for values that are no handles.
pub fn handle_str(value: &Dynamic) -> Option<String> {
    known(value).and_then(|handle| (handle.str)(value))
}

/// A handle's length; nothing for those that have none, and values that are no handles.
pub fn handle_length(value: &Dynamic) -> Option<usize> {
    known(value).and_then(|handle| (handle.length)(value))
}

/// Enters a handle as a context manager ([`Handle::enter`]), and says how it is left; nothing for others.
pub fn enter_context(value: &Dynamic, site: impl FnOnce() -> Site) -> Option<Outcome<(Dynamic, ExitOf)>> {
    let handle = known(value)?;
    let entered = (handle.enter)(value, site())?;
    Some(entered.map(|entered| (entered, handle.exit)))
}

/// The name of a handle's class; nothing for values that are no handles.
pub fn class_name(value: &Dynamic) -> Option<&'static str> {
    known(value).map(|handle| handle.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Late;

    impl Handle for Late {
        const NAME: &'static str = "late";

        fn identity(&self) -> usize {
            7
        }
    }

    #[test]
    fn a_type_that_becomes_a_handle_is_one_although_it_was_looked_up_before() {
        let value = Dynamic::from(Late);
        assert_eq!((identity(&value), class_name(&value)), (None, None));
        assert_eq!(identity(&value), None, "remembered");
        register::<Late>();
        assert_eq!((identity(&value), class_name(&value)), (Some(7), Some("late")));
    }
}
