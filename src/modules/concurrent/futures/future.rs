//! The state of a `Future`, and those who wait for it.

use std::sync::Weak;

use rhai::Dynamic;

use crate::language::exception::{Class, Exception, Outcome, exception_of, interrupted, is_stop};
use crate::language::function::Function;
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::{synchronise, to_local};
use crate::modules::pool::{Answer, Errand, Losses, Origin, Reply, Ticket, Told, Workforce, outgoing};
use crate::modules::threading::report_uncaught;
use crate::runtime::sync::Arc;
use crate::runtime::{Monitor, Reason, Resource, Thread, Wait, WaitQueue};

use super::api::FutureHandle;
use super::waiting::Watch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Pending,
    Running,
    /// Cancelled, but its executor has not met it yet.
    Cancelled,
    CancelledAndNotified,
    Finished,
}

impl Phase {
    fn is_done(self) -> bool {
        matches!(self, Self::Cancelled | Self::CancelledAndNotified | Self::Finished)
    }

    fn is_cancelled(self) -> bool {
        matches!(self, Self::Cancelled | Self::CancelledAndNotified)
    }

    /// What `repr` calls it.
    fn description(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Cancelled | Self::CancelledAndNotified => "cancelled",
            Self::Finished => "finished",
        }
    }

    /// CPython's constant.
    fn constant(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Cancelled => "CANCELLED",
            Self::CancelledAndNotified => "CANCELLED_AND_NOTIFIED",
            Self::Finished => "FINISHED",
        }
    }
}

#[derive(Default)]
struct State {
    phase: Phase,
    result: Option<Result<Dynamic, Exception>>,
    runner: Option<Arc<Thread>>,
    waiters: WaitQueue,
    watches: Vec<Weak<Watch>>,
    callbacks: Vec<Arc<Function>>,
    /// The exception for as long as nobody has fetched it.
    loss: Option<Arc<dyn Send + Sync>>,
}

/// The result of a call that may not be over.
pub struct Future {
    realm: Weak<Realm>,
    /// Where the task came from; nothing for a future that a script made.
    origin: Option<Arc<Origin>>,
    told: Told,
    state: Monitor<State>,
}

/// How a future ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It returned.
    Returned,
    /// It raised.
    Raised,
    /// It was cancelled, and its executor knows.
    Cancelled,
}

/// What a thread waits for that waits for a future.
struct Pending(Arc<Future>);

impl Resource for Pending {
    fn describe(&self) -> String {
        let runner = self.0.state.enter().runner.clone();
        match &self.0.origin {
            Some(origin) => origin.describe_wait(runner.as_ref()),
            None => "the result of a Future that no executor made".into(),
        }
    }
}

impl Future {
    /// A future that nobody has begun to work on.
    pub fn new(realm: &Arc<Realm>, origin: Option<Arc<Origin>>, told: Told) -> Arc<Self> {
        Arc::new(Self { realm: Arc::downgrade(realm), origin, told, state: Monitor::default() })
    }

    /// What `repr` shows behind the address: `state=finished returned int`.
    pub fn describe_state(&self) -> String {
        let state = self.state.enter();
        let description = state.phase.description();
        match &state.result {
            Some(Ok(value)) => format!("state={description} returned {}", value::type_name(value)),
            Some(Err(exception)) => format!("state={description} raised {}", exception.class().name),
            None => format!("state={description}"),
        }
    }

    /// Cancels the future unless it runs or is done; true if it is cancelled.
    pub fn cancel(self: &Arc<Self>) -> bool {
        let callbacks = {
            let mut state = self.state.enter();
            match state.phase {
                Phase::Running | Phase::Finished => return false,
                Phase::Cancelled | Phase::CancelledAndNotified => return true,
                Phase::Pending => {}
            }
            state.phase = Phase::Cancelled;
            state.waiters.wake_all();
            std::mem::take(&mut state.callbacks)
        };
        self.nudge();
        self.call_back(&callbacks);
        true
    }

    /// Was it cancelled?
    pub fn is_cancelled(&self) -> bool {
        self.state.enter().phase.is_cancelled()
    }

    /// Is it being worked on?
    pub fn is_running(&self) -> bool {
        self.state.enter().phase == Phase::Running
    }

    /// Is it finished or cancelled?
    pub fn is_done(&self) -> bool {
        self.state.enter().phase.is_done()
    }

    /// How it ended, if its executor is done with it.
    pub fn end(&self) -> Option<End> {
        end_of(&self.state.enter())
    }

    /// Calls `watch` when the future ends; if it has, says how.
    pub fn watch(&self, watch: &Arc<Watch>) -> Option<End> {
        let mut state = self.state.enter();
        let end = end_of(&state);
        if end.is_none() {
            state.watches.retain(|watch| watch.strong_count() > 0);
            state.watches.push(Arc::downgrade(watch));
        }
        end
    }

    /// Looks whether it has been answered meanwhile.
    ///
    /// # Errors
    /// An interrupt.
    pub fn look(&self) -> Outcome<()> {
        self.origin.as_ref().map_or(Ok(()), |origin| origin.look(&|| self.is_done()))
    }

    /// Whose answers somebody has to take before it is done.
    pub fn answered_by(&self) -> Option<&Weak<dyn Workforce>> {
        self.origin.as_ref().and_then(|origin| origin.answered_by.as_ref())
    }

    /// It is done without an answer.
    pub fn nudge(&self) {
        if let Some(origin) = &self.origin {
            origin.nudge();
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// TimeoutError when the wait was over first, CancelledError, an interrupt.
    fn wait(self: &Arc<Self>, wait: &Wait) -> Outcome<Result<Dynamic, Exception>> {
        if let Some(origin) = &self.origin {
            origin.attend(wait, &|| self.is_done())?;
        }
        let found = self
            .state
            .wait_until(
                wait,
                || Reason::Resource(Arc::new(Pending(Arc::clone(self)))),
                |state| &mut state.waiters,
                |state| {
                    if !state.phase.is_done() {
                        return None;
                    }
                    Some((state.result.clone(), state.loss.take()))
                },
            )
            .map_err(interrupted)?;
        let Some((result, loss)) = found else {
            return Err(Exception::new(Class::known("TimeoutError"), "").into_error());
        };
        if loss.is_some() {
            self.told.set();
        }
        result.ok_or_else(|| Exception::new(Class::known("CancelledError"), "").into_error())
    }

    /// The result, once it is there.
    ///
    /// # Errors
    /// What the task raised; TimeoutError, CancelledError, an interrupt.
    pub fn result(self: &Arc<Self>, wait: &Wait) -> Outcome<Dynamic> {
        synchronise();
        match self.wait(wait)? {
            Ok(value) => Ok(to_local(value)),
            Err(exception) => Err(exception.into_error()),
        }
    }

    /// The exception that the task raised, nothing if it raised none.
    ///
    /// # Errors
    /// TimeoutError, CancelledError, an interrupt.
    pub fn exception(self: &Arc<Self>, wait: &Wait) -> Outcome<Option<Exception>> {
        synchronise();
        Ok(self.wait(wait)?.err())
    }

    /// Has `callback` called with the future when it is done; at once if it is.
    ///
    /// # Errors
    /// Only that the thread must stop: what the callback raises is logged.
    pub fn add_done_callback(self: &Arc<Self>, callback: Arc<Function>) {
        {
            let mut state = self.state.enter();
            if !state.phase.is_done() {
                state.callbacks.push(callback);
                drop(state);
                if let Some(origin) = &self.origin {
                    origin.expect_answers();
                }
                return;
            }
        }
        self.call_back(&[callback]);
    }

    fn call_back(self: &Arc<Self>, callbacks: &[Arc<Function>]) {
        for callback in callbacks {
            let result = callback.call(vec![Dynamic::from(FutureHandle(Arc::clone(self)))]);
            let Err(error) = result else { continue };
            if is_stop(&error) {
                // The thread meets its end again at its next safepoint.
                return;
            }
            if let Some(realm) = self.realm.upgrade() {
                let heading =
                    format!("exception calling callback for {}", FutureHandle(Arc::clone(self)).shown());
                report_uncaught(&realm, &heading, &exception_of(&error, "", ""));
            }
        }
    }

    /// Marks the future as being worked on; false if it was cancelled.
    ///
    /// # Errors
    /// RuntimeError if that was done before.
    pub fn set_running_or_notify_cancel(
        self: &Arc<Self>,
        runner: Option<&Arc<Thread>>,
    ) -> Result<bool, String> {
        let mut state = self.state.enter();
        match state.phase {
            Phase::Pending => {
                state.phase = Phase::Running;
                state.runner = runner.cloned();
                Ok(true)
            }
            Phase::Cancelled => {
                state.phase = Phase::CancelledAndNotified;
                let watches = std::mem::take(&mut state.watches);
                drop(state);
                self.tell(&watches, End::Cancelled);
                Ok(false)
            }
            phase => Err(phase.constant().into()),
        }
    }

    fn tell(self: &Arc<Self>, watches: &[Weak<Watch>], end: End) {
        for watch in watches.iter().filter_map(Weak::upgrade) {
            watch.ended(self, end);
        }
    }

    /// Sets the result, and calls the callbacks.
    ///
    /// # Errors
    /// The state's name if the future is done.
    pub fn set(self: &Arc<Self>, result: Result<Dynamic, Exception>) -> Result<(), String> {
        let callbacks = self.set_only(result)?;
        self.nudge();
        self.call_back(&callbacks);
        Ok(())
    }

    /// Sets the result; returns the callbacks.
    fn set_only(self: &Arc<Self>, result: Result<Dynamic, Exception>) -> Result<Vec<Arc<Function>>, String> {
        let result = result.map(outgoing);
        let end = if result.is_ok() { End::Returned } else { End::Raised };
        let loss = match (&result, &self.origin, self.realm.upgrade()) {
            (Err(exception), Some(origin), Some(realm)) => {
                Some(Losses::add(&realm, origin, exception, &self.told) as Arc<dyn Send + Sync>)
            }
            _ => None,
        };
        let (watches, callbacks) = {
            let mut state = self.state.enter();
            if state.phase.is_done() {
                return Err(state.phase.constant().into());
            }
            state.phase = Phase::Finished;
            state.result = Some(result);
            state.loss = loss;
            state.runner = None;
            state.waiters.wake_all();
            (std::mem::take(&mut state.watches), std::mem::take(&mut state.callbacks))
        };
        self.tell(&watches, end);
        Ok(callbacks)
    }
}

fn end_of(state: &State) -> Option<End> {
    match (state.phase, &state.result) {
        (Phase::CancelledAndNotified, _) => Some(End::Cancelled),
        (Phase::Finished, Some(Ok(_))) => Some(End::Returned),
        (Phase::Finished, _) => Some(End::Raised),
        _ => None,
    }
}

impl Ticket for Future {
    fn begin(self: Arc<Self>, worker: Option<&Arc<Thread>>) -> bool {
        self.set_running_or_notify_cancel(worker).unwrap_or(false)
    }

    fn finish(self: Arc<Self>, _: usize, answer: Answer) -> Option<Errand> {
        let result = answer.map(Reply::into_value);
        // A script may have set it meanwhile; its word came first.
        let callbacks = self.set_only(result).unwrap_or_default();
        if callbacks.is_empty() {
            return None;
        }
        Some(Box::new(move || self.call_back(&callbacks)))
    }

    fn abandon(self: Arc<Self>, _: usize, reason: Option<&Exception>) {
        match reason {
            Some(reason) => {
                let _ = self.set(Err(reason.clone()));
            }
            None => {
                self.cancel();
            }
        }
    }

    fn excuse(&self) {
        self.told.set();
    }
}
