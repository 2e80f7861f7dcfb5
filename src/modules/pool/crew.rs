//! The threads of a pool and the queue that they take jobs from.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Weak;

use rhai::Dynamic;

use super::job::{Job, Work};
use super::program::close_at_end;
use super::workforce::{Plan, Refused, Staffing, Workforce};
use crate::language::exception::{Class, Exception, Outcome, exception_of, interrupted, is_stop};
use crate::language::function::Caller;
use crate::language::realm::{self, Realm};
use crate::language::variables::synchronise;
use crate::modules::threading::{ThreadHandle, report_uncaught};
use crate::runtime::sync::Arc;
use crate::runtime::{self, Interrupt, Monitor, Reason, Resource, Site, Wait, WaitQueue};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// No new jobs; what is there gets done.
    Closed,
    /// Nothing more gets begun.
    Terminated,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    phase: Phase,
    /// Idle workers wait here.
    vacant: WaitQueue,
    /// Jobs that were done and not followed by a new one: CPython's idle semaphore.
    idle: usize,
    /// Workers that were started, or are about to be, and have not ended.
    alive: usize,
    /// How many were ever started.
    started: usize,
    workers: Vec<ThreadHandle>,
    /// Who waits for the last worker to end.
    gone: WaitQueue,
    /// How many initializers failed since one succeeded.
    failures: usize,
    broken: Option<Exception>,
}

/// Workers and their queue.
pub struct Crew {
    realm: Weak<Realm>,
    plan: Plan,
    state: Monitor<State>,
}

/// What an idle worker waits for.
struct MoreWork(Arc<str>);

impl Resource for MoreWork {
    fn describe(&self) -> String {
        format!("work for {}", self.0)
    }
}

/// What somebody waits for who waits until all workers have ended.
struct Departure(Arc<str>);

impl Resource for Departure {
    fn describe(&self) -> String {
        format!("the workers of {} to end", self.0)
    }
}

impl Crew {
    /// A crew. A fixed one is at work when this returns.
    ///
    /// # Errors
    /// RuntimeError when the system has no room for the threads, an interrupt.
    pub fn new(realm: &Arc<Realm>, plan: Plan, site: Site) -> Outcome<Arc<Self>> {
        let (staffing, workers) = (plan.staffing, plan.workers);
        let crew = Arc::new(Self { realm: Arc::downgrade(realm), plan, state: Monitor::default() });
        match staffing {
            Staffing::OnDemand => close_at_end(realm, &(Arc::clone(&crew) as Arc<dyn Workforce>)),
            Staffing::Fixed => {
                for number in 0..workers {
                    let presence = crew.presence(&mut crew.state.enter());
                    if let Err(error) = crew.start_worker(realm, presence, number, site) {
                        crew.terminate();
                        return Err(error);
                    }
                }
            }
        }
        Ok(crew)
    }

    /// Counts one more worker as alive.
    fn presence(self: &Arc<Self>, state: &mut State) -> Presence {
        state.alive += 1;
        Presence(Arc::clone(self))
    }

    fn start_worker(&self, realm: &Arc<Realm>, presence: Presence, number: usize, site: Site) -> Outcome<()> {
        let (name, daemon) = match self.plan.staffing {
            Staffing::OnDemand => (format!("{}_{number}", self.plan.name), false),
            Staffing::Fixed => (format!("Thread-{} (worker)", realm.runtime.next_thread_number()), true),
        };
        let body = move || {
            SERVED.set(Arc::as_ptr(&presence.0) as usize);
            let served = presence.0.serve();
            SERVED.set(0);
            served.map(|()| Dynamic::UNIT)
        };
        let worker = ThreadHandle::spawn(realm, Some(name), daemon, site, body)?;
        let mut state = self.state.enter();
        state.workers.retain(|worker| worker.record().is_alive());
        state.workers.push(worker);
        Ok(())
    }

    /// The life of a worker.
    fn serve(self: &Arc<Self>) -> Outcome<()> {
        let Some(worker) = runtime::current() else { return Ok(()) };
        if let Some(initializer) = &self.plan.initializer {
            let result = initializer.function.call(initializer.args.clone());
            synchronise();
            match result {
                Ok(_) => self.state.enter().failures = 0,
                Err(error) if is_stop(&error) => return Err(error),
                Err(error) => return self.initializer_failed(error),
            }
        }
        let Some(realm) = realm::current() else { return Ok(()) };
        let mut caller = Caller::new(realm.engine());
        let mut done = 0;
        while let Some(job) = self.next_job(done > 0).map_err(interrupted)? {
            job.run(&worker, &mut caller)?;
            done += 1;
            if self.plan.most_jobs.is_some_and(|most| done >= most) {
                return self.replace_worker();
            }
        }
        Ok(())
    }

    /// The next job; nothing when the worker is to end.
    fn next_job(&self, is_again: bool) -> Result<Option<Job>, Interrupt> {
        if is_again && self.plan.staffing == Staffing::OnDemand {
            self.state.enter().idle += 1;
        }
        let wait = Wait::forever(Site::default());
        let next = self.state.wait_until(
            &wait,
            || Reason::Resource(Arc::new(MoreWork(Arc::clone(&self.plan.name)))),
            |state| &mut state.vacant,
            |state| match state.phase {
                Phase::Terminated => Some(None),
                Phase::Open => state.jobs.pop_front().map(Some),
                Phase::Closed => Some(state.jobs.pop_front()),
            },
        )?;
        Ok(next.flatten())
    }

    fn initializer_failed(self: &Arc<Self>, error: Box<rhai::EvalAltResult>) -> Outcome<()> {
        let exception = exception_of(&error, "", "");
        match self.plan.staffing {
            Staffing::OnDemand => {
                if let Some(realm) = self.realm.upgrade() {
                    report_uncaught(&realm, "Exception in initializer:", &exception);
                }
                let class = Class::known("BrokenThreadPool");
                let text = "A thread initializer failed, the thread pool is not usable anymore";
                self.break_down(&Exception::new(class, text));
                Ok(())
            }
            Staffing::Fixed => {
                let failures = {
                    let mut state = self.state.enter();
                    state.failures += 1;
                    state.failures
                };
                // CPython would try for ever.
                if failures >= self.plan.workers {
                    self.break_down(&exception);
                } else {
                    self.replace_worker()?;
                }
                Err(error)
            }
        }
    }

    /// Starts a worker in the place of the calling one, if there can be more to do.
    fn replace_worker(self: &Arc<Self>) -> Outcome<()> {
        let Some(realm) = self.realm.upgrade() else { return Ok(()) };
        let presence = {
            let mut state = self.state.enter();
            if state.phase == Phase::Terminated || state.phase == Phase::Closed && state.jobs.is_empty() {
                return Ok(());
            }
            self.presence(&mut state)
        };
        self.start_worker(&realm, presence, 0, Site::default())
    }

    /// Takes no more jobs, and answers those that wait with `reason`.
    fn break_down(&self, reason: &Exception) {
        let jobs = {
            let mut state = self.state.enter();
            state.broken = Some(reason.clone());
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            job.ticket.abandon(job.part, Some(reason));
        }
    }
}

impl Workforce for Crew {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn size(&self) -> usize {
        self.state.enter().alive
    }

    fn has_answers_to_take(&self) -> bool {
        false
    }

    fn attend(&self, _: &Wait, _: &dyn Fn() -> bool) -> Outcome<()> {
        Ok(())
    }

    fn expect_answers(&self) {}

    fn nudge(&self) {}

    fn submit(self: Arc<Self>, work: Work, _: bool, site: Site) -> Result<(), Refused> {
        let (one, several) = match work {
            Work::Job(job) => (Some(job), Vec::new()),
            work => (None, work.into_jobs()),
        };
        let count = usize::from(one.is_some()) + several.len();
        let mut state = self.state.enter();
        if let Some(exception) = &state.broken {
            return Err(Refused::Broken(exception.clone()));
        }
        if state.phase != Phase::Open {
            return Err(Refused::Closed);
        }
        state.jobs.extend(one.into_iter().chain(several));
        state.vacant.wake(count);
        if self.plan.staffing == Staffing::Fixed {
            return Ok(());
        }
        for _ in 0..count {
            if state.idle > 0 {
                state.idle -= 1;
                continue;
            }
            if state.started == self.plan.workers {
                break;
            }
            let Some(realm) = self.realm.upgrade() else { break };
            let number = state.started;
            state.started += 1;
            let presence = self.presence(&mut state);
            drop(state);
            let started = self.start_worker(&realm, presence, number, site);
            state = self.state.enter();
            if let Err(error) = started {
                state.started -= 1;
                // Those that there are will do it.
                if state.alive > 0 {
                    break;
                }
                let jobs = std::mem::take(&mut state.jobs);
                drop(state);
                drop(jobs);
                return Err(Refused::Failed(error));
            }
        }
        Ok(())
    }

    fn close(&self) {
        let mut state = self.state.enter();
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        state.vacant.wake_all();
    }

    fn cancel_waiting(&self) {
        let jobs = std::mem::take(&mut self.state.enter().jobs);
        for job in jobs {
            job.ticket.abandon(job.part, None);
        }
    }

    fn terminate(&self) {
        let jobs = {
            let mut state = self.state.enter();
            state.phase = Phase::Terminated;
            state.vacant.wake_all();
            std::mem::take(&mut state.jobs)
        };
        for job in jobs {
            job.ticket.abandon(job.part, None);
        }
    }

    fn ends_at_once(&self) -> bool {
        false
    }

    fn join(&self, site: Site) -> Outcome<()> {
        let wait = Wait::forever(site);
        self.state
            .wait_until(
                &wait,
                || Reason::Resource(Arc::new(Departure(Arc::clone(&self.plan.name)))),
                |state| &mut state.gone,
                |state| (state.alive == 0).then_some(()),
            )
            .map_err(interrupted)?;
        let workers = std::mem::take(&mut self.state.enter().workers);
        for worker in workers {
            worker.record().runtime().join(worker.record(), &wait).map_err(interrupted)?;
        }
        Ok(())
    }

    fn has_current_worker(&self) -> bool {
        SERVED.get() == std::ptr::from_ref(self) as usize
    }
}

thread_local! {
    /// The address of the crew that the calling thread works for.
    static SERVED: Cell<usize> = const { Cell::new(0) };
}

/// A worker counts as alive for as long as this exists.
struct Presence(Arc<Crew>);

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.0.state.enter();
        state.alive -= 1;
        if state.alive == 0 {
            state.gone.wake_all();
        }
    }
}
