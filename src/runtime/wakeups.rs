//! Wake-ups that are put off until the thread that makes them gives up the global interpreter lock.
//!
//! Whoever wakes a thread that needs the lock next, and has the lock itself, gains nothing by doing it at once: the
//! other one wakes up, finds the lock taken and goes back to sleep. On one processor that is two switches for
//! nothing, and a thread that starts another one and waits for its end made five of them. So who
//! sleeps is told at once that it may go on, for it may be looking at that very moment, but is woken only when the
//! lock is free, and then a parked thread gets its job.

use std::cell::Cell;
use std::mem::ManuallyDrop;

use crossbeam_channel::Sender;

use super::condvar::Wakeup;
use super::worker::Job;

/// What wakes a thread.
pub(super) enum PutOff {
    /// It sleeps on a condition variable.
    Sleeper(Wakeup),
    /// It is a parked OS thread and gets a job.
    Job(Sender<Job>, Job),
}

thread_local! {
    // Never dropped, so that a thread need not remember to: what is put off is made up before the thread ends.
    static PUT_OFF: Cell<Option<ManuallyDrop<PutOff>>> = const { Cell::new(None) };
}

/// Keeps a wake-up for [`make_up`], which the caller sees to. One that was kept before is made now.
pub(super) fn put_off(wakeup: PutOff) {
    if let Some(earlier) = PUT_OFF.replace(Some(ManuallyDrop::new(wakeup))) {
        make(ManuallyDrop::into_inner(earlier));
    }
}

/// Takes the wake-up that was put off, if there is one.
pub(super) fn take() -> Option<PutOff> {
    PUT_OFF.take().map(ManuallyDrop::into_inner)
}

/// Makes the wake-up that was put off.
#[inline]
pub(super) fn make_up() {
    if let Some(wakeup) = take() {
        make(wakeup);
    }
}

fn make(wakeup: PutOff) {
    match wakeup {
        PutOff::Sleeper(wakeup) => wakeup.make(),
        PutOff::Job(worker, job) => hand_over(&worker, job),
    }
}

/// Gives a parked thread its job.
// Not inlined: who only wakes a sleeper needs none of the stack that this takes, and may be about to sleep on it.
#[inline(never)]
fn hand_over(worker: &Sender<Job>, job: Job) {
    // The channel is empty, and its thread waits until it has this job.
    worker.send(job).expect("a parked thread listens");
}

#[cfg(test)]
mod tests {
    use crate::runtime::sync::{Arc, AtomicBool, Ordering};
    use crate::runtime::{GilMode, OnDeadlock, Runtime, Site, Thread, Wait, tick};

    fn start(runtime: &Arc<Runtime>, body: impl FnOnce() + Send + 'static) -> Arc<Thread> {
        let thread = Thread::new(runtime, "test", false);
        runtime.start(&thread, body, Site::default()).unwrap().unwrap();
        thread
    }

    /// The new thread never waits for anything, so only its safepoints can wake the one that started it.
    #[test]
    fn who_starts_a_thread_that_computes_goes_on_beside_it() {
        for mode in GilMode::ALL {
            let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
            runtime.run_main(|| {
                for _ in 0..20 {
                    let go_on = Arc::new(AtomicBool::new(true));
                    let there = Arc::clone(&go_on);
                    let thread = start(&runtime, move || {
                        while there.load(Ordering::Relaxed) {
                            tick().unwrap();
                        }
                    });
                    go_on.store(false, Ordering::Relaxed);
                    assert!(runtime.join(&thread, &Wait::forever(Site::default())).unwrap());
                }
            });
        }
    }

    /// Each on the OS thread that the one before has left, with starters that wait for it and others that do not.
    #[test]
    fn no_start_and_no_end_goes_unnoticed() {
        for mode in GilMode::ALL {
            let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
            runtime.run_main(|| {
                let starters: Vec<_> = (0..3)
                    .map(|_| {
                        let there = Arc::clone(&runtime);
                        start(&runtime, move || {
                            for round in 0..500 {
                                let thread = start(&there, || {});
                                if round % 3 > 0 {
                                    assert!(there.join(&thread, &Wait::forever(Site::default())).unwrap());
                                }
                            }
                        })
                    })
                    .collect();
                for starter in starters {
                    assert!(runtime.join(&starter, &Wait::forever(Site::default())).unwrap());
                }
                runtime.join_non_daemons().unwrap();
                assert_eq!(runtime.thread_count(), 1);
            });
            assert_eq!(runtime.take_deadlock(), None);
        }
    }
}
