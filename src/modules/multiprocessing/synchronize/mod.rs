//! `multiprocessing::Lock` and the others that threads of several processes synchronise with.

mod barrier;
mod condition;
mod event;
mod locks;
mod semaphore;

use rhai::EvalAltResult;

use crate::ipc::family;
use crate::ipc::primitives::Holder;
use crate::language::exception::{Outcome, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::runtime::{Wait, current};

pub(super) fn define(module: &mut NativeModule) {
    locks::define(module);
    semaphore::define(module);
    condition::define(module);
    event::define(module);
    barrier::define(module);
}

/// Reads `(block=True, timeout=None)` from parameter 0 on.
fn block_and_timeout(call: &mut Call) -> Outcome<Wait> {
    let block = call.bool_or(0, true);
    let timeout = call.seconds(1)?;
    let wait = call.wait_for(timeout);
    Ok(Wait { try_only: wait.try_only || !block, ..wait })
}

/// What is raised when there is no shared memory left.
fn no_memory(error: &std::io::Error) -> Box<EvalAltResult> {
    raise_io(error, None)
}

/// Who holds a lock, as its `repr` says it.
fn owner_name(holder: Option<Holder>) -> String {
    match holder {
        None => "None".into(),
        Some(holder) if holder == Holder::own() => {
            let process = family::own_name();
            match current().map(|thread| thread.name()) {
                Some(thread) if &*thread != "MainThread" => format!("{process}|{thread}"),
                _ => process,
            }
        }
        Some(holder) if holder.is_own_process() => "SomeOtherThread".into(),
        Some(_) => "SomeOtherProcess".into(),
    }
}
