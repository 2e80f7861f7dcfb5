//! What the fork server and its parent say to each other over their socket: one message asks for a child, and brings
//! its descriptors, another one answers with its number or the system's error.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;

use crate::ipc::arena::Offset;

/// The most descriptors that one message may carry (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 253;

/// Asks the server for a child; its number.
pub(super) fn exchange(
    socket: BorrowedFd<'_>,
    place: Offset,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Pid> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let message = place.to_ne_bytes();
    sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut reply = [0_u8; 4];
    loop {
        match rustix::net::recv(socket, &mut reply[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok((_, 4)) => break,
            Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
    match i32::from_ne_bytes(reply) {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        pid => Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::BrokenPipe.into()),
    }
}

/// Has the other end said something, or gone?
pub(super) fn has_message(socket: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&at_once)) != Ok(0)
}

/// Tells the server that there is a spare less, through an eventfd(2).
pub(super) fn ring(doorbell: BorrowedFd<'_>) {
    // A server that is gone, or that has not had time for so many, makes no more spares.
    let _ = rustix::io::write(doorbell, &1_u64.to_ne_bytes());
}

/// Blocks until the other end has said something or gone, or until somebody has rung: true in the latter case.
pub(super) fn is_rung(socket: BorrowedFd<'_>, doorbell: BorrowedFd<'_>) -> bool {
    let mut both = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&doorbell, PollFlags::IN)];
    while poll(&mut both, None) == Err(rustix::io::Errno::INTR) {}
    // It counts how often it was rung since it was last read.
    both[0].revents().is_empty() && rustix::io::read(doorbell, &mut [0; 8]).is_ok()
}

/// The next request; nothing when the parent is gone.
pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(u64, Vec<OwnedFd>)>> {
    // Not on the heap: every page that the server writes to has to be copied once more.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut message = [0_u8; 8];
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut message)];
        let received = match recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(received) => received,
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        return match received.bytes {
            8 if !received.flags.contains(ReturnFlags::CTRUNC) => {
                Ok(Some((u64::from_ne_bytes(message), descriptors)))
            }
            0 => Ok(None),
            _ => Err(io::ErrorKind::InvalidData.into()),
        };
    }
}
