//! Answers on their way back, and notices of workers' ends among them.

use rustix::event::epoll;
use rustix::process::Signal;

use super::super::message::{self, Back};
use super::{Kind, OVER, Phase, ProcessCrew, Receiver};
use crate::language::exception::{Class, Outcome, interrupted};
use crate::runtime::sync::Arc;
use crate::runtime::{Reason, Resource, Site, Wait, tick};

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

    pub(super) fn next_ended(&self) -> Option<u64> {
        self.state.enter().ended.pop_front()
    }

    /// Takes one message from the workers' side.
    pub(super) fn receive(&self, site: Site) -> Outcome<()> {
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

    pub(super) fn is_over(&self) -> bool {
        let state = self.state.enter();
        state.phase != Phase::Open
            && state.workers.is_empty()
            && state.sent.is_empty()
            && state.waiting.is_empty()
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
pub(super) struct Turn<'a>(pub(super) &'a ProcessCrew);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.enter();
        state.receiver = Receiver::Nobody;
        if state.is_busy() {
            state.call_helper();
        }
    }
}
