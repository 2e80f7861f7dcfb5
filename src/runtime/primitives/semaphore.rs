//! A counting semaphore, with or without an upper bound.

use std::sync::OnceLock;

use super::shared::SharedSemaphore;
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

struct State {
    /// 0 after the move, so that only who cannot go on asks whether it has moved.
    value: u64,
    /// It is in shared memory.
    moved: bool,
    waiters: WaitQueue,
}

/// A counter that threads take from, and wait for while it is zero.
pub struct Semaphore {
    label: Label,
    bound: Option<u64>,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedSemaphore>>,
}

impl Semaphore {
    /// A semaphore that starts at `value`; a bounded one never exceeds it.
    pub fn new(label: Label, value: u64, bounded: bool) -> Arc<Self> {
        let state = State { value, moved: false, waiters: WaitQueue::default() };
        let bound = bounded.then_some(value);
        Arc::new(Self { label, bound, state: Monitor::new(state), shared: OnceLock::new() })
    }

    /// One that is in shared memory from the beginning.
    pub fn promoted(label: Label, shared: Arc<dyn SharedSemaphore>) -> Arc<Self> {
        let state = State { value: 0, moved: true, waiters: WaitQueue::default() };
        Arc::new(Self { label, bound: None, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedSemaphore> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Moves the semaphore into shared memory, unless it is there: `make` is told its value and its bound.
    ///
    /// # Errors
    /// Those of `make`; the semaphore is then as it was.
    pub fn promote<E>(
        &self,
        make: impl FnOnce(u64, Option<u64>) -> Result<Arc<dyn SharedSemaphore>, E>,
    ) -> Result<Arc<dyn SharedSemaphore>, E> {
        let mut state = self.state.enter();
        if state.moved {
            return Ok(Arc::clone(self.shared()));
        }
        let shared = make(state.value, self.bound)?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        state.moved = true;
        state.value = 0;
        state.waiters.wake_all();
        Ok(shared)
    }

    /// Takes one; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let moved = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.waiters,
            |state| match state.value.checked_sub(1) {
                Some(left) => {
                    state.value = left;
                    Some(false)
                }
                None => state.moved.then_some(true),
            },
        )?;
        match moved {
            Some(false) => Ok(true),
            Some(true) => Arc::clone(self.shared()).acquire(wait),
            None => Ok(false),
        }
    }

    /// Gives `n` back and wakes as many waiters. False, and nothing is done, past the bound.
    pub fn release(&self, n: u64) -> bool {
        let mut state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().release(n);
        }
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
        let state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().value();
        }
        state.value
    }
}

impl Resource for Semaphore {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
