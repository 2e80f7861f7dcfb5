//! What managers' clients and servers say to each other.

use rhai::Dynamic;

use crate::ipc::codec::{Decoder, Encoder};
use crate::language::exception::Outcome;

/// Who asks: the same for all connections of a process.
pub type Client = [u64; 2];

/// What a client asks for.
pub enum Request {
    /// The first message of a connection: who is there, and what the thread that serves it is to be called.
    Hello(Client, String),
    /// Call a method of an object.
    Call(u64, String, Vec<Dynamic>),
    /// Make an object of a registered type.
    Create(String, Vec<Dynamic>),
    /// Keep an object for a proxy that is on its way to another process.
    Lend(u64),
    /// The proxy has arrived. No answer.
    Adopt(u64),
    /// It was not sent. No answer.
    TakeBack(u64),
    /// A proxy is gone. No answer.
    Drop(u64),
    /// How many objects are there?
    Count,
    /// What objects are there?
    Describe,
    /// Nothing: is the server there?
    Nothing,
    /// End.
    Shutdown,
}

/// What the server answers.
pub enum Reply {
    /// A value.
    Value(Dynamic),
    /// An object that a method returned or that was made: its number, its registered type, and what may be called.
    Object(u64, String, Option<Vec<String>>),
    /// What a method raised.
    Raised(Dynamic),
    /// What went wrong in the server, as a traceback.
    Traceback(String),
    /// The answer could not be sent.
    Unserializable(String),
}

fn write_values(out: &mut Encoder, values: &[Dynamic]) -> Outcome<()> {
    out.u64(values.len() as u64);
    values.iter().enumerate().try_for_each(|(index, value)| out.named(|| format!("args[{index}]"), value))
}

fn read_values(input: &mut Decoder<'_>) -> Outcome<Vec<Dynamic>> {
    let count = input.u64()?;
    input.values(count)
}

impl Request {
    /// Does the server answer?
    pub fn is_answered(&self) -> bool {
        !matches!(self, Self::Hello(..) | Self::Adopt(_) | Self::TakeBack(_) | Self::Drop(_))
    }

    /// Writes the request.
    ///
    /// # Errors
    /// TypeError for arguments that cannot travel.
    pub fn write(&self, out: &mut Encoder) -> Outcome<()> {
        let (kind, number) = match self {
            Self::Hello(client, name) => {
                out.u64(0);
                client.iter().for_each(|word| out.u64(*word));
                out.str(name);
                return Ok(());
            }
            Self::Call(object, method, args) => {
                out.u64(1);
                out.u64(*object);
                out.str(method);
                return write_values(out, args);
            }
            Self::Create(typeid, args) => {
                out.u64(2);
                out.str(typeid);
                return write_values(out, args);
            }
            Self::Lend(object) => (3, *object),
            Self::Adopt(object) => (4, *object),
            Self::TakeBack(object) => (5, *object),
            Self::Drop(object) => (6, *object),
            Self::Count => (7, 0),
            Self::Describe => (8, 0),
            Self::Nothing => (9, 0),
            Self::Shutdown => (10, 0),
        };
        out.u64(kind);
        out.u64(number);
        Ok(())
    }

    /// Reads a request.
    ///
    /// # Errors
    /// UnpicklingError; AttributeError for a function that the server's program does not have.
    pub fn read(input: &mut Decoder<'_>) -> Outcome<Self> {
        let kind = input.u64()?;
        Ok(match kind {
            0 => Self::Hello([input.u64()?, input.u64()?], input.str()?.into()),
            1 => Self::Call(input.u64()?, input.str()?.into(), read_values(input)?),
            2 => Self::Create(input.str()?.into(), read_values(input)?),
            _ => {
                let object = input.u64()?;
                match kind {
                    3 => Self::Lend(object),
                    4 => Self::Adopt(object),
                    5 => Self::TakeBack(object),
                    6 => Self::Drop(object),
                    7 => Self::Count,
                    8 => Self::Describe,
                    9 => Self::Nothing,
                    10 => Self::Shutdown,
                    _ => return Err(Decoder::bad("a manager has no such request")),
                }
            }
        })
    }
}

impl Reply {
    /// Writes the answer.
    ///
    /// # Errors
    /// TypeError for a value that cannot travel.
    pub fn write(&self, out: &mut Encoder) -> Outcome<()> {
        match self {
            Self::Value(value) => {
                out.u64(0);
                out.value(value)?;
            }
            Self::Object(object, typeid, exposed) => {
                out.u64(1);
                out.u64(*object);
                out.str(typeid);
                write_exposed(out, exposed.as_deref());
            }
            Self::Raised(exception) => {
                out.u64(2);
                out.value(exception)?;
            }
            Self::Traceback(text) => {
                out.u64(3);
                out.str(text);
            }
            Self::Unserializable(text) => {
                out.u64(4);
                out.str(text);
            }
        }
        Ok(())
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// UnpicklingError.
    pub fn read(input: &mut Decoder<'_>) -> Outcome<Self> {
        Ok(match input.u64()? {
            0 => Self::Value(input.value()?),
            1 => Self::Object(input.u64()?, input.str()?.into(), read_exposed(input)?),
            2 => Self::Raised(input.value()?),
            3 => Self::Traceback(input.str()?.into()),
            4 => Self::Unserializable(input.str()?.into()),
            _ => return Err(Decoder::bad("a manager has no such answer")),
        })
    }
}

/// Writes the names of what may be called, if that is limited.
pub fn write_exposed(out: &mut Encoder, exposed: Option<&[String]>) {
    match exposed {
        None => out.u64(0),
        Some(names) => {
            out.u64(names.len() as u64 + 1);
            names.iter().for_each(|name| out.str(name));
        }
    }
}

/// Reads what [`write_exposed`] wrote.
///
/// # Errors
/// UnpicklingError.
pub fn read_exposed(input: &mut Decoder<'_>) -> Outcome<Option<Vec<String>>> {
    match input.u64()? {
        0 => Ok(None),
        count => (1..count).map(|_| Ok(input.str()?.to_string())).collect::<Outcome<_>>().map(Some),
    }
}
