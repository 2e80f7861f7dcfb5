//! `multiprocessing.managers`: objects that live in a server process and are used through proxies.
//!
//! A server has a thread for each connection, and a client a connection for each of its threads, so that a lock's
//! owner is the same thread of the server every time. Within one family of processes the connections go through
//! shared memory; over TCP, or between programs, through the socket.
//!
//! Every process counts as one client, and its references go with its last connection: a client that is killed
//! leaves nothing behind. A server, in turn, ends when its owner does, however that happens.

mod client;
mod invoke;
mod manager;
mod message;
mod methods;
mod proxy;
mod referent;
mod server;

use rhai::Dynamic;

use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::types::Type;

pub(super) use manager::shut_down_all;

/// Adds what `multiprocessing` itself has of it.
pub(super) fn define(module: &mut NativeModule) {
    module.class("Manager()", "A started SyncManager.", |call| {
        manager::ManagerHandle::started(call).map(Dynamic::from)
    });
}

/// The module.
pub(super) fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.managers");
    module.exceptions();
    module.handle::<referent::Namespace>().handle::<referent::Value>().handle::<referent::Array>();
    for class in proxy::CLASSES {
        module.constant(class, "A class of proxies.", Dynamic::from(Type::Named((*class).into())));
    }
    methods::define(&mut module);
    manager::define(&mut module);
    module
}

/// In a forked process: connections and servers are the parent's.
pub(super) fn after_fork(realm: &Realm) {
    client::after_fork();
    server::after_fork();
    manager::forget(realm);
}
