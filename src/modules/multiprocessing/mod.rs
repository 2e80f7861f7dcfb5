//! `multiprocessing`: processes, and what crosses between them.

mod bootstrap;
mod children;
pub mod connection;
mod context;
mod current;
pub mod dummy;
mod launch;
mod managers;
pub mod pool;
mod process;
pub mod queues;
mod sharedctypes;
mod snapshot;
mod synchronize;
pub mod workers;

use rhai::Dynamic;

use crate::language::list::List;
use crate::language::native::NativeModule;
use crate::language::realm::Realm;

pub use children::at_exit;
pub use context::{StartMethod, context_argument, set_start_method};
pub use launch::{after_fork, anticipate, is_expected, is_hidden};
pub use process::ProcessHandle;
pub use synchronize::{LockHandle, RLockHandle};
pub(crate) use synchronize::{pack_label, unpack_label};

/// The key with which the connections of this family of processes are authenticated.
pub fn authkey(realm: &crate::runtime::sync::Arc<Realm>) -> Vec<u8> {
    current::current(realm).authkey(realm)
}

/// The modules of the package.
pub fn modules() -> Vec<NativeModule> {
    let mut all =
        vec![module(), connection::module(), managers::module(), pool::module(), sharedctypes::module()];
    all.extend(dummy::modules());
    all
}

fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing");
    process::define(&mut module);
    context::define(&mut module);
    workers::define(&mut module);
    pool::define_in_package(&mut module);
    module
        .class("current_process()", "The object of the process that runs.", |call| {
            Ok(Dynamic::from(current::current(&call.realm())))
        })
        .class("parent_process()", "The object of this process's parent; None in the main process.", |call| {
            Ok(current::parent(&call.realm()).map_or(Dynamic::UNIT, Dynamic::from))
        })
        .class("active_children()", "The children that run; those that have ended are reaped.", |call| {
            let children = call.realm().extension::<children::Children>();
            let alive = children.alive().into_iter().map(Dynamic::from).collect();
            Ok(Dynamic::from(List::new(alive)))
        })
        .class("cpu_count()", "How many processors the machine has.", |_| {
            Ok(std::thread::available_parallelism().map_or(1, |n| n.get() as i64).into())
        })
        .class("freeze_support()", "Does nothing: scripts are not frozen into programs.", |_| {
            Ok(Dynamic::UNIT)
        });
    module.exceptions();
    queues::define(&mut module);
    synchronize::define(&mut module);
    connection::define(&mut module);
    managers::define(&mut module);
    sharedctypes::define(&mut module);
    module
}
