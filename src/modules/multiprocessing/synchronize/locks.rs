//! `Lock` and `RLock`.

use rhai::Dynamic;

use super::{block_and_timeout, check_purpose, no_memory, owner_name, pack_label, unpack_label};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::{Lock, RLock};
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::native::NativeModule;
use crate::language::variables::synchronise;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// A script's reference to a [`Lock`].
#[derive(Clone)]
pub struct LockHandle(pub Arc<Lock>);

/// A script's reference to an [`RLock`].
#[derive(Clone)]
pub struct RLockHandle(pub Arc<RLock>);

impl Handle for LockHandle {
    const NAME: &'static str = "Lock";
    const RANK: Rank = Rank::Second;

    fn identity(&self) -> usize {
        self.0.place() as usize
    }

    fn repr(&self) -> String {
        format!("<Lock(owner={})>", owner_name(self.0.holder()))
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.0.acquire(&Wait::forever(site)).map(Dynamic::from).map_err(interrupted))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release(&self.0))
    }
}

impl Handle for RLockHandle {
    const NAME: &'static str = "RLock";
    const RANK: Rank = Rank::Second;

    fn identity(&self) -> usize {
        self.0.place() as usize
    }

    fn repr(&self) -> String {
        let owner = self.0.owner();
        let count = match owner {
            None => "0".into(),
            Some((_, count)) if self.0.is_owned() => count.to_string(),
            Some(_) => "nonzero".to_string(),
        };
        format!("<RLock({}, {count})>", owner_name(owner.map(|(holder, _)| holder)))
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(self.0.acquire(&Wait::forever(site)).map(Dynamic::from).map_err(interrupted))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release_reentrant(&self.0))
    }
}

impl Travel for LockHandle {
    const TAG: &'static str = "multiprocessing.Lock";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        pack_label(self.0.label(), out);
        out.shared(self.0.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label(Self::NAME, input)?;
        Ok(Self(Lock::of(label, input.shared()?)))
    }
}

impl Travel for RLockHandle {
    const TAG: &'static str = "multiprocessing.RLock";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        pack_label(self.0.label(), out);
        out.shared(self.0.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = unpack_label(Self::NAME, input)?;
        Ok(Self(RLock::of(label, input.shared()?)))
    }
}

pub(crate) fn release(lock: &Lock) -> Outcome<Dynamic> {
    synchronise();
    lock.release()
        .map(|()| Dynamic::UNIT)
        .map_err(|_| raise("ValueError", "semaphore or lock released too many times"))
}

pub(crate) fn release_reentrant(lock: &RLock) -> Outcome<Dynamic> {
    synchronise();
    lock.release()
        .map(|()| Dynamic::UNIT)
        .map_err(|_| raise("AssertionError", "attempt to release recursive lock not owned by thread"))
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<LockHandle>();
    codec::register::<RLockHandle>();
    module
        .handle::<LockHandle>()
        .function(
            "Lock()",
            "A lock that processes share. Any thread of any process may release it.",
            |call| {
                let lock = Lock::new(call.label("Lock")).map_err(|error| no_memory(&error))?;
                Ok(Dynamic::from(LockHandle(lock)))
            },
        )
        .method::<LockHandle, _>(
            "acquire(block=True, timeout=None)",
            "Takes the lock; waits for it unless block is False. True if it was taken.",
            |lock, call| {
                let wait = block_and_timeout(call)?;
                lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
            },
        )
        .method::<LockHandle, _>(
            "release()",
            "Frees the lock. ValueError if it is free already.",
            |lock, _| release(&lock.0),
        )
        .method::<LockHandle, _>("__enter__()", "What `with` does first: acquire().", |lock, call| {
            let wait = Wait::forever(call.site());
            lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
        })
        .method::<LockHandle, _>("__exit__(error=None)", "What `with` does last: release().", |lock, _| {
            release(&lock.0)
        });
    module
        .handle::<RLockHandle>()
        .function(
            "RLock()",
            "A lock that processes share and that its owner, one thread of one process, may take again.",
            |call| {
                let lock = RLock::new(call.label("RLock")).map_err(|error| no_memory(&error))?;
                Ok(Dynamic::from(RLockHandle(lock)))
            },
        )
        .method::<RLockHandle, _>(
            "acquire(block=True, timeout=None)",
            "Takes the lock once more; waits for it unless block is False. True if it was taken.",
            |lock, call| {
                let wait = block_and_timeout(call)?;
                lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
            },
        )
        .method::<RLockHandle, _>(
            "release()",
            "Gives one acquire back. AssertionError if the calling thread does not hold the lock.",
            |lock, _| release_reentrant(&lock.0),
        )
        .method::<RLockHandle, _>("__enter__()", "What `with` does first: acquire().", |lock, call| {
            let wait = Wait::forever(call.site());
            lock.0.acquire(&wait).map(Dynamic::from).map_err(interrupted)
        })
        .method::<RLockHandle, _>("__exit__(error=None)", "What `with` does last: release().", |lock, _| {
            release_reentrant(&lock.0)
        });
}
