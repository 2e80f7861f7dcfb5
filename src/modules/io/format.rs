//! How the bytes of a file are what a script sees: mode, encoding, line ends, buffering.

use super::encoding::Codec;
use super::mode::Mode;
use super::newline::Newline;
use crate::language::exception::Outcome;

/// How much is read at a time at first, and how much may wait to be written.
pub(super) const BUFFER_SIZE: usize = 8192;

/// When what was written goes to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// At once, with one call for one `write`.
    Never,
    /// At the end of a line.
    Lines,
    /// When there is so much of it.
    Bytes(usize),
}

/// How a file's bytes are what a script sees.
#[derive(Clone, Debug)]
pub struct Format {
    /// What may be done with it.
    pub mode: Mode,
    /// The encoding of a text, and its way with errors.
    pub codec: Codec,
    /// The encoding's name, as it was given.
    pub encoding: String,
    /// Where lines end.
    pub newline: Newline,
    /// When what was written goes to the system.
    pub buffering: Buffering,
}

impl Format {
    /// UTF-8 text in the given mode, or bytes, and Python's defaults for the rest.
    ///
    /// # Errors
    /// ValueError for a wrong mode.
    pub fn of_mode(mode: &str) -> Outcome<Self> {
        Ok(Self::of(Mode::parse(mode)?))
    }

    /// The same for a mode that was read already.
    pub fn of(mode: Mode) -> Self {
        Self {
            mode,
            codec: Codec::UTF8,
            encoding: "UTF-8".into(),
            newline: Newline::Universal,
            buffering: Buffering::Bytes(BUFFER_SIZE),
        }
    }
}
