//! The lock of a value or an array.

use rhai::Dynamic;

use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::ipc::primitives::RLock;
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::native::Call;
use crate::language::value;
use crate::modules::multiprocessing::synchronize::{
    LockHandle, RLockHandle, no_memory, release, release_reentrant,
};
use crate::modules::threading;
use crate::runtime::{Label, Site, Wait};

/// A lock that a script may have given.
#[derive(Clone)]
pub enum Guard {
    /// `multiprocessing.Lock`.
    Lock(LockHandle),
    /// `multiprocessing.RLock`.
    RLock(RLockHandle),
    /// `Lock()`, which begins between threads.
    Threads(threading::LockHandle),
    /// `RLock()`, which begins between threads.
    ThreadsAgain(threading::RLockHandle),
}

impl Guard {
    /// What the argument `lock` means: a new RLock if it is true or was not given, none if it is false.
    ///
    /// # Errors
    /// AttributeError for something else than a lock.
    pub fn from_argument(lock: Option<Dynamic>, call: &Call) -> Outcome<Option<Self>> {
        let Some(lock) = lock.filter(|lock| !lock.is_unit() && lock.as_bool() != Ok(true)) else {
            let label =
                Label { class: "the lock of a Value or Array", name: call.object_name(), made: call.site() };
            let lock = RLock::new(label).map_err(|error| no_memory(&error))?;
            return Ok(Some(Self::RLock(RLockHandle(lock))));
        };
        if lock.as_bool() == Ok(false) {
            return Ok(None);
        }
        if let Some(lock) = lock.read_lock::<LockHandle>() {
            return Ok(Some(Self::Lock(lock.clone())));
        }
        if let Some(lock) = lock.read_lock::<RLockHandle>() {
            return Ok(Some(Self::RLock(lock.clone())));
        }
        if let Some(lock) = lock.read_lock::<threading::LockHandle>() {
            return Ok(Some(Self::Threads(lock.clone())));
        }
        if let Some(lock) = lock.read_lock::<threading::RLockHandle>() {
            return Ok(Some(Self::ThreadsAgain(lock.clone())));
        }
        let text = format!("{} has no method 'acquire'", value::repr(&lock));
        Err(raise("AttributeError", text))
    }

    /// The lock as a script sees it.
    pub fn to_value(&self) -> Dynamic {
        match self {
            Self::Lock(lock) => Dynamic::from(lock.clone()),
            Self::RLock(lock) => Dynamic::from(lock.clone()),
            Self::Threads(lock) => Dynamic::from(lock.clone()),
            Self::ThreadsAgain(lock) => Dynamic::from(lock.clone()),
        }
    }

    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// KeyboardInterrupt.
    pub fn acquire(&self, wait: &Wait) -> Outcome<bool> {
        match self {
            Self::Lock(lock) => lock.0.acquire(wait),
            Self::RLock(lock) => lock.0.acquire(wait),
            Self::Threads(lock) => lock.0.acquire(wait),
            Self::ThreadsAgain(lock) => lock.0.acquire(wait),
        }
        .map_err(interrupted)
    }

    /// Frees the lock.
    ///
    /// # Errors
    /// The lock's own, if it is not held.
    pub fn release(&self) -> Outcome<Dynamic> {
        match self {
            Self::Lock(lock) => release(&lock.0),
            Self::RLock(lock) => release_reentrant(&lock.0),
            Self::Threads(lock) => threading::release(lock),
            Self::ThreadsAgain(lock) => threading::release_reentrant(lock),
        }
    }

    /// Runs `f`, a few instructions, with the lock: in one step where nobody else has it.
    ///
    /// # Errors
    /// Those of `f`; KeyboardInterrupt.
    pub fn with_cell<R>(&self, site: impl FnOnce() -> Site, f: impl Fn() -> Outcome<R>) -> Outcome<R> {
        let result = match self {
            Self::Lock(lock) => lock.0.inside(&f),
            Self::RLock(lock) => lock.0.inside(&f),
            Self::Threads(_) | Self::ThreadsAgain(_) => None,
        };
        result.unwrap_or_else(|| self.with(site(), f))
    }

    /// Runs `f` with the lock.
    ///
    /// # Errors
    /// Those of `f`; KeyboardInterrupt.
    pub fn with<R>(&self, site: Site, f: impl FnOnce() -> Outcome<R>) -> Outcome<R> {
        self.acquire(&Wait::forever(site))?;
        let result = f();
        // Somebody else may have freed it meanwhile, as anybody may: then there is nothing to free.
        let _ = self.release();
        result
    }

    /// Writes what [`Guard::unpack`] needs.
    pub fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        match self {
            Self::Lock(lock) => {
                out.u64(0);
                lock.pack(out)
            }
            Self::RLock(lock) => {
                out.u64(1);
                lock.pack(out)
            }
            Self::Threads(lock) => {
                out.u64(2);
                lock.pack(out)
            }
            Self::ThreadsAgain(lock) => {
                out.u64(3);
                lock.pack(out)
            }
        }
    }

    /// The lock that another process has sent.
    pub fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        match input.u64()? {
            0 => LockHandle::unpack(input).map(Self::Lock),
            1 => RLockHandle::unpack(input).map(Self::RLock),
            2 => threading::LockHandle::unpack(input).map(Self::Threads),
            _ => threading::RLockHandle::unpack(input).map(Self::ThreadsAgain),
        }
    }
}
