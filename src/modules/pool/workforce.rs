//! What pools and executors ask of those who work for them, threads or processes.

use rhai::{Dynamic, EvalAltResult};

use super::job::Work;
use crate::language::exception::{Exception, Outcome};
use crate::language::function::Function;
use crate::runtime::sync::Arc;
use crate::runtime::{Site, Wait};

/// When workers are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staffing {
    /// When a job comes and nobody is idle. The end of the program waits for them.
    OnDemand,
    /// All at the beginning; one that ends is replaced. They are daemons.
    Fixed,
}

/// What every worker calls first.
pub struct Initializer {
    /// The function.
    pub function: Arc<Function>,
    /// Its arguments.
    pub args: Vec<Dynamic>,
}

/// How a crew works.
pub struct Plan {
    /// What reports call the crew; on demand the beginning of the workers' names.
    pub name: Arc<str>,
    /// How many workers there are at most.
    pub workers: usize,
    /// When they are started.
    pub staffing: Staffing,
    /// What each calls first.
    pub initializer: Option<Initializer>,
    /// After how many jobs a worker is replaced; never if `None`.
    pub most_jobs: Option<u64>,
}

/// Why a crew takes no more jobs.
pub enum Refused {
    /// It was closed.
    Closed,
    /// Its workers cannot begin.
    Broken(Exception),
    /// The system has no room for a worker, or the job cannot travel to one.
    Failed(Box<EvalAltResult>),
}

/// Workers and what they have to do.
pub trait Workforce: Send + Sync {
    /// How it works.
    fn plan(&self) -> &Plan;

    /// How many workers there are.
    fn size(&self) -> usize;

    /// Hands in jobs. Blocks only for the start of workers. `will_attend` says that the caller calls
    /// [`Workforce::attend`] next.
    ///
    /// # Errors
    /// [`Refused`]. Jobs before the one that cannot travel may have begun then, and their tickets hear of them; those
    /// of the others hear nothing.
    fn submit(self: Arc<Self>, work: Work, will_attend: bool, site: Site) -> Result<(), Refused>;

    /// Do the workers' answers come to where somebody has to take them?
    fn has_answers_to_take(&self) -> bool;

    /// Takes the workers' answers until `is_done` or until the wait is over, if nobody else does it; it is asked after
    /// each answer. The caller thereby spares itself a thread that would take them and wake it. When it returns, the
    /// caller still has to wait in its own way for what it attended for.
    ///
    /// # Errors
    /// An interrupt.
    fn attend(&self, wait: &Wait, is_done: &dyn Fn() -> bool) -> Outcome<()>;

    /// An answer that is to come has callbacks: somebody takes it at once, though nobody may attend.
    fn expect_answers(&self);

    /// Something that a thread may attend for has come to pass without an answer: it looks round.
    fn nudge(&self);

    /// Cancels the jobs that no worker has been given yet.
    fn cancel_waiting(&self);

    /// Takes no more jobs; the workers end when those that there are are done.
    fn close(&self);

    /// Takes no more jobs and drops those that wait. A thread ends when its job is done, a process at once.
    fn terminate(&self);

    /// Do workers end at once when they are terminated, so that one may wait for it?
    fn ends_at_once(&self) -> bool;

    /// Blocks until all workers have ended, which they do once the workforce is closed.
    ///
    /// # Errors
    /// An interrupt.
    fn join(&self, site: Site) -> Outcome<()>;

    /// Is the calling thread one of the workers, or of those that look after them?
    fn has_current_worker(&self) -> bool;
}
