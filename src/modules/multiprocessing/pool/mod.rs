//! `multiprocessing.pool`: pools of workers, and the results of what they do.

mod face;
mod handler;
mod imap;
mod process_pool;
mod progress;
mod result;
mod thread_pool;

use crate::language::native::NativeModule;

pub use process_pool::{define_in_package, new_process_pool};
pub use thread_pool::new as new_thread_pool;

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.pool");
    process_pool::define(&mut module);
    thread_pool::define(&mut module);
    result::define(&mut module);
    imap::define(&mut module);
    module.exceptions();
    module
}
