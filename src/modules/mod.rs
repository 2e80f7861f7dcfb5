//! What scripts see: a file or folder per Python module, each with one `module()`.

use crate::language::native::NativeModule;

pub mod gil;
pub mod queue;
pub mod threading;

/// Every module, and the builtins.
pub fn all() -> Vec<NativeModule> {
    vec![crate::language::builtins::module(), gil::module(), threading::module(), queue::module()]
}
