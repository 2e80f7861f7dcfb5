//! Waiting for several futures: `wait` and `as_completed`.

use std::collections::{HashSet, VecDeque};
use std::sync::Weak;

use rhai::Dynamic;

use super::api::FutureHandle;
use super::future::{End, Future};
use crate::language::builtins::iterate;
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise};
use crate::language::generator::{Generator, Items};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::pool::{Workforce, attend};
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Monitor, Reason, Resource, Site, Wait, WaitQueue};

const FIRST_COMPLETED: &str = "FIRST_COMPLETED";
const FIRST_EXCEPTION: &str = "FIRST_EXCEPTION";
const ALL_COMPLETED: &str = "ALL_COMPLETED";

#[derive(Default)]
struct State {
    /// Futures that ended since they were last taken, in the order of their ends.
    ended: VecDeque<Arc<Future>>,
    /// How many more must end.
    left: usize,
    /// An exception came that the wait ends with.
    failed: bool,
    waiters: WaitQueue,
}

/// Is told when one of several futures ends.
pub struct Watch {
    stop_on_exception: bool,
    state: Monitor<State>,
}

impl Watch {
    fn new(stop_on_exception: bool) -> Arc<Self> {
        Arc::new(Self { stop_on_exception, state: Monitor::default() })
    }

    /// A future has ended.
    pub(super) fn ended(&self, future: &Arc<Future>, end: End) {
        let mut state = self.state.enter();
        state.ended.push_back(Arc::clone(future));
        state.left = state.left.saturating_sub(1);
        state.failed |= self.stop_on_exception && end == End::Raised;
        state.waiters.wake_all();
    }

    fn reason(self: &Arc<Self>) -> Reason {
        Reason::Resource(Arc::new(Several(Arc::clone(self))))
    }
}

/// What a thread waits for that waits for several futures.
struct Several(Arc<Watch>);

impl Resource for Several {
    fn describe(&self) -> String {
        match self.0.state.enter().left {
            1 => "the end of a Future".into(),
            left => format!("the end of {left} Futures"),
        }
    }
}

type Futures = Vec<Arc<Future>>;

/// The workforce whose answers all of these wait for, if it is one.
fn answered_by(futures: &[Arc<Future>]) -> Option<Weak<dyn Workforce>> {
    let pending = futures.iter().filter(|future| !future.is_done());
    let mut crews = pending.map(|future| future.answered_by());
    let first = crews.next()??;
    crews.all(|crew| crew.is_some_and(|crew| Weak::ptr_eq(first, crew))).then(|| Weak::clone(first))
}

/// The futures of a call, each once, in their order.
fn futures(call: &mut Call) -> Outcome<Futures> {
    let given = call.required(0)?;
    let mut seen = HashSet::new();
    let mut futures = Vec::new();
    for item in iterate(call.context(), &given)? {
        let Some(future) = item.read_lock::<FutureHandle>().map(|future| Arc::clone(&future.0)) else {
            let (kind, shown) = (value::type_name(&item), value::repr(&item));
            return Err(raise("TypeError", format!("'{kind}' object is no Future: {shown}")));
        };
        if seen.insert(Arc::as_ptr(&future)) {
            futures.push(future);
        }
    }
    Ok(futures)
}

/// What `wait` returns.
#[derive(Clone)]
struct DoneAndNotDone(Arc<[Futures; 2]>);

fn handles(futures: &[Arc<Future>]) -> Vec<Dynamic> {
    futures.iter().map(|future| Dynamic::from(FutureHandle(Arc::clone(future)))).collect()
}

impl DoneAndNotDone {
    fn part(&self, index: i64) -> Outcome<Dynamic> {
        match index {
            0 | -2 => Ok(handles(&self.0[0]).into()),
            1 | -1 => Ok(handles(&self.0[1]).into()),
            _ => Err(raise("IndexError", format!("tuple index out of range: index {index} of 2 items"))),
        }
    }
}

impl Handle for DoneAndNotDone {
    const NAME: &'static str = "DoneAndNotDoneFutures";

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        let [done, not_done] = [0, 1].map(|part| value::repr_sequence(&handles(&self.0[part]), 0));
        format!("DoneAndNotDoneFutures(done={done}, not_done={not_done})")
    }
}

fn wait(call: &mut Call) -> Outcome<Dynamic> {
    synchronise();
    let futures = futures(call)?;
    let timeout = call.seconds(1)?;
    let return_when = call.argument(2).map_or(ALL_COMPLETED.into(), |when| value::str(&when));
    if ![FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED].contains(&return_when.as_str()) {
        let text = format!("Invalid return condition: {}", value::repr(&return_when.into()));
        return Err(raise("ValueError", text));
    }
    let watch = Watch::new(return_when == FIRST_EXCEPTION);
    let ended: Vec<Option<End>> = futures.iter().map(|future| future.watch(&watch)).collect();
    let pending = ended.iter().filter(|end| end.is_none()).count();
    {
        // Some may have ended since they were asked.
        let mut state = watch.state.enter();
        let needed = if return_when == FIRST_COMPLETED { 1 } else { pending };
        state.left = needed.saturating_sub(state.ended.len());
    }
    let is_over = match return_when.as_str() {
        FIRST_COMPLETED => pending < futures.len(),
        FIRST_EXCEPTION => ended.contains(&Some(End::Raised)),
        _ => false,
    };
    if pending > 0 && !is_over {
        let wait = call.wait_for(timeout);
        let is_over = |state: &State| state.left == 0 || state.failed;
        attend(answered_by(&futures).as_ref(), &wait, &|| is_over(&watch.state.enter()))?;
        watch
            .state
            .wait_until(
                &wait,
                || watch.reason(),
                |state| &mut state.waiters,
                |state| is_over(state).then_some(()),
            )
            .map_err(interrupted)?;
    }
    let later: HashSet<_> = watch.state.enter().ended.iter().map(Arc::as_ptr).collect();
    let (done, not_done): (Vec<_>, Vec<_>) = futures
        .into_iter()
        .zip(ended)
        .partition(|(future, end)| end.is_some() || later.contains(&Arc::as_ptr(future)));
    let plain =
        |futures: Vec<(Arc<Future>, Option<End>)>| futures.into_iter().map(|(f, _)| f).collect::<Futures>();
    Ok(Dynamic::from(DoneAndNotDone(Arc::new([plain(done), plain(not_done)]))))
}

/// The futures of `as_completed`, each when it has ended.
struct Completed {
    watch: Arc<Watch>,
    total: usize,
    wait: Wait,
    /// Kept so that their ends are told: nobody else may refer to them.
    pending: Mutex<Vec<Arc<Future>>>,
    answered_by: Option<Weak<dyn Workforce>>,
}

impl Items for Completed {
    fn name(&self) -> &'static str {
        "as_completed"
    }

    fn next(&self, site: Site) -> Outcome<Option<Dynamic>> {
        let wait = Wait { site, ..self.wait.clone() };
        let is_over = |state: &State| state.left == 0 && state.ended.is_empty();
        attend(self.answered_by.as_ref(), &wait, &|| {
            let state = self.watch.state.enter();
            state.left == 0 || !state.ended.is_empty()
        })?;
        let found = self
            .watch
            .state
            .wait_until(
                &wait,
                || self.watch.reason(),
                |state| &mut state.waiters,
                |state| match state.ended.pop_front() {
                    Some(future) => Some(Some(future)),
                    None => is_over(state).then_some(None),
                },
            )
            .map_err(interrupted)?;
        let mut pending = self.pending.lock();
        match found {
            Some(Some(future)) => {
                pending.retain(|other| !Arc::ptr_eq(other, &future));
                Ok(Some(Dynamic::from(FutureHandle(future))))
            }
            Some(None) => Ok(None),
            None => {
                let text = format!("{} (of {}) futures unfinished", pending.len(), self.total);
                Err(Exception::new(Class::known("TimeoutError"), text).into_error())
            }
        }
    }
}

fn as_completed(call: &mut Call) -> Outcome<Dynamic> {
    synchronise();
    let futures = futures(call)?;
    let timeout = call.seconds(1)?;
    let wait = call.wait_for(timeout);
    let watch = Watch::new(false);
    let total = futures.len();
    watch.state.enter().left = total;
    for future in &futures {
        if let Some(end) = future.watch(&watch) {
            watch.ended(future, end);
        }
    }
    let answered_by = answered_by(&futures);
    let pending = Mutex::new(futures);
    Ok(Dynamic::from(Generator::new(Completed { watch, total, wait, pending, answered_by })))
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .function(
            "wait(fs, timeout=None, return_when='ALL_COMPLETED')",
            "Waits for futures; returns those that are done and those that are not, as .done and .not_done.",
            wait,
        )
        .function(
            "as_completed(fs, timeout=None)",
            "An iterator over the futures, each when it is done; TimeoutError when that takes too long.",
            as_completed,
        )
        .constant(FIRST_COMPLETED, "wait() returns when any future is done.", FIRST_COMPLETED)
        .constant(FIRST_EXCEPTION, "wait() returns when any future raises, or all are done.", FIRST_EXCEPTION)
        .constant(ALL_COMPLETED, "wait() returns when all futures are done.", ALL_COMPLETED)
        .handle::<DoneAndNotDone>()
        .attribute::<DoneAndNotDone, _>("done", "The futures that are done.", |both| both.part(0))
        .attribute::<DoneAndNotDone, _>("not_done", "The futures that are not.", |both| both.part(1));
    rhai::FuncRegistration::new_index_getter()
        .with_purity(true)
        .set_into_module(&mut module.builtins, |both: &mut DoneAndNotDone, index: i64| both.part(index));
    rhai::FuncRegistration::new("len")
        .with_purity(true)
        .set_into_module(&mut module.builtins, |_: &mut DoneAndNotDone| 2_i64);
}
