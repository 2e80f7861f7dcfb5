//! The parent's side: hands jobs to worker processes, takes their answers, and replaces or buries the dead.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;
use std::time::Duration;

use rhai::Dynamic;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::process::Signal;

use super::message::{self, Back};
use super::seat::{Notes, Place, Seat};
use super::worker;
use crate::ipc::codec::Encoded;
use crate::ipc::{Channel, Shared};
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise, raise_io};
use crate::language::pointer::Name;
use crate::language::realm::Realm;
use crate::modules::multiprocessing::children::Children;
use crate::modules::multiprocessing::context::StartMethod;
use crate::modules::multiprocessing::process::{ProcessHandle, Target};
use crate::modules::pool::{Job, Plan, Refused, Ticket, Workforce, close_at_end, terminate_at_end};
use crate::modules::threading::ThreadHandle;
use crate::runtime::sync::{Arc, Mutex, Ordering};
use crate::runtime::{Monitor, Reason, Site, Until, Wait, WaitQueue, block, sleep_for, tick};

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

/// A job that was sent and not answered.
struct Sent {
    ticket: Arc<dyn Ticket>,
    part: usize,
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
    sent: HashMap<u64, Sent>,
    /// The number of the next message: how many were ever sent.
    next: u64,
    workers: HashMap<u64, Worker>,
    next_worker: u64,
    /// Workers that were told to leave.
    dismissed: bool,
    /// How many workers in a row died before they came to work.
    failures: usize,
    threads: Vec<ThreadHandle>,
    is_started: bool,
    /// Nobody works or will work.
    is_over: bool,
    gone: WaitQueue,
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
        for _ in 0..self.plan.workers {
            if let Err(error) = self.start_worker(realm, site) {
                self.end_workers(Signal::KILL);
                self.bury_all(realm);
                self.state.enter().phase = Phase::Terminated;
                self.finish();
                return Err(error);
            }
        }
        let daemon = self.kind == Kind::Pool;
        for (name, body) in [
            ("_handle_results", Self::handle_answers as fn(&Arc<Self>) -> Outcome<()>),
            ("_handle_workers", Self::handle_ends),
        ] {
            let name = format!("Thread-{} ({name})", realm.runtime.next_thread_number());
            let own = Arc::clone(self);
            let thread = ThreadHandle::spawn(realm, Some(name), daemon, site, move || {
                SERVED.set(Arc::as_ptr(&own) as usize);
                let result = body(&own);
                SERVED.set(0);
                result.map(|()| Dynamic::UNIT)
            })?;
            self.state.enter().threads.push(thread);
        }
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
        let wait = Wait::forever(Site::default());
        while state.sent.len() < self.window() {
            let Some(Waiting { mut message, sent }) = state.waiting.pop_front() else { return };
            if !sent.ticket.begin(None) {
                continue;
            }
            let number = state.next;
            message::set_number(&mut message.bytes, number);
            match self.jobs.send(&message.bytes, &wait) {
                Ok(_) => {
                    message.sent();
                    state.next += 1;
                    state.sent.insert(number, sent);
                }
                Err(error) => {
                    let text = format!("a job could not be sent to the workers: {error}");
                    let exception = Exception::new(Class::known("MemoryError"), text);
                    sent.ticket.finish(sent.part, Err(exception));
                }
            }
        }
    }

    fn encode(&self, job: &Job) -> Outcome<Encoded> {
        let function = &*job.function;
        if function.key() == 0 {
            return message::encode_job(function, None, &job.calls);
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
        message::encode_job(function, Some(&plain), &job.calls)
    }

    /// The thread that takes the answers, and learns of the deaths in between.
    fn handle_answers(self: &Arc<Self>) -> Outcome<()> {
        let remote = Class::known(match self.kind {
            Kind::Pool => "RemoteTraceback",
            Kind::Executor => "_RemoteTraceback",
        });
        let wait = Wait::forever(Site::default());
        while !self.is_over() {
            let back = self.answers.receive_with(&wait, |message| message::decode_back(message, remote));
            match back.map_err(interrupted)? {
                Some(Ok(Back::Answer(number, answer))) => {
                    let sent = {
                        let mut state = self.state.enter();
                        let sent = state.sent.remove(&number);
                        self.send_waiting(&mut state);
                        sent
                    };
                    if let Some(sent) = sent {
                        sent.ticket.finish(sent.part, answer);
                    }
                    self.dismiss_if_done();
                }
                Some(Ok(Back::Death(index))) => self.bury(index)?,
                // A script that got hold of the channel wrote to it: nothing of ours.
                Some(Err(_)) | None => {}
            }
            tick().map_err(interrupted)?;
        }
        self.finish();
        Ok(())
    }

    fn is_over(&self) -> bool {
        let state = self.state.enter();
        state.phase != Phase::Open
            && state.workers.is_empty()
            && state.sent.is_empty()
            && state.waiting.is_empty()
    }

    /// Wakes whoever waits for the crew to be gone, and ends the thread that watches the workers.
    fn finish(&self) {
        // An eventfd write of 1 fails only when its counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
        let mut state = self.state.enter();
        state.is_over = true;
        state.gone.wake_all();
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
            self.wake_handler();
        }
    }

    /// Has the answers' thread look round.
    fn wake_handler(&self) {
        let wait = Wait { deadline: None, try_only: true, site: Site::default() };
        // Only a channel without memory refuses, and then something is in it.
        let _ = self.answers.send(&message::death(OVER), &wait);
    }

    /// The thread that is told by the kernel when a worker ends, and says so behind its last answer.
    fn handle_ends(self: &Arc<Self>) -> Outcome<()> {
        let mut events = Vec::with_capacity(16);
        let wait = Wait::forever(Site::default());
        loop {
            let reason = Reason::External("worker processes to end");
            block(Until::Readable(self.ends.as_fd()), reason, None, Site::default()).map_err(interrupted)?;
            events.clear();
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(&self.ends, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(raise_io(&error.into(), None)),
            }
            for event in &events {
                let index = event.data.u64();
                if index == OVER {
                    return Ok(());
                }
                let child = self.state.enter().workers.get(&index).and_then(|worker| worker.process.child());
                if let Some(child) = child {
                    let _ = epoll::delete(&self.ends, child.sentinel());
                    let notice = message::death(index);
                    let sent = self.answers.send(&notice, &wait);
                    sent.map_err(|error| {
                        raise("RuntimeError", format!("a worker's death is lost: {error}"))
                    })?;
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
        if is_open && !has_left {
            if worker.process.child().and_then(|child| child.exit_code()) == Some(-libc::SIGINT) {
                // Ctrl-C ends the workers at once. Whoever waits for them is to hear of Ctrl-C, not of its effect.
                sleep_for(INTERRUPT_GRACE, Site::default()).map_err(interrupted)?;
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
        let lost = if is_taken { state.sent.remove(&number) } else { None };
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
        let mut sent: Vec<(u64, Sent)> = sent.into_iter().collect();
        sent.sort_by_key(|(number, _)| *number);
        let running = lost.into_iter().chain(sent.into_iter().map(|(_, sent)| sent));
        for Sent { ticket, part } in running {
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

    fn submit(self: Arc<Self>, jobs: Vec<Job>, site: Site) -> Result<(), Refused> {
        let refusal = |state: &State| match &state.broken {
            Some(exception) => Some(Refused::Broken(exception.clone())),
            None => (state.phase != Phase::Open).then_some(Refused::Closed),
        };
        if let Some(refused) = refusal(&self.state.enter()) {
            return Err(refused);
        }
        let mut waiting = VecDeque::with_capacity(jobs.len());
        for job in &jobs {
            let message = self.encode(job).map_err(Refused::Failed)?;
            waiting.push_back(Waiting {
                message,
                sent: Sent { ticket: Arc::clone(&job.ticket), part: job.part },
            });
        }
        // The values that were sent may be large: not while the state is locked.
        drop(jobs);
        let is_first = {
            let mut state = self.state.enter();
            if let Some(refused) = refusal(&state) {
                return Err(refused);
            }
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
        for Sent { ticket, part } in sent.into_values().chain(waiting.into_iter().map(|waiting| waiting.sent))
        {
            ticket.abandon(part, None);
        }
        self.wake_handler();
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
        let threads = std::mem::take(&mut self.state.enter().threads);
        for thread in threads {
            thread.record().runtime().join(thread.record(), &wait).map_err(interrupted)?;
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
