//! Deadlock detection: every thread waits for something that only another waiting thread could give.
//!
//! The runtime counts the threads that are *not* stuck. Whoever brings the count to zero, by blocking without a
//! deadline or by finishing, has a stuck thread [`examine`] the others: twice, [`GRACE`] apart, it writes down
//! which wait each of them is in. If all were stuck both times and in the same waits, none of them ran in
//! between, and so nothing will ever wake them. A thread that waits for the clock, for input or for another
//! process is not stuck.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::blocking::Reason;
use super::registry::Runtime;
use super::sync::Arc;
use super::thread::{Thread, ThreadId, ThreadState};

/// How long all threads must have been stuck before it is called a deadlock.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// What to do about a deadlock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDeadlock {
    /// Report who waits for what, and end the program with status 1.
    #[default]
    Exit,
    /// Hang, as CPython does.
    Wait,
}

/// Each stuck thread with the moment at which its wait began.
pub(super) type Suspicion = Option<(Instant, Vec<(ThreadId, Instant)>)>;

/// Looks whether everything is stuck. False when it is not; otherwise the caller sleeps for [`GRACE`] and
/// comes again, until the suspicion is confirmed and the run is ended.
#[inline(never)]
pub(super) fn examine(runtime: &Arc<Runtime>, suspicion: &mut Suspicion) -> bool {
    if runtime.on_deadlock() == OnDeadlock::Wait || runtime.runnable() > 0 {
        *suspicion = None;
        return false;
    }
    let threads = runtime.threads();
    let mut waits = Vec::with_capacity(threads.len());
    for thread in &threads {
        match thread.state() {
            ThreadState::Blocked { reason, since, .. } if !reason.is_external(since.elapsed()) => {
                waits.push((thread.id(), since));
            }
            _ => {
                *suspicion = None;
                return true;
            }
        }
    }
    match suspicion {
        Some((first, before)) if *before == waits => {
            if first.elapsed() >= GRACE && runtime.runnable() == 0 {
                runtime.end_in_deadlock(report(&threads));
            }
        }
        _ => *suspicion = Some((Instant::now(), waits)),
    }
    true
}

/// Who waits for what, who holds it, and on which lines.
fn report(threads: &[Arc<Thread>]) -> String {
    let mut text = String::from("deadlock: every thread waits for another one\n");
    for thread in threads {
        let ThreadState::Blocked { reason, site, .. } = thread.state() else { continue };
        let _ = write!(text, "  {} waits for {reason}", thread.name());
        if site.is_known() {
            let _ = write!(text, " at {site}");
        }
        if let Reason::Resource(resource) = &reason
            && let Some((holder, site)) = resource.holder()
        {
            let who = if Arc::ptr_eq(&holder, thread) { "itself".into() } else { holder.name() };
            let over = if holder.is_alive() { "" } else { ", which is over" };
            let _ = write!(text, ", held by {who}{over}");
            if site.is_known() {
                let _ = write!(text, " since {site}");
            }
        }
        if let Reason::Resource(resource) = &reason
            && let Some(holder) = resource.foreign_holder()
        {
            let _ = write!(text, ", held by {holder}");
        }
        text.push('\n');
    }
    text
}
