//! A client's connections to the servers of managers: one for each thread and server.

use std::cell::RefCell;
use std::collections::HashMap;

use rhai::Dynamic;
use rustix::rand::{GetRandomFlags, getrandom};

use super::message::{Client, Reply, Request};
use super::server;
use crate::ipc::codec::{Decoder, Encoder};
use crate::ipc::connection::{Content, Failure, Message};
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::value;
use crate::modules::multiprocessing::connection::{ConnectionHandle, connect, raise_failure};
use crate::runtime::sync::{Arc, AtomicU32, Mutex, Ordering};
use crate::runtime::{self, Site};

/// Where a server is, and the key that it asks for.
pub struct Server {
    /// What `Listener` and `Client` take.
    pub address: Dynamic,
    /// The key.
    pub key: Vec<u8>,
    /// The address as a text, by which servers are told from each other.
    name: String,
    /// The address and the key as a text: a connection made with one key does not serve those with another.
    way: String,
}

impl Server {
    /// The server at an address.
    pub fn new(address: Dynamic, key: Vec<u8>) -> Arc<Self> {
        let name = value::repr(&address);
        let way = format!("{name} {key:?}");
        Arc::new(Self { name, way, address, key })
    }

    /// The address as a text.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One thread's connection to one server.
struct Link {
    connection: ConnectionHandle,
    process: u32,
    /// Answers that nobody waits for any more, because Ctrl-C came.
    owed: u32,
}

thread_local! {
    static LINKS: RefCell<HashMap<String, Link>> = RefCell::default();
}

/// What this process has of one server.
struct Anchor {
    /// Kept for as long as the process lives: when its last connection ends the server drops what it referred to.
    _connection: ConnectionHandle,
    process: u32,
}

static ANCHORS: Mutex<Option<HashMap<String, Anchor>>> = Mutex::new(None);
/// Objects whose proxies are gone: the server is told with the next request.
static DROPPED: Mutex<Option<HashMap<String, Vec<u64>>>> = Mutex::new(None);
/// This process, as servers know it, and its generation.
static SELF: Mutex<(u32, Client)> = Mutex::new((u32::MAX, [0; 2]));
/// Counted up in a forked process, which must not use its parent's connections.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// In a forked process: the connections are the parent's.
pub fn after_fork() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
    if let Some(anchors) = ANCHORS.lock().take() {
        std::mem::forget(anchors);
    }
    *DROPPED.lock() = None;
}

fn process() -> u32 {
    PROCESS.load(Ordering::Relaxed)
}

fn this_client() -> Client {
    let mut own = SELF.lock();
    if own.0 != process() {
        let mut random = [0; 8];
        // Without it the process number still tells most of them apart.
        let _ = getrandom(&mut random, GetRandomFlags::empty());
        *own = (process(), [u64::from(std::process::id()), u64::from_ne_bytes(random)]);
    }
    own.1
}

/// A proxy is gone: the server will be told.
pub fn dropped(server: &Server, object: u64) {
    if let Some(own) = server::of_this_process(server.name()) {
        return own.drop_own(object);
    }
    DROPPED.lock().get_or_insert_default().entry(server.way.clone()).or_default().push(object);
}

fn send(connection: &ConnectionHandle, request: &Request, site: Site) -> Outcome<()> {
    let connection = connection.connection();
    let mut encoder = Encoder::onto(connection.frame(Vec::with_capacity(64)), connection.purpose());
    request.write(&mut encoder)?;
    let mut encoded = encoder.finish();
    let mut bytes = std::mem::take(&mut encoded.bytes);
    connection.send_framed(Content::Value, &mut bytes, &encoded.fds, site).map_err(raise_failure)?;
    encoded.sent();
    Ok(())
}

fn read(message: Message<'_>) -> Outcome<Reply> {
    let mut decoder = match message.content {
        Content::Value => Decoder::new(message.bytes, message.fds),
        Content::Bytes => Decoder::from_anybody(message.bytes),
    };
    let reply = Reply::read(&mut decoder)?;
    decoder.finish()?;
    Ok(reply)
}

fn open(server: &Server, site: Site) -> Outcome<ConnectionHandle> {
    let connection = connect(&server.address, None, Some(&server.key), site)?;
    let thread = runtime::current().map(|thread| thread.name().to_string()).unwrap_or_default();
    send(&connection, &Request::Hello(this_client(), thread), site)?;
    let mut anchors = ANCHORS.lock();
    let anchors = anchors.get_or_insert_default();
    let anchor = anchors.get(&server.way);
    if anchor.is_none_or(|anchor| anchor.process != process()) {
        let anchor = Anchor { _connection: connection.clone(), process: process() };
        if let Some(old) = anchors.insert(server.way.clone(), anchor) {
            std::mem::forget(old);
        }
    }
    Ok(connection)
}

/// Makes a new connection to a server, whatever there was before.
///
/// # Errors
/// OSError, AuthenticationError, EOFError.
pub fn reconnect(server: &Server, site: Site) -> Outcome<()> {
    if server::of_this_process(server.name()).is_none() {
        put_back(server, Link { connection: open(server, site)?, process: process(), owed: 0 });
    }
    Ok(())
}

/// Takes this thread's connection to the server for one request, or makes one.
fn take(server: &Server, site: Site) -> Outcome<Link> {
    let known = LINKS.with_borrow_mut(|links| links.remove(&server.way));
    match known {
        Some(link) if link.process == process() => Ok(link),
        Some(link) => {
            std::mem::forget(link);
            Ok(Link { connection: open(server, site)?, process: process(), owed: 0 })
        }
        None => Ok(Link { connection: open(server, site)?, process: process(), owed: 0 }),
    }
}

fn put_back(server: &Server, link: Link) {
    LINKS.with_borrow_mut(|links| links.insert(server.way.clone(), link));
}

/// The server is gone, or does not speak our language.
fn give_up(server: &Server) {
    if let Some(anchors) = &mut *ANCHORS.lock() {
        anchors.remove(&server.way);
    }
    if let Some(dropped) = &mut *DROPPED.lock() {
        dropped.remove(&server.way);
    }
}

/// Asks a server, and waits for the answer if there is to be one.
///
/// # Errors
/// TypeError for what cannot travel; EOFError, ConnectionError and OSError when the server is gone; what the server
/// raised.
pub fn ask(server: &Server, request: &Request, site: Site) -> Outcome<Reply> {
    if let Some(own) = server::of_this_process(server.name()) {
        return own.answer(request);
    }
    let mut link = take(server, site)?;
    let dropped = DROPPED.lock().as_mut().and_then(|all| all.remove(&server.way)).unwrap_or_default();
    for object in dropped {
        if let Err(error) = send(&link.connection, &Request::Drop(object), site) {
            give_up(server);
            return Err(error);
        }
    }
    if let Err(error) = send(&link.connection, request, site) {
        // What cannot travel was not sent, and the connection is as good as before.
        if is_connection_error(&error) {
            give_up(server);
        } else {
            put_back(server, link);
        }
        return Err(error);
    }
    if !request.is_answered() {
        put_back(server, link);
        return Ok(Reply::Value(Dynamic::UNIT));
    }
    loop {
        match link.connection.connection().receive(None, site, read) {
            Ok(_) if link.owed > 0 => link.owed -= 1,
            Ok(reply) => {
                put_back(server, link);
                return reply;
            }
            Err(Failure::Interrupted(interrupt)) => {
                link.owed += 1;
                put_back(server, link);
                return Err(raise_failure(Failure::Interrupted(interrupt)));
            }
            Err(failure) => {
                give_up(server);
                return Err(raise_failure(failure));
            }
        }
    }
}

fn is_connection_error(error: &rhai::EvalAltResult) -> bool {
    let rhai::EvalAltResult::ErrorRuntime(value, _) = error else { return false };
    let exception = value.read_lock::<Exception>();
    exception.is_some_and(|e| ["OSError", "EOFError"].iter().any(|name| e.is_instance(Class::known(name))))
}

/// The value of an answer.
///
/// # Errors
/// What the server raised.
pub fn value_of(reply: Reply) -> Outcome<Dynamic> {
    match reply {
        Reply::Value(value) => Ok(value),
        Reply::Object(..) => Err(raise("ValueError", "Unrecognized message type '#PROXY'")),
        Reply::Raised(exception) => match exception.try_cast::<Exception>() {
            Some(exception) => Err(exception.into_error()),
            None => Err(raise("ValueError", "Unrecognized message type '#ERROR'")),
        },
        Reply::Traceback(text) => Err(remote_error(text)),
        Reply::Unserializable(text) => Err(remote_error(format!("Unserializable message: {text}\n"))),
    }
}

/// A RemoteError with the server's traceback.
fn remote_error(text: String) -> Box<rhai::EvalAltResult> {
    let line = "-".repeat(75);
    let shown = format!("\n{line}\n{text}{line}");
    Exception::with_args(Class::known("RemoteError"), shown, vec![text.into()]).into_error()
}
