//! Who this process is, in the eyes of `multiprocessing`.

use crate::ipc::family;
use crate::language::realm::Realm;
use crate::runtime::sync::{Arc, AtomicU64, Mutex, Ordering};

use super::process::{Origin, ProcessHandle};

/// The numbers of a process and its ancestors: `Process-2:1` is the first child of the second child.
#[derive(Default)]
pub(super) struct Identity {
    numbers: Vec<u64>,
    children: AtomicU64,
}

impl Identity {
    /// The identity with these numbers.
    pub(super) fn new(numbers: Vec<u64>) -> Self {
        Self { numbers, children: AtomicU64::new(0) }
    }

    /// That of the next child.
    pub(super) fn next(&self) -> Self {
        let number = self.children.fetch_add(1, Ordering::Relaxed) + 1;
        Self::new([&self.numbers[..], &[number]].concat())
    }

    /// `Process-2:1`.
    pub(super) fn default_name(&self) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(u64::to_string).collect();
        format!("Process-{}", numbers.join(":"))
    }

    /// The numbers, to be sent to the process itself.
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }
}

/// This process and its parent, if that is of the same family.
#[derive(Default)]
struct Family(Mutex<Option<(ProcessHandle, Option<ProcessHandle>)>>);

/// The object of the process that runs.
pub(super) fn current(realm: &Realm) -> ProcessHandle {
    let family = realm.extension::<Family>();
    let mut family = family.0.lock();
    let (process, _) = family.get_or_insert_with(|| (main_process(), None));
    process.clone()
}

fn main_process() -> ProcessHandle {
    let mut authkey = vec![0; 32];
    // Without random numbers the key is guessable, and connections fail to keep strangers out.
    let _ = crate::modules::os::fill_randomly(&mut authkey);
    let origin = Origin {
        identity: Identity::default(),
        name: "MainProcess".into(),
        daemon: false,
        authkey,
        parent: std::os::unix::process::parent_id(),
        attributes: Vec::new(),
    };
    ProcessHandle::of_itself(origin)
}

/// The object of the parent, in a child.
pub(super) fn parent(realm: &Realm) -> Option<ProcessHandle> {
    realm.extension::<Family>().0.lock().as_ref().and_then(|(_, parent)| parent.clone())
}

/// This process is a child now.
pub(super) fn become_child(realm: &Arc<Realm>, process: ProcessHandle, parent: ProcessHandle) {
    family::set_name(&process.name());
    *realm.extension::<Family>().0.lock() = Some((process, Some(parent)));
}
