//! `threading`: threads, and what they synchronise with.

mod barrier;
mod condition;
mod event;
mod excepthook;
mod functions;
mod local;
mod lock;
mod promotion;
mod semaphore;
mod thread;
mod timer;

use crate::language::native::NativeModule;

pub use excepthook::{render as render_exception, report_uncaught};
pub use local::forget_locals;
pub use lock::{LockHandle, RLockHandle};
pub(crate) use lock::{release, release_reentrant};
pub use thread::{ThreadHandle, new_dummy_process};

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("threading");
    thread::define(&mut module);
    functions::define(&mut module);
    lock::define(&mut module);
    condition::define(&mut module);
    semaphore::define(&mut module);
    event::define(&mut module);
    barrier::define(&mut module);
    timer::define(&mut module);
    local::define(&mut module);
    excepthook::define(&mut module);
    module.exceptions();
    module
}
