//! The lock that CPython 2 was made of on Linux: a semaphore of one, `sem_t`, on a futex.
//!
//! This is the algorithm of glibc's `sem_post` and `sem_wait`, and its unfairness is wanted. A post raises the
//! value and has the kernel wake one sleeper, if any thread is anywhere inside of [`Semaphore::wait`]; the value
//! is then there for whoever takes it first, and that is mostly the thread that posted, because it is running.
//! The sleeper wakes up on another processor, finds nothing, and sleeps again.

use rustix::thread::futex::{self, Flags};

use crate::runtime::sync::{AtomicU32, Ordering};

/// A semaphore of one.
pub(super) struct Semaphore {
    /// 1 while it is free.
    value: AtomicU32,
    /// Threads that found it taken and are asleep, or on their way to or from sleep.
    waiters: AtomicU32,
}

impl Semaphore {
    /// A semaphore that is free.
    pub(super) const fn new() -> Self {
        Self { value: AtomicU32::new(1), waiters: AtomicU32::new(0) }
    }

    /// In a forked child: free, and nobody waits.
    pub(super) fn reset(&self) {
        self.waiters.store(0, Ordering::SeqCst);
        self.value.store(1, Ordering::SeqCst);
    }

    /// Takes it if it is free.
    pub(super) fn try_wait(&self) -> bool {
        self.value.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes it, and sleeps for as long as it is taken; false, without it, if `give_up` says so. It is asked
    /// whenever the thread wakes up: see [`Semaphore::wake_all`].
    pub(super) fn wait(&self, give_up: impl Fn() -> bool) -> bool {
        if self.try_wait() {
            return true;
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let taken = loop {
            if self.try_wait() {
                break true;
            }
            if give_up() {
                break false;
            }
            // Returns at once if the value is no longer 0; a signal or a stray wake-up leads to another round.
            let _ = futex::wait(&self.value, Flags::PRIVATE, 0, None);
        };
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        if !taken && self.value.load(Ordering::SeqCst) > 0 {
            // The wake-up that brought this thread here may have been meant for one that stays.
            self.wake(1);
        }
        taken
    }

    /// Frees it and wakes a sleeper.
    pub(super) fn post(&self) {
        self.value.store(1, Ordering::SeqCst);
        // A sleeper counts itself before the kernel compares the value, so either it is seen here or it sees
        // the value there.
        if self.has_waiters() {
            self.wake(1);
        }
    }

    /// Has every sleeper look round.
    pub(super) fn wake_all(&self) {
        self.wake(i32::MAX as u32);
    }

    /// Does anybody wait?
    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    fn wake(&self, n: u32) {
        let _ = futex::wake(&self.value, Flags::PRIVATE, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sync::{Arc, AtomicBool, AtomicU64};

    #[test]
    fn one_at_a_time_and_nobody_is_forgotten() {
        let semaphore = Arc::new(Semaphore::new());
        let (inside, total) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (semaphore, inside, total) =
                    (Arc::clone(&semaphore), Arc::clone(&inside), Arc::clone(&total));
                std::thread::spawn(move || {
                    for _ in 0..5000 {
                        assert!(semaphore.wait(|| false));
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        total.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        semaphore.post();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(total.load(Ordering::SeqCst), 20_000);
        assert!(semaphore.try_wait() && !semaphore.has_waiters());
    }

    #[test]
    fn a_sleeper_that_gives_up_leaves_the_others_asleep_and_able_to_wake() {
        let semaphore = Arc::new(Semaphore::new());
        assert!(semaphore.try_wait());
        let leave = Arc::new(AtomicBool::new(false));
        let sleepers: Vec<_> = (0..4)
            .map(|me| {
                let (semaphore, leave) = (Arc::clone(&semaphore), Arc::clone(&leave));
                std::thread::spawn(move || {
                    let taken = semaphore.wait(|| me % 2 == 0 && leave.load(Ordering::SeqCst));
                    if taken {
                        semaphore.post();
                    }
                    taken
                })
            })
            .collect();
        while semaphore.waiters.load(Ordering::SeqCst) < 4 {
            std::thread::yield_now();
        }
        leave.store(true, Ordering::SeqCst);
        // Until both are gone: one may have been on its way to sleep.
        while semaphore.waiters.load(Ordering::SeqCst) > 2 {
            semaphore.wake_all();
            std::thread::yield_now();
        }
        semaphore.post();
        let taken: Vec<bool> = sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).collect();
        assert_eq!(taken, [false, true, false, true]);
    }
}
