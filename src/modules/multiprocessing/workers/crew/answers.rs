//! Answers on their way back, and notices of workers' ends among them.

use rustix::event::epoll;
use rustix::process::Signal;

use super::super::message::{self, Back};
use super::{Kind, OVER, Phase, ProcessCrew, Receiver, SERVED, State, TIMER};
use crate::language::exception::{Class, Outcome, interrupted};
use crate::modules::pool::Errand;
use crate::runtime::sync::Arc;
use crate::runtime::{Reason, Resource, Site, Wait, current_id, tick};

/// The stack of the thread that watches the workers.
const WATCH_STACK: usize = 128 << 10;

impl ProcessCrew {
    /// The crew's own thread: takes the answers when nobody else does, and looks after the workers.
    pub(super) fn help(self: &Arc<Self>) -> Outcome<()> {
        let wait = Wait::forever(Site::default());
        loop {
            let turn = self.state.wait_until(
                &wait,
                || Reason::Resource(Arc::new(Answers)),
                |state| &mut state.idle,
                |state| {
                    (state.receiver == Receiver::Helper || state.asked.is_some() || !state.errands.is_empty())
                        .then_some(())
                },
            );
            turn.map_err(interrupted)?;
            self.answer_alarm()?;
            loop {
                self.run_errands()?;
                if self.state.enter().receiver != Receiver::Helper {
                    break;
                }
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
                        state.is_awaited = false;
                        break;
                    }
                }
                self.receive(&wait)?;
                tick().map_err(interrupted)?;
            }
        }
    }

    /// Calls the callbacks that others have left.
    fn run_errands(&self) -> Outcome<()> {
        loop {
            let errand = self.state.enter().errands.pop_front();
            let Some(errand) = errand else { return Ok(()) };
            errand();
            tick().map_err(interrupted)?;
        }
    }

    /// Calls callbacks on the crew's own thread.
    pub(super) fn deal_with(&self, errand: Option<Errand>) {
        let Some(errand) = errand else { return };
        // In their order: not before what is left from earlier ones.
        if self.is_helper() && self.state.enter().errands.is_empty() {
            return errand();
        }
        self.leave(&mut self.state.enter(), Some(errand));
    }

    /// Leaves the rest of a finished job to the crew's own thread.
    pub(super) fn leave(&self, state: &mut State, errand: Option<Errand>) {
        let Some(errand) = errand else { return };
        state.errands.push_back(errand);
        state.idle.wake_all();
        if state.receiver == Receiver::Helper {
            // It may wait for an answer.
            self.ring();
        }
    }

    pub(super) fn is_helper(&self) -> bool {
        SERVED.get() == std::ptr::from_ref(self) as usize
    }

    pub(super) fn next_ended(&self) -> Option<u64> {
        self.state.enter().ended.pop_front()
    }

    /// Makes the calling thread the one that takes the answers, until what comes back is dropped; nothing if another
    /// one does it, or there are none to come.
    pub(super) fn take_turn(&self, wait: &Wait) -> Option<Turn<'_>> {
        let me = Receiver::Caller(current_id());
        let mut state = self.state.enter();
        if !state.is_busy() {
            return None;
        }
        match state.receiver {
            Receiver::Nobody => {
                state.receiver = me;
                Some(Turn { crew: self, is_nested: false })
            }
            // A signal handler, amid a wait that takes them.
            mine if mine == me => Some(Turn { crew: self, is_nested: true }),
            _ => {
                state.is_awaited |= !wait.try_only;
                None
            }
        }
    }

    /// Has a worker ended, so that the crew's own thread is needed?
    pub(super) fn must_stop_attending(&self) -> bool {
        let mut state = self.state.enter();
        if state.ended.is_empty() {
            return false;
        }
        state.receiver = Receiver::Nobody;
        state.call_helper();
        true
    }

    /// Has a caller who takes the answers look round, unless it is the calling thread.
    pub(super) fn nudge_caller(&self) {
        let receiver = self.state.enter().receiver;
        if matches!(receiver, Receiver::Caller(caller) if caller != current_id()) {
            self.ring();
        }
    }

    /// Takes the answers that are there, if nobody else does it, and sees to it that somebody takes those that come.
    pub(super) fn take_some(&self) {
        let wait = Wait { deadline: None, try_only: true, site: Site::default() };
        if !self.answers.is_empty()
            && let Some(_turn) = self.take_turn(&wait)
        {
            // Nothing interrupts what does not wait.
            while self.state.enter().ended.is_empty() && self.receive(&wait).is_ok_and(|some| some) {}
        } else {
            self.see_to_answers(&mut self.state.enter());
        }
    }

    /// Sees to it that somebody takes the answers: at once if somebody waits for it, else if no caller does it soon.
    pub(super) fn see_to_answers(&self, state: &mut State) {
        if state.receiver != Receiver::Nobody || !state.is_busy() {
            return;
        }
        let is_urgent =
            state.phase != Phase::Open || state.notices > 0 || !state.ended.is_empty() || state.is_awaited;
        if is_urgent || !self.set_alarm(state) {
            state.call_helper();
        }
    }

    /// Takes one message from the workers' side; false when the wait for one was over first.
    pub(super) fn receive(&self, wait: &Wait) -> Outcome<bool> {
        let remote = Class::known(match self.kind {
            Kind::Pool => "RemoteTraceback",
            Kind::Executor => "_RemoteTraceback",
        });
        let back = self.answers.receive_with(wait, |message| message::decode_back(message, remote));
        let Some(back) = back.map_err(interrupted)? else { return Ok(false) };
        match back {
            Ok(Back::Answer(number, answer)) => {
                let (sent, is_open) = {
                    let mut state = self.state.enter();
                    state.taken += u64::from(state.receiver != Receiver::Helper);
                    let sent = state.sent.remove(number);
                    if !state.waiting.is_empty() {
                        self.send_waiting(&mut state);
                    }
                    (sent, state.phase == Phase::Open)
                };
                if let Some(sent) = sent {
                    self.deal_with(sent.ticket.finish(sent.part, answer));
                }
                if !is_open {
                    self.dismiss_if_done();
                }
            }
            Ok(Back::Death(OVER)) => {}
            Ok(Back::Death(index)) => {
                let mut state = self.state.enter();
                state.notices = state.notices.saturating_sub(1);
                state.ended.push_back(index);
            }
            // A script that got hold of the channel wrote to it: nothing of ours.
            Err(_) => {}
        }
        Ok(true)
    }

    pub(super) fn is_over(&self) -> bool {
        let state = self.state.enter();
        state.phase != Phase::Open
            && state.workers.is_empty()
            && state.sent.is_empty()
            && state.waiting.is_empty()
            && state.errands.is_empty()
    }

    /// Wakes whoever waits for the crew to be gone.
    pub(super) fn finish(&self) {
        self.end_watch();
        let mut state = self.state.enter();
        state.is_over = true;
        state.gone.wake_all();
    }

    /// Ends the thread that watches the workers.
    pub(super) fn end_watch(&self) {
        // An eventfd write of 1 fails only when its counter is full, and then it is readable already.
        let _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
    }

    /// Tells the workers to leave once there is nothing more to do.
    pub(super) fn dismiss_if_done(&self) {
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
    pub(super) fn wake_receiver(&self) {
        self.state.enter().call_helper();
        self.ring();
    }

    /// Sends a message that says nothing, for whoever waits for one.
    fn ring(&self) {
        let wait = Wait { deadline: None, try_only: true, site: Site::default() };
        // Only a channel without memory refuses, and then something is in it.
        let _ = self.answers.send(&message::death(OVER), &wait);
    }

    /// Starts the thread that is told by the kernel when a worker ends, and says so behind its last answer. It is no
    /// script thread: it wakes no other one but by what workers do.
    pub(super) fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        let own = Arc::clone(self);
        let watcher =
            std::thread::Builder::new().name("workers".into()).stack_size(WATCH_STACK).spawn(move || {
                // Without it, workers that die would not be replaced.
                let _ = own.watch_workers();
            })?;
        self.state.enter().watcher = Some(watcher);
        Ok(())
    }

    pub(super) fn watch_workers(&self) -> rustix::io::Result<()> {
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
                if index == TIMER {
                    self.alarm();
                    continue;
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
}

/// What the crew's own thread waits for.
struct Answers;

impl Resource for Answers {
    fn describe(&self) -> String {
        "tasks for worker processes".into()
    }
}

/// The calling thread takes the answers, until this is dropped.
pub(super) struct Turn<'a> {
    crew: &'a ProcessCrew,
    /// It does so further out already.
    is_nested: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.crew.state.enter();
        // It may have been passed on.
        if self.is_nested || state.receiver != Receiver::Caller(current_id()) {
            return;
        }
        state.receiver = Receiver::Nobody;
        if state.is_busy() {
            self.crew.see_to_answers(&mut state);
        } else {
            state.is_awaited = false;
        }
    }
}
