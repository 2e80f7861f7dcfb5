//! A connection to a server: what goes there and what comes back, in pieces.

use rhai::EvalAltResult;
use rustix::io::Errno;

use super::headers::Headers;
use super::target::Target;
use crate::language::exception::{Exception, exception_of};
use crate::modules::socket::{self, Failure, Socket};
use crate::runtime::Site;

/// Why there is no whole answer.
#[derive(Debug)]
pub enum Trouble {
    /// Something else ended the wait, such as Ctrl-C.
    Raised(Box<EvalAltResult>),
    /// The host's name is not known.
    NotFound(Exception),
    /// The system could not connect.
    NotConnected(Errno),
    /// There was no connection in time.
    ConnectTimeout,
    /// Nothing arrived in time.
    ReadTimeout {
        /// Behind the headers?
        in_body: bool,
    },
    /// The connection broke.
    Broken {
        /// How.
        errno: Errno,
        /// Behind the headers?
        in_body: bool,
    },
    /// The server closed the connection and said nothing.
    NoAnswer,
    /// The first line is none of HTTP's.
    BadStatusLine(String),
    /// The headers are none, or too many.
    BadHead(String),
    /// The server closed the connection too early.
    Incomplete {
        /// Bytes that were there.
        read: usize,
        /// Bytes that were not.
        missing: Option<usize>,
    },
    /// A chunk whose length is no number.
    BadChunk {
        /// What stood in its place.
        line: Vec<u8>,
        /// Bytes that were there.
        read: usize,
    },
    /// Bytes that are not compressed as the headers say.
    BadCoding {
        /// What the headers say.
        coding: String,
        /// What is wrong.
        text: String,
    },
}

/// The beginning of an answer.
pub struct Head {
    /// The status.
    pub status: u16,
    /// Its name.
    pub reason: String,
    /// The headers.
    pub headers: Headers,
}

/// The most bytes of a head.
const LONGEST_HEAD: usize = 256 << 10;
/// The most headers, as in CPython.
const MOST_HEADERS: usize = 100;
/// How much is received at once.
const PIECE: usize = 64 << 10;

/// A connection to a server.
pub struct Stream {
    socket: Socket,
    site: Site,
    /// What has arrived and was not read.
    unread: Vec<u8>,
    is_over: bool,
}

impl Stream {
    /// Connects to a server; `timeouts` are those for connecting and for reading, in seconds.
    pub fn connect(target: &Target, timeouts: [Option<f64>; 2], site: Site) -> Result<Self, Trouble> {
        let [connect, read] = timeouts;
        let port = target.port().to_string();
        let socket = match socket::connect_to(target.host(), &port, connect, None, site) {
            Ok(Ok(socket)) => socket,
            Ok(Err(Failure::System(errno))) => return Err(Trouble::NotConnected(errno)),
            Ok(Err(Failure::TimedOut)) => return Err(Trouble::ConnectTimeout),
            Ok(Err(Failure::Raised(error))) => return Err(Trouble::Raised(error)),
            Err(error) => {
                let exception = exception_of(&error, "", "");
                return Err(match exception.class().name {
                    "gaierror" => Trouble::NotFound(exception),
                    _ => Trouble::Raised(error),
                });
            }
        };
        socket.set_timeout(read);
        Ok(Self { socket, site, unread: Vec::new(), is_over: false })
    }

    /// Sends all of the bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Trouble> {
        self.socket.send_bytes(bytes, self.site).map_err(|failure| failed(failure, false))
    }

    /// Receives more; false when there is no more.
    fn fill(&mut self, in_body: bool) -> Result<bool, Trouble> {
        if self.is_over {
            return Ok(false);
        }
        let received = self.socket.receive_bytes(&mut self.unread, PIECE, self.site);
        let count = received.map_err(|failure| failed(failure, in_body))?;
        self.is_over = count == 0;
        Ok(count > 0)
    }

    /// Reads the status and the headers; interim answers are passed over.
    pub fn head(&mut self) -> Result<Head, Trouble> {
        loop {
            let (head, length) = self.one_head()?;
            self.unread.drain(..length);
            if !(100..200).contains(&head.status) {
                return Ok(head);
            }
        }
    }

    fn one_head(&mut self) -> Result<(Head, usize), Trouble> {
        loop {
            let mut space = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut space);
            match response.parse(&self.unread) {
                Ok(httparse::Status::Complete(length)) => {
                    let mut headers = Headers::default();
                    for header in response.headers.iter() {
                        headers.add(header.name, &latin1(header.value));
                    }
                    let status = response.code.unwrap_or_default();
                    let reason = response.reason.unwrap_or_default().to_string();
                    return Ok((Head { status, reason, headers }, length));
                }
                Ok(httparse::Status::Partial) if self.unread.len() > LONGEST_HEAD => {
                    return Err(Trouble::BadHead("got more than 262144 bytes of headers".into()));
                }
                Ok(httparse::Status::Partial) => {}
                Err(httparse::Error::TooManyHeaders) => {
                    return Err(Trouble::BadHead(format!("got more than {MOST_HEADERS} headers")));
                }
                Err(error) => {
                    let line = self.unread.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
                    return Err(match line.starts_with(b"HTTP/") && !is_of_status(error) {
                        true => Trouble::BadHead(error.to_string()),
                        false => Trouble::BadStatusLine(latin1(line)),
                    });
                }
            }
            if !self.fill(false)? {
                return Err(match self.unread.is_empty() {
                    true => Trouble::NoAnswer,
                    false => Trouble::BadStatusLine(latin1(&self.unread)),
                });
            }
        }
    }

    /// Reads so many bytes.
    pub fn exactly(&mut self, count: usize, into: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut missing = count;
        loop {
            let taken = missing.min(self.unread.len());
            into.extend(self.unread.drain(..taken));
            missing -= taken;
            if missing == 0 {
                return Ok(());
            }
            if !self.fill(true)? {
                return Err(Trouble::Incomplete { read: into.len(), missing: Some(missing) });
            }
        }
    }

    /// Reads to the end of a line, which is included; to the end of everything if there is no such.
    pub fn line(&mut self) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                return Ok(self.unread.drain(..=end).collect());
            }
            if self.unread.len() > LONGEST_HEAD || !self.fill(true)? {
                return Ok(std::mem::take(&mut self.unread));
            }
        }
    }

    /// Reads until the server closes the connection.
    pub fn rest(&mut self, into: &mut Vec<u8>) -> Result<(), Trouble> {
        loop {
            into.append(&mut self.unread);
            if !self.fill(true)? {
                return Ok(());
            }
        }
    }
}

/// Is the error one of the first line's?
fn is_of_status(error: httparse::Error) -> bool {
    use httparse::Error;
    matches!(error, Error::Status | Error::Version | Error::Token | Error::NewLine)
}

/// Headers are in Latin-1.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn failed(failure: Failure, in_body: bool) -> Trouble {
    match failure {
        Failure::System(errno) => Trouble::Broken { errno, in_body },
        Failure::TimedOut => Trouble::ReadTimeout { in_body },
        Failure::Raised(error) => Trouble::Raised(error),
    }
}
