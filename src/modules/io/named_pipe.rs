//! Opening a named pipe, which waits for whoever opens the other end.
//!
//! open(2) waits where Ctrl-C would not reach it. So the pipe is opened in the way that does not wait, and looked at
//! again and again until there is a process at the other end: the system tells no one who has just come there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, tee};

use super::mode::Mode;
use crate::runtime::{Interrupt, Reason, Site, Until, Waiter, block};

/// How long the thread sleeps between two looks, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Is it a named pipe, and opening it in this mode may wait?
pub(super) fn may_wait(path: &str, mode: &Mode) -> bool {
    mode.reads != mode.writes && Path::new(path).metadata().is_ok_and(|found| found.file_type().is_fifo())
}

/// Opens a named pipe. Blocks until another process, or thread, has opened the other end.
///
/// # Errors
/// The system's, inside what interrupted the wait.
pub(super) fn open(
    path: &str,
    options: &mut OpenOptions,
    mode: &Mode,
    site: Site,
) -> Result<io::Result<File>, Interrupt> {
    options.custom_flags(libc::O_NONBLOCK);
    let mut pause = FIRST_PAUSE;
    let mut reader = None;
    loop {
        let opened = match reader.take() {
            Some(file) => Ok(file),
            None => options.open(path),
        };
        match opened {
            Ok(file) if mode.writes => return Ok(made_to_wait(file)),
            Ok(file) => match has_had_writer(file.as_fd()) {
                Ok(true) => return Ok(made_to_wait(file)),
                Ok(false) => reader = Some(file),
                Err(error) => return Ok(Err(error)),
            },
            // Nobody reads.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => return Ok(Err(error)),
        }
        let waiter = Waiter::new();
        let until = Until::Notified(&waiter);
        let reason = Reason::External("the other end of a named pipe");
        block(until, reason, Some(Instant::now() + pause), site)?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Does a process have the pipe open for writing, or has one had it since this end was opened?
fn has_had_writer(pipe: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    if poll(&mut fds, Some(&Timespec::default()))? > 0 {
        return Ok(true);
    }
    // Copying what is in it without taking it fails in two ways: there is nothing yet, or nobody who could write.
    let (_copy_reader, copy) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match tee(pipe, copy, 1, SpliceFlags::NONBLOCK) {
        Ok(copied) => Ok(copied > 0),
        Err(Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The file as open(2) gives it out when it has waited itself.
fn made_to_wait(file: File) -> io::Result<File> {
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags.difference(OFlags::NONBLOCK))?;
    Ok(file)
}
