//! A lock that any thread may release, as CPython's.

use std::sync::OnceLock;

use super::shared::{Held, SharedLock};
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Site, Thread, Wait, WaitQueue, current};

/// It was released while nobody held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLocked;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Free,
    Taken,
    /// It is in shared memory.
    Moved,
}

#[derive(Default)]
struct State {
    status: Status,
    /// Who took it and where; nobody if an embedder's thread did.
    holder: Option<(Arc<Thread>, Site)>,
    waiters: WaitQueue,
}

/// A mutual-exclusion lock. It does not know its owner: another thread may release it.
pub struct Lock {
    label: Label,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedLock>>,
}

impl Lock {
    /// A free lock.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default(), shared: OnceLock::new() })
    }

    /// One that is in shared memory from the beginning.
    pub fn promoted(label: Label, shared: Arc<dyn SharedLock>) -> Arc<Self> {
        let state = State { status: Status::Moved, ..State::default() };
        Arc::new(Self { label, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedLock> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Moves the lock into shared memory, unless it is there: `make` is told who holds it, if anybody does.
    ///
    /// # Errors
    /// Those of `make`; the lock is then as it was.
    pub fn promote<E>(
        &self,
        make: impl FnOnce(Option<Held>) -> Result<Arc<dyn SharedLock>, E>,
    ) -> Result<Arc<dyn SharedLock>, E> {
        let mut state = self.state.enter();
        if state.status == Status::Moved {
            return Ok(Arc::clone(self.shared()));
        }
        let holder = state.holder.as_ref();
        let held = (state.status == Status::Taken).then(|| Held {
            thread: holder.map(|(thread, _)| thread.id()),
            site: holder.map(|(_, site)| *site).unwrap_or_default(),
        });
        let shared = make(held)?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        state.status = Status::Moved;
        state.holder = None;
        state.waiters.wake_all();
        Ok(shared)
    }

    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then not taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let moved = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| match state.status {
                Status::Free => {
                    state.status = Status::Taken;
                    state.holder = current().map(|thread| (thread, wait.site));
                    Some(false)
                }
                Status::Taken => None,
                Status::Moved => Some(true),
            },
        )?;
        match moved {
            Some(false) => Ok(true),
            Some(true) => Arc::clone(self.shared()).acquire(wait),
            None => Ok(false),
        }
    }

    /// Frees the lock and wakes one waiter.
    ///
    /// # Errors
    /// [`NotLocked`] if it is free.
    pub fn release(&self) -> Result<(), NotLocked> {
        let mut state = self.state.enter();
        match state.status {
            Status::Taken => {
                state.status = Status::Free;
                state.holder = None;
                state.waiters.wake_one();
                Ok(())
            }
            Status::Free => Err(NotLocked),
            Status::Moved => {
                drop(state);
                self.shared().release()
            }
        }
    }

    /// Is it taken?
    pub fn is_locked(&self) -> bool {
        let status = self.state.enter().status;
        match status {
            Status::Moved => self.shared().is_locked(),
            status => status == Status::Taken,
        }
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
