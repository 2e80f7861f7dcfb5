//! A flag that threads wait for.

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

#[derive(Default)]
struct State {
    set: bool,
    /// Counts the sets: a waiter that is woken has seen one, even if the flag was cleared before it ran.
    sets: u64,
    waiters: WaitQueue,
}

/// An event.
pub struct Event {
    label: Label,
    state: Monitor<State>,
}

impl Event {
    /// An event that is not set.
    pub fn new(label: Label) -> Arc<Self> {
        Arc::new(Self { label, state: Monitor::default() })
    }

    /// Sets the flag and wakes everybody.
    pub fn set(&self) {
        let mut state = self.state.enter();
        state.set = true;
        state.sets += 1;
        state.waiters.wake_all();
    }

    /// Clears the flag.
    pub fn clear(&self) {
        self.state.enter().set = false;
    }

    /// Is the flag set?
    pub fn is_set(&self) -> bool {
        self.state.enter().set
    }

    /// Waits for the flag; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn wait(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let before = self.state.enter().sets;
        let seen = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| (state.set || state.sets > before).then_some(()),
        )?;
        Ok(seen.is_some())
    }
}

impl Resource for Event {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
