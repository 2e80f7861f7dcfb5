//! `Condition`.

use std::time::{Duration, Instant};

use rhai::Dynamic;

use super::lock::{LockHandle, RLockHandle, blocking_and_timeout};
use super::promotion::{adopted, check_purpose, concrete, no_memory, remember};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives as shared;
use crate::language::callable::{as_function, invoke};
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::multiprocessing::{self, pack_label, unpack_label};
use crate::runtime::primitives::{Condition, Exclusive, RLock, WaitError};
use crate::runtime::sync::Arc;
use crate::runtime::{Label, Site, Wait};

/// A script's reference to a [`Condition`].
#[derive(Clone)]
pub struct ConditionHandle(Arc<Condition>);

impl Handle for ConditionHandle {
    const NAME: &'static str = "Condition";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<Condition at {:#x}>", self.identity())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(acquire(self, &Wait::forever(site)))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release(self))
    }
}

impl ConditionHandle {
    /// The line of those who wait, which is moved to shared memory if it is not there yet.
    fn promote(&self) -> Outcome<Arc<shared::Line>> {
        let promoted = self.0.promote(|| {
            let made = shared::Line::new(self.0.label().clone())?;
            remember(made.queue().place(), &self.0);
            Ok::<_, std::io::Error>(made as _)
        });
        promoted.map(|line| concrete(line)).map_err(|error| no_memory(&error))
    }
}

impl Travel for ConditionHandle {
    const TAG: &'static str = "threading.Condition";

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
        let line = self.promote()?;
        pack_label(self.0.label(), out);
        out.shared(line.queue())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let lock = match input.u64()? {
            0 => Exclusive::Lock(LockHandle::unpack(input)?.0),
            _ => Exclusive::RLock(RLockHandle::unpack(input)?.0),
        };
        let label = unpack_label("Condition", input)?;
        let line = shared::Line::of(label.clone(), input.shared()?);
        Ok(Self(adopted(line.queue().place(), || Condition::promoted(label, lock, line))))
    }
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let label = call.label("Condition");
    let lock = match call.argument(0).filter(|lock| !lock.is_unit()) {
        None => Exclusive::RLock(RLock::new(Label { class: "the lock of Condition", ..label.clone() })),
        Some(lock) => {
            if let Some(lock) = lock.read_lock::<LockHandle>() {
                Exclusive::Lock(Arc::clone(&lock.0))
            } else if let Some(lock) = lock.read_lock::<RLockHandle>() {
                Exclusive::RLock(Arc::clone(&lock.0))
            } else if let Some(lock) = lock.read_lock::<multiprocessing::LockHandle>() {
                Exclusive::Lock(LockHandle::of_shared(Arc::clone(&lock.0)).0)
            } else if let Some(lock) = lock.read_lock::<multiprocessing::RLockHandle>() {
                Exclusive::RLock(RLockHandle::of_shared(Arc::clone(&lock.0)).0)
            } else {
                let kind = value::type_name(&lock);
                return Err(raise(
                    "TypeError",
                    format!("Condition(): 'lock' must be a Lock or an RLock, not {kind}"),
                ));
            }
        }
    };
    Ok(Dynamic::from(ConditionHandle(Condition::new(label, lock))))
}

fn acquire(condition: &ConditionHandle, wait: &Wait) -> Outcome<Dynamic> {
    condition.0.lock().acquire(wait).map(Dynamic::from).map_err(interrupted)
}

fn release(condition: &ConditionHandle) -> Outcome<Dynamic> {
    synchronise();
    match condition.0.lock() {
        Exclusive::Lock(lock) => {
            lock.release().map_err(|_| raise("RuntimeError", "release unlocked lock"))?
        }
        Exclusive::RLock(lock) => {
            lock.release().map_err(|_| raise("RuntimeError", "cannot release un-acquired lock"))?;
        }
    }
    Ok(Dynamic::UNIT)
}

/// One wait; true if it ended with a notification.
fn wait_once(condition: &ConditionHandle, timeout: Option<f64>, call: &Call) -> Outcome<bool> {
    let deadline =
        timeout.map(|seconds| call.wait_for(Some(seconds.max(0.0))).deadline.unwrap_or_else(Instant::now));
    condition
        .0
        .wait(deadline, call.site())
        .map_err(|error| match error {
            WaitError::NotOwned => raise("RuntimeError", "cannot wait on un-acquired lock"),
            WaitError::Memory(error) => no_memory(&error),
        })?
        .map_err(interrupted)
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
    condition
        .0
        .notify(n)
        .map(|()| Dynamic::UNIT)
        .map_err(|_| raise("RuntimeError", "cannot notify on un-acquired lock"))
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<ConditionHandle>();
    module
        .handle::<ConditionHandle>()
        .class("Condition(lock=None)", "A condition variable on a Lock or RLock, by default an RLock of its own.", new)
        .method::<ConditionHandle, _>(
            "acquire(blocking=True, timeout=-1)",
            "Takes the underlying lock.",
            |condition, call| acquire(condition, &blocking_and_timeout(call)?),
        )
        .method::<ConditionHandle, _>("release()", "Frees the underlying lock.", |condition, _| release(condition))
        .method::<ConditionHandle, _>("__enter__()", "What `with` does first: acquire().", |condition, call| {
            acquire(condition, &Wait::forever(call.site()))
        })
        .method::<ConditionHandle, _>("__exit__(error=None)", "What `with` does last: release().", |condition, _| {
            release(condition)
        })
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
        .method::<ConditionHandle, _>("notify(n=1)", "Wakes up to n of the waiting threads.", |condition, call| {
            let n = call.int_or(0, 1)?;
            notify(condition, usize::try_from(n).unwrap_or(0))
        })
        .method::<ConditionHandle, _>("notify_all()", "Wakes all waiting threads.", |condition, _| {
            notify(condition, usize::MAX)
        })
        .method::<ConditionHandle, _>("notifyAll()", "An old name of notify_all().", |condition, _| {
            notify(condition, usize::MAX)
        });
}
