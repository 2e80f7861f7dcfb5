//! The exceptions of `requests`, with the messages that it and urllib3 give them.

use rhai::{Dynamic, EvalAltResult};
use rustix::io::Errno;

use super::response::Response;
use super::stream::Trouble;
use super::target::Target;
use crate::language::exception::{Class, Exception};
use crate::language::text::str_repr::{bytes_repr, str_repr};

/// The module that defines them.
pub const MODULE: &str = "requests.exceptions";
/// Those that `requests` itself has as well.
pub const SHORT_NAMES: &[&str] = &[
    "ConnectTimeout",
    "ConnectionError",
    "HTTPError",
    "JSONDecodeError",
    "ReadTimeout",
    "RequestException",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
];

type Error = Box<EvalAltResult>;

fn class(name: &str) -> &'static Class {
    Class::in_module(MODULE, name).expect("a class of requests.exceptions")
}

/// An exception of the class; there is no response.
pub fn exception(name: &str, message: impl Into<String>) -> Exception {
    let exception = Exception::new(class(name), message);
    exception.set_attribute("response", Dynamic::UNIT);
    exception
}

/// The same as an error.
pub fn fail(name: &str, message: impl Into<String>) -> Error {
    exception(name, message).into_error()
}

/// An error because of a response.
pub fn fail_with(name: &str, message: impl Into<String>, response: &Response) -> Error {
    let exception = exception(name, message);
    exception.set_attribute("response", Dynamic::from(response.clone()));
    exception.into_error()
}

/// The error for JSON that is none: with the attributes of the one that the decoder raised.
pub fn json_error(cause: &Exception) -> Error {
    let exception = exception("JSONDecodeError", cause.message());
    for (name, value) in cause.attributes() {
        exception.set_attribute(&name, value);
    }
    exception.into_error()
}

/// An error of the system's as Python shows it: `ConnectionResetError(104, 'Connection reset by peer')`.
fn shown(errno: Errno) -> String {
    Exception::from_io(&errno.into(), None).repr()
}

/// The exception for what went wrong on the way to a URL and back.
pub fn trouble(trouble: Trouble, target: &Target, timeouts: [Option<&str>; 2]) -> Error {
    let pool = format!("HTTPConnectionPool(host={}, port={})", str_repr(target.host()), target.port());
    let path = target.path();
    // Nobody can look at the connection; its place in memory is part of the message.
    let object = format!("<urllib3.connection.HTTPConnection object at {target:p}>");
    let not_connected = |text: &str| {
        let cause = format!("'{object}: Failed to establish a new connection: {text}'");
        let text =
            format!("{pool}: Max retries exceeded with url: {path} (Caused by NewConnectionError({cause}))");
        fail("ConnectionError", text)
    };
    let aborted = |cause: &str| fail("ConnectionError", format!("('Connection aborted.', {cause})"));
    let broken = |cause: &str| {
        let text = str_repr(&format!("Connection broken: {cause}"));
        fail("ChunkedEncodingError", format!("({text}, {cause})"))
    };
    let [connect, read] = timeouts.map(|timeout| timeout.unwrap_or("None"));
    match trouble {
        Trouble::Raised(error) => error,
        Trouble::NotFound(error) => not_connected(error.message()),
        Trouble::NotConnected(errno) => not_connected(Exception::from_io(&errno.into(), None).message()),
        Trouble::ConnectTimeout => {
            let host = target.host();
            let cause = format!("'Connection to {host} timed out. (connect timeout={connect})'");
            let cause = format!("ConnectTimeoutError({object}, {cause})");
            let text = format!("{pool}: Max retries exceeded with url: {path} (Caused by {cause})");
            fail("ConnectTimeout", text)
        }
        Trouble::ReadTimeout { in_body: false } => {
            fail("ReadTimeout", format!("{pool}: Read timed out. (read timeout={read})"))
        }
        Trouble::ReadTimeout { in_body: true } => fail("ConnectionError", format!("{pool}: Read timed out.")),
        Trouble::Broken { errno, in_body: false } => aborted(&shown(errno)),
        Trouble::Broken { errno, in_body: true } => broken(&shown(errno)),
        Trouble::NoAnswer => aborted("RemoteDisconnected('Remote end closed connection without response')"),
        Trouble::BadStatusLine(line) => aborted(&format!("BadStatusLine({})", str_repr(&line))),
        Trouble::BadHead(text) => aborted(&format!("HTTPException({})", str_repr(&text))),
        Trouble::Incomplete { read, missing } => {
            let missing = missing.map(|count| format!(", {count} more expected")).unwrap_or_default();
            broken(&format!("IncompleteRead({read} bytes read{missing})"))
        }
        Trouble::BadChunk { line, read } => {
            let line = bytes_repr(&line);
            broken(&format!("InvalidChunkLength(got length {line}, {read} bytes read)"))
        }
        Trouble::BadCoding { coding, text } => {
            let what = format!("Received response with content-encoding: {coding}, but failed to decode it.");
            let cause = format!("error({})", str_repr(&text));
            fail("ContentDecodingError", format!("({}, {cause})", str_repr(&what)))
        }
    }
}
