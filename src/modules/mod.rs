//! What scripts see: a file or folder per Python module, each with one `module()`.

use reach::Reach;

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
mod reach;
pub mod requests;
pub mod signal;
pub mod socket;
pub mod subprocess;
pub mod sys;
pub mod threading;
pub mod time;

/// Every module, and the builtins; of the modules only those that a script can reach if its text is known.
pub fn all(realm: &Realm, source: Option<&str>) -> Vec<NativeModule> {
    let reach = source.map(Reach::of);
    let is_reached = |root: &str| reach.as_ref().is_none_or(|reach| reach.includes(root));
    let mut all = vec![
        builtins::module(),
        operators::module(),
        builtins::testing_module(),
        gil::module(),
        threading::module(),
        queue::module(),
        time::module(),
        sys::module(realm),
        io::module(),
    ];
    if is_reached("random") {
        all.push(random::module());
    }
    if is_reached("json") {
        all.push(json::module());
    }
    if is_reached("os") {
        all.extend(os::modules(realm));
    }
    if reach.is_none_or(|reach| reach.all()) {
        all.extend([pickle::module(), signal::module(), socket::module(), subprocess::module()]);
        all.extend(requests::modules());
        all.extend(concurrent::futures::modules());
        all.extend(multiprocessing::modules());
    }
    all
}
