//! `requests`: HTTP requests, as the library of that name makes them.
//!
//! A request is made on a connection of its own by the calling thread, which waits as it does for any socket:
//! without the interpreter lock, until its timeout, and Ctrl-C ends it.

mod body;
mod errors;
mod exchange;
mod headers;
mod options;
mod response;
mod stream;
mod target;

use rhai::Dynamic;

use crate::language::exception::Outcome;
use crate::language::native::{Call, NativeModule};
use exchange::send;
use options::Options;

pub use headers::Headers;
pub use response::Response;

/// The modules `requests` and `requests.exceptions`.
pub fn modules() -> Vec<NativeModule> {
    let mut module = NativeModule::new("requests");
    module
        .function(
            "get(url, params=None, *, data=None, json=None, headers=None, timeout=None, allow_redirects=True)",
            "Fetches what is at a URL: a Response.",
            |call| request(call, "GET"),
        )
        .function(
            "post(url, data=None, json=None, *, params=None, headers=None, timeout=None, allow_redirects=True)",
            "Sends data to a URL: a Response.",
            |call| request(call, "POST"),
        )
        .function(
            "put(url, data=None, *, json=None, params=None, headers=None, timeout=None, allow_redirects=True)",
            "Puts data at a URL: a Response.",
            |call| request(call, "PUT"),
        )
        .function(
            "patch(url, data=None, *, json=None, params=None, headers=None, timeout=None, allow_redirects=True)",
            "Changes what is at a URL: a Response.",
            |call| request(call, "PATCH"),
        )
        .function(
            "delete(url, *, params=None, data=None, json=None, headers=None, timeout=None, allow_redirects=True)",
            "Deletes what is at a URL: a Response.",
            |call| request(call, "DELETE"),
        )
        .function(
            "options(url, *, params=None, data=None, json=None, headers=None, timeout=None, allow_redirects=True)",
            "Asks what can be done at a URL: a Response.",
            |call| request(call, "OPTIONS"),
        )
        .function(
            "head(url, *, params=None, data=None, json=None, headers=None, timeout=None, allow_redirects=False)",
            "Fetches the headers only of what is at a URL: a Response.",
            |call| request(call, "HEAD"),
        )
        .function(
            "request(method, url, *, params=None, data=None, json=None, headers=None, timeout=None, \
             allow_redirects=True)",
            "Makes a request with any method: a Response.",
            |call| {
                let method = call.text(0)?.to_uppercase();
                request(call, &method)
            },
        )
        .exceptions_of(errors::MODULE, Some(errors::SHORT_NAMES));
    response::register(&mut module);
    headers::register(&mut module);
    crate::ipc::codec::register::<Response>();
    crate::ipc::codec::register::<Headers>();
    let mut exceptions = NativeModule::new(errors::MODULE);
    exceptions.exceptions_of(errors::MODULE, None);
    vec![module, exceptions]
}

fn request(call: &mut Call, method: &str) -> Outcome<Dynamic> {
    let options = Options::read(call, method)?;
    Ok(Dynamic::from(send(options, call.site())?))
}
