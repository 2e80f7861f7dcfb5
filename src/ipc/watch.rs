//! Descriptors of the processes that this one asks about, so that asking again is one system call.
//!
//! A pidfd stays with its process: it says so when that is over, whoever has the number by then.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::runtime::sync::Mutex;

/// No more than so many are kept.
const MOST: usize = 64;

/// The processes, by whatever number the caller has for them; the one that was asked about last stands last.
static WATCHED: Mutex<Vec<(u64, OwnedFd)>> = Mutex::new(Vec::new());

/// Does the process live? Nothing if it is not watched.
pub(super) fn lives(process: u64) -> Option<bool> {
    let mut watched = WATCHED.lock();
    let at = watched.iter().rposition(|(known, _)| *known == process)?;
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&watched[at].1, PollFlags::IN)];
    let lives = poll(&mut fds, Some(&at_once)) == Ok(0);
    if lives {
        let last = watched.len() - 1;
        watched.swap(at, last);
    } else {
        watched.remove(at);
    }
    Some(lives)
}

/// The descriptor of the process with that number now; nothing if there is none, or no descriptor left.
pub(super) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Watches a process from now on.
pub(super) fn add(process: u64, descriptor: OwnedFd) {
    let mut watched = WATCHED.lock();
    watched.retain(|(known, _)| *known != process);
    if watched.len() == MOST {
        watched.remove(0);
    }
    watched.push((process, descriptor));
}

/// The calling process was just forked: what its parent watches is none of its business.
pub(super) fn after_fork() {
    WATCHED.lock().clear();
}
