//! `multiprocessing`: processes, pools, and what they share.

pub mod dummy;
pub mod pool;

use crate::language::native::NativeModule;

/// The modules of the package.
pub fn modules() -> Vec<NativeModule> {
    let mut all = vec![pool::module()];
    all.extend(dummy::modules());
    all
}
