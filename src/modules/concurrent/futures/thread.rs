//! `ThreadPoolExecutor`.

use rhai::Dynamic;

use super::executor::{self, Executor, ExecutorHandle};
use crate::language::exception::Outcome;
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::modules::pool::{self, Crew, Plan, Staffing, cpu_count};
use crate::runtime::sync::{Arc, AtomicU64, Ordering};

/// How many workers CPython starts at most if nothing is said.
const MOST_BY_DEFAULT: usize = 32;

#[derive(Clone)]
struct ThreadExecutor(Arc<Executor>);

impl ExecutorHandle for ThreadExecutor {
    fn executor(&self) -> &Arc<Executor> {
        &self.0
    }
}

impl Handle for ThreadExecutor {
    const NAME: &'static str = "ThreadPoolExecutor";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<concurrent.futures.thread.ThreadPoolExecutor object at {:#x}>", self.identity())
    }
}

/// How many executors got a name of their own.
#[derive(Default)]
struct Unnamed(AtomicU64);

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let workers = executor::max_workers(call)?.unwrap_or_else(|| MOST_BY_DEFAULT.min(cpu_count() + 4));
    let realm = call.realm();
    let prefix = call.optional_text(1)?.filter(|prefix| !prefix.is_empty());
    let initializer = pool::initializer(call, 2, "initializer must be a callable")?;
    let name = match prefix {
        Some(prefix) => prefix.as_str().into(),
        None => {
            let number = realm.extension::<Unnamed>().0.fetch_add(1, Ordering::Relaxed);
            format!("ThreadPoolExecutor-{number}").into()
        }
    };
    let plan = Plan { name, workers, staffing: Staffing::OnDemand, initializer, most_jobs: None };
    let crew = Crew::new(&realm, plan, call.site())?;
    Ok(Dynamic::from(ThreadExecutor(Executor::new(crew, false))))
}

pub(super) fn define(module: &mut NativeModule) {
    executor::define::<ThreadExecutor>(module);
    module.class(
        "ThreadPoolExecutor(max_workers=None, thread_name_prefix='', initializer=None, initargs=())",
        "Threads that make calls; they are started when they are needed and wait for more.",
        new,
    );
}
