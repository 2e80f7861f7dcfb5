//! `sys.stdout` and `sys.stderr`: where `print` and tracebacks go.

use std::os::fd::AsFd;

use rhai::Dynamic;

use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;

/// One of the interpreter's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Output => "<stdout>",
            Self::Error => "<stderr>",
        }
    }

    fn fileno(self) -> i64 {
        match self {
            Self::Output => 1,
            Self::Error => 2,
        }
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Output => rustix::termios::isatty(std::io::stdout().as_fd()),
            Self::Error => rustix::termios::isatty(std::io::stderr().as_fd()),
        }
    }

    fn write(self, call: &Call, text: &str) -> Outcome<()> {
        let realm = call.realm();
        let output = match self {
            Self::Output => &realm.stdout,
            Self::Error => &realm.stderr,
        };
        output.write(text).map_err(|error| raise_io(&error, None))
    }
}

impl Handle for Stream {
    const NAME: &'static str = "TextIOWrapper";

    fn identity(&self) -> usize {
        // Not the address of anything, and the same for all handles of one stream.
        self.fileno() as usize
    }

    fn repr(&self) -> String {
        format!("<_io.TextIOWrapper name='{}' mode='w' encoding='utf-8'>", self.name())
    }
}

fn text(value: &Dynamic) -> Outcome<String> {
    if value.is_string() || value.is_char() {
        return Ok(value::str(value));
    }
    let (kind, shown) = (value::type_name(value), value::repr(value));
    Err(raise("TypeError", format!("write() argument must be str, not {kind}: use str({shown})")))
}

/// Adds the streams to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .handle::<Stream>()
        .constant("stdout", "Where print() writes.", Dynamic::from(Stream::Output))
        .constant("stderr", "Where errors are reported.", Dynamic::from(Stream::Error))
        .attribute::<Stream, _>("name", "What the stream is called.", |stream| Ok(stream.name().into()))
        .attribute::<Stream, _>("encoding", "How text becomes bytes.", |_| Ok("utf-8".into()))
        .attribute::<Stream, _>("closed", "Never.", |_| Ok(false.into()))
        .method::<Stream, _>(
            "write(text)",
            "Writes a text at once; returns how many characters it has.",
            |stream, call| {
                let text = text(&call.required(0)?)?;
                stream.write(call, &text)?;
                Ok((text.chars().count() as i64).into())
            },
        )
        .method::<Stream, _>(
            "writelines(lines)",
            "Writes several texts, and adds nothing to them.",
            |stream, call| {
                let lines = call.sequence(0)?;
                let texts = lines.iter().map(text).collect::<Outcome<Vec<String>>>()?;
                stream.write(call, &texts.concat())?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<Stream, _>("flush()", "Does nothing: what is written is written at once.", |_, _| {
            Ok(Dynamic::UNIT)
        })
        .method::<Stream, _>("fileno()", "The file descriptor.", |stream, _| Ok(stream.fileno().into()))
        .method::<Stream, _>("isatty()", "Is it a terminal?", |stream, _| Ok(stream.is_terminal().into()))
        .method::<Stream, _>("readable()", "Never.", |_, _| Ok(false.into()))
        .method::<Stream, _>("writable()", "Always.", |_, _| Ok(true.into()));
}
