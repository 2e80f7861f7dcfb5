//! `io`, and the builtin `open`: files, and texts and bytes that are like files.

mod buffer;
mod descriptor;
mod encoding;
mod file;
mod format;
mod memory;
mod methods;
mod mode;
mod named_pipe;
mod newline;

use std::borrow::Cow;
use std::sync::OnceLock;

use rhai::Dynamic;

use crate::language::builtins::bytearray::ByteArray;
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::os::path::path_argument;
use crate::runtime::{Site, detached};
use descriptor::Descriptor;
use format::BUFFER_SIZE;

pub use encoding::Codec;
pub use file::{File, flush_all};
pub use format::{Buffering, Format};
pub use mode::Mode;
pub use newline::Newline;

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("io");
    module
        .exceptions()
        .constant(
            "DEFAULT_BUFFER_SIZE",
            "How many bytes a file keeps before it writes them.",
            BUFFER_SIZE as i64,
        )
        .constant("SEEK_SET", "From the start of the file.", 0_i64)
        .constant("SEEK_CUR", "From the current place.", 1_i64)
        .constant("SEEK_END", "From the end of the file.", 2_i64)
        .class(
            "open(file, mode='r', buffering=-1, encoding=None, errors=None, newline=None)",
            "Opens a file to read (r), write (w), create (x) or append to (a), as text or bytes (b).",
            open,
        )
        .builtin("input(prompt='')", "Prints the prompt and waits for a line on standard input.", input);
    methods::register(&mut module);
    memory::register(&mut module);
    module
}

/// The process's standard input as a file. There is one, since what was read ahead is the next reader's.
pub fn standard_input() -> File {
    static STANDARD_INPUT: OnceLock<File> = OnceLock::new();
    STANDARD_INPUT
        .get_or_init(|| {
            let format = Format::of_mode("r").expect("a mode");
            File::over(Descriptor::StandardInput, "<stdin>".into(), format, Some("input"))
        })
        .clone()
}

/// Makes standard input an empty file, as it is in a child process.
pub fn close_stdin() {
    if let Ok(nothing) = std::fs::File::open("/dev/null") {
        // It fails only when interrupted before anything happened, or out of memory: the input is then shared.
        let _ = rustix::stdio::dup2_stdin(&nothing);
    }
    standard_input().forget_read_ahead();
}

/// Waits for a line on standard input and returns it without its end; nothing at the end of the input.
///
/// # Errors
/// KeyboardInterrupt, UnicodeDecodeError, and OSError if standard input cannot be read.
pub fn read_input_line(site: &dyn Fn() -> Site) -> Outcome<Option<String>> {
    let line = value::str(&standard_input().read_line(None, site)?);
    let without_end = line.strip_suffix('\n').unwrap_or(&line);
    Ok((!line.is_empty()).then(|| without_end.to_string()))
}

fn input(call: &mut Call) -> Outcome<Dynamic> {
    if let Some(prompt) = call.argument(0) {
        call.realm().stdout.write(&value::str(&prompt)).map_err(|error| raise_io(&error, None))?;
    }
    match read_input_line(&|| call.site())? {
        Some(line) => Ok(line.into()),
        None => Err(raise("EOFError", "EOF when reading a line")),
    }
}

/// The bytes of a blob or a bytearray; nothing for other values.
pub fn bytes_of(value: &Dynamic) -> Option<Vec<u8>> {
    if let Some(bytes) = value.read_lock::<ByteArray>() {
        return Some(bytes.to_vec());
    }
    value.as_blob_ref().ok().map(|bytes| bytes.clone())
}

/// Bytes that must be UTF-8.
///
/// # Errors
/// UnicodeDecodeError.
pub fn decode_utf8(bytes: &[u8]) -> Outcome<Cow<'_, str>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => Codec::UTF8.decode(bytes).map(Cow::from),
    }
}

fn open(call: &mut Call) -> Outcome<Dynamic> {
    let path = path_argument(call, 0)?;
    let mode = call.optional_text(1)?;
    let format = format_arguments(call, mode.as_deref().unwrap_or("r"), 2)?;
    let mut options = format.mode.options();
    let opened = if named_pipe::may_wait(&path, &format.mode) {
        let pipe = named_pipe::open(&path, &mut options, &format.mode, call.site()).map_err(interrupted)?;
        pipe.and_then(|pipe| File::new(pipe, path.clone(), format))
    } else {
        detached(|| File::new(options.open(&path)?, path.clone(), format))
    };
    Ok(Dynamic::from(opened.map_err(|error| raise_io(&error, Some(&path)))?))
}

/// The parameters `buffering, encoding, errors, newline` of a function that opens a file, from `first` on.
///
/// # Errors
/// ValueError, TypeError, LookupError.
pub fn format_arguments(call: &mut Call, mode: &str, first: usize) -> Outcome<Format> {
    format_for(call, Mode::parse(mode)?, first)
}

/// The same for a mode that was read already.
///
/// # Errors
/// ValueError, TypeError, LookupError.
pub fn format_for(call: &mut Call, mode: Mode, first: usize) -> Outcome<Format> {
    let mut format = Format::of(mode);
    let buffering = call.int_or(first, -1)?;
    let (encoding, errors) = (call.optional_text(first + 1)?, call.optional_text(first + 2)?);
    let newline = call.optional_text(first + 3)?;
    if format.mode.is_binary {
        let given = [("an encoding", &encoding), ("an errors", &errors), ("a newline", &newline)];
        if let Some((what, _)) = given.into_iter().find(|(_, argument)| argument.is_some()) {
            return Err(raise("ValueError", format!("binary mode doesn't take {what} argument")));
        }
    }
    format.codec = Codec::named(encoding.as_deref(), errors.as_deref())?;
    format.newline = Newline::named(newline.as_deref())?;
    if let Some(encoding) = encoding {
        format.encoding = encoding.into();
    }
    format.buffering = match buffering {
        0 if format.mode.is_binary => Buffering::Never,
        0 => return Err(raise("ValueError", "can't have unbuffered text I/O")),
        1 if !format.mode.is_binary => Buffering::Lines,
        2.. => Buffering::Bytes(usize::try_from(buffering).unwrap_or(BUFFER_SIZE)),
        _ => Buffering::Bytes(BUFFER_SIZE),
    };
    Ok(format)
}
