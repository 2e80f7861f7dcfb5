//! A request and its answer, and the requests that the answer leads to.

use std::time::Instant;

use super::body;
use super::errors::{fail_with, trouble};
use super::options::Options;
use super::response::{Parts, Response};
use super::stream::{Stream, Trouble};
use crate::language::exception::Outcome;
use crate::runtime::Site;

/// The most redirects.
const MOST_REDIRECTS: usize = 30;

/// Makes the request, and goes on to where the answers send it.
///
/// # Errors
/// The exceptions of `requests`; whatever interrupts the wait.
pub fn send(mut options: Options, site: Site) -> Outcome<Response> {
    let mut history: Vec<Response> = Vec::new();
    loop {
        let timeouts = [options.connect_timeout, options.read_timeout];
        let parts = exchange(&options, timeouts, site).map_err(|problem| {
            let shown = timeouts.map(|timeout| timeout.map(shown));
            trouble(problem, &options.target, [shown[0].as_deref(), shown[1].as_deref()])
        })?;
        let location = match options.follows_redirects {
            true => redirect(&parts),
            false => None,
        };
        let response = Response::new(Parts { history: history.clone(), ..parts });
        let Some(location) = location else { return Ok(response) };
        if history.len() >= MOST_REDIRECTS {
            let text = format!("Exceeded {MOST_REDIRECTS} redirects.");
            return Err(fail_with("TooManyRedirects", text, &response));
        }
        go_on(&mut options, response.status(), &location)?;
        history.push(response);
    }
}

/// A number of seconds as Python shows it.
fn shown(seconds: f64) -> String {
    crate::language::value::str(&match seconds.fract() == 0.0 && seconds.abs() < 1e15 {
        true => (seconds as i64).into(),
        false => seconds.into(),
    })
}

fn redirect(parts: &Parts) -> Option<String> {
    match parts.status {
        301 | 302 | 303 | 307 | 308 => parts.headers.get("Location").map(utf8),
        _ => None,
    }
}

/// Headers are in Latin-1, but a URL in one is in UTF-8 if it is that.
fn utf8(header: &str) -> String {
    let bytes: Option<Vec<u8>> = header.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| header.into())
}

/// Changes the request into the one that follows.
fn go_on(options: &mut Options, status: u16, location: &str) -> Outcome<()> {
    let target = options.target.join(location)?;
    let becomes_get = match status {
        303 | 302 => options.method != "HEAD",
        301 => options.method == "POST",
        _ => false,
    };
    if becomes_get {
        options.method = "GET".into();
    }
    if !matches!(status, 307 | 308) {
        options.body = None;
        for name in ["Content-Length", "Content-Type", "Transfer-Encoding"] {
            options.headers.remove(name);
        }
    }
    if (target.host(), target.port()) != (options.target.host(), options.target.port()) {
        options.headers.remove("Authorization");
    }
    options.target = target;
    Ok(())
}

/// One request and its answer, on a connection of its own.
fn exchange(options: &Options, timeouts: [Option<f64>; 2], site: Site) -> Result<Parts, Trouble> {
    let start = Instant::now();
    let mut stream = Stream::connect(&options.target, timeouts, site)?;
    stream.send(&written(options))?;
    let head = stream.head()?;
    let elapsed = start.elapsed().as_secs_f64();
    let content = body::read(&mut stream, &head, &options.method)?;
    Ok(Parts {
        status: head.status,
        reason: head.reason,
        url: options.target.as_str().into(),
        headers: head.headers,
        content,
        elapsed,
        history: Vec::new(),
    })
}

/// The request as it is sent.
fn written(options: &Options) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", options.method, options.target.path());
    let mut header = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    if options.headers.get("Host").is_none() {
        header("Host", options.target.authority());
    }
    for (name, value) in options.headers.iter() {
        header(name, value);
    }
    let length = options.body.as_ref().map(Vec::len);
    // Who has nothing to send says so, unless nobody expects anything.
    let length = length.or_else(|| (!matches!(&options.method[..], "GET" | "HEAD")).then_some(0));
    if let Some(length) = length.filter(|_| options.headers.get("Content-Length").is_none()) {
        header("Content-Length", &length.to_string());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(options.body.as_deref().unwrap_or_default());
    bytes
}
