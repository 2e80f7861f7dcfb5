//! Exceptions of tasks that nobody fetched: told on standard error when the result goes, once.

use crate::language::exception::Exception;
use crate::language::realm::Realm;
use crate::runtime::sync::{Arc, AtomicBool, Mutex, Ordering};
use std::sync::{OnceLock, Weak};

use super::Origin;

/// Has somebody been told? The results of one `map` share one of these.
#[derive(Default)]
pub struct Told(OnceLock<Arc<AtomicBool>>);

impl Clone for Told {
    fn clone(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.flag())))
    }
}

impl Told {
    // Most results never need one.
    fn flag(&self) -> &Arc<AtomicBool> {
        self.0.get_or_init(Arc::default)
    }

    /// Somebody has fetched the exception.
    pub fn set(&self) {
        self.flag().store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        !self.flag().swap(true, Ordering::Relaxed)
    }
}

/// An exception that waits to be fetched.
pub struct Loss {
    realm: Weak<Realm>,
    origin: Origin,
    exception: Exception,
    told: Told,
}

impl Loss {
    fn tell(&self) {
        // Whoever pressed Ctrl-C knows.
        if self.exception.class().name != "KeyboardInterrupt"
            && self.told.take()
            && let Some(realm) = self.realm.upgrade()
        {
            let (summary, origin) = (self.exception.summary(), &self.origin);
            // Nobody is left to tell if standard error is closed.
            let _ = realm.stderr.write(&format!("exception of {origin} was never retrieved: {summary}\n"));
        }
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Those that are not fetched yet, so that the end of the program can tell of them.
#[derive(Default)]
pub struct Losses(Mutex<Vec<Weak<Loss>>>);

impl Losses {
    /// Keeps `exception` until it is fetched, or the result that holds this goes.
    pub fn add(realm: &Arc<Realm>, origin: &Origin, exception: &Exception, told: &Told) -> Arc<Loss> {
        let loss = Arc::new(Loss {
            realm: Arc::downgrade(realm),
            origin: origin.clone(),
            exception: exception.clone(),
            told: told.clone(),
        });
        let losses = realm.extension::<Self>();
        let mut all = losses.0.lock();
        if all.len() == all.capacity() {
            all.retain(|loss| loss.strong_count() > 0);
        }
        all.push(Arc::downgrade(&loss));
        loss
    }

    /// Tells of all that are left.
    pub fn tell_all(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        all.iter().filter_map(Weak::upgrade).for_each(|loss| loss.tell());
    }
}
