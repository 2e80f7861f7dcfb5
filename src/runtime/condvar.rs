//! A condition variable on a futex(2) word of its own.
//!
//! parking_lot's keeps all sleepers of the process in one table behind locks. One whose deadline passes takes such
//! a lock in that very moment, and a fork in the same moment would copy it locked into a child in which nobody
//! releases it. Here a sleeper touches nothing but its own words when it wakes up, and the table and its records
//! take no memory.

use std::ptr::NonNull;
use std::time::Instant;

use parking_lot::MutexGuard;
use rustix::event::Timespec;
use rustix::thread::futex::{self, Flags};

use super::sync::{AtomicU32, Ordering};

/// Threads sleep on it until another one has changed what a mutex guards.
///
/// A sleeper may wake up without a reason, and looks at what the mutex guards again.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Counts the notifications, so that none gets lost between a sleeper's last look and its sleep.
    notifications: AtomicU32,
    /// Those who sleep, or are about to: without any there is nobody to wake. Changed by who holds the mutex.
    sleepers: AtomicU32,
}

impl Condvar {
    /// Nobody sleeps on it.
    pub const fn new() -> Self {
        Self { notifications: AtomicU32::new(0), sleepers: AtomicU32::new(0) }
    }

    /// Releases the mutex, sleeps until it is notified, and takes the mutex again.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    /// [`Condvar::wait`], until `deadline` at the latest. Was it the deadline that ended the sleep?
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Others may have the mutex for a moment, as if there had been a sleep.
            MutexGuard::bump(guard);
            return true;
        }
        // One that is too far away to be counted in seconds is none.
        self.sleep(guard, Timespec::try_from(left).ok()) && Instant::now() >= deadline
    }

    /// Did nobody notify?
    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, longest: Option<Timespec>) -> bool {
        let seen = self.notifications.load(Ordering::Relaxed);
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        MutexGuard::unlocked(guard, || {
            // It fails when there was a notification, a signal, or no more time: all of them end the sleep.
            let _ = futex::wait(&self.notifications, Flags::PRIVATE, seen, longest.as_ref());
        });
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        self.notifications.load(Ordering::Relaxed) == seen
    }

    /// Wakes one sleeper. The caller holds the mutex, or has held it since the change that the sleeper waits for.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all sleepers, as [`Condvar::notify_one`] wakes one.
    pub fn notify_all(&self) {
        self.notify(i32::MAX as u32);
    }

    /// [`Condvar::notify_all`] in two steps: who is about to sleep does not any more, and who sleeps is woken by
    /// what this returns.
    pub(super) fn announce(&self) -> Option<Wakeup> {
        (self.sleepers.load(Ordering::Relaxed) > 0).then(|| {
            self.notifications.fetch_add(1, Ordering::Relaxed);
            Wakeup(NonNull::from(&self.notifications))
        })
    }

    fn notify(&self, sleepers: u32) {
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            self.notifications.fetch_add(1, Ordering::Relaxed);
            // It fails for addresses that are no words only.
            let _ = futex::wake(&self.notifications, Flags::PRIVATE, sleepers);
        }
    }
}

/// Sleepers that are to be woken. The condition variable need not exist any more by then.
#[must_use = "they sleep until they are woken"]
pub(super) struct Wakeup(NonNull<AtomicU32>);

impl Wakeup {
    /// Wakes them.
    pub(super) fn make(self) {
        const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: the kernel takes the address for the name of a queue and looks at no memory there. If the word is
        // gone, nobody is in that queue, or somebody who sleeps on another word at the same place, and whoever sleeps
        // in futex(2) puts up with waking for no reason.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), WAKE, i32::MAX) };
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::sync::Mutex;
    use super::*;

    #[test]
    fn a_deadline_ends_the_sleep_and_one_that_has_passed_does_not_begin_it() {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let begin = Instant::now();
        let deadline = begin + Duration::from_millis(20);
        while !condvar.wait_until(&mut mutex.lock(), deadline) {}
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(condvar.wait_until(&mut mutex.lock(), begin));
        assert_eq!(condvar.sleepers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_notification_gets_lost() {
        const ROUNDS: u32 = 20_000;
        let (turn, condvar) = (Mutex::new(0u32), Condvar::new());
        // Each waits for its own parity of the turn, so every step needs the other one's notification.
        let play = |own: u32| {
            let mut guard = turn.lock();
            while *guard < ROUNDS {
                if *guard % 2 == own {
                    *guard += 1;
                    condvar.notify_one();
                } else {
                    condvar.wait(&mut guard);
                }
            }
            condvar.notify_all();
        };
        thread::scope(|scope| {
            scope.spawn(|| play(0));
            scope.spawn(|| play(1));
        });
        assert_eq!(*turn.lock(), ROUNDS);
    }

    #[test]
    fn all_sleepers_wake_up() {
        all_wake_up(Condvar::notify_all);
        // In two steps.
        all_wake_up(|condvar| condvar.announce().into_iter().for_each(Wakeup::make));
    }

    fn all_wake_up(notify_all: fn(&Condvar)) {
        let (ready, condvar) = (Mutex::new((0, false)), Condvar::new());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut guard = ready.lock();
                    guard.0 += 1;
                    while !guard.1 {
                        condvar.wait(&mut guard);
                    }
                });
            }
            while ready.lock().0 < 8 {
                thread::yield_now();
            }
            ready.lock().1 = true;
            notify_all(&condvar);
        });
    }
}
