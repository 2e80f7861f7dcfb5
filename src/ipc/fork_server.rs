//! Processes are born here.
//!
//! The fork server is a copy of the interpreter from the moment before its script began: one thread, little
//! memory, a built engine, the compiled program. It gets a request over a socket and forks a child, which is a
//! child of the *requester* (clone(2) with `CLONE_PARENT`), so that waiting for it, its parent's number and its
//! signals are as if it had been forked directly. Forking the requester itself would copy its page tables,
//! however large it has grown, and locks that its other threads hold.
//!
//! The server ends when its socket is closed, which the kernel does however its parent ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Pid;

use super::shared::{Shared, Zeroed};
use crate::runtime::sync::{AtomicU64, Mutex, Ordering};

/// The most descriptors that one message may carry (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 253;

/// What a child is to do, on its way through shared memory; the bytes stand behind it.
struct Parcel {
    length: AtomicU64,
}

// SAFETY: an atomic.
unsafe impl Zeroed for Parcel {
    const KIND: u32 = 0x7061_7263;
}

/// What a child gets from its parent.
pub struct Request {
    /// Whatever the parent encoded.
    pub bytes: Vec<u8>,
    /// Copies of the parent's descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// The parent's end.
pub struct ForkServer {
    socket: Mutex<OwnedFd>,
    pid: Pid,
}

impl ForkServer {
    /// Forks the server off the calling process, of which no other thread may be anywhere but asleep. Returns in
    /// the parent only. `prepare` is called in the server; what it returns is called in every child that is asked
    /// for later, and gives the exit status.
    ///
    /// # Errors
    /// The system's, when there can be no further process, memory or descriptor.
    pub fn start<C: FnOnce(Request) -> i32>(prepare: impl FnOnce() -> C) -> io::Result<Self> {
        super::arena::prepare()?;
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // SAFETY: the caller promises that no other thread is in the middle of anything.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                super::after_fork();
                serve(theirs, prepare())
            }
            pid => match Pid::from_raw(pid) {
                Some(pid) => Ok(Self { socket: Mutex::new(ours), pid }),
                None => Err(io::ErrorKind::Other.into()),
            },
        }
    }

    /// The server's process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Has a child forked that gets these bytes and descriptors; returns its number. It is a child of this
    /// process, which must wait for it.
    ///
    /// # Errors
    /// The system's, when there can be no further process or memory, `InvalidInput` for too many descriptors;
    /// `BrokenPipe` if the server is gone.
    pub fn launch(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        if descriptors.len() > MOST_DESCRIPTORS {
            let text =
                format!("a process can be given {MOST_DESCRIPTORS} descriptors, not {}", descriptors.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let parcel = Shared::<Parcel>::with_tail(bytes.len() as u64)?;
        parcel.length.store(bytes.len() as u64, Ordering::Relaxed);
        let (tail, _) = parcel.tail();
        // SAFETY: the block was made for as many bytes, and nobody else knows it yet.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), tail, bytes.len()) };
        let place = parcel.lend();
        let reply = self.exchange(place, descriptors);
        if reply.is_err() {
            parcel.unlend();
        }
        reply
    }

    fn exchange(&self, place: u64, descriptors: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        let socket = self.socket.lock();
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let message = place.to_ne_bytes();
        sendmsg(&*socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
        let mut reply = [0_u8; 4];
        loop {
            match rustix::net::recv(&*socket, &mut reply[..], RecvFlags::empty()) {
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
}

/// The server's whole life.
fn serve(socket: OwnedFd, child: impl FnOnce(Request) -> i32) -> ! {
    // Ctrl-C at the terminal reaches the whole process group, and the server has nothing to say to it.
    ignore_interrupts(true);
    let _ = rustix::thread::set_name(c"fork server");
    loop {
        let (place, descriptors) = match receive(socket.as_fd()) {
            Ok(Some(request)) => request,
            Ok(None) => exit(0),
            Err(_) => exit(1),
        };
        match fork_sibling() {
            Ok(None) => {
                drop(socket);
                super::after_fork();
                ignore_interrupts(false);
                let _ = rustix::thread::set_name(c"onelock");
                exit(child(Request { bytes: open_parcel(place), descriptors }));
            }
            reply => {
                let reply = match reply {
                    Ok(pid) => pid.unwrap_or(0),
                    Err(error) => -error.raw_os_error().unwrap_or(libc::EAGAIN),
                };
                drop(descriptors);
                // A parent that is gone has no use for it; the next receive says so.
                let _ = rustix::net::send(&socket, &reply.to_ne_bytes(), SendFlags::NOSIGNAL);
            }
        }
    }
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the process without running the exit handlers and destructors of the parent whose copy it is.
    unsafe { libc::_exit(status) }
}

fn ignore_interrupts(ignore: bool) {
    thread_local! {
        static BEFORE: std::cell::Cell<libc::sighandler_t> = const { std::cell::Cell::new(libc::SIG_DFL) };
    }
    // SAFETY: installs no handler of its own, only brings back the one that was there.
    unsafe {
        if ignore {
            BEFORE.set(libc::signal(libc::SIGINT, libc::SIG_IGN));
        } else {
            libc::signal(libc::SIGINT, BEFORE.get());
        }
    }
}

/// Forks a child of this process's parent. Nothing in the child.
fn fork_sibling() -> io::Result<Option<i32>> {
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_ulong;
    // SAFETY: like fork(2), with a copy of the one stack; the process has one thread, so that glibc's fork
    // handlers, which make its locks usable in the child, have nothing to do.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
    }
}

/// The next request; nothing when the parent is gone.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(u64, Vec<OwnedFd>)>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
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

fn open_parcel(place: u64) -> Vec<u8> {
    let Some(parcel) = Shared::<Parcel>::adopt(place) else { return Vec::new() };
    let (tail, room) = parcel.tail();
    let length = parcel.length.load(Ordering::Relaxed).min(room);
    // SAFETY: so many bytes stand behind the parcel, and its sender does not touch them any more.
    unsafe { std::slice::from_raw_parts(tail, length as usize) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::Child;
    use crate::ipc::own_process;
    use crate::runtime::Site;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    /// What a test's children do: a letter and what it is about.
    fn act(request: Request) -> i32 {
        match request.bytes.split_first() {
            Some((b'l', rest)) => (rest.len() % 251) as i32,
            Some((b'p', parent)) => {
                let parent = u32::from_ne_bytes(parent.try_into().unwrap_or_default());
                i32::from(std::os::unix::process::parent_id() == parent)
            }
            Some((b'w', text)) => i32::from(rustix::io::write(&request.descriptors[0], text).is_ok()),
            _ => loop {
                std::thread::park();
            },
        }
    }

    fn launch(server: &ForkServer, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Child {
        Child::new(server.launch(bytes, descriptors).unwrap()).unwrap()
    }

    fn exit_code(child: &Child) -> i32 {
        assert!(child.wait(None, Site::default()).unwrap());
        child.exit_code().unwrap()
    }

    #[test]
    fn children_get_their_bytes_and_are_the_callers() {
        if !own_process::is_own() {
            return;
        }
        let server = ForkServer::start(|| act).unwrap();
        for length in [0_usize, 1, 1000, 3_000_000] {
            let bytes = [b"l".to_vec(), vec![7; length]].concat();
            assert_eq!(exit_code(&launch(&server, &bytes, &[])), (length % 251) as i32);
        }
        let parent = [b"p".to_vec(), std::process::id().to_ne_bytes().to_vec()].concat();
        assert_eq!(exit_code(&launch(&server, &parent, &[])), 1);
    }

    #[test]
    fn children_get_descriptors() {
        if !own_process::is_own() {
            return;
        }
        let server = ForkServer::start(|| act).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        assert_eq!(exit_code(&launch(&server, b"whello", &[write.as_fd()])), 1);
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_killed_child_tells_by_which_signal() {
        if !own_process::is_own() {
            return;
        }
        let server = ForkServer::start(|| act).unwrap();
        let child = launch(&server, b"-", &[]);
        assert_eq!(child.exit_code(), None);
        assert!(!child.wait(Some(std::time::Instant::now()), Site::default()).unwrap());
        child.signal(rustix::process::Signal::KILL).unwrap();
        assert_eq!(exit_code(&child), -9);
    }

    /// The server has no other way to learn of its parent's end than its socket.
    #[test]
    fn the_server_ends_with_its_parent() {
        if !own_process::is_own() {
            return;
        }
        let server = ForkServer::start(|| act).unwrap();
        let child = Child::new(server.pid()).unwrap();
        assert_eq!(child.exit_code(), None);
        assert!(server.socket.lock().as_raw_fd() >= 0);
        drop(server);
        assert_eq!(exit_code(&child), 0);
    }
}
