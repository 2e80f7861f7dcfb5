//! The methods of an open file.

use std::any::TypeId;
use std::io::SeekFrom;

use rhai::Dynamic;

use super::buffer::Buffer;
use super::bytes_of;
use super::file::{File, closed};
use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, raise};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::Site;

/// An operation that this kind of file does not have.
pub(super) fn unsupported(what: &str) -> Box<rhai::EvalAltResult> {
    raise("UnsupportedOperation", what)
}

/// The error for what should be bytes.
pub(super) fn no_bytes(value: &Dynamic) -> Box<rhai::EvalAltResult> {
    let (kind, shown) = (value::type_name(value), value::repr(value));
    raise("TypeError", format!("a bytes-like object is required, not '{kind}': {shown}"))
}

/// The argument `lines` of `writelines`: anything that `for` takes.
///
/// # Errors
/// TypeError for what cannot be iterated over.
pub(super) fn lines_argument(call: &mut Call) -> Outcome<Vec<Dynamic>> {
    let lines = call.required(0)?;
    iterate(call.context(), &lines)
}

/// The argument `size` of the reading methods: nothing for everything, which is what negative numbers mean.
///
/// # Errors
/// TypeError for anything but an integer or None.
pub(super) fn size_argument(call: &mut Call, index: usize) -> Outcome<Option<usize>> {
    let Some(size) = call.argument(index).filter(|size| !size.is_unit()) else { return Ok(None) };
    match size.as_int() {
        Ok(size) => Ok(usize::try_from(size).ok()),
        Err(_) => {
            let (kind, shown) = (value::type_name(&size), value::repr(&size));
            Err(raise("TypeError", format!("argument should be integer or None, not '{kind}': {shown}")))
        }
    }
}

impl File {
    fn is_binary(&self) -> bool {
        self.0.format.mode.is_binary
    }

    fn check_readable(&self) -> Outcome<()> {
        if self.is_closed() {
            return Err(closed());
        }
        match self.0.format.mode.reads {
            true => Ok(()),
            false => Err(unsupported(if self.is_binary() { "read" } else { "not readable" })),
        }
    }

    fn check_writable(&self) -> Outcome<()> {
        if self.is_closed() {
            return Err(closed());
        }
        match self.0.format.mode.writes {
            true => Ok(()),
            false => Err(unsupported(if self.is_binary() { "write" } else { "not writable" })),
        }
    }

    /// Bytes of the file as a script sees them: as they are, or as text.
    ///
    /// # Errors
    /// UnicodeDecodeError.
    pub fn shown(&self, bytes: Vec<u8>) -> Outcome<Dynamic> {
        if self.is_binary() {
            return Ok(Dynamic::from_blob(bytes));
        }
        let text = self.0.format.codec.decode(&bytes)?;
        Ok(self.0.format.newline.from_file(text).into())
    }

    /// Reads so many bytes or characters, or everything.
    ///
    /// # Errors
    /// As Python's `read`.
    pub fn read(&self, size: Option<usize>, site: &dyn Fn() -> Site) -> Outcome<Dynamic> {
        self.check_readable()?;
        let bytes = self.read_until(site, |unread, is_end| {
            let length = match size {
                None => is_end.then(|| unread.len()),
                Some(size) => self.length_of(unread.bytes(), size, is_end),
            };
            length.map(|length| unread.take(length))
        })?;
        self.shown(bytes)
    }

    /// How many bytes the first `size` bytes or characters are; nothing if they are not all there.
    fn length_of(&self, bytes: &[u8], size: usize, is_end: bool) -> Option<usize> {
        if self.is_binary() {
            return (bytes.len() >= size || is_end).then(|| bytes.len().min(size));
        }
        let format = &self.0.format;
        let mut at = 0;
        for _ in 0..size {
            let rest = &bytes[at..];
            if rest.is_empty() {
                return is_end.then_some(at);
            }
            at += match format.newline.translated_length(rest, is_end)? {
                0 => format.codec.first_length(rest, is_end)?,
                length => length,
            };
        }
        Some(at)
    }

    /// How many bytes the next line is; nothing if its end is not there.
    fn length_of_line(&self, unread: &Buffer, limit: Option<usize>, is_end: bool) -> Option<usize> {
        let bytes = unread.bytes();
        let line = match self.is_binary() {
            true => bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1),
            false => self.0.format.newline.line_length(bytes, is_end),
        };
        let line = line.or_else(|| is_end.then_some(bytes.len()));
        let most = limit.and_then(|limit| self.length_of(bytes, limit, is_end));
        match (line, most) {
            (Some(line), Some(most)) => Some(line.min(most)),
            (line, most) => line.or(most),
        }
    }

    /// The next line with its end; empty at the end of the file.
    ///
    /// # Errors
    /// As Python's `readline`.
    pub fn read_line(&self, limit: Option<usize>, site: &dyn Fn() -> Site) -> Outcome<Dynamic> {
        self.check_readable()?;
        let bytes = self.read_until(site, |unread, is_end| {
            self.length_of_line(unread, limit, is_end).map(|length| unread.take(length))
        })?;
        self.shown(bytes)
    }

    /// The lines that are left, or as many as hold more than `hint` bytes or characters.
    fn read_lines(&self, hint: Option<usize>, site: &dyn Fn() -> Site) -> Outcome<Vec<Dynamic>> {
        let mut lines = Vec::new();
        let mut total = 0;
        loop {
            let line = self.read_line(None, site)?;
            match value::length(&line) {
                None | Some(0) => return Ok(lines),
                Some(length) => total += length,
            }
            lines.push(line);
            if hint.is_some_and(|hint| hint > 0 && total > hint) {
                return Ok(lines);
            }
        }
    }

    /// What a script gives to be written, as bytes.
    ///
    /// # Errors
    /// TypeError for bytes where the file is text, and the other way round; UnicodeEncodeError.
    pub fn bytes_of_written(&self, argument: &Dynamic) -> Outcome<Vec<u8>> {
        self.written(argument).map(|(bytes, _)| bytes)
    }

    /// What a script wrote, as bytes, and how long it is in the script's eyes.
    fn written(&self, argument: &Dynamic) -> Outcome<(Vec<u8>, usize)> {
        if self.is_binary() {
            let bytes = bytes_of(argument).ok_or_else(|| no_bytes(argument))?;
            let length = bytes.len();
            return Ok((bytes, length));
        }
        if !argument.is_string() && !argument.is_char() {
            let kind = if argument.is_unit() { "None".into() } else { value::type_name(argument) };
            let shown = value::repr(argument);
            return Err(raise(
                "TypeError",
                format!("write() argument must be str, not {kind}: use str({shown})"),
            ));
        }
        let text = value::str(argument);
        let bytes = self.0.format.codec.encode(&self.0.format.newline.to_file(&text))?;
        Ok((bytes, text.chars().count()))
    }

    fn seek_argument(&self, call: &mut Call) -> Outcome<SeekFrom> {
        let (offset, whence) = (call.int(0)?, call.int_or(1, 0)?);
        if !self.is_binary() && matches!(whence, 1 | 2) && offset != 0 {
            let from = if whence == 1 { "cur" } else { "end" };
            return Err(unsupported(&format!("can't do nonzero {from}-relative seeks")));
        }
        match whence {
            0 => match u64::try_from(offset) {
                Ok(offset) => Ok(SeekFrom::Start(offset)),
                Err(_) => Err(raise("ValueError", format!("negative seek position {offset}"))),
            },
            1 => Ok(SeekFrom::Current(offset)),
            2 => Ok(SeekFrom::End(offset)),
            _ => Err(raise("ValueError", format!("invalid whence ({whence}, should be 0, 1 or 2)"))),
        }
    }
}

/// Adds the class to the module.
pub(super) fn register(module: &mut NativeModule) {
    module.handle::<File>();
    attributes(module);
    reading(module);
    writing(module);
    places(module);
}

fn attributes(module: &mut NativeModule) {
    module
        .attribute::<File, _>("name", "The name that the file was opened by.", |file| {
            Ok(file.0.name.clone().into())
        })
        .attribute::<File, _>("mode", "The mode that the file was opened in.", |file| {
            Ok(file.0.format.mode.text.clone().into())
        })
        .attribute::<File, _>("encoding", "The text's encoding.", |file| match file.is_binary() {
            true => Err(raise("AttributeError", "a binary file has no attribute 'encoding'")),
            false => Ok(file.0.format.encoding.clone().into()),
        })
        .attribute::<File, _>("closed", "Is the file closed?", |file| Ok(file.is_closed().into()))
        .method::<File, _>("readable()", "May the file be read?", |file, _| {
            Ok(file.0.format.mode.reads.into())
        })
        .method::<File, _>("writable()", "May the file be written?", |file, _| {
            Ok(file.0.format.mode.writes.into())
        })
        .method::<File, _>("fileno()", "The file descriptor.", |file, call| {
            Ok(file.ask(&|| call.site(), |descriptor| Ok(descriptor.number()))?.into())
        })
        .method::<File, _>("isatty()", "Is it a terminal?", |file, call| {
            Ok(file.ask(&|| call.site(), |descriptor| Ok(descriptor.is_terminal()))?.into())
        })
        .method::<File, _>("seekable()", "Has the file places that one can go to?", |file, call| {
            Ok(file.ask(&|| call.site(), |descriptor| Ok(descriptor.is_seekable()))?.into())
        })
        .method::<File, _>("__enter__()", "Enters `with`: the file itself.", |file, _| {
            match file.is_closed() {
                true => Err(closed()),
                false => Ok(Dynamic::from(file.clone())),
            }
        })
        .method::<File, _>("__exit__(error=None)", "Leaves `with`: closes the file.", |file, call| {
            file.close(&|| call.site())?;
            Ok(Dynamic::UNIT)
        });
}

fn reading(module: &mut NativeModule) {
    module
        .method::<File, _>(
            "read(size=-1)",
            "Reads so many characters or bytes, or everything.",
            |file, call| {
                let size = size_argument(call, 0)?;
                file.read(size, &|| call.site())
            },
        )
        .method::<File, _>(
            "readline(size=-1)",
            "Reads a line; empty at the end of the file.",
            |file, call| {
                let limit = size_argument(call, 0)?;
                file.read_line(limit, &|| call.site())
            },
        )
        .method::<File, _>("readlines(hint=-1)", "Reads all lines that are left.", |file, call| {
            let hint = size_argument(call, 0)?;
            let lines = file.read_lines(hint, &|| call.site())?;
            Ok(Dynamic::from(List::new(lines)))
        });
    module.builtins.set_iter_result(TypeId::of::<File>(), |file: Dynamic| {
        let mut file = Some(file.cast::<File>());
        Box::new(std::iter::from_fn(move || {
            let line = file.as_ref()?.read_line(None, &Site::default);
            match line {
                Ok(line) if value::length(&line) == Some(0) => None,
                Ok(line) => Some(Ok(line)),
                Err(error) => {
                    file = None;
                    Some(Err(error))
                }
            }
        }))
    });
}

fn writing(module: &mut NativeModule) {
    module
        .method::<File, _>(
            "write(s)",
            "Writes a text or bytes; returns how many characters or bytes.",
            |file, call| {
                let argument = call.required(0)?;
                file.check_writable()?;
                let (bytes, length) = file.written(&argument)?;
                file.write_bytes(&bytes, &|| call.site())?;
                Ok((length as i64).into())
            },
        )
        .method::<File, _>(
            "writelines(lines)",
            "Writes several texts, and adds nothing to them.",
            |file, call| {
                let lines = lines_argument(call)?;
                file.check_writable()?;
                for line in lines {
                    let (bytes, _) = file.written(&line)?;
                    file.write_bytes(&bytes, &|| call.site())?;
                }
                Ok(Dynamic::UNIT)
            },
        )
        .method::<File, _>("flush()", "Gives the system what was written.", |file, call| {
            file.flush(&|| call.site())?;
            Ok(Dynamic::UNIT)
        })
        .method::<File, _>("close()", "Writes what is left and closes the file.", |file, call| {
            file.close(&|| call.site())?;
            Ok(Dynamic::UNIT)
        });
}

fn places(module: &mut NativeModule) {
    module
        .method::<File, _>(
            "seek(offset, whence=0)",
            "Goes to a place, counted in bytes; returns it.",
            |file, call| {
                let to = file.seek_argument(call)?;
                Ok((file.seek(to, &|| call.site())? as i64).into())
            },
        )
        .method::<File, _>("tell()", "The place of what is read or written next, in bytes.", |file, call| {
            Ok((file.tell(&|| call.site())? as i64).into())
        })
        .method::<File, _>("truncate(size=None)", "Cuts the file off at a size, or here.", |file, call| {
            let size = call.argument(0).filter(|size| !size.is_unit());
            if file.is_closed() {
                return Err(closed());
            }
            if !file.0.format.mode.writes {
                return Err(unsupported("truncate"));
            }
            let size = match size {
                None => None,
                Some(size) => {
                    let number = size.as_int().ok().and_then(|size| u64::try_from(size).ok());
                    Some(number.ok_or_else(|| {
                        let shown = value::repr(&size);
                        raise(
                            "OSError",
                            format!("[Errno 22] Invalid argument: a file cannot have the size {shown}"),
                        )
                    })?)
                }
            };
            Ok((file.truncate(size, &|| call.site())? as i64).into())
        });
}
