//! `input`: a line from standard input, waited for without the interpreter lock.

use std::io;
use std::os::fd::AsFd;

use rhai::Dynamic;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::sync::Mutex;
use crate::runtime::{Reason, Site, Until, block};

/// What was read of standard input and belongs to no line yet.
static UNREAD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

pub(super) fn fill(module: &mut NativeModule) {
    module.builtin("input(prompt='')", "Prints the prompt and waits for a line on standard input.", input);
}

fn input(call: &mut Call) -> Outcome<Dynamic> {
    if let Some(prompt) = call.argument(0) {
        call.realm().stdout.write(&value::str(&prompt)).map_err(|error| raise_io(&error, None))?;
    }
    match read_line(call.site())? {
        Some(line) => Ok(line.into()),
        None => Err(raise("EOFError", "EOF when reading a line")),
    }
}

/// Waits for a line on standard input and returns it without its end; nothing at the end of the input.
///
/// # Errors
/// KeyboardInterrupt, and OSError if standard input cannot be read.
pub fn read_line(site: Site) -> Outcome<Option<String>> {
    loop {
        if let Some(line) = try_line().map_err(|error| raise_io(&error, None))? {
            return Ok(line);
        }
        // Not under the buffer's lock: another thread that asks for input must be able to wait as well.
        let stdin = io::stdin();
        block(Until::Readable(stdin.as_fd()), Reason::External("input"), None, site).map_err(interrupted)?;
    }
}

/// A line if one is there without waiting; `Some(None)` at the end of the input.
fn try_line() -> io::Result<Option<Option<String>>> {
    let mut unread = UNREAD.lock();
    loop {
        if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = unread.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(Some(String::from_utf8_lossy(&line).into_owned())));
        }
        if !is_readable()? {
            return Ok(None);
        }
        let mut chunk = [0; 4096];
        let count = loop {
            match rustix::io::read(io::stdin(), &mut chunk) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        if count == 0 {
            let rest = std::mem::take(&mut *unread);
            let rest = (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
            return Ok(Some(rest));
        }
        unread.extend_from_slice(&chunk[..count]);
    }
}

fn is_readable() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        result => Ok(result? > 0),
    }
}
