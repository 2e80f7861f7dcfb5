//! What all executors do: they make jobs of calls and futures of jobs.

use std::collections::VecDeque;

use rhai::{Dynamic, EvalAltResult};

use super::api::FutureHandle;
use super::future::Future;
use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, raise};
use crate::language::function::Function;
use crate::language::generator::{Generator, Items};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::variables::{synchronise, to_local};
use crate::modules::pool::{self, Calls, Job, Origin, Refused, Told, Work, Workforce, outgoing};
use crate::runtime::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::runtime::{Site, Wait};

/// An executor.
pub struct Executor {
    crew: Arc<dyn Workforce>,
    /// Does it cost much to give a job to a worker, so that `map` makes chunks?
    makes_chunks: bool,
    last: Mutex<Option<Arc<Function>>>,
    /// Where the last call came from: the next one mostly comes from there, too.
    last_origin: Mutex<Option<Arc<Origin>>>,
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Nobody can hand in anything more: the workers end when they have done what there is.
        self.crew.close();
    }
}

/// A script's reference to an executor.
pub trait ExecutorHandle: Handle {
    /// The executor.
    fn executor(&self) -> &Arc<Executor>;
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

/// Reads `max_workers`, the first parameter; nothing for `None`.
///
/// # Errors
/// ValueError for less than one.
pub fn max_workers(call: &mut Call) -> Outcome<Option<usize>> {
    let Some(n) = call.argument(0).filter(|n| !n.is_unit()) else { return Ok(None) };
    let n = n
        .as_int()
        .map_err(|kind| raise("TypeError", format!("'max_workers' must be an integer, not {kind}")))?;
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(raise("ValueError", "max_workers must be greater than 0")),
    }
}

impl Executor {
    /// An executor whose workers are `crew`.
    pub fn new(crew: Arc<dyn Workforce>, makes_chunks: bool) -> Arc<Self> {
        Arc::new(Self { crew, makes_chunks, last: Mutex::default(), last_origin: Mutex::default() })
    }

    fn origin(&self, function: &Function, site: Site) -> Arc<Origin> {
        let mut last = self.last_origin.lock();
        match &*last {
            Some(last) if last.site == site && Arc::ptr_eq(&last.function, function.name()) => {
                Arc::clone(last)
            }
            _ => Arc::clone(last.insert(Arc::new(Origin::new(&self.crew, function, site)))),
        }
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
            Refused::Failed(error) => error,
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

    fn hand_in(&self, call: &Call, work: Work, site: Site) -> Outcome<()> {
        let submitted = Arc::clone(&self.crew).submit(work, false, site);
        submitted.map_err(|refused| Self::refused(call, refused))
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
        let ticket = Arc::clone(&future) as _;
        let job = Job { function, calls: Calls::One(args), part: 0, ticket };
        self.hand_in(call, Work::Job(job), site)?;
        Ok(Dynamic::from(FutureHandle(future)))
    }

    fn map(&self, call: &mut Call) -> Outcome<Dynamic> {
        let function = call.required(0)?;
        let timeout = call.seconds(1)?;
        let chunksize = call.int_or(2, 1)?;
        // Threads gain nothing by chunks; CPython does not even look at the number there.
        let chunksize = match usize::try_from(chunksize) {
            _ if !self.makes_chunks => 1,
            Ok(size) if size > 0 => size,
            _ => return Err(raise("ValueError", "chunksize must be >= 1.")),
        };
        let wait = call.wait_for(timeout);
        let iterables = call.rest(1);
        let function = self.function(call, &function)?;
        let mut calls = zip(call, iterables)?.into_iter().peekable();
        synchronise();
        let (site, realm, told) = (call.site(), call.realm(), Told::default());
        let origin = self.origin(&function, site);
        let mut futures = VecDeque::with_capacity(calls.len().div_ceil(chunksize));
        let mut jobs = Vec::with_capacity(futures.capacity());
        while calls.peek().is_some() {
            let calls = match chunksize {
                1 => Calls::One(calls.next().unwrap_or_default()),
                _ => Calls::Star(calls.by_ref().take(chunksize).collect()),
            };
            let future = Future::new(&realm, Some(origin.clone()), told.clone());
            let ticket = Arc::clone(&future) as _;
            jobs.push(Job { function: Arc::clone(&function), calls, part: 0, ticket });
            futures.push_back(future);
        }
        self.hand_in(call, Work::Jobs(jobs), site)?;
        Ok(Dynamic::from(Generator::new(Results {
            futures: Mutex::new(futures),
            chunk: Mutex::default(),
            is_chunked: chunksize > 1,
            wait,
            begun: AtomicBool::new(false),
        })))
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool, site: Site) -> Outcome<Dynamic> {
        synchronise();
        if cancel_futures {
            self.crew.cancel_waiting();
        }
        self.crew.close();
        if wait {
            if self.crew.has_current_worker() {
                return Err(raise("RuntimeError", "cannot join current thread"));
            }
            self.crew.join(site)?;
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
    /// What is left of the last chunk.
    chunk: Mutex<VecDeque<Dynamic>>,
    is_chunked: bool,
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
        if let Some(value) = self.chunk.lock().pop_front() {
            return Ok(Some(to_local(value)));
        }
        let Some(future) = self.futures.lock().pop_front() else { return Ok(None) };
        let wait = Wait { site, ..self.wait.clone() };
        match future.result(&wait) {
            Ok(values) if self.is_chunked => {
                let mut chunk = self.chunk.lock();
                chunk.extend(values.into_array().unwrap_or_default());
                Ok(chunk.pop_front().map(to_local))
            }
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

/// Defines the methods of a class of executors.
pub fn define<H: ExecutorHandle>(module: &mut NativeModule) {
    module
        .handle::<H>()
        .method::<H, _>(
            "submit(fn, *args, **kwargs)",
            "Has fn(*args, **kwargs) called and returns a Future.",
            |executor, call| executor.executor().submit(call),
        )
        .method::<H, _>(
            "map(fn, *iterables, timeout=None, chunksize=1)",
            "Has fn called with the items of the iterables; an iterator over the results in their order.",
            |executor, call| executor.executor().map(call),
        )
        .method::<H, _>(
            "shutdown(wait=True, cancel_futures=False)",
            "Takes no more calls; waits for those that there are, or cancels those that have not begun.",
            |executor, call| {
                let (wait, cancel_futures) = (call.bool_or(0, true), call.bool_or(1, false));
                executor.executor().shutdown(wait, cancel_futures, call.site())
            },
        )
        .method::<H, _>("__enter__()", "What `with` does first: nothing.", |executor, _| {
            Ok(Dynamic::from(executor.clone()))
        })
        .method::<H, _>("__exit__(error=None)", "What `with` does last: shutdown().", |executor, call| {
            executor.executor().shutdown(true, false, call.site())
        });
}

/// Defines the class that all executors derive from.
pub fn define_abstract(module: &mut NativeModule) {
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
