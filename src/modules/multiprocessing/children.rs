//! The children of this process, and what becomes of them at its end.

use crate::language::exception::{Outcome, interrupted};
use crate::language::identity::Handle;
use crate::language::realm::Realm;
use crate::runtime::Site;
use crate::runtime::sync::{Arc, Mutex};

use super::process::ProcessHandle;

/// The children that were started and are not known to have ended.
#[derive(Default)]
pub(super) struct Children(Mutex<Vec<ProcessHandle>>);

impl Children {
    pub(super) fn add(&self, process: ProcessHandle) {
        self.0.lock().push(process);
    }

    pub(super) fn remove(&self, process: &ProcessHandle) {
        self.0.lock().retain(|known| known.identity() != process.identity());
    }

    /// Reaps those that have ended, as CPython does whenever a process is started or the children are listed.
    pub(super) fn reap(&self) {
        let ended = |process: &ProcessHandle| process.child().is_none_or(|child| child.exit_code().is_some());
        self.0.lock().retain(|process| !ended(process));
    }

    /// Those that run, after a look at each.
    pub(super) fn alive(&self) -> Vec<ProcessHandle> {
        self.reap();
        self.0.lock().clone()
    }

    /// Is the process with that number among them?
    pub(super) fn knows(&self, pid: rustix::process::Pid) -> bool {
        let pid = pid.as_raw_nonzero().get() as u32;
        self.0.lock().iter().any(|process| process.pid() == Some(pid))
    }

    /// In a forked child: they are the parent's.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}

/// The end of a process: its daemons are terminated, and then all its children are waited for.
///
/// # Errors
/// KeyboardInterrupt when Ctrl-C cut the wait short.
pub fn at_exit(realm: &Arc<Realm>) -> Outcome<()> {
    super::managers::shut_down_all(realm);
    let children = realm.extension::<Children>();
    let alive = children.alive();
    let (daemons, others): (Vec<_>, Vec<_>) = alive.into_iter().partition(ProcessHandle::is_daemon);
    for daemon in &daemons {
        if let Some(child) = daemon.child() {
            // It has just ended by itself: all the better.
            let _ = child.signal(rustix::process::Signal::TERM);
        }
    }
    for process in daemons.iter().chain(&others) {
        if let Some(child) = process.child() {
            child.wait(None, Site::default()).map_err(interrupted)?;
        }
        children.remove(process);
    }
    Ok(())
}
