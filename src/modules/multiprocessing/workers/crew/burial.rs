//! What becomes of workers that have ended, and of what they were doing.

use std::time::Duration;

use rustix::process::Signal;

use super::super::outbox::Sent;
use super::{Kind, Phase, ProcessCrew, Waiting, Worker};
use crate::language::exception::{Class, Exception, Outcome, interrupted};
use crate::language::realm::Realm;
use crate::modules::multiprocessing::children::Children;
use crate::modules::multiprocessing::process::{ProcessHandle, signal_name};
use crate::runtime::sync::{Arc, Ordering};
use crate::runtime::{Site, sleep_for};

/// How long after Ctrl-C nobody is told that a worker has died of it.
const INTERRUPT_GRACE: Duration = Duration::from_millis(200);

impl ProcessCrew {
    /// A worker has ended, and all its answers are in: answers for what went with it, and replaces it.
    pub(super) fn bury(self: &Arc<Self>, index: u64) -> Outcome<()> {
        let Some(realm) = self.realm.upgrade() else { return Ok(()) };
        let Some((worker, lost)) = self.take_dead(index) else { return Ok(()) };
        realm.extension::<Children>().remove(&worker.process);
        let has_left = worker.notes.has_left.load(Ordering::Acquire) == 1;
        let was_ready = worker.notes.is_ready.load(Ordering::Acquire) == 1;
        let is_open = self.state.enter().phase != Phase::Terminated;
        // Reaps it, too.
        let exit_code = worker.process.child().and_then(|child| child.exit_code());
        if is_open && !has_left {
            if exit_code == Some(-libc::SIGINT) {
                // Ctrl-C ends the workers at once. Whoever waits for them is to hear of Ctrl-C, not of its effect.
                sleep_for(INTERRUPT_GRACE, Site::default()).map_err(interrupted)?;
                self.excuse(lost.as_ref());
            }
            let end = describe_end(&worker.process);
            if self.kind == Kind::Executor {
                self.break_down(&end, lost);
                return Ok(());
            }
            let failures = {
                let mut state = self.state.enter();
                state.failures = if was_ready { 0 } else { state.failures + 1 };
                state.failures
            };
            if failures >= self.plan.workers {
                // CPython would start workers for ever.
                self.break_down(&format!("{end} before it could work: its initializer fails"), lost);
                return Ok(());
            }
            if let Some(lost) = lost {
                let text = format!("the task was lost: {end} while it ran");
                let errand = lost.ticket.finish(lost.part, Err(broken(&text)));
                self.deal_with(errand);
            }
        }
        let is_needed = {
            let state = self.state.enter();
            let has_work = !state.sent.is_empty() || !state.waiting.is_empty();
            state.phase == Phase::Open || state.phase == Phase::Closed && has_work
        };
        if is_needed && let Err(error) = self.start_worker(&realm, Site::default()) {
            let nobody_is_left = self.state.enter().workers.is_empty();
            if nobody_is_left {
                let error = crate::language::exception::exception_of(&error, "", "");
                self.break_down(&format!("no worker can be started: {}", error.summary()), None);
            }
        }
        self.dismiss_if_done();
        Ok(())
    }

    /// Ctrl-C has ended a worker: nobody need be told of what it did not do, nor of what an executor does not do after
    /// that.
    pub(super) fn excuse(&self, lost: Option<&Sent>) {
        lost.into_iter().for_each(|sent| sent.ticket.excuse());
        if self.kind == Kind::Executor {
            let state = self.state.enter();
            let all = state.sent.iter().chain(state.waiting.iter().map(|waiting| &waiting.sent));
            all.for_each(|sent| sent.ticket.excuse());
        }
    }

    /// Takes a dead worker off the list, and what it was doing.
    pub(super) fn take_dead(&self, index: u64) -> Option<(Worker, Option<Sent>)> {
        let mut state = self.state.enter();
        let worker = state.workers.remove(&index)?;
        let noted = worker.notes.taken.load(Ordering::Acquire);
        if noted == 0 {
            return Some((worker, None));
        }
        let low = (noted - 1) as u32;
        // It noted the number before it took the message out: did it get that far?
        let is_taken = (self.jobs.received().wrapping_sub(low) as i32) > 0;
        // Numbers in shared memory have 32 bits; the job is among the last that were sent.
        let number = state.next.wrapping_sub(u64::from((state.next as u32).wrapping_sub(low)));
        let lost = if is_taken { state.sent.remove(number) } else { None };
        Some((worker, lost))
    }

    /// Nothing more can be done: every job is answered with the reason, and the workers are ended.
    pub(super) fn break_down(&self, reason: &str, lost: Option<Sent>) {
        let (sent, waiting) = {
            let mut state = self.state.enter();
            state.broken = Some(broken(&match self.kind {
                Kind::Executor => {
                    format!(
                        "A child process terminated abruptly, the process pool is not usable anymore: {reason}"
                    )
                }
                Kind::Pool => format!("the pool is not usable anymore: {reason}"),
            }));
            state.phase = Phase::Terminated;
            (std::mem::take(&mut state.sent), std::mem::take(&mut state.waiting))
        };
        self.end_workers(Signal::TERM);
        let text = match self.kind {
            Kind::Executor => format!(
                "A process in the process pool was terminated abruptly while the future was running or pending: {reason}"
            ),
            Kind::Pool => format!("the task was lost: {reason}"),
        };
        for Sent { ticket, part } in lost.into_iter().chain(sent.into_jobs()) {
            self.deal_with(ticket.finish(part, Err(broken(&text))));
        }
        for Waiting { sent: Sent { ticket, part }, .. } in waiting {
            ticket.abandon(part, Some(&broken(&text)));
        }
    }

    pub(super) fn end_workers(&self, signal: Signal) {
        let children: Vec<_> =
            self.state.enter().workers.values().filter_map(|worker| worker.process.child()).collect();
        for child in children {
            // One that has just ended by itself: all the better.
            let _ = child.signal(signal);
        }
    }

    /// Reaps workers that were killed before anybody looked after them.
    pub(super) fn bury_all(&self, realm: &Arc<Realm>) {
        let workers = std::mem::take(&mut self.state.enter().workers);
        for worker in workers.into_values() {
            if let Some(child) = worker.process.child() {
                // Interrupted: whoever starts a process next reaps it.
                let _ = child.wait(None, Site::default());
            }
            realm.extension::<Children>().remove(&worker.process);
        }
    }
}

fn broken(text: &str) -> Exception {
    Exception::new(Class::known("BrokenProcessPool"), text)
}

/// `worker ForkPoolWorker-1 (pid 4711) was killed by signal 9 (SIGKILL)`.
fn describe_end(process: &ProcessHandle) -> String {
    let name = process.name();
    let pid = process.pid().unwrap_or(0);
    let how = match process.child().and_then(|child| child.exit_code()) {
        Some(code) if code < 0 => match Signal::from_named_raw(-code) {
            Some(signal) => {
                format!("was killed by signal {} ({})", -code, signal_name(signal))
            }
            None => format!("was killed by signal {}", -code),
        },
        Some(code) => format!("ended with exit status {code}"),
        None => "ended".into(),
    };
    format!("worker {name} (pid {pid}) {how}")
}
