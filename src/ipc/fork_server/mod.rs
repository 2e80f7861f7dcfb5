//! Processes are born here.
//!
//! The fork server is a copy of the interpreter from the moment before its script began: one thread, little
//! memory, a built engine, the compiled program. It gets a request over a socket and forks a child, which is a
//! child of the *requester* (clone(2) with `CLONE_PARENT`), so that waiting for it, its parent's number and its
//! signals are as if it had been forked directly. Forking the requester itself would copy its page tables,
//! however large it has grown, and locks that its other threads hold.
//!
//! While nobody asks for anything the server forks a few children ahead ([`super::spares`]), so that most
//! requests find a child that only waits for its parcel.
//!
//! The server ends when its socket is closed, which the kernel does however its parent ends.

mod messages;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::sched_getaffinity;

pub use messages::MOST_DESCRIPTORS;
use messages::{exchange, has_message, is_rung, receive, ring};

use super::Child;
use super::arena::Offset;
use super::compact::compact;
use super::shared::{Shared, Zeroed};
use super::spares::{self, Arrival, Forked, Nursery, Place, Spares};
use crate::runtime::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

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

/// What a new child gets to know, sooner or later.
pub struct Order(Source);

enum Source {
    Given(Offset, Vec<OwnedFd>),
    Awaited(Place),
}

impl Order {
    /// The request, for which a child that was forked ahead waits. If there will be none, the process ends.
    pub fn receive(self) -> Request {
        let (place, descriptors) = match self.0 {
            Source::Given(place, descriptors) => (place, descriptors),
            Source::Awaited(place) => match place.wait() {
                Some(parcel) => (parcel, Vec::new()),
                None => {
                    super::release_all();
                    exit(0)
                }
            },
        };
        ignore_interrupts(false);
        let _ = rustix::thread::set_name(c"onelock");
        Request { bytes: open_parcel(place), descriptors }
    }
}

/// What the server and children that have no order yet are called. A child of that name that nobody started is none of
/// a script's.
pub const NAME: &std::ffi::CStr = c"fork server";

/// The parent's end.
pub struct ForkServer {
    socket: Mutex<Option<OwnedFd>>,
    /// Is rung when a spare has got an order.
    doorbell: OwnedFd,
    spares: Spares,
    pid: Pid,
    /// The process that started it.
    owner: u32,
}

impl ForkServer {
    /// Forks the server off the calling process, of which no other thread may be anywhere but asleep. Returns in
    /// the parent only. `prepare` is called in the server; what it returns is called in every child that is
    /// forked later, and gives the exit status. The server begins with so many `spares`.
    ///
    /// # Errors
    /// The system's, when there can be no further process, memory or descriptor.
    pub fn start<C: FnOnce(Order) -> i32>(prepare: impl FnOnce() -> C, spares: usize) -> io::Result<Self> {
        super::arena::prepare()?;
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let berths = Spares::new()?;
        let place = berths.lend();
        // SAFETY: the caller promises that no other thread is in the middle of anything.
        match unsafe { libc::fork() } {
            -1 => {
                let error = io::Error::last_os_error();
                berths.unlend();
                Err(error)
            }
            0 => {
                drop(ours);
                // Ctrl-C at the terminal reaches the whole process group, and the server has nothing to say to it.
                ignore_interrupts(true);
                let _ = rustix::thread::set_name(NAME);
                super::after_fork();
                let child = prepare();
                match Nursery::open(place) {
                    Some(nursery) => serve(Ears { socket: theirs, doorbell }, nursery, child, spares),
                    None => exit(1),
                }
            }
            pid => match Pid::from_raw(pid) {
                Some(pid) => {
                    let owner = std::process::id();
                    Ok(Self { socket: Mutex::new(Some(ours)), doorbell, spares: berths, pid, owner })
                }
                None => Err(io::ErrorKind::Other.into()),
            },
        }
    }

    /// The server's process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Starts a child that gets these bytes and descriptors. It is a child of this process, which must wait for it.
    ///
    /// # Errors
    /// The system's, when there can be no further process, memory or descriptor, `InvalidInput` for too many
    /// descriptors; `BrokenPipe` if the server is gone.
    pub fn launch(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Child> {
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
        let child = self.hand_over(place, descriptors);
        if child.is_err() {
            parcel.unlend();
        }
        child
    }

    fn hand_over(&self, place: Offset, descriptors: &[BorrowedFd<'_>]) -> io::Result<Child> {
        let socket = self.socket.lock();
        let socket = socket.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        // Descriptors travel through the socket only.
        if descriptors.is_empty()
            && let Some(child) = self.spares.order(place)?
        {
            ring(self.doorbell.as_fd());
            return Ok(child);
        }
        let pid = loop {
            match exchange(socket.as_fd(), place, descriptors) {
                // Where the number of processes is limited, spares must not be what fills it.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.spares.retire() => {}
                reply => break reply?,
            }
        };
        Child::new(pid).inspect_err(|_| {
            // Without a descriptor nobody could wait for it: it must not live on unknown.
            let _ = kill_process(pid, Signal::KILL);
            spares::reap(pid);
        })
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        let socket = self.socket.lock().take();
        // In a child that was forked meanwhile only its copy of the socket is closed.
        if self.owner == std::process::id() {
            if let Some(socket) = &socket {
                // Whoever else was forked meanwhile may have a copy as well. It fails if the server is gone.
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
            }
            spares::reap(self.pid);
            self.spares.reap();
        }
    }
}

/// So many spares may always be kept: a program that starts one child after the other uses them up faster than they
/// are made while something else keeps a processor busy.
const LEAST: usize = 4;

/// How many spares are kept at most: more children than processors do not begin at once anyway.
fn most_spares() -> usize {
    // The standard library would look for limits of the group's as well, in a dozen files.
    let processors = sched_getaffinity(None).map_or(1, |processors| processors.count() as usize);
    processors.clamp(LEAST, spares::MOST)
}

/// After so many children it is worth while to make the next ones cheaper: that takes as long as so many of them save, or
/// ten times as many where the system has to find the memory first.
const MANY: usize = 24;

/// How a child comes into being.
enum Beginning {
    /// It has a parcel, and descriptors.
    Ordered(Offset, Vec<OwnedFd>),
    /// It is a spare.
    Ahead(Arrival),
}

/// What the server listens to.
struct Ears {
    socket: OwnedFd,
    doorbell: OwnedFd,
}

/// The server's whole life.
fn serve(ears: Ears, mut nursery: Nursery, child: impl FnOnce(Order) -> i32, wanted: usize) -> ! {
    let most = most_spares();
    let mut wanted = wanted.min(most);
    let (mut forked, mut is_compact) = (0, false);
    let begin = |ears: Ears, beginning: Beginning| -> ! {
        drop(ears);
        super::after_fork();
        let (order, place) = match beginning {
            Beginning::Ordered(parcel, descriptors) => (Source::Given(parcel, descriptors), None),
            Beginning::Ahead(arrival) => match arrival.settle() {
                Some(place) => (Source::Awaited(place.clone()), Some(place)),
                None => exit(1),
            },
        };
        let status = child(Order(order));
        if let Some(place) = place {
            place.end();
        }
        super::release_all();
        exit(status)
    };
    loop {
        while nursery.count() < wanted && !has_message(ears.socket.as_fd()) {
            match nursery.fork(|pid| fork_sibling(Some(pid))) {
                Ok(Forked::Here(arrival)) => begin(ears, Beginning::Ahead(arrival)),
                Ok(Forked::There) => forked += 1,
                // There is no room for another process, or no berth.
                Ok(Forked::Nowhere) | Err(_) => break,
            }
        }
        if forked >= MANY && !is_compact && !has_message(ears.socket.as_fd()) {
            is_compact = true;
            compact();
            nursery.want_working_set();
        }
        if is_rung(ears.socket.as_fd(), ears.doorbell.as_fd()) {
            wanted = wanted.max(1);
            continue;
        }
        let (place, descriptors) = match receive(ears.socket.as_fd()) {
            Ok(Some(request)) => request,
            end => {
                nursery.close();
                super::release_all();
                exit(i32::from(end.is_err()))
            }
        };
        match fork_sibling(None) {
            Ok(None) => begin(ears, Beginning::Ordered(place, descriptors)),
            reply => {
                let reply = match reply {
                    Ok(pid) => {
                        forked += 1;
                        wanted = most.min(wanted + 1);
                        nursery.sweep();
                        pid.unwrap_or(0)
                    }
                    Err(error) => -error.raw_os_error().unwrap_or(libc::EAGAIN),
                };
                drop(descriptors);
                // A parent that is gone has no use for it; the next receive says so.
                let _ = rustix::net::send(&ears.socket, &reply.to_ne_bytes(), SendFlags::NOSIGNAL);
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

/// Forks a child of this process's parent. Nothing in the child, whose number is stored in `number` before it begins.
fn fork_sibling(number: Option<&AtomicU32>) -> io::Result<Option<i32>> {
    let mut flags = libc::CLONE_PARENT | libc::SIGCHLD;
    if number.is_some() {
        flags |= libc::CLONE_PARENT_SETTID;
    }
    let flags = flags as libc::c_ulong;
    let number = number.map_or(std::ptr::null_mut(), AtomicU32::as_ptr);
    // SAFETY: like fork(2), with a copy of the one stack; the process has one thread, so that glibc's fork
    // handlers, which make its locks usable in the child, have nothing to do. The kernel stores to the number, if it
    // is given, which is an atomic.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, number, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
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
mod tests;
