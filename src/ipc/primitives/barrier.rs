//! A barrier between processes: a fixed number of threads wait for one another, again and again.

use std::io;
use std::sync::atomic::compiler_fence;

use crate::ipc::arena::Offset;
use crate::ipc::family::Member;
use crate::ipc::waiters::{Ticket, Told, Waiters};
use crate::ipc::{Attempt, Monitor, Shared, Wake, Zeroed};
use crate::runtime::primitives::shared::{BarrierFailure, Place, Places, SharedBarrier};
use crate::runtime::primitives::{BrokenBarrier, Standing};
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::{Interrupt, Label, Reason, Resource, Wait};

/// What a waiter is told when all have come.
const OPENED: u32 = 1;
/// What it is told when the barrier breaks.
const BROKEN: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Phase {
    /// Threads arrive.
    Filling = 0,
    /// The last one has come and runs the action; nobody may enter.
    Acting = 1,
    Broken = 2,
}

#[repr(C)]
struct State {
    phase: Phase,
    parties: u32,
    /// Who runs the action.
    acting: Member,
    /// Counts the times that all have come.
    rounds: u64,
    /// Those who have come and wait for the others.
    waiters: Waiters,
}

/// The state of one in shared memory.
#[repr(C)]
pub struct Memory {
    state: Monitor<State>,
}

// SAFETY: all zero is a barrier that is being filled; no pointers; changed under the monitor's guard.
unsafe impl Zeroed for Memory {
    const KIND: u32 = u32::from_be_bytes(*b"Barr");

    fn release(&self) {
        self.state.enter(|state, _| state.waiters.release());
    }
}

/// A barrier in shared memory.
pub struct Barrier {
    label: Label,
    parties: usize,
    memory: Shared<Memory>,
}

/// The number of the round whose action runs while a barrier is promoted.
const PROMOTED_ROUND: u64 = 1;

/// A place at the barrier for a thread that waited when it was promoted. Dropping it breaks the barrier.
struct Stand {
    barrier: Arc<Barrier>,
    ticket: Ticket,
}

impl Drop for Stand {
    fn drop(&mut self) {
        if !self.ticket.is_settled() {
            self.barrier.withdraw(&self.ticket);
        }
    }
}

impl Place for Stand {
    fn wait(self: Box<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let waited = self.barrier.wait_at(&self.ticket, wait);
        self.ticket.settle();
        waited
    }

    fn leave(self: Box<Self>) {}
}

/// How an arrival at the barrier goes on.
enum Arrival {
    /// The caller is the last one, for the so-manieth time, and runs the action.
    Last(u64),
    /// The caller waits for the others.
    Waits(usize),
    Broken,
}

impl Barrier {
    /// A barrier that opens when `parties` threads have come.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(label: Label, parties: usize) -> io::Result<Arc<Self>> {
        let memory = Shared::<Memory>::new()?;
        memory.state.enter(|state, _| state.parties = u32::try_from(parties).unwrap_or(u32::MAX));
        Ok(Arc::new(Self { label, parties, memory }))
    }

    /// A barrier that stands like one that was not shared, with so many places taken, which are returned.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn standing(label: Label, standing: Standing, waiting: usize) -> io::Result<(Arc<Self>, Places)> {
        let barrier = Self::new(label, standing.parties)?;
        let tickets = (0..waiting).map(|_| Ticket::new()).collect::<io::Result<Vec<_>>>()?;
        barrier.enter(|state| {
            tickets.iter().for_each(|ticket| state.waiters.push(ticket));
            if standing.acting {
                state.acting = Member::own();
                state.rounds = PROMOTED_ROUND;
                state.phase = Phase::Acting;
            } else if standing.broken {
                state.phase = Phase::Broken;
            }
        });
        let stand = |ticket| Box::new(Stand { barrier: Arc::clone(&barrier), ticket }) as Box<dyn Place>;
        let places = tickets.into_iter().map(stand).collect();
        Ok((barrier, places))
    }

    /// The barrier whose state this is, as another process sent it.
    pub fn of(label: Label, memory: Shared<Memory>) -> Arc<Self> {
        let parties = memory.state.enter(|state, _| state.parties as usize);
        Arc::new(Self { label, parties, memory })
    }

    /// The state, to be sent to another process.
    pub fn state(&self) -> &Shared<Memory> {
        &self.memory
    }

    /// What tells the barrier from others, in every process.
    pub fn place(&self) -> Offset {
        self.memory.place()
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// How many threads it takes.
    pub fn parties(&self) -> usize {
        self.parties
    }

    fn enter<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.memory.state.enter(repaired(f))
    }

    /// How many have come and wait.
    pub fn waiting(&self) -> usize {
        self.enter(|state| if state.phase == Phase::Filling { state.waiters.count() } else { 0 })
    }

    /// Is it broken?
    pub fn is_broken(&self) -> bool {
        self.enter(|state| state.phase == Phase::Broken)
    }

    fn reason(self: &Arc<Self>) -> Reason {
        Reason::Resource(Arc::clone(self) as _)
    }

    /// Waits for the others; returns a different number below `parties` to each of them. The last thread to
    /// come runs `action` first, while all the others still wait.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if the barrier is broken or breaks meanwhile; it does when `wait` is over, when
    /// `action` fails, and when the process that runs it is killed. [`Interrupt`] breaks it too. The system's
    /// when shared memory is used up.
    pub fn wait<E: From<BrokenBarrier> + From<Interrupt> + From<io::Error>>(
        self: &Arc<Self>,
        wait: &Wait,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        let ticket = Ticket::new()?;
        let arrived = self.memory.state.wait_until(
            &Wait::forever(wait.site),
            || self.reason(),
            |state, recovered| {
                repaired(|state: &mut State| match state.phase {
                    Phase::Broken => Attempt::Done(Arrival::Broken),
                    Phase::Acting if state.acting.end().is_some() => {
                        // Found out by somebody who comes; this is not a path to be quick on.
                        state.leave_broken().wake();
                        Attempt::Done(Arrival::Broken)
                    }
                    Phase::Acting => Attempt::Wait,
                    Phase::Filling => {
                        let before = state.waiters.count();
                        if before + 1 < self.parties {
                            state.waiters.push(&ticket);
                            return Attempt::Done(Arrival::Waits(before));
                        }
                        state.acting = Member::own();
                        state.rounds = state.rounds.wrapping_add(1);
                        compiler_fence(Ordering::SeqCst);
                        state.phase = Phase::Acting;
                        Attempt::Done(Arrival::Last(state.rounds))
                    }
                })(state, recovered)
            },
        )?;
        match arrived {
            None | Some(Arrival::Broken) => Err(BrokenBarrier.into()),
            Some(Arrival::Waits(index)) => self.wait_for_others(&ticket, wait).map(|()| index),
            Some(Arrival::Last(round)) => {
                let result = action();
                self.finish_round(round, result.is_ok());
                result.map(|()| self.parties - 1)
            }
        }
    }

    /// The action of a round is over.
    fn finish_round(&self, round: u64, succeeded: bool) {
        let told = self.memory.state.change(
            Wake::All,
            repaired(|state: &mut State| {
                // A reset came first, and another round may have begun.
                if state.phase != Phase::Acting || state.rounds != round {
                    return Told::nobody();
                }
                if !succeeded {
                    return state.leave_broken();
                }
                let told = state.waiters.tell_all(OPENED);
                state.phase = Phase::Filling;
                told
            }),
        );
        told.wake();
    }

    fn wait_for_others<E: From<BrokenBarrier> + From<Interrupt>>(
        self: &Arc<Self>,
        ticket: &Ticket,
        wait: &Wait,
    ) -> Result<(), E> {
        match self.wait_at(ticket, wait)? {
            true => Ok(()),
            false => Err(BrokenBarrier.into()),
        }
    }

    /// Waits for the others; false if the barrier broke.
    fn wait_at(self: &Arc<Self>, ticket: &Ticket, wait: &Wait) -> Result<bool, Interrupt> {
        let acting_is_over =
            || self.enter(|state| state.phase == Phase::Acting && state.acting.end().is_some());
        let waited = ticket.wait(wait, || self.reason(), acting_is_over);
        // Between the end of the wait and now, the others may all have come.
        let told = self.withdraw(ticket);
        waited.map(|_| told == OPENED)
    }

    /// Takes a waiter out, and breaks the barrier if the waiter was told nothing; returns what it was told.
    fn withdraw(&self, ticket: &Ticket) -> u32 {
        let (others, told) =
            self.memory.state.change_if(repaired(|state: &mut State| match state.waiters.remove(ticket) {
                0 => (Wake::All, (state.leave_broken(), BROKEN)),
                told => (Wake::Nobody, (Told::nobody(), told)),
            }));
        others.wake();
        told
    }

    /// Breaks the barrier: who waits, and who comes, gets [`BrokenBarrier`].
    pub fn abort(&self) {
        self.memory.state.change(Wake::All, repaired(State::leave_broken)).wake();
    }

    /// Makes the barrier as new; who waits gets [`BrokenBarrier`].
    pub fn reset(&self) {
        let told = self.memory.state.change(
            Wake::All,
            repaired(|state: &mut State| {
                let told = state.waiters.tell_all(BROKEN);
                state.phase = Phase::Filling;
                told
            }),
        );
        told.wake();
    }
}

impl State {
    fn leave_broken(&mut self) -> Told {
        self.phase = Phase::Broken;
        self.waiters.tell_all(BROKEN)
    }
}

/// Makes the list of waiters whole before `f` sees it, if a process was killed inside.
fn repaired<R>(f: impl FnOnce(&mut State) -> R) -> impl FnOnce(&mut State, bool) -> R {
    |state, recovered| {
        if recovered {
            state.waiters.repair();
        }
        f(state)
    }
}

/// An action failed whose error its caller keeps.
enum Failure {
    Action,
    Other(BarrierFailure),
}

impl From<BrokenBarrier> for Failure {
    fn from(_: BrokenBarrier) -> Self {
        Self::Other(BarrierFailure::Broken)
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Self {
        Self::Other(BarrierFailure::Interrupted(interrupt))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(BarrierFailure::Memory(error))
    }
}

impl SharedBarrier for Barrier {
    fn wait(self: Arc<Self>, wait: &Wait, action: &mut dyn FnMut() -> bool) -> Result<usize, BarrierFailure> {
        let arrived = Self::wait(&self, wait, || if action() { Ok(()) } else { Err(Failure::Action) });
        arrived.map_err(|failure| match failure {
            Failure::Action => BarrierFailure::Action,
            Failure::Other(failure) => failure,
        })
    }

    fn waiting(&self) -> usize {
        Self::waiting(self)
    }

    fn is_broken(&self) -> bool {
        Self::is_broken(self)
    }

    fn abort(&self) {
        Self::abort(self);
    }

    fn reset(&self) {
        Self::reset(self);
    }

    fn finish(&self, succeeded: bool) {
        self.finish_round(PROMOTED_ROUND, succeeded);
    }
}

impl Resource for Barrier {
    fn describe(&self) -> String {
        self.label.to_string()
    }

    fn is_shared(&self) -> bool {
        !self.memory.is_private()
    }
}
