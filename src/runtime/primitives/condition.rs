//! A condition variable on top of a lock that the script may share between several.

use std::io;
use std::sync::OnceLock;
use std::time::Instant;

use super::lock::Lock;
use super::rlock::RLock;
use super::shared::{Place, SharedCondition};
use crate::runtime::sync::Arc;
use crate::runtime::{
    Interrupt, Label, Monitor, Reason, Resource, Site, Until, Wait, WaitQueue, Waiter, Woken, block,
};

/// The calling thread does not hold the lock that it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOwned;

/// Why a wait at a condition did not begin.
#[derive(Debug)]
pub enum WaitError {
    /// The lock is not held.
    NotOwned,
    /// There is no more shared memory.
    Memory(io::Error),
}

impl From<NotOwned> for WaitError {
    fn from(_: NotOwned) -> Self {
        Self::NotOwned
    }
}

impl From<io::Error> for WaitError {
    fn from(error: io::Error) -> Self {
        Self::Memory(error)
    }
}

/// The lock of a condition.
#[derive(Clone)]
pub enum Exclusive {
    /// A plain one. Taken by anybody counts as taken by the caller, as in CPython.
    Lock(Arc<Lock>),
    /// A reentrant one, which is freed completely for as long as the thread waits.
    RLock(Arc<RLock>),
}

impl Exclusive {
    /// Takes the lock; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; the lock is then as it was.
    pub fn acquire(&self, wait: &Wait) -> Result<bool, Interrupt> {
        match self {
            Self::Lock(lock) => lock.acquire(wait),
            Self::RLock(lock) => lock.acquire(wait),
        }
    }

    fn is_owned(&self) -> bool {
        match self {
            Self::Lock(lock) => lock.is_locked(),
            Self::RLock(lock) => lock.is_owned(),
        }
    }

    fn release_all(&self) -> Result<usize, NotOwned> {
        match self {
            Self::Lock(lock) => lock.release().map(|()| 1).map_err(|_| NotOwned),
            Self::RLock(lock) => lock.release_all(),
        }
    }

    fn acquire_times(&self, count: usize, wait: &Wait) -> Result<bool, Interrupt> {
        match self {
            Self::Lock(lock) => lock.acquire(wait),
            Self::RLock(lock) => lock.acquire_times(count, wait),
        }
    }
}

#[derive(Default)]
struct State {
    waiters: WaitQueue,
    /// The line is in shared memory.
    moved: bool,
    /// The places there of those who waited when it moved and have not taken them yet.
    places: Vec<(Arc<Waiter>, Box<dyn Place>)>,
}

/// A condition variable.
pub struct Condition {
    label: Label,
    lock: Exclusive,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedCondition>>,
}

impl Condition {
    /// A condition on `lock`.
    pub fn new(label: Label, lock: Exclusive) -> Arc<Self> {
        Arc::new(Self { label, lock, state: Monitor::default(), shared: OnceLock::new() })
    }

    /// One whose line is in shared memory from the beginning.
    pub fn promoted(label: Label, lock: Exclusive, shared: Arc<dyn SharedCondition>) -> Arc<Self> {
        let state = State { moved: true, ..State::default() };
        Arc::new(Self { label, lock, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedCondition> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The lock.
    pub fn lock(&self) -> &Exclusive {
        &self.lock
    }

    /// Moves the line into shared memory, unless it is there: `make` makes an empty one, and whoever waits gets a
    /// place in it. The lock has to be promoted as well.
    ///
    /// # Errors
    /// Those of `make`, and the system's when there is no room for the places; the condition is then as it was.
    pub fn promote<E: From<io::Error>>(
        &self,
        make: impl FnOnce() -> Result<Arc<dyn SharedCondition>, E>,
    ) -> Result<Arc<dyn SharedCondition>, E> {
        let mut state = self.state.enter();
        if state.moved {
            return Ok(Arc::clone(self.shared()));
        }
        let shared = make()?;
        let places =
            state.waiters.iter().map(|_| Arc::clone(&shared).enlist()).collect::<io::Result<Vec<_>>>()?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        state.moved = true;
        let waiters = state.waiters.take();
        waiters.iter().for_each(|waiter| waiter.wake());
        state.places = waiters.into_iter().zip(places).collect();
        Ok(shared)
    }

    /// Frees the lock, waits to be notified, and takes the lock again; false when the deadline came first.
    ///
    /// # Errors
    /// [`WaitError`] without the lock. [`Interrupt`] inside; the lock is then held again, unless the program is
    /// over.
    pub fn wait(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        site: Site,
    ) -> Result<Result<bool, Interrupt>, WaitError> {
        if !self.lock.is_owned() {
            return Err(WaitError::NotOwned);
        }
        let waiter = Waiter::new();
        let moved = {
            let mut state = self.state.enter();
            if !state.moved {
                state.waiters.push(&waiter);
            }
            state.moved
        };
        let wait = Wait { deadline, try_only: false, site };
        let (count, notified) = if moved {
            let place = Arc::clone(self.shared()).enlist()?;
            match self.lock.release_all() {
                Ok(count) => (count, place.wait(&wait)),
                Err(error) => {
                    place.leave();
                    return Err(error.into());
                }
            }
        } else {
            match self.lock.release_all() {
                Ok(count) => (count, self.wait_for_notification(&waiter, &wait)),
                Err(error) => {
                    // Somebody freed the lock behind the caller's back.
                    if let (_, Some(place)) = self.withdraw(&waiter) {
                        place.leave();
                    }
                    return Err(error.into());
                }
            }
        };
        Ok(self.take_again(count, site).and(notified))
    }

    /// Takes the waiter out: was it still in the line, and has it a place in the one in shared memory?
    fn withdraw(&self, waiter: &Arc<Waiter>) -> (bool, Option<Box<dyn Place>>) {
        let mut state = self.state.enter();
        let was_waiting = state.waiters.remove(waiter);
        let place = state.places.iter().position(|(owner, _)| Arc::ptr_eq(owner, waiter));
        (was_waiting, place.map(|at| state.places.swap_remove(at).1))
    }

    fn wait_for_notification(self: &Arc<Self>, waiter: &Arc<Waiter>, wait: &Wait) -> Result<bool, Interrupt> {
        let reason = Reason::Resource(Arc::clone(self) as _);
        let woken = block(Until::Notified(waiter), reason, wait.deadline, wait.site);
        let (was_waiting, place) = self.withdraw(waiter);
        match (woken, place) {
            // Woken to go on waiting in shared memory, perhaps at the very moment of the deadline.
            (Ok(_), Some(place)) => place.wait(wait),
            (Err(interrupt), Some(place)) => {
                place.leave();
                Err(interrupt)
            }
            (Ok(woken), None) => Ok(woken == Woken::Notified || !was_waiting),
            (Err(interrupt), None) => {
                if !was_waiting {
                    // It came together with a notification: pass that on.
                    self.wake(1);
                }
                Err(interrupt)
            }
        }
    }

    /// Takes the lock back; Ctrl-C meanwhile is reported only when the lock is held.
    fn take_again(&self, count: usize, site: Site) -> Result<(), Interrupt> {
        let mut pending = Ok(());
        loop {
            match self.lock.acquire_times(count, &Wait::forever(site)) {
                Ok(_) => return pending,
                Err(Interrupt::Stop) => return Err(Interrupt::Stop),
                Err(interrupt) => pending = Err(interrupt),
            }
        }
    }

    /// Wakes `n` of the threads that wait.
    ///
    /// # Errors
    /// [`NotOwned`] without the lock.
    pub fn notify(&self, n: usize) -> Result<(), NotOwned> {
        if !self.lock.is_owned() {
            return Err(NotOwned);
        }
        self.wake(n);
        Ok(())
    }

    fn wake(&self, n: usize) {
        let mut state = self.state.enter();
        if state.moved {
            drop(state);
            return self.shared().notify(n);
        }
        state.waiters.wake(n);
    }
}

impl Resource for Condition {
    fn describe(&self) -> String {
        format!("a notification of {}", self.label)
    }
}
