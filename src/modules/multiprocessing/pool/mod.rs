//! `multiprocessing.pool`: pools of workers, and the results of what they do.

mod face;
mod handler;
mod imap;
mod progress;
mod result;
mod thread_pool;

use crate::language::native::NativeModule;

pub use thread_pool::new as new_thread_pool;

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.pool");
    thread_pool::define(&mut module);
    result::define(&mut module);
    imap::define(&mut module);
    module.exceptions();
    module
}
