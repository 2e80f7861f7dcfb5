//! A counting semaphore between processes.

use std::io;

use crate::ipc::arena::Offset;
use crate::ipc::{Attempt, Monitor, Shared, Wake, Zeroed};
use crate::runtime::primitives::shared::SharedSemaphore;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Reason, Resource, Wait};

/// The state of one in shared memory.
#[repr(C)]
pub struct State {
    value: u64,
    /// What the value never exceeds.
    most: u64,
}

// SAFETY: all zero is a semaphore at 0; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for State {
    const KIND: u32 = u32::from_be_bytes(*b"Sema");
}

/// A counter in shared memory that is taken from, and waited for while it is zero.
pub struct Semaphore {
    label: Label,
    state: Shared<Monitor<State>>,
}

impl Semaphore {
    /// A semaphore that starts at `value` and never exceeds `most`.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label, value: u64, most: u64) -> io::Result<Arc<Self>> {
        let state = Shared::<Monitor<State>>::new()?;
        state.enter(|state, _| (state.value, state.most) = (value, most));
        Ok(Arc::new(Self { label, state }))
    }

    /// The semaphore whose state this is, as another process sent it.
    pub fn of(label: Label, state: Shared<Monitor<State>>) -> Arc<Self> {
        Arc::new(Self { label, state })
    }

    /// The state, to be sent to another process.
    pub fn state(&self) -> &Shared<Monitor<State>> {
        &self.state
    }

    /// What tells the semaphore from others, in every process.
    pub fn place(&self) -> Offset {
        self.state.place()
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Takes one; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state, _| match state.value.checked_sub(1) {
                Some(left) => {
                    state.value = left;
                    if left > 0 { Attempt::DoneWithMore(()) } else { Attempt::Done(()) }
                }
                None => Attempt::Wait,
            },
        )?;
        Ok(taken.is_some())
    }

    /// Gives `n` back, for as many waiters: the first is woken, and each wakes the next while there is more. False, and nothing is done, past the bound.
    pub fn release(&self, n: u64) -> bool {
        self.state.change_if(|state, _| {
            match state.value.checked_add(n).filter(|value| *value <= state.most) {
                Some(value) => {
                    state.value = value;
                    (Wake::One, true)
                }
                None => (Wake::Nobody, false),
            }
        })
    }

    /// How many are left.
    pub fn value(&self) -> u64 {
        self.state.enter(|state, _| state.value)
    }

    /// What the value never exceeds.
    pub fn most(&self) -> u64 {
        self.state.enter(|state, _| state.most)
    }
}

impl SharedSemaphore for Semaphore {
    fn acquire(self: Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        Self::acquire(&self, wait)
    }

    fn release(&self, n: u64) -> bool {
        Self::release(self, n)
    }

    fn value(&self) -> u64 {
        Self::value(self)
    }
}

impl Resource for Semaphore {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn is_shared(&self) -> bool {
        !self.state.is_private()
    }
}
