//! File descriptors as scripts know them: by number.
//!
//! A number says nothing about who may close the descriptor, and by the time a thread uses it, it may be
//! another file's. So the numbers that scripts get are looked up here, and whoever uses a descriptor holds it
//! open meanwhile. The interpreter's own descriptors are not to be found.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Weak;

use rhai::Dynamic;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::language::exception::{Class, Exception, Outcome, interrupted, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::io::{File, bytes_of, format_arguments};
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Reason, Until, block, detached};

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

fn bad() -> Box<rhai::EvalAltResult> {
    raise_io(&Errno::BADF.into(), None)
}

/// A descriptor that is held open while it is used.
enum Held {
    /// One that the script was given, or that an object lent it.
    Known(Arc<OwnedFd>),
    /// Standard input, output or error.
    Standard(BorrowedFd<'static>),
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Known(fd) => fd.as_fd(),
            Self::Standard(fd) => *fd,
        }
    }
}

fn standard(number: i64) -> Option<BorrowedFd<'static>> {
    match number {
        0 => Some(rustix::stdio::stdin()),
        1 => Some(rustix::stdio::stdout()),
        2 => Some(rustix::stdio::stderr()),
        _ => None,
    }
}

fn held(call: &mut Call, index: usize) -> Outcome<Held> {
    let number = call.int(index)?;
    let known = find(number).map(Held::Known);
    known.or_else(|| standard(number).map(Held::Standard)).ok_or_else(bad)
}

fn give_new(fd: OwnedFd) -> Dynamic {
    give(Arc::new(fd)).into()
}

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .function("pipe()", "A pipe: [descriptor to read, descriptor to write].", |_| {
            let (read, write) =
                pipe_with(PipeFlags::CLOEXEC).map_err(|error| raise_io(&error.into(), None))?;
            Ok(vec![give_new(read), give_new(write)].into())
        })
        .function("read(fd, n)", "Waits for bytes, no more than n; none at the end.", read)
        .function("write(fd, data)", "Writes bytes; returns how many.", write)
        .function("close(fd)", "Closes a descriptor that pipe(), dup() or detach() gave.", |call| {
            let number = call.int(0)?;
            let fd = take(number).ok_or_else(|| match find(number).is_some() {
                true => {
                    let suffix = format!(": {number} is an object's, use its close()");
                    Exception::numbered(Class::known("OSError"), libc::EBADF, "Bad file descriptor", &suffix)
                        .into_error()
                }
                false => bad(),
            })?;
            detached(|| drop(fd));
            Ok(Dynamic::UNIT)
        })
        .function("dup(fd)", "A copy of a descriptor.", |call| {
            let fd = held(call, 0)?;
            let copy = fd.as_fd().try_clone_to_owned().map_err(|error| raise_io(&error, None))?;
            Ok(give_new(copy))
        })
        .function("isatty(fd)", "Is it a terminal?", |call| {
            Ok(held(call, 0).is_ok_and(rustix::termios::isatty).into())
        })
        .function(
            "fdopen(fd, mode='r', buffering=-1, encoding=None, errors=None, newline=None)",
            "A file on a descriptor, which it closes.",
            fdopen,
        );
}

fn read(call: &mut Call) -> Outcome<Dynamic> {
    let fd = held(call, 0)?;
    let size = call.int(1)?;
    let size = usize::try_from(size).map_err(|_| raise_io(&Errno::INVAL.into(), None))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size)
        .map_err(|_| raise("MemoryError", format!("no memory for {size} bytes: read fewer at a time")))?;
    loop {
        block(Until::Readable(fd.as_fd()), Reason::External("a descriptor"), None, call.site())
            .map_err(interrupted)?;
        let space = rustix::buffer::spare_capacity(&mut bytes);
        match detached(|| rustix::io::read(&fd, space)) {
            Ok(_) => return Ok(Dynamic::from_blob(bytes)),
            // Somebody else was quicker.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(raise_io(&error.into(), None)),
        }
    }
}

/// What a pipe that can be written takes without waiting.
const PIPE_CHUNK: usize = 4096;

fn write(call: &mut Call) -> Outcome<Dynamic> {
    let fd = held(call, 0)?;
    let data = call.required(1)?;
    let bytes = bytes_of(&data).ok_or_else(|| {
        let kind = value::type_name(&data);
        raise("TypeError", format!("a bytes-like object is required, not '{kind}'"))
    })?;
    let mut written = 0;
    loop {
        block(Until::Writable(fd.as_fd()), Reason::External("a descriptor"), None, call.site())
            .map_err(interrupted)?;
        let end = bytes.len().min(written + PIPE_CHUNK);
        match detached(|| rustix::io::write(&fd, &bytes[written..end])) {
            Ok(count) => written += count,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            // What was written before was written.
            Err(_) if written > 0 => break,
            Err(error) => return Err(raise_io(&error.into(), None)),
        }
        if written == bytes.len() {
            break;
        }
    }
    Ok((written as i64).into())
}

fn fdopen(call: &mut Call) -> Outcome<Dynamic> {
    let number = call.int(0)?;
    let mode = call.optional_text(1)?.unwrap_or_else(|| "r".into());
    let format = format_arguments(call, &mode, 2)?;
    let fd = match (standard(number), take(number)) {
        (_, Some(fd)) => match Arc::try_unwrap(fd) {
            Ok(fd) => fd,
            // Another thread reads or writes it at this moment.
            Err(fd) => fd.try_clone().map_err(|error| raise_io(&error, None))?,
        },
        (Some(fd), None) => fd.try_clone_to_owned().map_err(|error| raise_io(&error, None))?,
        (None, None) => return Err(bad()),
    };
    let file = File::new(fd.into(), number.to_string(), format);
    Ok(Dynamic::from(file.map_err(|error| raise_io(&error, None))?))
}
