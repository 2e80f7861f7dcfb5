//! What a worker gets: a function, the arguments of a call or of a chunk of calls, and who is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::Dynamic;

use crate::language::exception::{Exception, Outcome, exception_of, is_stop, panicked};
use crate::language::function::{Function, LocalFunction};
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::runtime::Thread;
use crate::runtime::sync::Arc;

/// The calls of one job.
pub enum Calls {
    /// One call with these arguments.
    One(Vec<Dynamic>),
    /// A call with each of these as its argument.
    Each(Vec<Dynamic>),
    /// A call with each of these as its arguments.
    Star(Vec<Vec<Dynamic>>),
}

/// What the calls of one job returned.
pub enum Reply {
    /// To [`Calls::One`].
    One(Dynamic),
    /// To a chunk, in its order.
    Many(Vec<Dynamic>),
}

/// How a job went. A chunk ends with the first call that raises.
pub type Answer = Result<Reply, Exception>;

/// Who waits for a job, or for several of one call of `map`.
pub trait Ticket: Send + Sync {
    /// A worker is about to run the job: a thread, or a process. False if it was cancelled, and then nothing more
    /// is heard of it.
    fn begin(&self, worker: Option<&Arc<Thread>>) -> bool;

    /// The job is done, on the thread that ran it.
    fn finish(&self, part: usize, answer: Answer);

    /// The job will not be run: the pool gives up, for the reason given if there is one.
    fn abandon(&self, part: usize, reason: Option<&Exception>);
}

/// A unit of work.
pub struct Job {
    /// What to call.
    pub function: Arc<Function>,
    /// With which arguments.
    pub calls: Calls,
    /// Which part of the ticket's work it is.
    pub part: usize,
    /// Who is told.
    pub ticket: Arc<dyn Ticket>,
}

impl Job {
    /// Runs the job on the calling thread and tells the ticket.
    ///
    /// # Errors
    /// Only that the thread must stop; nobody is told then.
    pub fn run(self, worker: &Arc<Thread>) -> Outcome<()> {
        if !self.ticket.begin(Some(worker)) {
            return Ok(());
        }
        let calls = self.calls;
        let function = &*self.function;
        let result = catch_unwind(AssertUnwindSafe(|| answer(function, calls)))
            .unwrap_or_else(|panic| Err(panicked(&*panic)));
        // What the task wrote must be seen by whoever sees that it is done.
        synchronise();
        let answer = match result {
            Ok(reply) => Ok(reply),
            Err(error) if is_stop(&error) => return Err(error),
            Err(error) => Err(exception_of(&error, "", "")),
        };
        self.ticket.finish(self.part, answer);
        Ok(())
    }
}

/// Makes the calls of a job on the calling thread.
///
/// # Errors
/// What the first call raises that does.
pub fn answer(function: &Function, calls: Calls) -> Outcome<Reply> {
    let mut function = function.local();
    match calls {
        Calls::One(args) => call(&mut function, args).map(Reply::One),
        Calls::Each(items) => {
            let results: Outcome<Vec<_>> =
                items.into_iter().map(|item| call(&mut function, vec![item])).collect();
            results.map(Reply::Many)
        }
        Calls::Star(items) => {
            let results: Outcome<Vec<_>> = items.into_iter().map(|args| call(&mut function, args)).collect();
            results.map(Reply::Many)
        }
    }
}

fn call(function: &mut LocalFunction<'_>, mut args: Vec<Dynamic>) -> Outcome<Dynamic> {
    for arg in &mut args {
        if arg.is_fnptr() {
            *arg = to_local(std::mem::take(arg));
        }
    }
    function.call(args).map(outgoing)
}

/// A value on its way to another thread: arrays and maps travel as they are, what a closure captured is shared.
pub fn outgoing(value: Dynamic) -> Dynamic {
    let value = value.flatten();
    if value.is_fnptr() { to_shared(value) } else { value }
}
