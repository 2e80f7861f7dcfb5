//! Which of a channel's messages are dealt with: `task_done` and `join`.
//!
//! Only the messages that are done are counted. Those that are not are the ones sent without them, so there is
//! nothing that a sender could leave half counted.

use std::time::{Duration, Instant};

use crate::runtime::sync::{AtomicU32, Ordering};
use crate::runtime::{Interrupt, Sleepers, Until, Wait, Woken, block_since};

use super::lonely::ALL_DONE;
use super::{Channel, MOST};

#[repr(C, align(64))]
pub(super) struct Tasks {
    /// How many messages were reported as done, modulo 2^32.
    done: AtomicU32,
    /// How often that was all of them.
    rounds: AtomicU32,
    /// Who waits for that.
    joiners: Sleepers,
    /// The senders' count when it was last read, which they change all the time.
    seen: AtomicU32,
}

impl Channel {
    fn sent(&self) -> u32 {
        self.state.sending.outer.count.load(Ordering::SeqCst)
    }

    /// Were more than `done` messages sent? Asks the senders only if that is not known yet.
    fn are_more_sent(&self, done: u32) -> bool {
        let seen = &self.state.tasks.seen;
        // Another process may have overwritten it with an earlier count, and then it is behind.
        let ahead = seen.load(Ordering::Relaxed).wrapping_sub(done);
        if (1..=MOST).contains(&ahead) {
            return true;
        }
        let sent = self.sent();
        seen.store(sent, Ordering::Relaxed);
        sent != done
    }

    /// How many messages were sent and not reported as done.
    pub fn unfinished(&self) -> u32 {
        let done = self.state.tasks.done.load(Ordering::SeqCst);
        self.sent().wrapping_sub(done)
    }

    /// Makes `unfinished` messages be not yet done, for a channel that nobody else knows yet: its first messages
    /// may have been received elsewhere.
    pub fn set_unfinished(&self, unfinished: u32) {
        self.state.tasks.done.store(self.sent().wrapping_sub(unfinished), Ordering::SeqCst);
    }

    /// Reports one message as done; false if all were.
    pub fn task_done(&self) -> bool {
        let tasks = &self.state.tasks;
        let mut done = tasks.done.load(Ordering::SeqCst);
        loop {
            if !self.are_more_sent(done) {
                return false;
            }
            let next = done.wrapping_add(1);
            match tasks.done.compare_exchange(done, next, Ordering::SeqCst, Ordering::SeqCst) {
                Err(now) => done = now,
                Ok(_) => {
                    if !self.are_more_sent(next) {
                        tasks.rounds.fetch_add(1, Ordering::SeqCst);
                        tasks.joiners.wake_all(&tasks.rounds);
                    }
                    return true;
                }
            }
        }
    }

    /// Waits until every message was reported as done; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn join(&self, wait: &Wait) -> Result<bool, Interrupt> {
        let Tasks { rounds, joiners, .. } = &self.state.tasks;
        let seen = rounds.load(Ordering::SeqCst);
        let since = Instant::now();
        while self.unfinished() != 0 {
            if wait.try_only {
                return Ok(false);
            }
            let until = Until::Passed { word: rounds, seen, sleepers: joiners, gathering: Duration::ZERO };
            let reason = self.reason(&ALL_DONE);
            let woken = block_since(until, reason, wait.deadline, wait.site, since)?;
            // Somebody may have sent more since all was done.
            if rounds.load(Ordering::SeqCst) != seen {
                break;
            }
            if woken == Woken::TimedOut {
                return Ok(self.unfinished() == 0);
            }
        }
        Ok(true)
    }
}
