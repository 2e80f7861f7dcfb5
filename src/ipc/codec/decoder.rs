//! Reading a message.

use std::io;
use std::os::fd::OwnedFd;

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map};

use super::super::deposits::{self, Receipt};
use super::super::shared::{Shared, Zeroed};
use super::{DEPTH, tag, travel};
use crate::language::builtins::bytearray::ByteArray;
use crate::language::builtins::range::Range;
use crate::language::cell::new_cell;
use crate::language::dict::Dict;
use crate::language::exception::{Class, Exception, Frame, Outcome, Traceback, raise, raise_io};
use crate::language::list::List;
use crate::language::native::Keywords;
use crate::language::pointer::Name;
use crate::language::types::Type;
use crate::runtime::stack_is_low;

/// Reads one message.
pub struct Decoder<'a> {
    left: &'a [u8],
    fds: Vec<Option<OwnedFd>>,
    /// The objects so far; nothing stands for one that is being made.
    objects: Vec<Option<Dynamic>>,
    depth: u32,
    shares_memory: bool,
}

impl<'a> Decoder<'a> {
    /// At the beginning of a message.
    pub fn new(bytes: &'a [u8], fds: Vec<OwnedFd>) -> Self {
        let fds = fds.into_iter().map(Some).collect();
        Self { left: bytes, fds, objects: Vec::new(), depth: 0, shares_memory: true }
    }

    /// At the beginning of a message that a process may have sent that does not share memory with this one.
    pub fn from_anybody(bytes: &'a [u8]) -> Self {
        Self { shares_memory: false, ..Self::new(bytes, Vec::new()) }
    }

    /// Checks that the message is over.
    ///
    /// # Errors
    /// UnpicklingError if it is not.
    pub fn finish(self) -> Outcome<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        Err(Self::bad("more bytes than it needs"))
    }

    /// The error for bytes that no encoder writes.
    #[cold]
    pub fn bad(what: &str) -> Box<EvalAltResult> {
        raise("UnpicklingError", format!("pickle data was truncated or is none of ours: {what}"))
    }

    fn take(&mut self, count: u64) -> Outcome<&'a [u8]> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.left.len());
        let (taken, left) = self.left.split_at(count.ok_or_else(|| Self::bad("it ends too early"))?);
        self.left = left;
        Ok(taken)
    }

    #[inline]
    fn byte(&mut self) -> Outcome<u8> {
        let (byte, left) = self.left.split_first().ok_or_else(|| Self::bad("it ends too early"))?;
        self.left = left;
        Ok(*byte)
    }

    fn word(&mut self) -> Outcome<[u8; 8]> {
        let (word, left) = self.left.split_first_chunk().ok_or_else(|| Self::bad("it ends too early"))?;
        self.left = left;
        Ok(*word)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// UnpicklingError.
    pub fn u64(&mut self) -> Outcome<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Self::bad("a number is too large"))
    }

    fn count(&mut self) -> Outcome<usize> {
        usize::try_from(self.u64()?).map_err(|_| Self::bad("a number is too large"))
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// UnpicklingError.
    pub fn bytes(&mut self) -> Outcome<&'a [u8]> {
        let count = self.u64()?;
        self.take(count)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// UnpicklingError.
    pub fn str(&mut self) -> Outcome<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Self::bad("a text is not UTF-8"))
    }

    /// Takes a file descriptor that came with the message, or fetches it from the sender.
    ///
    /// # Errors
    /// UnpicklingError when it did not come; OSError when the sender does not give it any more.
    pub fn fd(&mut self) -> Outcome<OwnedFd> {
        if let Some(index) = self.count()?.checked_sub(1) {
            let fd = self.fds.get_mut(index).and_then(Option::take);
            return fd.ok_or_else(|| Self::bad("a file descriptor did not come with it"));
        }
        let name = self.bytes()?.to_vec();
        let ticket = self.bytes()?.try_into().map_err(|_| Self::bad("a ticket of another length"))?;
        if !self.shares_memory {
            return Err(Self::bad("a file descriptor of another program"));
        }
        deposits::fetch(&Receipt { name, ticket }).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => raise(
                "ConnectionRefusedError",
                "the process that sent a file descriptor ended before it was fetched: let it live until the \
                 message is received",
            ),
            io::ErrorKind::NotFound => raise("OSError", "a file descriptor was fetched already"),
            _ => raise_io(&error, None),
        })
    }

    /// Takes over an object in shared memory.
    ///
    /// # Errors
    /// UnpicklingError if there is none of that type at the place.
    pub fn shared<T: Zeroed>(&mut self) -> Outcome<Shared<T>> {
        let place = self.u64()?;
        let object = if self.shares_memory { Shared::adopt(place) } else { None };
        object.ok_or_else(|| Self::bad("no such object is in shared memory"))
    }

    /// Reads so many values.
    ///
    /// # Errors
    /// As [`Decoder::value`].
    pub fn values(&mut self, count: u64) -> Outcome<Vec<Dynamic>> {
        // Every value takes a byte at least: a lie about their number must not cost memory.
        let most = self.left.len() as u64;
        let mut values = Vec::with_capacity(count.min(most) as usize);
        for _ in 0..count {
            values.push(self.value()?);
        }
        Ok(values)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// UnpicklingError; AttributeError for a function that this process's program does not have; what a
    /// registered type's `unpack` raises.
    pub fn value(&mut self) -> Outcome<Dynamic> {
        let value = match self.byte()? {
            tag::SMALL => i64::from(self.byte()? as i8).into(),
            tag::INT => self.word().map(i64::from_le_bytes)?.into(),
            tag::TEXT => ImmutableString::from(self.str()?).into(),
            tag::UNIT => Dynamic::UNIT,
            tag::FALSE => false.into(),
            tag::TRUE => true.into(),
            tag::FLOAT => self.word().map(f64::from_le_bytes)?.into(),
            tag::CHAR => {
                let code = u32::try_from(self.u64()?).ok().and_then(char::from_u32);
                code.ok_or_else(|| Self::bad("a character is none"))?.into()
            }
            tag::BLOB => Dynamic::from_blob(self.bytes()?.to_vec()),
            other => return self.container(other),
        };
        Ok(value)
    }

    fn container(&mut self, tag: u8) -> Outcome<Dynamic> {
        if self.depth >= DEPTH || stack_is_low() {
            let text = "maximum recursion depth exceeded while unpickling an object";
            return Err(raise("RecursionError", text));
        }
        self.depth += 1;
        let value = match tag {
            tag::ARRAY => self.items().map(Dynamic::from_array),
            tag::MAP => self.map().map(Dynamic::from_map),
            tag::KEYWORDS => self.map().map(|map| Dynamic::from(Keywords(map))),
            tag::FUNCTION | tag::CLOSURE | tag::NATIVE => self.function(tag),
            tag::AGAIN => self.again(),
            tag::VARIABLE..=tag::OBJECT => self.object(tag),
            _ => self.plain(tag),
        };
        self.depth -= 1;
        value
    }

    fn plain(&mut self, tag: u8) -> Outcome<Dynamic> {
        Ok(match tag {
            tag::RANGE => Dynamic::from(Range::new(self.int()?, self.int()?, self.int()?)?),
            tag::SLICE => Dynamic::from(self.int()?..self.int()?),
            tag::INCLUSIVE_SLICE => Dynamic::from(self.int()?..=self.int()?),
            tag::CLASS => Dynamic::from(Type::Named(self.str()?.into())),
            tag::EXCEPTION_CLASS => Dynamic::from(Type::Exception(self.class()?)),
            other => return Err(Self::bad(&format!("no value begins with {other}"))),
        })
    }

    fn int(&mut self) -> Outcome<i64> {
        self.value()?.as_int().map_err(|_| Self::bad("a bound is no number"))
    }

    fn items(&mut self) -> Outcome<Vec<Dynamic>> {
        let count = self.u64()?;
        self.values(count)
    }

    fn map(&mut self) -> Outcome<Map> {
        let count = self.u64()?;
        let mut map = Map::new();
        for _ in 0..count {
            let name = self.str()?;
            map.insert(name.into(), self.value()?);
        }
        Ok(map)
    }

    fn class(&mut self) -> Outcome<&'static Class> {
        let (module, name) = (self.str()?, self.str()?);
        Class::in_module(module, name).ok_or_else(|| Self::bad("an exception's class does not exist"))
    }

    fn function(&mut self, tag: u8) -> Outcome<Dynamic> {
        let name = self.str()?.to_string();
        let name = match tag {
            tag::FUNCTION => Name::Plain(name),
            tag::CLOSURE => Name::Closure(name),
            _ => Name::Native(name),
        };
        let mut function = name.resolve()?;
        let captured = self.items()?;
        if !captured.is_empty() {
            function.set_curry(captured);
        }
        Ok(function.into())
    }

    fn again(&mut self) -> Outcome<Dynamic> {
        let index = self.count()?;
        let object = self.objects.get(index).cloned().flatten();
        object.ok_or_else(|| Self::bad("it refers to an object that it does not contain"))
    }

    /// Reads an object. Those that may contain themselves are known before their contents are read.
    fn object(&mut self, tag: u8) -> Outcome<Dynamic> {
        let index = self.objects.len();
        self.objects.push(None);
        match tag {
            tag::VARIABLE => {
                let (cell, variable) = new_cell(Dynamic::UNIT);
                self.objects[index] = Some(variable.clone());
                let value = self.value()?.flatten();
                // Nobody else has the cell yet but values that were just made.
                if let Ok(mut held) = cell.try_write() {
                    *held = value;
                }
                Ok(variable)
            }
            tag::LIST => {
                let list = List::default();
                self.objects[index] = Some(Dynamic::from(list.clone()));
                list.replace(self.items()?);
                Ok(Dynamic::from(list))
            }
            tag::DICT => self.dict(index),
            tag::EXCEPTION => self.exception(index),
            tag::BYTEARRAY => {
                let buffer = Dynamic::from(ByteArray::new(self.bytes()?.to_vec()));
                self.objects[index] = Some(buffer.clone());
                Ok(buffer)
            }
            _ => {
                let name = self.str()?;
                let traveller = travel::of_tag(name)
                    .ok_or_else(|| Self::bad(&format!("no type of objects is called '{name}'")))?;
                let object = (traveller.unpack)(self)?;
                self.objects[index] = Some(object.clone());
                Ok(object)
            }
        }
    }

    fn dict(&mut self, index: usize) -> Outcome<Dynamic> {
        let dict = Dict::default();
        let value = Dynamic::from(dict.clone());
        self.objects[index] = Some(value.clone());
        for _ in 0..self.u64()? {
            let key = self.value()?;
            dict.set(key, self.value()?)?;
        }
        Ok(value)
    }

    fn exception(&mut self, index: usize) -> Outcome<Dynamic> {
        let class = self.class()?;
        let message = self.str()?.to_string();
        let exception = Exception::with_args(class, message, self.items()?);
        let value = Dynamic::from(exception.clone());
        self.objects[index] = Some(value.clone());
        for _ in 0..self.u64()? {
            let name = self.str()?;
            exception.set_attribute(name, self.value()?);
        }
        let mut frames = Vec::new();
        for _ in 0..self.u64()? {
            let file = self.str()?.to_string();
            let (line, column) = (self.count()?, self.count()?);
            frames.push(Frame { file, line, column, function: self.str()?.to_string() });
        }
        exception.set_traceback(Traceback::from_frames(frames));
        if let Some(cause) = self.value()?.try_cast::<Exception>() {
            let mut chain = std::iter::successors(Some(cause.clone()), Exception::cause);
            if chain.any(|earlier| earlier.identity() == exception.identity()) {
                return Err(Self::bad("an exception is its own cause"));
            }
            exception.set_cause(cause);
        }
        Ok(value)
    }
}
