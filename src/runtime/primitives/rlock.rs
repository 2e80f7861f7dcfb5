//! A lock that its owner may take again.

use std::sync::OnceLock;

use super::condition::NotOwned;
use super::shared::{Held, SharedRLock};
use crate::runtime::sync::Arc;
use crate::runtime::{
    Interrupt, Label, Monitor, Reason, Resource, Site, Thread, ThreadId, Wait, WaitQueue, current, current_id,
};

#[derive(Default)]
struct State {
    owner: Option<ThreadId>,
    count: usize,
    /// It is in shared memory.
    moved: bool,
    holder: Option<(Arc<Thread>, Site)>,
    waiters: WaitQueue,
}

/// A reentrant lock: it belongs to a thread and is free again after as many releases as acquires.
pub struct RLock {
    label: Label,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedRLock>>,
}

/// It has moved: ask the one in shared memory.
struct Moved;

impl RLock {
    /// A free lock.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default(), shared: OnceLock::new() })
    }

    /// One that is in shared memory from the beginning.
    pub fn promoted(label: Label, shared: Arc<dyn SharedRLock>) -> Arc<Self> {
        let state = State { moved: true, ..State::default() };
        Arc::new(Self { label, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedRLock> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Moves the lock into shared memory, unless it is there: `make` is told who holds it and how often, if
    /// anybody does.
    ///
    /// # Errors
    /// Those of `make`; the lock is then as it was.
    pub fn promote<E>(
        &self,
        make: impl FnOnce(Option<(Held, usize)>) -> Result<Arc<dyn SharedRLock>, E>,
    ) -> Result<Arc<dyn SharedRLock>, E> {
        let mut state = self.state.enter();
        if state.moved {
            return Ok(Arc::clone(self.shared()));
        }
        let site = state.holder.as_ref().map(|(_, site)| *site).unwrap_or_default();
        let held = (state.count > 0).then_some((Held { thread: state.owner, site }, state.count));
        let shared = make(held)?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        state.moved = true;
        state.holder = None;
        state.waiters.wake_all();
        Ok(shared)
    }

    /// Takes the lock `count` times at once; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire_times(self: &Arc<Self>, count: usize, wait: &Wait) -> Result<bool, Interrupt> {
        let own = current_id();
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| {
                if state.moved {
                    return Some(Err(Moved));
                }
                (state.count == 0 || state.owner == own).then(|| {
                    if state.count == 0 {
                        state.owner = own;
                        state.holder = current().map(|thread| (thread, wait.site));
                    }
                    state.count += count;
                    Ok(())
                })
            },
        )?;
        match taken {
            Some(Err(Moved)) => Arc::clone(self.shared()).acquire_times(count, wait),
            taken => Ok(taken.is_some()),
        }
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
        match self.release_times(|_| 1) {
            Err(Moved) => self.shared().release(),
            Ok(released) => released.map(drop),
        }
    }

    /// Frees the lock however often it was taken; returns how often that was.
    ///
    /// # Errors
    /// [`NotOwned`] if the calling thread does not hold it.
    pub fn release_all(&self) -> Result<usize, NotOwned> {
        match self.release_times(|count| count) {
            Err(Moved) => self.shared().release_all(),
            Ok(released) => released,
        }
    }

    fn release_times(&self, times: impl FnOnce(usize) -> usize) -> Result<Result<usize, NotOwned>, Moved> {
        let mut state = self.state.enter();
        if state.moved {
            return Err(Moved);
        }
        if state.count == 0 || state.owner != current_id() {
            return Ok(Err(NotOwned));
        }
        let times = times(state.count);
        state.count = state.count.saturating_sub(times);
        if state.count == 0 {
            state.owner = None;
            state.holder = None;
            state.waiters.wake_one();
        }
        Ok(Ok(times))
    }

    /// What `look` says of the state.
    fn look<R>(&self, look: impl FnOnce(&State) -> R) -> Result<R, Moved> {
        let state = self.state.enter();
        if state.moved { Err(Moved) } else { Ok(look(&state)) }
    }

    /// Does the calling thread hold it?
    pub fn is_owned(&self) -> bool {
        self.look(|state| state.count > 0 && state.owner == current_id())
            .unwrap_or_else(|Moved| self.shared().is_owned())
    }

    /// How often it is taken.
    pub fn count(&self) -> usize {
        self.look(|state| state.count).unwrap_or_else(|Moved| self.shared().count())
    }

    /// Who holds it, as scripts number threads; 0 for a thread of another process.
    pub fn owner(&self) -> Option<i64> {
        self.look(|state| state.owner.map(ThreadId::ident)).unwrap_or_else(|Moved| self.shared().owner())
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
