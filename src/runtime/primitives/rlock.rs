//! A lock that its owner may take again.

use super::condition::NotOwned;
use crate::runtime::sync::Arc;
use crate::runtime::{
    Interrupt, Label, Monitor, Reason, Resource, Site, Thread, ThreadId, Wait, WaitQueue, current,
};

#[derive(Default)]
struct State {
    owner: Option<ThreadId>,
    count: usize,
    holder: Option<(Arc<Thread>, Site)>,
    waiters: WaitQueue,
}

/// A reentrant lock: it belongs to a thread and is free again after as many releases as acquires.
pub struct RLock {
    label: Label,
    state: Monitor<State>,
}

fn own_id() -> Option<ThreadId> {
    current().map(|thread| thread.id())
}

impl RLock {
    /// A free lock.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default() })
    }

    /// Takes the lock `count` times at once; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire_times(self: &Arc<Self>, count: usize, wait: &Wait) -> Result<bool, Interrupt> {
        let own = own_id();
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| {
                (state.count == 0 || state.owner == own).then(|| {
                    if state.count == 0 {
                        state.owner = own;
                        state.holder = current().map(|thread| (thread, wait.site));
                    }
                    state.count += count;
                })
            },
        )?;
        Ok(taken.is_some())
    }

    /// Takes the lock once more; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        self.acquire_times(1, wait)
    }

    /// Gives one acquire back; the last one frees the lock and wakes a waiter.
    ///
    /// # Errors
    /// [`NotOwned`] if the calling thread does not hold it.
    pub fn release(&self) -> Result<(), NotOwned> {
        self.release_times(1)
    }

    fn release_times(&self, count: usize) -> Result<(), NotOwned> {
        let mut state = self.state.enter();
        if state.count == 0 || state.owner != own_id() {
            return Err(NotOwned);
        }
        state.count = state.count.saturating_sub(count);
        if state.count == 0 {
            state.owner = None;
            state.holder = None;
            state.waiters.wake_one();
        }
        Ok(())
    }

    /// Frees the lock however often it was taken; returns how often that was.
    ///
    /// # Errors
    /// [`NotOwned`] if the calling thread does not hold it.
    pub fn release_all(&self) -> Result<usize, NotOwned> {
        let count = self.count();
        if count == 0 || !self.is_owned() {
            return Err(NotOwned);
        }
        self.release_times(count).map(|()| count)
    }

    /// Does the calling thread hold it?
    pub fn is_owned(&self) -> bool {
        let state = self.state.enter();
        state.count > 0 && state.owner == own_id()
    }

    /// How often it is taken.
    pub fn count(&self) -> usize {
        self.state.enter().count
    }

    /// Who holds it.
    pub fn owner(&self) -> Option<ThreadId> {
        self.state.enter().owner
    }
}

impl Resource for RLock {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn holder(&self) -> Option<(Arc<Thread>, Site)> {
        self.state.enter().holder.clone()
    }
}
