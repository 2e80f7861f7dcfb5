//! `multiprocessing::Lock` and the others that threads of several processes synchronise with.

mod barrier;
mod condition;
mod event;
mod locks;
mod semaphore;

use rhai::EvalAltResult;

use super::current::current as current_process;
use crate::ipc::codec::{Decoder, Encoder, Purpose};
use crate::ipc::family;
use crate::ipc::primitives::Holder;
use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::realm;
use crate::runtime::{Label, Site, Wait, current};

pub use locks::{LockHandle, RLockHandle};
pub(crate) use locks::{release, release_reentrant};

pub(super) fn define(module: &mut NativeModule) {
    locks::define(module);
    semaphore::define(module);
    condition::define(module);
    event::define(module);
    barrier::define(module);
}

/// Reads `(block=True, timeout=None)` from parameter 0 on.
pub(crate) fn block_and_timeout(call: &mut Call) -> Outcome<Wait> {
    let block = call.bool_or(0, true);
    let timeout = call.seconds(1)?;
    let wait = call.wait_for(timeout);
    Ok(Wait { try_only: wait.try_only || !block, ..wait })
}

/// Only a process that is being started may be given the primitives of multiprocessing.
pub(crate) fn check_purpose(out: &Encoder, class: &str) -> Outcome<()> {
    if out.purpose() == Purpose::Start {
        return Ok(());
    }
    let text = format!("{class} objects should only be shared between processes through inheritance");
    Err(raise("RuntimeError", text))
}

/// Writes what reports call an object.
pub(crate) fn pack_label(label: &Label, out: &mut Encoder) {
    out.str(label.name.as_deref().unwrap_or_default());
    out.str(label.made.file);
    out.u64(u64::from(label.made.line));
}

/// The opposite of [`pack_label`].
pub(crate) fn unpack_label(class: &'static str, input: &mut Decoder) -> Outcome<Label> {
    let name = input.str()?;
    let name = (!name.is_empty()).then(|| name.into());
    let file = input.str()?;
    let line = u32::try_from(input.u64()?).map_err(|_| Decoder::bad("a line is too large"))?;
    Ok(Label { class, name, made: Site::new(file, line) })
}

/// What is raised when there is no shared memory left.
pub(crate) fn no_memory(error: &std::io::Error) -> Box<EvalAltResult> {
    raise_io(error, None)
}

/// Who holds a lock, as its `repr` says it.
fn owner_name(holder: Option<Holder>) -> String {
    match holder {
        None => "None".into(),
        Some(holder) if holder == Holder::own() => {
            let process =
                realm::current().map_or_else(family::own_name, |realm| current_process(&realm).name());
            match current().map(|thread| thread.name()) {
                Some(thread) if &*thread != "MainThread" => format!("{process}|{thread}"),
                _ => process,
            }
        }
        Some(holder) if holder.is_own_process() => "SomeOtherThread".into(),
        Some(_) => "SomeOtherProcess".into(),
    }
}
