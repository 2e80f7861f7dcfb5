//! `multiprocessing`: processes, pools, and what they share.

pub mod dummy;
pub mod pool;
pub mod queues;

use crate::language::native::NativeModule;

/// The modules of the package.
pub fn modules() -> Vec<NativeModule> {
    let mut all = vec![module(), pool::module()];
    all.extend(dummy::modules());
    all
}

fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing");
    queues::define(&mut module);
    module
}
