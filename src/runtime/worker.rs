//! The OS threads that script threads run on.
//!
//! Creating an OS thread costs some 80 µs, waking a parked one a few. A finished script thread therefore leaves
//! its OS thread parked, and the next script thread with the same stack size gets it.

use std::io;
use std::time::{Duration, Instant};

use super::spawn::spawn;
use super::spin::Spin;
use super::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use super::wakeups;

type Job = Box<dyn FnOnce() + Send>;

/// Where a parked OS thread waits for its next job.
#[derive(Default)]
struct Desk {
    job: Mutex<Option<Job>>,
    /// There is a job: looked at without the mutex.
    has_job: AtomicBool,
    arrived: Condvar,
}

/// A parked OS thread.
struct Parked {
    desk: Arc<Desk>,
    stack_size: usize,
}

/// The most recently parked one last: its stack and its caches are warm.
static PARKED: Mutex<Vec<Parked>> = Mutex::new(Vec::new());

/// How long an OS thread stays parked before it ends.
const IDLE: Duration = Duration::from_secs(10);
/// No more than so many stay parked: a burst of thousands must not hold on to its memory.
const MOST_PARKED: usize = 64;

/// Runs `job` on an OS thread with a stack of at least `stack_size` bytes. The caller calls [`wakeups::make_up`], or
/// gives up the lock.
pub(super) fn run(job: Job, stack_size: usize) -> io::Result<()> {
    let parked = {
        let mut parked = PARKED.lock();
        let at = parked.iter().rposition(|p| p.stack_size == stack_size);
        at.map(|at| parked.remove(at))
    };
    match parked {
        None => spawn(move || serve(job, stack_size), stack_size),
        Some(worker) => {
            worker.desk.bring(job);
            Ok(())
        }
    }
}

impl Desk {
    fn bring(&self, job: Job) {
        let mut desk = self.job.lock();
        *desk = Some(job);
        self.has_job.store(true, Ordering::Release);
        if let Some(wakeup) = self.arrived.announce() {
            wakeups::put_off(wakeup);
        }
    }

    /// Waits for a job, no longer than until `deadline`.
    fn wait(&self, deadline: Option<Instant>) -> Option<Job> {
        let mut job = self.job.lock();
        loop {
            if let Some(job) = job.take() {
                self.has_job.store(false, Ordering::Relaxed);
                return Some(job);
            }
            match deadline {
                None => self.arrived.wait(&mut job),
                Some(deadline) if Instant::now() >= deadline => return None,
                Some(deadline) => {
                    self.arrived.wait_until(&mut job, deadline);
                }
            }
        }
    }
}

/// In a forked child: the parked threads are not there.
pub(super) fn after_fork() {
    std::mem::forget(std::mem::take(&mut *PARKED.lock()));
}

fn serve(first: Job, stack_size: usize) {
    first();
    serve_more(stack_size);
}

/// Offers the calling OS thread for more jobs until nobody has one.
// Not inlined: a thousand threads that sleep in their first job need neither the desk nor room for it.
#[inline(never)]
fn serve_more(stack_size: usize) {
    let desk = Arc::new(Desk::default());
    loop {
        let is_parked = park(&desk, stack_size);
        // Whoever waited for the end of the job may have the next one: it finds this thread parked.
        wakeups::make_up();
        if !is_parked {
            return;
        }
        let Some(job) = next_job(&desk) else { return };
        job();
    }
}

/// Offers the calling OS thread for another job; false if enough are on offer.
#[inline(never)]
fn park(desk: &Arc<Desk>, stack_size: usize) -> bool {
    let mut parked = PARKED.lock();
    if parked.len() < MOST_PARKED {
        parked.push(Parked { desk: Arc::clone(desk), stack_size });
        return true;
    }
    false
}

#[inline(never)]
fn next_job(desk: &Arc<Desk>) -> Option<Job> {
    let mut spin = Spin::new();
    while spin.once() {
        if desk.has_job.load(Ordering::Acquire) {
            spin.paid();
            break;
        }
    }
    if let Some(job) = desk.wait(Some(Instant::now() + IDLE)) {
        return Some(job);
    }
    let mut parked = PARKED.lock();
    match parked.iter().position(|p| Arc::ptr_eq(&p.desk, desk)) {
        Some(at) => {
            parked.remove(at);
            None
        }
        // Somebody took this thread from the list: its job is on the way.
        None => {
            drop(parked);
            desk.wait(None)
        }
    }
}
