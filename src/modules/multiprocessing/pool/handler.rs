//! The thread of a pool that calls callbacks, one after the other, in the order in which the results came.

use std::collections::VecDeque;

use rhai::Dynamic;

use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::realm::Realm;
use crate::modules::threading::ThreadHandle;
use crate::runtime::sync::Arc;
use crate::runtime::{self, Monitor, Reason, Resource, Site, Wait, WaitQueue};

type Errand = Box<dyn FnOnce() + Send + Sync>;

#[derive(Default)]
struct State {
    errands: VecDeque<Errand>,
    is_closed: bool,
    thread: Option<ThreadHandle>,
    is_started: bool,
    changed: WaitQueue,
}

/// A pool's handler thread, started with the first callback.
#[derive(Default)]
pub struct Handler(Monitor<State>);

struct Callbacks;

impl Resource for Callbacks {
    fn describe(&self) -> String {
        "callbacks of a pool to call".into()
    }
}

impl Handler {
    /// Has `errand` done after those that were given before. If there can be no thread, the caller does it.
    pub fn give(self: &Arc<Self>, realm: &Arc<Realm>, errand: Errand) {
        let must_start = {
            let mut state = self.0.enter();
            state.errands.push_back(errand);
            state.changed.wake_all();
            !std::mem::replace(&mut state.is_started, true)
        };
        if !must_start {
            return;
        }
        let own = Arc::clone(self);
        let name = format!("Thread-{} (_handle_results)", realm.runtime.next_thread_number());
        match ThreadHandle::spawn(realm, Some(name), true, Site::default(), move || own.serve()) {
            Ok(thread) => self.0.enter().thread = Some(thread),
            Err(_) => {
                let errands = {
                    let mut state = self.0.enter();
                    state.is_started = false;
                    std::mem::take(&mut state.errands)
                };
                errands.into_iter().for_each(|errand| errand());
            }
        }
    }

    fn serve(&self) -> Outcome<Dynamic> {
        let wait = Wait::forever(Site::default());
        loop {
            let errand = self.0.wait_until(
                &wait,
                || Reason::Resource(Arc::new(Callbacks)),
                |state| &mut state.changed,
                |state| match state.errands.pop_front() {
                    Some(errand) => Some(Some(errand)),
                    None => state.is_closed.then_some(None),
                },
            );
            match errand.map_err(interrupted)?.flatten() {
                Some(errand) => errand(),
                None => return Ok(Dynamic::UNIT),
            }
        }
    }

    /// Lets the thread end when it has done what there is.
    pub fn close(&self) {
        let mut state = self.0.enter();
        state.is_closed = true;
        state.changed.wake_all();
    }

    /// Blocks until the thread has ended, which it does once it is closed.
    ///
    /// # Errors
    /// RuntimeError on the thread itself; an interrupt.
    pub fn join(&self, site: Site) -> Outcome<()> {
        let thread = self.0.enter().thread.clone();
        let Some(thread) = thread else { return Ok(()) };
        if runtime::current().is_some_and(|current| Arc::ptr_eq(&current, thread.record())) {
            return Err(raise("RuntimeError", "cannot join current thread"));
        }
        let joined = thread.record().runtime().join(thread.record(), &Wait::forever(site));
        joined.map(drop).map_err(interrupted)
    }
}
