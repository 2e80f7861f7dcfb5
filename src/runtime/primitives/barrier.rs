//! A barrier: a fixed number of threads wait for one another, again and again.
//!
//! Every waiter is told by itself how its round ended, so that the next round may begin before the last one of
//! the round before has left.

use std::io;
use std::sync::OnceLock;

use super::shared::{Place, Places, SharedBarrier};
use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Until, Wait, WaitQueue, Waiter, block};

/// The barrier was broken, by an abort, a reset, a timeout or a failed action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Threads arrive.
    #[default]
    Filling,
    /// The last one has come and runs the action; nobody may enter.
    Acting,
    Broken,
    /// The barrier is in shared memory.
    Moved,
}

/// What a waiter is told.
enum Told {
    Opened,
    Broken,
    /// It goes on waiting at this place in shared memory.
    Moved(Box<dyn Place>),
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Counts the times that all have come.
    rounds: u64,
    /// Those who have come and wait for the others, in that order.
    waiting: Vec<Arc<Waiter>>,
    /// Those who were told something and have not gone yet.
    told: Vec<(Arc<Waiter>, Told)>,
    /// Those who came while the action ran.
    outside: WaitQueue,
}

impl State {
    fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.outside.wake_all();
    }

    /// Tells all who wait the same.
    fn tell(&mut self, what: fn() -> Told) {
        for waiter in self.waiting.drain(..) {
            waiter.wake();
            self.told.push((waiter, what()));
        }
    }

    fn break_up(&mut self) {
        self.tell(|| Told::Broken);
        self.enter_phase(Phase::Broken);
    }

    /// What the waiter was told; nothing if it still waits, and it is then taken out.
    fn withdraw(&mut self, waiter: &Arc<Waiter>) -> Option<Told> {
        self.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        let at = self.told.iter().position(|(owner, _)| Arc::ptr_eq(owner, waiter))?;
        Some(self.told.swap_remove(at).1)
    }
}

/// How the state stands that a barrier has when it is promoted.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// How many threads it takes.
    pub parties: usize,
    /// The last one has come, and its action runs.
    pub acting: bool,
    /// It is broken.
    pub broken: bool,
}

/// How an arrival at the barrier goes on.
enum Arrival {
    Broken,
    /// The caller is the last one, for the so-manieth time, and runs the action.
    Last(u64),
    /// The caller waits for the others.
    Waits(usize),
    Moved,
}

/// A barrier.
pub struct Barrier {
    label: Label,
    parties: usize,
    state: Monitor<State>,
    /// Set before the state says that it has moved.
    shared: OnceLock<Arc<dyn SharedBarrier>>,
}

impl Barrier {
    /// A barrier that opens when `parties` threads have come.
    pub fn new(label: Label, parties: usize) -> Arc<Self> {
        Arc::new(Self { label, parties, state: Monitor::default(), shared: OnceLock::new() })
    }

    /// One that is in shared memory from the beginning.
    pub fn promoted(label: Label, parties: usize, shared: Arc<dyn SharedBarrier>) -> Arc<Self> {
        let state = State { phase: Phase::Moved, ..State::default() };
        Arc::new(Self { label, parties, state: Monitor::new(state), shared: OnceLock::from(shared) })
    }

    fn shared(&self) -> &Arc<dyn SharedBarrier> {
        self.shared.get().expect("set before the state says that it has moved")
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// How many threads it takes.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// Moves the barrier into shared memory, unless it is there. `make` makes one that stands alike, with so many
    /// places taken as it is told, and returns those.
    ///
    /// # Errors
    /// Those of `make`; the barrier is then as it was.
    pub fn promote<E>(
        &self,
        make: impl FnOnce(Standing, usize) -> Result<(Arc<dyn SharedBarrier>, Places), E>,
    ) -> Result<Arc<dyn SharedBarrier>, E> {
        let mut state = self.state.enter();
        if state.phase == Phase::Moved {
            return Ok(Arc::clone(self.shared()));
        }
        let standing = Standing {
            parties: self.parties,
            acting: state.phase == Phase::Acting,
            broken: state.phase == Phase::Broken,
        };
        let (shared, places) = make(standing, state.waiting.len())?;
        // Only this function sets it, under the state's lock and once.
        let _ = self.shared.set(Arc::clone(&shared));
        let waiting = std::mem::take(&mut state.waiting);
        for (waiter, place) in waiting.into_iter().zip(places) {
            waiter.wake();
            state.told.push((waiter, Told::Moved(place)));
        }
        state.enter_phase(Phase::Moved);
        Ok(shared)
    }

    /// What `look` says of the state; nothing if it is in shared memory.
    fn look<R>(&self, look: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut state = self.state.enter();
        (state.phase != Phase::Moved).then(|| look(&mut state))
    }

    /// How many have come and wait.
    pub fn waiting(&self) -> usize {
        let waiting = |state: &mut State| if state.phase == Phase::Filling { state.waiting.len() } else { 0 };
        self.look(waiting).unwrap_or_else(|| self.shared().waiting())
    }

    /// Is it broken?
    pub fn is_broken(&self) -> bool {
        self.look(|state| state.phase == Phase::Broken).unwrap_or_else(|| self.shared().is_broken())
    }

    /// Waits for the others; returns a different number below `parties` to each of them. The last thread to
    /// come runs `action` first, while all the others still wait.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if the barrier is broken or breaks meanwhile; it does when `wait` is over, and when
    /// `action` fails. [`Interrupt`] breaks it too. The system's when it is shared and memory is used up.
    pub fn wait<E: From<BrokenBarrier> + From<Interrupt> + From<io::Error>>(
        self: &Arc<Self>,
        wait: &Wait,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        let waiter = Waiter::new();
        let arrived = self.state.wait_until(
            &Wait::forever(wait.site),
            || Reason::Resource(Arc::clone(self) as _),
            |state| &mut state.outside,
            |state| match state.phase {
                Phase::Broken => Some(Arrival::Broken),
                Phase::Moved => Some(Arrival::Moved),
                Phase::Acting => None,
                Phase::Filling if state.waiting.len() + 1 < self.parties => {
                    state.waiting.push(Arc::clone(&waiter));
                    Some(Arrival::Waits(state.waiting.len() - 1))
                }
                Phase::Filling => {
                    state.phase = Phase::Acting;
                    state.rounds += 1;
                    Some(Arrival::Last(state.rounds))
                }
            },
        )?;
        match arrived {
            None | Some(Arrival::Broken) => Err(BrokenBarrier.into()),
            Some(Arrival::Waits(index)) => self.wait_for_others(&waiter, wait).map(|()| index),
            Some(Arrival::Last(round)) => {
                let result = action();
                self.finish(round, result.is_ok());
                result.map(|()| self.parties - 1)
            }
            Some(Arrival::Moved) => self.wait_shared(wait, action),
        }
    }

    fn wait_shared<E: From<BrokenBarrier> + From<Interrupt> + From<io::Error>>(
        &self,
        wait: &Wait,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut action = Some(action);
        let mut failed = None;
        let mut run = || match action.take().map(|action| action()) {
            Some(Err(error)) => {
                failed = Some(error);
                false
            }
            _ => true,
        };
        let arrived = Arc::clone(self.shared()).wait(wait, &mut run);
        arrived.map_err(|failure| failure.into_error(failed))
    }

    /// The action of a round is over.
    fn finish(&self, round: u64, succeeded: bool) {
        let mut state = self.state.enter();
        match state.phase {
            // Otherwise a reset came first, and another round may have begun.
            Phase::Acting if state.rounds == round => {
                if succeeded {
                    state.tell(|| Told::Opened);
                    state.enter_phase(Phase::Filling);
                } else {
                    state.break_up();
                }
            }
            Phase::Moved => {
                drop(state);
                self.shared().finish(succeeded);
            }
            _ => {}
        }
    }

    fn wait_for_others<E: From<BrokenBarrier> + From<Interrupt>>(
        self: &Arc<Self>,
        waiter: &Arc<Waiter>,
        wait: &Wait,
    ) -> Result<(), E> {
        let reason = Reason::Resource(Arc::clone(self) as _);
        let woken = block(Until::Notified(waiter), reason, wait.deadline, wait.site);
        let told = {
            let mut state = self.state.enter();
            let told = state.withdraw(waiter);
            if told.is_none() {
                state.break_up();
            }
            told
        };
        match (woken, told) {
            (Ok(_), Some(Told::Moved(place))) => match place.wait(wait)? {
                true => Ok(()),
                false => Err(BrokenBarrier.into()),
            },
            (Err(interrupt), told) => {
                if let Some(Told::Moved(place)) = told {
                    place.leave();
                }
                Err(interrupt.into())
            }
            (Ok(_), Some(Told::Opened)) => Ok(()),
            (Ok(_), Some(Told::Broken) | None) => Err(BrokenBarrier.into()),
        }
    }

    /// Breaks the barrier: who waits, and who comes, gets [`BrokenBarrier`].
    pub fn abort(&self) {
        if self.look(State::break_up).is_none() {
            self.shared().abort();
        }
    }

    /// Makes the barrier as new; who waits gets [`BrokenBarrier`].
    pub fn reset(&self) {
        let reset = |state: &mut State| {
            state.tell(|| Told::Broken);
            state.enter_phase(Phase::Filling);
        };
        if self.look(reset).is_none() {
            self.shared().reset();
        }
    }
}

impl Resource for Barrier {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
