//! How the two ends of a connection prove to each other that they know the same key: CPython 3.11's challenges.
//!
//! The challenge of a process of ours is longer than CPython's, which the protocol allows: behind the random part
//! it says which arena the process has. If that is the other one's too, its own challenge brings the places of a
//! ring, and from the last answer on both ends speak through that.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Connection, Content, Failure, Ring};
use crate::ipc::arena;
use crate::ipc::codec::{Decoder, Encoder, Purpose};
use crate::runtime::Site;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
const RANDOM: usize = 20;
/// An answer is never longer.
const LONGEST: u64 = 256;
const ARENA: &[u8] = b"onelock arena ";
const RING: &[u8] = b"onelock ring ";

/// Why the two ends do not speak with each other.
#[derive(Debug)]
pub enum Refusal {
    /// The other end does not know our key: its answer was wrong.
    WrongAnswer,
    /// The other end does not take our answer.
    Rejected,
    /// What came was no challenge.
    NoChallenge(Vec<u8>),
    /// The connection failed.
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(super) fn answer(key: &[u8], challenge: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("a key of any length will do");
    mac.update(challenge);
    mac.finalize().into_bytes().to_vec()
}

fn receive(connection: &Connection, site: Site) -> Result<Vec<u8>, Failure> {
    connection.receive(Some(LONGEST), site, |message| message.bytes.to_vec())
}

fn send(connection: &Connection, bytes: &[u8], site: Site) -> Result<(), Failure> {
    connection.send(Content::Bytes, bytes, &[], site)
}

/// Asks the other end to prove that it knows the key.
fn deliver(connection: &Connection, key: &[u8], extra: &[u8], site: Site) -> Result<(), Refusal> {
    let mut challenge = vec![0; RANDOM];
    getrandom(&mut challenge, GetRandomFlags::empty()).map_err(Failure::from)?;
    challenge.extend_from_slice(extra);
    send(connection, &[CHALLENGE, &challenge].concat(), site)?;
    if receive(connection, site)? == answer(key, &challenge) {
        return Ok(send(connection, WELCOME, site)?);
    }
    send(connection, FAILURE, site)?;
    Err(Refusal::WrongAnswer)
}

/// Proves to the other end that we know the key; returns what its challenge said behind the random part.
fn respond(connection: &Connection, key: &[u8], site: Site) -> Result<Vec<u8>, Refusal> {
    let message = receive(connection, site)?;
    let Some(challenge) = message.strip_prefix(CHALLENGE) else { return Err(Refusal::NoChallenge(message)) };
    send(connection, &answer(key, challenge), site)?;
    if receive(connection, site)? != WELCOME {
        return Err(Refusal::Rejected);
    }
    Ok(challenge.get(RANDOM..).unwrap_or_default().to_vec())
}

/// The listener's part: challenges first.
///
/// # Errors
/// [`Refusal`].
pub fn accept(connection: Connection, key: &[u8], site: Site) -> Result<Connection, Refusal> {
    let id = arena::id().map_err(Failure::from)?.to_le_bytes();
    deliver(&connection, key, &[ARENA, &id].concat(), site)?;
    let offer = respond(&connection, key, site)?;
    // Whoever knows our arena's number and our key is of the family.
    let ring = offer.strip_prefix(&[RING, &id[..]].concat()[..]);
    Ok(match ring.map(|bytes| Ring::unpack(&mut Decoder::new(bytes, Vec::new()))) {
        Some(Ok(ring)) => connection.with_ring(ring),
        _ => connection,
    })
}

/// The client's part: answers first.
///
/// # Errors
/// [`Refusal`].
pub fn connect(connection: Connection, key: &[u8], site: Site) -> Result<Connection, Refusal> {
    let theirs = respond(&connection, key, site)?;
    let id = arena::id().map_err(Failure::from)?.to_le_bytes();
    if theirs != [ARENA, &id].concat() {
        deliver(&connection, key, &[], site)?;
        return Ok(connection);
    }
    let (ring, other) = Ring::pair().map_err(Failure::from)?;
    let mut places = Encoder::new(Purpose::Message);
    if other.pack(&mut places).is_err() {
        unreachable!("the family shares memory");
    }
    let places = places.finish();
    deliver(&connection, key, &[RING, &id, &places.bytes].concat(), site)?;
    places.sent();
    Ok(connection.with_ring(ring))
}
