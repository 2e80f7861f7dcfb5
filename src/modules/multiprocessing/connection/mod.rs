//! `multiprocessing.connection`, and `Pipe`: messages between processes.

mod handle;
mod listener;
mod wait;

use rhai::Dynamic;

use crate::ipc::connection::Connection;
use crate::language::exception::raise_io;
use crate::language::native::NativeModule;

pub use handle::{ConnectionHandle, raise_failure};
pub use listener::{Listener, connect};

/// Adds what `multiprocessing` itself has of it.
pub(super) fn define(module: &mut NativeModule) {
    module.class(
        "Pipe(duplex=True)",
        "Two connected ends, [conn1, conn2]. Unless duplex, conn1 only receives and conn2 only sends.",
        |call| {
            let duplex = call.bool_or(0, true);
            super::launch::prepare(&call.realm());
            let (one, other) = Connection::pair().map_err(|error| raise_io(&error, None))?;
            let one = ConnectionHandle::new(one, true, duplex);
            let other = ConnectionHandle::new(other, duplex, true);
            Ok(vec![Dynamic::from(one), Dynamic::from(other)].into())
        },
    );
}

/// The module.
pub(super) fn module() -> NativeModule {
    let mut module = NativeModule::new("multiprocessing.connection");
    handle::define(&mut module);
    listener::define(&mut module);
    wait::define(&mut module);
    module
}
