//! A flag that threads wait for.

use std::sync::OnceLock;

use super::shared::SharedEvent;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

#[derive(Default)]
struct State {
    set: bool,
    /// Counts the sets: a waiter that is woken has seen one, even if the flag was cleared before it ran.
    sets: u64,
    /// It is in shared memory.
    moved: bool,
    waiters: WaitQueue,
}

/// An event.
pub struct Event {
    label: Label,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedEvent>>,
}

impl Event {
    /// An event that is not set.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default(), shared: OnceLock::new() })
    }

    /// One that is in shared memory from the beginning.
    pub fn promoted(label: Label, shared: Arc<dyn SharedEvent>) -> Arc<Self> {
        let state = State { moved: true, ..State::default() };
        Arc::new(Self { label, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedEvent> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Moves the event into shared memory, unless it is there: `make` is told whether it is set, and how often it
    /// has been.
    ///
    /// # Errors
    /// Those of `make`; the event is then as it was.
    pub fn promote<E>(
        &self,
        make: impl FnOnce(bool, u64) -> Result<Arc<dyn SharedEvent>, E>,
    ) -> Result<Arc<dyn SharedEvent>, E> {
        let mut state = self.state.enter();
        if state.moved {
            return Ok(Arc::clone(self.shared()));
        }
        let shared = make(state.set, state.sets)?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        state.moved = true;
        state.waiters.wake_all();
        Ok(shared)
    }

    /// Sets the flag and wakes everybody.
    pub fn set(&self) {
        let mut state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().set();
        }
        state.set = true;
        state.sets += 1;
        state.waiters.wake_all();
    }

    /// Clears the flag.
    pub fn clear(&self) {
        let mut state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().clear();
        }
        state.set = false;
    }

    /// Is the flag set?
    pub fn is_set(&self) -> bool {
        let state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().is_set();
        }
        state.set
    }

    /// Waits for the flag; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn wait(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let mut before = None;
        let moved = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| {
                if state.moved {
                    return Some(true);
                }
                // Set since this waiter came: then it has seen the flag.
                let is_new = *before.get_or_insert(state.sets) != state.sets;
                (state.set || is_new).then_some(false)
            },
        )?;
        match moved {
            Some(false) => Ok(true),
            Some(true) => Arc::clone(self.shared()).wait(wait, before),
            None => Ok(false),
        }
    }
}

impl Resource for Event {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
