//! `Connection`: one end of a pipe, or of a connection to a listener.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Weak;

use rhai::Dynamic;

use crate::ipc::codec::{Decoder, Encoder, Travel, decode, decode_from_anybody, scalar, with_plain};
use crate::ipc::connection::{Connection, Content, Failure, MOST_DESCRIPTORS, Message, Ring};
use crate::language::builtins::bytearray::ByteArray;
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise, raise_io};
use crate::language::identity::{Handle, Rank};
use crate::language::native::NativeModule;
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::io::bytes_of;
use crate::modules::os::descriptors;
use crate::runtime::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::runtime::{Site, Wait};

struct Inner {
    connection: Connection,
    readable: AtomicBool,
    writable: AtomicBool,
}

/// A script's reference to one end of a connection.
#[derive(Clone)]
pub struct ConnectionHandle(Arc<Inner>);

impl Handle for ConnectionHandle {
    const NAME: &'static str = "Connection";
    const RANK: Rank = Rank::Second;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.connection.Connection object at {:#x}>", self.identity())
    }
}

impl Travel for ConnectionHandle {
    const TAG: &'static str = "multiprocessing.Connection";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        let connection = self.connection();
        let socket = connection.socket().map_err(|failure| self.raise(failure))?;
        out.fd(socket)?;
        out.u64(u64::from(self.is_readable()) | u64::from(self.is_writable()) << 1);
        match connection.ring() {
            None => out.u64(0),
            Some(ring) => {
                out.u64(1);
                ring.pack(out)?;
            }
        }
        Ok(())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let (socket, modes) = (input.fd()?, input.u64()?);
        let ring = if input.u64()? == 1 { Some(Ring::unpack(input)?) } else { None };
        Ok(Self::new(Connection::new(socket, ring), modes & 1 != 0, modes & 2 != 0))
    }
}

/// Connections whose numbers scripts were told.
static NUMBERED: Mutex<Option<HashMap<i64, Weak<Inner>>>> = Mutex::new(None);

thread_local! {
    /// The buffer of the thread's last message, for the next one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A larger buffer is not kept.
const KEPT: usize = 64 << 10;

impl ConnectionHandle {
    /// A handle of a connection that can be read or written, or both.
    pub fn new(connection: Connection, readable: bool, writable: bool) -> Self {
        let (readable, writable) = (AtomicBool::new(readable), AtomicBool::new(writable));
        Self(Arc::new(Inner { connection, readable, writable }))
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    fn is_readable(&self) -> bool {
        self.0.readable.load(Ordering::Relaxed)
    }

    fn is_writable(&self) -> bool {
        self.0.writable.load(Ordering::Relaxed)
    }

    /// The connection whose number is known to scripts; nothing if there is none.
    pub(super) fn of_number(number: i64) -> Option<Self> {
        let inner = NUMBERED.lock().as_ref()?.get(&number)?.upgrade()?;
        (inner.connection.number().map(i64::from) == Some(number)).then_some(Self(inner))
    }

    fn number(&self) -> Outcome<i64> {
        let socket = self.connection().socket().map_err(|failure| self.raise(failure))?;
        let number = descriptors::lend(&socket);
        let mut numbered = NUMBERED.lock();
        let numbered = numbered.get_or_insert_default();
        numbered.retain(|_, inner| inner.strong_count() > 0);
        numbered.insert(number, Arc::downgrade(&self.0));
        Ok(number)
    }

    pub(super) fn check_readable(&self) -> Outcome<()> {
        self.check_open()?;
        if self.is_readable() { Ok(()) } else { Err(raise("OSError", "connection is write-only")) }
    }

    fn check_writable(&self) -> Outcome<()> {
        self.check_open()?;
        if self.is_writable() { Ok(()) } else { Err(raise("OSError", "connection is read-only")) }
    }

    fn check_open(&self) -> Outcome<()> {
        if self.connection().is_closed() { Err(raise("OSError", "handle is closed")) } else { Ok(()) }
    }

    /// The exception for a failure; a message that is too long makes the connection useless for reading.
    pub(super) fn raise(&self, failure: Failure) -> Box<rhai::EvalAltResult> {
        if matches!(failure, Failure::TooLong) {
            match self.is_writable() {
                true => self.0.readable.store(false, Ordering::Relaxed),
                false => self.connection().close(),
            }
        }
        raise_failure(failure)
    }

    /// Sends a value.
    ///
    /// # Errors
    /// TypeError for what cannot travel; OSError.
    pub fn send(&self, value: &Dynamic, site: impl Fn() -> Site) -> Outcome<()> {
        self.check_writable()?;
        let connection = self.connection();
        if connection.ring().is_some() {
            // What this thread's script wrote to shared variables before the receiver has to see.
            synchronise();
            let head = Connection::head(Content::Value);
            let sent = with_plain(value, head, |message| connection.send_parts(message, &site));
            if let Some(sent) = sent {
                return sent.map_err(|failure| self.raise(failure));
            }
        }
        let mut encoder = Encoder::onto(connection.frame(BUFFER.take()), connection.purpose());
        encoder.value(value)?;
        self.send_encoded(encoder, site())
    }

    /// Sends what was encoded onto [`Connection::frame`].
    fn send_encoded(&self, encoder: Encoder, site: Site) -> Outcome<()> {
        let mut encoded = encoder.finish();
        if encoded.fds.len() > MOST_DESCRIPTORS {
            let (most, count) = (MOST_DESCRIPTORS, encoded.fds.len());
            return Err(raise("ValueError", format!("a message can bring {most} descriptors, not {count}")));
        }
        let mut message = std::mem::take(&mut encoded.bytes);
        let sent = self.connection().send_framed(Content::Value, &mut message, &encoded.fds, site);
        sent.map_err(|failure| self.raise(failure))?;
        encoded.sent();
        keep(message);
        Ok(())
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// OSError.
    pub fn send_bytes(&self, bytes: &[u8], site: Site) -> Outcome<()> {
        self.check_writable()?;
        let sent = self.connection().send(Content::Bytes, bytes, &[], site);
        sent.map_err(|failure| self.raise(failure))
    }

    /// Receives a value.
    ///
    /// # Errors
    /// EOFError, OSError; what decoding raises.
    pub fn recv(&self, site: impl FnOnce() -> Site) -> Outcome<Dynamic> {
        self.check_readable()?;
        synchronise();
        let read = |message: Message<'_>| match message.content {
            Content::Value => decode(message.bytes, message.fds),
            Content::Bytes => decode_from_anybody(message.bytes),
        };
        let received = self.connection().receive_lifting(None, site, |value| scalar(value).map(Ok), read);
        received.map_err(|failure| self.raise(failure))?
    }

    /// Receives bytes.
    ///
    /// # Errors
    /// EOFError, OSError.
    pub fn recv_bytes(&self, longest: Option<u64>, site: Site) -> Outcome<Vec<u8>> {
        self.check_readable()?;
        let received = self.connection().receive(longest, site, |message| message.bytes.to_vec());
        received.map_err(|failure| self.raise(failure))
    }

    fn poll(&self, wait: &Wait) -> Outcome<bool> {
        self.check_readable()?;
        self.connection().poll(wait).map_err(|failure| self.raise(failure))
    }
}

fn keep(mut message: Vec<u8>) {
    if message.capacity() <= KEPT {
        message.clear();
        BUFFER.set(message);
    }
}

/// The exception for a failure of a connection.
pub fn raise_failure(failure: Failure) -> Box<rhai::EvalAltResult> {
    match failure {
        Failure::Closed => raise("OSError", "handle is closed"),
        Failure::End => raise("EOFError", ""),
        Failure::Torn => raise("OSError", "got end of file during message"),
        Failure::TooLong => raise("OSError", "bad message length"),
        Failure::System(error) => raise_io(&error, None),
        Failure::Interrupted(interrupt) => interrupted(interrupt),
    }
}

/// The bytes of an argument.
fn bytes_argument(value: &Dynamic) -> Outcome<Vec<u8>> {
    bytes_of(value).ok_or_else(|| {
        let kind = value::type_name(value);
        raise("TypeError", format!("memoryview: a bytes-like object is required, not '{kind}'"))
    })
}

fn part_to_send(length: usize, offset: i64, size: Option<i64>) -> Outcome<std::ops::Range<usize>> {
    let Ok(offset) = usize::try_from(offset) else { return Err(raise("ValueError", "offset is negative")) };
    if length < offset {
        return Err(raise("ValueError", "buffer length < offset"));
    }
    let size = match size.map(usize::try_from) {
        None => length - offset,
        Some(Err(_)) => return Err(raise("ValueError", "size is negative")),
        Some(Ok(size)) if size > length - offset => {
            return Err(raise("ValueError", "buffer length < offset + size"));
        }
        Some(Ok(size)) => size,
    };
    Ok(offset..offset + size)
}

fn receive_into(this: &ConnectionHandle, buffer: &Dynamic, offset: i64, site: Site) -> Outcome<Dynamic> {
    this.check_readable()?;
    let Some(buffer) = buffer.read_lock::<ByteArray>().map(|buffer| buffer.clone()) else {
        let kind = value::type_name(buffer);
        return Err(raise("TypeError", format!("a read-write bytes-like object is required, not '{kind}'")));
    };
    let Ok(offset) = usize::try_from(offset) else { return Err(raise("ValueError", "negative offset")) };
    if offset > buffer.len() {
        return Err(raise("ValueError", "offset too large"));
    }
    let bytes = this.recv_bytes(None, site)?;
    let fits = buffer.change(|own| match own.get_mut(offset..).and_then(|own| own.get_mut(..bytes.len())) {
        Some(part) => {
            part.copy_from_slice(&bytes);
            true
        }
        None => false,
    });
    if fits {
        return Ok((bytes.len() as i64).into());
    }
    let class = Class::known("BufferTooShort");
    Err(Exception::from_args(class, vec![Dynamic::from_blob(bytes)]).into_error())
}

pub(super) fn define(module: &mut NativeModule) {
    crate::ipc::codec::register::<ConnectionHandle>();
    module
        .handle::<ConnectionHandle>()
        .method::<ConnectionHandle, _>(
            "send(obj)",
            "Sends an object to the other end. Blocks while that is too far behind.",
            |this, call| {
                let value = call.required(0)?;
                this.send(&value, || call.site()).map(|()| Dynamic::UNIT)
            },
        )
        .method::<ConnectionHandle, _>(
            "recv()",
            "Waits for an object from the other end; EOFError when that is closed and nothing is left.",
            |this, call| this.recv(|| call.site()),
        )
        .method::<ConnectionHandle, _>(
            "send_bytes(buf, offset=0, size=None)",
            "Sends bytes as one message, or a part of them.",
            |this, call| {
                this.check_writable()?;
                let bytes = bytes_argument(&call.required(0)?)?;
                let offset = call.int_or(1, 0)?;
                let size = match call.argument(2).filter(|size| !size.is_unit()) {
                    Some(size) => Some(size.as_int().map_err(|kind| {
                        raise("TypeError", format!("'size' must be an integer or None, not {kind}"))
                    })?),
                    None => None,
                };
                let part = part_to_send(bytes.len(), offset, size)?;
                this.send_bytes(&bytes[part], call.site()).map(|()| Dynamic::UNIT)
            },
        )
        .method::<ConnectionHandle, _>(
            "recv_bytes(maxlength=None)",
            "Waits for a message of bytes. A longer one than allowed is an OSError, and nothing can be read after it.",
            |this, call| {
                this.check_readable()?;
                let longest = match call.argument(0).filter(|longest| !longest.is_unit()) {
                    None => None,
                    Some(longest) => {
                        let longest = longest.as_int().map_err(|kind| {
                            raise("TypeError", format!("'maxlength' must be an integer or None, not {kind}"))
                        })?;
                        let longest = u64::try_from(longest);
                        Some(longest.map_err(|_| raise("ValueError", "negative maxlength"))?)
                    }
                };
                this.recv_bytes(longest, call.site()).map(Dynamic::from_blob)
            },
        )
        .method::<ConnectionHandle, _>(
            "recv_bytes_into(buf, offset=0)",
            "Waits for a message of bytes and puts it into a bytearray; returns its length.",
            |this, call| {
                let buffer = call.required(0)?;
                let offset = call.int_or(1, 0)?;
                receive_into(this, &buffer, offset, call.site())
            },
        )
        .method::<ConnectionHandle, _>(
            "poll(timeout=0.0)",
            "Is there something to receive, now or within so many seconds? None waits for ever.",
            |this, call| {
                let seconds = if call.is_none(0) { None } else { Some(call.seconds(0)?.unwrap_or(0.0)) };
                let wait = call.wait_for(seconds);
                this.poll(&wait).map(Dynamic::from)
            },
        )
        .method::<ConnectionHandle, _>("fileno()", "The number of the connection's descriptor.", |this, _| {
            this.check_open()?;
            this.number().map(Dynamic::from)
        })
        .method::<ConnectionHandle, _>("close()", "Closes this end.", |this, _| {
            this.connection().close();
            Ok(Dynamic::UNIT)
        })
        .method::<ConnectionHandle, _>("__enter__()", "What `with` does first: nothing.", |this, _| {
            Ok(Dynamic::from(this.clone()))
        })
        .method::<ConnectionHandle, _>("__exit__(error=None)", "What `with` does last: close().", |this, _| {
            this.connection().close();
            Ok(Dynamic::UNIT)
        })
        .attribute::<ConnectionHandle, _>("closed", "Was this end closed?", |this| {
            Ok(this.connection().is_closed().into())
        })
        .attribute::<ConnectionHandle, _>("readable", "Can this end receive?", |this| {
            Ok(this.is_readable().into())
        })
        .attribute::<ConnectionHandle, _>("writable", "Can this end send?", |this| {
            Ok(this.is_writable().into())
        });
}
