//! `AsyncResult`: what `apply_async`, `map_async` and `starmap_async` return.

use rhai::Dynamic;

use super::handler::Handler;
use super::progress::Progress;
use crate::language::exception::{Class, Exception, Outcome, exception_of, interrupted, is_stop, raise};
use crate::language::function::Function;
use crate::language::identity::{Handle, Rank};
use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::variables::{synchronise, to_local};
use crate::modules::pool::{Answer, Errand, Losses, Origin, Reply, Ticket, Told};
use crate::modules::threading::report_uncaught;
use crate::runtime::sync::Arc;
use crate::runtime::{Monitor, Reason, Resource, Thread, Wait, WaitQueue};
use std::any::Any;
use std::sync::Weak;

/// What is called when the result is there.
#[derive(Default)]
pub struct Callbacks {
    /// With the value.
    pub on_value: Option<Arc<Function>>,
    /// With the exception.
    pub on_error: Option<Arc<Function>>,
}

/// The class of what `map_async` and `starmap_async` return.
const MAP: &str = "MapResult";

#[derive(Default)]
struct State {
    /// How many jobs have not been answered.
    left: usize,
    /// The answers, in their order.
    parts: Vec<Option<Reply>>,
    failure: Option<Exception>,
    result: Option<Result<Dynamic, Exception>>,
    /// Some job will never be done.
    is_abandoned: bool,
    runner: Option<Arc<Thread>>,
    waiters: WaitQueue,
    /// The exception for as long as nobody has fetched it.
    loss: Option<Arc<dyn Any + Send + Sync>>,
    /// Keeps the pool for as long as it has work to do for this result.
    pool: Option<Arc<dyn Any + Send + Sync>>,
}

/// The result of one call, or of the calls of one `map`.
pub struct AsyncResult {
    class: &'static str,
    realm: Weak<Realm>,
    origin: Origin,
    told: Told,
    callbacks: Callbacks,
    handler: Arc<Handler>,
    progress: Option<Progress>,
    state: Monitor<State>,
}

/// What is known of a result when it is made.
pub struct Request {
    /// Where the work came from.
    pub origin: Origin,
    /// What is called when it is done.
    pub callbacks: Callbacks,
    /// Who calls it.
    pub handler: Arc<Handler>,
    /// Shows how far it has come.
    pub progress: Option<Progress>,
    /// The pool that does it.
    pub pool: Arc<dyn Any + Send + Sync>,
}

impl AsyncResult {
    /// The result of one call.
    pub fn of_call(realm: &Arc<Realm>, request: Request) -> Arc<Self> {
        Self::new("ApplyResult", realm, request, 1)
    }

    /// The result of a `map` in so many chunks; of none, it is there at once.
    pub fn of_map(realm: &Arc<Realm>, request: Request, chunks: usize) -> Arc<Self> {
        let result = Self::new(MAP, realm, request, chunks);
        if chunks == 0 {
            let mut state = result.state.enter();
            state.result = Some(Ok(rhai::Array::new().into()));
            state.pool = None;
        }
        result
    }

    fn new(class: &'static str, realm: &Arc<Realm>, request: Request, jobs: usize) -> Arc<Self> {
        let Request { origin, callbacks, handler, progress, pool } = request;
        let mut parts = Vec::new();
        parts.resize_with(jobs, || None);
        let state = State { left: jobs, parts, pool: Some(pool), ..State::default() };
        Arc::new(Self {
            class,
            realm: Arc::downgrade(realm),
            origin,
            told: Told::default(),
            callbacks,
            handler,
            progress,
            state: Monitor::new(state),
        })
    }

    /// Is there nothing more to wait for?
    fn is_settled(&self) -> bool {
        let state = self.state.enter();
        state.result.is_some() || state.is_abandoned
    }

    /// To be called once it was handed in: if it has callbacks, they wait for no caller.
    pub fn expect_answers(&self) {
        if self.callbacks.on_value.is_some() || self.callbacks.on_error.is_some() {
            self.origin.expect_answers();
        }
    }

    fn is_ready(&self) -> Outcome<bool> {
        self.origin.look(&|| self.is_settled())?;
        Ok(self.state.enter().result.is_some())
    }

    /// Waits; nothing when the wait was over first.
    ///
    /// # Errors
    /// An interrupt.
    fn wait(self: &Arc<Self>, wait: &Wait) -> Outcome<Option<()>> {
        synchronise();
        self.origin.attend(wait, &|| self.is_settled())?;
        self.state
            .wait_until(
                wait,
                || Reason::Resource(Arc::new(Pending(Arc::clone(self)))),
                |state| &mut state.waiters,
                |state| (state.result.is_some() || state.is_abandoned).then_some(()),
            )
            .map_err(interrupted)
    }

    /// The value, once it is there.
    ///
    /// # Errors
    /// What the task raised; multiprocessing.TimeoutError; RuntimeError when the pool was terminated before.
    pub fn get(self: &Arc<Self>, wait: &Wait) -> Outcome<Dynamic> {
        if self.wait(wait)?.is_none() {
            return Err(timed_out());
        }
        let (result, loss) = {
            let mut state = self.state.enter();
            (state.result.clone(), state.loss.take())
        };
        if loss.is_some() {
            self.told.set();
        }
        match result {
            Some(Ok(value)) => Ok(localised(value)),
            Some(Err(exception)) => Err(exception.into_error()),
            None => {
                let origin = &self.origin;
                Err(raise("RuntimeError", format!("the pool was terminated before {origin} was done")))
            }
        }
    }

    fn is_successful(self: &Arc<Self>) -> Outcome<bool> {
        synchronise();
        let (result, loss) = {
            let mut state = self.state.enter();
            (state.result.as_ref().map(Result::is_ok), state.loss.take())
        };
        if loss.is_some() {
            self.told.set();
        }
        result.ok_or_else(|| raise("ValueError", format!("{} not ready", self.shown())))
    }

    fn shown(self: &Arc<Self>) -> String {
        format!("<multiprocessing.pool.{} object at {:#x}>", self.class, Arc::as_ptr(self) as usize)
    }

    /// All jobs are answered: calls the callback on the handler's thread, and then the result is there.
    fn complete(self: &Arc<Self>, result: Result<Dynamic, Exception>) {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        let callback = match &result {
            Ok(_) => &self.callbacks.on_value,
            Err(_) => &self.callbacks.on_error,
        };
        let (Some(callback), Some(realm)) = (callback.clone(), self.realm.upgrade()) else {
            return self.settle(result);
        };
        let own = Arc::clone(self);
        self.handler.give(&realm, Box::new(move || own.call_back(&callback, result)));
    }

    fn call_back(self: &Arc<Self>, callback: &Arc<Function>, result: Result<Dynamic, Exception>) {
        let argument = match &result {
            Ok(value) => localised(value.clone()),
            Err(exception) => {
                self.told.set();
                Dynamic::from(exception.clone())
            }
        };
        if let Err(error) = callback.call(vec![argument])
            && !is_stop(&error)
            && let Some(realm) = self.realm.upgrade()
        {
            // In CPython this would be the end of the thread, and of every result to come.
            let heading = format!("Exception in the callback of {}:", self.origin);
            report_uncaught(&realm, &heading, &exception_of(&error, "", ""));
        }
        synchronise();
        self.settle(result);
        self.origin.nudge();
    }

    fn settle(&self, result: Result<Dynamic, Exception>) {
        let loss = match (&result, self.realm.upgrade()) {
            (Err(exception), Some(realm)) => {
                Some(Losses::add(&realm, &self.origin, exception, &self.told) as Arc<dyn Any + Send + Sync>)
            }
            _ => None,
        };
        let pool = {
            let mut state = self.state.enter();
            state.result = Some(result);
            state.loss = loss;
            state.runner = None;
            state.waiters.wake_all();
            state.pool.take()
        };
        drop(pool);
    }
}

/// `multiprocessing.TimeoutError`.
pub fn timed_out() -> Box<rhai::EvalAltResult> {
    let class = Class::in_module("multiprocessing", "TimeoutError").expect("a class of multiprocessing");
    Exception::new(class, "").into_error()
}

/// A result as the calling thread may use it.
fn localised(value: Dynamic) -> Dynamic {
    if !value.is_array() {
        return to_local(value);
    }
    let items = value.into_array().unwrap_or_default();
    items.into_iter().map(to_local).collect::<Vec<_>>().into()
}

/// What a thread waits for that waits for a result.
struct Pending(Arc<AsyncResult>);

impl Resource for Pending {
    fn describe(&self) -> String {
        let runner = self.0.state.enter().runner.clone();
        self.0.origin.describe_wait(runner.as_ref())
    }
}

impl Ticket for AsyncResult {
    fn begin(self: Arc<Self>, worker: Option<&Arc<Thread>>) -> bool {
        if let Some(worker) = worker {
            self.state.enter().runner = Some(Arc::clone(worker));
        }
        true
    }

    fn finish(self: Arc<Self>, part: usize, answer: Answer) -> Option<Errand> {
        let own = &self;
        let result = {
            let mut state = own.state.enter();
            state.left = state.left.saturating_sub(1);
            match answer {
                Ok(reply) => {
                    if let Some(progress) = &own.progress {
                        progress.advance(if let Reply::Many(values) = &reply { values.len() } else { 1 });
                    }
                    state.parts[part] = Some(reply);
                }
                // The first one counts.
                Err(exception) => {
                    state.failure.get_or_insert(exception);
                }
            }
            if state.left > 0 {
                return None;
            }
            let parts = std::mem::take(&mut state.parts);
            match state.failure.take() {
                Some(exception) => Err(exception),
                None if own.class == MAP => Ok(joined(parts)),
                None => Ok(parts.into_iter().flatten().next().map_or(Dynamic::UNIT, Reply::into_value)),
            }
        };
        // Its callbacks have a thread of their own.
        own.complete(result);
        None
    }

    fn abandon(self: Arc<Self>, part: usize, reason: Option<&Exception>) {
        if let Some(reason) = reason {
            self.finish(part, Err(reason.clone()));
            return;
        }
        let pool = {
            let mut state = self.state.enter();
            state.is_abandoned = true;
            state.waiters.wake_all();
            state.pool.take()
        };
        drop(pool);
    }

    fn excuse(&self) {
        self.told.set();
    }
}

/// The values of all chunks, in order.
fn joined(parts: Vec<Option<Reply>>) -> Dynamic {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts.into_iter().flatten() {
        match part {
            Reply::One(value) => values.push(value),
            Reply::Many(more) if values.is_empty() => values = more,
            Reply::Many(more) => values.extend(more),
        }
    }
    values.into()
}

/// A script's reference to a result.
#[derive(Clone)]
pub struct ResultHandle(pub Arc<AsyncResult>);

impl Handle for ResultHandle {
    const NAME: &'static str = "ApplyResult";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        self.0.shown()
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<ResultHandle>()
        .method::<ResultHandle, _>(
            "get(timeout=None)",
            "What the call returned, once it is there; raises what it raised, or multiprocessing.TimeoutError.",
            |result, call| {
                let timeout = call.seconds(0)?;
                result.0.get(&call.wait_for(timeout))
            },
        )
        .method::<ResultHandle, _>(
            "wait(timeout=None)",
            "Waits until the result is there, or for so many seconds.",
            |result, call| {
                let timeout = call.seconds(0)?;
                result.0.wait(&call.wait_for(timeout))?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<ResultHandle, _>("ready()", "Is the call over?", |result, _| {
            synchronise();
            Ok(result.0.is_ready()?.into())
        })
        .method::<ResultHandle, _>(
            "successful()",
            "Did the call return without raising? ValueError if it is not over.",
            |result, _| Ok(result.0.is_successful()?.into()),
        );
}
