//! `communicate`: writes and reads all pipes of a program at once, so that neither side waits for the other.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rhai::Dynamic;
use rustix::event::epoll;
use rustix::io::Errno;

use super::popen::{Popen, deadline_in, input_bytes};
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::runtime::{Reason, Site, Until, Woken, block, detached};

/// How much is read or written at a time.
const CHUNK: usize = 1 << 16;

/// What was written and read so far: after a timeout it goes on from there.
#[derive(Default)]
pub struct Communication {
    has_begun: bool,
    input: Vec<u8>,
    sent: usize,
    /// Standard output and error.
    output: [Vec<u8>; 2],
}

/// One pipe, as long as it is open.
struct Pipe {
    /// 0 for standard input, 1 and 2 for output and error.
    index: usize,
    file: std::fs::File,
}

impl Popen {
    /// Writes the input to the program, reads everything that it writes, and waits for its end.
    ///
    /// # Errors
    /// TimeoutExpired, with what was read so far; it may then be called again. KeyboardInterrupt, OSError,
    /// UnicodeDecodeError.
    pub(super) fn communicate(
        &self,
        input: Option<&Dynamic>,
        timeout: Option<f64>,
        site: Site,
    ) -> Outcome<[Dynamic; 2]> {
        let mut state = std::mem::take(&mut *self.0.communication.lock());
        let result = self.go_on(&mut state, input, timeout, site);
        *self.0.communication.lock() = state;
        result
    }

    fn go_on(
        &self,
        state: &mut Communication,
        input: Option<&Dynamic>,
        timeout: Option<f64>,
        site: Site,
    ) -> Outcome<[Dynamic; 2]> {
        if state.has_begun && input.is_some() {
            return Err(raise("ValueError", "Cannot send input after starting communication"));
        }
        if let (Some(input), false) = (input, state.has_begun) {
            state.input = input_bytes(self, input)?;
        }
        let deadline = timeout.and_then(deadline_in);
        let mut pipes = self.open_pipes(state)?;
        state.has_begun = true;
        if !self.exchange(state, &mut pipes, deadline, site)? {
            let expired = self.timeout_expired(timeout.unwrap_or_default());
            // As in CPython: bytes also where the pipes are text.
            let partial = |bytes: &Vec<u8>| match bytes.is_empty() {
                true => Dynamic::UNIT,
                false => Dynamic::from_blob(bytes.clone()),
            };
            for name in ["output", "stdout"] {
                expired.set_attribute(name, partial(&state.output[0]));
            }
            expired.set_attribute("stderr", partial(&state.output[1]));
            return Err(expired.into_error());
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64());
        match (self.wait(left, site), timeout) {
            (Err(_), Some(timeout)) if self.0.poll().is_none() => {
                return Err(self.timeout_expired(timeout).into_error());
            }
            (result, _) => result?,
        };
        for file in self.0.files.iter().flatten() {
            file.close(&|| site)?;
        }
        let shown = |index: usize| match &self.0.files[index] {
            None => Ok(Dynamic::UNIT),
            Some(file) => file.shown(state.output[index - 1].clone()),
        };
        Ok([shown(1)?, shown(2)?])
    }

    /// The pipes that are still open, with copies of their descriptors. What the files' buffers hold is taken.
    fn open_pipes(&self, state: &mut Communication) -> Outcome<Vec<Pipe>> {
        let failed = |error: io::Error| raise_io(&error, None);
        let mut pipes = Vec::new();
        for (index, file) in self.0.files.iter().enumerate() {
            let Some(file) = file.as_ref().filter(|file| !file.is_closed()) else { continue };
            let copy = std::fs::File::from(file.copy_of_descriptor().map_err(failed)?);
            rustix::io::ioctl_fionbio(&copy, true).map_err(|error| failed(error.into()))?;
            let buffered = file.take_buffered();
            match index {
                0 => {
                    if !state.has_begun {
                        state.input.splice(0..0, buffered);
                    }
                    if state.sent == state.input.len() {
                        file.close(&Site::default)?;
                        continue;
                    }
                }
                _ => state.output[index - 1].extend(buffered),
            }
            pipes.push(Pipe { index, file: copy });
        }
        Ok(pipes)
    }

    /// Writes and reads until every pipe is closed; false if the deadline came first.
    fn exchange(
        &self,
        state: &mut Communication,
        pipes: &mut Vec<Pipe>,
        deadline: Option<Instant>,
        site: Site,
    ) -> Outcome<bool> {
        let failed = |error: io::Error| raise_io(&error, None);
        while !pipes.is_empty() {
            let set = watch(pipes).map_err(failed)?;
            let reason = Reason::External("a child's pipes");
            let woken = block(Until::Readable(set.as_fd()), reason, deadline, site).map_err(interrupted)?;
            if woken == Woken::TimedOut {
                return Ok(false);
            }
            let mut at = 0;
            while at < pipes.len() {
                let pipe = &mut pipes[at];
                let is_over = detached(|| match pipe.index {
                    0 => write_some(&mut pipe.file, state),
                    index => read_some(&mut pipe.file, &mut state.output[index - 1]),
                });
                if is_over.map_err(failed)? {
                    let pipe = pipes.swap_remove(at);
                    if let Some(file) = &self.0.files[pipe.index] {
                        drop(pipe.file);
                        file.close(&|| site)?;
                    }
                } else {
                    at += 1;
                }
            }
            // A program that closes its output and computes on may be out of time as well.
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) && !pipes.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A descriptor that can be read once any of the pipes is ready.
fn watch(pipes: &[Pipe]) -> io::Result<OwnedFd> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for pipe in pipes {
        let flags = if pipe.index == 0 { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::add(&set, &pipe.file, epoll::EventData::new_u64(pipe.index as u64), flags)?;
    }
    Ok(set)
}

/// Writes what goes without waiting; true once everything is written, or nobody reads it.
fn write_some(file: &mut std::fs::File, state: &mut Communication) -> io::Result<bool> {
    while state.sent < state.input.len() {
        match file.write(&state.input[state.sent..]) {
            Ok(count) => state.sent += count,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(false),
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::BrokenPipe => return Ok(true),
                _ => return Err(error),
            },
        }
    }
    Ok(true)
}

/// Reads what is there; true at the end.
fn read_some(file: &mut std::fs::File, output: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let length = output.len();
        output.try_reserve(CHUNK).map_err(|_| io::Error::from(Errno::NOMEM))?;
        output.resize(length + CHUNK, 0);
        let result = file.read(&mut output[length..]);
        output.truncate(length + result.as_ref().map_or(0, |count| *count));
        match result {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
