//! What scripts see: a file or folder per Python module, each with one `module()`.

use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::{builtins, operators};

pub mod concurrent;
pub mod gil;
pub mod io;
pub mod json;
pub mod multiprocessing;
pub mod os;
pub mod pickle;
pub mod pool;
pub mod queue;
pub mod random;
pub mod requests;
pub mod signal;
pub mod socket;
pub mod subprocess;
pub mod sys;
pub mod threading;
pub mod time;

/// Every module, and the builtins.
pub fn all(realm: &Realm) -> Vec<NativeModule> {
    let mut all = vec![
        builtins::module(),
        operators::module(),
        builtins::testing_module(),
        gil::module(),
        threading::module(),
        queue::module(),
        time::module(),
        sys::module(realm),
        random::module(),
        json::module(),
        pickle::module(),
        io::module(),
        signal::module(),
        socket::module(),
        subprocess::module(),
    ];
    all.extend(os::modules(realm));
    all.extend(requests::modules());
    all.extend(concurrent::futures::modules());
    all.extend(multiprocessing::modules());
    all
}
