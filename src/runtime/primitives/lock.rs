//! A lock that any thread may release, as CPython's.

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Site, Thread, Wait, WaitQueue, current};

/// It was released while nobody held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLocked;

#[derive(Default)]
struct State {
    locked: bool,
    /// Who took it and where; nobody if an embedder's thread did.
    holder: Option<(Arc<Thread>, Site)>,
    waiters: WaitQueue,
}

/// A mutual-exclusion lock. It does not know its owner: another thread may release it.
pub struct Lock {
    label: Label,
    state: Monitor<State>,
}

impl Lock {
    /// A free lock.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default() })
    }

    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then not taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| {
                (!state.locked).then(|| {
                    state.locked = true;
                    state.holder = current().map(|thread| (thread, wait.site));
                })
            },
        )?;
        Ok(taken.is_some())
    }

    /// Frees the lock and wakes one waiter.
    ///
    /// # Errors
    /// [`NotLocked`] if it is free.
    pub fn release(&self) -> Result<(), NotLocked> {
        let mut state = self.state.enter();
        if !state.locked {
            return Err(NotLocked);
        }
        state.locked = false;
        state.holder = None;
        state.waiters.wake_one();
        Ok(())
    }

    /// Is it taken?
    pub fn is_locked(&self) -> bool {
        self.state.enter().locked
    }
}

impl Resource for Lock {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn holder(&self) -> Option<(Arc<Thread>, Site)> {
        self.state.enter().holder.clone()
    }
}
