//! What a process is to be started with: the parameters that `Popen`, `run` and the others share.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rhai::Dynamic;
use rustix::io::Errno;

use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::Call;
use crate::language::value;
use crate::modules::io::{Buffering, Codec, File, Format, Newline, bytes_of};
use crate::modules::os::descriptors;
use crate::modules::os::environment::Environment;
use crate::modules::socket::Socket;

/// `subprocess.PIPE`.
pub const PIPE: i64 = -1;
/// `subprocess.STDOUT`.
pub const STDOUT: i64 = -2;
/// `subprocess.DEVNULL`.
pub const DEVNULL: i64 = -3;

/// Where a stream of the child goes.
pub enum Stream {
    /// To where this process's goes.
    Inherited,
    /// To this process, by a pipe.
    Pipe,
    /// Nowhere.
    Null,
    /// Where the child's standard output goes.
    Output,
    /// To an open file.
    File(OwnedFd),
}

/// What a process is to be started with.
pub struct Options {
    /// As the script gave them.
    pub args: Dynamic,
    /// The program's name, and its arguments.
    pub words: Vec<OsString>,
    /// The program, if it is not the first word.
    pub executable: Option<OsString>,
    /// Standard input, output and error.
    pub streams: [Stream; 3],
    /// The working directory.
    pub cwd: Option<String>,
    /// The environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Does it begin a session?
    pub new_session: bool,
    /// The process group that it joins; 0 for one of its own.
    pub group: Option<i32>,
    /// How pipes are read.
    pub reads: Format,
    /// How pipes are written.
    pub writes: Format,
}

impl Options {
    /// Reads the parameters by their names.
    ///
    /// # Errors
    /// TypeError, ValueError, IndexError, OSError, LookupError.
    pub fn read(call: &mut Call) -> Outcome<Self> {
        let args = call.named("args").unwrap_or_default();
        let shell = call.named("shell").is_some_and(|shell| value::is_true(&shell));
        let words = words(&args, shell)?;
        let given = |call: &mut Call, name| call.named(name).filter(|value| !value.is_unit());
        let executable = given(call, "executable").map(|program| word(&program)).transpose()?;
        let streams = [
            stream(given(call, "stdin"), false)?,
            stream(given(call, "stdout"), false)?,
            stream(given(call, "stderr"), true)?,
        ];
        let cwd = given(call, "cwd").map(|path| word(&path)).transpose()?;
        let variables = match given(call, "env") {
            None => inherited_variables(call),
            Some(variables) => given_variables(&variables)?,
        };
        let new_session = call.named("start_new_session").is_some_and(|flag| value::is_true(&flag));
        let group = match given(call, "process_group") {
            None => None,
            Some(group) => {
                let number = group.as_int().ok().and_then(|group| i32::try_from(group).ok());
                Some(number.ok_or_else(|| raise("TypeError", "process_group must be an integer"))?)
            }
        };
        let (reads, writes) = formats(call)?;
        let cwd = cwd.map(|path| path.to_string_lossy().into_owned());
        Ok(Self { args, words, executable, streams, cwd, variables, new_session, group, reads, writes })
    }

    /// A shell command, whose output is text.
    ///
    /// # Errors
    /// ValueError for a command with a null in it.
    pub fn of_shell(call: &Call, command: &str) -> Outcome<Self> {
        let args = Dynamic::from(command.to_string());
        let words = words(&args, true)?;
        Ok(Self {
            args,
            words,
            executable: None,
            streams: [Stream::Inherited, Stream::Inherited, Stream::Inherited],
            cwd: None,
            variables: inherited_variables(call),
            new_session: false,
            group: None,
            reads: Format::of_mode("r")?,
            writes: Format::of_mode("w")?,
        })
    }

    /// The name in the error for a program that is not there.
    pub fn program(&self) -> String {
        let program = self.executable.as_ref().or(self.words.first());
        program.map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

fn words(args: &Dynamic, shell: bool) -> Outcome<Vec<OsString>> {
    let mut words = match value::sequence(args) {
        Some(words) => words.iter().map(word).collect::<Outcome<Vec<_>>>()?,
        None if args.is_int() => return Err(raise("TypeError", "'int' object is not iterable")),
        None => vec![word(args)?],
    };
    if words.is_empty() {
        return Err(raise("IndexError", "list index out of range: the program's name is missing"));
    }
    if shell {
        words.splice(0..0, ["/bin/sh".into(), "-c".into()]);
    }
    Ok(words)
}

fn word(value: &Dynamic) -> Outcome<OsString> {
    let bytes = match bytes_of(value) {
        Some(bytes) => bytes,
        None if value.is_string() || value.is_char() => value::str(value).into_bytes(),
        None => {
            let (kind, shown) = (value::type_name(value), value::repr(value));
            let text = format!("expected str, bytes or os.PathLike object, not {kind}: {shown}");
            return Err(raise("TypeError", text));
        }
    };
    if bytes.contains(&0) {
        return Err(raise("ValueError", "embedded null byte"));
    }
    Ok(OsString::from_vec(bytes))
}

fn stream(given: Option<Dynamic>, may_join: bool) -> Outcome<Stream> {
    let Some(given) = given else { return Ok(Stream::Inherited) };
    let system = |error: std::io::Error| raise_io(&error, None);
    if let Some(file) = given.read_lock::<File>() {
        return Ok(Stream::File(file.copy_of_descriptor().map_err(system)?));
    }
    if let Some(socket) = given.read_lock::<Socket>() {
        let fd = socket.open().map_err(|error| system(error.into()))?;
        return Ok(Stream::File(fd.try_clone().map_err(system)?));
    }
    let bad = || system(Errno::BADF.into());
    match given.as_int() {
        Ok(PIPE) => Ok(Stream::Pipe),
        Ok(STDOUT) if may_join => Ok(Stream::Output),
        Ok(DEVNULL) => Ok(Stream::Null),
        Ok(0) => copy(rustix::stdio::stdin()),
        Ok(1) => copy(rustix::stdio::stdout()),
        Ok(2) => copy(rustix::stdio::stderr()),
        Ok(number) => {
            let fd = descriptors::find(number).ok_or_else(bad)?;
            Ok(Stream::File(fd.try_clone().map_err(system)?))
        }
        Err(_) => {
            let kind = value::type_name(&given);
            Err(raise("AttributeError", format!("'{kind}' object has no attribute 'fileno'")))
        }
    }
}

fn copy(fd: impl AsFd) -> Outcome<Stream> {
    let copy = fd.as_fd().try_clone_to_owned().map_err(|error| raise_io(&error, None))?;
    Ok(Stream::File(copy))
}

fn inherited_variables(call: &Call) -> Vec<(OsString, OsString)> {
    let variables = call.realm().extension::<Environment>().variables();
    variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn given_variables(variables: &Dynamic) -> Outcome<Vec<(OsString, OsString)>> {
    let Some(entries) = value::mapping(variables) else {
        let kind = value::type_name(variables);
        return Err(raise("TypeError", format!("env must be a map or dict, not {kind}")));
    };
    let entries = entries.into_iter().map(|(name, value)| {
        let (name, value) = (word(&name)?, word(&value)?);
        if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
            let text = format!("illegal environment variable name: {}", name.to_string_lossy());
            return Err(raise("ValueError", text));
        }
        Ok((name, value))
    });
    entries.collect()
}

/// How pipes are read and written: as bytes, or as text if any parameter asks for that.
fn formats(call: &mut Call) -> Outcome<(Format, Format)> {
    let is_text = ["text", "universal_newlines"]
        .into_iter()
        .filter_map(|name| call.named(name))
        .any(|flag| value::is_true(&flag));
    let mut text = |name| call.named(name).filter(|value| !value.is_unit()).map(|v| value::str(&v));
    let (encoding, errors) = (text("encoding"), text("errors"));
    let buffering = call.named("bufsize").map_or(Ok(-1), |size| size.as_int());
    let buffering = buffering.map_err(|_| raise("TypeError", "bufsize must be an integer"))?;
    let is_text = is_text || encoding.is_some() || errors.is_some();
    let mut reads = Format::of_mode(if is_text { "r" } else { "rb" })?;
    let mut writes = Format::of_mode(if is_text { "w" } else { "wb" })?;
    for format in [&mut reads, &mut writes] {
        format.codec = Codec::named(encoding.as_deref(), errors.as_deref())?;
        format.newline = Newline::named(None)?;
        if let Some(encoding) = &encoding {
            format.encoding.clone_from(encoding);
        }
    }
    writes.buffering = match buffering {
        0 => Buffering::Never,
        1 => Buffering::Lines,
        size => usize::try_from(size).map_or(writes.buffering, Buffering::Bytes),
    };
    Ok((reads, writes))
}
