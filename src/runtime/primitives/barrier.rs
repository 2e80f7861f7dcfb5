//! A barrier: a fixed number of threads wait for one another, again and again.

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

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
    /// The threads of this round leave.
    Draining,
    /// The threads of this round leave with an error; then it is filled anew.
    Resetting,
    Broken,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// How many are inside, arriving or leaving.
    count: usize,
    waiters: WaitQueue,
}

impl State {
    fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.waiters.wake_all();
    }

    fn leave(&mut self) {
        self.count -= 1;
        if self.count == 0 && matches!(self.phase, Phase::Resetting | Phase::Draining) {
            self.enter_phase(Phase::Filling);
        }
    }
}

/// A barrier.
pub struct Barrier {
    label: Label,
    parties: usize,
    state: Monitor<State>,
}

impl Barrier {
    /// A barrier that opens when `parties` threads have come.
    pub fn new(label: Label, parties: usize) -> Arc<Self> {
        Arc::new(Self { label, parties, state: Monitor::default() })
    }

    /// How many threads it takes.
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// How many have come and wait.
    pub fn waiting(&self) -> usize {
        let state = self.state.enter();
        if state.phase == Phase::Filling { state.count } else { 0 }
    }

    /// Is it broken?
    pub fn is_broken(&self) -> bool {
        self.state.enter().phase == Phase::Broken
    }

    /// Waits for the others; returns a different number below `parties` to each of them. The last thread to
    /// come runs `action` first, while all the others still wait.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if the barrier is broken or breaks meanwhile; it does when `wait` is over, and when
    /// `action` fails. [`Interrupt`] breaks it too.
    pub fn wait<E: From<BrokenBarrier> + From<Interrupt>>(
        self: &Arc<Self>,
        wait: &Wait,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        let reason = || Reason::Resource(Arc::clone(self) as _);
        let forever = Wait::forever(wait.site);
        let entered = self.state.wait_until(
            &forever,
            reason,
            |state| &mut state.waiters,
            |state| match state.phase {
                Phase::Broken => Some(Err(BrokenBarrier)),
                Phase::Filling => {
                    state.count += 1;
                    if state.count == self.parties {
                        state.phase = Phase::Acting;
                    }
                    Some(Ok(state.count - 1))
                }
                _ => None,
            },
        )?;
        let index = entered.unwrap_or(Err(BrokenBarrier))?;
        let result = if index + 1 == self.parties {
            let result = action();
            let mut state = self.state.enter();
            if state.phase == Phase::Acting {
                state.enter_phase(if result.is_ok() { Phase::Draining } else { Phase::Broken });
            }
            result
        } else {
            self.wait_for_others(wait)
        };
        self.state.enter().leave();
        result.map(|()| index)
    }

    fn wait_for_others<E: From<BrokenBarrier> + From<Interrupt>>(
        self: &Arc<Self>,
        wait: &Wait,
    ) -> Result<(), E> {
        let reason = || Reason::Resource(Arc::clone(self) as _);
        let left = self.state.wait_until(
            wait,
            reason,
            |state| &mut state.waiters,
            |state| match state.phase {
                Phase::Filling | Phase::Acting => None,
                Phase::Draining => Some(Ok(())),
                Phase::Resetting | Phase::Broken => Some(Err(BrokenBarrier)),
            },
        );
        match left {
            Ok(Some(result)) => Ok(result?),
            Ok(None) => {
                self.abort();
                Err(BrokenBarrier.into())
            }
            Err(interrupt) => {
                self.abort();
                Err(interrupt.into())
            }
        }
    }

    /// Breaks the barrier: who waits, and who comes, gets [`BrokenBarrier`].
    pub fn abort(&self) {
        self.state.enter().enter_phase(Phase::Broken);
    }

    /// Makes the barrier as new; who waits gets [`BrokenBarrier`].
    pub fn reset(&self) {
        let mut state = self.state.enter();
        let phase = if state.count > 0 { Phase::Resetting } else { Phase::Filling };
        state.enter_phase(phase);
    }
}

impl Resource for Barrier {
    fn describe(&self) -> String {
        self.label.to_string()
    }
}
