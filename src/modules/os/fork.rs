//! `os.fork`: a copy of the calling thread and of all memory, as fork(2) makes it.

use rhai::Dynamic;

use crate::ipc;
use crate::language::exception::{Outcome, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::modules::{multiprocessing, random, signal};

/// Adds the function to the module.
pub(super) fn register(module: &mut NativeModule) {
    module.function(
        "fork()",
        "Makes a copy of this process, in which only the calling thread exists; returns 0 there, and the copy's \
         number here.",
        fork,
    );
}

fn fork(call: &mut Call) -> Outcome<Dynamic> {
    let realm = call.realm();
    synchronise();
    ipc::share_with_fork();
    // SAFETY: every other thread rests where it holds none of the locks that the child needs, and the child puts
    // right at once what refers to them.
    let pid = realm.runtime.at_rest(|| unsafe { libc::fork() });
    match pid {
        -1 => {
            let error = std::io::Error::last_os_error();
            ipc::unshare();
            Err(raise_io(&error, None))
        }
        0 => {
            ipc::after_shared_fork();
            realm.runtime.after_fork();
            signal::after_fork(&realm);
            multiprocessing::after_fork(&realm);
            random::reseed(&realm);
            Ok(0_i64.into())
        }
        pid => Ok(i64::from(pid).into()),
    }
}
