//! The processes of one family, and how one finds out that another is over.
//!
//! An object in shared memory remembers who holds it as a [`Member`]: the place of the process in a table in the
//! arena and a serial number, so that neither a process number nor a place that is used again is taken for the
//! process that had it before. Whoever reaps a process tells the table how it ended ([`ended`]); for one that
//! nobody has reaped yet, or whose parent is gone too, `/proc` is asked.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::compiler_fence;

use super::arena::{self, Offset};
use super::guard::Guard;
use super::watch;
use crate::runtime::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

/// How many processes the table holds at once.
const PLACES: usize = 4096;
/// So many places are used before one is used again, so that it is known for a while how a process ended.
const FRESH: usize = 256;
/// The longest name that is kept, in words of 8 bytes.
const NAME: usize = 5;
/// Set in a status that is known.
const KNOWN: u64 = 1 << 32;

/// What the table knows of a process.
#[repr(C)]
struct Record {
    /// Counted up with every process that gets the place; 0 if none has had it.
    serial: AtomicU32,
    pid: AtomicU32,
    /// When the process began, in the kernel's ticks since the machine started.
    start: AtomicU64,
    /// How it ended, as wait(2) says it, once that is known.
    status: AtomicU64,
    name: [AtomicU64; NAME],
}

#[repr(C)]
struct Table {
    guard: Guard,
    /// How many places have been used.
    used: AtomicU64,
    /// Where the search for a place begins.
    next: AtomicU64,
    records: [Record; PLACES],
}

/// A process of the family, as objects in shared memory remember it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Member(u64);

/// The calling process, once it has a place.
static OWN: AtomicU64 = AtomicU64::new(0);
/// The calling process's name, if it is not that of the main process.
static OWN_NAME: Mutex<Option<String>> = Mutex::new(None);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It is gone, and nobody saw how.
    Unknown,
}

impl End {
    /// Reads a status as wait(2) gives it.
    fn of_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }

    /// As wait(2) would give it.
    fn status(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some((code & 0xff) << 8),
            Self::Killed(signal) => Some(signal & 0x7f),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Killed(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by {name}"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Unknown => f.write_str("is over"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        _ => return None,
    })
}

impl Table {
    /// A place that no process has, or none that lives.
    fn free_place(&self) -> Option<usize> {
        let used = self.used.load(Ordering::Relaxed) as usize;
        if used < FRESH {
            return Some(used);
        }
        let from = self.next.load(Ordering::Relaxed) as usize;
        let again = (0..used).map(|step| (from + step) % used);
        again
            .into_iter()
            .find(|index| self.records[*index].end().is_some())
            .or((used < PLACES).then_some(used))
    }
}

fn table() -> io::Result<&'static Table> {
    const BYTES: u64 = size_of::<Table>() as u64;
    let root = arena::family()?;
    let mut at = root.load(Ordering::Acquire);
    if at == 0 {
        let made = arena::allocate(BYTES)?;
        at = match root.compare_exchange(0, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(first) => {
                arena::release(made, BYTES);
                first
            }
        };
    }
    let table = arena::at(at as Offset, BYTES).ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: the block was allocated for a table, stays allocated, and is made of atomics and a guard.
    Ok(unsafe { &*table.cast::<Table>() })
}

/// What the kernel says of a process.
struct Seen {
    start: u64,
    /// It has ended and was not reaped: with this status, if the kernel tells.
    zombie: Option<i32>,
}

/// Reads `/proc/PID/stat`; nothing if there is no such process. On the stack alone: what the fork server writes to has
/// to be copied for every child.
fn look_at(pid: u32) -> Option<Seen> {
    let mut path = [0; 24];
    let mut rest = &mut path[..];
    write!(rest, "/proc/{pid}/stat").ok()?;
    let left = rest.len();
    let path = std::str::from_utf8(&path[..path.len() - left]).ok()?;
    let (mut text, mut length) = ([0; 2048], 0);
    let mut file = fs::File::open(path).ok()?;
    while let count @ 1.. = file.read(text.get_mut(length..)?).ok()? {
        length += count;
    }
    // The second field is the program's name in parentheses and may contain anything.
    let end = text[..length].iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&text[end + 1..length]).ok()?.split_ascii_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X" | "x");
    let start = fields.nth(18)?.parse().ok()?;
    let status = fields.nth(29).and_then(|status| status.parse().ok()).unwrap_or(0);
    Some(Seen { start, zombie: is_over.then_some(status) })
}

/// Is there no process with that number, or has it ended?
pub(super) fn is_over(pid: u32) -> bool {
    look_at(pid).is_none_or(|seen| seen.zombie.is_some())
}

impl Record {
    fn set_name(&self, name: &str) {
        let mut bytes = [0; NAME * 8];
        let mut length = name.len().min(bytes.len());
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        for (word, bytes) in self.name.iter().zip(bytes.chunks_exact(8)) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
    }

    fn name(&self) -> String {
        let bytes: Vec<u8> =
            self.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// How the process ended that has the place; nothing if it has not.
    fn end(&self) -> Option<End> {
        self.known_end().or_else(|| self.seek_end())
    }

    /// How it ended, as whoever reaped it said.
    fn known_end(&self) -> Option<End> {
        let status = self.status.load(Ordering::Acquire);
        (status & KNOWN != 0).then(|| End::of_status(status as u32 as i32))
    }

    /// How it ended, as the system says.
    fn seek_end(&self) -> Option<End> {
        match look_at(self.pid.load(Ordering::Relaxed)) {
            Some(seen) if seen.start != self.start.load(Ordering::Relaxed) => Some(End::Unknown),
            Some(Seen { zombie: None, .. }) => None,
            Some(Seen { zombie: Some(status), .. }) => Some(End::of_status(status)),
            None => Some(End::Unknown),
        }
    }
}

impl Member {
    /// Nobody, or a process that found no place in the table.
    pub const NOBODY: Self = Self(0);

    /// The calling process.
    #[inline]
    pub fn own() -> Self {
        match OWN.load(Ordering::Relaxed) {
            0 => register(),
            own => Self(own),
        }
    }

    /// The process as a word in shared memory.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The opposite of [`Member::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn new(index: usize, serial: u32) -> Self {
        Self(u64::from(serial) << 32 | index as u64)
    }

    /// The record, if the place is still this process's.
    fn record(self) -> Option<&'static Record> {
        if self == Self::NOBODY {
            return None;
        }
        let record = table().ok()?.records.get(self.0 as u32 as usize)?;
        (record.serial.load(Ordering::Acquire) == (self.0 >> 32) as u32).then_some(record)
    }

    /// How the process ended; nothing if it lives, or if nothing is known of it. It may take a system call.
    pub fn end(self) -> Option<End> {
        if self == Self::NOBODY || self.0 == OWN.load(Ordering::Relaxed) {
            return None;
        }
        // Only the place of a process that is over is given to another one.
        let Some(record) = self.record() else { return Some(End::Unknown) };
        if let Some(end) = record.known_end() {
            return Some(end);
        }
        if watch::lives(self.0) == Some(true) {
            return None;
        }
        // Opened before it is looked at: if that one is the right one, so is the descriptor's.
        let descriptor = watch::open(record.pid.load(Ordering::Relaxed));
        let end = record.seek_end();
        if let (None, Some(descriptor)) = (end, descriptor) {
            watch::add(self.0, descriptor);
        }
        end
    }

    /// Has somebody said how the process ended? Never a system call.
    pub fn is_known_to_be_over(self) -> bool {
        self != Self::NOBODY && self.record().is_none_or(|record| record.known_end().is_some())
    }

    /// The process's number, if its place is still its own.
    pub fn pid(self) -> Option<u32> {
        self.record().map(|record| record.pid.load(Ordering::Relaxed))
    }

    /// The process's name, if its place is still its own.
    pub fn name(self) -> Option<String> {
        self.record().map(Record::name)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record() {
            Some(record) => write!(f, "{} (pid {})", record.name(), record.pid.load(Ordering::Relaxed)),
            None => f.write_str("another process"),
        }
    }
}

/// Gives the calling process a place in the table.
#[cold]
fn register() -> Member {
    let Ok(table) = table() else { return Member::NOBODY };
    let pid = std::process::id();
    let start = look_at(pid).map_or(0, |seen| seen.start);
    let name = OWN_NAME.lock().clone().unwrap_or_else(|| "MainProcess".into());
    let _held = table.guard.lock();
    match OWN.load(Ordering::Relaxed) {
        0 => {}
        // Another thread was quicker.
        own => return Member(own),
    }
    let Some(index) = table.free_place() else { return Member::NOBODY };
    let record = &table.records[index];
    // A process that is killed here leaves a place whose process is over: that of the one before.
    let serial = record.serial.load(Ordering::Relaxed).wrapping_add(1).max(1);
    record.serial.store(serial, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    record.start.store(start, Ordering::Relaxed);
    record.set_name(&name);
    record.pid.store(pid, Ordering::Relaxed);
    record.status.store(0, Ordering::Release);
    table.used.fetch_max(index as u64 + 1, Ordering::Relaxed);
    table.next.store(index as u64 + 1, Ordering::Relaxed);
    let own = Member::new(index, serial);
    OWN.store(own.0, Ordering::Relaxed);
    own
}

/// Names the calling process: `Process-1`. One that was never named is `MainProcess`.
pub fn set_name(name: &str) {
    *OWN_NAME.lock() = Some(name.into());
    if let Some(record) = Member(OWN.load(Ordering::Relaxed)).record() {
        record.set_name(name);
    }
}

/// The calling process's name.
pub fn own_name() -> String {
    OWN_NAME.lock().clone().unwrap_or_else(|| "MainProcess".into())
}

/// The process `pid` has ended. To be called before it is reaped: until then no other process can have its number.
pub fn ended(pid: u32, end: End) {
    let Some(status) = end.status() else { return };
    let Ok(root) = arena::family() else { return };
    if root.load(Ordering::Acquire) == 0 {
        return;
    }
    let Ok(table) = table() else { return };
    let used = table.used.load(Ordering::Acquire) as usize;
    for record in table.records.iter().take(used) {
        if record.pid.load(Ordering::Relaxed) == pid
            && record.status.load(Ordering::Relaxed) & KNOWN == 0
            && look_at(pid).is_none_or(|seen| seen.start == record.start.load(Ordering::Relaxed))
        {
            record.status.store(KNOWN | u64::from(status as u32), Ordering::Release);
        }
    }
}

/// The calling process was just forked: it has no place yet.
pub(super) fn after_fork() {
    OWN.store(0, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::own_process;

    /// Forks a child that takes its place and then waits to be killed; its number and its member.
    fn forked(name: &str) -> (libc::pid_t, Member) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        Member::own();
        // SAFETY: the child uses the table only, and is killed or ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            crate::ipc::after_fork();
            set_name(name);
            let own = Member::own();
            let _ = rustix::io::write(&write, &own.0.to_ne_bytes());
            loop {
                // SAFETY: a plain system call.
                unsafe { libc::pause() };
            }
        }
        drop(write);
        let mut own = [0; 8];
        assert_eq!(rustix::io::read(&read, &mut own), Ok(8));
        (child, Member(u64::from_ne_bytes(own)))
    }

    fn kill(child: libc::pid_t, signal: i32) {
        // SAFETY: a plain system call on a child of this test.
        unsafe { libc::kill(child, signal) };
    }

    fn reap(child: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: a plain system call on a child of this test.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status
    }

    /// Waits until the child is a zombie.
    fn until_over(child: libc::pid_t) {
        let mut info = std::mem::MaybeUninit::uninit();
        // SAFETY: a plain system call that leaves the child to be reaped later.
        unsafe { libc::waitid(libc::P_PID, child as u32, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
    }

    #[test]
    fn the_calling_process_lives() {
        let own = Member::own();
        assert_eq!((own.end(), own.pid()), (None, Some(std::process::id())));
        assert_eq!(Member::own(), own);
    }

    #[test]
    fn a_killed_child_is_seen_before_and_after_it_is_reaped() {
        if !own_process::is_own() {
            return;
        }
        let (child, member) = forked("Process-7");
        assert_eq!((member.end(), member.pid()), (None, Some(child as u32)));
        assert_eq!(member.to_string(), format!("Process-7 (pid {child})"));
        kill(child, libc::SIGKILL);
        until_over(child);
        assert_eq!(member.end(), Some(End::Killed(libc::SIGKILL)), "a zombie");
        reap(child);
        assert_eq!(member.end(), Some(End::Unknown), "reaped by somebody who did not say so");
    }

    #[test]
    fn who_reaps_says_how_it_ended() {
        if !own_process::is_own() {
            return;
        }
        let (child, member) = forked("Process-8");
        kill(child, libc::SIGTERM);
        until_over(child);
        ended(child as u32, End::Killed(libc::SIGTERM));
        reap(child);
        assert_eq!(member.end(), Some(End::Killed(libc::SIGTERM)));
        assert_eq!(member.end().unwrap().to_string(), "was killed by SIGTERM");
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        if !own_process::is_own() {
            return;
        }
        let (child, member) = forked("Process-9");
        let record = member.record().unwrap();
        record.start.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(member.end(), Some(End::Unknown), "it began at another time");
        kill(child, libc::SIGKILL);
        reap(child);
    }

    #[test]
    fn places_are_used_again() {
        if !own_process::is_own() {
            return;
        }
        let mut places = std::collections::HashSet::new();
        for _ in 0..FRESH + 50 {
            // SAFETY: the child uses the table only and ends by _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                crate::ipc::after_fork();
                let own = Member::own();
                // SAFETY: ends the process without running anything of the parent's.
                unsafe { libc::_exit(i32::from(own == Member::NOBODY)) };
            }
            assert_eq!(reap(child), 0, "it found a place");
            let used = table().unwrap().used.load(Ordering::Relaxed);
            places.insert(used);
        }
        assert!(places.len() <= FRESH + 20, "the table grows no more");
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        if !own_process::is_own() {
            return;
        }
        let (child, member) = forked(&"\u{8fdb}".repeat(20));
        assert_eq!(member.name().unwrap(), "\u{8fdb}".repeat(13));
        kill(child, libc::SIGKILL);
        reap(child);
    }
}
