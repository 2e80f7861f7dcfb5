//! `Semaphore` and `BoundedSemaphore`.

use rhai::Dynamic;

use super::promotion::{adopted, check_purpose, concrete, no_memory, remember};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives as shared;
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::modules::multiprocessing::{pack_label, unpack_label};
use crate::runtime::primitives::Semaphore;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// A script's reference to a [`Semaphore`].
#[derive(Clone)]
pub struct SemaphoreHandle {
    semaphore: Arc<Semaphore>,
    class: &'static str,
}

impl Handle for SemaphoreHandle {
    const NAME: &'static str = "Semaphore";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.semaphore) as usize
    }

    fn repr(&self) -> String {
        let value = self.semaphore.value();
        format!("<threading.{} at {:#x}: value={value}>", self.class, self.identity())
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(acquire(self, &Wait::forever(site)))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release(self, 1))
    }
}

impl SemaphoreHandle {
    /// The semaphore in shared memory, which it is moved to if it is not there yet.
    fn promote(&self) -> Outcome<Arc<shared::Semaphore>> {
        let promoted = self.semaphore.promote(|value, bound| {
            let label = self.semaphore.label().clone();
            let made = shared::Semaphore::new(label, value, bound.unwrap_or(u64::MAX))?;
            remember(made.place(), &self.semaphore);
            Ok::<_, std::io::Error>(made as _)
        });
        promoted.map(|semaphore| concrete(semaphore)).map_err(|error| no_memory(&error))
    }
}

impl Travel for SemaphoreHandle {
    const TAG: &'static str = "threading.Semaphore";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, self.class)?;
        let shared = self.promote()?;
        out.u64(u64::from(self.class == "BoundedSemaphore"));
        pack_label(self.semaphore.label(), out);
        out.shared(shared.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let class = if input.u64()? == 0 { "Semaphore" } else { "BoundedSemaphore" };
        let label = unpack_label(class, input)?;
        let shared = shared::Semaphore::of(label.clone(), input.shared()?);
        Ok(Self { semaphore: adopted(shared.place(), || Semaphore::promoted(label, shared)), class })
    }
}

fn new(class: &'static str, call: &mut Call) -> Outcome<Dynamic> {
    let value = call.int_or(0, 1)?;
    let value = u64::try_from(value)
        .map_err(|_| raise("ValueError", format!("semaphore initial value must be >= 0, not {value}")))?;
    let semaphore = Semaphore::new(call.label(class), value, class == "BoundedSemaphore");
    Ok(Dynamic::from(SemaphoreHandle { semaphore, class }))
}

fn acquire(handle: &SemaphoreHandle, wait: &Wait) -> Outcome<Dynamic> {
    handle.semaphore.acquire(wait).map(Dynamic::from).map_err(interrupted)
}

fn release(handle: &SemaphoreHandle, n: i64) -> Outcome<Dynamic> {
    synchronise();
    let n = u64::try_from(n).ok().filter(|n| *n > 0);
    let n = n.ok_or_else(|| raise("ValueError", "n must be one or more"))?;
    if handle.semaphore.release(n) {
        Ok(Dynamic::UNIT)
    } else {
        Err(raise("ValueError", "Semaphore released too many times"))
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<SemaphoreHandle>();
    module
        .handle::<SemaphoreHandle>()
        .class(
            "Semaphore(value=1)",
            "A counter that acquire() takes from, and waits for while it is 0.",
            |call| new("Semaphore", call),
        )
        .class(
            "BoundedSemaphore(value=1)",
            "A semaphore that must not be released past its first value.",
            |call| new("BoundedSemaphore", call),
        )
        .method::<SemaphoreHandle, _>(
            "acquire(blocking=True, timeout=None)",
            "Takes one; waits for it unless blocking is False. True if it was taken.",
            |handle, call| {
                let blocking = call.bool_or(0, true);
                let timeout = call.seconds(1)?;
                if !blocking && timeout.is_some() {
                    return Err(raise("ValueError", "can't specify timeout for non-blocking acquire"));
                }
                let wait = Wait { try_only: !blocking, ..call.wait_for(timeout) };
                acquire(handle, &wait)
            },
        )
        .method::<SemaphoreHandle, _>("release(n=1)", "Gives n back.", |handle, call| {
            let n = call.int_or(0, 1)?;
            release(handle, n)
        })
        .method::<SemaphoreHandle, _>("__enter__()", "What `with` does first: acquire().", |handle, call| {
            acquire(handle, &Wait::forever(call.site()))
        })
        .method::<SemaphoreHandle, _>(
            "__exit__(error=None)",
            "What `with` does last: release().",
            |handle, _| release(handle, 1),
        );
}
