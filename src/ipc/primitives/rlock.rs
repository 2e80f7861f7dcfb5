//! A lock between processes that its owner may take again.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::compiler_fence;

use super::holder::Holder;
use crate::ipc::arena::Offset;
use crate::ipc::waiters::Told;
use crate::ipc::{Attempt, Monitor, Shared, Wake, Zeroed};
use crate::runtime::primitives::NotOwned;
use crate::runtime::primitives::shared::SharedRLock;
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::{Interrupt, Label, Reason, Resource, Wait};

thread_local! {
    /// Those whom the calling thread has told something and who need a lock that it holds.
    static LATER: RefCell<Vec<(Offset, Told)>> = const { RefCell::new(Vec::new()) };
    /// A lock that the calling thread certainly holds, 0 for none: nobody else can change that.
    static HELD: Cell<Offset> = const { Cell::new(0) };
}

/// The calling thread is one of another process now.
pub(in crate::ipc) fn after_fork() {
    HELD.set(0);
}

/// The state of one in shared memory.
#[repr(C)]
pub struct State {
    /// How often its owner has taken it; 0 if it is free.
    count: u32,
    line: u32,
    owner: Holder,
}

// SAFETY: all zero is a free lock; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for State {
    const KIND: u32 = u32::from_be_bytes(*b"RLck");
}

/// A reentrant lock in shared memory: it belongs to one thread of one process.
pub struct RLock {
    label: Label,
    state: Shared<Monitor<State>>,
}

impl RLock {
    /// A free lock.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { label, state: Shared::new()? }))
    }

    /// A lock that is taken `count` times, in the place of one that was not shared.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn taken(label: Label, owner: Holder, count: u32, line: u32) -> io::Result<Arc<Self>> {
        let lock = Self::new(label)?;
        lock.state.enter(|state, _| (state.count, state.owner, state.line) = (count, owner, line));
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

    /// Takes the lock `count` times at once; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire_times(self: &Arc<Self>, count: u32, wait: &Wait) -> Result<bool, Interrupt> {
        let own = Holder::own();
        let taken = self.state.wait_until(
            wait,
            || Reason::Resource(Arc::clone(self) as _),
            |state, _| {
                if state.count > 0 && state.owner != own {
                    return Attempt::Wait;
                }
                if state.count == 0 {
                    state.owner = own;
                    state.line = wait.site.line;
                    compiler_fence(Ordering::SeqCst);
                }
                state.count = state.count.saturating_add(count);
                Attempt::Done(())
            },
        )?;
        if taken.is_some() {
            HELD.set(self.place());
        }
        Ok(taken.is_some())
    }

    /// Takes the lock once more; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        self.acquire_times(1, wait)
    }

    /// Runs `f`, a few instructions, if nobody else holds the lock, and as if the caller held it meanwhile; nothing
    /// if somebody else does.
    pub fn inside<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        if HELD.get() == self.place() {
            return Some(f());
        }
        let own = Holder::own();
        self.state.enter(|state, _| (state.count == 0 || state.owner == own).then(f))
    }

    /// Wakes those who were told something when the calling thread, which holds the lock, frees it: they need it,
    /// and woken now they would only go to sleep once more.
    pub(super) fn wake_when_free(&self, told: Told) {
        if !told.is_empty() {
            LATER.with_borrow_mut(|later| later.push((self.place(), told)));
        }
    }

    /// The calling thread is about to free the lock.
    fn is_held_no_more(&self) {
        if HELD.get() == self.place() {
            HELD.set(0);
        }
    }

    /// The calling thread has freed the lock.
    fn wake_told(&self) {
        LATER.with_borrow_mut(|later| {
            while let Some(at) = later.iter().position(|(lock, _)| *lock == self.place()) {
                later.remove(at).1.wake();
            }
        });
    }

    /// Gives one acquire back; the last one frees the lock and wakes a waiter.
    ///
    /// # Errors
    /// [`NotOwned`] if the calling thread does not hold it.
    pub fn release(&self) -> Result<(), NotOwned> {
        let own = Holder::own();
        // One that stays taken is of no interest to those who wait.
        let is_free = self.state.change_if(|state, _| {
            if state.count == 0 || state.owner != own {
                return (Wake::Nobody, Err(NotOwned));
            }
            state.count -= 1;
            if state.count == 0 {
                self.is_held_no_more();
            }
            (if state.count == 0 { Wake::One } else { Wake::Nobody }, Ok(state.count == 0))
        })?;
        if is_free {
            self.wake_told();
        }
        Ok(())
    }

    /// Frees the lock however often it was taken; returns how often that was.
    ///
    /// # Errors
    /// [`NotOwned`] if the calling thread does not hold it.
    pub fn release_all(&self) -> Result<u32, NotOwned> {
        let own = Holder::own();
        let count = self.state.change_if(|state, _| {
            if state.count == 0 || state.owner != own {
                return (Wake::Nobody, Err(NotOwned));
            }
            self.is_held_no_more();
            (Wake::One, Ok(std::mem::take(&mut state.count)))
        })?;
        self.wake_told();
        Ok(count)
    }

    /// Does the calling thread hold it?
    pub fn is_owned(&self) -> bool {
        self.owner().is_some_and(|(owner, _)| owner == Holder::own())
    }

    /// Who holds it, and how often.
    pub fn owner(&self) -> Option<(Holder, u32)> {
        self.state.enter(|state, _| (state.count > 0).then_some((state.owner, state.count)))
    }
}

impl SharedRLock for RLock {
    fn acquire_times(self: Arc<Self>, count: usize, wait: &Wait) -> Result<bool, Interrupt> {
        Self::acquire_times(&self, u32::try_from(count).unwrap_or(u32::MAX), wait)
    }

    fn release(&self) -> Result<(), NotOwned> {
        Self::release(self)
    }

    fn release_all(&self) -> Result<usize, NotOwned> {
        Self::release_all(self).map(|count| count as usize)
    }

    fn is_owned(&self) -> bool {
        Self::is_owned(self)
    }

    fn count(&self) -> usize {
        Self::owner(self).map_or(0, |(_, count)| count as usize)
    }

    fn owner(&self) -> Option<i64> {
        Self::owner(self).map(|(owner, _)| owner.ident().unwrap_or(0))
    }
}

impl Resource for RLock {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn is_shared(&self) -> bool {
        !self.state.is_private()
    }

    fn is_stranded(&self) -> bool {
        self.owner().is_some_and(|(owner, _)| owner.process().end().is_some())
    }

    fn foreign_holder(&self) -> Option<String> {
        let (owner, line) =
            self.state.enter(|state, _| (state.count > 0).then_some((state.owner, state.line)))?;
        Some(owner.describe(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Site;

    fn at_once() -> Wait {
        Wait { deadline: None, try_only: true, site: Site::default() }
    }

    /// What a thread knows of the lock it holds must not outlive its holding it.
    #[test]
    fn inside_only_while_nobody_else_holds_it() {
        let lock = RLock::new(Label::default()).unwrap();
        let is_taken_by_another = || {
            std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let taken = lock.acquire(&at_once()).unwrap();
                    let inside = lock.inside(|| ());
                    assert_eq!(inside.is_some(), taken);
                    (taken && lock.release().is_ok(), inside)
                });
                other.join().unwrap().0
            })
        };
        assert!(is_taken_by_another());
        for give_back in [|lock: &RLock| lock.release(), |lock: &RLock| lock.release_all().map(|_| ())] {
            assert!(lock.acquire(&at_once()).unwrap());
            assert_eq!(lock.inside(|| 7), Some(7));
            assert!(!is_taken_by_another());
            give_back(&lock).unwrap();
            assert_eq!(lock.inside(|| 8), Some(8), "it is free");
            let (taken, free) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                let (lock, taken, free) = (&lock, &taken, &free);
                scope.spawn(move || {
                    assert!(lock.acquire(&at_once()).unwrap());
                    taken.wait();
                    free.wait();
                    lock.release().unwrap();
                });
                taken.wait();
                assert_eq!(lock.inside(|| 9), None, "another thread holds it");
                free.wait();
            });
        }
        // One of two is given back: it is still held.
        assert!(RLock::acquire_times(&lock, 2, &at_once()).unwrap());
        lock.release().unwrap();
        assert_eq!(lock.inside(|| 1), Some(1));
        assert!(!is_taken_by_another());
        lock.release().unwrap();
        assert!(is_taken_by_another());
    }
}
