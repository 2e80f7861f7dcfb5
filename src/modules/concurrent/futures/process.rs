//! `ProcessPoolExecutor`.

use rhai::Dynamic;

use super::executor::{self, Executor, ExecutorHandle};
use crate::language::exception::{Outcome, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::modules::multiprocessing::context_argument;
use crate::modules::multiprocessing::workers::{Kind, ProcessCrew};
use crate::modules::pool::{self, Plan, Staffing, cpu_count};
use crate::runtime::sync::Arc;

#[derive(Clone)]
struct ProcessExecutor(Arc<Executor>);

impl ExecutorHandle for ProcessExecutor {
    fn executor(&self) -> &Arc<Executor> {
        &self.0
    }
}

impl Handle for ProcessExecutor {
    const NAME: &'static str = "ProcessPoolExecutor";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<concurrent.futures.process.ProcessPoolExecutor object at {:#x}>", self.identity())
    }
}

fn max_tasks(call: &mut Call, index: usize) -> Outcome<Option<u64>> {
    let Some(most) = call.argument(index).filter(|most| !most.is_unit()) else { return Ok(None) };
    let most = most.as_int().map_err(|_| raise("TypeError", "max_tasks_per_child must be an integer"))?;
    match u64::try_from(most) {
        Ok(most) if most > 0 => Ok(Some(most)),
        _ => Err(raise("ValueError", "max_tasks_per_child must be >= 1")),
    }
}

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let workers = executor::max_workers(call)?.unwrap_or_else(cpu_count);
    let method = context_argument(call, 1)?;
    let initializer = pool::initializer(call, 2, "initializer must be a callable")?;
    let most_jobs = max_tasks(call, 4)?;
    let name = call.label("ProcessPoolExecutor").to_string().into();
    let plan = Plan { name, workers, staffing: Staffing::OnDemand, initializer, most_jobs };
    let crew = ProcessCrew::new(&call.realm(), plan, Kind::Executor, method, call.site())?;
    Ok(Dynamic::from(ProcessExecutor(Executor::new(crew, true))))
}

pub(super) fn define(module: &mut NativeModule) {
    executor::define::<ProcessExecutor>(module);
    module.class(
        "ProcessPoolExecutor(max_workers=None, mp_context=None, initializer=None, initargs=(), max_tasks_per_child=None)",
        "Processes that make calls; they are started with the first one and wait for more.",
        new,
    );
}
