//! The parent's side: hands jobs to worker processes, takes their answers, and replaces or buries the dead.

mod alarm;
mod answers;
mod burial;
mod jobs;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Weak;

use rhai::Dynamic;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::Signal;

use super::message;
use super::outbox::{Outbox, Sent};
use super::seat::{Notes, Place, Seat};
use super::worker;
use crate::ipc::codec::Encoded;
use crate::ipc::{Channel, Shared};
use crate::language::exception::{Exception, Outcome, interrupted, raise, raise_io};
use crate::language::pointer::Name;
use crate::language::realm::Realm;
use crate::modules::multiprocessing::context::StartMethod;
use crate::modules::multiprocessing::process::{ProcessHandle, Target};
use crate::modules::pool::{Errand, Plan, Refused, Work, Workforce, close_at_end, terminate_at_end};
use crate::modules::threading::ThreadHandle;
use crate::runtime::sync::{Arc, Mutex};
use crate::runtime::{Monitor, Reason, Site, ThreadId, Wait, WaitQueue, detached};
use alarm::Alarm;

/// Whose workers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pool's: all are started at once, one that dies is replaced, and they are daemons.
    Pool,
    /// An executor's: they are started with the first job, and the death of one is the end of all.
    Executor,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// No new jobs; what is there gets done.
    Closed,
    /// The workers are being ended.
    Terminated,
}

/// A worker process.
struct Worker {
    process: ProcessHandle,
    notes: Shared<Notes>,
}

/// Who takes the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receiver {
    /// Nobody has to: none will come.
    #[default]
    Nobody,
    /// The crew's own thread.
    Helper,
    /// A thread that waits for one of them, or has just handed in a job.
    Caller(Option<ThreadId>),
}

/// A job that was not sent.
struct Waiting {
    message: Encoded,
    sent: Sent,
}

#[derive(Default)]
struct State {
    phase: Phase,
    broken: Option<Exception>,
    waiting: VecDeque<Waiting>,
    sent: Outbox,
    receiver: Receiver,
    /// Somebody waits for an answer who does not take it. True until none are to come.
    is_awaited: bool,
    /// How many answers callers have taken.
    taken: u64,
    /// What [`State::taken`] was when the crew's own thread was asked to look whether anybody takes the answers.
    asked: Option<u64>,
    alarm: Alarm,
    /// Callbacks, for the crew's own thread.
    errands: VecDeque<Errand>,
    /// The crew's own thread waits here until it has something to do.
    idle: WaitQueue,
    /// Workers that have ended, and whose last answers are in.
    ended: VecDeque<u64>,
    /// How many notices of workers that have ended are on their way.
    notices: usize,
    /// The number of the next message: how many were ever sent.
    next: u64,
    workers: HashMap<u64, Worker>,
    next_worker: u64,
    /// Workers that were told to leave.
    dismissed: bool,
    /// How many workers in a row died before they came to work.
    failures: usize,
    helper: Option<ThreadHandle>,
    watcher: Option<std::thread::JoinHandle<()>>,
    is_started: bool,
    /// Nobody works or will work.
    is_over: bool,
    gone: WaitQueue,
}

impl State {
    /// May something come from the workers that somebody has to take?
    fn is_busy(&self) -> bool {
        self.phase != Phase::Open
            || !self.sent.is_empty()
            || !self.waiting.is_empty()
            || !self.ended.is_empty()
            || self.notices > 0
    }

    /// Sees to it that somebody takes the answers now.
    fn call_helper(&mut self) {
        if self.receiver == Receiver::Nobody {
            self.receiver = Receiver::Helper;
            self.idle.wake_all();
        }
    }
}

/// Worker processes and the threads that look after them.
pub struct ProcessCrew {
    realm: Weak<Realm>,
    plan: Plan,
    kind: Kind,
    method: Option<StartMethod>,
    jobs: Channel,
    answers: Channel,
    /// Ready when a worker has ended, or there are none any more.
    ends: OwnedFd,
    over: OwnedFd,
    /// Ready when it is time to look whether anybody takes the answers.
    timer: OwnedFd,
    state: Monitor<State>,
    /// The last function with a key, encoded.
    plain: Mutex<Option<(u64, Arc<[u8]>)>>,
}

/// What [`ProcessCrew::over`] is called among the workers.
const OVER: u64 = u64::MAX;
/// What [`ProcessCrew::timer`] is called there.
const TIMER: u64 = u64::MAX - 1;

thread_local! {
    /// The address of the crew that the calling thread looks after.
    static SERVED: Cell<usize> = const { Cell::new(0) };
}

impl ProcessCrew {
    /// A crew. A pool's is at work when this returns.
    ///
    /// # Errors
    /// The system's, when it has no room for the processes; TypeError for an initializer that cannot travel;
    /// AssertionError in a daemon.
    pub fn new(
        realm: &Arc<Realm>,
        plan: Plan,
        kind: Kind,
        method: Option<StartMethod>,
        site: Site,
    ) -> Outcome<Arc<Self>> {
        let failed = |error: std::io::Error| raise_io(&error, None);
        let ends = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let over = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let timer = alarm::timer().map_err(|error| failed(error.into()))?;
        for (fd, name) in [(&over, OVER), (&timer, TIMER)] {
            epoll::add(&ends, fd, epoll::EventData::new_u64(name), epoll::EventFlags::IN)
                .map_err(|error| failed(error.into()))?;
        }
        let crew = Arc::new(Self {
            realm: Arc::downgrade(realm),
            plan,
            kind,
            method,
            jobs: Channel::new(0).map_err(failed)?,
            answers: Channel::new(0).map_err(failed)?,
            ends,
            over,
            timer,
            state: Monitor::default(),
            plain: Mutex::default(),
        });
        let workforce: Arc<dyn Workforce> = Arc::clone(&crew) as _;
        match kind {
            Kind::Executor => close_at_end(realm, &workforce),
            Kind::Pool => {
                terminate_at_end(realm, &workforce);
                crew.begin(realm, site)?;
            }
        }
        Ok(crew)
    }

    /// Starts all workers, and the threads that look after them.
    fn begin(self: &Arc<Self>, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        self.state.enter().is_started = true;
        let started = (0..self.plan.workers).try_for_each(|_| self.start_worker(realm, site));
        let started = started.and_then(|()| self.start_helper(realm, site));
        if started.is_err() {
            self.end_workers(Signal::KILL);
            self.bury_all(realm);
            self.state.enter().phase = Phase::Terminated;
            self.finish();
        }
        started
    }

    fn start_helper(self: &Arc<Self>, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        self.watch().map_err(|error| raise_io(&error, None))?;
        let daemon = self.kind == Kind::Pool;
        let name = format!("Thread-{} (_handle_results)", realm.runtime.next_thread_number());
        let own = Arc::clone(self);
        let helper = ThreadHandle::spawn(realm, Some(name), daemon, site, move || {
            SERVED.set(Arc::as_ptr(&own) as usize);
            let result = own.help();
            SERVED.set(0);
            own.end_watch();
            result.map(|()| Dynamic::UNIT)
        })?;
        self.state.enter().helper = Some(helper);
        Ok(())
    }

    fn start_worker(&self, realm: &Arc<Realm>, site: Site) -> Outcome<()> {
        let failed = |error: std::io::Error| raise_io(&error, None);
        let notes = Shared::<Notes>::new().map_err(failed)?;
        let initializer = self.plan.initializer.as_ref();
        let place = Place {
            jobs: self.jobs.clone(),
            answers: self.answers.clone(),
            notes: notes.clone(),
            exits: self.kind == Kind::Pool,
            most_jobs: self.plan.most_jobs.unwrap_or(0),
            initializer: initializer.map(|i| (i.function.pointer().clone(), i.args.clone())),
        };
        let function = Name::Native(worker::NAME.into()).resolve()?;
        let target = Target {
            function: Some(function.into()),
            args: vec![Dynamic::from(Seat(Arc::new(place)))],
            is_run: false,
            is_worker: true,
        };
        let daemon = Some(self.kind == Kind::Pool);
        let process = ProcessHandle::new(realm, None, daemon, self.method, target);
        let method = self.method.unwrap_or_else(|| super::super::context::start_method(realm));
        process.rename(|name| match self.kind {
            Kind::Pool => format!("{}{}", method.prefix(), name.replace("Process", "PoolWorker")),
            Kind::Executor => format!("{}{name}", method.prefix()),
        });
        process.start(realm, site)?;
        let child = process.child().ok_or_else(|| raise("RuntimeError", "a worker did not start"))?;
        let index = {
            let mut state = self.state.enter();
            let index = state.next_worker;
            state.next_worker += 1;
            state.workers.insert(index, Worker { process, notes });
            index
        };
        epoll::add(&self.ends, child.sentinel(), epoll::EventData::new_u64(index), epoll::EventFlags::IN)
            .map_err(|error| failed(error.into()))?;
        // The others may have been told to leave while this one was on its way.
        let mut state = self.state.enter();
        let wait = Wait::forever(Site::default());
        if state.phase == Phase::Terminated
            || state.dismissed && self.jobs.send(&message::leave(), &wait).is_err()
        {
            let _ = child.signal(Signal::TERM);
        } else if state.dismissed {
            state.next += 1;
        }
        Ok(())
    }
}

impl Workforce for ProcessCrew {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn size(&self) -> usize {
        self.state.enter().workers.len()
    }

    fn submit(self: Arc<Self>, work: Work, will_attend: bool, site: Site) -> Result<(), Refused> {
        self.check_open(&self.state.enter())?;
        let submitted = match self.kind {
            Kind::Pool => self.submit_at_once(work),
            Kind::Executor => self.submit_in_turn(work, site),
        };
        if !(will_attend && submitted.is_ok()) {
            self.take_some();
        }
        submitted
    }

    fn has_answers_to_take(&self) -> bool {
        true
    }

    fn attend(&self, wait: &Wait, is_done: &dyn Fn() -> bool) -> Outcome<()> {
        let Some(_turn) = self.take_turn(wait) else { return Ok(()) };
        while !is_done() && !self.must_stop_attending() && self.receive(wait)? {}
        Ok(())
    }

    fn expect_answers(&self) {
        let mut state = self.state.enter();
        if state.is_busy() {
            state.is_awaited = true;
            state.call_helper();
        }
    }

    fn nudge(&self) {
        self.nudge_caller();
    }

    fn cancel_waiting(&self) {
        let waiting = std::mem::take(&mut self.state.enter().waiting);
        for Waiting { sent: Sent { ticket, part }, .. } in waiting {
            ticket.abandon(part, None);
        }
    }

    fn close(&self) {
        {
            let mut state = self.state.enter();
            if state.phase != Phase::Open {
                return;
            }
            state.phase = Phase::Closed;
            if !state.is_started {
                state.is_over = true;
                state.gone.wake_all();
                return;
            }
        }
        self.state.enter().call_helper();
        self.dismiss_if_done();
    }

    fn terminate(&self) {
        let (sent, waiting) = {
            let mut state = self.state.enter();
            state.phase = Phase::Terminated;
            if !state.is_started {
                state.is_over = true;
                state.gone.wake_all();
            }
            (std::mem::take(&mut state.sent), std::mem::take(&mut state.waiting))
        };
        self.end_workers(Signal::TERM);
        for Sent { ticket, part } in sent.into_jobs().chain(waiting.into_iter().map(|waiting| waiting.sent)) {
            ticket.abandon(part, None);
        }
        self.wake_receiver();
    }

    fn ends_at_once(&self) -> bool {
        true
    }

    fn join(&self, site: Site) -> Outcome<()> {
        let wait = Wait::forever(site);
        let reason = || Reason::External("worker processes to end");
        self.state
            .wait_until(&wait, reason, |state| &mut state.gone, |state| state.is_over.then_some(()))
            .map_err(interrupted)?;
        let helper = self.state.enter().helper.clone();
        if let Some(helper) = helper {
            helper.record().runtime().join(helper.record(), &wait).map_err(interrupted)?;
        }
        // The helper has told it to end. It holds descriptors until then.
        let watcher = self.state.enter().watcher.take();
        if let Some(watcher) = watcher {
            let _ = detached(|| watcher.join());
        }
        Ok(())
    }

    fn has_current_worker(&self) -> bool {
        SERVED.get() == std::ptr::from_ref(self) as usize
    }
}

impl Drop for ProcessCrew {
    fn drop(&mut self) {
        // The threads that look after the workers refer to the crew: there are none any more.
        self.end_workers(Signal::TERM);
    }
}
