//! File descriptors as scripts know them: by number.
//!
//! A number says nothing about who may close the descriptor, and by the time a thread uses it, it may be
//! another file's. So the numbers that scripts get are looked up here, and whoever uses a descriptor holds it
//! open meanwhile. The interpreter's own descriptors are not to be found.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Weak;

use crate::runtime::sync::{Arc, Mutex};

/// Who closes a descriptor.
enum Entry {
    /// The script, by its number.
    Script(Arc<OwnedFd>),
    /// An object, such as a socket, that told the script its number.
    Object(Weak<OwnedFd>),
}

static TABLE: Mutex<Option<HashMap<RawFd, Entry>>> = Mutex::new(None);

/// Gives a descriptor to the script, which knows it by the number from now on and has to close it.
pub fn give(fd: Arc<OwnedFd>) -> i64 {
    let number = fd.as_raw_fd();
    TABLE.lock().get_or_insert_default().insert(number, Entry::Script(fd));
    number.into()
}

/// Tells the script the number of a descriptor that an object goes on to own.
pub fn lend(fd: &Arc<OwnedFd>) -> i64 {
    let number = fd.as_raw_fd();
    TABLE.lock().get_or_insert_default().insert(number, Entry::Object(Arc::downgrade(fd)));
    number.into()
}

/// Takes a descriptor that the script owns away from it; nothing if it owns none of that number.
pub fn take(number: i64) -> Option<Arc<OwnedFd>> {
    let number = RawFd::try_from(number).ok()?;
    let mut table = TABLE.lock();
    let table = table.get_or_insert_default();
    match table.get(&number) {
        Some(Entry::Script(_)) => match table.remove(&number) {
            Some(Entry::Script(fd)) => Some(fd),
            _ => None,
        },
        _ => None,
    }
}

/// The descriptor that the script knows by a number, held open.
pub fn find(number: i64) -> Option<Arc<OwnedFd>> {
    let number = RawFd::try_from(number).ok()?;
    match TABLE.lock().get_or_insert_default().get(&number)? {
        Entry::Script(fd) => Some(Arc::clone(fd)),
        Entry::Object(fd) => fd.upgrade(),
    }
}
