//! The parent's side: hands jobs to worker processes, takes their answers, and replaces or buries the dead.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Weak;
use std::time::Duration;

use rhai::Dynamic;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::process::Signal;

use super::message::{self, Back};
use super::outbox::{Outbox, Sent};
use super::seat::{Notes, Place, Seat};
use super::worker;
use crate::ipc::codec::Encoded;
use crate::ipc::{Channel, Shared};
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise, raise_io};
use crate::language::function::Function;
use crate::language::pointer::Name;
use crate::language::realm::Realm;
use crate::modules::multiprocessing::children::Children;
use crate::modules::multiprocessing::context::StartMethod;
use crate::modules::multiprocessing::process::{ProcessHandle, Target};
use crate::modules::pool::{Part, Plan, Refused, Ticket, Work, Workforce, close_at_end, terminate_at_end};
use crate::modules::threading::ThreadHandle;
use crate::runtime::sync::{Arc, Mutex, Ordering};
use crate::runtime::{Monitor, Reason, Resource, Site, Wait, WaitQueue, sleep_for, tick};

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
    /// A thread that waits for one of them.
    Caller,
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
    /// The crew's own thread waits here until it has answers to take.
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

    /// Sees to it that somebody takes the answers.
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
    state: Monitor<State>,
    /// The last function with a key, encoded.
    plain: Mutex<Option<(u64, Arc<[u8]>)>>,
}

/// How long after Ctrl-C nobody is told that a worker has died of it.
const INTERRUPT_GRACE: Duration = Duration::from_millis(200);

/// After so many jobs of one call the others get their turn: other threads, and Ctrl-C.
const PAUSE: usize = 256;

/// The stack of the thread that watches the workers.
const WATCH_STACK: usize = 128 << 10;

/// What [`ProcessCrew::over`] is called among the workers.
const OVER: u64 = u64::MAX;

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
        epoll::add(&ends, &over, epoll::EventData::new_u64(OVER), epoll::EventFlags::IN)
            .map_err(|error| failed(error.into()))?;
        let crew = Arc::new(Self {
            realm: Arc::downgrade(realm),
            plan,
            kind,
            method,
            jobs: Channel::new(0).map_err(failed)?,
            answers: Channel::new(0).map_err(failed)?,
            ends,
            over,
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

    /// How many jobs may be sent before they are answered. What was sent can no longer be cancelled.
    fn window(&self) -> usize {
        match self.kind {
            Kind::Pool => usize::MAX,
            // CPython's: one for each worker, and one for whoever is done first.
            Kind::Executor => 2 * self.plan.workers + 1,
        }
    }

    /// Sends what may be sent.
    fn send_waiting(&self, state: &mut State) {
        while state.sent.len() < self.window() {
            let Some(Waiting { message, sent }) = state.waiting.pop_front() else { return };
            if sent.ticket.begin(None) {
                self.send(state, message, sent);
            }
        }
    }

    /// Sends a job; returns the message's memory.
    fn send(&self, state: &mut State, mut message: Encoded, sent: Sent) -> Option<Vec<u8>> {
        let number = state.next;
        message::set_number(&mut message.bytes, number);
        match self.jobs.send(&message.bytes, &Wait::forever(Site::default())) {
            Ok(_) => {
                state.next += 1;
                state.sent.insert(number, sent);
                Some(message.sent())
            }
            Err(error) => {
                let text = format!("a job could not be sent to the workers: {error}");
                let exception = Exception::new(Class::known("MemoryError"), text);
                sent.ticket.finish(sent.part, Err(exception));
                None
            }
        }
    }

    fn check_open(&self, state: &State) -> Result<(), Refused> {
        match &state.broken {
            Some(exception) => Err(Refused::Broken(exception.clone())),
            None if state.phase == Phase::Open => Ok(()),
            None => Err(Refused::Closed),
        }
    }

    /// Sends jobs as they are encoded.
    fn submit_at_once(&self, work: Work) -> Result<(), Refused> {
        let mut buffer = Vec::new();
        let mut send = |function: &Function, calls, ticket: &Arc<dyn Ticket>, part| {
            let message =
                self.encode(std::mem::take(&mut buffer), function, calls).map_err(Refused::Failed)?;
            let mut state = self.state.enter();
            self.check_open(&state)?;
            let sent = Sent { ticket: Arc::clone(ticket), part };
            buffer = self.send(&mut state, message, sent).unwrap_or_default();
            Ok(())
        };
        match work {
            Work::Jobs(jobs) => jobs
                .iter()
                .try_for_each(|job| send(&job.function, job.calls.as_part(), &job.ticket, job.part)),
            Work::Chunks(chunks) => (0..chunks.count()).try_for_each(|part| {
                send(&chunks.function, chunks.part(part), &chunks.ticket, part)?;
                if (part + 1) % PAUSE == 0 {
                    self.state.enter().call_helper();
                    tick().map_err(|interrupt| Refused::Failed(interrupted(interrupt)))?;
                }
                Ok(())
            }),
        }
    }

    /// Puts jobs into the queue of those that are sent when earlier ones have been answered.
    fn submit_in_turn(self: &Arc<Self>, work: Work, site: Site) -> Result<(), Refused> {
        let jobs = work.into_jobs();
        let mut waiting = VecDeque::with_capacity(jobs.len());
        for job in &jobs {
            let message =
                self.encode(Vec::new(), &job.function, job.calls.as_part()).map_err(Refused::Failed)?;
            let sent = Sent { ticket: Arc::clone(&job.ticket), part: job.part };
            waiting.push_back(Waiting { message, sent });
        }
        // The values that were sent may be large: not while the state is locked.
        drop(jobs);
        let is_first = {
            let mut state = self.state.enter();
            self.check_open(&state)?;
            state.waiting.append(&mut waiting);
            !std::mem::replace(&mut state.is_started, true)
        };
        // With the jobs in place: workers that die at once are then the jobs' failure, and not this call's.
        if is_first {
            let realm = self.realm.upgrade().ok_or(Refused::Closed)?;
            if let Err(error) = self.begin(&realm, site) {
                drop(std::mem::take(&mut self.state.enter().waiting));
                return Err(Refused::Failed(error));
            }
        }
        self.send_waiting(&mut self.state.enter());
        Ok(())
    }

    fn encode(&self, buffer: Vec<u8>, function: &Function, calls: Part<'_>) -> Outcome<Encoded> {
        if function.key() == 0 {
            return message::encode_job(buffer, function, None, calls);
        }
        let known = self.plain.lock().clone().filter(|(key, _)| *key == function.key());
        let plain = match known {
            Some((_, plain)) => plain,
            None => {
                let plain: Arc<[u8]> = message::encode_plain(function)?.into();
                *self.plain.lock() = Some((function.key(), Arc::clone(&plain)));
                plain
            }
        };
        message::encode_job(buffer, function, Some(&plain), calls)
    }

    /// The crew's own thread: takes the answers when nobody else does, and looks after the workers.
    fn help(self: &Arc<Self>) -> Outcome<()> {
        let wait = Wait::forever(Site::default());
        loop {
            let turn = self.state.wait_until(
                &wait,
                || Reason::Resource(Arc::new(Answers)),
                |state| &mut state.idle,
                |state| (state.receiver == Receiver::Helper).then_some(()),
            );
            turn.map_err(interrupted)?;
            loop {
                while let Some(index) = self.next_ended() {
                    self.bury(index)?;
                }
                if self.is_over() {
                    self.finish();
                    return Ok(());
                }
                {
                    let mut state = self.state.enter();
                    if !state.is_busy() {
                        state.receiver = Receiver::Nobody;
                        break;
                    }
                }
                self.receive(Site::default())?;
                tick().map_err(interrupted)?;
            }
        }
    }

    fn next_ended(&self) -> Option<u64> {
        self.state.enter().ended.pop_front()
    }

    /// Takes one message from the workers' side.
    fn receive(&self, site: Site) -> Outcome<()> {
        let remote = Class::known(match self.kind {
            Kind::Pool => "RemoteTraceback",
            Kind::Executor => "_RemoteTraceback",
        });
        let wait = Wait::forever(site);
        let back = self.answers.receive_with(&wait, |message| message::decode_back(message, remote));
        match back.map_err(interrupted)? {
            Some(Ok(Back::Answer(number, answer))) => {
                let (sent, is_open) = {
                    let mut state = self.state.enter();
                    let sent = state.sent.remove(number);
                    if !state.waiting.is_empty() {
                        self.send_waiting(&mut state);
                    }
                    (sent, state.phase == Phase::Open)
                };
                if let Some(sent) = sent {
                    sent.ticket.finish(sent.part, answer);
                }
                if !is_open {
                    self.dismiss_if_done();
                }
            }
            Some(Ok(Back::Death(OVER))) => {}
            Some(Ok(Back::Death(index))) => {
                let mut state = self.state.enter();
                state.notices = state.notices.saturating_sub(1);
                state.ended.push_back(index);
            }
            // A script that got hold of the channel wrote to it: nothing of ours.
            Some(Err(_)) | None => {}
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let state = self.state.enter();
        state.phase != Phase::Open
            && state.workers.is_empty()
            && state.sent.is_empty()
            && state.waiting.is_empty()
    }

    /// Wakes whoever waits for the crew to be gone.
    fn finish(&self) {
        self.end_watch();
        let mut state = self.state.enter();
        state.is_over = true;
        state.gone.wake_all();
    }

    /// Ends the thread that watches the workers.
    fn end_watch(&self) {
        // An eventfd write of 1 fails only when its counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
    }

    /// Tells the workers to leave once there is nothing more to do.
    fn dismiss_if_done(&self) {
        let mut state = self.state.enter();
        let is_done = state.phase == Phase::Closed && state.sent.is_empty() && state.waiting.is_empty();
        if !is_done || state.dismissed {
            return;
        }
        state.dismissed = true;
        let wait = Wait::forever(Site::default());
        for _ in 0..state.workers.len() {
            // With no memory for eight bytes left they are ended below.
            if self.jobs.send(&message::leave(), &wait).is_err() {
                drop(state);
                return self.end_workers(Signal::TERM);
            }
            state.next += 1;
        }
        if state.workers.is_empty() {
            drop(state);
            self.wake_receiver();
        }
    }

    /// Has whoever takes the answers look round.
    fn wake_receiver(&self) {
        self.state.enter().call_helper();
        let wait = Wait { deadline: None, try_only: true, site: Site::default() };
        // Only a channel without memory refuses, and then something is in it.
        let _ = self.answers.send(&message::death(OVER), &wait);
    }

    /// Starts the thread that is told by the kernel when a worker ends, and says so behind its last answer. It is no
    /// script thread: it wakes no other one but by what workers do.
    fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        let own = Arc::clone(self);
        std::thread::Builder::new()
            .name("workers".into())
            .stack_size(WATCH_STACK)
            .spawn(move || {
                // Without it, workers that die would not be replaced.
                let _ = own.watch_workers();
            })
            .map(drop)
    }

    fn watch_workers(&self) -> rustix::io::Result<()> {
        let mut events = Vec::with_capacity(16);
        let wait = Wait::forever(Site::default());
        loop {
            events.clear();
            match epoll::wait(&self.ends, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            for event in &events {
                let index = event.data.u64();
                if index == OVER {
                    return Ok(());
                }
                let child = self.state.enter().workers.get(&index).and_then(|worker| worker.process.child());
                let Some(child) = child else { continue };
                let _ = epoll::delete(&self.ends, child.sentinel());
                {
                    let mut state = self.state.enter();
                    state.notices += 1;
                    state.call_helper();
                }
                if self.answers.send(&message::death(index), &wait).is_err() {
                    // No memory for the notice: what the worker answered last may then come too late.
                    let mut state = self.state.enter();
                    state.notices -= 1;
                    state.ended.push_back(index);
                    drop(state);
                    self.wake_receiver();
                }
            }
        }
    }

    /// A worker has ended, and all its answers are in: answers for what went with it, and replaces it.
    fn bury(self: &Arc<Self>, index: u64) -> Outcome<()> {
        let Some(realm) = self.realm.upgrade() else { return Ok(()) };
        let Some((worker, lost)) = self.take_dead(index) else { return Ok(()) };
        realm.extension::<Children>().remove(&worker.process);
        let has_left = worker.notes.has_left.load(Ordering::Acquire) == 1;
        let was_ready = worker.notes.is_ready.load(Ordering::Acquire) == 1;
        let is_open = self.state.enter().phase != Phase::Terminated;
        // Reaps it, too.
        let exit_code = worker.process.child().and_then(|child| child.exit_code());
        if is_open && !has_left {
            if exit_code == Some(-libc::SIGINT) {
                // Ctrl-C ends the workers at once. Whoever waits for them is to hear of Ctrl-C, not of its effect.
                sleep_for(INTERRUPT_GRACE, Site::default()).map_err(interrupted)?;
                self.excuse(lost.as_ref());
            }
            let end = describe_end(&worker.process);
            if self.kind == Kind::Executor {
                self.break_down(&end, lost);
                return Ok(());
            }
            let failures = {
                let mut state = self.state.enter();
                state.failures = if was_ready { 0 } else { state.failures + 1 };
                state.failures
            };
            if failures >= self.plan.workers {
                // CPython would start workers for ever.
                self.break_down(&format!("{end} before it could work: its initializer fails"), lost);
                return Ok(());
            }
            if let Some(lost) = lost {
                let text = format!("the task was lost: {end} while it ran");
                lost.ticket.finish(lost.part, Err(broken(&text)));
            }
        }
        let is_needed = {
            let state = self.state.enter();
            let has_work = !state.sent.is_empty() || !state.waiting.is_empty();
            state.phase == Phase::Open || state.phase == Phase::Closed && has_work
        };
        if is_needed && let Err(error) = self.start_worker(&realm, Site::default()) {
            let nobody_is_left = self.state.enter().workers.is_empty();
            if nobody_is_left {
                let error = crate::language::exception::exception_of(&error, "", "");
                self.break_down(&format!("no worker can be started: {}", error.summary()), None);
            }
        }
        self.dismiss_if_done();
        Ok(())
    }

    /// Ctrl-C has ended a worker: nobody need be told of what it did not do, nor of what an executor does not do after
    /// that.
    fn excuse(&self, lost: Option<&Sent>) {
        lost.into_iter().for_each(|sent| sent.ticket.excuse());
        if self.kind == Kind::Executor {
            let state = self.state.enter();
            let all = state.sent.iter().chain(state.waiting.iter().map(|waiting| &waiting.sent));
            all.for_each(|sent| sent.ticket.excuse());
        }
    }

    /// Takes a dead worker off the list, and what it was doing.
    fn take_dead(&self, index: u64) -> Option<(Worker, Option<Sent>)> {
        let mut state = self.state.enter();
        let worker = state.workers.remove(&index)?;
        let noted = worker.notes.taken.load(Ordering::Acquire);
        if noted == 0 {
            return Some((worker, None));
        }
        let low = (noted - 1) as u32;
        // It noted the number before it took the message out: did it get that far?
        let is_taken = (self.jobs.received().wrapping_sub(low) as i32) > 0;
        // Numbers in shared memory have 32 bits; the job is among the last that were sent.
        let number = state.next.wrapping_sub(u64::from((state.next as u32).wrapping_sub(low)));
        let lost = if is_taken { state.sent.remove(number) } else { None };
        Some((worker, lost))
    }

    /// Nothing more can be done: every job is answered with the reason, and the workers are ended.
    fn break_down(&self, reason: &str, lost: Option<Sent>) {
        let (sent, waiting) = {
            let mut state = self.state.enter();
            state.broken = Some(broken(&match self.kind {
                Kind::Executor => {
                    format!(
                        "A child process terminated abruptly, the process pool is not usable anymore: {reason}"
                    )
                }
                Kind::Pool => format!("the pool is not usable anymore: {reason}"),
            }));
            state.phase = Phase::Terminated;
            (std::mem::take(&mut state.sent), std::mem::take(&mut state.waiting))
        };
        self.end_workers(Signal::TERM);
        let text = match self.kind {
            Kind::Executor => format!(
                "A process in the process pool was terminated abruptly while the future was running or pending: {reason}"
            ),
            Kind::Pool => format!("the task was lost: {reason}"),
        };
        for Sent { ticket, part } in lost.into_iter().chain(sent.into_jobs()) {
            ticket.finish(part, Err(broken(&text)));
        }
        for Waiting { sent: Sent { ticket, part }, .. } in waiting {
            ticket.abandon(part, Some(&broken(&text)));
        }
    }

    fn end_workers(&self, signal: Signal) {
        let children: Vec<_> =
            self.state.enter().workers.values().filter_map(|worker| worker.process.child()).collect();
        for child in children {
            // One that has just ended by itself: all the better.
            let _ = child.signal(signal);
        }
    }

    /// Reaps workers that were killed before anybody looked after them.
    fn bury_all(&self, realm: &Arc<Realm>) {
        let workers = std::mem::take(&mut self.state.enter().workers);
        for worker in workers.into_values() {
            if let Some(child) = worker.process.child() {
                // Interrupted: whoever starts a process next reaps it.
                let _ = child.wait(None, Site::default());
            }
            realm.extension::<Children>().remove(&worker.process);
        }
    }
}

fn broken(text: &str) -> Exception {
    Exception::new(Class::known("BrokenProcessPool"), text)
}

/// `worker ForkPoolWorker-1 (pid 4711) was killed by signal 9 (SIGKILL)`.
fn describe_end(process: &ProcessHandle) -> String {
    let name = process.name();
    let pid = process.pid().unwrap_or(0);
    let how = match process.child().and_then(|child| child.exit_code()) {
        Some(code) if code < 0 => match Signal::from_named_raw(-code) {
            Some(signal) => {
                format!("was killed by signal {} ({})", -code, super::super::process::signal_name(signal))
            }
            None => format!("was killed by signal {}", -code),
        },
        Some(code) => format!("ended with exit status {code}"),
        None => "ended".into(),
    };
    format!("worker {name} (pid {pid}) {how}")
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
        let mut state = self.state.enter();
        if state.is_busy() && !(will_attend && submitted.is_ok()) {
            state.call_helper();
        }
        submitted
    }

    fn attend(&self, is_done: &dyn Fn() -> bool, site: Site) -> Outcome<()> {
        {
            let mut state = self.state.enter();
            if state.receiver != Receiver::Nobody || !state.is_busy() {
                return Ok(());
            }
            state.receiver = Receiver::Caller;
        }
        let _turn = Turn(self);
        while !is_done() && self.state.enter().ended.is_empty() {
            self.receive(site)?;
        }
        Ok(())
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
        Ok(())
    }

    fn has_current_worker(&self) -> bool {
        SERVED.get() == std::ptr::from_ref(self) as usize
    }
}

/// What the crew's own thread waits for.
struct Answers;

impl Resource for Answers {
    fn describe(&self) -> String {
        "tasks for worker processes".into()
    }
}

/// The calling thread takes the answers, until this is dropped.
struct Turn<'a>(&'a ProcessCrew);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.enter();
        state.receiver = Receiver::Nobody;
        if state.is_busy() {
            state.call_helper();
        }
    }
}

impl Drop for ProcessCrew {
    fn drop(&mut self) {
        // The threads that look after the workers refer to the crew: there are none any more.
        self.end_workers(Signal::TERM);
    }
}
