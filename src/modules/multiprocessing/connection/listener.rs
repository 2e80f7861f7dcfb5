//! `Listener` and `Client`: connections between processes that find each other by an address.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rhai::Dynamic;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, bind, getsockname, listen,
    socket_with, sockopt,
};

use super::handle::{ConnectionHandle, raise_failure};
use crate::ipc::connection::Connection;
use crate::ipc::connection::authentication::{self, Refusal};
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::text::str_repr::bytes_repr;
use crate::language::value;
use crate::modules::socket::address;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Reason, Site, Until, Waiter, block, detached};

fn system(error: Errno) -> Box<rhai::EvalAltResult> {
    raise_io(&error.into(), None)
}

/// The family that an address belongs to, or the one that is named.
fn family_of(address: Option<&Dynamic>, family: Option<&str>) -> Outcome<AddressFamily> {
    match (family, address) {
        (Some("AF_UNIX"), _) | (None, None) => Ok(AddressFamily::UNIX),
        (Some("AF_INET"), _) => Ok(AddressFamily::INET),
        (Some(family), _) => Err(raise("ValueError", format!("Family {family} is not recognized."))),
        (None, Some(address)) if value::sequence(address).is_some() => Ok(AddressFamily::INET),
        (None, Some(address)) if address.is_string() || address.is_blob() => Ok(AddressFamily::UNIX),
        (None, Some(address)) => {
            let shown = value::repr(address);
            Err(raise("ValueError", format!("address type of {shown} unrecognized")))
        }
    }
}

/// An address that nobody else has. The one of a Unix socket is a name without a file, so that nothing is left.
fn arbitrary_address(family: AddressFamily) -> Outcome<Dynamic> {
    if family == AddressFamily::INET {
        return Ok(vec![Dynamic::from("127.0.0.1"), Dynamic::from(0_i64)].into());
    }
    let mut random = [0; 12];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(system)?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("\0onelock-{random}").into())
}

fn open(family: AddressFamily) -> Outcome<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None).map_err(system)
}

/// What is done to every connected socket: small messages are not held back.
fn prepare(socket: &OwnedFd, family: AddressFamily) {
    if family == AddressFamily::INET {
        // It costs speed where it is not known.
        let _ = sockopt::set_tcp_nodelay(socket, true);
    }
}

struct State {
    socket: Option<Arc<OwnedFd>>,
    waiters: Vec<Arc<Waiter>>,
    last_accepted: Dynamic,
}

struct Inner {
    family: AddressFamily,
    address: Dynamic,
    /// The file to remove, and by which process.
    path: Option<(String, u32)>,
    key: Option<Vec<u8>>,
    state: Mutex<State>,
}

/// A socket that others connect to.
#[derive(Clone)]
pub struct Listener(Arc<Inner>);

impl Handle for Listener {
    const NAME: &'static str = "Listener";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.connection.Listener object at {:#x}>", self.identity())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    fn close(&self) {
        let (socket, waiters) = {
            let mut state = self.state.lock();
            (state.socket.take(), std::mem::take(&mut state.waiters))
        };
        waiters.iter().for_each(|waiter| waiter.wake());
        if let (Some(_), Some((path, process))) = (socket, &self.path)
            && *process == std::process::id()
        {
            // Somebody may have removed it before.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// A listener at an address, an arbitrary one if there is none.
    ///
    /// # Errors
    /// ValueError for what is no address; OSError.
    pub fn new(
        address: Option<Dynamic>,
        family: Option<&str>,
        backlog: i32,
        key: Option<Vec<u8>>,
    ) -> Outcome<Self> {
        let family = family_of(address.as_ref(), family)?;
        let address = match address {
            Some(address) => address,
            None => arbitrary_address(family)?,
        };
        let socket = open(family)?;
        sockopt::set_socket_reuseaddr(&socket, true).map_err(system)?;
        let at = address::read("bind", i32::from(family.as_raw()), &address)?;
        bind(&socket, &at).map_err(system)?;
        let path = value::str(&address);
        let is_file = family == AddressFamily::UNIX && !path.starts_with('\0');
        let path = is_file.then(|| (path, std::process::id()));
        let bound = listen(&socket, backlog).and_then(|()| getsockname(&socket));
        let bound = bound.map_err(|error| {
            if let Some((path, _)) = &path {
                let _ = std::fs::remove_file(path);
            }
            system(error)
        })?;
        let address = if family == AddressFamily::INET { address::show(&bound) } else { address };
        let state = Mutex::new(State {
            socket: Some(Arc::new(socket)),
            waiters: Vec::new(),
            last_accepted: Dynamic::UNIT,
        });
        Ok(Self(Arc::new(Inner { family, address, path, key, state })))
    }

    /// Where others connect to.
    pub fn address(&self) -> &Dynamic {
        &self.0.address
    }

    /// Waits until somebody connects, who must know the key if there is one.
    ///
    /// # Errors
    /// OSError, AuthenticationError, EOFError.
    pub fn accept(&self, site: Site) -> Outcome<ConnectionHandle> {
        let connection = self.accept_unproved(site)?;
        self.authenticate(connection, site)
    }

    /// Waits until somebody connects.
    ///
    /// # Errors
    /// OSError.
    pub fn accept_unproved(&self, site: Site) -> Outcome<Connection> {
        let (socket, from) = loop {
            let waiter = Waiter::new();
            let socket = {
                let mut state = self.0.state.lock();
                let socket = state.socket.clone().ok_or_else(|| raise("OSError", "listener is closed"))?;
                state.waiters.push(Arc::clone(&waiter));
                socket
            };
            let accepted = acceptfrom_with(&socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            let woken = match accepted {
                Err(Errno::AGAIN) => {
                    let (fd, flags) = (socket.as_fd(), PollFlags::IN);
                    let until = Until::Ready { fd, flags, closed: &waiter };
                    Some(block(until, Reason::External("a client to connect"), None, site))
                }
                _ => None,
            };
            self.0.state.lock().waiters.retain(|other| !Arc::ptr_eq(other, &waiter));
            woken.transpose().map_err(interrupted)?;
            match accepted {
                Ok(accepted) => break accepted,
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(system(error)),
            }
        };
        prepare(&socket, self.0.family);
        let from = from.as_ref().map_or(Dynamic::UNIT, show_peer);
        self.0.state.lock().last_accepted = from;
        Ok(Connection::new(socket, None))
    }

    /// Has the other end of a connection prove that it knows the key, if there is one.
    ///
    /// # Errors
    /// AuthenticationError, EOFError, OSError.
    pub fn authenticate(&self, connection: Connection, site: Site) -> Outcome<ConnectionHandle> {
        let connection = match self.0.key.as_deref().filter(|key| !key.is_empty()) {
            Some(key) => authentication::accept(connection, key, site).map_err(refused)?,
            None => connection,
        };
        Ok(ConnectionHandle::new(connection, true, true))
    }

    /// Stops listening, and calls off the waits of other threads.
    pub fn close(&self) {
        self.0.close();
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        self.0.state.lock().socket.is_none()
    }
}

fn show_peer(peer: &SocketAddrAny) -> Dynamic {
    if peer.address_family() == AddressFamily::UNIX { "".into() } else { address::show(peer) }
}

fn refused(refusal: Refusal) -> Box<rhai::EvalAltResult> {
    match refusal {
        Refusal::WrongAnswer => raise("AuthenticationError", "digest received was wrong"),
        Refusal::Rejected => raise("AuthenticationError", "digest sent was rejected"),
        Refusal::NoChallenge(message) => {
            raise("AssertionError", format!("message = {}", bytes_repr(&message)))
        }
        Refusal::Failed(failure) => raise_failure(failure),
    }
}

/// Connects to a listener's address and proves that we know the key, if there is one.
///
/// # Errors
/// ValueError for what is no address; OSError, AuthenticationError, EOFError.
pub fn connect(
    address: &Dynamic,
    family: Option<&str>,
    key: Option<&[u8]>,
    site: Site,
) -> Outcome<ConnectionHandle> {
    let family = family_of(Some(address), family)?;
    let at = address::read("connect", i32::from(family.as_raw()), address)?;
    let socket = open(family)?;
    match detached(|| rustix::net::connect(&socket, &at)) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            await_connection(&socket, None, site)?;
        }
        // The queue of a Unix listener is full: there is nothing to poll for.
        Err(Errno::AGAIN) => connect_later(&socket, &at, site)?,
        Err(error) => return Err(system(error)),
    }
    prepare(&socket, family);
    let connection = Connection::new(socket, None);
    let connection = match key {
        Some(key) => authentication::connect(connection, key, site).map_err(refused)?,
        None => connection,
    };
    Ok(ConnectionHandle::new(connection, true, true))
}

fn await_connection(socket: &OwnedFd, deadline: Option<Instant>, site: Site) -> Outcome<()> {
    let until = Until::Writable(socket.as_fd());
    block(until, Reason::External("a listener to answer"), deadline, site).map_err(interrupted)?;
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(system(error)),
    }
}

fn connect_later(socket: &OwnedFd, at: &SocketAddrAny, site: Site) -> Outcome<()> {
    loop {
        let pause = std::time::Duration::from_millis(2);
        crate::runtime::sleep_for(pause, site).map_err(interrupted)?;
        match rustix::net::connect(socket, at) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(system(error)),
        }
    }
}

/// A key: bytes, or none.
fn key_argument(call: &mut Call, index: usize) -> Outcome<Option<Vec<u8>>> {
    match call.argument(index).filter(|key| !key.is_unit()) {
        None => Ok(None),
        Some(key) => match key.as_blob_ref() {
            Ok(key) => Ok(Some(key.clone())),
            Err(_) => Err(raise("TypeError", "authkey should be a byte string")),
        },
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<Listener>()
        .function(
            "Listener(address=None, family=None, backlog=1, authkey=None)",
            "Listens for connections at [host, port] or at a path.",
            |call| {
                let address = call.argument(0).filter(|address| !address.is_unit());
                let family = call.optional_text(1)?;
                let backlog = i32::try_from(call.int_or(2, 1)?).unwrap_or(i32::MAX);
                let key = key_argument(call, 3)?;
                Listener::new(address, family.as_deref(), backlog, key).map(Dynamic::from)
            },
        )
        .function("Client(address, family=None, authkey=None)", "Connects to a listener.", |call| {
            let address = call.required(0)?;
            let family = call.optional_text(1)?;
            let key = key_argument(call, 2)?;
            connect(&address, family.as_deref(), key.as_deref(), call.site()).map(Dynamic::from)
        })
        .method::<Listener, _>(
            "accept()",
            "Waits for a client and returns the connection to it.",
            |this, call| this.accept(call.site()).map(Dynamic::from),
        )
        .method::<Listener, _>("close()", "Stops listening.", |this, _| {
            this.close();
            Ok(Dynamic::UNIT)
        })
        .method::<Listener, _>("__enter__()", "What `with` does first: nothing.", |this, _| {
            Ok(Dynamic::from(this.clone()))
        })
        .method::<Listener, _>("__exit__(error=None)", "What `with` does last: close().", |this, _| {
            this.close();
            Ok(Dynamic::UNIT)
        })
        .attribute::<Listener, _>("address", "Where clients connect to.", |this| match this.is_closed() {
            true => Err(raise("AttributeError", "'NoneType' object has no attribute '_address'")),
            false => Ok(this.address().clone()),
        })
        .attribute::<Listener, _>("last_accepted", "Where the last client connected from.", |this| {
            Ok(this.0.state.lock().last_accepted.clone())
        });
}
