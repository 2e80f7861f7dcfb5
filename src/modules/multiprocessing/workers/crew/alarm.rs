//! Who takes the answers when no caller does it.
//!
//! A thread that hands in jobs and then waits for them takes the answers itself, and the crew's own thread sleeps. It
//! must not sleep on when the caller does something else meanwhile: a future is done, and its callbacks are called,
//! though nobody asks for its result. So whoever leaves answers to come sets a timer, and the thread that watches the
//! workers, which needs no lock to run a script, looks when it is over. As long as callers take answers, it sets the
//! timer again; when they do not, it asks the crew's own thread, which looks once more, because by the time it may run
//! a caller may have come.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::{ProcessCrew, Receiver, State};
use crate::language::exception::Outcome;
use crate::runtime::{Site, Wait};

/// How long answers lie that no caller takes.
const SHORT: Duration = Duration::from_millis(1);
/// How often the thread looks at most while a caller waits for an answer that takes long.
const LONG: Duration = Duration::from_millis(512);

/// The timer's state.
#[derive(Default)]
pub(super) struct Alarm {
    is_set: bool,
    delay: Duration,
    /// How many answers callers had taken when it was set.
    taken: u64,
}

/// A timer that is not set.
pub(super) fn timer() -> rustix::io::Result<OwnedFd> {
    timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
}

impl ProcessCrew {
    /// Has somebody look soon whether a caller takes the answers; false if the system refuses.
    pub(super) fn set_alarm(&self, state: &mut State) -> bool {
        if state.alarm.is_set && state.alarm.delay == SHORT {
            return true;
        }
        self.set_timer(state, SHORT)
    }

    fn set_timer(&self, state: &mut State, delay: Duration) -> bool {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: 0, tv_nsec: delay.as_nanos() as i64 };
        let time = Itimerspec { it_interval: zero, it_value };
        let is_set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time).is_ok();
        state.alarm = Alarm { is_set, delay, taken: state.taken };
        is_set
    }

    /// The timer is over: on the thread that watches the workers.
    pub(super) fn alarm(&self) {
        // It fails if the timer was set again meanwhile; then that one is to come.
        if rustix::io::read(&self.timer, &mut [0_u8; 8]).is_err() {
            return;
        }
        let has_answers = !self.answers.is_empty();
        let mut state = self.state.enter();
        let Alarm { delay, taken, .. } = state.alarm;
        state.alarm.is_set = false;
        if state.receiver == Receiver::Helper || !state.is_busy() {
            return;
        }
        let is_still = taken == state.taken;
        let is_waiting = is_still && state.receiver != Receiver::Nobody && !has_answers;
        let delay = if is_waiting { (2 * delay).min(LONG) } else { SHORT };
        if is_still && !is_waiting {
            state.asked = Some(taken);
            state.idle.wake_all();
        } else if !self.set_timer(&mut state, delay) {
            state.call_helper();
        }
    }

    /// The crew's own thread was asked to look whether anybody takes the answers.
    pub(super) fn answer_alarm(&self) -> Outcome<()> {
        {
            let mut state = self.state.enter();
            let Some(taken) = state.asked.take() else { return Ok(()) };
            if taken != state.taken {
                self.see_to_answers(&mut state);
                return Ok(());
            }
            if state.receiver == Receiver::Nobody {
                if state.is_busy() {
                    state.receiver = Receiver::Helper;
                }
                return Ok(());
            }
        }
        // A caller's turn, but it has been called away, perhaps to wait in a signal handler for what is here.
        let wait = Wait { deadline: None, try_only: true, site: Site::default() };
        while self.receive(&wait)? {}
        // What it waits for may be among them.
        self.nudge_caller();
        let mut state = self.state.enter();
        if state.is_busy() && !self.set_alarm(&mut state) {
            state.call_helper();
        }
        Ok(())
    }
}
