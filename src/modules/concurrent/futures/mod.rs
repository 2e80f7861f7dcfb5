//! `concurrent.futures`: executors and the futures that they make.

mod api;
mod executor;
mod future;
mod process;
mod thread;
mod waiting;

use crate::language::exception::Class;
use crate::language::native::NativeModule;
use crate::language::types::Type;

pub use api::FutureHandle;
pub use future::Future;

/// The modules `concurrent.futures`, `concurrent.futures.thread` and `concurrent.futures.process`.
pub fn modules() -> Vec<NativeModule> {
    let mut module = NativeModule::new("concurrent.futures");
    api::define(&mut module);
    executor::define_abstract(&mut module);
    thread::define(&mut module);
    process::define(&mut module);
    waiting::define(&mut module);
    module.exceptions();
    // The builtin class under the name that it had as one of this module's.
    module.constant(
        "TimeoutError",
        "What result() raises when it takes too long: the builtin.",
        rhai::Dynamic::from(Type::Exception(Class::known("TimeoutError"))),
    );
    let mut all = vec![module];
    for name in ["concurrent.futures.thread", "concurrent.futures.process"] {
        let mut module = NativeModule::new(name);
        module.exceptions();
        all.push(module);
    }
    all
}
