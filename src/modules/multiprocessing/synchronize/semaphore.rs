//! `Semaphore` and `BoundedSemaphore`.

use rhai::Dynamic;

use super::{block_and_timeout, check_purpose, no_memory, pack_label, unpack_label};
use crate::ipc::codec::{self, Decoder, Encoder, Travel};
use crate::ipc::primitives::Semaphore;
use crate::language::exception::{Exception, Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// The greatest value of a semaphore, as of the system's own.
const MOST: i64 = i32::MAX as i64;

/// A script's reference to a [`Semaphore`].
#[derive(Clone)]
pub struct SemaphoreHandle {
    semaphore: Arc<Semaphore>,
    class: &'static str,
}

impl Handle for SemaphoreHandle {
    const NAME: &'static str = "Semaphore";

    fn identity(&self) -> usize {
        self.semaphore.place() as usize
    }

    fn repr(&self) -> String {
        let value = self.semaphore.value();
        match self.class {
            "BoundedSemaphore" => {
                format!("<{}(value={value}, maxvalue={})>", self.class, self.semaphore.most())
            }
            class => format!("<{class}(value={value})>"),
        }
    }

    fn enter(&self, site: Site) -> Option<Outcome<Dynamic>> {
        Some(acquire(self, &Wait::forever(site)))
    }

    fn exit(&self) -> Option<Outcome<Dynamic>> {
        Some(release(self))
    }
}

impl Travel for SemaphoreHandle {
    const TAG: &'static str = "multiprocessing.Semaphore";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        check_purpose(out, self.class)?;
        out.u64(u64::from(self.class == "BoundedSemaphore"));
        pack_label(self.semaphore.label(), out);
        out.shared(self.semaphore.state())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let class = if input.u64()? == 0 { "Semaphore" } else { "BoundedSemaphore" };
        let label = unpack_label(class, input)?;
        Ok(Self { semaphore: Semaphore::of(label, input.shared()?), class })
    }
}

fn new(class: &'static str, call: &mut Call) -> Outcome<Dynamic> {
    let value = call.int_or(0, 1)?;
    if value > MOST {
        return Err(raise("OverflowError", format!("semaphore value must be at most {MOST}, not {value}")));
    }
    // CPython hands the value to the system, which refuses.
    let value = u64::try_from(value).map_err(|_| {
        Exception::from_io(&std::io::Error::from_raw_os_error(libc::EINVAL), None).into_error()
    })?;
    let most = if class == "BoundedSemaphore" { value } else { MOST as u64 };
    let semaphore = Semaphore::new(call.label(class), value, most).map_err(|error| no_memory(&error))?;
    Ok(Dynamic::from(SemaphoreHandle { semaphore, class }))
}

fn acquire(handle: &SemaphoreHandle, wait: &Wait) -> Outcome<Dynamic> {
    handle.semaphore.acquire(wait).map(Dynamic::from).map_err(interrupted)
}

fn release(handle: &SemaphoreHandle) -> Outcome<Dynamic> {
    synchronise();
    if handle.semaphore.release(1) {
        Ok(Dynamic::UNIT)
    } else {
        Err(raise("ValueError", "semaphore or lock released too many times"))
    }
}

pub(super) fn define(module: &mut NativeModule) {
    codec::register::<SemaphoreHandle>();
    module
        .handle::<SemaphoreHandle>()
        .function(
            "Semaphore(value=1)",
            "A counter that processes share: acquire() takes from it, and waits for it while it is 0.",
            |call| new("Semaphore", call),
        )
        .function(
            "BoundedSemaphore(value=1)",
            "A semaphore that processes share and that must not be released past its first value.",
            |call| new("BoundedSemaphore", call),
        )
        .method::<SemaphoreHandle, _>(
            "acquire(block=True, timeout=None)",
            "Takes one; waits for it unless block is False. True if it was taken.",
            |handle, call| {
                let wait = block_and_timeout(call)?;
                acquire(handle, &wait)
            },
        )
        .method::<SemaphoreHandle, _>(
            "release()",
            "Gives one back. ValueError past the greatest value.",
            |handle, _| release(handle),
        )
        .method::<SemaphoreHandle, _>("get_value()", "How many are left.", |handle, _| {
            synchronise();
            Ok((handle.semaphore.value() as i64).into())
        })
        .method::<SemaphoreHandle, _>("__enter__()", "What `with` does first: acquire().", |handle, call| {
            acquire(handle, &Wait::forever(call.site()))
        })
        .method::<SemaphoreHandle, _>(
            "__exit__(error=None)",
            "What `with` does last: release().",
            |handle, _| release(handle),
        );
}
