//! What a worker gets: a function, the arguments of a call or of a chunk of calls, and who is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rhai::Dynamic;

use crate::language::exception::{Exception, Outcome, exception_of, is_stop, panicked};
use crate::language::function::{Caller, Function, Loaded};
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

impl Calls {
    /// The calls, to look at.
    pub fn as_part(&self) -> Part<'_> {
        match self {
            Self::One(args) => Part::One(args),
            Self::Each(items) => Part::Each(items),
            Self::Star(items) => Part::Star(items),
        }
    }
}

/// The calls of one job that are some of many.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// See [`Calls::One`].
    One(&'a [Dynamic]),
    /// See [`Calls::Each`].
    Each(&'a [Dynamic]),
    /// See [`Calls::Star`].
    Star(&'a [Vec<Dynamic>]),
}

/// What many calls are given.
pub enum Items {
    /// Each of these as the argument of a call.
    Single(Vec<Dynamic>),
    /// Each of these as the arguments of a call.
    Tuples(Vec<Vec<Dynamic>>),
}

impl Items {
    /// How many calls there are.
    pub fn calls(&self) -> usize {
        match self {
            Self::Single(items) => items.len(),
            Self::Tuples(items) => items.len(),
        }
    }
}

/// Calls of one function in chunks. A chunk of one is a job with one call.
pub struct Chunks {
    /// What to call.
    pub function: Arc<Function>,
    /// With which arguments.
    pub items: Items,
    /// How many calls a chunk has.
    pub size: usize,
    /// Who is told; the chunks are its parts.
    pub ticket: Arc<dyn Ticket>,
}

impl Chunks {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.items.calls().div_ceil(self.size)
    }

    /// One of them.
    pub fn part(&self, index: usize) -> Part<'_> {
        let range = index * self.size..((index + 1) * self.size).min(self.items.calls());
        match &self.items {
            Items::Single(items) if self.size == 1 => Part::One(&items[range]),
            Items::Single(items) => Part::Each(&items[range]),
            Items::Tuples(items) if self.size == 1 => Part::One(&items[index]),
            Items::Tuples(items) => Part::Star(&items[range]),
        }
    }

    fn into_jobs(self) -> Vec<Job> {
        let Self { function, items, size, ticket } = self;
        let mut jobs = Vec::with_capacity(items.calls().div_ceil(size));
        let mut add = |calls| {
            let (function, ticket) = (Arc::clone(&function), Arc::clone(&ticket));
            jobs.push(Job { function, calls, part: jobs.len(), ticket });
        };
        match items {
            Items::Single(items) if size == 1 => {
                items.into_iter().for_each(|item| add(Calls::One(vec![item])));
            }
            Items::Tuples(items) if size == 1 => items.into_iter().for_each(|args| add(Calls::One(args))),
            Items::Single(items) => in_chunks(items, size, |chunk| add(Calls::Each(chunk))),
            Items::Tuples(items) => in_chunks(items, size, |chunk| add(Calls::Star(chunk))),
        }
        jobs
    }
}

fn in_chunks<T>(items: Vec<T>, size: usize, mut add: impl FnMut(Vec<T>)) {
    let mut items = items.into_iter();
    while items.len() > 0 {
        add(items.by_ref().take(size).collect());
    }
}

/// What is handed in at once.
pub enum Work {
    /// One job.
    Job(Job),
    /// Jobs of any kind.
    Jobs(Vec<Job>),
    /// Calls of one function that belong to one ticket.
    Chunks(Chunks),
}

impl Work {
    /// The jobs, each by itself.
    pub fn into_jobs(self) -> Vec<Job> {
        match self {
            Self::Job(job) => vec![job],
            Self::Jobs(jobs) => jobs,
            Self::Chunks(chunks) => chunks.into_jobs(),
        }
    }
}

/// What the calls of one job returned.
pub enum Reply {
    /// To [`Calls::One`].
    One(Dynamic),
    /// To a chunk, in its order.
    Many(Vec<Dynamic>),
}

impl Reply {
    /// What the caller of the one call gets, or the list of all.
    pub fn into_value(self) -> Dynamic {
        match self {
            Self::One(value) => value,
            Self::Many(values) => values.into(),
        }
    }
}

/// How a job went. A chunk ends with the first call that raises.
pub type Answer = Result<Reply, Exception>;

/// What is left to do when a job is done: the script's callbacks.
pub type Errand = Box<dyn FnOnce() + Send>;

/// Who waits for a job, or for several of one call of `map`.
pub trait Ticket: Send + Sync {
    /// A worker is about to run the job: a thread, or a process. False if it was cancelled, and then nothing more
    /// is heard of it.
    fn begin(self: Arc<Self>, worker: Option<&Arc<Thread>>) -> bool;

    /// The job is done. What comes back is to be called on a thread that may run the script's callbacks: the one that
    /// ran the job, or one that looks after those who do, and not one that happens to be there.
    fn finish(self: Arc<Self>, part: usize, answer: Answer) -> Option<Errand>;

    /// The job will not be run: the pool gives up, for the reason given if there is one.
    fn abandon(self: Arc<Self>, part: usize, reason: Option<&Exception>);

    /// The user has ended what works on the job: nobody need be told if its exception is never fetched.
    fn excuse(&self);
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
    pub fn run(self, worker: &Arc<Thread>, caller: &mut Caller<'_>) -> Outcome<()> {
        if !Arc::clone(&self.ticket).begin(Some(worker)) {
            return Ok(());
        }
        let calls = self.calls;
        let result = answer(caller, &self.function, calls);
        // What the task wrote must be seen by whoever sees that it is done.
        synchronise();
        let answer = match result {
            Ok(reply) => Ok(reply),
            Err(error) if is_stop(&error) => return Err(error),
            Err(error) => Err(exception_of(&error, "", "")),
        };
        if let Some(errand) = self.ticket.finish(self.part, answer) {
            errand();
        }
        Ok(())
    }
}

/// Makes the calls of a job on the calling thread.
///
/// # Errors
/// What the first call raises that does.
pub fn answer(caller: &mut Caller<'_>, function: &Arc<Function>, calls: Calls) -> Outcome<Reply> {
    let result = catch_unwind(AssertUnwindSafe(|| make(&mut caller.load(function), calls)));
    result.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn make(function: &mut Loaded<'_, '_>, calls: Calls) -> Outcome<Reply> {
    let mut call = |args: Vec<Dynamic>| function.call(args.into_iter().map(incoming)).map(outgoing);
    match calls {
        Calls::One(args) => call(args).map(Reply::One),
        Calls::Star(items) => items.into_iter().map(call).collect::<Outcome<_>>().map(Reply::Many),
        Calls::Each(items) => {
            let call = |item| function.call(std::iter::once(incoming(item))).map(outgoing);
            items.into_iter().map(call).collect::<Outcome<_>>().map(Reply::Many)
        }
    }
}

/// An argument as the calling thread may use it.
fn incoming(arg: Dynamic) -> Dynamic {
    if arg.is_fnptr() { to_local(arg) } else { arg }
}

/// A value on its way to another thread: arrays and maps travel as they are, what a closure captured is shared.
pub fn outgoing(value: Dynamic) -> Dynamic {
    let value = value.flatten();
    if value.is_fnptr() { to_shared(value) } else { value }
}
