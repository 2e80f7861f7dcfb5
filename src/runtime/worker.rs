//! The OS threads that script threads run on.
//!
//! Creating an OS thread costs some 80 µs, waking a parked one a few. A finished script thread therefore leaves
//! its OS thread parked, and the next script thread with the same stack size gets it.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::spawn::spawn;
use super::spin::Spin;
use super::sync::Mutex;
use super::wakeups::{self, PutOff};

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A parked OS thread.
struct Parked {
    jobs: Sender<Job>,
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
            wakeups::put_off(PutOff::Job(worker.jobs, job));
            Ok(())
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
// Not inlined: a thousand threads that sleep in their first job need neither the channel nor room for it.
#[inline(never)]
fn serve_more(stack_size: usize) {
    let (sender, jobs) = bounded::<Job>(1);
    loop {
        let is_parked = park(&sender, stack_size);
        // Whoever waited for the end of the job may have the next one: it finds this thread parked.
        wakeups::make_up();
        if !is_parked {
            return;
        }
        let Some(job) = next_job(&jobs, &sender) else { return };
        job();
    }
}

/// Offers the calling OS thread for another job; false if enough are on offer.
#[inline(never)]
fn park(jobs: &Sender<Job>, stack_size: usize) -> bool {
    let mut parked = PARKED.lock();
    if parked.len() < MOST_PARKED {
        parked.push(Parked { jobs: jobs.clone(), stack_size });
        return true;
    }
    false
}

#[inline(never)]
fn next_job(jobs: &Receiver<Job>, own: &Sender<Job>) -> Option<Job> {
    let mut spin = Spin::new();
    while spin.once() {
        if let Ok(job) = jobs.try_recv() {
            spin.paid();
            return Some(job);
        }
    }
    if let Ok(job) = jobs.recv_timeout(IDLE) {
        return Some(job);
    }
    let mut parked = PARKED.lock();
    match parked.iter().position(|p| p.jobs.same_channel(own)) {
        Some(at) => {
            parked.remove(at);
            None
        }
        // Somebody took this thread from the list: its job is on the way.
        None => {
            drop(parked);
            jobs.recv().ok()
        }
    }
}
