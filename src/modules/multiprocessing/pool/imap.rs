//! The iterators of `imap` and `imap_unordered`.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::Weak;

use rhai::Dynamic;

use super::result::timed_out;
use crate::language::exception::{Exception, Outcome, interrupted, raise};
use crate::language::generator::{item_or_stop, set_iterator};
use crate::language::identity::Handle;
use crate::language::native::NativeModule;
use crate::language::realm::Realm;
use crate::language::variables::{synchronise, to_local};
use crate::modules::pool::{Answer, Errand, Losses, Origin, Reply, Ticket, Told};
use crate::runtime::sync::Arc;
use crate::runtime::{Monitor, Reason, Resource, Site, Thread, Wait, WaitQueue};

type Item = Result<Dynamic, (Exception, Arc<dyn Any + Send + Sync>)>;

#[derive(Default)]
struct State {
    /// What can be had now.
    items: VecDeque<Item>,
    /// Answers that came before their turn.
    early: HashMap<usize, Answer>,
    /// Which answer is next in turn.
    turn: usize,
    /// How many jobs have not been answered.
    left: usize,
    is_abandoned: bool,
    is_over: bool,
    runner: Option<Arc<Thread>>,
    waiters: WaitQueue,
    /// Keeps the pool for as long as it has work to do for this iterator.
    pool: Option<Arc<dyn Any + Send + Sync>>,
}

/// The results of calls, one by one.
pub struct Results {
    class: &'static str,
    is_ordered: bool,
    /// A chunk that fails ends the iteration.
    is_chunked: bool,
    realm: Weak<Realm>,
    origin: Origin,
    told: Told,
    state: Monitor<State>,
}

impl Results {
    /// The results of so many jobs.
    pub fn new(
        realm: &Arc<Realm>,
        origin: Origin,
        pool: Arc<dyn Any + Send + Sync>,
        jobs: usize,
        is_ordered: bool,
        is_chunked: bool,
    ) -> Arc<Self> {
        let pool = (jobs > 0).then_some(pool);
        Arc::new(Self {
            class: if is_ordered { "IMapIterator" } else { "IMapUnorderedIterator" },
            is_ordered,
            is_chunked,
            realm: Arc::downgrade(realm),
            origin,
            told: Told::default(),
            state: Monitor::new(State { left: jobs, pool, ..State::default() }),
        })
    }

    /// The next result, nothing at the end.
    ///
    /// # Errors
    /// What the call raised; multiprocessing.TimeoutError; RuntimeError when the pool was terminated; an
    /// interrupt.
    fn next(self: &Arc<Self>, wait: &Wait) -> Outcome<Option<Dynamic>> {
        synchronise();
        self.origin.attend(wait, &|| {
            let state = self.state.enter();
            state.is_over || state.left == 0 || state.is_abandoned || !state.items.is_empty()
        })?;
        let found = self
            .state
            .wait_until(
                wait,
                || Reason::Resource(Arc::new(Pending(Arc::clone(self)))),
                |state| &mut state.waiters,
                |state| {
                    if state.is_over {
                        return Some(None);
                    }
                    match state.items.pop_front() {
                        Some(item) => Some(Some(item)),
                        None => (state.left == 0 || state.is_abandoned).then_some(None),
                    }
                },
            )
            .map_err(interrupted)?;
        match found {
            None => Err(timed_out()),
            Some(Some(Ok(value))) => Ok(Some(to_local(value))),
            Some(Some(Err((exception, _loss)))) => {
                self.told.set();
                if self.is_chunked {
                    self.state.enter().is_over = true;
                }
                Err(exception.into_error())
            }
            Some(None) if self.state.enter().is_abandoned => {
                let origin = &self.origin;
                Err(raise("RuntimeError", format!("the pool was terminated before all of {origin} was done")))
            }
            Some(None) => Ok(None),
        }
    }

    fn push(&self, state: &mut State, answer: Answer) {
        match answer {
            Ok(Reply::One(value)) => state.items.push_back(Ok(value)),
            Ok(Reply::Many(values)) => state.items.extend(values.into_iter().map(Ok)),
            Err(exception) => {
                let loss: Arc<dyn Any + Send + Sync> = match self.realm.upgrade() {
                    Some(realm) => Losses::add(&realm, &self.origin, &exception, &self.told),
                    None => Arc::new(()),
                };
                state.items.push_back(Err((exception, loss)));
            }
        }
    }
}

/// What a thread waits for that waits for the next result.
struct Pending(Arc<Results>);

impl Resource for Pending {
    fn describe(&self) -> String {
        let runner = self.0.state.enter().runner.clone();
        self.0.origin.describe_wait(runner.as_ref())
    }
}

impl Ticket for Results {
    fn begin(self: Arc<Self>, worker: Option<&Arc<Thread>>) -> bool {
        if let Some(worker) = worker {
            self.state.enter().runner = Some(Arc::clone(worker));
        }
        true
    }

    fn finish(self: Arc<Self>, part: usize, answer: Answer) -> Option<Errand> {
        let own = &self;
        let pool = {
            let mut state = own.state.enter();
            state.left = state.left.saturating_sub(1);
            if own.is_ordered {
                state.early.insert(part, answer);
                loop {
                    let turn = state.turn;
                    let Some(answer) = state.early.remove(&turn) else { break };
                    state.turn += 1;
                    own.push(&mut state, answer);
                }
            } else {
                own.push(&mut state, answer);
            }
            state.waiters.wake_all();
            if state.left == 0 { state.pool.take() } else { None }
        };
        drop(pool);
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

/// A script's reference to such an iterator.
#[derive(Clone)]
pub struct ResultsHandle(pub Arc<Results>);

impl Handle for ResultsHandle {
    const NAME: &'static str = "IMapIterator";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.pool.{} object at {:#x}>", self.0.class, self.identity())
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<ResultsHandle>()
        .method::<ResultsHandle, _>(
            "next(timeout=None)",
            "The next result, once it is there; StopIteration at the end, multiprocessing.TimeoutError too late.",
            |results, call| {
                let timeout = call.seconds(0)?;
                item_or_stop(results.0.next(&call.wait_for(timeout))?)
            },
        )
        .method::<ResultsHandle, _>("__next__()", "next().", |results, call| {
            item_or_stop(results.0.next(&Wait::forever(call.site()))?)
        });
    set_iterator::<ResultsHandle>(module, |results| results.0.next(&Wait::forever(Site::default())));
}
