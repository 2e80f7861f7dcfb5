//! What goes through a connection's socket: whole messages in CPython's framing, or, beside a ring, bells and
//! file descriptors. No call here makes the system wait: what it cannot do now is `AGAIN`.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, send, sendmsg,
};

use crate::runtime::sync::Arc;

/// The most descriptors that one message may bring (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 253;

/// A bell: somebody who sleeps is to look.
const BELL: u8 = 0;
/// File descriptors; the number of their message follows.
const PARCEL: u8 = 1;
const PARCEL_LENGTH: usize = 9;

/// Has the other end been closed by everybody who had it, or is something else wrong with the socket?
pub fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let _ = poll(&mut fds, Some(&Timespec::default()));
    fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
}

/// Sends a bell. A socket that is full of them is as good.
///
/// # Errors
/// `PIPE` or `CONNRESET` when the other end is closed.
pub fn ring(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match send(socket, &[BELL], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends file descriptors for the message of that number.
///
/// # Errors
/// The system's; `AGAIN` when the socket is full.
pub fn send_parcel(socket: BorrowedFd<'_>, number: u64, fds: &[Arc<OwnedFd>]) -> Result<(), Errno> {
    let mut bytes = [PARCEL; PARCEL_LENGTH];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // One buffer in the kernel: it is sent whole or not at all.
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, flags).map(drop)
}

/// What came out of a socket beside a ring.
#[derive(Default)]
pub struct Parcels {
    arrived: HashMap<u64, Vec<OwnedFd>>,
    /// The beginning of a parcel's number.
    partial: Vec<u8>,
    hung_up: bool,
}

impl Parcels {
    /// Takes out everything that has arrived; false when the other end is closed.
    pub fn drain(&mut self, socket: BorrowedFd<'_>) -> bool {
        let mut bytes = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        while !self.hung_up {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
                Ok(message) if message.bytes > 0 => {
                    let mut fds = Vec::new();
                    for part in ancillary.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = part {
                            fds.extend(rights);
                        }
                    }
                    self.sort(&bytes[..message.bytes], fds);
                }
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.hung_up = true,
            }
        }
        false
    }

    /// The system gives bytes only up to the first ones that bring descriptors, so these belong to the last parcel.
    fn sort(&mut self, bytes: &[u8], mut fds: Vec<OwnedFd>) {
        for byte in bytes {
            if self.partial.is_empty() && *byte == BELL {
                continue;
            }
            self.partial.push(*byte);
            if self.partial.len() == PARCEL_LENGTH {
                let mut number = [0; 8];
                number.copy_from_slice(&self.partial[1..]);
                self.arrived.insert(u64::from_le_bytes(number), std::mem::take(&mut fds));
                self.partial.clear();
            }
        }
    }

    /// The descriptors of the message of that number.
    pub fn take(&mut self, number: u64) -> Option<Vec<OwnedFd>> {
        self.arrived.remove(&number)
    }
}

/// A message that is being sent through the socket itself.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Is there nothing left to be sent?
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Begins a message: a length of four bytes, or -1 and one of eight, and the bytes.
    pub fn begin(&mut self, message: &[u8]) {
        self.bytes.clear();
        self.sent = 0;
        match i32::try_from(message.len()) {
            Ok(length) => self.bytes.extend_from_slice(&length.to_be_bytes()),
            Err(_) => {
                self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
                self.bytes.extend_from_slice(&(message.len() as u64).to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(message);
    }

    /// Sends as much as the socket takes.
    ///
    /// # Errors
    /// `AGAIN` when it takes no more, and the system's.
    pub fn go_on(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        while !self.is_empty() {
            match send(socket, &self.bytes[self.sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        // A large message's memory is not kept for the next one.
        if self.bytes.capacity() > 64 << 10 {
            *self = Self::default();
        }
        Ok(())
    }
}

/// A message that is being received through the socket itself. Never more than it is taken out.
#[derive(Default)]
pub struct Incoming {
    head: Vec<u8>,
    /// The length, once it is known.
    length: Option<u64>,
    body: Vec<u8>,
}

/// What came of receiving.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A message.
    Whole(Vec<u8>),
    /// A message that is longer than it may be; it is still in the socket.
    TooLong,
    /// The end, between two messages.
    End,
    /// The end, within a message.
    Torn,
}

/// How much is read at once: memory for a message grows as its bytes come, whatever length it claims.
const PIECE: u64 = 1 << 20;

impl Incoming {
    /// Receives as much of a message as is there.
    ///
    /// # Errors
    /// `AGAIN` when it is not all there, and the system's.
    pub fn go_on(&mut self, socket: BorrowedFd<'_>, longest: Option<u64>) -> Result<Arrived, Errno> {
        loop {
            let Some(length) = self.length else {
                if let Some(length) = self.length_in_head() {
                    self.length = Some(length);
                    continue;
                }
                let wanted = if self.head.len() < 4 { 4 } else { 12 };
                let before = self.head.len();
                if read_some(socket, &mut self.head, wanted)? {
                    return Ok(if before == 0 { Arrived::End } else { Arrived::Torn });
                }
                continue;
            };
            if longest.is_some_and(|longest| length > longest) {
                return Ok(Arrived::TooLong);
            }
            if self.body.len() as u64 == length {
                self.head.clear();
                self.length = None;
                return Ok(Arrived::Whole(std::mem::take(&mut self.body)));
            }
            let upto = length.min(self.body.len() as u64 + PIECE);
            if read_some(socket, &mut self.body, upto as usize)? {
                return Ok(Arrived::Torn);
            }
        }
    }

    fn length_in_head(&self) -> Option<u64> {
        let (short, long) = self.head.split_first_chunk::<4>()?;
        match u64::try_from(i32::from_be_bytes(*short)) {
            Ok(length) => Some(length),
            // -1: the length did not fit.
            Err(_) => long.first_chunk().map(|long| u64::from_be_bytes(*long)),
        }
    }
}

/// Reads until `buffer` is `upto` bytes long or there is no more; true at the end of the stream.
fn read_some(socket: BorrowedFd<'_>, buffer: &mut Vec<u8>, upto: usize) -> Result<bool, Errno> {
    let before = buffer.len();
    buffer.resize(upto, 0);
    let mut filled = before;
    let result = loop {
        match recv(socket, &mut buffer[filled..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => break Ok(true),
            Ok((count, _)) => {
                filled += count;
                if filled == upto {
                    break Ok(false);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => break Err(error),
        }
    };
    buffer.truncate(filled);
    result
}
