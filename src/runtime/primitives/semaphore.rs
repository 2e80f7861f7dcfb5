//! A counting semaphore, with or without an upper bound.

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

struct State {
    value: u64,
    waiters: WaitQueue,
}

/// A counter that threads take from, and wait for while it is zero.
pub struct Semaphore {
    label: Label,
    bound: Option<u64>,
    state: Monitor<State>,
}

impl Semaphore {
    /// A semaphore that starts at `value`; a bounded one never exceeds it.
    pub fn new(label: Label, value: u64, bounded: bool) -> Arc<Self> {
        let state = Monitor::new(State { value, waiters: WaitQueue::default() });
        Arc::new(Self { label, bound: bounded.then_some(value), state })
    }

    /// Takes one; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| {
                state.value = state.value.checked_sub(1)?;
                Some(())
            },
        )?;
        Ok(taken.is_some())
    }

    /// Gives `n` back and wakes as many waiters. False, and nothing is done, past the bound.
    pub fn release(&self, n: u64) -> bool {
        let mut state = self.state.enter();
        let value = state.value.saturating_add(n);
        if self.bound.is_some_and(|bound| value > bound) {
            return false;
        }
        state.value = value;
        state.waiters.wake(n as usize);
        true
    }

    /// How many are left.
    pub fn value(&self) -> u64 {
        self.state.enter().value
    }
}

impl Resource for Semaphore {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
