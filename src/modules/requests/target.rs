//! Where a request goes: its URL, checked and completed as `requests` does it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rhai::{Dynamic, EvalAltResult};
use url::{ParseError, Position, Url};

use super::errors::fail;
use crate::language::value;

/// What `urllib.parse.quote_plus` leaves as it is, but for the space.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b' ');

/// A URL of a scheme that can be requested, with a host.
#[derive(Clone, Debug)]
pub struct Target(Url);

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// MissingSchema, InvalidSchema, InvalidURL.
    pub fn parse(text: &str) -> Result<Self, Box<EvalAltResult>> {
        let text = text.trim_start();
        match Url::parse(text) {
            Ok(url) => Self::check(url, text),
            Err(ParseError::RelativeUrlWithoutBase) => Err(fail(
                "MissingSchema",
                format!("Invalid URL '{text}': No scheme supplied. Perhaps you meant https://{text}?"),
            )),
            Err(ParseError::EmptyHost) => {
                Err(fail("InvalidURL", format!("Invalid URL '{text}': No host supplied")))
            }
            Err(ParseError::IdnaError | ParseError::InvalidDomainCharacter) => {
                Err(fail("InvalidURL", "URL has an invalid label."))
            }
            Err(_) => Err(fail("InvalidURL", format!("Failed to parse: {text}"))),
        }
    }

    fn check(url: Url, text: &str) -> Result<Self, Box<EvalAltResult>> {
        match url.scheme() {
            "http" if url.host_str().is_some() => Ok(Self(url)),
            "https" => Err(fail(
                "InvalidSchema",
                format!(
                    "No connection adapters were found for '{text}': https needs TLS, which this program does not have"
                ),
            )),
            _ => Err(fail("InvalidSchema", format!("No connection adapters were found for '{text}'"))),
        }
    }

    /// Where a response sends its client, by its header Location. The part behind `#` goes along.
    ///
    /// # Errors
    /// As [`Target::parse`].
    pub fn join(&self, location: &str) -> Result<Self, Box<EvalAltResult>> {
        let Ok(mut url) = self.0.join(location) else {
            return Err(fail("InvalidURL", format!("Failed to parse: {location}")));
        };
        if url.fragment().is_none() {
            url.set_fragment(self.0.fragment());
        }
        Self::check(url, location)
    }

    /// Adds a query to the one that the URL has.
    pub fn add_query(&mut self, added: &str) {
        if added.is_empty() {
            return;
        }
        let query = match self.0.query().filter(|query| !query.is_empty()) {
            Some(query) => format!("{query}&{added}"),
            None => added.to_string(),
        };
        self.0.set_query(Some(&query));
    }

    /// The host without the brackets of IPv6 addresses.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// What the header Host says.
    pub fn authority(&self) -> &str {
        &self.0[Position::BeforeHost..Position::AfterPort]
    }

    /// What the request line says.
    pub fn path(&self) -> &str {
        &self.0[Position::BeforePath..Position::AfterQuery]
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn quote(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string().replace(' ', "+")
}

/// Names and values as a query or a form: `a=1&b=x+y`. An entry whose value is several values comes as often, one
/// whose value is `None` not at all. Nothing for what is no mapping and no sequence of pairs.
pub fn encode_form(value: &Dynamic) -> Option<String> {
    let pairs = match value::mapping(value) {
        Some(pairs) => pairs,
        None => {
            let pair = |item: Dynamic| match value::sequence(&item).as_deref() {
                Some([name, value]) => Some((name.clone(), value.clone())),
                _ => None,
            };
            value::sequence(value)?.into_iter().map(pair).collect::<Option<Vec<_>>>()?
        }
    };
    let mut parts = Vec::new();
    for (name, value) in pairs {
        let values = value::sequence(&value).unwrap_or_else(|| vec![value]);
        for value in values.iter().filter(|value| !value.is_unit()) {
            parts.push(format!("{}={}", quote(&value::str(&name)), quote(&value::str(value))));
        }
    }
    Some(parts.join("&"))
}
