//! Names and numbers of hosts and services: `getaddrinfo`, `gethostbyname`, `inet_aton`, `htons`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dns_lookup::{AddrInfo, AddrInfoHints, LookupError};
use rhai::Dynamic;

use super::address::{host_address, show_internet};
use crate::language::exception::{Class, Exception, Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::io::bytes_of;
use crate::runtime::detached;

/// Looks a host and a service up. Blocks, without the interpreter lock; Ctrl-C comes after the answer.
///
/// # Errors
/// gaierror, and OSError where the system says no.
pub fn resolve(
    host: Option<&str>,
    service: Option<&str>,
    family: i32,
    kind: i32,
    protocol: i32,
    flags: i32,
) -> Outcome<Vec<AddrInfo>> {
    if let Some(text) = [host, service].into_iter().flatten().find(|text| text.contains('\0')) {
        let shown = value::repr(&text.to_string().into());
        return Err(raise("ValueError", format!("embedded null character in {shown}")));
    }
    let hints = AddrInfoHints { flags, address: family, socktype: kind, protocol };
    let found = detached(|| {
        let found = dns_lookup::getaddrinfo(host, service, Some(hints))?;
        Ok(found.filter_map(Result::ok).collect::<Vec<_>>())
    });
    found.map_err(failed)
}

fn failed(error: LookupError) -> Box<rhai::EvalAltResult> {
    let number = error.error_num();
    let error = std::io::Error::from(error);
    if number == libc::EAI_SYSTEM || error.raw_os_error().is_some() {
        return raise_io(&error, None);
    }
    let text = error.to_string();
    let text = text.split_once("information: ").map_or(text.as_str(), |(_, text)| text);
    let class = Class::in_module("socket", "gaierror").expect("a class of socket");
    Exception::numbered(class, number, text, "").into_error()
}

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .function(
            "getaddrinfo(host, port, family=0, type=0, proto=0, flags=0)",
            "Looks up a host and a service: arrays [family, type, proto, canonname, address].",
            getaddrinfo,
        )
        .function("gethostbyname(hostname)", "The IPv4 address of a host, as a text.", |call| {
            let name = call.text(0)?;
            Ok(host_address(&name, libc::AF_INET)?.to_string().into())
        })
        .function("gethostname()", "The name of this machine.", |_| {
            Ok(rustix::system::uname().nodename().to_string_lossy().into_owned().into())
        })
        .function("getfqdn(name='')", "The full name of a host, as far as it is known.", |call| {
            let name = call.optional_text(0)?.filter(|name| !name.is_empty());
            let name = name.map_or_else(
                || rustix::system::uname().nodename().to_string_lossy().into_owned(),
                |name| name.to_string(),
            );
            let found = resolve(Some(&name), None, 0, 0, 0, libc::AI_CANONNAME).unwrap_or_default();
            Ok(found.into_iter().find_map(|info| info.canonname).unwrap_or(name).into())
        })
        .function("getservbyname(servicename, protocolname='tcp')", "The port of a service.", |call| {
            let (name, protocol) = (call.text(0)?, call.optional_text(1)?);
            let kind = if protocol.as_deref() == Some("udp") { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
            let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
            let found = match is_number {
                true => Vec::new(),
                false => resolve(None, Some(&name), libc::AF_INET, kind, 0, 0).unwrap_or_default(),
            };
            match found.first() {
                Some(info) => Ok(i64::from(info.sockaddr.port()).into()),
                None => Err(raise("OSError", format!("service/proto not found: {name}"))),
            }
        });
    numbers(module);
}

fn getaddrinfo(call: &mut Call) -> Outcome<Dynamic> {
    let host = call.required(0)?;
    let host = match bytes_of(&host) {
        Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        None if host.is_unit() => None,
        None if host.is_string() || host.is_char() => Some(value::str(&host)),
        None => return Err(raise("TypeError", "getaddrinfo() argument 1 must be string or None")),
    };
    let port = call.required(1)?;
    let service = match () {
        () if port.is_unit() => None,
        () if port.is_int() || port.is_string() || port.is_char() => Some(value::str(&port)),
        () => return Err(raise("OSError", "Int or String expected")),
    };
    let mut number = |index| call.int_or(index, 0).map(|number| number as i32);
    let (family, kind, protocol, flags) = (number(2)?, number(3)?, number(4)?, number(5)?);
    let found = match (&host, &service) {
        (None, None) => return Err(failed(LookupError::new(libc::EAI_NONAME))),
        _ => resolve(host.as_deref(), service.as_deref(), family, kind, protocol, flags)?,
    };
    let shown = found.into_iter().map(|info| {
        let parts: Vec<Dynamic> = vec![
            i64::from(info.address).into(),
            i64::from(info.socktype).into(),
            i64::from(info.protocol).into(),
            info.canonname.unwrap_or_default().into(),
            show_internet(&info.sockaddr),
        ];
        parts.into()
    });
    Ok(shown.collect::<Vec<Dynamic>>().into())
}

fn numbers(module: &mut NativeModule) {
    module
        .function("inet_aton(ip_string)", "An IPv4 address as four bytes.", |call| {
            let text = call.text(0)?;
            match parse_ipv4(&text) {
                Some(number) => Ok(Dynamic::from_blob(number.to_be_bytes().to_vec())),
                None => Err(raise("OSError", "illegal IP address string passed to inet_aton")),
            }
        })
        .function("inet_ntoa(packed_ip)", "Four bytes as an IPv4 address.", |call| {
            let bytes = packed(call, 0)?;
            let bytes: [u8; 4] =
                bytes.try_into().map_err(|_| raise("OSError", "packed IP wrong length for inet_ntoa"))?;
            Ok(Ipv4Addr::from(bytes).to_string().into())
        })
        .function("inet_pton(address_family, ip_string)", "An address as bytes.", |call| {
            let (family, text) = (call.int(0)?, call.text(1)?);
            let illegal = || raise("OSError", "illegal IP address string passed to inet_pton");
            match i32::try_from(family) {
                Ok(libc::AF_INET) => {
                    let address: Ipv4Addr = text.parse().map_err(|_| illegal())?;
                    Ok(Dynamic::from_blob(address.octets().to_vec()))
                }
                Ok(libc::AF_INET6) => {
                    let address: Ipv6Addr = text.parse().map_err(|_| illegal())?;
                    Ok(Dynamic::from_blob(address.octets().to_vec()))
                }
                _ => Err(raise("OSError", "[Errno 97] Address family not supported by protocol")),
            }
        })
        .function("inet_ntop(address_family, packed_ip)", "Bytes as an address.", |call| {
            let family = call.int(0)?;
            let bytes = packed(call, 1)?;
            let wrong = |_| raise("ValueError", "invalid length of packed IP address string");
            let address: IpAddr = match i32::try_from(family) {
                Ok(libc::AF_INET) => <[u8; 4]>::try_from(bytes).map_err(wrong)?.into(),
                Ok(libc::AF_INET6) => <[u8; 16]>::try_from(bytes).map_err(wrong)?.into(),
                _ => return Err(raise("ValueError", format!("unknown address family {family}"))),
            };
            Ok(address.to_string().into())
        })
        .function("htons(x)", "A 16-bit number in the order of bytes of the network.", |call| {
            Ok(i64::from(short(call, "htons")?.to_be()).into())
        })
        .function("ntohs(x)", "A 16-bit number from the order of bytes of the network.", |call| {
            Ok(i64::from(u16::from_be(short(call, "ntohs")?)).into())
        })
        .function("htonl(x)", "A 32-bit number in the order of bytes of the network.", |call| {
            Ok(i64::from(long(call)?.to_be()).into())
        })
        .function("ntohl(x)", "A 32-bit number from the order of bytes of the network.", |call| {
            Ok(i64::from(u32::from_be(long(call)?)).into())
        });
}

fn packed(call: &mut Call, index: usize) -> Outcome<Vec<u8>> {
    let value = call.required(index)?;
    bytes_of(&value).ok_or_else(|| {
        let kind = value::type_name(&value);
        raise("TypeError", format!("a bytes-like object is required, not '{kind}'"))
    })
}

fn short(call: &mut Call, name: &str) -> Outcome<u16> {
    let number = call.int(0)?;
    u16::try_from(number).map_err(|_| {
        let problem = match number < 0 {
            true => "can't convert negative Python int to",
            false => "Python int too large to convert to",
        };
        raise("OverflowError", format!("{name}: {problem} C 16-bit unsigned integer: {number}"))
    })
}

fn long(call: &mut Call) -> Outcome<u32> {
    let number = call.int(0)?;
    u32::try_from(number).map_err(|_| match number < 0 {
        true => raise("OverflowError", "can't convert negative value to unsigned int"),
        false => raise("OverflowError", "int larger than 32 bits"),
    })
}

/// Reads an address as inet_aton(3) does: up to four parts, decimal, octal or hexadecimal, the last of which
/// fills the rest.
fn parse_ipv4(text: &str) -> Option<u32> {
    let parts: Vec<u32> = text.split('.').map(parse_part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * first.len() as u32;
    if u64::from(*last) >= 1_u64 << room {
        return None;
    }
    let high = first.iter().enumerate().fold(0, |all, (at, part)| all | part << (24 - 8 * at));
    Some(high | last)
}

fn parse_part(part: &str) -> Option<u32> {
    if !part.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_ipv4;

    #[test]
    fn addresses_of_one_to_four_parts() {
        assert_eq!(parse_ipv4("127.0.0.1"), Some(0x7f00_0001));
        assert_eq!(parse_ipv4("1.2"), Some(0x0100_0002));
        assert_eq!(parse_ipv4("10.0x10.010"), Some(0x0a10_0008));
        assert_eq!(parse_ipv4("4294967295"), Some(u32::MAX));
        for wrong in ["", "x", "1.2.3.4.5", "256.0.0.1", "1..2", "1.2.3.256", "4294967296", "+1"] {
            assert_eq!(parse_ipv4(wrong), None, "{wrong}");
        }
    }
}
