//! Jobs on their way to the workers.

use std::collections::VecDeque;

use super::super::message;
use super::super::outbox::Sent;
use super::{Kind, Phase, ProcessCrew, State, Waiting};
use crate::ipc::codec::Encoded;
use crate::language::exception::{Class, Exception, Outcome, interrupted};
use crate::language::function::Function;
use crate::modules::pool::{Job, Part, Refused, Ticket, Work};
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait, tick};

/// After so many jobs of one call the others get their turn: other threads, and Ctrl-C.
const PAUSE: usize = 256;

impl ProcessCrew {
    /// How many jobs may be sent before they are answered. What was sent can no longer be cancelled.
    pub(super) fn window(&self) -> usize {
        match self.kind {
            Kind::Pool => usize::MAX,
            // CPython's: one for each worker, and one for whoever is done first.
            Kind::Executor => 2 * self.plan.workers + 1,
        }
    }

    /// Sends what may be sent.
    pub(super) fn send_waiting(&self, state: &mut State) {
        while state.sent.len() < self.window() {
            let Some(Waiting { message, sent }) = state.waiting.pop_front() else { return };
            if Arc::clone(&sent.ticket).begin(None) {
                self.send(state, message, sent);
            }
        }
    }

    /// Sends a job; returns the message's memory.
    pub(super) fn send(&self, state: &mut State, mut message: Encoded, sent: Sent) -> Option<Vec<u8>> {
        let number = state.next;
        message::set_number(&mut message.bytes, number);
        match self.jobs.send(&message.bytes, &Wait::forever(Site::default())) {
            Ok(_) => {
                state.next += 1;
                state.sent.insert(number, sent);
                Some(message.sent())
            }
            Err(error) => {
                let text = format!("a job could not be sent to the workers: {error}");
                let exception = Exception::new(Class::known("MemoryError"), text);
                let errand = sent.ticket.finish(sent.part, Err(exception));
                self.leave(state, errand);
                None
            }
        }
    }

    pub(super) fn check_open(&self, state: &State) -> Result<(), Refused> {
        match &state.broken {
            Some(exception) => Err(Refused::Broken(exception.clone())),
            None if state.phase == Phase::Open => Ok(()),
            None => Err(Refused::Closed),
        }
    }

    /// Sends jobs as they are encoded.
    pub(super) fn submit_at_once(&self, work: Work) -> Result<(), Refused> {
        let mut buffer = Vec::new();
        let mut send = |function: &Function, calls, ticket: &Arc<dyn Ticket>, part| {
            let message =
                self.encode(std::mem::take(&mut buffer), function, calls).map_err(Refused::Failed)?;
            let mut state = self.state.enter();
            self.check_open(&state)?;
            let sent = Sent { ticket: Arc::clone(ticket), part };
            buffer = self.send(&mut state, message, sent).unwrap_or_default();
            Ok(())
        };
        match work {
            Work::Job(job) => send(&job.function, job.calls.as_part(), &job.ticket, job.part),
            Work::Jobs(jobs) => jobs
                .iter()
                .try_for_each(|job| send(&job.function, job.calls.as_part(), &job.ticket, job.part)),
            Work::Chunks(chunks) => (0..chunks.count()).try_for_each(|part| {
                send(&chunks.function, chunks.part(part), &chunks.ticket, part)?;
                if (part + 1) % PAUSE == 0 {
                    self.take_some();
                    tick().map_err(|interrupt| Refused::Failed(interrupted(interrupt)))?;
                }
                Ok(())
            }),
        }
    }

    /// Puts jobs into the queue of those that are sent when earlier ones have been answered.
    pub(super) fn submit_in_turn(self: &Arc<Self>, work: Work, site: Site) -> Result<(), Refused> {
        // Here, because the values that were sent may be large: not while the state is locked.
        let encode = |job: Job| {
            let Job { function, calls, part, ticket } = job;
            let message = self.encode(Vec::new(), &function, calls.as_part()).map_err(Refused::Failed)?;
            Ok(Waiting { message, sent: Sent { ticket, part } })
        };
        let (one, mut several) = match work {
            Work::Job(job) => (Some(encode(job)?), VecDeque::new()),
            work => (None, work.into_jobs().into_iter().map(encode).collect::<Result<_, _>>()?),
        };
        {
            let mut state = self.state.enter();
            self.check_open(&state)?;
            state.waiting.extend(one);
            state.waiting.append(&mut several);
            if std::mem::replace(&mut state.is_started, true) {
                self.send_waiting(&mut state);
                return Ok(());
            }
        }
        // With the jobs in place: workers that die at once are then the jobs' failure, and not this call's.
        let realm = self.realm.upgrade().ok_or(Refused::Closed)?;
        if let Err(error) = self.begin(&realm, site) {
            drop(std::mem::take(&mut self.state.enter().waiting));
            return Err(Refused::Failed(error));
        }
        self.send_waiting(&mut self.state.enter());
        Ok(())
    }

    pub(super) fn encode(&self, buffer: Vec<u8>, function: &Function, calls: Part<'_>) -> Outcome<Encoded> {
        if function.key() == 0 {
            return message::encode_job(buffer, function, None, calls);
        }
        let known = self.plain.lock().clone().filter(|(key, _)| *key == function.key());
        let plain = match known {
            Some((_, plain)) => plain,
            None => {
                let plain: Arc<[u8]> = message::encode_plain(function)?.into();
                *self.plain.lock() = Some((function.key(), Arc::clone(&plain)));
                plain
            }
        };
        message::encode_job(buffer, function, Some(&plain), calls)
    }
}
