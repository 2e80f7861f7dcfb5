//! `Lock` and `RLock`.

use rhai::Dynamic;

use super::promotion::{adopted, check_purpose, concrete, no_memory, remember};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::{self as shared, Holder};
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::modules::multiprocessing::{pack_label, unpack_label};
use crate::runtime::primitives::{Lock, RLock};
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// A script's reference to a [`Lock`].
#[derive(Clone)]
pub struct LockHandle(pub Arc<Lock>);

/// A script's reference to an [`RLock`].
#[derive(Clone)]
pub struct RLockHandle(pub Arc<RLock>);

impl Handle for LockHandle {
    const NAME: &'static str = "lock";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let state = if self.0.is_locked() { "locked" } else { "unlocked" };
        format!("<{state} _thread.lock object at {:#x}>", self.identity())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.0.acquire(&Wait::forever(site)).map(Dynamic::from).map_err(interrupted))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release(self))
    }
}

impl Handle for RLockHandle {
    const NAME: &'static str = "RLock";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let count = self.0.count();
        let state = if count > 0 { "locked" } else { "unlocked" };
        let owner = self.0.owner().unwrap_or(0);
        format!("<{state} _thread.RLock object owner={owner} count={count} at {:#x}>", self.identity())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.0.acquire(&Wait::forever(site)).map(Dynamic::from).map_err(interrupted))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release_reentrant(self))
    }
}

impl LockHandle {
    /// The handle of a lock in shared memory.
    pub(crate) fn of_shared(shared: Arc<shared::Lock>) -> Self {
        let label = shared.label().clone();
        Self(adopted(shared.place(), || Lock::promoted(label, shared)))
    }

    /// The lock in shared memory, which it is moved to if it is not there yet.
    pub(crate) fn promote(&self) -> Outcome<Arc<shared::Lock>> {
        let label = || self.0.label().clone();
        let promoted = self.0.promote(|held| {
            let made = match held {
                None => shared::Lock::new(label())?,
                Some(held) => shared::Lock::taken(label(), Holder::of_thread(held.thread), held.site.line)?,
            };
            remember(made.place(), &self.0);
            Ok::<_, std::io::Error>(made as _)
        });
        promoted.map(|lock| concrete(lock)).map_err(|error| no_memory(&error))
    }
}

impl RLockHandle {
    /// The handle of a lock in shared memory.
    pub(crate) fn of_shared(shared: Arc<shared::RLock>) -> Self {
        let label = shared.label().clone();
        Self(adopted(shared.place(), || RLock::promoted(label, shared)))
    }

    /// The lock in shared memory, which it is moved to if it is not there yet.
    pub(crate) fn promote(&self) -> Outcome<Arc<shared::RLock>> {
        let label = || self.0.label().clone();
        let promoted = self.0.promote(|held| {
            let made = match held {
                None => shared::RLock::new(label())?,
                Some((held, count)) => {
                    let count = u32::try_from(count).unwrap_or(u32::MAX);
                    shared::RLock::taken(label(), Holder::of_thread(held.thread), count, held.site.line)?
                }
            };
            remember(made.place(), &self.0);
            Ok::<_, std::io::Error>(made as _)
        });
        promoted.map(|lock| concrete(lock)).map_err(|error| no_memory(&error))
    }
}

impl Travel for LockHandle {
    const TAG: &'static str = "threading.Lock";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, "_thread.lock")?;
        let shared = self.promote()?;
        pack_label(self.0.label(), out);
        out.shared(shared.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label("Lock", input)?;
        Ok(Self::of_shared(shared::Lock::of(label, input.shared()?)))
    }
}

impl Travel for RLockHandle {
    const TAG: &'static str = "threading.RLock";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, "_thread.RLock")?;
        let shared = self.promote()?;
        pack_label(self.0.label(), out);
        out.shared(shared.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label("RLock", input)?;
        Ok(Self::of_shared(shared::RLock::of(label, input.shared()?)))
    }
}

/// Reads `(blocking=True, timeout=-1)`, which start at parameter 0.
///
/// # Errors
/// ValueError for a timeout that goes with no blocking, or a negative one other than -1.
pub(super) fn blocking_and_timeout(call: &mut Call) -> Outcome<Wait> {
    let blocking = call.bool_or(0, true);
    let timeout = call.seconds(1)?;
    match timeout {
        Some(timeout) if timeout != -1.0 => {
            if !blocking {
                return Err(raise("ValueError", "can't specify a timeout for a non-blocking call"));
            }
            if timeout < 0.0 {
                return Err(raise("ValueError", "timeout value must be positive"));
            }
            Ok(call.wait_for(Some(timeout)))
        }
        _ => Ok(Wait { deadline: None, try_only: !blocking, site: call.site() }),
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<LockHandle>();
    codec::register::<RLockHandle>();
    module
        .handle::<LockHandle>()
        .class("Lock()", "A mutual-exclusion lock. Any thread may release it.", |call| {
            Ok(Dynamic::from(LockHandle(Lock::new(call.label("Lock")))))
        })
        .method::<LockHandle, _>(
            "acquire(blocking=True, timeout=-1)",
            "Takes the lock; waits for it unless blocking is False. True if it was taken.",
            |lock, call| {
                let wait = blocking_and_timeout(call)?;
                lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
            },
        )
        .method::<LockHandle, _>(
            "release()",
            "Frees the lock. RuntimeError if it is free already.",
            |lock, _| release(lock),
        )
        .method::<LockHandle, _>("locked()", "Is the lock taken?", |lock, _| Ok(lock.0.is_locked().into()))
        .method::<LockHandle, _>("__enter__()", "What `with` does first: acquire().", |lock, call| {
            let wait = Wait::forever(call.site());
            lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
        })
        .method::<LockHandle, _>("__exit__(error=None)", "What `with` does last: release().", |lock, _| {
            release(lock)
        });
    module
        .handle::<RLockHandle>()
        .class(
            "RLock()",
            "A lock that its owner may take again; it is free after as many releases.",
            |call| Ok(Dynamic::from(RLockHandle(RLock::new(call.label("RLock"))))),
        )
        .method::<RLockHandle, _>(
            "acquire(blocking=True, timeout=-1)",
            "Takes the lock once more; waits for it unless blocking is False. True if it was taken.",
            |lock, call| {
                let wait = blocking_and_timeout(call)?;
                lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
            },
        )
        .method::<RLockHandle, _>(
            "release()",
            "Gives one acquire back. RuntimeError if another thread, or nobody, holds the lock.",
            |lock, _| release_reentrant(lock),
        )
        .method::<RLockHandle, _>("_is_owned()", "Does the calling thread hold the lock?", |lock, _| {
            Ok(lock.0.is_owned().into())
        })
        .method::<RLockHandle, _>("__enter__()", "What `with` does first: acquire().", |lock, call| {
            let wait = Wait::forever(call.site());
            lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
        })
        .method::<RLockHandle, _>("__exit__(error=None)", "What `with` does last: release().", |lock, _| {
            release_reentrant(lock)
        });
}

pub(crate) fn release(lock: &LockHandle) -> Outcome<Dynamic> {
    crate::language::variables::synchronise();
    lock.0.release().map(|()| Dynamic::UNIT).map_err(|_| raise("RuntimeError", "release unlocked lock"))
}

pub(crate) fn release_reentrant(lock: &RLockHandle) -> Outcome<Dynamic> {
    crate::language::variables::synchronise();
    lock.0
        .release()
        .map(|()| Dynamic::UNIT)
        .map_err(|_| raise("RuntimeError", "cannot release un-acquired lock"))
}
