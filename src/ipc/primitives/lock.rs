//! A lock between processes that any thread may release.

use std::io;
use std::sync::atomic::compiler_fence;

use super::holder::Holder;
use crate::ipc::arena::Offset;
use crate::ipc::{Attempt, Monitor, Shared, Wake, Zeroed};
use crate::runtime::primitives::NotLocked;
use crate::runtime::primitives::shared::SharedLock;
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::{Interrupt, Label, Reason, Resource, Wait};

/// The state of one in shared memory.
#[repr(C)]
pub struct State {
    locked: bool,
    /// The line where it was taken.
    line: u32,
    /// Who took it last.
    holder: Holder,
}

// SAFETY: all zero is a free lock; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for State {
    const KIND: u32 = u32::from_be_bytes(*b"Lock");
}

/// A mutual-exclusion lock in shared memory. It remembers who took it, but anybody may release it.
pub struct Lock {
    label: Label,
    state: Shared<Monitor<State>>,
}

impl Lock {
    /// A free lock.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { label, state: Shared::new()? }))
    }

    /// A lock that is taken, in the place of one that was not shared.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn taken(label: Label, holder: Holder, line: u32) -> io::Result<Arc<Self>> {
        let lock = Self::new(label)?;
        lock.state.enter(|state, _| (state.locked, state.holder, state.line) = (true, holder, line));
        Ok(lock)
    }

    /// The lock whose state this is, as another process sent it.
    pub fn of(label: Label, state: Shared<Monitor<State>>) -> Arc<Self> {
        Arc::new(Self { label, state })
    }

    /// The state, to be sent to another process.
    pub fn state(&self) -> &Shared<Monitor<State>> {
        &self.state
    }

    /// What tells the lock from others, in every process.
    pub fn place(&self) -> Offset {
        self.state.place()
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then not taken.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state, _| {
                if state.locked {
                    return Attempt::Wait;
                }
                state.holder = Holder::own();
                state.line = wait.site.line;
                compiler_fence(Ordering::SeqCst);
                state.locked = true;
                Attempt::Done(())
            },
        )?;
        Ok(taken.is_some())
    }

    /// Runs `f`, a few instructions, if nobody holds the lock, and as if the caller held it meanwhile; nothing if
    /// somebody does.
    pub fn inside<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        self.state.enter(|state, _| (!state.locked).then(f))
    }

    /// Frees the lock and wakes one waiter.
    ///
    /// # Errors
    /// [`NotLocked`] if it is free.
    pub fn release(&self) -> Result<(), NotLocked> {
        self.state.change_if(|state, _| match std::mem::take(&mut state.locked) {
            true => (Wake::One, Ok(())),
            false => (Wake::Nobody, Err(NotLocked)),
        })
    }

    /// Is it taken?
    pub fn is_locked(&self) -> bool {
        self.holder().is_some()
    }

    /// Who took it, while it is taken.
    pub fn holder(&self) -> Option<Holder> {
        self.state.enter(|state, _| state.locked.then_some(state.holder))
    }
}

impl SharedLock for Lock {
    fn acquire(self: Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        Self::acquire(&self, wait)
    }

    fn release(&self) -> Result<(), NotLocked> {
        Self::release(self)
    }

    fn is_locked(&self) -> bool {
        Self::is_locked(self)
    }
}

impl Resource for Lock {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn is_shared(&self) -> bool {
        !self.state.is_private()
    }

    fn is_stranded(&self) -> bool {
        self.holder().is_some_and(|holder| holder.process().end().is_some())
    }

    fn foreign_holder(&self) -> Option<String> {
        let (holder, line) =
            self.state.enter(|state, _| state.locked.then_some((state.holder, state.line)))?;
        Some(holder.describe(line))
    }
}
