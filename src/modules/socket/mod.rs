//! `socket`: TCP, UDP and Unix sockets.

pub(crate) mod address;
mod handle;
mod methods;
mod options;
mod resolve;
mod travel;

use std::os::fd::OwnedFd;

use rhai::Dynamic;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

use crate::language::exception::{Class, Exception, Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::types::Type;
use crate::language::value;
use crate::modules::os::descriptors;
use crate::runtime::Site;
use crate::runtime::sync::{Arc, Mutex};
pub use handle::{Failure, Socket};

/// The timeout of sockets that are made from now on, per interpreter.
#[derive(Default)]
struct DefaultTimeout(Mutex<Option<f64>>);

fn default_timeout(call: &Call) -> Option<f64> {
    *call.realm().extension::<DefaultTimeout>().0.lock()
}

const CONSTANTS: &[(&str, i32, &str)] = &[
    ("AF_INET", libc::AF_INET, "IPv4 addresses: [host, port]."),
    ("AF_INET6", libc::AF_INET6, "IPv6 addresses: [host, port, flowinfo, scopeid]."),
    ("AF_UNIX", libc::AF_UNIX, "Paths of this machine's file system."),
    ("AF_UNSPEC", libc::AF_UNSPEC, "Addresses of any family."),
    ("SOCK_STREAM", libc::SOCK_STREAM, "A connection: bytes in order."),
    ("SOCK_DGRAM", libc::SOCK_DGRAM, "Single messages."),
    ("SOCK_SEQPACKET", libc::SOCK_SEQPACKET, "A connection: messages in order."),
    ("SOCK_RAW", libc::SOCK_RAW, "Packets of the network."),
    ("SOL_SOCKET", libc::SOL_SOCKET, "The level of options of any socket."),
    ("SOL_TCP", libc::IPPROTO_TCP, "The level of options of TCP."),
    ("SO_REUSEADDR", libc::SO_REUSEADDR, "An address that was just in use may be bound."),
    ("SO_REUSEPORT", libc::SO_REUSEPORT, "Several sockets may be bound to an address."),
    ("SO_KEEPALIVE", libc::SO_KEEPALIVE, "Looks whether the other end is still there."),
    ("SO_RCVBUF", libc::SO_RCVBUF, "How much may wait to be received."),
    ("SO_SNDBUF", libc::SO_SNDBUF, "How much may wait to be sent."),
    ("SO_BROADCAST", libc::SO_BROADCAST, "Messages to everybody are allowed."),
    ("SO_LINGER", libc::SO_LINGER, "What closing does with bytes that were not sent."),
    ("SO_ERROR", libc::SO_ERROR, "The error of what went on in the background."),
    ("SO_TYPE", libc::SO_TYPE, "The socket's type."),
    ("SO_ACCEPTCONN", libc::SO_ACCEPTCONN, "Does it listen?"),
    ("SO_RCVTIMEO", libc::SO_RCVTIMEO, "The system's own timeout: use settimeout()."),
    ("SO_SNDTIMEO", libc::SO_SNDTIMEO, "The system's own timeout: use settimeout()."),
    ("SO_OOBINLINE", libc::SO_OOBINLINE, "Urgent bytes come among the others."),
    ("IPPROTO_IP", libc::IPPROTO_IP, "The level of options of IPv4."),
    ("IPPROTO_IPV6", libc::IPPROTO_IPV6, "The level of options of IPv6."),
    ("IPPROTO_TCP", libc::IPPROTO_TCP, "TCP, and the level of its options."),
    ("IPPROTO_UDP", libc::IPPROTO_UDP, "UDP, and the level of its options."),
    ("IPV6_V6ONLY", libc::IPV6_V6ONLY, "No IPv4 connections."),
    ("TCP_NODELAY", libc::TCP_NODELAY, "Small pieces are sent at once."),
    ("TCP_KEEPIDLE", libc::TCP_KEEPIDLE, "After how many idle seconds SO_KEEPALIVE looks."),
    ("TCP_KEEPINTVL", libc::TCP_KEEPINTVL, "How many seconds between two looks."),
    ("TCP_KEEPCNT", libc::TCP_KEEPCNT, "After how many looks the other end is gone."),
    ("SHUT_RD", libc::SHUT_RD, "No more receiving."),
    ("SHUT_WR", libc::SHUT_WR, "No more sending."),
    ("SHUT_RDWR", libc::SHUT_RDWR, "Neither."),
    ("SOMAXCONN", libc::SOMAXCONN, "The longest queue of connections."),
    ("MSG_PEEK", libc::MSG_PEEK, "Leaves the bytes to be received again."),
    ("MSG_WAITALL", libc::MSG_WAITALL, "All bytes or none, as far as they are there."),
    ("MSG_DONTWAIT", libc::MSG_DONTWAIT, "Without waiting in the system, as always here."),
    ("MSG_OOB", libc::MSG_OOB, "Urgent bytes."),
    ("MSG_NOSIGNAL", libc::MSG_NOSIGNAL, "No SIGPIPE, as always here."),
    ("AI_PASSIVE", libc::AI_PASSIVE, "An address to bind."),
    ("AI_CANONNAME", libc::AI_CANONNAME, "The full name, too."),
    ("AI_NUMERICHOST", libc::AI_NUMERICHOST, "The host is a number: no look-up."),
    ("EAI_NONAME", libc::EAI_NONAME, "gaierror: no such name."),
    ("EAI_AGAIN", libc::EAI_AGAIN, "gaierror: not now."),
];

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("socket");
    for (name, value, doc) in CONSTANTS {
        module.constant(name, doc, i64::from(*value));
    }
    module
        .exceptions()
        .constant("has_ipv6", "Are there IPv6 sockets?", true)
        .constant("INADDR_ANY", "Every address of this machine, as a number.", 0_i64)
        .constant("error", "OSError.", Dynamic::from(Type::Exception(Class::known("OSError"))))
        .constant("timeout", "TimeoutError.", Dynamic::from(Type::Exception(Class::known("TimeoutError"))))
        .class(
            "socket(family=-1, type=-1, proto=-1, fileno=None)",
            "A new socket, of IPv4 and TCP unless something else is asked for.",
            new,
        )
        .function("socketpair(family=1, type=1, proto=0)", "Two connected sockets.", socketpair)
        .function(
            "create_connection(address, timeout=None, source_address=None)",
            "A socket that is connected to [host, port], by the first address of the host that answers.",
            create_connection,
        )
        .function(
            "create_server(address, *, family=2, backlog=128, reuse_port=False)",
            "A socket that listens at an address.",
            create_server,
        )
        .function("getdefaulttimeout()", "The timeout of new sockets.", |call| {
            Ok(default_timeout(call).map(Dynamic::from).unwrap_or_default())
        })
        .function("setdefaulttimeout(timeout)", "The timeout of sockets made from now on.", |call| {
            let timeout = methods::timeout_argument(call, 0)?;
            *call.realm().extension::<DefaultTimeout>().0.lock() = timeout;
            Ok(Dynamic::UNIT)
        });
    resolve::register(&mut module);
    methods::register(&mut module);
    crate::ipc::codec::register::<Socket>();
    module
}

fn system_error(error: Errno) -> Box<rhai::EvalAltResult> {
    raise_io(&error.into(), None)
}

/// A number that the system knows a family, a type or a protocol by; `default` for -1.
fn number(call: &mut Call, index: usize, default: i32) -> Outcome<i32> {
    let given = call.int_or(index, -1)?;
    Ok(if given == -1 { default } else { i32::try_from(given).unwrap_or(i32::MAX) })
}

fn open(family: i32, kind: i32, protocol: i32) -> Outcome<Socket> {
    let unknown = || system_error(Errno::AFNOSUPPORT);
    let raw_family = AddressFamily::from_raw(u16::try_from(family).map_err(|_| unknown())?);
    let raw_kind = SocketType::from_raw(kind as u32);
    let raw_protocol = std::num::NonZeroU32::new(protocol as u32).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(raw_family, raw_kind, flags, raw_protocol).map_err(system_error)?;
    wrap(fd, family, kind, protocol)
}

fn wrap(fd: OwnedFd, family: i32, kind: i32, protocol: i32) -> Outcome<Socket> {
    Socket::new(Arc::new(fd), family, kind, protocol).map_err(|error| raise_io(&error, None))
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let socket = match call.argument(3).filter(|fileno| !fileno.is_unit()) {
        None => {
            let (family, kind) = (number(call, 0, libc::AF_INET)?, number(call, 1, libc::SOCK_STREAM)?);
            open(family, kind, number(call, 2, 0)?)?
        }
        Some(fileno) => {
            let fd = fileno.as_int().ok().and_then(descriptors::take);
            let fd = fd.ok_or_else(|| system_error(Errno::BADF))?;
            match Socket::from_fd(Arc::clone(&fd)) {
                Ok(socket) => socket,
                Err(error) => {
                    descriptors::give(fd);
                    return Err(raise_io(&error, None));
                }
            }
        }
    };
    socket.set_timeout(default_timeout(call));
    Ok(Dynamic::from(socket))
}

fn socketpair(call: &mut Call) -> Outcome<Dynamic> {
    let (family, kind) = (number(call, 0, libc::AF_UNIX)?, number(call, 1, libc::SOCK_STREAM)?);
    let protocol = number(call, 2, 0)?;
    let raw_family = u16::try_from(family).map_err(|_| system_error(Errno::AFNOSUPPORT))?;
    let (a, b) = rustix::net::socketpair(
        AddressFamily::from_raw(raw_family),
        SocketType::from_raw(kind as u32),
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        std::num::NonZeroU32::new(protocol as u32).map(Protocol::from_raw),
    )
    .map_err(system_error)?;
    let timeout = default_timeout(call);
    let pair = [a, b].into_iter().map(|fd| {
        let socket = wrap(fd, family, kind, protocol)?;
        socket.set_timeout(timeout);
        Ok(Dynamic::from(socket))
    });
    Ok(pair.collect::<Outcome<Vec<Dynamic>>>()?.into())
}

fn create_connection(call: &mut Call) -> Outcome<Dynamic> {
    let address = call.required(0)?;
    let parts = value::sequence(&address).filter(|parts| parts.len() == 2);
    let Some([host, port]) = parts.as_deref() else {
        let shown = value::repr(&address);
        return Err(raise("TypeError", format!("create_connection() takes [host, port], not {shown}")));
    };
    let (host, port) = (value::str(host), value::str(port));
    let timeout = match call.positional() > 1 || call.has_keyword("timeout") {
        true => methods::timeout_argument(call, 1)?,
        false => default_timeout(call),
    };
    let source = call.argument(2).filter(|source| !source.is_unit());
    let socket = connect_to(&host, &port, timeout, source.as_ref(), call.site())?;
    Ok(Dynamic::from(socket?))
}

/// A socket that is connected by the first address of the host that answers, from the address `source` if one is
/// given. It waits for each address until the timeout, which the socket keeps.
///
/// # Errors
/// gaierror for a host that is not known, and what keeps a socket from being made; the failure is the last
/// address's.
pub fn connect_to(
    host: &str,
    port: &str,
    timeout: Option<f64>,
    source: Option<&Dynamic>,
    site: Site,
) -> Outcome<Result<Socket, Failure>> {
    let mut last = None;
    for info in resolve::resolve(Some(host), Some(port), 0, libc::SOCK_STREAM, 0, 0)? {
        let socket = open(info.address, info.socktype, info.protocol)?;
        socket.set_timeout(timeout);
        if let Some(source) = source {
            let source = address::read("bind", info.address, source)?;
            let fd = socket.open().map_err(system_error)?;
            rustix::net::bind(&fd, &source).map_err(system_error)?;
        }
        match socket.connect(&info.sockaddr.into(), site) {
            Ok(()) => return Ok(Ok(socket)),
            Err(Failure::Raised(error)) => return Err(error),
            Err(failure) => last = Some(failure),
        }
    }
    last.map_or_else(
        || Err(raise("OSError", "getaddrinfo returns an empty list")),
        |failure| Ok(Err(failure)),
    )
}

fn create_server(call: &mut Call) -> Outcome<Dynamic> {
    let address = call.required(0)?;
    let family = number(call, 1, libc::AF_INET)?;
    let backlog = call.int_or(2, 128)?.clamp(0, i64::from(i32::MAX)) as i32;
    let reuse_port = call.bool_or(3, false);
    let socket = open(family, libc::SOCK_STREAM, 0)?;
    socket.set_timeout(default_timeout(call));
    let bound = address::read("bind", family, &address)?;
    let fd = socket.open().map_err(system_error)?;
    if family != libc::AF_UNIX {
        rustix::net::sockopt::set_socket_reuseaddr(&fd, true).map_err(system_error)?;
    }
    if reuse_port {
        rustix::net::sockopt::set_socket_reuseport(&fd, true).map_err(system_error)?;
    }
    if family == libc::AF_INET6 {
        rustix::net::sockopt::set_ipv6_v6only(&fd, true).map_err(system_error)?;
    }
    rustix::net::bind(&fd, &bound).map_err(|error| {
        let plain = Exception::from_io(&error.into(), None);
        let text = plain.args().get(1).map(value::str).unwrap_or_default();
        let shown = address::shown(&bound).unwrap_or_default();
        let text = format!("{text} (while attempting to bind on address {shown})");
        Exception::numbered(plain.class(), error.raw_os_error(), &text, "").into_error()
    })?;
    rustix::net::listen(&fd, backlog).map_err(system_error)?;
    Ok(Dynamic::from(socket))
}
