//! Values over a channel: what the queues between processes are made of.

use std::cell::Cell;

use rhai::Dynamic;

use super::codec::{self, Encoder, Purpose};
use super::{Channel, Head, Parts, SendError};
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::variables::synchronise;
use crate::runtime::Wait;

thread_local! {
    /// What the thread's last message was written into.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A longer buffer is not worth keeping.
const KEPT: usize = 1 << 20;

/// The exception for a message that was not sent.
pub fn not_sent(error: SendError) -> Box<rhai::EvalAltResult> {
    match error {
        SendError::Interrupted(interrupt) => interrupted(interrupt),
        // The system refuses: a limit that the error names.
        SendError::Memory(error) if error.raw_os_error().is_some() => raise_io(&error, None),
        SendError::Memory(_) => raise("MemoryError", error.to_string()),
    }
}

/// Sends a value; false when the wait for room was over first. When this returns true the value's bytes are in
/// shared memory: nothing in this process needs to go on for them to arrive.
///
/// # Errors
/// TypeError for what cannot travel, MemoryError, and whatever interrupts the wait.
pub fn put(channel: &Channel, value: &Dynamic, wait: &Wait) -> Outcome<bool> {
    put_or_wait(channel, value, || wait.clone())
}

/// As [`put`]; how long to wait is asked only if there is no room at once.
///
/// # Errors
/// As [`put`].
#[inline]
pub fn put_or_wait(channel: &Channel, value: &Dynamic, wait: impl Fn() -> Wait) -> Outcome<bool> {
    // What this thread's script wrote to shared variables before the receiver has to see.
    synchronise();
    match codec::with_plain(value, Head::new(), |parts| channel.send_parts(parts, &wait)) {
        Some(is_sent) => is_sent.map_err(not_sent),
        None => put_encoded(channel, value, wait),
    }
}

#[inline(never)]
fn put_encoded(channel: &Channel, value: &Dynamic, wait: impl Fn() -> Wait) -> Outcome<bool> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let mut encoder = Encoder::onto(buffer, Purpose::Message);
    encoder.value(value)?;
    let message = encoder.finish();
    let is_sent = channel.send_parts(Parts::whole(&message.bytes), wait).map_err(not_sent)?;
    if is_sent {
        let buffer = message.sent();
        if buffer.capacity() <= KEPT {
            BUFFER.set(buffer);
        }
    }
    Ok(is_sent)
}

/// Takes the next value; nothing when the wait for one was over first.
///
/// # Errors
/// What [`codec::decode`] raises, and then the value is lost; whatever interrupts the wait.
pub fn get(channel: &Channel, wait: &Wait) -> Outcome<Option<Dynamic>> {
    get_or_wait(channel, || wait.clone())
}

/// As [`get`]; how long to wait is asked only if there is no value at once.
///
/// # Errors
/// As [`get`].
#[inline]
pub fn get_or_wait(channel: &Channel, wait: impl FnOnce() -> Wait) -> Outcome<Option<Dynamic>> {
    let lift = |message: &[u8]| codec::scalar(message).map(Ok);
    let received = channel.receive_lifting(wait, lift, |message| codec::decode(message, Vec::new()));
    received.map_err(interrupted)?.transpose()
}
