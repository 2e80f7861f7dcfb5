//! One end of a connection: whole messages in both directions, to an end that may be in another process.
//!
//! A connection is a stream socket. It says whether somebody still has the other end, however he ended, and it is
//! what the system polls. Between processes of one family the messages themselves go through a [ring] in shared
//! memory and the socket is only its bell; to anybody else they go through the socket, in CPython's framing.

pub mod authentication;
mod ring;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::codec::Purpose;
use super::parts::{Head, Parts};
use crate::runtime::primitives::Lock;
use crate::runtime::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::runtime::{Bell, Interrupt, Label, Reason, Site, Until, Wait, Waiter, Woken, block};

pub use ring::Ring;
pub use wire::MOST_DESCRIPTORS;
use wire::{Arrived, Incoming, Outgoing, Parcels, is_hung_up};

/// Why an operation failed.
#[derive(Debug)]
pub enum Failure {
    /// This end was closed, by this process.
    Closed,
    /// Nobody has the other end any more, and everything that was sent has been received.
    End,
    /// The other end's process ended in the middle of a message.
    Torn,
    /// The message is longer than it may be.
    TooLong,
    /// The system said no.
    System(io::Error),
    /// The wait was interrupted.
    Interrupted(Interrupt),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

/// What the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whatever the sender wished.
    Bytes,
    /// A value, encoded by a process of this family for this very message.
    Value,
}

/// A message beside a ring begins with one of these; `PARCEL` adds the descriptors' message number at the end.
const BYTES: u8 = 0;
const VALUE: u8 = 1;
const PARCEL: u8 = 2;

/// How long the other end is taken to be there without asking the system, in nanoseconds.
const TRUST: u64 = 100_000;
/// The longest sleep before everything is looked at again: a process that was killed may have taken a wake-up
/// with it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The same for a sender that waits for room, who is not told that the other end was killed.
const LOOK_FOR_READERS: Duration = Duration::from_millis(50);

/// A received message.
pub struct Message<'a> {
    /// What the bytes are.
    pub content: Content,
    /// The bytes.
    pub bytes: &'a [u8],
    /// The file descriptors that came with them.
    pub fds: Vec<OwnedFd>,
}

/// When the other end was last seen, by the system's clock in nanoseconds, and how often ends had been closed by
/// then.
#[derive(Default)]
struct Sight {
    at: AtomicU64,
    closes: AtomicU32,
}

/// One end of a connection.
pub struct Connection {
    socket: Mutex<Option<Arc<OwnedFd>>>,
    closed: AtomicBool,
    /// Who waits for the socket, to be told when it is closed.
    waiters: Mutex<Vec<Arc<Waiter>>>,
    ring: Option<Ring>,
    /// The socket carries file descriptors.
    is_local: bool,
    sight: Sight,
    parcels: Mutex<Parcels>,
    sending: Arc<Lock>,
    receiving: Arc<Lock>,
    outgoing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
    /// Messages of ours that nobody will read were reported once.
    reset_reported: AtomicBool,
    /// The threads that are in the middle of waiting here; only for `repr` and tests.
    uses: AtomicU32,
}

/// Frees a lock that was taken.
struct Freed<'a>(&'a Lock);

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        let _ = self.0.release();
    }
}

fn label(class: &'static str) -> Label {
    Label { class, name: None, made: Site::new("", 0) }
}

impl Connection {
    /// A connection over a connected stream socket, with the ring to its other end if there is one.
    pub fn new(socket: OwnedFd, ring: Option<Ring>) -> Self {
        let is_local = rustix::net::sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX);
        Self {
            socket: Mutex::new(Some(Arc::new(socket))),
            closed: AtomicBool::new(false),
            waiters: Mutex::default(),
            ring,
            is_local,
            sight: Sight::default(),
            parcels: Mutex::default(),
            sending: Lock::new(label("a connection's sending end")),
            receiving: Lock::new(label("a connection's receiving end")),
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            reset_reported: AtomicBool::new(false),
            uses: AtomicU32::new(0),
        }
    }

    /// Two connected ends with a ring between them.
    ///
    /// # Errors
    /// The system's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let (ring, other_ring) = Ring::pair()?;
        Ok((Self::new(one, Some(ring)), Self::new(other, Some(other_ring))))
    }

    /// From now on messages go through a ring: both ends must agree at the same place in what they say.
    pub fn with_ring(mut self, ring: Ring) -> Self {
        self.ring = Some(ring);
        self
    }

    /// The ring, if messages go through one.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// What values are to be encoded for.
    pub fn purpose(&self) -> Purpose {
        match (&self.ring, self.is_local) {
            (None, _) => Purpose::Anybody,
            (Some(_), true) => Purpose::Connection,
            (Some(_), false) => Purpose::Message,
        }
    }

    /// The socket, held open.
    ///
    /// # Errors
    /// [`Failure::Closed`].
    pub fn socket(&self) -> Result<Arc<OwnedFd>, Failure> {
        self.socket.lock().clone().ok_or(Failure::Closed)
    }

    /// Was this end closed?
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes this end and calls off the waits of other threads for it. Later calls do nothing.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let socket = self.socket.lock().take();
        let waiters = std::mem::take(&mut *self.waiters.lock());
        waiters.iter().for_each(|waiter| waiter.wake());
        if socket.is_some() {
            drop(socket);
            if let Some(ring) = &self.ring {
                ring.note_close();
            }
        }
    }

    fn check_open(&self) -> Result<(), Failure> {
        if self.is_closed() { Err(Failure::Closed) } else { Ok(()) }
    }

    /// Takes one of the locks that keep the threads of this process apart.
    fn take<'a>(&self, lock: &'a Arc<Lock>, wait: &Wait) -> Result<Option<Freed<'a>>, Failure> {
        Ok(lock.acquire(wait)?.then(|| Freed(lock)))
    }

    /// Blocks until the socket is ready, or this end is closed, or the deadline has passed.
    fn wait_for_socket(
        &self,
        bell: Option<&dyn Bell>,
        flags: PollFlags,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<Woken, Failure> {
        let socket = self.socket()?;
        let waiter = Waiter::new();
        self.waiters.lock().push(Arc::clone(&waiter));
        // Closed in between: nobody would have told the waiter.
        let woken = self.check_open().and_then(|()| {
            self.uses.fetch_add(1, Ordering::Relaxed);
            let (fd, closed) = (socket.as_fd(), &*waiter);
            let until = match bell {
                Some(bell) => Until::Rung { fd, bell, closed },
                None => Until::Ready { fd, flags, closed },
            };
            let woken = block(until, Reason::External("a connection"), deadline, site);
            self.uses.fetch_sub(1, Ordering::Relaxed);
            Ok(woken?)
        });
        self.waiters.lock().retain(|other| !Arc::ptr_eq(other, &waiter));
        let woken = woken?;
        self.check_open()?;
        Ok(woken)
    }

    /// Sends a message. Blocks while the other end is too far behind.
    ///
    /// # Errors
    /// [`Failure`]; the message is then not sent, but for the part of it that a socket took before Ctrl-C: the
    /// rest of that goes before the next message.
    pub fn send(
        &self,
        content: Content,
        bytes: &[u8],
        fds: &[Arc<OwnedFd>],
        site: Site,
    ) -> Result<(), Failure> {
        if self.ring.is_some() && fds.is_empty() {
            return self.send_parts(Parts { head: Self::head(content), body: bytes }, || site);
        }
        let mut message = self.frame(Vec::with_capacity(bytes.len() + 16));
        message.extend_from_slice(bytes);
        self.send_framed(content, &mut message, fds, site)
    }

    /// What a message begins with that goes through a ring and brings no descriptors.
    pub fn head(content: Content) -> Head {
        Head::of(if content == Content::Value { VALUE } else { BYTES })
    }

    /// Sends a message that begins with [`Connection::head`]. The line of the script is asked only if there is no
    /// room at once.
    ///
    /// # Errors
    /// As [`Connection::send`]. A connection without a ring takes no such messages, and says that it is closed.
    pub fn send_parts(&self, message: Parts<'_>, site: impl Fn() -> Site) -> Result<(), Failure> {
        self.check_open()?;
        let ring = self.ring.as_ref().ok_or(Failure::Closed)?;
        self.look_at_other_end(ring)?;
        self.put(ring, message, site)
    }

    /// An empty message to be filled and sent by [`Connection::send_framed`], without another copy.
    pub fn frame(&self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        if self.ring.is_some() {
            buffer.push(BYTES);
        }
        buffer
    }

    /// Sends a message that was begun by [`Connection::frame`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_framed(
        &self,
        content: Content,
        message: &mut Vec<u8>,
        fds: &[Arc<OwnedFd>],
        site: Site,
    ) -> Result<(), Failure> {
        self.check_open()?;
        let Some(ring) = &self.ring else { return self.send_through_socket(message, site) };
        self.look_at_other_end(ring)?;
        message[0] = if content == Content::Value { VALUE } else { BYTES };
        if !fds.is_empty() {
            let number = ring.parcel();
            message[0] = PARCEL;
            message.extend_from_slice(&number.to_le_bytes());
            let socket = self.socket()?;
            while let Err(error) = wire::send_parcel(socket.as_fd(), number, fds) {
                match error {
                    Errno::INTR => {}
                    Errno::AGAIN => drop(self.wait_for_socket(None, PollFlags::OUT, None, site)?),
                    error => return Err(error.into()),
                }
            }
        }
        self.put(ring, Parts::whole(message), || site)
    }

    /// Puts a message into the ring as soon as there is room, and wakes who sleeps at the other end.
    fn put(&self, ring: &Ring, message: Parts<'_>, site: impl Fn() -> Site) -> Result<(), Failure> {
        let wait =
            || Wait { deadline: Some(Instant::now() + LOOK_FOR_READERS), try_only: false, site: site() };
        loop {
            let closes = ring.closes();
            let is_off = || self.is_closed() || ring.closes() != closes;
            let sent = ring.outgoing().send_unless(message, wait, is_off).map_err(|error| match error {
                super::channel::SendError::Interrupted(interrupt) => Failure::Interrupted(interrupt),
                super::channel::SendError::Memory(error) => Failure::System(error),
            });
            if sent? {
                break;
            }
            self.check_open()?;
            self.ask_for_other_end()?;
        }
        if ring.must_ring() {
            // Whoever closed the other end does not sleep there.
            let _ = wire::ring(self.socket()?.as_fd());
        }
        Ok(())
    }

    /// Fails if everybody has closed the other end. The system is asked now and then, and when somebody closed.
    fn look_at_other_end(&self, ring: &Ring) -> Result<(), Failure> {
        let Sight { at, closes: closes_seen } = &self.sight;
        let (now, closes) = (nanoseconds(), ring.closes());
        let is_known = closes_seen.load(Ordering::Relaxed) == closes;
        if is_known && now.wrapping_sub(at.load(Ordering::Relaxed)) < TRUST {
            return Ok(());
        }
        at.store(now, Ordering::Relaxed);
        closes_seen.store(closes, Ordering::Relaxed);
        let result = self.ask_for_other_end();
        if result.is_err() {
            at.store(0, Ordering::Relaxed);
        }
        result
    }

    fn ask_for_other_end(&self) -> Result<(), Failure> {
        if is_hung_up(self.socket()?.as_fd()) { Err(Errno::PIPE.into()) } else { Ok(()) }
    }

    fn send_through_socket(&self, message: &[u8], site: Site) -> Result<(), Failure> {
        let wait = Wait::forever(site);
        let _freed = self.take(&self.sending, &wait)?;
        // A message that Ctrl-C cut off goes first, else the other end would take this one for its rest.
        self.push_out(site)?;
        self.outgoing.lock().begin(message);
        self.push_out(site)
    }

    fn push_out(&self, site: Site) -> Result<(), Failure> {
        loop {
            let socket = self.socket()?;
            let result = self.outgoing.lock().go_on(socket.as_fd());
            match result {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => drop(self.wait_for_socket(None, PollFlags::OUT, None, site)?),
                Err(error) => {
                    *self.outgoing.lock() = Outgoing::default();
                    return Err(error.into());
                }
            }
        }
    }

    /// Receives a message, which must not be longer than `longest`, and hands it to `read`. Blocks until one comes.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn receive<R>(
        &self,
        longest: Option<u64>,
        site: Site,
        read: impl FnOnce(Message<'_>) -> R,
    ) -> Result<R, Failure> {
        self.receive_lifting(longest, || site, |_| None, read)
    }

    /// As [`Connection::receive`]. A short message that is a value is first shown to `lift` where it lies, in the
    /// ring: see [`Channel::receive_lifting`](super::Channel::receive_lifting). The line of the script is asked only if
    /// there is no message at once.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn receive_lifting<R>(
        &self,
        longest: Option<u64>,
        site: impl FnOnce() -> Site,
        lift: impl Fn(&[u8]) -> Option<R>,
        read: impl FnOnce(Message<'_>) -> R,
    ) -> Result<R, Failure> {
        self.check_open()?;
        let Some(ring) = &self.ring else {
            let bytes = self.receive_through_socket(longest, site())?;
            return Ok(read(Message { content: Content::Bytes, bytes: &bytes, fds: Vec::new() }));
        };
        let mut read = Some(read);
        if let Some(result) = self.try_receive(ring, longest, &lift, &mut read) {
            return result;
        }
        let site = site();
        let _freed = self.take(&self.receiving, &Wait::forever(site))?;
        loop {
            let is_there = self.parcels.lock().drain(self.socket()?.as_fd());
            if is_there {
                let deadline = Some(Instant::now() + LOOK_AGAIN);
                self.wait_for_socket(Some(ring), PollFlags::IN, deadline, site)?;
            }
            // What was sent before the other end was closed is there.
            if let Some(result) = self.try_receive(ring, longest, &lift, &mut read) {
                return result;
            }
            if !is_there {
                return Err(self.end(ring));
            }
        }
    }

    /// Why there is nothing to be received any more. Like a socket's, our end says once that messages of ours were
    /// lost.
    fn end(&self, ring: &Ring) -> Failure {
        if !ring.outgoing().is_empty() && !self.reset_reported.swap(true, Ordering::Relaxed) {
            return Errno::CONNRESET.into();
        }
        Failure::End
    }

    fn try_receive<R>(
        &self,
        ring: &Ring,
        longest: Option<u64>,
        lift: &impl Fn(&[u8]) -> Option<R>,
        read: &mut Option<impl FnOnce(Message<'_>) -> R>,
    ) -> Option<Result<R, Failure>> {
        let wait = || Wait { deadline: None, try_only: true, site: Site::default() };
        let lift = |frame: &[u8]| match frame {
            [VALUE, value @ ..] if longest.is_none() => lift(value).map(Ok),
            _ => None,
        };
        let received = ring.incoming().receive_lifting(wait, lift, |frame| {
            let (kind, bytes) = frame.split_first().unwrap_or((&BYTES, &[]));
            let (bytes, number) = match (kind, bytes.split_last_chunk::<8>()) {
                (&PARCEL, Some((bytes, number))) => (bytes, Some(u64::from_le_bytes(*number))),
                _ => (bytes, None),
            };
            if longest.is_some_and(|longest| bytes.len() as u64 > longest) {
                return Err(Failure::TooLong);
            }
            let fds = number.and_then(|number| self.descriptors(number)).unwrap_or_default();
            let content = if *kind == BYTES { Content::Bytes } else { Content::Value };
            let read = read.take().expect("one message is read");
            Ok(read(Message { content, bytes, fds }))
        });
        match received {
            Ok(None) => None,
            Ok(Some(result)) => Some(result),
            Err(interrupt) => Some(Err(interrupt.into())),
        }
    }

    /// The descriptors of a message that was received: they were sent before it.
    fn descriptors(&self, number: u64) -> Option<Vec<OwnedFd>> {
        let mut parcels = self.parcels.lock();
        if let Some(fds) = parcels.take(number) {
            return Some(fds);
        }
        parcels.drain(self.socket().ok()?.as_fd());
        parcels.take(number)
    }

    fn receive_through_socket(&self, longest: Option<u64>, site: Site) -> Result<Vec<u8>, Failure> {
        let _freed = self.take(&self.receiving, &Wait::forever(site))?;
        loop {
            let socket = self.socket()?;
            let arrived = self.incoming.lock().go_on(socket.as_fd(), longest);
            match arrived {
                Ok(Arrived::Whole(bytes)) => return Ok(bytes),
                Ok(Arrived::TooLong) => return Err(Failure::TooLong),
                Ok(Arrived::End) => return Err(Failure::End),
                Ok(Arrived::Torn) => return Err(Failure::Torn),
                Err(Errno::AGAIN) => drop(self.wait_for_socket(None, PollFlags::IN, None, site)?),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Is there a message, or the end? Asks only.
    ///
    /// # Errors
    /// [`Failure::Closed`].
    pub fn is_readable(&self) -> Result<bool, Failure> {
        self.check_open()?;
        let socket = self.socket()?;
        let Some(ring) = &self.ring else { return Ok(has_input(&socket)) };
        Ok(ring.is_ready() || !self.parcels.lock().drain(socket.as_fd()) || ring.is_ready())
    }

    /// Blocks until there is a message or the end; false when the wait was over first.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn poll(&self, wait: &Wait) -> Result<bool, Failure> {
        loop {
            if self.is_readable()? {
                return Ok(true);
            }
            let now = Instant::now();
            if wait.try_only || wait.deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(false);
            }
            match &self.ring {
                Some(ring) => {
                    let again = now + LOOK_AGAIN;
                    let deadline = Some(wait.deadline.map_or(again, |deadline| deadline.min(again)));
                    self.wait_for_socket(Some(ring), PollFlags::IN, deadline, wait.site)?;
                }
                None => drop(self.wait_for_socket(None, PollFlags::IN, wait.deadline, wait.site)?),
            }
        }
    }

    /// How many threads wait here.
    pub fn uses(&self) -> u32 {
        self.uses.load(Ordering::Relaxed)
    }

    /// The socket's number; nothing once it is closed.
    pub fn number(&self) -> Option<i32> {
        self.socket.lock().as_ref().map(|socket| socket.as_raw_fd())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Can the descriptor be read, or is it at its end?
fn has_input(socket: &OwnedFd) -> bool {
    let mut fds = [rustix::event::PollFd::new(socket, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())), Ok(1))
}
