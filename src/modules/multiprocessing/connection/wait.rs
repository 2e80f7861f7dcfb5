//! `wait`: until one of several connections, sockets or processes has something to say.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rhai::Dynamic;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::handle::ConnectionHandle;
use crate::ipc::connection::Ring;
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::os::descriptors;
use crate::modules::socket::Socket;
use crate::runtime::sync::Arc;
use crate::runtime::{Bell, Reason, Until, Wait, Waiter, block};

/// As for a single connection: everything is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Something that is waited for.
enum Source {
    Connection(ConnectionHandle),
    Descriptor(Arc<OwnedFd>),
}

impl Source {
    fn of(call: &Call, object: &Dynamic) -> Outcome<Self> {
        if let Some(connection) = object.read_lock::<ConnectionHandle>() {
            return Ok(Self::Connection(connection.clone()));
        }
        if let Some(socket) = object.read_lock::<Socket>() {
            return match socket.descriptor() {
                Some(fd) => Ok(Self::Descriptor(fd)),
                None => Err(raise("ValueError", "Invalid file descriptor: -1")),
            };
        }
        if let Ok(number) = object.as_int() {
            return Self::of_number(number);
        }
        let mut this = object.clone();
        match call.context().call_native_fn_raw("fileno", true, &mut [&mut this]) {
            Ok(number) if number.is_int() => Self::of_number(number.as_int().unwrap_or(-1)),
            _ => Err(raise("ValueError", format!("Invalid file object: {}", value::repr(object)))),
        }
    }

    fn of_number(number: i64) -> Outcome<Self> {
        if let Some(connection) = ConnectionHandle::of_number(number) {
            return Ok(Self::Connection(connection));
        }
        match descriptors::find(number) {
            Some(fd) => Ok(Self::Descriptor(fd)),
            None if number < 0 => Err(raise("ValueError", format!("Invalid file descriptor: {number}"))),
            None => Err(raise_io(&Errno::BADF.into(), None)),
        }
    }

    fn is_ready(&self) -> Outcome<bool> {
        match self {
            Self::Connection(this) => this.connection().is_readable().map_err(|failure| this.raise(failure)),
            Self::Descriptor(fd) => {
                let mut fds = [PollFd::new(fd, PollFlags::IN)];
                Ok(matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)))
            }
        }
    }

    fn descriptor(&self) -> Outcome<Arc<OwnedFd>> {
        match self {
            Self::Connection(this) => this.connection().socket().map_err(|failure| this.raise(failure)),
            Self::Descriptor(fd) => Ok(Arc::clone(fd)),
        }
    }

    fn ring(&self) -> Option<&Ring> {
        match self {
            Self::Connection(this) => this.connection().ring(),
            Self::Descriptor(_) => None,
        }
    }
}

/// The bells of all connections among the sources.
struct Bells<'a>(Vec<&'a Ring>);

impl Bell for Bells<'_> {
    fn is_ready(&self) -> bool {
        self.0.iter().any(|ring| ring.is_ready())
    }

    fn arm(&self) {
        self.0.iter().for_each(|ring| ring.arm());
    }

    fn disarm(&self) {
        self.0.iter().for_each(|ring| ring.disarm());
    }
}

fn wait_for(sources: &[Source], wait: &Wait) -> Outcome<Vec<usize>> {
    let system = |error: Errno| raise_io(&error.into(), None);
    let mut all: Option<(OwnedFd, Vec<Arc<OwnedFd>>)> = None;
    let bells = Bells(sources.iter().filter_map(Source::ring).collect());
    loop {
        let mut ready = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            if source.is_ready()? {
                ready.push(index);
            }
        }
        let now = Instant::now();
        if !ready.is_empty() || wait.try_only || wait.deadline.is_some_and(|deadline| now >= deadline) {
            return Ok(ready);
        }
        if all.is_none() {
            let set = epoll::create(CreateFlags::CLOEXEC).map_err(system)?;
            let mut fds = Vec::new();
            for source in sources {
                let fd = source.descriptor()?;
                match epoll::add(&set, &fd, EventData::new_u64(0), EventFlags::IN) {
                    // The same descriptor twice; a file, which is always ready and was found so above.
                    Ok(()) | Err(Errno::EXIST | Errno::PERM) => fds.push(fd),
                    Err(error) => return Err(system(error)),
                }
            }
            all = Some((set, fds));
        }
        let Some((set, _)) = &all else { continue };
        let again = now + LOOK_AGAIN;
        let deadline = Some(wait.deadline.map_or(again, |deadline| deadline.min(again)));
        let until = Until::Rung { fd: set.as_fd(), bell: &bells, closed: &Waiter::new() };
        block(until, Reason::External("one of several connections"), deadline, wait.site)
            .map_err(interrupted)?;
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module.function(
        "wait(object_list, timeout=None)",
        "Waits until some of the connections, sockets and process sentinels can be read; returns those.",
        |call| {
            let objects = call.sequence(0)?;
            let seconds = call.seconds(1)?;
            let wait = call.wait_for(seconds);
            let mut sources = Vec::with_capacity(objects.len());
            for object in &objects {
                sources.push(Source::of(call, object)?);
            }
            let ready = wait_for(&sources, &wait)?;
            Ok(ready.into_iter().map(|index| objects[index].clone()).collect::<Vec<_>>().into())
        },
    );
}
