//! `interval`: CPython 3's lock. See the module above.

use std::collections::VecDeque;
use std::mem::{forget, replace};
use std::time::{Duration, Instant};

use super::GilCounters;
use crate::runtime::condvar::Wakeup;
use crate::runtime::spin::Spin;
use crate::runtime::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, free_after_fork};
use crate::runtime::thread::{Attention, Thread, ThreadId};

/// A thread that wants the lock.
struct Waiting {
    thread: *const Thread,
    id: ThreadId,
    /// It had the lock and gave it up although it could have gone on.
    gave_up: bool,
    /// It sleeps no longer than until its interval is over.
    keeps_time: bool,
    /// Its interval ran out, and it asked for the lock.
    asked: bool,
}

/// How a thread comes to wait.
struct Came {
    /// See [`Waiting::gave_up`].
    gave_up: bool,
    /// It ends the wait without the lock when it is dismissed.
    may_leave: bool,
}

struct State {
    /// The thread that holds the lock.
    holder: Option<*const Thread>,
    last_holder: Option<ThreadId>,
    last_switch: Instant,
    /// Those who wait, the longest-waiting first.
    queue: VecDeque<Waiting>,
    /// Nobody keeps time.
    is_paused: bool,
    counters: GilCounters,
}

// SAFETY: the pointers are only dereferenced under the mutex. `holder` is set while the thread is between its
// acquire and its release, an entry of `queue` is there while the thread is in `wait`; both borrow the thread's
// record for as long.
unsafe impl Send for State {}

pub(super) struct IntervalLock {
    state: Mutex<State>,
    /// The first waiter was not the first when it fell asleep, and nobody keeps time.
    needs_timekeeper: AtomicBool,
}

impl IntervalLock {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::new()), needs_timekeeper: AtomicBool::new(false) }
    }

    /// In a forked child: free, and nobody waits.
    pub(super) fn after_fork(&self) {
        // SAFETY: a thread that was waking up may have it, and what it was about to change is replaced, not even dropped.
        unsafe { free_after_fork(&self.state) };
        forget(replace(&mut *self.state.lock(), State::new()));
        self.needs_timekeeper.store(false, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> GilCounters {
        self.state.lock().counters
    }

    /// See [`super::Gil::acquire`].
    pub(super) fn acquire(&self, thread: &Thread, interval: Duration, may_leave: bool) -> bool {
        // A thread that just woke another one is about to block: a short look saves both a sleep.
        let mut spin = Spin::new();
        loop {
            if let Some(mut state) = self.state.try_lock()
                && state.holder.is_none()
            {
                spin.paid();
                self.take(&mut state, thread);
                return true;
            }
            if !spin.once() {
                break;
            }
        }
        let mut state = self.state.lock();
        if state.holder.is_some()
            && !self.wait(&mut state, thread, interval, Came { gave_up: false, may_leave }, None)
        {
            return false;
        }
        self.take(&mut state, thread);
        true
    }

    /// See [`super::Gil::release`].
    pub(super) fn release(&self, thread: &Thread) {
        let mut state = self.state.lock();
        if state.holder != Some(std::ptr::from_ref(thread)) {
            debug_assert!(thread.is_dismissed(), "released by a thread that does not hold it");
            return;
        }
        let next = set_free(&mut state, thread);
        drop(state);
        next.into_iter().for_each(Wakeup::make);
    }

    /// Gives the lock up and waits until another thread has had it, if another one wants it. False if the thread
    /// was dismissed meanwhile, and does not have it any more.
    pub(super) fn hand_over(&self, thread: &Thread, interval: Duration, forced: bool) -> bool {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            thread.clear(Attention::GIL_DROP_REQUEST);
            return true;
        }
        state.counters.forced_switches += u64::from(forced);
        let next = set_free(&mut state, thread);
        if !self.wait(&mut state, thread, interval, Came { gave_up: true, may_leave: true }, next) {
            return false;
        }
        self.take(&mut state, thread);
        true
    }

    /// The holder comes here every so many ticks: makes the first waiter keep time if it does not.
    pub(super) fn find_timekeeper(&self) {
        if self.needs_timekeeper.load(Ordering::Relaxed) {
            let state = self.state.lock();
            self.needs_timekeeper.store(false, Ordering::Relaxed);
            if let Some(first) = state.queue.front()
                && !first.keeps_time
            {
                wake(first);
            }
        }
    }

    /// No waiter keeps time until [`IntervalLock::resume_clock`], so that none wakes up of itself.
    pub(super) fn pause_clock(&self) {
        let mut state = self.state.lock();
        state.is_paused = true;
        state.queue.iter().filter(|waiter| waiter.keeps_time).for_each(wake);
    }

    /// Ends what [`IntervalLock::pause_clock`] began.
    pub(super) fn resume_clock(&self) {
        let mut state = self.state.lock();
        state.is_paused = false;
        if let Some(first) = state.queue.front() {
            wake(first);
        }
    }

    /// Has every waiter look whether it may leave.
    pub(super) fn recheck(&self) {
        self.state.lock().queue.iter().for_each(wake);
    }

    /// Waits until the thread may take the lock, and wakes `next` as soon as it is in the queue; false if it was
    /// dismissed.
    fn wait(
        &self,
        state: &mut MutexGuard<'_, State>,
        thread: &Thread,
        interval: Duration,
        Came { gave_up, may_leave }: Came,
        next: Option<Wakeup>,
    ) -> bool {
        let began = Instant::now();
        let id = thread.id();
        state.counters.waits += 1;
        state.queue.push_back(Waiting { thread, id, gave_up, keeps_time: false, asked: false });
        thread.set_waiting_for_gil(true);
        if let Some(next) = next {
            MutexGuard::unlocked(state, || next.make());
        }
        let may_take = loop {
            let at = state.queue.iter().position(|w| w.id == id).expect("entered above and left below");
            if state.holder.is_none() && state.is_eligible(&state.queue[at]) {
                break true;
            }
            if may_leave && thread.is_dismissed() {
                break false;
            }
            if at > 0 || state.is_paused {
                state.queue[at].keeps_time = false;
                thread.turn.wait(state);
                continue;
            }
            let now = Instant::now();
            let mut due = began.max(state.last_switch) + interval;
            if due <= now {
                if let Some(holder) = state.holder {
                    state.counters.drop_requests += 1;
                    // SAFETY: see `State`; the mutex is held.
                    unsafe { &*holder }.ask(Attention::GIL_DROP_REQUEST);
                }
                state.queue[0].asked = true;
                due = now + interval;
            }
            state.queue[0].keeps_time = true;
            thread.turn.wait_until(state, due);
        };
        self.leave(state, id);
        if !may_take && state.holder.is_none() {
            // The wake-up that brought this thread here may have been meant for one that stays.
            state.wake_next();
        }
        thread.set_waiting_for_gil(false);
        thread.counters().add_waited(began.elapsed());
        may_take
    }

    fn leave(&self, state: &mut State, id: ThreadId) {
        if let Some(at) = state.queue.iter().position(|w| w.id == id) {
            state.queue.remove(at);
        }
        let alone = state.queue.front().is_some_and(|first| !first.keeps_time);
        self.needs_timekeeper.store(alone, Ordering::Relaxed);
    }

    fn take(&self, state: &mut State, thread: &Thread) {
        state.holder = Some(thread);
        if state.last_holder != Some(thread.id()) {
            if state.last_holder.is_some() {
                state.counters.switches += 1;
            }
            state.last_holder = Some(thread.id());
            if !state.queue.is_empty() {
                state.last_switch = Instant::now();
            }
        }
        thread.clear(Attention::GIL_DROP_REQUEST);
        thread.counters().begin_holding();
    }
}

impl State {
    fn new() -> Self {
        Self {
            holder: None,
            last_holder: None,
            last_switch: Instant::now(),
            queue: VecDeque::new(),
            is_paused: false,
            counters: GilCounters::default(),
        }
    }

    /// May this waiter take the lock when it is free? A thread that gave it up may not have it back before
    /// another one had it.
    fn is_eligible(&self, waiter: &Waiting) -> bool {
        self.last_holder != Some(waiter.id) || self.queue.len() == 1
    }

    /// Who should have the lock next: the first, if it has waited its interval; else the first that comes from a
    /// wait; else the first.
    fn next(&self) -> Option<&Waiting> {
        let mut eligible = self.queue.iter().filter(|w| self.is_eligible(w));
        let first = eligible.next()?;
        if first.asked || !first.gave_up {
            return Some(first);
        }
        Some(eligible.find(|w| !w.gave_up).unwrap_or(first))
    }

    /// Wakes who should have the lock next. It may find that somebody who did not have to wake up was quicker.
    fn wake_next(&self) {
        if let Some(next) = self.next() {
            wake(next);
        }
    }
}

/// The thread gives the lock up. Whoever is to be woken is to be woken without the mutex: or it finds that taken,
/// and goes to sleep once more.
#[must_use]
fn set_free(state: &mut State, thread: &Thread) -> Option<Wakeup> {
    state.holder = None;
    thread.counters().end_holding();
    state.next().and_then(|next| turn(next).announce())
}

/// Where a waiter sleeps; the caller holds the mutex.
fn turn(waiter: &Waiting) -> &Condvar {
    // SAFETY: see `State`; the entry is in the queue, and the mutex is held.
    unsafe { &(*waiter.thread).turn }
}

/// Wakes a waiter; the caller holds the mutex.
fn wake(waiter: &Waiting) {
    turn(waiter).notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sync::Arc;
    use crate::runtime::{GilMode, OnDeadlock, Runtime};

    const LONG: Duration = Duration::from_secs(3600);

    fn record() -> Arc<Thread> {
        Thread::new(&Runtime::new(GilMode::Off, OnDeadlock::Wait, || {}), "test", false)
    }

    /// Who is next among waiters of whom each gave the lock up or not, and asked for it or not, when the one at
    /// `last_holder` had it last.
    fn next(waiters: &[(bool, bool)], last_holder: Option<usize>) -> Option<usize> {
        let threads: Vec<_> = waiters.iter().map(|_| record()).collect();
        let mut state = IntervalLock::new().state.into_inner();
        state.last_holder = last_holder.map(|at| threads[at].id());
        state.queue = (threads.iter().zip(waiters))
            .map(|(thread, &(gave_up, asked))| Waiting {
                thread: Arc::as_ptr(thread),
                id: thread.id(),
                gave_up,
                keeps_time: false,
                asked,
            })
            .collect();
        let id = state.next()?.id;
        threads.iter().position(|thread| thread.id() == id)
    }

    #[test]
    fn whoever_comes_from_a_wait_goes_first_until_an_interval_is_over() {
        let (gave_up, asked, woken) = ((true, false), (true, true), (false, false));
        assert_eq!(next(&[], None), None);
        assert_eq!(next(&[gave_up], None), Some(0));
        assert_eq!(next(&[gave_up, woken], None), Some(1));
        assert_eq!(next(&[gave_up, gave_up, woken, woken], None), Some(2));
        assert_eq!(next(&[asked, woken], None), Some(0));
        assert_eq!(next(&[woken, woken], None), Some(0));
    }

    #[test]
    fn nobody_takes_back_what_it_gave_up_before_another_one_had_it() {
        let (gave_up, asked, woken) = ((true, false), (true, true), (false, false));
        assert_eq!(next(&[gave_up, gave_up], Some(0)), Some(1));
        assert_eq!(next(&[asked, gave_up], Some(0)), Some(1));
        assert_eq!(next(&[gave_up, woken], Some(0)), Some(1));
        assert_eq!(next(&[gave_up], Some(0)), Some(0), "there is no other one");
    }

    fn until(lock: &IntervalLock, holds: impl Fn(&State) -> bool) {
        while !holds(&lock.state.lock()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_the_first_waiter_keeps_time_and_the_next_one_is_made_to() {
        let lock = Arc::new(IntervalLock::new());
        let holder = record();
        assert!(lock.acquire(&holder, LONG, true));
        let waiters: Vec<_> = (1..=5)
            .map(|count| {
                let (lock_there, thread) = (Arc::clone(&lock), record());
                let waiter = std::thread::spawn(move || {
                    assert!(lock_there.acquire(&thread, LONG, true));
                    // The holder's next look.
                    lock_there.find_timekeeper();
                    let others = |state: &State| state.queue.iter().filter(|w| w.keeps_time).count();
                    until(&lock_there, |state| state.queue.is_empty() || others(state) == 1);
                    lock_there.release(&thread);
                });
                until(&lock, |state| state.queue.len() == count);
                waiter
            })
            .collect();
        until(&lock, |state| state.queue[0].keeps_time);
        assert_eq!(lock.state.lock().queue.iter().filter(|w| w.keeps_time).count(), 1);
        lock.release(&holder);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(lock.counters().drop_requests, 0);
    }

    #[test]
    fn a_waiter_that_leaves_passes_its_wake_up_on() {
        for _ in 0..200 {
            let lock = Arc::new(IntervalLock::new());
            let (holder, leaver, stayer) = (record(), record(), record());
            assert!(lock.acquire(&holder, LONG, true));
            let spawn = |thread: Arc<Thread>, count| {
                let there = Arc::clone(&lock);
                let waiter = std::thread::spawn(move || {
                    let taken = there.acquire(&thread, LONG, true);
                    there.release(&thread);
                    taken
                });
                until(&lock, |state| state.queue.len() == count);
                waiter
            };
            let leaves = spawn(Arc::clone(&leaver), 1);
            let stays = spawn(stayer, 2);
            // Dismissed and given the lock at the same moment: whether it takes it is open.
            leaver.ask(Attention::STOP.and(Attention::DISMISSED));
            lock.release(&holder);
            leaves.join().unwrap();
            assert!(stays.join().unwrap());
        }
    }
}
