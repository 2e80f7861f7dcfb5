//! Primitives that threads began to use before another process got them: see
//! [`crate::runtime::primitives::shared`].

use std::any::Any;
use std::collections::HashMap;
use std::sync::Weak;

use rhai::EvalAltResult;

use crate::ipc::codec::Encoder;
use crate::language::exception::{Outcome, raise};
use crate::runtime::sync::{Arc, Mutex};

type Object = dyn Any + Send + Sync;

/// This process's objects for what is in shared memory, by the place there: one that comes back is the same.
static PROMOTED: Mutex<Option<HashMap<u64, Weak<Object>>>> = Mutex::new(None);

/// Remembers that the primitive is at `place` now.
pub fn remember<T: Any + Send + Sync>(place: u64, object: &Arc<T>) {
    let object: Arc<Object> = Arc::clone(object) as _;
    let mut promoted = PROMOTED.lock();
    let promoted = promoted.get_or_insert_default();
    promoted.retain(|_, known| known.strong_count() > 0);
    promoted.insert(place, Arc::downgrade(&object));
}

/// The primitive of this process for what is at `place`, or the one that `make` makes.
pub fn adopted<T: Any + Send + Sync>(place: u64, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
    let known = PROMOTED.lock().as_ref().and_then(|all| all.get(&place)?.upgrade());
    if let Some(known) = known.and_then(|known| known.downcast::<T>().ok()) {
        return known;
    }
    let made = make();
    remember(place, &made);
    made
}

/// What is in shared memory, as its own type.
pub fn concrete<T: Any + Send + Sync>(shared: Arc<Object>) -> Arc<T> {
    shared.downcast().expect("this process makes the promoted primitives of one type only")
}

/// A message that leaves the family of processes cannot take a lock along.
pub fn check_purpose(out: &Encoder, class: &str) -> Outcome<()> {
    if out.purpose().shares_memory() {
        return Ok(());
    }
    Err(raise(
        "TypeError",
        format!("cannot pickle '{class}' object: it can only be passed to processes of this program"),
    ))
}

/// What is raised when there is no shared memory left.
pub fn no_memory(error: &std::io::Error) -> Box<EvalAltResult> {
    crate::language::exception::raise_io(error, None)
}
