//! The one format for whatever crosses a process boundary: arguments, results, exceptions, queue items, function
//! pointers, copies of module-level variables.
//!
//! A value is a [tag] and what follows from it. Plain arrays and maps are values and are copied each time they
//! occur; a `list`, a `dict`, an exception and every other object is written once in a message and referred to
//! after that, so that the same list twice stays one list, and one that contains itself can travel. Objects of
//! the modules above travel if their type was [registered](register) with a pair of functions, as Python's
//! copyreg has it. Everything else is a TypeError that names the value and the path to it.
//!
//! What arrives is not trusted: bytes that are no message are an UnpicklingError. Only messages between processes
//! that share memory may refer to it, and then each is to be decoded once, as it brings references.

mod decoder;
mod encoder;
mod plain;
mod tag;
#[cfg(test)]
mod tests;
mod travel;

use std::os::fd::OwnedFd;

use rhai::Dynamic;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use plain::{scalar, with_plain};
pub use travel::{Travel, register};

use crate::language::exception::Outcome;
use crate::runtime::sync::Arc;

/// What a message is for, and thereby what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The arguments of a new process: file descriptors go along.
    Start,
    /// An item on a way between processes of this program that carries bytes only: a queue. File descriptors
    /// are fetched from the sender.
    Message,
    /// An item on a way that carries file descriptors as well: a Unix socket.
    Connection,
    /// Bytes for anybody, who need not share memory with this process: a network connection, a file.
    Anybody,
}

impl Purpose {
    /// Do file descriptors go along with the message?
    pub fn carries_descriptors(self) -> bool {
        matches!(self, Self::Start | Self::Connection)
    }

    /// May the message refer to objects in shared memory?
    pub fn shares_memory(self) -> bool {
        !matches!(self, Self::Anybody)
    }
}

/// How many containers may be inside of each other, as in CPython.
const DEPTH: u32 = 1000;

/// What takes back a step that was made for a message, should the message not be sent.
type Undo = Box<dyn FnOnce() + Send>;

/// A message ready to be sent. Unless [`Encoded::sent`] says that it was, dropping it takes back the references
/// to shared memory that it would have brought.
pub struct Encoded {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file descriptors that go with them.
    pub fds: Vec<Arc<OwnedFd>>,
    undo: Vec<Undo>,
}

impl Encoded {
    /// The receiver has the message now, and with it the references.
    pub fn sent(mut self) -> Vec<u8> {
        self.undo.clear();
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        for undo in self.undo.drain(..).rev() {
            undo();
        }
    }
}

/// One value as a message.
///
/// # Errors
/// TypeError for what cannot travel; RecursionError when too many containers are inside of each other.
pub fn encode(value: &Dynamic, purpose: Purpose) -> Outcome<Encoded> {
    let mut encoder = Encoder::new(purpose);
    encoder.value(value)?;
    Ok(encoder.finish())
}

/// Several values as one message, in which the same object stays the same. `name` is what errors call them:
/// `args[1]`.
///
/// # Errors
/// As [`encode`].
pub fn encode_all(values: &[Dynamic], purpose: Purpose, name: &str) -> Outcome<Encoded> {
    let mut encoder = Encoder::new(purpose);
    encoder.u64(values.len() as u64);
    for (index, value) in values.iter().enumerate() {
        encoder.named(|| format!("{name}[{index}]"), value)?;
    }
    Ok(encoder.finish())
}

/// The value of a message.
///
/// # Errors
/// UnpicklingError for bytes that are no message; AttributeError for a function that this process's program does
/// not have; what a registered type's `unpack` raises.
pub fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Outcome<Dynamic> {
    if fds.is_empty()
        && let Some(value) = plain::plain(bytes)
    {
        return Ok(value);
    }
    let mut decoder = Decoder::new(bytes, fds);
    let value = decoder.value()?;
    decoder.finish()?;
    Ok(value)
}

/// The value of a message that was encoded for [`Purpose::Anybody`], and may come from anybody.
///
/// # Errors
/// As [`decode`]; UnpicklingError if it refers to shared memory.
pub fn decode_from_anybody(bytes: &[u8]) -> Outcome<Dynamic> {
    let mut decoder = Decoder::from_anybody(bytes);
    let value = decoder.value()?;
    decoder.finish()?;
    Ok(value)
}

/// The values of a message that [`encode_all`] made.
///
/// # Errors
/// As [`decode`].
pub fn decode_all(bytes: &[u8], fds: Vec<OwnedFd>) -> Outcome<Vec<Dynamic>> {
    let mut decoder = Decoder::new(bytes, fds);
    let count = decoder.u64()?;
    let values = decoder.values(count)?;
    decoder.finish()?;
    Ok(values)
}
