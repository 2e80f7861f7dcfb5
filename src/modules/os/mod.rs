//! `os`: the process, its environment, and the file system.

pub mod descriptors;
pub mod environment;
mod files;
mod fork;
pub mod path;
mod process;
mod signalling;
mod wait;

use std::fs::File;
use std::io::{self, Read};

use rhai::Dynamic;

use crate::language::builtins::check_size;
use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::realm::Realm;
use crate::runtime::detached;

/// The modules `os` and `os.path`, for the interpreter whose environment variables `os.environ` is.
pub fn modules(realm: &Realm) -> Vec<NativeModule> {
    let mut module = NativeModule::new("os");
    module
        .constant("name", "The family of systems: `posix`.", "posix")
        .constant("sep", "What stands between the parts of a path.", "/")
        .constant("linesep", "What ends a line of a text file.", "\n")
        .constant("pathsep", "What stands between the directories of `PATH`.", ":")
        .constant("devnull", "The file that swallows everything.", "/dev/null")
        .function("strerror(code)", "The system's message for an error number.", |call| {
            let code = call.int(0)?;
            Ok(strerror(code).into())
        })
        .function("urandom(size)", "Random bytes from the system.", urandom_bytes);
    environment::register(&mut module, realm);
    files::register(&mut module);
    process::register(&mut module);
    fork::register(&mut module);
    signalling::register(&mut module);
    wait::register(&mut module);
    descriptors::register(&mut module);
    vec![module, path::module()]
}

fn strerror(code: i64) -> String {
    let Ok(number) = i32::try_from(code) else { return format!("Unknown error {code}") };
    let text = io::Error::from_raw_os_error(number).to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn urandom_bytes(call: &mut Call) -> Outcome<Dynamic> {
    let size = call.int(0)?;
    let size = usize::try_from(size)
        .map_err(|_| raise("ValueError", format!("negative argument not allowed: urandom({size})")))?;
    check_size("the random bytes", size as u128, 1)?;
    let mut bytes = vec![0; size];
    detached(|| fill_randomly(&mut bytes)).map_err(|error| raise_io(&error, None))?;
    Ok(Dynamic::from_blob(bytes))
}

/// Fills `bytes` from the system's random numbers.
///
/// # Errors
/// The system's, when it has no `/dev/urandom`.
pub fn fill_randomly(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}
