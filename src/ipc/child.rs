//! A child process and its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::family::{self, End};
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Interrupt, Reason, Site, Until, block};

/// A child of this process, which alone waits for it.
pub struct Child {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    exit: Mutex<Option<i32>>,
}

impl Child {
    /// The child with that number, which has not been waited for.
    ///
    /// # Errors
    /// The system's, when there is no such process or no further descriptor.
    pub fn new(pid: Pid) -> io::Result<Self> {
        Ok(Self::watched(pid, pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// The child with that number, whose descriptor was opened already.
    pub(super) fn watched(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd: Arc::new(pidfd), exit: Mutex::default() }
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor that can be read once the child has ended.
    pub fn sentinel(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// How it ended: its status, or the negative number of the signal that ended it; nothing while it runs. A
    /// child that has ended is thereby reaped.
    pub fn exit_code(&self) -> Option<i32> {
        let mut exit = self.exit.lock();
        if exit.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            if !self.tell_family(options | WaitIdOptions::NOWAIT) {
                return None;
            }
            *exit = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(None) => None,
                Ok(Some(status)) => {
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| -signal))
                }
                // Somebody else waited for it: `os::wait()`. How it ended is lost.
                Err(_) => Some(255),
            };
        }
        *exit
    }

    /// Tells how the child ended, for those who wait for something that it held, while nobody else can have its
    /// number. False if it has not ended.
    fn tell_family(&self, options: WaitIdOptions) -> bool {
        let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(Some(status)) => status,
            Ok(None) => return false,
            Err(_) => return true,
        };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Exited(code),
            (None, Some(signal)) => End::Killed(signal),
            (None, None) => return true,
        };
        family::ended(self.pid.as_raw_nonzero().get() as u32, end);
        true
    }

    /// Blocks until the child has ended, or until `deadline`; false in the latter case.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn wait(&self, deadline: Option<Instant>, site: Site) -> Result<bool, Interrupt> {
        if self.exit.lock().is_some() {
            return Ok(true);
        }
        let reason = Reason::External("a process to end");
        block(Until::Readable(self.pidfd.as_fd()), reason, deadline, site)?;
        Ok(self.exit_code().is_some())
    }

    /// Sends the child a signal; one that has ended does not mind.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exit.lock().is_some() {
            return Ok(());
        }
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Lets Ctrl-C end the calling process at once and without a word, unless the process ignores it.
pub fn die_of_interrupts() {
    // SAFETY: replaces the handler by one of the system's own actions and runs no code of its own.
    unsafe {
        if libc::signal(libc::SIGINT, libc::SIG_DFL) == libc::SIG_IGN {
            libc::signal(libc::SIGINT, libc::SIG_IGN);
        }
    }
}

/// Lets the calling process take no notice of Ctrl-C.
pub fn ignore_interrupts() {
    // SAFETY: replaces the handler by none and runs no code of its own.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}
