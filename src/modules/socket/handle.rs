//! The socket object: its descriptor, its timeout, and how its operations wait.
//!
//! The descriptor never makes the system wait: every operation is tried, without the interpreter lock, and if
//! the system says that it would have to wait, the thread waits in [`block`] as long as the socket's timeout
//! allows. Whoever uses the descriptor holds it open, so that closing the socket in another thread meanwhile
//! ends the wait, and the number cannot become another file's under it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::address;
use crate::language::exception::{interrupted, raise, raise_io};
use crate::language::identity::Handle;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Reason, Site, Until, Waiter, Woken, block, detached};

/// A script's reference to a socket. Clones are the same socket.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    family: i32,
    kind: i32,
    protocol: i32,
    state: Mutex<State>,
}

struct State {
    /// Nothing once the socket is closed. Whoever uses the descriptor has a clone.
    fd: Option<Arc<OwnedFd>>,
    /// Seconds; zero for a socket that never waits, nothing for one that waits for ever.
    timeout: Option<f64>,
    /// Those who wait for the descriptor, to be told when it is closed.
    waiters: Vec<Arc<Waiter>>,
}

impl Handle for Socket {
    const NAME: &'static str = "socket";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let inner = &self.0;
        let what = format!("family={}, type={}, proto={}", inner.family, inner.kind, inner.protocol);
        let Some(fd) = inner.state.lock().fd.clone() else {
            return format!("<socket.socket [closed] fd=-1, {what}>");
        };
        let local = rustix::net::getsockname(&fd).ok().and_then(|address| address::shown(&address));
        let remote =
            rustix::net::getpeername(&fd).ok().flatten().and_then(|address| address::shown(&address));
        let local = local.map(|address| format!(", laddr={address}")).unwrap_or_default();
        let remote = remote.map(|address| format!(", raddr={address}")).unwrap_or_default();
        format!("<socket.socket fd={}, {what}{local}{remote}>", fd.as_raw_fd())
    }
}

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Not at all: BlockingIOError.
    None,
    /// Until then: TimeoutError.
    Until(Instant),
    /// For ever.
    Endless,
}

/// Why an operation did not succeed.
pub enum Failure {
    /// The system said no.
    System(Errno),
    /// The socket's timeout is over.
    TimedOut,
    /// An exception, such as KeyboardInterrupt.
    Raised(Box<rhai::EvalAltResult>),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl From<Failure> for Box<rhai::EvalAltResult> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::System(error) => raise_io(&io::Error::from(error), None),
            Failure::TimedOut => raise("TimeoutError", "timed out"),
            Failure::Raised(error) => error,
        }
    }
}

impl Socket {
    /// A socket on a descriptor of the given family, type and protocol, which waits for ever where it waits.
    ///
    /// # Errors
    /// The system's, if the descriptor cannot be made one that never makes the system wait.
    pub fn new(fd: Arc<OwnedFd>, family: i32, kind: i32, protocol: i32) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let state = State { fd: Some(fd), timeout: None, waiters: Vec::new() };
        Ok(Self(Arc::new(Inner { family, kind, protocol, state: Mutex::new(state) })))
    }

    /// A socket that was closed.
    pub(super) fn closed(family: i32, kind: i32, protocol: i32) -> Self {
        let state = State { fd: None, timeout: None, waiters: Vec::new() };
        Self(Arc::new(Inner { family, kind, protocol, state: Mutex::new(state) }))
    }

    /// A socket on a descriptor that came from elsewhere: inherited, or received from another process.
    ///
    /// # Errors
    /// The system's, if it is no socket.
    pub fn from_fd(fd: Arc<OwnedFd>) -> io::Result<Self> {
        use rustix::net::sockopt::{socket_domain, socket_protocol, socket_type};
        let family = i32::from(socket_domain(&fd)?.as_raw());
        let kind = socket_type(&fd)?.as_raw() as i32;
        let protocol = socket_protocol(&fd)?.map_or(0, |protocol| protocol.as_raw().get() as i32);
        Self::new(fd, family, kind, protocol)
    }

    /// `AF_INET`, `AF_INET6`, `AF_UNIX`, ….
    pub fn family(&self) -> i32 {
        self.0.family
    }

    /// `SOCK_STREAM`, `SOCK_DGRAM`, ….
    pub fn kind(&self) -> i32 {
        self.0.kind
    }

    /// The protocol.
    pub fn protocol(&self) -> i32 {
        self.0.protocol
    }

    /// The descriptor, held open; nothing once the socket is closed.
    pub fn descriptor(&self) -> Option<Arc<OwnedFd>> {
        self.0.state.lock().fd.clone()
    }

    /// The descriptor, held open.
    ///
    /// # Errors
    /// EBADF once the socket is closed.
    pub fn open(&self) -> Result<Arc<OwnedFd>, Errno> {
        self.descriptor().ok_or(Errno::BADF)
    }

    /// The timeout in seconds; nothing if the socket waits for ever.
    pub fn timeout(&self) -> Option<f64> {
        self.0.state.lock().timeout
    }

    /// Changes the timeout of operations that begin from now on.
    pub fn set_timeout(&self, seconds: Option<f64>) {
        self.0.state.lock().timeout = seconds;
    }

    /// How long an operation that begins now may wait.
    pub fn patience(&self) -> Patience {
        match self.timeout() {
            None => Patience::Endless,
            Some(seconds) if seconds <= 0.0 => Patience::None,
            Some(seconds) => {
                let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                Instant::now().checked_add(time).map_or(Patience::Endless, Patience::Until)
            }
        }
    }

    /// Takes the descriptor out of the socket, which is closed then, and calls off the waits for it. The
    /// descriptor is closed as soon as nobody uses it any more.
    pub fn take(&self) -> Option<Arc<OwnedFd>> {
        let (fd, waiters) = {
            let mut state = self.0.state.lock();
            (state.fd.take(), std::mem::take(&mut state.waiters))
        };
        waiters.iter().for_each(|waiter| waiter.wake());
        fd
    }

    /// Runs a system call until it succeeds, and waits in between.
    pub(super) fn perform<R>(
        &self,
        site: Site,
        flags: PollFlags,
        patience: Patience,
        mut attempt: impl FnMut(BorrowedFd) -> Result<R, Errno>,
    ) -> Result<R, Failure> {
        loop {
            let fd = self.open()?;
            match detached(|| attempt(fd.as_fd())) {
                Ok(result) => return Ok(result),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !matches!(patience, Patience::None) => {
                    self.wait(&fd, site, flags, patience)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the descriptor is ready, or the socket is closed, which is all there is without flags.
    pub(super) fn wait(
        &self,
        fd: &Arc<OwnedFd>,
        site: Site,
        flags: PollFlags,
        patience: Patience,
    ) -> Result<(), Failure> {
        let deadline = match patience {
            Patience::None => return Err(Errno::AGAIN.into()),
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        let waiter = Waiter::new();
        {
            let mut state = self.0.state.lock();
            if state.fd.as_ref().is_none_or(|own| !Arc::ptr_eq(own, fd)) {
                return Err(Errno::BADF.into());
            }
            state.waiters.push(Arc::clone(&waiter));
        }
        let until = match flags.is_empty() {
            true => Until::Notified(&waiter),
            false => Until::Ready { fd: fd.as_fd(), flags, closed: &waiter },
        };
        let woken = block(until, Reason::External("a socket"), deadline, site);
        let mut state = self.0.state.lock();
        state.waiters.retain(|other| !Arc::ptr_eq(other, &waiter));
        let is_open = state.fd.as_ref().is_some_and(|own| Arc::ptr_eq(own, fd));
        drop(state);
        match woken {
            Err(interrupt) => Err(Failure::Raised(interrupted(interrupt))),
            Ok(_) if !is_open => Err(Errno::BADF.into()),
            Ok(Woken::TimedOut) => Err(Failure::TimedOut),
            Ok(Woken::Notified) => Ok(()),
        }
    }
}
