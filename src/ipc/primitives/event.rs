//! A flag that threads of several processes wait for.

use std::io;

use crate::ipc::arena::Offset;
use crate::ipc::{Attempt, Monitor, Shared, Wake, Zeroed};
use crate::runtime::primitives::shared::SharedEvent;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Reason, Resource, Wait};

/// The state of one in shared memory.
#[repr(C)]
pub struct State {
    set: bool,
    /// Counts the sets: a waiter that is woken has seen one, even if the flag was cleared before it ran.
    sets: u64,
}

// SAFETY: all zero is an event that is not set; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for State {
    const KIND: u32 = u32::from_be_bytes(*b"Evnt");
}

/// An event in shared memory.
pub struct Event {
    label: Label,
    state: Shared<Monitor<State>>,
}

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { label, state: Shared::new()? }))
    }

    /// An event that stands like one that was not shared: set or not, after so many sets.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn standing(label: Label, set: bool, sets: u64) -> io::Result<Arc<Self>> {
        let event = Self::new(label)?;
        event.state.enter(|state, _| (state.set, state.sets) = (set, sets));
        Ok(event)
    }

    /// The event whose state this is, as another process sent it.
    pub fn of(label: Label, state: Shared<Monitor<State>>) -> Arc<Self> {
        Arc::new(Self { label, state })
    }

    /// The state, to be sent to another process.
    pub fn state(&self) -> &Shared<Monitor<State>> {
        &self.state
    }

    /// What tells the event from others, in every process.
    pub fn place(&self) -> Offset {
        self.state.place()
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Sets the flag and wakes everybody.
    pub fn set(&self) {
        self.state.change(Wake::All, |state, _| {
            state.set = true;
            state.sets = state.sets.wrapping_add(1);
        });
    }

    /// Clears the flag.
    pub fn clear(&self) {
        self.state.enter(|state, _| state.set = false);
    }

    /// Is the flag set?
    pub fn is_set(&self) -> bool {
        self.state.enter(|state, _| state.set)
    }

    /// Waits for the flag; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn wait(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        self.wait_after(wait, None)
    }

    /// As [`Event::wait`], of a waiter that came after so many sets.
    fn wait_after(self: &Arc<Self>, wait: &Wait, mut before: Option<u64>) -> Result<bool, Interrupt> {
        let seen = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state, _| {
                if state.set || *before.get_or_insert(state.sets) != state.sets {
                    Attempt::Done(())
                } else {
                    Attempt::Wait
                }
            },
        )?;
        Ok(seen.is_some())
    }
}

impl SharedEvent for Event {
    fn wait(self: Arc<Self>, wait: &Wait, seen: Option<u64>) -> Result<bool, Interrupt> {
        self.wait_after(wait, seen)
    }

    fn set(&self) {
        Self::set(self);
    }

    fn clear(&self) {
        Self::clear(self);
    }

    fn is_set(&self) -> bool {
        Self::is_set(self)
    }
}

impl Resource for Event {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn is_shared(&self) -> bool {
        !self.state.is_private()
    }
}
