//! `Condition`.

use std::time::{Duration, Instant};

use rhai::Dynamic;

use super::locks::{LockHandle, RLockHandle, release, release_reentrant};
use super::{block_and_timeout, check_purpose, no_memory, pack_label, unpack_label};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::{Condition, Exclusive, Holder, Line, RLock};
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::threading;
use crate::runtime::primitives::WaitError;
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Site, Wait};

/// A script's reference to a [`Condition`].
#[derive(Clone)]
pub struct ConditionHandle(Arc<Condition>);

impl Handle for ConditionHandle {
    const NAME: &'static str = "Condition";

    fn identity(&self) -> usize {
        self.0.place() as usize
    }

    fn repr(&self) -> String {
        let lock = match self.0.lock() {
            Exclusive::Lock(lock) => LockHandle(Arc::clone(lock)).repr(),
            Exclusive::RLock(lock) => RLockHandle(Arc::clone(lock)).repr(),
        };
        format!("<Condition({lock}, {})>", self.0.waiting())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(acquire(self, &Wait::forever(site)))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release_lock(self))
    }
}

impl Travel for ConditionHandle {
    const TAG: &'static str = "multiprocessing.Condition";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, Self::NAME)?;
        match self.0.lock() {
            Exclusive::Lock(lock) => {
                out.u64(0);
                LockHandle(Arc::clone(lock)).pack(out)?;
            }
            Exclusive::RLock(lock) => {
                out.u64(1);
                RLockHandle(Arc::clone(lock)).pack(out)?;
            }
        }
        pack_label(self.0.line().label(), out);
        out.shared(self.0.line().queue())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let lock = match input.u64()? {
            0 => Exclusive::Lock(LockHandle::unpack(input)?.0),
            _ => Exclusive::RLock(RLockHandle::unpack(input)?.0),
        };
        let label = unpack_label(Self::NAME, input)?;
        Ok(Self(Condition::new(lock, Line::of(label, input.shared()?))))
    }
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let label = call.label("Condition");
    let lock = match call.argument(0).filter(|lock| !lock.is_unit()) {
        None => {
            let label = Label { class: "the lock of Condition", ..label.clone() };
            Exclusive::RLock(RLock::new(label).map_err(|error| no_memory(&error))?)
        }
        Some(lock) => {
            if let Some(lock) = lock.read_lock::<LockHandle>() {
                Exclusive::Lock(Arc::clone(&lock.0))
            } else if let Some(lock) = lock.read_lock::<RLockHandle>() {
                Exclusive::RLock(Arc::clone(&lock.0))
            } else if let Some(lock) = lock.read_lock::<threading::LockHandle>() {
                Exclusive::Lock(lock.promote()?)
            } else if let Some(lock) = lock.read_lock::<threading::RLockHandle>() {
                Exclusive::RLock(lock.promote()?)
            } else {
                let kind = value::type_name(&lock);
                let text = format!("Condition(): 'lock' must be a Lock or an RLock, not {kind}");
                return Err(raise("TypeError", text));
            }
        }
    };
    let line = Line::new(label).map_err(|error| no_memory(&error))?;
    Ok(Dynamic::from(ConditionHandle(Condition::new(lock, line))))
}

fn acquire(condition: &ConditionHandle, wait: &Wait) -> Outcome<Dynamic> {
    condition.0.lock().acquire(wait).map(Dynamic::from).map_err(interrupted)
}

fn release_lock(condition: &ConditionHandle) -> Outcome<Dynamic> {
    match condition.0.lock() {
        Exclusive::Lock(lock) => release(lock),
        Exclusive::RLock(lock) => release_reentrant(lock),
    }
}

/// Does the calling thread hold the lock?
fn is_mine(condition: &ConditionHandle) -> bool {
    match condition.0.lock() {
        Exclusive::Lock(lock) => lock.holder() == Some(Holder::own()),
        Exclusive::RLock(lock) => lock.is_owned(),
    }
}

/// One wait; true if it ended with a notification.
fn wait_once(condition: &ConditionHandle, timeout: Option<f64>, call: &Call) -> Outcome<bool> {
    const NOT_MINE: &str = "must acquire() condition before using wait()";
    if !is_mine(condition) {
        return Err(raise("AssertionError", NOT_MINE));
    }
    let deadline =
        timeout.map(|seconds| call.wait_for(Some(seconds.max(0.0))).deadline.unwrap_or_else(Instant::now));
    let waited = condition.0.wait(deadline, call.site()).map_err(|error| match error {
        WaitError::NotOwned => raise("AssertionError", NOT_MINE),
        WaitError::Memory(error) => no_memory(&error),
    })?;
    waited.map_err(interrupted)
}

fn wait_for(condition: &ConditionHandle, call: &mut Call) -> Outcome<Dynamic> {
    let predicate = as_function(&call.required(0)?)?;
    let timeout = call.seconds(1)?;
    let end = timeout
        .map(|seconds| Instant::now() + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default());
    let this = Dynamic::from(condition.clone());
    loop {
        let result = invoke(call.context(), &predicate, Some(&this), vec![])?;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()).as_secs_f64());
        if value::is_true(&result) || left == Some(0.0) {
            return Ok(result);
        }
        wait_once(condition, left, call)?;
    }
}

fn notify(condition: &ConditionHandle, n: usize) -> Outcome<Dynamic> {
    synchronise();
    if !is_mine(condition) {
        return Err(raise("AssertionError", "lock is not owned"));
    }
    condition.0.notify(n);
    Ok(Dynamic::UNIT)
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<ConditionHandle>();
    module
        .handle::<ConditionHandle>()
        .function(
            "Condition(lock=None)",
            "A condition variable that processes share, on a Lock or RLock, by default an RLock of its own.",
            new,
        )
        .method::<ConditionHandle, _>(
            "acquire(block=True, timeout=None)",
            "Takes the underlying lock.",
            |condition, call| acquire(condition, &block_and_timeout(call)?),
        )
        .method::<ConditionHandle, _>("release()", "Frees the underlying lock.", |condition, _| {
            release_lock(condition)
        })
        .method::<ConditionHandle, _>("__enter__()", "What `with` does first: acquire().", |condition, call| {
            acquire(condition, &Wait::forever(call.site()))
        })
        .method::<ConditionHandle, _>(
            "__exit__(error=None)",
            "What `with` does last: release().",
            |condition, _| release_lock(condition),
        )
        .method::<ConditionHandle, _>(
            "wait(timeout=None)",
            "Frees the lock, waits for a notification or the timeout, and takes the lock again. False on timeout.",
            |condition, call| {
                let timeout = call.seconds(0)?;
                wait_once(condition, timeout, call).map(Dynamic::from)
            },
        )
        .method::<ConditionHandle, _>(
            "wait_for(predicate, timeout=None)",
            "Waits until predicate() is true; returns its last result.",
            wait_for,
        )
        .method::<ConditionHandle, _>("notify(n=1)", "Wakes up to n of those who wait.", |condition, call| {
            let n = call.int_or(0, 1)?;
            notify(condition, usize::try_from(n).unwrap_or(0))
        })
        .method::<ConditionHandle, _>("notify_all()", "Wakes all who wait.", |condition, _| {
            notify(condition, usize::MAX)
        });
}
