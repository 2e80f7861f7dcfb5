//! The end of the program, and what it means for the workforces that there are.

use std::sync::Weak;

use super::loss::Losses;
use super::workforce::Workforce;
use crate::language::realm::Realm;
use crate::runtime::sync::{Arc, AtomicBool, Mutex, Ordering};

type Known = Mutex<Vec<Weak<dyn Workforce>>>;

/// The workforces of an interpreter that its end concerns.
#[derive(Default)]
struct Workforces {
    /// Those of executors: they do what there is.
    closing: Known,
    /// Those of pools of processes: they are terminated.
    ending: Known,
    shutting_down: AtomicBool,
}

fn add(known: &Known, workforce: &Arc<dyn Workforce>) {
    let mut all = known.lock();
    all.retain(|workforce| workforce.strong_count() > 0);
    all.push(Arc::downgrade(workforce));
}

/// The end of the program closes this one, and waits until its jobs are done.
pub fn close_at_end(realm: &Realm, workforce: &Arc<dyn Workforce>) {
    add(&realm.extension::<Workforces>().closing, workforce);
}

/// The end of the program terminates this one.
pub fn terminate_at_end(realm: &Realm, workforce: &Arc<dyn Workforce>) {
    add(&realm.extension::<Workforces>().ending, workforce);
}

/// Is the program at its end, so that nothing more can be handed in?
pub fn is_shutting_down(realm: &Realm) -> bool {
    realm.extension::<Workforces>().shutting_down.load(Ordering::Relaxed)
}

/// The end of the main script: executors take no more jobs, and their idle workers end. Whoever joins the
/// threads that are left thereby waits for the jobs that are.
pub fn end_of_program(realm: &Realm) {
    let workforces = realm.extension::<Workforces>();
    workforces.shutting_down.store(true, Ordering::Relaxed);
    let all = std::mem::take(&mut *workforces.closing.lock());
    all.iter().filter_map(Weak::upgrade).for_each(|workforce| workforce.close());
}

/// The threads that are no daemons are over: pools drop what they still have to do.
pub fn terminate_pools(realm: &Realm) {
    let all = std::mem::take(&mut *realm.extension::<Workforces>().ending.lock());
    all.iter().filter_map(Weak::upgrade).for_each(|workforce| workforce.terminate());
}

/// In a forked child: the workforces are the parent's.
pub fn forget(realm: &Realm) {
    let workforces = realm.extension::<Workforces>();
    workforces.closing.lock().clear();
    workforces.ending.lock().clear();
}

/// All threads are over: tells of exceptions that nobody fetched, and lets another run begin.
pub fn begin_run(realm: &Realm) {
    realm.extension::<Losses>().tell_all();
    realm.extension::<Workforces>().shutting_down.store(false, Ordering::Relaxed);
}
