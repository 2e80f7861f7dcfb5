//! The methods of sockets.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rhai::Dynamic;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags};

use super::address;
use super::handle::{Failure, Patience, Socket};
use super::options;
use crate::language::builtins::bytearray::ByteArray;
use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::io::{self, bytes_of};
use crate::modules::os::descriptors;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, detached};

/// How often a Unix socket asks again whether the listener's queue has room: the system does not tell.
const FULL_QUEUE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Adds the class to the module.
pub(super) fn register(module: &mut NativeModule) {
    module.handle::<Socket>();
    connecting(module);
    receiving(module);
    sending(module);
    settings(module);
    ending(module);
}

fn system_error(error: Errno) -> Box<rhai::EvalAltResult> {
    raise_io(&error.into(), None)
}

/// A timeout: `None`, or seconds.
///
/// # Errors
/// ValueError for a negative one.
pub(super) fn timeout_argument(call: &mut Call, index: usize) -> Outcome<Option<f64>> {
    let seconds = call.seconds(index)?;
    match seconds {
        Some(seconds) if seconds < 0.0 => Err(raise("ValueError", "Timeout value out of range")),
        seconds => Ok(seconds),
    }
}

impl Socket {
    fn address_argument(&self, function: &str, address: &Dynamic) -> Outcome<SocketAddrAny> {
        address::read(function, self.family(), address)
    }

    /// Connects, and waits until that is done.
    pub(super) fn connect(&self, address: &SocketAddrAny, site: Site) -> Result<(), Failure> {
        let patience = self.patience();
        let mut has_begun = false;
        loop {
            let fd = self.open()?;
            // Asking again is how the outcome is learned: unlike SO_ERROR it lets a socket that was refused try
            // another address.
            match detached(|| rustix::net::connect(&fd, address)) {
                Ok(()) => return Ok(()),
                Err(Errno::ISCONN) if has_begun => return Ok(()),
                Err(Errno::INPROGRESS | Errno::INTR) if !matches!(patience, Patience::None) => {
                    has_begun = true;
                    self.wait(&fd, site, PollFlags::OUT, patience)?;
                }
                Err(Errno::ALREADY) if has_begun => self.wait(&fd, site, PollFlags::OUT, patience)?,
                Err(Errno::AGAIN) if self.family() == libc::AF_UNIX => self.pause(&fd, patience, site)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits a moment, or less if the patience ends before.
    fn pause(&self, fd: &Arc<OwnedFd>, patience: Patience, site: Site) -> Result<(), Failure> {
        let soon = std::time::Instant::now() + FULL_QUEUE_PAUSE;
        let pause = match patience {
            Patience::Until(deadline) if deadline <= soon => patience,
            Patience::None => patience,
            _ => Patience::Until(soon),
        };
        match self.wait(fd, site, PollFlags::empty(), pause) {
            Err(Failure::TimedOut) if matches!(patience, Patience::Until(d) if d <= soon) => {
                Err(Failure::TimedOut)
            }
            Err(Failure::TimedOut) | Ok(()) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Waits for a connection, and returns its socket and the address at its other end.
    fn accept(&self, site: Site) -> Outcome<(Self, Dynamic)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, address) =
            self.perform(site, PollFlags::IN, self.patience(), |fd| rustix::net::acceptfrom_with(fd, flags))?;
        let socket = Self::new(Arc::new(fd), self.family(), self.kind(), self.protocol())
            .map_err(|error| raise_io(&error, None))?;
        Ok((socket, address.map(|address| address::show(&address)).unwrap_or_default()))
    }

    /// Sends all of the bytes within the socket's timeout.
    fn send_all(&self, bytes: &[u8], flags: SendFlags, site: Site) -> Result<(), Failure> {
        let patience = self.patience();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self
                .perform(site, PollFlags::OUT, patience, |fd| rustix::net::send(fd, &bytes[sent..], flags))?;
        }
        Ok(())
    }

    /// Sends all of the bytes within the socket's timeout.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn send_bytes(&self, bytes: &[u8], site: Site) -> Result<(), Failure> {
        self.send_all(bytes, SendFlags::NOSIGNAL, site)
    }

    /// Waits for bytes within the socket's timeout and appends up to `most` of them; returns how many, 0 if the
    /// other side has closed.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn receive_bytes(&self, bytes: &mut Vec<u8>, most: usize, site: Site) -> Result<usize, Failure> {
        bytes.reserve(most);
        self.perform(site, PollFlags::IN, self.patience(), |fd| {
            let space = rustix::buffer::spare_capacity(bytes);
            rustix::net::recv(fd, space, RecvFlags::empty()).map(|(_, length)| length)
        })
    }

    /// Receives no more than `size` bytes, and the sender's address if that is asked for.
    fn receive(
        &self,
        size: usize,
        flags: RecvFlags,
        with_address: bool,
        site: Site,
    ) -> Outcome<(Vec<u8>, Dynamic)> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| {
            raise("MemoryError", format!("no memory for {size} bytes: receive fewer at a time"))
        })?;
        let (_, address) = self.perform(site, PollFlags::IN, self.patience(), |fd| {
            bytes.clear();
            let space = rustix::buffer::spare_capacity(&mut bytes);
            match with_address {
                true => rustix::net::recvfrom(fd, space, flags).map(|(_, length, address)| (length, address)),
                false => rustix::net::recv(fd, space, flags).map(|(_, length)| (length, None)),
            }
        })?;
        bytes.shrink_to_fit();
        Ok((bytes, address.map(|address| address::show(&address)).unwrap_or_default()))
    }
}

fn size_argument(call: &mut Call, index: usize, function: &str) -> Outcome<usize> {
    let size = call.int(index)?;
    usize::try_from(size).map_err(|_| raise("ValueError", format!("negative buffersize in {function}")))
}

fn receive_flags(call: &mut Call, index: usize) -> Outcome<RecvFlags> {
    Ok(RecvFlags::from_bits_retain(call.int_or(index, 0)? as u32))
}

fn send_flags(call: &mut Call, index: usize) -> Outcome<SendFlags> {
    Ok(SendFlags::from_bits_retain(call.int_or(index, 0)? as u32))
}

fn bytes_argument(call: &mut Call, index: usize) -> Outcome<Vec<u8>> {
    let value = call.required(index)?;
    bytes_of(&value).ok_or_else(|| {
        let kind = value::type_name(&value);
        let way_out = if kind == "str" { ": use .encode()" } else { "" };
        raise("TypeError", format!("a bytes-like object is required, not '{kind}'{way_out}"))
    })
}

fn connecting(module: &mut NativeModule) {
    module
        .method::<Socket, _>("bind(address)", "Gives the socket an address.", |socket, call| {
            let address = socket.address_argument("bind", &call.required(0)?)?;
            let fd = socket.open().map_err(system_error)?;
            detached(|| rustix::net::bind(&fd, &address)).map_err(system_error)?;
            Ok(Dynamic::UNIT)
        })
        .method::<Socket, _>(
            "listen(backlog=128)",
            "Lets others connect; so many may wait to be accepted.",
            |socket, call| {
                let backlog = call.int_or(0, 128)?.clamp(0, i64::from(i32::MAX)) as i32;
                let fd = socket.open().map_err(system_error)?;
                rustix::net::listen(&fd, backlog).map_err(system_error)?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Socket, _>("accept()", "Waits for a connection: [socket, address].", |socket, call| {
            let (connection, address) = socket.accept(call.site())?;
            connection.set_timeout(super::default_timeout(call));
            Ok(vec![Dynamic::from(connection), address].into())
        })
        .method::<Socket, _>("connect(address)", "Connects to an address.", |socket, call| {
            let address = socket.address_argument("connect", &call.required(0)?)?;
            socket.connect(&address, call.site())?;
            Ok(Dynamic::UNIT)
        })
        .method::<Socket, _>(
            "connect_ex(address)",
            "Connects; returns the error number, 0 for success.",
            |socket, call| {
                let address = socket.address_argument("connect_ex", &call.required(0)?)?;
                match socket.connect(&address, call.site()) {
                    Ok(()) => Ok(0_i64.into()),
                    Err(Failure::System(error)) => Ok(i64::from(error.raw_os_error()).into()),
                    Err(Failure::TimedOut) => Ok(i64::from(libc::EAGAIN).into()),
                    Err(Failure::Raised(error)) => Err(error),
                }
            },
        );
}

fn receiving(module: &mut NativeModule) {
    module
        .method::<Socket, _>(
            "recv(bufsize, flags=0)",
            "Waits for bytes, no more than bufsize; none if the other side has closed.",
            |socket, call| {
                let (size, flags) = (size_argument(call, 0, "recv")?, receive_flags(call, 1)?);
                let (bytes, _) = socket.receive(size, flags, false, call.site())?;
                Ok(Dynamic::from_blob(bytes))
            },
        )
        .method::<Socket, _>(
            "recvfrom(bufsize, flags=0)",
            "Waits for bytes: [bytes, address of the sender].",
            |socket, call| {
                let (size, flags) = (size_argument(call, 0, "recvfrom")?, receive_flags(call, 1)?);
                let (bytes, address) = socket.receive(size, flags, true, call.site())?;
                Ok(vec![Dynamic::from_blob(bytes), address].into())
            },
        )
        .method::<Socket, _>(
            "recv_into(buffer, nbytes=0, flags=0)",
            "Waits for bytes and writes them into a bytearray; returns how many.",
            |socket, call| {
                let (length, _) = receive_into(socket, call, "recv_into", false)?;
                Ok(length.into())
            },
        )
        .method::<Socket, _>(
            "recvfrom_into(buffer, nbytes=0, flags=0)",
            "Waits for bytes and writes them into a bytearray: [how many, address of the sender].",
            |socket, call| {
                let (length, address) = receive_into(socket, call, "recvfrom_into", true)?;
                Ok(vec![length.into(), address].into())
            },
        );
}

fn receive_into(
    socket: &Socket,
    call: &mut Call,
    function: &str,
    with_address: bool,
) -> Outcome<(i64, Dynamic)> {
    let buffer = call.required(0)?;
    let Some(buffer) = buffer.read_lock::<ByteArray>().map(|buffer| buffer.clone()) else {
        let kind = value::type_name(&buffer);
        let text = format!("{function}() argument 1 must be read-write bytes-like object, not {kind}");
        return Err(raise("TypeError", text));
    };
    let size = call.int_or(1, 0)?;
    let size = usize::try_from(size)
        .map_err(|_| raise("ValueError", format!("negative buffersize in {function}")))?;
    let size = if size == 0 { buffer.len() } else { size };
    if size > buffer.len() {
        return Err(raise("ValueError", "buffer too small for requested bytes"));
    }
    let flags = receive_flags(call, 2)?;
    let (bytes, address) = socket.receive(size, flags, with_address, call.site())?;
    buffer.write_at(0, &bytes)?;
    Ok((bytes.len() as i64, address))
}

fn sending(module: &mut NativeModule) {
    module
        .method::<Socket, _>(
            "send(data, flags=0)",
            "Sends bytes, perhaps not all; returns how many.",
            |socket, call| {
                let (bytes, flags) = (bytes_argument(call, 0)?, send_flags(call, 1)?);
                let sent = socket.perform(call.site(), PollFlags::OUT, socket.patience(), |fd| {
                    rustix::net::send(fd, &bytes, flags)
                })?;
                Ok((sent as i64).into())
            },
        )
        .method::<Socket, _>("sendall(data, flags=0)", "Sends all of the bytes.", |socket, call| {
            let (bytes, flags) = (bytes_argument(call, 0)?, send_flags(call, 1)?);
            socket.send_all(&bytes, flags, call.site())?;
            Ok(Dynamic::UNIT)
        })
        .method::<Socket, _>(
            "sendto(*args)",
            "sendto(data, address) or sendto(data, flags, address): sends bytes to an address.",
            |socket, call| {
                let given = call.positional();
                if !(2..=3).contains(&given) {
                    let text = format!("sendto() takes 2 or 3 arguments ({given} given)");
                    return Err(raise("TypeError", text));
                }
                let mut args = call.rest(0);
                let address = args.pop().unwrap_or_default();
                let flags = match args.get(1) {
                    None => SendFlags::empty(),
                    Some(flags) => SendFlags::from_bits_retain(flags.as_int().map_err(|_| {
                        let kind = value::type_name(flags);
                        raise("TypeError", format!("'{kind}' object cannot be interpreted as an integer"))
                    })? as u32),
                };
                let bytes = bytes_of(&args[0]).ok_or_else(|| {
                    let kind = value::type_name(&args[0]);
                    raise("TypeError", format!("a bytes-like object is required, not '{kind}'"))
                })?;
                let address = socket.address_argument("sendto", &address)?;
                let sent = socket.perform(call.site(), PollFlags::OUT, socket.patience(), |fd| {
                    rustix::net::sendto(fd, &bytes, flags, &address)
                })?;
                Ok((sent as i64).into())
            },
        );
}

fn settings(module: &mut NativeModule) {
    module
        .method::<Socket, _>(
            "settimeout(value)",
            "How many seconds an operation may wait: None for ever, 0 for not at all.",
            |socket, call| {
                socket.set_timeout(timeout_argument(call, 0)?);
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Socket, _>("gettimeout()", "The timeout in seconds, or None.", |socket, _| {
            Ok(socket.timeout().map(Dynamic::from).unwrap_or_default())
        })
        .method::<Socket, _>(
            "setblocking(flag)",
            "settimeout(None) if true, settimeout(0) if not.",
            |socket, call| {
                let blocking = value::is_true(&call.required(0)?);
                socket.set_timeout(if blocking { None } else { Some(0.0) });
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Socket, _>("getblocking()", "Does the socket wait at all?", |socket, _| {
            Ok((socket.timeout() != Some(0.0)).into())
        })
        .method::<Socket, _>(
            "setsockopt(level, optname, value)",
            "Sets an option of the system's to a number or bytes.",
            |socket, call| {
                let (level, option) = (call.int(0)? as i32, call.int(1)? as i32);
                let value = call.required(2)?;
                let bytes = match (value.as_int(), value.as_bool(), bytes_of(&value)) {
                    (Ok(number), ..) => int_option(number)?.to_ne_bytes().to_vec(),
                    (_, Ok(flag), _) => i32::from(flag).to_ne_bytes().to_vec(),
                    (.., Some(bytes)) => bytes,
                    _ => {
                        let kind = value::type_name(&value);
                        let text = format!("setsockopt() value must be an integer or bytes, not '{kind}'");
                        return Err(raise("TypeError", text));
                    }
                };
                let fd = socket.open().map_err(system_error)?;
                options::set(fd.as_fd(), level, option, &bytes).map_err(|error| raise_io(&error, None))?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Socket, _>(
            "getsockopt(level, optname, buflen=0)",
            "The value of an option: a number, or bytes if buflen is given.",
            |socket, call| {
                let (level, option, size) = (call.int(0)? as i32, call.int(1)? as i32, call.int_or(2, 0)?);
                if !(0..=1024).contains(&size) {
                    return Err(raise("OSError", "getsockopt buflen out of range"));
                }
                let fd = socket.open().map_err(system_error)?;
                let wanted = if size == 0 { size_of::<i32>() } else { size as usize };
                let bytes = options::get(fd.as_fd(), level, option, wanted)
                    .map_err(|error| raise_io(&error, None))?;
                match <[u8; 4]>::try_from(&bytes[..]) {
                    Ok(number) if size == 0 => Ok(i64::from(i32::from_ne_bytes(number)).into()),
                    _ => Ok(Dynamic::from_blob(bytes)),
                }
            },
        )
        .method::<Socket, _>("getsockname()", "The socket's own address.", |socket, _| {
            let fd = socket.open().map_err(system_error)?;
            let address = rustix::net::getsockname(&fd).map_err(system_error)?;
            Ok(address::show(&address))
        })
        .method::<Socket, _>("getpeername()", "The address at the other end.", |socket, _| {
            let fd = socket.open().map_err(system_error)?;
            let address = rustix::net::getpeername(&fd).map_err(system_error)?;
            Ok(address.map(|address| address::show(&address)).unwrap_or_default())
        })
        .attribute::<Socket, _>("family", "The family of its addresses.", |socket| {
            Ok(i64::from(socket.family()).into())
        })
        .attribute::<Socket, _>("type", "SOCK_STREAM, SOCK_DGRAM, ….", |socket| {
            Ok(i64::from(socket.kind()).into())
        })
        .attribute::<Socket, _>("proto", "The protocol.", |socket| Ok(i64::from(socket.protocol()).into()))
        .attribute::<Socket, _>("timeout", "The timeout in seconds, or None.", |socket| {
            Ok(socket.timeout().map(Dynamic::from).unwrap_or_default())
        });
}

fn int_option(number: i64) -> Outcome<i32> {
    i32::try_from(number).map_err(|_| {
        raise("OverflowError", format!("Python int too large to convert to C int: the option {number}"))
    })
}

fn ending(module: &mut NativeModule) {
    module
        .method::<Socket, _>("fileno()", "The file descriptor, -1 once it is closed.", |socket, _| {
            Ok(socket.descriptor().map_or(-1, |fd| descriptors::lend(&fd)).into())
        })
        .method::<Socket, _>(
            "detach()",
            "Closes the socket but not its descriptor, which it returns: os.close() closes that.",
            |socket, _| Ok(socket.take().map_or(-1, descriptors::give).into()),
        )
        .method::<Socket, _>("dup()", "Another socket on a copy of the descriptor.", |socket, _| {
            let fd = socket.open().map_err(system_error)?;
            let copy = fd.try_clone().map_err(|error| raise_io(&error, None))?;
            let copy = Socket::new(Arc::new(copy), socket.family(), socket.kind(), socket.protocol())
                .map_err(|error| raise_io(&error, None))?;
            copy.set_timeout(socket.timeout());
            Ok(Dynamic::from(copy))
        })
        .method::<Socket, _>(
            "shutdown(how)",
            "Ends sending, receiving or both, at every process that has the socket.",
            |socket, call| {
                let how = match call.int(0)? {
                    0 => Shutdown::Read,
                    1 => Shutdown::Write,
                    2 => Shutdown::Both,
                    _ => return Err(system_error(Errno::INVAL)),
                };
                let fd = socket.open().map_err(system_error)?;
                rustix::net::shutdown(&fd, how).map_err(system_error)?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Socket, _>("close()", "Closes the socket; waits for it end with EBADF.", |socket, _| {
            // Closing may wait, for a connection that is to linger.
            detached(|| drop(socket.take()));
            Ok(Dynamic::UNIT)
        })
        .method::<Socket, _>(
            "makefile(mode='r', buffering=-1, *, encoding=None, errors=None, newline=None)",
            "A file that reads from the socket (r), writes to it (w) or both (rw), as text or bytes (b).",
            makefile,
        )
        .method::<Socket, _>("__enter__()", "Enters `with`: the socket itself.", |socket, _| {
            Ok(Dynamic::from(socket.clone()))
        })
        .method::<Socket, _>("__exit__(error=None)", "Leaves `with`: closes the socket.", |socket, _| {
            detached(|| drop(socket.take()));
            Ok(Dynamic::UNIT)
        });
}

fn makefile(socket: &Socket, call: &mut Call) -> Outcome<Dynamic> {
    let mode = call.optional_text(0)?.unwrap_or_else(|| "r".into());
    let mode = io::Mode::of_socket(&mode)?;
    let fd = socket.open().map_err(system_error)?;
    let format = io::format_for(call, mode, 1)?;
    let copy = fd.try_clone().map_err(|error| raise_io(&error, None))?;
    let file = io::File::new(copy.into(), fd.as_raw_fd().to_string(), format);
    Ok(Dynamic::from(file.map_err(|error| raise_io(&error, None))?))
}
