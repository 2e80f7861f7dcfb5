//! `ThreadPoolExecutor`.

use std::collections::VecDeque;

use rhai::{Dynamic, EvalAltResult};

use super::api::FutureHandle;
use super::future::{Future, Task};
use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::function::Function;
use crate::language::generator::{Generator, Items};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::modules::pool::{
    self, Calls, Crew, Job, Origin, Plan, Refused, Staffing, Told, cpu_count, outgoing,
};
use crate::runtime::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::runtime::{Site, Wait};

/// How many workers CPython starts at most if nothing is said.
const MOST_BY_DEFAULT: usize = 32;

struct Executor {
    crew: Arc<Crew>,
    last: Mutex<Option<Arc<Function>>>,
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Nobody can hand in anything more: the workers end when they have done what there is.
        self.crew.close();
    }
}

/// A script's reference to an executor.
#[derive(Clone)]
struct ExecutorHandle(Arc<Executor>);

impl Handle for ExecutorHandle {
    const NAME: &'static str = "ThreadPoolExecutor";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<concurrent.futures.thread.ThreadPoolExecutor object at {:#x}>", self.identity())
    }
}

/// The abstract base class, which CPython lets one make and not use.
#[derive(Clone)]
struct AbstractExecutor(Arc<u8>);

impl Handle for AbstractExecutor {
    const NAME: &'static str = "Executor";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

/// How many executors got a name of their own.
#[derive(Default)]
struct Unnamed(AtomicU64);

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let workers = match call.argument(0).filter(|n| !n.is_unit()) {
        None => MOST_BY_DEFAULT.min(cpu_count() + 4),
        Some(n) => {
            let n = n.as_int().map_err(|kind| {
                raise(
                    "TypeError",
                    format!("ThreadPoolExecutor(): 'max_workers' must be an integer, not {kind}"),
                )
            })?;
            usize::try_from(n)
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| raise("ValueError", "max_workers must be greater than 0"))?
        }
    };
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
    Ok(Dynamic::from(ExecutorHandle(Arc::new(Executor { crew, last: Mutex::default() }))))
}

impl Executor {
    fn origin(&self, function: &Function, site: Site) -> Origin {
        let plan = self.crew.plan();
        Origin { function: function.name().into(), site, crew: Arc::clone(&plan.name), workers: plan.workers }
    }

    fn refused(call: &Call, refused: Refused) -> Box<EvalAltResult> {
        match refused {
            Refused::Broken(exception) => {
                // Each caller gets one of its own.
                crate::language::exception::Exception::new(exception.class(), exception.message())
                    .into_error()
            }
            Refused::Closed if pool::is_shutting_down(&call.realm()) => {
                raise("RuntimeError", "cannot schedule new futures after interpreter shutdown")
            }
            Refused::Closed => raise("RuntimeError", "cannot schedule new futures after shutdown"),
            Refused::NoWorker(error) => error,
        }
    }

    fn function(&self, call: &Call, function: &Dynamic) -> Outcome<Arc<Function>> {
        // Not under the lock: another thread may want it, too.
        let mut last = self.last.lock().clone();
        let before = last.as_ref().map(Arc::as_ptr);
        let found = Function::new_or_last(call.context(), function, &mut last)?;
        if last.as_ref().map(Arc::as_ptr) != before {
            *self.last.lock() = last;
        }
        Ok(found)
    }

    fn submit(&self, call: &mut Call) -> Outcome<Dynamic> {
        let function = call.required(0)?;
        let args = call.rest(1).into_iter().map(outgoing).collect();
        let keywords = call.keywords();
        let function = self.function(call, &function)?;
        let args = function.arguments(args, keywords)?;
        synchronise();
        let site = call.site();
        let future = Future::new(&call.realm(), Some(self.origin(&function, site)), Told::default());
        let ticket = Arc::new(Task(Arc::clone(&future)));
        let job = Job { function, calls: Calls::One(args), part: 0, ticket };
        self.crew.submit(vec![job], site).map_err(|refused| Self::refused(call, refused))?;
        Ok(Dynamic::from(FutureHandle(future)))
    }

    fn map(&self, call: &mut Call) -> Outcome<Dynamic> {
        let function = call.required(0)?;
        let timeout = call.seconds(1)?;
        // Threads gain nothing by chunks; CPython ignores it here, too.
        let _chunksize = call.int_or(2, 1)?;
        let wait = call.wait_for(timeout);
        let iterables = call.rest(1);
        let function = self.function(call, &function)?;
        let calls = zip(call, iterables)?;
        synchronise();
        let (site, realm, told) = (call.site(), call.realm(), Told::default());
        let origin = self.origin(&function, site);
        let mut futures = VecDeque::with_capacity(calls.len());
        let mut jobs = Vec::with_capacity(calls.len());
        for args in calls {
            let future = Future::new(&realm, Some(origin.clone()), told.clone());
            let ticket = Arc::new(Task(Arc::clone(&future)));
            jobs.push(Job { function: Arc::clone(&function), calls: Calls::One(args), part: 0, ticket });
            futures.push_back(future);
        }
        self.crew.submit(jobs, site).map_err(|refused| Self::refused(call, refused))?;
        Ok(Dynamic::from(Generator::new(Results {
            futures: Mutex::new(futures),
            wait,
            begun: AtomicBool::new(false),
        })))
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool, site: Site) -> Outcome<Dynamic> {
        synchronise();
        if cancel_futures {
            for job in self.crew.take_jobs() {
                job.ticket.abandon(job.part, None);
            }
        }
        self.crew.close();
        if wait {
            if self.crew.has_current_worker() {
                return Err(raise("RuntimeError", "cannot join current thread"));
            }
            self.crew.join(site).map_err(interrupted)?;
        }
        Ok(Dynamic::UNIT)
    }
}

/// The arguments of each call: one item of each iterable, as long as all have one.
fn zip(call: &Call, iterables: Vec<Dynamic>) -> Outcome<Vec<Vec<Dynamic>>> {
    let mut columns = Vec::with_capacity(iterables.len());
    for iterable in &iterables {
        columns.push(iterate(call.context(), iterable)?.into_iter());
    }
    let rows = columns.iter().map(ExactSizeIterator::len).min().unwrap_or(0);
    Ok((0..rows).map(|_| columns.iter_mut().filter_map(Iterator::next).map(outgoing).collect()).collect())
}

/// The results of `map`, in order.
struct Results {
    futures: Mutex<VecDeque<Arc<Future>>>,
    wait: Wait,
    /// Has anybody asked for a result?
    begun: AtomicBool,
}

impl Results {
    /// Nobody will ask for the rest.
    fn cancel(&self) {
        let futures = std::mem::take(&mut *self.futures.lock());
        for future in futures {
            future.cancel();
        }
    }
}

impl Items for Results {
    fn name(&self) -> &'static str {
        "Executor.map.<locals>.result_iterator"
    }

    fn next(&self, site: Site) -> Outcome<Option<Dynamic>> {
        self.begun.store(true, Ordering::Relaxed);
        let Some(future) = self.futures.lock().pop_front() else { return Ok(None) };
        let wait = Wait { site, ..self.wait.clone() };
        match future.result(&wait) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                future.cancel();
                self.cancel();
                Err(error)
            }
        }
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // As a generator of CPython's, which cleans up only after it has begun.
        if self.begun.load(Ordering::Relaxed) {
            self.cancel();
        }
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<ExecutorHandle>()
        .class(
            "ThreadPoolExecutor(max_workers=None, thread_name_prefix='', initializer=None, initargs=())",
            "Threads that make calls; they are started when they are needed and wait for more.",
            new,
        )
        .method::<ExecutorHandle, _>(
            "submit(fn, *args, **kwargs)",
            "Has fn(*args, **kwargs) called and returns a Future.",
            |executor, call| executor.0.submit(call),
        )
        .method::<ExecutorHandle, _>(
            "map(fn, *iterables, timeout=None, chunksize=1)",
            "Has fn called with the items of the iterables; an iterator over the results in their order.",
            |executor, call| executor.0.map(call),
        )
        .method::<ExecutorHandle, _>(
            "shutdown(wait=True, cancel_futures=False)",
            "Takes no more calls; waits for those that there are, or cancels those that have not begun.",
            |executor, call| {
                let (wait, cancel_futures) = (call.bool_or(0, true), call.bool_or(1, false));
                executor.0.shutdown(wait, cancel_futures, call.site())
            },
        )
        .method::<ExecutorHandle, _>("__enter__()", "What `with` does first: nothing.", |executor, _| {
            Ok(Dynamic::from(executor.clone()))
        })
        .method::<ExecutorHandle, _>(
            "__exit__(error=None)",
            "What `with` does last: shutdown().",
            |executor, call| executor.0.shutdown(true, false, call.site()),
        );
    define_abstract(module);
}

fn define_abstract(module: &mut NativeModule) {
    module
        .handle::<AbstractExecutor>()
        .class("Executor()", "What all executors have in common; use one of them.", |_| {
            Ok(Dynamic::from(AbstractExecutor(Arc::new(0))))
        })
        .method::<AbstractExecutor, _>(
            "submit(fn, *args, **kwargs)",
            "NotImplementedError: only the executors for threads and processes have it.",
            |_, _| Err(raise("NotImplementedError", "")),
        )
        .method::<AbstractExecutor, _>(
            "map(fn, *iterables, timeout=None, chunksize=1)",
            "NotImplementedError, if there is an item.",
            |_, call| {
                let iterables = call.rest(1);
                match zip(call, iterables)?.is_empty() {
                    true => Ok(Dynamic::from(rhai::Array::new())),
                    false => Err(raise("NotImplementedError", "")),
                }
            },
        )
        .method::<AbstractExecutor, _>(
            "shutdown(wait=True, cancel_futures=False)",
            "Does nothing.",
            |_, _| Ok(Dynamic::UNIT),
        )
        .method::<AbstractExecutor, _>("__enter__()", "What `with` does first: nothing.", |executor, _| {
            Ok(Dynamic::from(executor.clone()))
        })
        .method::<AbstractExecutor, _>("__exit__(error=None)", "What `with` does last: nothing.", |_, _| {
            Ok(Dynamic::UNIT)
        });
}
