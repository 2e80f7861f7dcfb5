//! What a request is to be, as the script's call says it.

use rhai::Dynamic;

use super::errors::fail;
use super::headers::Headers;
use super::target::{Target, encode_form};
use crate::language::exception::{Outcome, raise};
use crate::language::native::Call;
use crate::language::value;
use crate::modules::io::bytes_of;
use crate::modules::json;

/// A request.
pub struct Options {
    /// `GET`, ….
    pub method: String,
    /// Where it goes.
    pub target: Target,
    /// The headers but for Host and Content-Length.
    pub headers: Headers,
    /// Nothing if there is no body.
    pub body: Option<Vec<u8>>,
    /// Seconds to wait for the connection.
    pub connect_timeout: Option<f64>,
    /// Seconds to wait for each piece of the answer.
    pub read_timeout: Option<f64>,
    /// Goes the request on to where a response sends it?
    pub follows_redirects: bool,
}

impl Options {
    /// Reads the call's arguments.
    ///
    /// # Errors
    /// TypeError, ValueError, and the exceptions of `requests`.
    pub fn read(call: &mut Call, method: &str) -> Outcome<Self> {
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(raise("ValueError", format!("method must be a word, not '{method}'")));
        }
        let url = call.named("url").unwrap_or_default();
        let url = match bytes_of(&url) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => value::str(&url),
        };
        let mut target = Target::parse(&url)?;
        if let Some(params) = given(call, "params") {
            target.add_query(&text_or_form(&params, "params")?);
        }
        let mut headers = Headers::default();
        headers.set("User-Agent", concat!("onelock/", env!("CARGO_PKG_VERSION")));
        headers.set("Accept-Encoding", "gzip, deflate");
        headers.set("Accept", "*/*");
        headers.set("Connection", "close");
        let (body, kind) = body(call)?;
        if let Some(added) = given(call, "headers") {
            add_headers(&mut headers, &added)?;
        }
        if let Some(kind) = kind.filter(|_| headers.get("Content-Type").is_none()) {
            headers.set("Content-Type", kind);
        }
        let [connect_timeout, read_timeout] = timeouts(call)?;
        let follows_redirects = match call.named("allow_redirects") {
            Some(allow) => value::is_true(&allow),
            None => method != "HEAD",
        };
        let method = method.to_string();
        Ok(Self { method, target, headers, body, connect_timeout, read_timeout, follows_redirects })
    }
}

fn given(call: &mut Call, name: &str) -> Option<Dynamic> {
    call.named(name).filter(|value| !value.is_unit())
}

fn text_or_form(value: &Dynamic, name: &str) -> Outcome<String> {
    if value.is_string() || value.is_char() {
        return Ok(value::str(value));
    }
    if let Some(bytes) = bytes_of(value) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    encode_form(value).ok_or_else(|| {
        let (kind, shown) = (value::type_name(value), value::repr(value));
        raise("TypeError", format!("'{name}' must be a map, pairs, a string or bytes, not {kind}: {shown}"))
    })
}

/// The body, and what it is if the script does not say so.
fn body(call: &mut Call) -> Outcome<(Option<Vec<u8>>, Option<&'static str>)> {
    let (data, object) = (given(call, "data"), given(call, "json"));
    let data = data.filter(value::is_true);
    Ok(match (data, object) {
        (Some(data), _) => match bytes_of(&data) {
            Some(bytes) => (Some(bytes), None),
            None => {
                let is_form = !data.is_string() && !data.is_char();
                let text = text_or_form(&data, "data")?;
                (Some(text.into_bytes()), is_form.then_some("application/x-www-form-urlencoded"))
            }
        },
        (None, Some(object)) => {
            let text = json::to_text(&object, call.context())?;
            (Some(text.into_bytes()), Some("application/json"))
        }
        (None, None) => (None, None),
    })
}

fn add_headers(headers: &mut Headers, added: &Dynamic) -> Outcome<()> {
    let Some(entries) = value::mapping(added) else {
        let (kind, shown) = (value::type_name(added), value::repr(added));
        return Err(raise("TypeError", format!("'headers' must be a map or dict, not {kind}: {shown}")));
    };
    for (name, value) in entries {
        if value.is_unit() {
            headers.remove(&value::str(&name));
            continue;
        }
        let pair = format!("({}, {})", value::repr(&name), value::repr(&value));
        let text = |part: &Dynamic| match bytes_of(part) {
            Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            None if part.is_string() || part.is_char() => Ok(value::str(part)),
            None => Err(fail(
                "InvalidHeader",
                format!(
                    "Header part ({}) from {pair} must be of type str or bytes, not <class '{}'>",
                    value::repr(part),
                    value::type_name(part)
                ),
            )),
        };
        let (name, value) = (text(&name)?, text(&value)?);
        let bad = |what: &str, part: &str| {
            let text = "Invalid leading whitespace, reserved character(s), or returncharacter(s) in header";
            Err(fail("InvalidHeader", format!("{text} {what}: {}", value::repr(&part.to_string().into()))))
        };
        if name.is_empty() || name.contains([':', '\r', '\n', ' ', '\0']) {
            return bad("name", &name);
        }
        if value.starts_with(char::is_whitespace) || value.contains(['\r', '\n', '\0']) {
            return bad("value", &value);
        }
        headers.set(&name, &value);
    }
    Ok(())
}

/// The timeout: a number for both, or a pair for connecting and reading.
fn timeouts(call: &mut Call) -> Outcome<[Option<f64>; 2]> {
    let Some(timeout) = given(call, "timeout") else { return Ok([None, None]) };
    match value::sequence(&timeout).as_deref() {
        None => Ok([one_timeout("connect", &timeout)?, one_timeout("read", &timeout)?]),
        Some([connect, read]) => Ok([one_timeout("connect", connect)?, one_timeout("read", read)?]),
        Some(_) => {
            let shown = value::repr(&timeout);
            let text = format!(
                "Invalid timeout {shown}. Pass a (connect, read) timeout tuple, or a single float to set both \
                 timeouts to the same value."
            );
            Err(raise("ValueError", text))
        }
    }
}

fn one_timeout(name: &str, timeout: &Dynamic) -> Outcome<Option<f64>> {
    if timeout.is_unit() {
        return Ok(None);
    }
    let shown = value::str(timeout);
    if timeout.is_bool() {
        let text = "Timeout cannot be a boolean value. It must be an int, float or None.";
        return Err(raise("ValueError", text));
    }
    match value::number(timeout) {
        None => {
            let text = format!("Timeout value {name} was {shown}, but it must be an int, float or None.");
            Err(raise("ValueError", text))
        }
        Some(seconds) if seconds > 0.0 => Ok(Some(seconds)),
        Some(_) => {
            let text = format!(
                "Attempted to set {name} timeout to {shown}, but the timeout cannot be set to a value less than \
                 or equal to 0."
            );
            Err(raise("ValueError", text))
        }
    }
}
