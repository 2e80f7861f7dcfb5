//! `pickle`: values as bytes, in the format in which they travel between processes.

use rhai::Dynamic;

use super::io::bytes_of;
use crate::ipc::codec::{Purpose, decode_from_anybody, encode};
use crate::language::exception::raise;
use crate::language::native::NativeModule;
use crate::language::value;

/// The module `pickle`.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("pickle");
    module
        .exceptions()
        .function("dumps(obj)", "The value as bytes.", |call| {
            encode(&call.required(0)?, Purpose::Anybody).map(|encoded| Dynamic::from_blob(encoded.sent()))
        })
        .function("loads(data)", "The value that dumps() made bytes of.", |call| {
            let data = call.required(0)?;
            let Some(bytes) = bytes_of(&data) else {
                let kind = value::type_name(&data);
                return Err(raise("TypeError", format!("a bytes-like object is required, not '{kind}'")));
            };
            decode_from_anybody(&bytes)
        });
    module
}
