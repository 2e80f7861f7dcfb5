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

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, kill_process};

use super::Child;
use super::arena::Offset;
use super::compact::compact_heap;
use super::shared::{Shared, Zeroed};
use super::spares::{self, Forked, Nursery, Place, Spares};
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

/// What a new child gets to know, sooner or later.
pub struct Order(Source);

enum Source {
    Given(Offset, Vec<OwnedFd>),
    Awaited(Place),
}

impl Order {
    /// Was the child forked ahead, so that it may do now what would cost time later?
    pub fn is_awaited(&self) -> bool {
        matches!(self.0, Source::Awaited(_))
    }

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

/// A message that asks for no child, but for more spares.
const MORE_SPARES: Offset = 0;

/// The parent's end.
pub struct ForkServer {
    socket: Mutex<Option<OwnedFd>>,
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
                    Some(nursery) => serve(theirs, nursery, child, spares),
                    None => exit(1),
                }
            }
            pid => match Pid::from_raw(pid) {
                Some(pid) => {
                    let owner = std::process::id();
                    Ok(Self { socket: Mutex::new(Some(ours)), spares: berths, pid, owner })
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
            // A server that is gone, or that has not had time for the last messages, makes no more spares.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let _ = rustix::net::send(socket, &MORE_SPARES.to_ne_bytes(), flags);
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

/// Asks the server for a child; its number.
fn exchange(socket: BorrowedFd<'_>, place: Offset, descriptors: &[BorrowedFd<'_>]) -> io::Result<Pid> {
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

/// How many spares are kept at most: more children than processors do not begin at once anyway.
fn most_spares() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).clamp(2, spares::MOST)
}

/// After so many children it is worth while to make the next ones cheaper.
const MANY: usize = 8;

/// The server's whole life.
fn serve(socket: OwnedFd, mut nursery: Nursery, child: impl FnOnce(Order) -> i32, wanted: usize) -> ! {
    let most = most_spares();
    let mut wanted = wanted.min(most);
    let (mut forked, mut is_compact) = (0, false);
    let begin = |socket: OwnedFd, order| -> ! {
        drop(socket);
        super::after_fork();
        exit(child(Order(order)))
    };
    loop {
        while nursery.count() < wanted && !has_message(socket.as_fd()) {
            match nursery.fork(fork_sibling) {
                Ok(Forked::Here(place)) => begin(socket, Source::Awaited(place)),
                Ok(Forked::There) => forked += 1,
                // There is no room for another process, or no berth.
                Ok(Forked::Nowhere) | Err(_) => break,
            }
        }
        if forked >= MANY && !is_compact && !has_message(socket.as_fd()) {
            is_compact = true;
            compact_heap();
        }
        let (place, descriptors) = match receive(socket.as_fd()) {
            Ok(Some(request)) => request,
            end => {
                nursery.close();
                super::release_all();
                exit(i32::from(end.is_err()))
            }
        };
        if place == MORE_SPARES {
            wanted = wanted.max(1);
            continue;
        }
        match fork_sibling() {
            Ok(None) => begin(socket, Source::Given(place, descriptors)),
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
                let _ = rustix::net::send(&socket, &reply.to_ne_bytes(), SendFlags::NOSIGNAL);
            }
        }
    }
}

fn has_message(socket: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&at_once)) != Ok(0)
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
    use crate::ipc::own_process;
    use crate::runtime::Site;
    use std::fs::File;
    use std::io::Read;

    /// What a test's children do: a letter and what it is about.
    fn act(order: Order) -> i32 {
        let request = order.receive();
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
        server.launch(bytes, descriptors).unwrap()
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
        let server = ForkServer::start(|| act, 0).unwrap();
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
        let server = ForkServer::start(|| act, 0).unwrap();
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
        let server = ForkServer::start(|| act, 0).unwrap();
        let child = launch(&server, b"-", &[]);
        assert_eq!(child.exit_code(), None);
        assert!(!child.wait(Some(std::time::Instant::now()), Site::default()).unwrap());
        child.signal(rustix::process::Signal::KILL).unwrap();
        assert_eq!(exit_code(&child), -9);
    }

    /// The children of this process that are called like the server.
    fn hidden() -> Vec<Pid> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let all: Vec<Pid> = lists
            .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
            .filter_map(Pid::from_raw)
            .collect();
        let name = |pid: &Pid| std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        all.into_iter().filter(|pid| name(pid).trim_ascii_end() == NAME.to_bytes()).collect()
    }

    fn is_child(pid: Pid) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).is_ok()
    }

    /// The server's spares, once there are so many that sleep.
    fn asleep(server: &ForkServer, count: usize) -> Vec<Pid> {
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let asleep = server.spares.asleep();
            if asleep.len() == count {
                return asleep;
            }
            assert!(std::time::Instant::now() < limit, "{} spares instead of {count}", asleep.len());
            std::thread::yield_now();
        }
    }

    fn with_spares() -> (ForkServer, Vec<Pid>) {
        let server = ForkServer::start(|| act, 2).unwrap();
        let spares = asleep(&server, 2);
        (server, spares)
    }

    #[test]
    fn spares_take_what_brings_no_descriptor_and_are_replaced() {
        if !own_process::is_own() {
            return;
        }
        let (server, mut spares) = with_spares();
        for length in 0..40 {
            let child = launch(&server, &[b"l".to_vec(), vec![7; length]].concat(), &[]);
            assert!(spares.contains(&child.pid()), "a spare");
            assert_eq!(exit_code(&child), length as i32);
            spares = asleep(&server, 2);
            assert!(!spares.contains(&child.pid()));
        }
        let (_read, write) = rustix::pipe::pipe().unwrap();
        let child = launch(&server, b"whello", &[write.as_fd()]);
        assert!(!spares.contains(&child.pid()), "descriptors come through the server");
        assert_eq!(exit_code(&child), 1);
    }

    #[test]
    fn spares_end_with_their_server() {
        if !own_process::is_own() {
            return;
        }
        let (server, spares) = with_spares();
        let pid = server.pid();
        assert!(spares.iter().chain([&pid]).all(|pid| hidden().contains(pid)));
        drop(server);
        assert!(spares.iter().chain([&pid]).all(|pid| !is_child(*pid)), "neither a process nor a zombie");
    }

    #[test]
    fn spares_end_with_a_killed_server() {
        if !own_process::is_own() {
            return;
        }
        for round in 0..30 {
            let server = ForkServer::start(|| act, 2).unwrap();
            // At any moment of a spare's making.
            (0..round * 20).for_each(|_| std::thread::yield_now());
            let spares = server.spares.asleep();
            kill_process(server.pid(), Signal::KILL).unwrap();
            let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while !spares.iter().all(|pid| super::super::family::is_over(pid.as_raw_nonzero().get() as u32)) {
                assert!(std::time::Instant::now() < limit, "a spare lives on");
            }
            let error = loop {
                match server.launch(b"l", &[]) {
                    // It got its order before the server was over.
                    Ok(child) => assert_eq!(exit_code(&child), 0),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
        }
    }

    #[test]
    fn a_killed_spare_is_passed_over() {
        if !own_process::is_own() {
            return;
        }
        let (server, _) = with_spares();
        for count in [1, 2] {
            let spares = asleep(&server, 2);
            let killed = &spares[..count];
            killed.iter().for_each(|pid| kill_process(*pid, Signal::KILL).unwrap());
            killed
                .iter()
                .for_each(|pid| while !super::super::family::is_over(pid.as_raw_nonzero().get() as u32) {});
            for length in 0..5 {
                let child = launch(&server, &[b"l".to_vec(), vec![7; length]].concat(), &[]);
                assert!(!killed.contains(&child.pid()));
                assert_eq!(exit_code(&child), length as i32);
            }
            assert!(killed.iter().all(|pid| !is_child(*pid)), "no zombie");
        }
    }

    #[test]
    fn a_spare_makes_room_for_a_process() {
        if !own_process::is_own() {
            return;
        }
        let (server, spares) = with_spares();
        assert!(server.spares.retire());
        assert_eq!(spares.iter().filter(|pid| is_child(**pid)).count(), 1);
        assert!(server.spares.retire());
        assert!(!server.spares.retire(), "there is none left");
        assert!(spares.iter().all(|pid| !is_child(*pid)));
        assert_eq!(exit_code(&launch(&server, b"l", &[])), 0);
    }

    #[test]
    fn starts_by_several_threads_at_once() {
        if !own_process::is_own() {
            return;
        }
        let (server, _) = with_spares();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let server = &server;
                scope.spawn(move || {
                    for length in thread..thread + 60 {
                        let bytes = [b"l".to_vec(), vec![7; length]].concat();
                        assert_eq!(exit_code(&launch(server, &bytes, &[])), length as i32);
                    }
                });
            }
        });
    }

    /// The server has no other way to learn of its parent's end than its socket.
    #[test]
    fn the_server_ends_with_its_parent() {
        if !own_process::is_own() {
            return;
        }
        let server = ForkServer::start(|| act, 0).unwrap();
        let child = Child::new(server.pid()).unwrap();
        assert_eq!(child.exit_code(), None);
        // As the kernel does when a process ends.
        drop(server.socket.lock().take());
        assert_eq!(exit_code(&child), 0);
        // Reaped already.
        std::mem::forget(server);
    }
}
