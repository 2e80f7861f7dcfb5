//! File descriptors for messages whose way carries bytes only: a queue, a task of a pool.
//!
//! The sender keeps a copy of the descriptor and writes a ticket into the message. Whoever gets the message
//! fetches the descriptor from a service thread of the sender, over a Unix socket, as CPython's resource sharer
//! has it; so the sender must live until then. The socket's name is in no file system and goes with the process.
//! It serves processes of the same user only, and a ticket is a secret that works once.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, recv, recvmsg, send, sendmsg, socket_with,
};

use crate::runtime::detached;
use crate::runtime::sync::{Arc, Mutex};

/// The secret that a descriptor is given out for.
type Ticket = [u8; 16];

/// Where a descriptor is to be had.
pub struct Receipt {
    /// The name of the sender's socket, without the zero that it begins with.
    pub name: Vec<u8>,
    /// The secret.
    pub ticket: Ticket,
}

/// The descriptors that this process keeps for others, and the socket that gives them out.
struct Office {
    name: Vec<u8>,
    listener: Arc<OwnedFd>,
    kept: Mutex<HashMap<Ticket, Arc<OwnedFd>>>,
}

/// This process's office, once it has one.
static OFFICE: Mutex<Option<Arc<Office>>> = Mutex::new(None);

/// How long either side waits for the other, which has nothing to do but answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the service thread needs.
const STACK_SIZE: usize = 128 << 10;

/// Keeps a descriptor until somebody fetches it.
///
/// # Errors
/// The system's, if it gives no socket or thread for the service.
pub fn leave(fd: Arc<OwnedFd>) -> io::Result<Receipt> {
    let office = office()?;
    let mut ticket = Ticket::default();
    fill(&mut ticket)?;
    office.kept.lock().insert(ticket, fd);
    Ok(Receipt { name: office.name.clone(), ticket })
}

/// Drops a descriptor that nobody is to fetch any more.
pub fn withdraw(receipt: &Receipt) {
    let office = OFFICE.lock().clone();
    if let Some(office) = office {
        office.kept.lock().remove(&receipt.ticket);
    }
}

/// Fetches a descriptor from the process that left it.
///
/// # Errors
/// ConnectionRefused when that process has ended, NotFound when somebody fetched it before; the system's.
pub fn fetch(receipt: &Receipt) -> io::Result<OwnedFd> {
    detached(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        set_patience(socket.as_fd())?;
        connect(&socket, &SocketAddrUnix::new_abstract_name(&receipt.name)?)?;
        if send(&socket, &receipt.ticket, SendFlags::NOSIGNAL)? != receipt.ticket.len() {
            return Err(Errno::IO.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0_u8];
        recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let mut found = ancillary.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

fn fill(ticket: &mut Ticket) -> io::Result<()> {
    let count = rustix::rand::getrandom(&mut ticket[..], rustix::rand::GetRandomFlags::empty())?;
    if count == ticket.len() { Ok(()) } else { Err(Errno::IO.into()) }
}

fn set_patience(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))
}

fn office() -> io::Result<Arc<Office>> {
    let mut own = OFFICE.lock();
    if let Some(office) = &*own {
        return Ok(Arc::clone(office));
    }
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // An address without a name: the system finds a free one.
    bind(&listener, &SocketAddrUnix::new_unnamed())?;
    listen(&listener, 128)?;
    let address = SocketAddrUnix::try_from(getsockname(&listener)?)?;
    let name = address.abstract_name().ok_or(Errno::ADDRNOTAVAIL)?.to_vec();
    let office = Arc::new(Office { name, listener: Arc::new(listener), kept: Mutex::default() });
    let service = Arc::clone(&office);
    let thread = std::thread::Builder::new().name("descriptors".into()).stack_size(STACK_SIZE);
    thread.spawn(move || service.serve())?;
    *own = Some(Arc::clone(&office));
    Ok(office)
}

impl Office {
    /// Gives out descriptors for as long as the process lives.
    fn serve(&self) {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(visitor) => drop(self.answer(visitor.as_fd())),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptor is left: somebody will close one.
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    let soon = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                    let _ = rustix::event::poll(&mut [], Some(&soon));
                }
                Err(_) => return,
            }
        }
    }

    /// A visitor who goes away without what he came for sees the end of the connection.
    fn answer(&self, visitor: BorrowedFd<'_>) -> Result<(), Errno> {
        if peer_uid(visitor)? != rustix::process::getuid().as_raw() {
            return Ok(());
        }
        set_patience(visitor)?;
        let mut ticket = Ticket::default();
        let (count, _) = recv(visitor, &mut ticket[..], RecvFlags::WAITALL)?;
        let kept = if count == ticket.len() { self.kept.lock().remove(&ticket) } else { None };
        let Some(fd) = kept else { return Ok(()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(visitor, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
    }
}

/// The user at the other end of a Unix socket. rustix's `socket_peercred` also takes the process, which has no
/// number here (0) if it lives outside the PID namespace, for one that has.
fn peer_uid(socket: BorrowedFd<'_>) -> Result<libc::uid_t, Errno> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let (fd, place) = (socket.as_raw_fd(), (&raw mut peer).cast());
    // SAFETY: the system writes at most `size` bytes to `peer`, which is as large and takes any bytes.
    match unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut size) } {
        0 => Ok(peer.uid),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// The calling process was just forked: its parent gives out what was left with it, and must be the only one
/// that others can connect to by its socket.
pub(super) fn after_fork() {
    // Only for as long as a thread starts the service is it locked, and threads that fork do not.
    let Some(mut own) = OFFICE.try_lock() else { return };
    let Some(office) = own.take() else { return };
    // The service thread may have been inside; then the copies stay open in this process.
    if let Some(mut kept) = office.kept.try_lock() {
        kept.clear();
    }
    let listener = Arc::clone(&office.listener);
    drop(office);
    // SAFETY: the service thread, whose reference to the office holds the listener, does not exist in this process.
    unsafe { Arc::decrement_strong_count(Arc::as_ptr(&listener)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_works_once() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let receipt = leave(Arc::new(theirs)).unwrap();
        let copy = fetch(&receipt).unwrap();
        rustix::io::write(&copy, b"x").unwrap();
        drop(copy);
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(&ours, &mut bytes).unwrap(), 1);
        assert_eq!(rustix::io::read(&ours, &mut bytes).unwrap(), 0, "nobody has the other end any more");
        assert_eq!(fetch(&receipt).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_withdrawn_is_closed() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let receipt = leave(Arc::new(theirs)).unwrap();
        withdraw(&receipt);
        assert_eq!(rustix::io::read(&ours, &mut [0; 8]).unwrap(), 0);
        assert_eq!(fetch(&receipt).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_that_has_ended_gives_out_nothing() {
        let receipt = Receipt { name: b"onelock-test-nobody".to_vec(), ticket: Ticket::default() };
        assert_eq!(fetch(&receipt).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
