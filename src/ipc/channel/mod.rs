//! A channel: messages from many senders to many receivers, of any process of the family.
//!
//! Senders and receivers have a guard each, so that they do not wait for one another. Messages lie in *segments*
//! one after the other; a full segment leads to the next one, and a segment that was read is used again. What is
//! too long for that lies in a block of its own, and only the block's place in the segment.
//!
//! Each end has a count, of the messages ever sent or received, and two places in the memory: the one of an even
//! and the one of an odd count. To send, one writes the message behind the last one, notes the place behind it
//! as that of the next count, and then stores the count: a message is there with that one store or not at all,
//! so whoever is killed at any moment leaves the channel whole, and what he wrote beyond the last count is
//! overwritten. Receiving is the same from the other side. The counts are also the words on which the others
//! sleep.

mod lonely;
mod memory;
mod tasks;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::guard::Guard;
use super::parts::Parts;
use super::shared::{Shared, Zeroed};
use crate::runtime::sync::{Arc, AtomicU32, Ordering};
use crate::runtime::{Interrupt, Reason, Sleepers, Until, Wait, Woken, block_since};

use lonely::{ITEM, Named, ROOM};
use memory::{Contents, Memory, Message, Place, is_long};
use tasks::Tasks;

/// The most messages in a channel without a bound of its own: CPython's `SEM_VALUE_MAX`.
const MOST: u32 = i32::MAX as u32;

/// Messages up to this length are not counted among the bytes of a channel.
pub const SHORT: u64 = 64;

/// What a script needs for a message, more or less.
const PER_MESSAGE: Duration = Duration::from_nanos(300);

/// The longest that messages are let gather.
const LONGEST_GATHERING: Duration = Duration::from_micros(10);

/// With more messages than this the senders are far ahead of the receivers.
const BEHIND: usize = 16;

/// What one side changes under its guard.
#[repr(C, align(64))]
struct Inner {
    guard: Guard,
    places: [Place; 2],
    /// The other side's count when it was last read, and the bytes by then.
    seen: AtomicU32,
    seen_bytes: AtomicU32,
    /// How many messages went through without a wait, since the last one and before it.
    run: AtomicU32,
    run_before: AtomicU32,
}

impl Inner {
    /// A message goes through.
    fn go_on(&self) {
        self.run.store(self.run.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// None does: somebody may wait.
    fn stop(&self) {
        let run = self.run.load(Ordering::Relaxed);
        if run != 0 {
            self.run_before.store(run, Ordering::Relaxed);
            self.run.store(0, Ordering::Relaxed);
        }
    }
}

/// What both sides look at.
#[repr(C, align(64))]
struct Outer {
    /// How many messages were ever sent or received, modulo 2^32.
    count: AtomicU32,
    /// The bytes of that many messages, modulo 2^32, as far as they are counted; those of one more if somebody was
    /// killed before he could count it.
    bytes: AtomicU32,
    /// Who sleeps until the count changes.
    sleepers: Sleepers,
}

#[repr(C)]
struct End {
    inner: Inner,
    outer: Outer,
}

impl End {
    fn place(&self, count: u32) -> &Place {
        &self.inner.places[count as usize % 2]
    }

    /// Makes what was sent or received up to `place`, and up to so many bytes, so.
    fn commit(&self, count: u32, place: (u64, u64), bytes: u32) {
        let next = count.wrapping_add(1);
        self.place(next).set(place, bytes);
        self.outer.bytes.store(bytes, Ordering::Relaxed);
        self.outer.count.store(next, Ordering::SeqCst);
    }

    fn wake_one(&self) {
        self.outer.sleepers.wake_one(&self.outer.count);
    }

    /// How long somebody who waits at this end may let the next run of messages grow before he goes on. Where messages
    /// stream, two processes that look for each other's every single one pass the same lines of memory to and fro all
    /// the time, and a wait costs more than a message: so a run may last twice as long as the one before. A single
    /// message, as a reply is, is never waited for any longer.
    fn gathering(&self) -> Duration {
        let run = self.inner.run_before.load(Ordering::Relaxed);
        PER_MESSAGE.saturating_mul(run.saturating_sub(1)).min(LONGEST_GATHERING)
    }
}

/// A channel in shared memory, for messages that bring one ([`Channel::shared`]).
#[repr(C)]
pub struct State {
    sending: End,
    receiving: End,
    tasks: Tasks,
    memory: Memory,
    capacity: AtomicU32,
    /// The most bytes; 0 if they are not counted.
    most_bytes: AtomicU32,
}

// SAFETY: zero is free guards, no messages, no memory; everything is an atomic, offsets are no pointers.
unsafe impl Zeroed for State {
    const KIND: u32 = 0x4348;

    fn release(&self) {
        while let Ok(Received { message, left }) = self.take(|_| ()) {
            if let Some(block) = message {
                self.memory.recycle_block(block);
            }
            if let Some(segment) = left {
                self.memory.recycle_segment(segment);
            }
        }
        let receiving = &self.receiving;
        let (segment, _) = receiving.place(receiving.outer.count.load(Ordering::Relaxed)).get();
        self.memory.release(segment);
    }
}

/// What was taken out, or the count at which there was nothing.
struct Received {
    /// The block of a long message, which is the receiver's now.
    message: Option<memory::Block>,
    /// The segment before, if this was the first message of another one.
    left: Option<u64>,
}

/// Why a message was not sent.
#[derive(Debug)]
pub enum SendError {
    /// The wait was interrupted.
    Interrupted(Interrupt),
    /// The system has no more memory to share.
    Memory(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(_) => f.write_str("interrupted"),
            Self::Memory(error) => write!(f, "no memory to share: {error}"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<Interrupt> for SendError {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

/// A handle of a channel. Clones are handles of the same one, and so are those that other processes get.
#[derive(Clone)]
pub struct Channel {
    state: Shared<State>,
    /// How scripts know it, if they do.
    named: Option<Arc<Named>>,
}

impl From<Shared<State>> for Channel {
    fn from(state: Shared<State>) -> Self {
        Self { state, named: None }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({:#x}, {} messages)", self.place(), self.len())
    }
}

impl Channel {
    /// An empty channel that holds at most `capacity` messages; 2^31 - 1 if that is 0 or more than that.
    ///
    /// # Errors
    /// The arena's.
    pub fn new(capacity: u64) -> io::Result<Self> {
        let state = Shared::<State>::new()?;
        let capacity = u32::try_from(capacity).unwrap_or(MOST).min(MOST);
        state.capacity.store(if capacity == 0 { MOST } else { capacity }, Ordering::Relaxed);
        Ok(Self::from(state))
    }

    /// One that holds at most `bytes` bytes as well; a message that is longer goes alone, and those of up to
    /// [`SHORT`] bytes are not counted.
    ///
    /// # Errors
    /// The arena's.
    pub fn with_most_bytes(capacity: u64, bytes: u32) -> io::Result<Self> {
        let channel = Self::new(capacity)?;
        channel.state.most_bytes.store(bytes.min(MOST / 2), Ordering::Relaxed);
        Ok(channel)
    }

    /// The object in shared memory.
    pub fn shared(&self) -> &Shared<State> {
        &self.state
    }

    /// The channel's identity, the same in every process.
    pub fn place(&self) -> u64 {
        self.state.place()
    }

    /// How many messages it holds at most.
    pub fn capacity(&self) -> u32 {
        self.state.capacity.load(Ordering::Relaxed)
    }

    /// How many messages were ever received, modulo 2^32. The number of a message is how many were sent before it,
    /// so all messages of lower numbers have been taken out.
    pub fn received(&self) -> u32 {
        self.state.receiving.outer.count.load(Ordering::Acquire)
    }

    /// How many messages it holds at this moment.
    pub fn len(&self) -> usize {
        // Received before sent: never less than nothing.
        let received = self.state.receiving.outer.count.load(Ordering::Acquire);
        let sent = self.state.sending.outer.count.load(Ordering::Acquire);
        sent.wrapping_sub(received).min(self.capacity()) as usize
    }

    /// Does it hold none at this moment?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long a receiver that found it empty may let messages gather before it takes the first one: see
    /// [`Until::Passed`].
    pub fn gathering(&self) -> Duration {
        self.state.receiving.gathering()
    }

    /// Does it hold as many as it may?
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity() as usize
    }

    /// Sends a message; false when the wait for room was over first. When this returns true the message is in
    /// shared memory and the sender may end.
    ///
    /// # Errors
    /// [`SendError`]; the message is then not sent.
    pub fn send(&self, message: &[u8], wait: &Wait) -> Result<bool, SendError> {
        self.send_parts(Parts::whole(message), || wait.clone())
    }

    /// As [`Channel::send`]; how long to wait is asked only if there is no room at once.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_parts(&self, message: Parts<'_>, wait: impl Fn() -> Wait) -> Result<bool, SendError> {
        self.send_unless(message, wait, || false)
    }

    /// As [`Channel::send_parts`], and false as well when `is_off` says so, which is asked during a wait after
    /// [`Channel::wake_senders`].
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_unless(
        &self,
        message: Parts<'_>,
        wait: impl Fn() -> Wait,
        is_off: impl Fn() -> bool,
    ) -> Result<bool, SendError> {
        let state = &*self.state;
        if is_long(&message) && self.is_full() && wait().try_only {
            return Ok(false);
        }
        let is_behind = || self.len() > BEHIND;
        let message = state.memory.prepare(message, is_behind).map_err(SendError::Memory)?;
        let sent = self.send_prepared(&message, wait, is_off);
        if let (Message::Block(block), Ok(false) | Err(_)) = (message, &sent) {
            state.memory.recycle_block(block);
        }
        sent
    }

    fn send_prepared(
        &self,
        message: &Message<'_>,
        wait: impl FnOnce() -> Wait,
        is_off: impl Fn() -> bool,
    ) -> Result<bool, SendError> {
        let state = &*self.state;
        let reason = || self.reason(&ROOM);
        let attempt = || state.put(message).map_err(SendError::Memory);
        let sent =
            wait_for((&state.sending, &state.receiving), wait, reason, attempt, || !self.is_full(), is_off)?;
        if sent.is_some() {
            state.sending.wake_one();
        }
        Ok(sent.is_some())
    }

    /// Lets those who wait for room look whether that was called off.
    pub fn wake_senders(&self) {
        let Outer { count, sleepers, .. } = &self.state.receiving.outer;
        sleepers.wake_all(count);
    }

    /// Takes the next message; nothing when the wait for one was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn receive(&self, wait: &Wait) -> Result<Option<Vec<u8>>, Interrupt> {
        self.receive_with(wait, |message| {
            let mut copy = Vec::with_capacity(message.len());
            memory::append(&mut copy, message);
            copy
        })
    }

    /// Takes the next message and hands it to `read`, which may do anything: nothing is locked.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn receive_with<R>(
        &self,
        wait: &Wait,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Interrupt> {
        self.receive_noting(wait, |_| (), read)
    }

    /// As [`Channel::receive_with`], and tells `note` the message's number *before* it is taken out, so that who
    /// looks at the note of a receiver that was killed knows which message went with it: the one noted, if
    /// [`Channel::received`] is beyond it.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn receive_noting<R>(
        &self,
        wait: &Wait,
        note: impl Fn(u32),
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Interrupt> {
        self.take(|| wait.clone(), note, |_| None, read)
    }

    /// As [`Channel::receive_with`]. A short message is first shown to `lift` where it lies: what it makes of it
    /// saves a copy. It is called with the channel locked, so it must not take long nor wait for anything. How long
    /// to wait is asked only if there is no message at once.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn receive_lifting<R>(
        &self,
        wait: impl FnOnce() -> Wait,
        lift: impl Fn(&[u8]) -> Option<R>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Interrupt> {
        self.take(wait, |_| (), lift, read)
    }

    #[inline]
    fn take<R>(
        &self,
        wait: impl FnOnce() -> Wait,
        note: impl Fn(u32),
        lift: impl Fn(&[u8]) -> Option<R>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Interrupt> {
        let state = &*self.state;
        let (mut lifted, mut buffer) = (None, None);
        let attempt = || {
            Ok::<_, Interrupt>(state.take_noting(&note, |message| {
                lifted = lift(message);
                if lifted.is_none() {
                    let buffer = buffer.get_or_insert_with(memory::Buffer::take);
                    buffer.clear();
                    memory::append(buffer, message);
                }
            }))
        };
        let reason = || self.reason(&ITEM);
        let received = wait_for(
            (&state.receiving, &state.sending),
            wait,
            reason,
            attempt,
            || !self.is_empty(),
            || false,
        )?;
        let Some(received) = received else { return Ok(None) };
        state.receiving.wake_one();
        if let Some(segment) = received.left {
            state.memory.recycle_segment(segment);
        }
        if let Some(block) = received.message {
            return Ok(Some(read(state.memory.hold(block).bytes())));
        }
        Ok(lifted.or_else(|| buffer.map(|buffer| read(&buffer))))
    }
}

/// Tries `attempt` at the `own` end, which fails with the count of the other `end` at which it could not succeed, until
/// it succeeds; nothing when the wait was over first. `is_more` tells whether another waiter could succeed as well.
#[inline]
fn wait_for<R, E: From<Interrupt>>(
    (own, end): (&End, &End),
    wait: impl FnOnce() -> Wait,
    reason: impl Fn() -> Reason,
    mut attempt: impl FnMut() -> Result<Result<R, u32>, E>,
    is_more: impl Fn() -> bool,
    is_off: impl Fn() -> bool,
) -> Result<Option<R>, E> {
    match attempt()? {
        Ok(result) => Ok(Some(result)),
        Err(seen) => {
            let wait = wait();
            if wait.try_only {
                return Ok(None);
            }
            let wait = (&wait, own.gathering());
            wait_longer(end, seen, wait, reason, attempt, is_more, is_off)
        }
    }
}

/// [`wait_for`] after the first attempt.
#[cold]
#[inline(never)]
fn wait_longer<R, E: From<Interrupt>>(
    end: &End,
    mut seen: u32,
    (wait, gathering): (&Wait, Duration),
    reason: impl Fn() -> Reason,
    mut attempt: impl FnMut() -> Result<Result<R, u32>, E>,
    is_more: impl Fn() -> bool,
    is_off: impl Fn() -> bool,
) -> Result<Option<R>, E> {
    let Outer { count, sleepers, .. } = &end.outer;
    let since = Instant::now();
    let result = loop {
        let until = Until::Passed { word: count, seen, sleepers, gathering };
        let woken = match block_since(until, reason(), wait.deadline, wait.site, since) {
            Ok(woken) => woken,
            Err(interrupt) => break Err(interrupt.into()),
        };
        match attempt() {
            Ok(Ok(result)) => break Ok(Some(result)),
            Ok(Err(_)) if woken == Woken::TimedOut || is_off() => break Ok(None),
            Ok(Err(now)) => seen = now,
            Err(error) => break Err(error),
        }
    };
    // The wake-up may have been meant for several, or came together with the end of this wait.
    if is_more() {
        end.wake_one();
    }
    result
}

impl State {
    /// Puts a message behind the last one; fails with the receivers' count when there is no room.
    fn put(&self, message: &Message<'_>) -> io::Result<Result<(), u32>> {
        let (sending, receiving) = (&self.sending, &self.receiving);
        let _held = sending.inner.guard.lock();
        let sent = sending.outer.count.load(Ordering::Relaxed);
        let (place, length) = (sending.place(sent), self.counted(message.length()));
        let inner = &sending.inner;
        let seen = (inner.seen.load(Ordering::Relaxed), inner.seen_bytes.load(Ordering::Relaxed));
        if !self.has_room(sent, place.bytes(), length, seen) {
            let received = receiving.outer.count.load(Ordering::Acquire);
            let bytes = receiving.outer.bytes.load(Ordering::Relaxed);
            inner.seen.store(received, Ordering::Relaxed);
            inner.seen_bytes.store(bytes, Ordering::Relaxed);
            if !self.has_room(sent, place.bytes(), length, (received, bytes)) {
                inner.stop();
                return Ok(Err(received));
            }
        }
        let behind = self.memory.write(place.get(), message)?;
        inner.go_on();
        sending.commit(sent, behind, place.bytes().wrapping_add(length));
        Ok(Ok(()))
    }

    /// What a message of this length adds to the bytes.
    fn counted(&self, length: u64) -> u32 {
        match self.most_bytes.load(Ordering::Relaxed) {
            0 => 0,
            _ if length <= SHORT => 0,
            most => length.min(u64::from(most) + 1) as u32,
        }
    }

    /// After so many messages and bytes, and with so many received: is there room for one that adds `length`?
    fn has_room(&self, sent: u32, bytes: u32, length: u32, (received, bytes_received): (u32, u32)) -> bool {
        let (under_way, bytes) = (sent.wrapping_sub(received), bytes.wrapping_sub(bytes_received));
        under_way < self.capacity.load(Ordering::Relaxed)
            && (length == 0
                || bytes == 0
                || under_way == 0
                || bytes.saturating_add(length) <= self.most_bytes.load(Ordering::Relaxed))
    }

    /// Takes the first message out, one that is not in a block of its own through `read`; fails with the
    /// senders' count when there is none.
    fn take(&self, read: impl FnOnce(&[u8])) -> Result<Received, u32> {
        self.take_noting(&|_| (), read)
    }

    fn take_noting(&self, note: &impl Fn(u32), read: impl FnOnce(&[u8])) -> Result<Received, u32> {
        let (sending, receiving) = (&self.sending, &self.receiving);
        let _held = receiving.inner.guard.lock();
        let received = receiving.outer.count.load(Ordering::Relaxed);
        if receiving.inner.seen.load(Ordering::Relaxed) == received {
            let sent = sending.outer.count.load(Ordering::Acquire);
            receiving.inner.seen.store(sent, Ordering::Relaxed);
            if sent == received {
                receiving.inner.stop();
                return Err(sent);
            }
        }
        let from = receiving.place(received).get();
        let found = self.memory.read(from);
        let bytes = receiving.place(received).bytes().wrapping_add(self.counted(found.contents.length()));
        let message = match found.contents {
            Contents::Inline(bytes) => {
                read(bytes);
                None
            }
            Contents::Block(block) => Some(block),
        };
        note(received);
        receiving.inner.go_on();
        receiving.commit(received, found.behind, bytes);
        let left = (found.behind.0 != from.0 && from.0 != 0).then_some(from.0);
        Ok(Received { message, left })
    }
}
