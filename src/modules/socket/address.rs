//! Addresses as scripts write them: `["127.0.0.1", 8080]`, `["::1", 8080, 0, 0]`, `"/tmp/socket"`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rhai::Dynamic;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use super::resolve::resolve;
use crate::language::exception::{Outcome, raise};
use crate::language::text::str_repr::{bytes_repr, str_repr};
use crate::language::value;
use crate::modules::io::bytes_of;

/// The address that a script gave to `function` of a socket of the family. Looking up a name blocks.
///
/// # Errors
/// TypeError, OverflowError for a port out of range, gaierror for a name that is not known.
pub fn read(function: &str, family: i32, address: &Dynamic) -> Outcome<SocketAddrAny> {
    match family {
        libc::AF_INET => {
            let parts = parts(function, "AF_INET", address)?;
            let [host, port] = &parts[..] else {
                return Err(raise("TypeError", "AF_INET address must be a pair (host, port)"));
            };
            let port = read_port(function, port)?;
            Ok(SocketAddr::new(read_host(host, family)?, port).into())
        }
        libc::AF_INET6 => {
            let parts = parts(function, "AF_INET6", address)?;
            if !(2..=4).contains(&parts.len()) {
                let text = "AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])";
                return Err(raise("TypeError", text));
            }
            let port = read_port(function, &parts[1])?;
            let flow = read_small(function, "flowinfo", parts.get(2), 0xf_ffff)?;
            let scope = read_small(function, "scopeid", parts.get(3), u32::MAX)?;
            match read_host(&parts[0], family)? {
                IpAddr::V6(host) => Ok(SocketAddrV6::new(host, port, flow, scope).into()),
                IpAddr::V4(host) => Ok(SocketAddr::new(host.into(), port).into()),
            }
        }
        libc::AF_UNIX => read_path(address),
        _ => Err(raise("OSError", format!("{function}(): bad family: {family}"))),
    }
}

fn parts(function: &str, family: &str, address: &Dynamic) -> Outcome<Vec<Dynamic>> {
    value::sequence(address).ok_or_else(|| {
        let (kind, shown) = (value::type_name(address), value::repr(address));
        raise("TypeError", format!("{function}(): {family} address must be tuple, not {kind}: {shown}"))
    })
}

fn integer(number: &Dynamic) -> Outcome<i64> {
    number.as_int().map_err(|_| {
        let (kind, shown) = (value::type_name(number), value::repr(number));
        raise("TypeError", format!("'{kind}' object cannot be interpreted as an integer: {shown}"))
    })
}

fn read_port(function: &str, port: &Dynamic) -> Outcome<u16> {
    u16::try_from(integer(port)?)
        .map_err(|_| raise("OverflowError", format!("{function}(): port must be 0-65535.")))
}

fn read_small(function: &str, what: &str, number: Option<&Dynamic>, most: u32) -> Outcome<u32> {
    let Some(number) = number else { return Ok(0) };
    let in_range = u32::try_from(integer(number)?).ok().filter(|number| *number <= most);
    in_range.ok_or_else(|| raise("OverflowError", format!("{function}(): {what} must be 0-{most}.")))
}

fn read_host(host: &Dynamic, family: i32) -> Outcome<IpAddr> {
    let name = match bytes_of(host) {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None if host.is_string() || host.is_char() => value::str(host),
        None => {
            let kind = value::type_name(host);
            return Err(raise("TypeError", format!("str, bytes or bytearray expected, not {kind}")));
        }
    };
    host_address(&name, family)
}

/// The address of a host: a number, a name to look up, or nothing for every address of this machine.
///
/// # Errors
/// gaierror.
pub fn host_address(name: &str, family: i32) -> Outcome<IpAddr> {
    match (name, family) {
        ("", libc::AF_INET6) => return Ok(Ipv6Addr::UNSPECIFIED.into()),
        ("", _) => return Ok(Ipv4Addr::UNSPECIFIED.into()),
        ("<broadcast>", libc::AF_INET) => return Ok(Ipv4Addr::BROADCAST.into()),
        _ => {}
    }
    match name.parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() == (family == libc::AF_INET6) => Ok(address),
        _ => {
            let found = resolve(Some(name), None, family, 0, 0, 0)?;
            let first = found.first().map(|info| info.sockaddr.ip());
            first.ok_or_else(|| raise("OSError", format!("no address of {name} is of the socket's family")))
        }
    }
}

fn read_path(address: &Dynamic) -> Outcome<SocketAddrAny> {
    let path = match bytes_of(address) {
        Some(bytes) => bytes,
        None if address.is_string() || address.is_char() => value::str(address).into_bytes(),
        None => {
            let kind = value::type_name(address);
            return Err(raise("TypeError", format!("a bytes-like object is required, not '{kind}'")));
        }
    };
    let made = match &path[..] {
        [] => Ok(SocketAddrUnix::new_unnamed()),
        [0, name @ ..] => SocketAddrUnix::new_abstract_name(name),
        path => SocketAddrUnix::new(path),
    };
    made.map(SocketAddrAny::from).map_err(|_| match path.contains(&0) && path[0] != 0 {
        true => raise("ValueError", "embedded null byte"),
        false => raise("OSError", "AF_UNIX path too long"),
    })
}

/// An address as scripts see it: an array, or the path of a Unix socket.
pub fn show(address: &SocketAddrAny) -> Dynamic {
    match Known::of(address) {
        Known::Internet(address) => show_internet(&address),
        Known::Path(path) => path.into(),
        Known::Abstract(name) => Dynamic::from_blob(name),
        Known::Other => Dynamic::UNIT,
    }
}

/// An internet address as scripts see it.
pub fn show_internet(address: &SocketAddr) -> Dynamic {
    let mut parts: Vec<Dynamic> = vec![address.ip().to_string().into(), i64::from(address.port()).into()];
    if let SocketAddr::V6(address) = address {
        parts.push(i64::from(address.flowinfo()).into());
        parts.push(i64::from(address.scope_id()).into());
    }
    parts.into()
}

/// An address as the socket's repr shows it; nothing if there is none.
pub fn shown(address: &SocketAddrAny) -> Option<String> {
    match Known::of(address) {
        Known::Internet(address) => {
            let parts = show_internet(&address);
            let parts: Vec<_> = value::sequence(&parts)?.iter().map(value::repr).collect();
            Some(format!("({})", parts.join(", ")))
        }
        Known::Path(path) if path.is_empty() => None,
        Known::Path(path) => Some(str_repr(&path)),
        Known::Abstract(name) => Some(bytes_repr(&name)),
        Known::Other => None,
    }
}

/// An address of a kind that is known here.
enum Known {
    Internet(SocketAddr),
    /// A path, empty for a socket without a name.
    Path(String),
    /// A name that is in no file system, with the zero that it begins with.
    Abstract(Vec<u8>),
    Other,
}

impl Known {
    fn of(address: &SocketAddrAny) -> Self {
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Self::Internet(address);
        }
        let Ok(address) = SocketAddrUnix::try_from(address.clone()) else { return Self::Other };
        match (address.path_bytes(), address.abstract_name().filter(|name| !name.is_empty())) {
            (Some(path), _) => Self::Path(String::from_utf8_lossy(path).into_owned()),
            (None, Some(name)) => Self::Abstract([&[0], name].concat()),
            (None, None) => Self::Path(String::new()),
        }
    }
}
