//! Open files.
//!
//! # Locks
//!
//! A file's state is behind a mutex of its own. Whoever may have to wait for it, or for the system with it in
//! hand, has given the interpreter lock up before: it is taken inside [`detached`], and let go there. While the
//! interpreter lock is held, the mutex is only ever tried, for what the buffers can serve without the system.
//!
//! # Waiting
//!
//! A regular file answers at once, as far as anybody can tell. A pipe, a terminal or a socket may not: there
//! the thread waits, in [`block`], until the system says that the next read or write will not have to. So
//! Ctrl-C reaches it, and the state is free for others meanwhile.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::Weak;

use rustix::event::PollFlags;

use super::buffer::Buffer;
use super::descriptor::Descriptor;
use super::format::{BUFFER_SIZE, Buffering, Format};
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::identity::Handle;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Reason, Site, Until, block, detached};

/// How much is read at a time at most.
const LARGEST_READ: usize = 1 << 20;
/// What a pipe that can be written takes without blocking.
const PIPE_CHUNK: usize = 4096;

/// An open file. Clones are the same file.
#[derive(Clone)]
pub struct File(pub(super) Arc<Inner>);

impl Handle for File {
    const NAME: &'static str = "TextIOWrapper";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let (name, format) = (&self.0.name, &self.0.format);
        let class = format.mode.class();
        match format.mode.is_binary {
            true => format!("<_io.{class} name='{name}'>"),
            false => format!(
                "<_io.{class} name='{name}' mode='{}' encoding='{}'>",
                format.mode.text, format.encoding
            ),
        }
    }
}

pub(super) struct Inner {
    /// As it was opened.
    pub(super) name: String,
    pub(super) format: Format,
    /// What reports call it if the system may make a thread wait for it.
    waits_for: Option<&'static str>,
    state: Mutex<State>,
}

struct State {
    /// Nothing once the file is closed. A thread that waits for the descriptor keeps it open.
    descriptor: Option<Arc<Descriptor>>,
    /// Read from the system and not by the script. Empty if `unwritten` is not, but for a socket's file.
    unread: Buffer,
    /// Written by the script and not to the system.
    unwritten: Buffer,
}

/// How far an operation came.
enum Step<R> {
    Done(R),
    /// The descriptor must become ready first.
    Wait(Arc<Descriptor>),
}

/// Why an operation failed.
enum Failure {
    Closed,
    System(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The error for any operation on a closed file.
pub(super) fn closed() -> Box<rhai::EvalAltResult> {
    raise("ValueError", "I/O operation on closed file.")
}

/// The files that may hold what the system has not got yet.
static WRITABLE: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

/// Writes out what open files still hold, as far as it takes no waiting. To be called when a process ends
/// without dropping its values.
pub fn flush_all() {
    let files: Vec<Arc<Inner>> = WRITABLE.lock().iter().filter_map(Weak::upgrade).collect();
    for file in files {
        let mut state = file.state.lock();
        file.write_what_goes(&mut state);
    }
}

impl File {
    /// Drops what was read from the system and not by the script: the descriptor leads elsewhere now.
    pub(super) fn forget_read_ahead(&self) {
        self.0.state.lock().unread = Buffer::default();
    }

    /// A file on top of one that the system has opened.
    ///
    /// # Errors
    /// The system's; a directory is none.
    pub fn new(file: fs::File, name: String, mut format: Format) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        let waits = kind.is_fifo() || kind.is_char_device() || kind.is_socket();
        if format.mode.appends {
            // Others may append to the same file: what one write() says must stay together.
            format.buffering = Buffering::Never;
            if !waits {
                (&file).seek(SeekFrom::End(0))?;
            }
        }
        if format.buffering == Buffering::Bytes(BUFFER_SIZE) && waits && rustix::termios::isatty(&file) {
            format.buffering = Buffering::Lines;
        }
        let file = Self::over(Descriptor::Owned(file), name, format, waits.then_some("a file"));
        if file.0.format.mode.writes {
            let mut writable = WRITABLE.lock();
            if writable.len() == writable.capacity() {
                writable.retain(|file| file.strong_count() > 0);
            }
            writable.push(Arc::downgrade(&file.0));
        }
        Ok(file)
    }

    pub(super) fn over(
        descriptor: Descriptor,
        name: String,
        format: Format,
        waits_for: Option<&'static str>,
    ) -> Self {
        let state = State {
            descriptor: Some(Arc::new(descriptor)),
            unread: Buffer::default(),
            unwritten: Buffer::default(),
        };
        Self(Arc::new(Inner { name, format, waits_for, state: Mutex::new(state) }))
    }

    /// Runs steps of an operation until it is done, and waits in between.
    fn run<R>(
        &self,
        site: &dyn Fn() -> Site,
        flags: PollFlags,
        mut step: impl FnMut(&Inner, &mut State) -> Result<Step<R>, Failure>,
    ) -> Outcome<R> {
        loop {
            let reached = detached(|| step(&self.0, &mut self.0.state.lock()));
            let descriptor = match reached {
                Ok(Step::Done(result)) => return Ok(result),
                Ok(Step::Wait(descriptor)) => descriptor,
                Err(Failure::Closed) => return Err(closed()),
                Err(Failure::System(error)) => return Err(raise_io(&error, None)),
            };
            let fd = descriptor.as_fd();
            let until = if flags == PollFlags::IN { Until::Readable(fd) } else { Until::Writable(fd) };
            let reason = Reason::External(self.0.waits_for.unwrap_or("a file"));
            block(until, reason, None, site()).map_err(interrupted)?;
        }
    }

    /// Reads until `take` has found what it wants at the head of the bytes; it is told when no more will come,
    /// and must then be content with what there is.
    pub(super) fn read_until<R>(
        &self,
        site: &dyn Fn() -> Site,
        mut take: impl FnMut(&mut Buffer, bool) -> Option<R>,
    ) -> Outcome<R> {
        // What was read before may be enough.
        if let Some(mut state) = self.0.state.try_lock() {
            if state.descriptor.is_none() {
                drop(state);
                return Err(closed());
            }
            if !state.unread.is_empty()
                && let Some(found) = take(&mut state.unread, false)
            {
                return Ok(found);
            }
        }
        let mut size = BUFFER_SIZE;
        self.run(site, PollFlags::IN, |inner, state| {
            let descriptor = state.open()?;
            inner.write_all(state, &descriptor)?;
            loop {
                if let Some(found) = take(&mut state.unread, false) {
                    return Ok(Step::Done(found));
                }
                if inner.waits_for.is_some() && !descriptor.is_ready(PollFlags::IN) {
                    return Ok(Step::Wait(descriptor));
                }
                match state.unread.fill(size, |space| descriptor.read(space)) {
                    Ok(0) => {
                        return Ok(Step::Done(
                            take(&mut state.unread, true).expect("it takes what there is"),
                        ));
                    }
                    Ok(_) => size = (size * 2).min(LARGEST_READ),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // A socket's, which others read as well and were quicker.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && inner.waits_for.is_some() => {
                        return Ok(Step::Wait(descriptor));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    /// Writes bytes, or keeps them until there are enough.
    pub(super) fn write_bytes(&self, bytes: &[u8], site: &dyn Fn() -> Site) -> Outcome<()> {
        if let Some(mut state) = self.0.state.try_lock() {
            if state.descriptor.is_none() {
                drop(state);
                return Err(closed());
            }
            let is_free = state.unread.is_empty() || self.0.format.mode.is_duplex;
            if is_free && !self.0.must_go(state.unwritten.len() + bytes.len(), bytes) {
                state.unwritten.push(bytes);
                return Ok(());
            }
        }
        let mut is_kept = false;
        self.run(site, PollFlags::OUT, |inner, state| {
            let descriptor = state.open()?;
            if !is_kept {
                if !inner.format.mode.is_duplex {
                    state.give_back(&descriptor)?;
                }
                state.unwritten.push(bytes);
                is_kept = true;
                if !inner.must_go(state.unwritten.len(), bytes) {
                    return Ok(Step::Done(()));
                }
            }
            inner.write_step(state, &descriptor)
        })
    }

    /// Writes out what is kept.
    pub(super) fn flush(&self, site: &dyn Fn() -> Site) -> Outcome<()> {
        self.run(site, PollFlags::OUT, |inner, state| {
            let descriptor = state.open()?;
            inner.write_step(state, &descriptor)
        })
    }

    /// Writes out what is kept and closes the file, which may be closed already.
    ///
    /// # Errors
    /// The system's, when what is kept cannot be written.
    pub fn close(&self, site: &dyn Fn() -> Site) -> Outcome<()> {
        self.run(site, PollFlags::OUT, |inner, state| {
            let Some(descriptor) = state.descriptor.clone() else { return Ok(Step::Done(())) };
            let result = inner.write_step(state, &descriptor);
            if !matches!(result, Ok(Step::Wait(_))) {
                // Closed also when the last write failed, as in CPython.
                state.descriptor = None;
                state.unread.clear();
                state.unwritten.clear();
            }
            result
        })
    }

    /// Is the file closed?
    pub fn is_closed(&self) -> bool {
        if let Some(state) = self.0.state.try_lock() {
            return state.descriptor.is_none();
        }
        detached(|| self.0.state.lock().descriptor.is_none())
    }

    /// A copy of the descriptor, which stays open when the file is closed.
    ///
    /// # Errors
    /// The system's; EBADF once the file is closed.
    pub fn copy_of_descriptor(&self) -> io::Result<OwnedFd> {
        let descriptor = detached(|| self.0.state.lock().descriptor.clone());
        let descriptor = descriptor.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        descriptor.as_fd().try_clone_to_owned()
    }

    /// What was read from the system and not by the script, or written by the script and not to the system: it is
    /// thereby taken out of the file.
    pub fn take_buffered(&self) -> Vec<u8> {
        detached(|| {
            let mut state = self.0.state.lock();
            let mut bytes = std::mem::take(&mut state.unread);
            if bytes.is_empty() {
                bytes = std::mem::take(&mut state.unwritten);
            }
            let length = bytes.len();
            bytes.take(length)
        })
    }

    /// Asks the system something about the open file, after everything was written out.
    pub(super) fn ask<R>(
        &self,
        site: &dyn Fn() -> Site,
        mut question: impl FnMut(&Descriptor) -> io::Result<R>,
    ) -> Outcome<R> {
        self.run(site, PollFlags::OUT, |inner, state| {
            let descriptor = state.open()?;
            inner.write_all(state, &descriptor)?;
            Ok(Step::Done(question(&descriptor)?))
        })
    }

    /// Moves to another place, and returns which that is.
    pub(super) fn seek(&self, to: SeekFrom, site: &dyn Fn() -> Site) -> Outcome<u64> {
        self.run(site, PollFlags::OUT, |inner, state| {
            let descriptor = state.open()?;
            inner.write_all(state, &descriptor)?;
            state.give_back(&descriptor)?;
            let mut file = descriptor.own()?;
            Ok(Step::Done(file.seek(to)?))
        })
    }

    /// Where the next byte is read or written.
    pub(super) fn tell(&self, site: &dyn Fn() -> Site) -> Outcome<u64> {
        self.run(site, PollFlags::OUT, |_, state| {
            let descriptor = state.open()?;
            let at = descriptor.own()?.stream_position()?;
            Ok(Step::Done(at + state.unwritten.len() as u64 - state.unread.len() as u64))
        })
    }

    /// Cuts the file off at `size`, or lengthens it with zeros; without a size, at the current place.
    pub(super) fn truncate(&self, size: Option<u64>, site: &dyn Fn() -> Site) -> Outcome<u64> {
        self.run(site, PollFlags::OUT, |inner, state| {
            let descriptor = state.open()?;
            inner.write_all(state, &descriptor)?;
            state.give_back(&descriptor)?;
            let mut file = descriptor.own()?;
            let size = size.map_or_else(|| file.stream_position(), Ok)?;
            file.set_len(size)?;
            Ok(Step::Done(size))
        })
    }
}

impl State {
    fn open(&self) -> Result<Arc<Descriptor>, Failure> {
        self.descriptor.clone().ok_or(Failure::Closed)
    }

    /// Moves the system's place back to the script's, which is behind it by what was read ahead.
    fn give_back(&mut self, descriptor: &Descriptor) -> io::Result<()> {
        if !self.unread.is_empty() {
            let mut file = descriptor.own()?;
            file.seek(SeekFrom::Current(-(self.unread.len() as i64)))?;
            self.unread.clear();
        }
        Ok(())
    }
}

impl Inner {
    /// Must what is kept go to the system, now that `added` has come to it?
    fn must_go(&self, kept: usize, added: &[u8]) -> bool {
        match self.format.buffering {
            Buffering::Never => true,
            Buffering::Lines => kept > BUFFER_SIZE || added.contains(&b'\n') || added.contains(&b'\r'),
            Buffering::Bytes(size) => kept > size,
        }
    }

    /// Writes out what is kept, until that would have to wait.
    fn write_step(&self, state: &mut State, descriptor: &Arc<Descriptor>) -> Result<Step<()>, Failure> {
        while !state.unwritten.is_empty() {
            let mut bytes = state.unwritten.bytes();
            if self.waits_for.is_some() {
                if !descriptor.is_ready(PollFlags::OUT) {
                    return Ok(Step::Wait(Arc::clone(descriptor)));
                }
                bytes = &bytes[..bytes.len().min(PIPE_CHUNK)];
            }
            let mut file = descriptor.own()?;
            match file.write(bytes) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => state.unwritten.skip(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.waits_for.is_some() => {
                    return Ok(Step::Wait(Arc::clone(descriptor)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Step::Done(()))
    }

    /// Writes out what is kept before something else is done. Only a pipe could make it wait, and a pipe that is
    /// written is not read as well.
    fn write_all(&self, state: &mut State, descriptor: &Arc<Descriptor>) -> Result<(), Failure> {
        self.write_step(state, descriptor).map(drop)
    }

    /// Writes out what goes without waiting; what is left, and errors, nobody can be told of.
    fn write_what_goes(&self, state: &mut State) {
        if let Some(descriptor) = state.descriptor.clone() {
            let _ = self.write_step(state, &descriptor);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A file that nobody closed. The interpreter lock may be held, so this must not wait for anything.
        let mut state = std::mem::replace(
            self.state.get_mut(),
            State { descriptor: None, unread: Buffer::default(), unwritten: Buffer::default() },
        );
        self.write_what_goes(&mut state);
    }
}
