//! What `multiprocessing.pool` and `concurrent.futures` have in common: jobs, the crews of workers that run
//! them, and exceptions that nobody fetched.
//!
//! This is no Python module, but it needs threads as scripts see them, so it stands beside those that are.
//! Python's two kinds of pool are faces of it: each makes [`Job`]s, hands them to a [`Workforce`], of threads or of
//! processes, and is told by way of a [`Ticket`] how they went. They differ in when workers are started ([`Staffing`]) and in what they
//! make of the answers.

mod crew;
mod job;
mod loss;
mod program;
mod workforce;

pub use crew::Crew;
pub use job::{Answer, Calls, Chunks, Errand, Items, Job, Part, Reply, Ticket, Work, answer, outgoing};
pub use loss::{Losses, Told};
pub use program::{
    begin_run, close_at_end, end_of_program, forget, is_shutting_down, terminate_at_end, terminate_pools,
};
pub use workforce::{Initializer, Plan, Refused, Staffing, Workforce};

use std::fmt;
use std::sync::Weak;

use crate::language::exception::{Outcome, raise};
use crate::language::function::Function;
use crate::language::native::Call;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Thread, Wait};

/// Where a task came from, for reports.
#[derive(Clone)]
pub struct Origin {
    /// The function that it calls.
    pub function: Arc<str>,
    /// Where it was handed in.
    pub site: Site,
    /// Who runs it.
    pub crew: Arc<str>,
    /// How many workers there are at most.
    pub workers: usize,
    /// Whose answers somebody has to take before the task is done.
    pub answered_by: Option<Weak<dyn Workforce>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}()", self.function)?;
        if self.site.is_known() {
            write!(f, " (handed in at {})", self.site)?;
        }
        Ok(())
    }
}

impl Origin {
    /// Where a task comes from that is handed to `crew`.
    pub fn new(crew: &Arc<dyn Workforce>, function: &Function, site: Site) -> Self {
        let plan = crew.plan();
        Self {
            function: Arc::clone(function.name()),
            site,
            crew: Arc::clone(&plan.name),
            workers: plan.workers,
            answered_by: crew.has_answers_to_take().then(|| Arc::downgrade(crew)),
        }
    }

    /// See [`Workforce::attend`].
    ///
    /// # Errors
    /// An interrupt.
    pub fn attend(&self, wait: &Wait, is_done: &dyn Fn() -> bool) -> Outcome<()> {
        attend(self.answered_by.as_ref(), wait, is_done)
    }

    /// Takes the answers that are there, so that whoever asks again and again sees them at once.
    pub fn look(&self, is_done: &dyn Fn() -> bool) -> Outcome<()> {
        self.attend(&Wait { deadline: None, try_only: true, site: Site::default() }, is_done)
    }

    /// See [`Workforce::expect_answers`].
    pub fn expect_answers(&self) {
        if let Some(crew) = self.answered_by.as_ref().and_then(Weak::upgrade) {
            crew.expect_answers();
        }
    }

    /// See [`Workforce::nudge`].
    pub fn nudge(&self) {
        if let Some(crew) = self.answered_by.as_ref().and_then(Weak::upgrade) {
            crew.nudge();
        }
    }

    /// What a thread waits for that waits for the task: the task, and who runs it or would.
    pub fn describe_wait(&self, runner: Option<&Arc<Thread>>) -> String {
        let by = match (runner, self.workers) {
            (Some(runner), _) => format!("run by {}", runner.name()),
            (None, 1) => format!("not begun by the one worker of {}", self.crew),
            (None, n) => format!("not begun by any of the {n} workers of {}", self.crew),
        };
        format!("the result of {}() (handed in at {}, {by})", self.function, self.site)
    }
}

/// [`Workforce::attend`] for a workforce that there may be.
///
/// # Errors
/// An interrupt.
pub fn attend(crew: Option<&Weak<dyn Workforce>>, wait: &Wait, is_done: &dyn Fn() -> bool) -> Outcome<()> {
    match crew.and_then(Weak::upgrade) {
        Some(crew) if !is_done() => crew.attend(wait, is_done),
        _ => Ok(()),
    }
}

/// The number of CPUs that the program may use.
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Reads `(initializer=None, initargs=())` from parameter `first` on.
///
/// # Errors
/// TypeError for an initializer that cannot be called, with `message`.
pub fn initializer(call: &mut Call, first: usize, message: &str) -> Outcome<Option<Initializer>> {
    let function = call.argument(first).filter(|function| !function.is_unit());
    let args = call.sequence(first + 1)?;
    let Some(function) = function else { return Ok(None) };
    if !function.is_fnptr() && !function.is_string() {
        return Err(raise("TypeError", message));
    }
    let function = crate::language::function::Function::new(call.context(), &function)?;
    let args = args.into_iter().map(outgoing).collect();
    Ok(Some(Initializer { function, args }))
}
