//! Jobs and answers as messages.

use rhai::Dynamic;

use crate::ipc::codec::{Decoder, Encoded, Encoder, Purpose};
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::function::Function;
use crate::language::realm::Realm;
use crate::modules::pool::{Answer, Calls, Part, Reply};
use crate::modules::threading::render_exception;

/// The length of the number in front of every message.
const NUMBER: usize = 8;
/// Room for most messages.
const SHORT: usize = 120;
/// The number of a message that tells a worker to leave.
pub const LEAVE: u64 = u64::MAX;
/// The number of a notice that a worker has ended; the worker's own number follows.
const DEATH: u64 = u64::MAX - 1;

const ONE: u64 = 0;
const EACH: u64 = 1;
const STAR: u64 = 2;
const MANY: u64 = 1;
const RAISED: u64 = 2;

/// The message that tells a worker to leave.
pub fn leave() -> [u8; NUMBER] {
    LEAVE.to_le_bytes()
}

/// The notice that worker `index` has ended.
pub fn death(index: u64) -> Vec<u8> {
    [DEATH.to_le_bytes(), index.to_le_bytes()].concat()
}

/// A function's encoding, for those whose name says it all.
pub fn encode_plain(function: &Function) -> Outcome<Vec<u8>> {
    let mut out = Encoder::new(Purpose::Message);
    out.named(|| "func".into(), function.pointer())?;
    Ok(out.finish().sent())
}

/// A job, still without its number, written into `buffer`. `plain` is the function's encoding if it has a key.
///
/// # Errors
/// TypeError for what cannot travel.
pub fn encode_job(
    mut buffer: Vec<u8>,
    function: &Function,
    plain: Option<&[u8]>,
    calls: Part<'_>,
) -> Outcome<Encoded> {
    buffer.clear();
    buffer.reserve(SHORT);
    buffer.extend_from_slice(&[0; NUMBER]);
    let mut out = Encoder::onto(buffer, Purpose::Message);
    match plain {
        Some(bytes) => {
            out.u64(function.key());
            out.bytes(bytes);
        }
        None => {
            out.u64(0);
            out.named(|| "func".into(), function.pointer())?;
        }
    }
    match calls {
        Part::One(args) => {
            out.u64(ONE);
            values(&mut out, args, |index| format!("args[{index}]"))?;
        }
        Part::Each(items) => {
            out.u64(EACH);
            values(&mut out, items, |index| format!("iterable[{index}]"))?;
        }
        Part::Star(items) => {
            out.u64(STAR);
            out.u64(items.len() as u64);
            for (row, args) in items.iter().enumerate() {
                values(&mut out, args, |index| format!("iterable[{row}][{index}]"))?;
            }
        }
    }
    Ok(out.finish())
}

fn values(out: &mut Encoder, values: &[Dynamic], name: impl Fn(usize) -> String) -> Outcome<()> {
    out.u64(values.len() as u64);
    for (index, value) in values.iter().enumerate() {
        out.named(|| name(index), value)?;
    }
    Ok(())
}

/// Gives a job its number.
pub fn set_number(message: &mut [u8], number: u64) {
    message[..NUMBER].copy_from_slice(&number.to_le_bytes());
}

/// The number in front of a message, and what follows it.
///
/// # Errors
/// UnpicklingError for a message that is too short to have one.
pub fn split_number(message: &[u8]) -> Outcome<(u64, &[u8])> {
    match message.split_first_chunk::<NUMBER>() {
        Some((number, rest)) => Ok((u64::from_le_bytes(*number), rest)),
        None => Err(Decoder::bad("a message without a number")),
    }
}

/// Which function a job calls: one with a key, by its encoding, or one that came with the job.
pub enum Called<'m> {
    /// The key, and the encoding for whoever does not know it.
    Keyed(u64, &'m [u8]),
    /// The function.
    Whole(Dynamic),
}

/// Reads a job.
///
/// # Errors
/// The codec's.
pub fn decode_job(message: &[u8]) -> Outcome<(Called<'_>, Calls)> {
    let mut input = Decoder::new(message, Vec::new());
    let called = match input.u64()? {
        0 => Called::Whole(input.value()?),
        key => Called::Keyed(key, input.bytes()?),
    };
    let kind = input.u64()?;
    let count = input.u64()?;
    let calls = match kind {
        ONE => Calls::One(input.values(count)?),
        EACH => Calls::Each(input.values(count)?),
        STAR => {
            let row = |_| {
                let count = input.u64()?;
                input.values(count)
            };
            Calls::Star((0..count).map(row).collect::<Outcome<_>>()?)
        }
        _ => return Err(Decoder::bad("a job of an unknown kind")),
    };
    Ok((called, calls))
}

fn answer_to(number: u64) -> Encoder {
    let mut buffer = Vec::with_capacity(SHORT);
    buffer.extend_from_slice(&number.to_le_bytes());
    Encoder::onto(buffer, Purpose::Message)
}

/// The answer to a job that returned.
///
/// # Errors
/// TypeError for a result that cannot travel.
pub fn encode_reply(number: u64, reply: &Reply) -> Outcome<Encoded> {
    let mut out = answer_to(number);
    match reply {
        Reply::One(value) => {
            out.u64(ONE);
            out.named(|| "result".into(), value)?;
        }
        Reply::Many(items) => {
            out.u64(MANY);
            values(&mut out, items, |index| format!("result[{index}]"))?;
        }
    }
    Ok(out.finish())
}

/// The answer to a job that raised.
pub fn encode_exception(realm: &Realm, number: u64, exception: &Exception) -> Encoded {
    let text = render_exception(realm, exception);
    let mut out = answer_to(number);
    out.u64(RAISED);
    out.str(&text);
    if out.value(&Dynamic::from(exception.clone())).is_ok() {
        return out.finish();
    }
    // Some argument of it cannot travel: its class and its text can.
    let plain = Exception::new(exception.class(), exception.message());
    let mut out = answer_to(number);
    out.u64(RAISED);
    out.str(&text);
    // A class and a text always travel.
    let _ = out.value(&Dynamic::from(plain));
    out.finish()
}

/// What comes back from the workers' side.
pub enum Back {
    /// An answer.
    Answer(u64, Answer),
    /// A worker has ended.
    Death(u64),
}

/// Reads what came back. `remote` is the class of the cause that shows the traceback of a worker.
///
/// # Errors
/// UnpicklingError for what is no such message.
pub fn decode_back(message: &[u8], remote: &'static Class) -> Outcome<Back> {
    let (number, rest) = split_number(message)?;
    if number == DEATH {
        let index = rest.first_chunk().ok_or_else(|| Decoder::bad("a death without a worker"))?;
        return Ok(Back::Death(u64::from_le_bytes(*index)));
    }
    let answer = decode_answer(rest, remote).unwrap_or_else(|error| {
        // An object whose class fails to make it again, for instance.
        Err(crate::language::exception::exception_of(&error, "", ""))
    });
    Ok(Back::Answer(number, answer))
}

fn decode_answer(message: &[u8], remote: &'static Class) -> Outcome<Answer> {
    let mut input = Decoder::new(message, Vec::new());
    Ok(match input.u64()? {
        ONE => Ok(Reply::One(input.value()?)),
        MANY => {
            let count = input.u64()?;
            Ok(Reply::Many(input.values(count)?))
        }
        RAISED => {
            let text = format!("\n\"\"\"\n{}\"\"\"", input.str()?);
            let exception = input.value()?.try_cast::<Exception>();
            let exception = exception.ok_or_else(|| raise("RuntimeError", "a worker raised no exception"))?;
            exception.forget_traceback();
            exception.set_cause(Exception::new(remote, text));
            Err(exception)
        }
        _ => return Err(Decoder::bad("an answer of an unknown kind")),
    })
}
