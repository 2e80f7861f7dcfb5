//! `Response`: what a server answered.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;
use rhai::Dynamic;

use super::errors::{fail_with, json_error};
use super::headers::Headers;
use crate::ipc::codec::{Decoder, Encoder, Travel};
use crate::language::exception::{Class, Outcome, exception_of, raise};
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::value;
use crate::modules::json;
use crate::runtime::sync::{Arc, Mutex};

/// What makes a response.
pub struct Parts {
    /// The status: 200, ….
    pub status: u16,
    /// Its name: `OK`, ….
    pub reason: String,
    /// Where it came from in the end.
    pub url: String,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub content: Vec<u8>,
    /// Seconds from the request to the answer's headers.
    pub elapsed: f64,
    /// The answers that led to this one.
    pub history: Vec<Response>,
}

/// A script's reference to a response.
#[derive(Clone)]
pub struct Response(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// What `text` reads the body as; nothing if that is to be guessed.
    encoding: Mutex<Option<String>>,
}

impl Handle for Response {
    const NAME: &'static str = "Response";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<Response [{}]>", self.status())
    }
}

impl Response {
    /// A response.
    pub fn new(parts: Parts) -> Self {
        let encoding = Mutex::new(encoding_of(&parts.headers));
        Self(Arc::new(Inner { parts, encoding }))
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.0.parts.status
    }

    fn apparent_encoding(&self) -> &'static str {
        let content = &self.0.parts.content;
        if content.is_ascii() {
            return "ascii";
        }
        if std::str::from_utf8(content).is_ok() {
            return "utf-8";
        }
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
        detector.feed(content, true);
        detector.guess(None, Utf8Detection::Allow).name()
    }

    fn text(&self) -> String {
        let content = &self.0.parts.content;
        let encoding = self.0.encoding.lock().clone();
        let name = encoding.as_deref().unwrap_or_else(|| self.apparent_encoding());
        if name.eq_ignore_ascii_case("iso-8859-1") {
            return content.iter().copied().map(char::from).collect();
        }
        match Encoding::for_label(name.as_bytes()) {
            Some(encoding) => encoding.decode_without_bom_handling(content).0.into_owned(),
            None => String::from_utf8_lossy(content).into_owned(),
        }
    }

    fn json(&self) -> Outcome<Dynamic> {
        json::from_text(&self.text()).map_err(|error| {
            let exception = exception_of(&error, "", "");
            let is_syntax = exception.is_instance(Class::known("JSONDecodeError"));
            if is_syntax { json_error(&exception) } else { error }
        })
    }

    fn raise_for_status(&self) -> Outcome<Dynamic> {
        let Parts { status, reason, url, .. } = &self.0.parts;
        let who = match status {
            400..500 => "Client",
            500..600 => "Server",
            _ => return Ok(Dynamic::UNIT),
        };
        Err(fail_with("HTTPError", format!("{status} {who} Error: {reason} for url: {url}"), self))
    }

    fn is_redirect(&self) -> bool {
        matches!(self.status(), 301 | 302 | 303 | 307 | 308) && self.0.parts.headers.get("Location").is_some()
    }
}

/// The encoding that the headers tell of.
fn encoding_of(headers: &Headers) -> Option<String> {
    let kind = headers.get("Content-Type")?;
    let mut parts = kind.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches(['\'', '"']).to_string())
    });
    charset.or_else(|| match kind.as_str() {
        kind if kind.contains("text") => Some("ISO-8859-1".into()),
        kind if kind.contains("application/json") => Some("utf-8".into()),
        _ => None,
    })
}

impl Travel for Response {
    const TAG: &'static str = "requests.Response";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        let Parts { status, reason, url, headers, content, elapsed, history } = &self.0.parts;
        out.u64(u64::from(*status));
        out.str(reason);
        out.str(url);
        headers.pack(out)?;
        out.bytes(content);
        out.u64(elapsed.to_bits());
        let encoding = self.0.encoding.lock().clone();
        out.str(encoding.as_deref().unwrap_or_default());
        out.u64(history.len() as u64);
        // Each of them has a history of its own: the ones before it.
        history.iter().try_for_each(|response| Self::without_history(response).pack(out))
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let status = u16::try_from(input.u64()?).map_err(|_| Decoder::bad("a status"))?;
        let (reason, url) = (input.str()?.to_string(), input.str()?.to_string());
        let headers = Headers::unpack(input)?;
        let content = input.bytes()?.to_vec();
        let elapsed = f64::from_bits(input.u64()?);
        let encoding = Some(input.str()?.to_string()).filter(|encoding| !encoding.is_empty());
        let mut history: Vec<Self> = Vec::new();
        for _ in 0..input.u64()? {
            let response = Self::unpack(input)?;
            let before = history.clone();
            history.push(response.with_history(before));
        }
        let parts = Parts { status, reason, url, headers, content, elapsed, history };
        Ok(Self(Arc::new(Inner { parts, encoding: Mutex::new(encoding) })))
    }
}

impl Response {
    fn without_history(&self) -> Self {
        self.with_history(Vec::new())
    }

    fn with_history(&self, history: Vec<Self>) -> Self {
        let Parts { status, reason, url, headers, content, elapsed, .. } = &self.0.parts;
        let parts = Parts {
            status: *status,
            reason: reason.clone(),
            url: url.clone(),
            headers: headers.clone(),
            content: content.clone(),
            elapsed: *elapsed,
            history,
        };
        Self(Arc::new(Inner { parts, encoding: Mutex::new(self.0.encoding.lock().clone()) }))
    }
}

/// Defines the type for scripts.
pub(super) fn register(module: &mut NativeModule) {
    module
        .handle::<Response>()
        .attribute::<Response, _>("status_code", "The status: 200, 404, ….", |this| {
            Ok(i64::from(this.status()).into())
        })
        .attribute::<Response, _>("reason", "The status's name: OK, Not Found, ….", |this| {
            Ok(this.0.parts.reason.clone().into())
        })
        .attribute::<Response, _>("ok", "Is the status below 400?", |this| Ok((this.status() < 400).into()))
        .attribute::<Response, _>("url", "Where the response came from, after all redirects.", |this| {
            Ok(this.0.parts.url.clone().into())
        })
        .attribute::<Response, _>("headers", "The headers, found however their names are written.", |this| {
            Ok(Dynamic::from(this.0.parts.headers.clone()))
        })
        .attribute::<Response, _>("content", "The body as bytes.", |this| {
            Ok(Dynamic::from_blob(this.0.parts.content.clone()))
        })
        .attribute::<Response, _>("text", "The body as text, in the encoding.", |this| Ok(this.text().into()))
        .attribute::<Response, _>("encoding", "The encoding of text; None to guess it.", |this| {
            Ok(this.0.encoding.lock().clone().map(Dynamic::from).unwrap_or_default())
        })
        .attribute::<Response, _>("apparent_encoding", "What the body looks like.", |this| {
            Ok(this.apparent_encoding().into())
        })
        .attribute::<Response, _>("elapsed", "Seconds from the request to the answer.", |this| {
            Ok(this.0.parts.elapsed.into())
        })
        .attribute::<Response, _>("history", "The redirects that led here.", |this| {
            Ok(this.0.parts.history.iter().cloned().map(Dynamic::from).collect::<Vec<_>>().into())
        })
        .attribute::<Response, _>("is_redirect", "Does it send its client elsewhere?", |this| {
            Ok(this.is_redirect().into())
        })
        .attribute::<Response, _>("is_permanent_redirect", "Does it do so for ever?", |this| {
            Ok((this.is_redirect() && matches!(this.status(), 301 | 308)).into())
        })
        .method::<Response, _>("json()", "The body as JSON; JSONDecodeError if it is none.", |this, _| {
            this.json()
        })
        .method::<Response, _>("raise_for_status()", "HTTPError if the status is 400 or more.", |this, _| {
            this.raise_for_status()
        })
        .method::<Response, _>("close()", "Nothing is left to close.", |_, _| Ok(Dynamic::UNIT))
        .method::<Response, _>("__enter__()", "Enters `with`: the response itself.", |this, _| {
            Ok(Dynamic::from(this.clone()))
        })
        .method::<Response, _>("__exit__(error=None)", "Leaves `with`.", |_, _| Ok(Dynamic::UNIT))
        .assignable::<Response, _>("encoding", |this, encoding| {
            let encoding = match encoding {
                encoding if encoding.is_unit() => None,
                encoding if encoding.is_string() => Some(value::str(&encoding)),
                other => {
                    let kind = value::type_name(&other);
                    return Err(raise("TypeError", format!("encoding must be a string or None, not {kind}")));
                }
            };
            *this.0.encoding.lock() = encoding;
            Ok(())
        });
}
