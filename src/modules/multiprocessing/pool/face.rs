//! What scripts see of a pool: the same methods for threads and processes.

use std::any::Any;

use rhai::Dynamic;

use super::handler::Handler;
use super::imap::{Results, ResultsHandle};
use super::progress::Progress;
use super::result::{AsyncResult, Callbacks, Request, ResultHandle};
use crate::language::builtins::iterate;
use crate::language::exception::{Outcome, raise};
use crate::language::function::Function;
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::pool::{Calls, Chunks, Items, Job, Origin, Refused, Work, Workforce, outgoing};
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Site, Wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Run,
    Close,
    Terminate,
}

/// A pool.
pub struct Pool {
    crew: Arc<dyn Workforce>,
    handler: Arc<Handler>,
    stage: Mutex<Stage>,
    last: Mutex<Option<Arc<Function>>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.crew.terminate();
        self.handler.close();
    }
}

/// A script's reference to a pool.
pub trait PoolHandle: Handle {
    /// The pool.
    fn pool(&self) -> &Arc<Pool>;
}

/// What the items of an iterable are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The only argument of a call.
    Single,
    /// The arguments of a call.
    Tuples,
}

/// Does the caller wait for the result, or get it at once to wait for it later?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Waits,
    Async,
}

impl Pool {
    /// A pool whose workers are `crew`.
    pub fn new(crew: Arc<dyn Workforce>) -> Arc<Self> {
        let (handler, stage) = (Arc::default(), Mutex::new(Stage::Run));
        Arc::new(Self { crew, handler, stage, last: Mutex::default() })
    }

    /// `state=RUN pool_size=4`.
    pub fn describe(&self) -> String {
        let stage = match *self.stage.lock() {
            Stage::Run => "RUN",
            Stage::Close => "CLOSE",
            Stage::Terminate => "TERMINATE",
        };
        format!("state={stage} pool_size={}", self.crew.size())
    }

    fn check_running(&self) -> Outcome<()> {
        match *self.stage.lock() {
            Stage::Run => Ok(()),
            _ => Err(raise("ValueError", "Pool not running")),
        }
    }

    fn function(&self, call: &mut Call) -> Outcome<Arc<Function>> {
        let function = call.required(0)?;
        let mut last = self.last.lock().clone();
        let before = last.as_ref().map(Arc::as_ptr);
        let found = Function::new_or_last(call.context(), &function, &mut last)?;
        if last.as_ref().map(Arc::as_ptr) != before {
            *self.last.lock() = last;
        }
        Ok(found)
    }

    fn submit(self: &Arc<Self>, work: Work, style: Style, site: Site) -> Outcome<()> {
        Arc::clone(&self.crew).submit(work, style == Style::Waits, site).map_err(|refused| match refused {
            Refused::Closed => raise("ValueError", "Pool not running"),
            Refused::Broken(exception) => exception.into_error(),
            Refused::Failed(error) => error,
        })
    }

    fn request(
        self: &Arc<Self>,
        function: &Function,
        site: Site,
        callbacks: Callbacks,
        progress: Option<Progress>,
    ) -> Request {
        Request {
            origin: Origin::new(&self.crew, function, site),
            callbacks,
            handler: Arc::clone(&self.handler),
            progress,
            pool: Arc::clone(self) as Arc<dyn Any + Send + Sync>,
        }
    }

    fn apply_async(self: &Arc<Self>, call: &mut Call, style: Style) -> Outcome<Arc<AsyncResult>> {
        self.check_running()?;
        let function = self.function(call)?;
        let args = match call.argument(1).filter(|args| !args.is_unit()) {
            None => Vec::new(),
            Some(args) => iterate(call.context(), &args)?,
        };
        let keywords = call.mapping(2)?;
        let callbacks = if style == Style::Async { callbacks(call, 3)? } else { Callbacks::default() };
        let args = args.into_iter().map(outgoing).collect();
        let args = function.arguments(args, keywords)?;
        synchronise();
        let site = call.site();
        let result = AsyncResult::of_call(&call.realm(), self.request(&function, site, callbacks, None));
        let ticket = Arc::clone(&result) as _;
        let job = Job { function, calls: Calls::One(args), part: 0, ticket };
        self.submit(Work::Job(job), style, site)?;
        result.expect_answers();
        Ok(result)
    }

    fn map_async(self: &Arc<Self>, call: &mut Call, kind: Kind, style: Style) -> Outcome<Arc<AsyncResult>> {
        self.check_running()?;
        let function = self.function(call)?;
        let iterable = call.required(1)?;
        let chunksize = chunksize(call, 2)?;
        let callbacks = if style == Style::Async { callbacks(call, 3)? } else { Callbacks::default() };
        let with_progress = call.bool_or(if style == Style::Async { 5 } else { 3 }, false);
        let items = items(call, &iterable, kind)?;
        let count = items.calls();
        let size = chunksize.unwrap_or_else(|| count.div_ceil(self.crew.plan().workers * 4).max(1));
        synchronise();
        let (site, realm) = (call.site(), call.realm());
        let progress = if with_progress { Progress::new(count) } else { None };
        let request = self.request(&function, site, callbacks, progress);
        let result = AsyncResult::of_map(&realm, request, count.div_ceil(size));
        let ticket = Arc::clone(&result) as _;
        self.submit(Work::Chunks(Chunks { function, items, size, ticket }), style, site)?;
        result.expect_answers();
        Ok(result)
    }

    fn imap(self: &Arc<Self>, call: &mut Call, is_ordered: bool) -> Outcome<Dynamic> {
        self.check_running()?;
        let function = self.function(call)?;
        let iterable = call.required(1)?;
        let size = chunksize(call, 2)?.unwrap_or(1);
        let items = items(call, &iterable, Kind::Single)?;
        synchronise();
        let (site, realm) = (call.site(), call.realm());
        let pool = Arc::clone(self) as Arc<dyn Any + Send + Sync>;
        let origin = Origin::new(&self.crew, &function, site);
        // Without chunks an item that fails does not end the iteration.
        let results = Results::new(&realm, origin, pool, items.calls().div_ceil(size), is_ordered, size > 1);
        let ticket = Arc::clone(&results) as _;
        self.submit(Work::Chunks(Chunks { function, items, size, ticket }), Style::Async, site)?;
        Ok(Dynamic::from(ResultsHandle(results)))
    }

    fn close(&self) {
        synchronise();
        let mut stage = self.stage.lock();
        if *stage == Stage::Run {
            *stage = Stage::Close;
            drop(stage);
            self.crew.close();
        }
    }

    fn terminate(&self, site: Site) -> Outcome<Dynamic> {
        synchronise();
        *self.stage.lock() = Stage::Terminate;
        self.crew.terminate();
        self.handler.close();
        if self.crew.ends_at_once() && !self.crew.has_current_worker() {
            self.crew.join(site)?;
        }
        Ok(Dynamic::UNIT)
    }

    fn join(&self, site: Site) -> Outcome<()> {
        if *self.stage.lock() == Stage::Run {
            return Err(raise("ValueError", "Pool is still running"));
        }
        if self.crew.has_current_worker() {
            return Err(raise("RuntimeError", "cannot join current thread"));
        }
        self.crew.join(site)?;
        // Nothing can come after the last worker.
        self.handler.close();
        self.handler.join(site)
    }
}

/// Reads `(callback=None, error_callback=None)` from parameter `first` on.
fn callbacks(call: &mut Call, first: usize) -> Outcome<Callbacks> {
    let mut callback = |index| -> Outcome<Option<Arc<Function>>> {
        let function = call.argument(index).filter(|function| !function.is_unit());
        function.map(|function| Function::new(call.context(), &function)).transpose()
    };
    Ok(Callbacks { on_value: callback(first)?, on_error: callback(first + 1)? })
}

fn chunksize(call: &mut Call, index: usize) -> Outcome<Option<usize>> {
    let Some(size) = call.argument(index).filter(|size| !size.is_unit()) else { return Ok(None) };
    let size = size.as_int().map_err(|kind| {
        raise("TypeError", format!("chunksize must be an integer, not {kind}: {}", value::repr(&size)))
    })?;
    match usize::try_from(size) {
        Ok(size) if size > 0 => Ok(Some(size)),
        _ => Err(raise("ValueError", format!("Chunksize must be 1+, not {size}"))),
    }
}

fn items(call: &Call, iterable: &Dynamic, kind: Kind) -> Outcome<Items> {
    let values = iterate(call.context(), iterable)?.into_iter();
    Ok(match kind {
        Kind::Single => Items::Single(values.map(outgoing).collect()),
        Kind::Tuples => {
            let arguments = |tuple: Dynamic| -> Outcome<Vec<Dynamic>> {
                let tuple = iterate(call.context(), &outgoing(tuple))?;
                Ok(tuple.into_iter().map(outgoing).collect())
            };
            Items::Tuples(values.map(arguments).collect::<Outcome<_>>()?)
        }
    })
}

fn handle(result: Arc<AsyncResult>) -> Outcome<Dynamic> {
    Ok(Dynamic::from(ResultHandle(result)))
}

/// Defines the methods of a class of pools.
pub fn define<H: PoolHandle>(module: &mut NativeModule) {
    module
        .handle::<H>()
        .method::<H, _>(
            "apply(func, args=(), kwds=None)",
            "Has func(*args, **kwds) called by a worker, and waits for its result.",
            |pool, call| {
                let result = pool.pool().apply_async(call, Style::Waits)?;
                result.get(&Wait::forever(call.site()))
            },
        )
        .method::<H, _>(
            "apply_async(func, args=(), kwds=None, callback=None, error_callback=None)",
            "Has func(*args, **kwds) called by a worker; returns an AsyncResult at once.",
            |pool, call| handle(pool.pool().apply_async(call, Style::Async)?),
        )
        .method::<H, _>(
            "map(func, iterable, chunksize=None, progress=False)",
            "Calls func with each item, in chunks, and waits for all results: a list in the items' order.",
            |pool, call| {
                let result = pool.pool().map_async(call, Kind::Single, Style::Waits)?;
                result.get(&Wait::forever(call.site()))
            },
        )
        .method::<H, _>(
            "map_async(func, iterable, chunksize=None, callback=None, error_callback=None, progress=False)",
            "map() without waiting: returns an AsyncResult at once.",
            |pool, call| handle(pool.pool().map_async(call, Kind::Single, Style::Async)?),
        )
        .method::<H, _>(
            "starmap(func, iterable, chunksize=None, progress=False)",
            "map() with several arguments: each item holds those of one call.",
            |pool, call| {
                let result = pool.pool().map_async(call, Kind::Tuples, Style::Waits)?;
                result.get(&Wait::forever(call.site()))
            },
        )
        .method::<H, _>(
            "starmap_async(func, iterable, chunksize=None, callback=None, error_callback=None, progress=False)",
            "starmap() without waiting: returns an AsyncResult at once.",
            |pool, call| handle(pool.pool().map_async(call, Kind::Tuples, Style::Async)?),
        )
        .method::<H, _>(
            "imap(func, iterable, chunksize=1)",
            "An iterator over the results in the items' order, each as soon as it is there.",
            |pool, call| pool.pool().imap(call, true),
        )
        .method::<H, _>(
            "imap_unordered(func, iterable, chunksize=1)",
            "An iterator over the results in the order in which they come.",
            |pool, call| pool.pool().imap(call, false),
        )
        .method::<H, _>("close()", "Takes no more tasks; those that there are get done.", |pool, _| {
            pool.pool().close();
            Ok(Dynamic::UNIT)
        })
        .method::<H, _>(
            "terminate()",
            "Takes no more tasks, and drops those that there are; processes are ended, threads go on with theirs.",
            |pool, call| pool.pool().terminate(call.site()),
        )
        .method::<H, _>(
            "join()",
            "Waits for the workers to end. ValueError before close() or terminate().",
            |pool, call| pool.pool().join(call.site()).map(|()| Dynamic::UNIT),
        )
        .method::<H, _>("__enter__()", "What `with` does first: ValueError if the pool is closed.", |pool, _| {
            pool.pool().check_running()?;
            Ok(Dynamic::from(pool.clone()))
        })
        .method::<H, _>("__exit__(error=None)", "What `with` does last: terminate().", |pool, call| {
            pool.pool().terminate(call.site())
        });
}
