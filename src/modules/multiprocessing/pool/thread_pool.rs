//! `ThreadPool`: a pool whose workers are threads.

use rhai::Dynamic;

use super::face::{Pool, PoolHandle};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::modules::pool::{self, Crew, Plan, Staffing, cpu_count};
use crate::runtime::sync::Arc;

#[derive(Clone)]
struct ThreadPoolHandle(Arc<Pool>);

impl PoolHandle for ThreadPoolHandle {
    fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Handle for ThreadPoolHandle {
    const NAME: &'static str = "ThreadPool";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.pool.ThreadPool {}>", self.0.describe())
    }
}

/// Reads `processes`, the first parameter.
///
/// # Errors
/// ValueError for less than one.
pub fn processes(call: &mut Call) -> Outcome<usize> {
    match call.argument(0).filter(|n| !n.is_unit()) {
        None => Ok(cpu_count()),
        Some(n) => {
            let shown = value::repr(&n);
            let n = n
                .as_int()
                .map_err(|_| raise("TypeError", format!("processes must be an integer: {shown}")))?;
            usize::try_from(n)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| raise("ValueError", "Number of processes must be at least 1"))
        }
    }
}

/// Reads `maxtasksperchild`.
///
/// # Errors
/// ValueError for anything but a positive number or `None`.
pub fn max_tasks(call: &mut Call, index: usize) -> Outcome<Option<u64>> {
    let Some(most) = call.argument(index).filter(|most| !most.is_unit()) else { return Ok(None) };
    let most = most.as_int().ok().and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0);
    match most {
        Some(most) => Ok(Some(most)),
        None => Err(raise("ValueError", "maxtasksperchild must be a positive int or None")),
    }
}

/// The constructor.
///
/// # Errors
/// For arguments that are no good; RuntimeError when the system has no room for the threads.
pub fn new(call: &mut Call) -> Outcome<Dynamic> {
    let workers = processes(call)?;
    let most_jobs = max_tasks(call, 3)?;
    let initializer = pool::initializer(call, 1, "initializer must be a callable")?;
    let name = call.label("ThreadPool").to_string().into();
    let plan = Plan { name, workers, staffing: Staffing::Fixed, initializer, most_jobs };
    let crew = Crew::new(&call.realm(), plan, call.site())?;
    Ok(Dynamic::from(ThreadPoolHandle(Pool::new(crew))))
}

pub(super) fn define(module: &mut NativeModule) {
    super::face::define::<ThreadPoolHandle>(module);
    module.class(
        "ThreadPool(processes=None, initializer=None, initargs=(), maxtasksperchild=None)",
        "So many threads that make calls; they are started at once.",
        new,
    );
}
