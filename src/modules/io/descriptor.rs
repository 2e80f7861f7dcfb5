//! What the system knows an open file by.

use std::fs;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A file descriptor.
pub(super) enum Descriptor {
    /// A file of our own, which is closed at the end.
    Owned(fs::File),
    /// The process's standard input, whichever that is at the moment.
    StandardInput,
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(file) => file.as_fd(),
            Self::StandardInput => rustix::stdio::stdin(),
        }
    }
}

impl Descriptor {
    /// Reads once; waits if it must.
    pub(super) fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Owned(file) => {
                let mut file = file;
                file.read(space)
            }
            Self::StandardInput => Ok(rustix::io::read(rustix::stdio::stdin(), space)?),
        }
    }

    /// The file, for what only files can do.
    pub(super) fn own(&self) -> io::Result<&fs::File> {
        match self {
            Self::Owned(file) => Ok(file),
            Self::StandardInput => Err(io::Error::from_raw_os_error(libc::ESPIPE)),
        }
    }

    /// Could it be read, or written, without waiting?
    pub(super) fn is_ready(&self, flags: PollFlags) -> bool {
        let mut fds = [PollFd::new(self, flags)];
        // An error is news, too: the read or write that follows will tell it.
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }

    /// The number by which the system knows it.
    pub(super) fn number(&self) -> i64 {
        self.as_fd().as_raw_fd().into()
    }

    /// Is it a terminal?
    pub(super) fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self)
    }

    /// Has it places that one can go to?
    pub(super) fn is_seekable(&self) -> bool {
        self.own().is_ok_and(|mut file| file.stream_position().is_ok())
    }
}
