//! `Pool`: a pool whose workers are processes.

use rhai::Dynamic;

use super::face::{Pool, PoolHandle};
use super::thread_pool::{max_tasks, processes};
use crate::language::exception::Outcome;
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::modules::multiprocessing::context::{StartMethod, context_argument};
use crate::modules::multiprocessing::workers::{Kind, ProcessCrew};
use crate::modules::pool::{self, Plan, Staffing};
use crate::runtime::sync::Arc;

#[derive(Clone)]
struct ProcessPoolHandle(Arc<Pool>);

impl PoolHandle for ProcessPoolHandle {
    fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Handle for ProcessPoolHandle {
    const NAME: &'static str = "Pool";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.pool.Pool {}>", self.0.describe())
    }
}

/// A pool whose processes begin by `method`.
///
/// # Errors
/// For arguments that are no good; the system's when it has no room for the processes.
pub fn new_process_pool(call: &mut Call, method: Option<StartMethod>) -> Outcome<Dynamic> {
    let workers = processes(call)?;
    let most_jobs = max_tasks(call, 3)?;
    let initializer = pool::initializer(call, 1, "initializer must be a callable")?;
    let name = call.label("Pool").to_string().into();
    let plan = Plan { name, workers, staffing: Staffing::Fixed, initializer, most_jobs };
    let crew = ProcessCrew::new(&call.realm(), plan, Kind::Pool, method, call.site())?;
    Ok(Dynamic::from(ProcessPoolHandle(Pool::new(crew))))
}

const SIGNATURE: &str =
    "Pool(processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None)";
const DOC: &str = "So many processes that make calls; they are started at once.";

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let method = context_argument(call, 4)?;
    new_process_pool(call, method)
}

pub(super) fn define(module: &mut NativeModule) {
    super::face::define::<ProcessPoolHandle>(module);
    module.function(SIGNATURE, DOC, new);
}

/// Defines `multiprocessing.Pool`, which is `Pool` as well.
pub fn define_in_package(module: &mut NativeModule) {
    module.class(SIGNATURE, DOC, new);
}
