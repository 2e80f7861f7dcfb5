//! The parent's half of a process's start: what the child gets, and who makes it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use rhai::{Dynamic, ImmutableString};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::bootstrap;
use super::children::Children;
use super::context::{StartMethod, start_method};
use super::current::current;
use super::process::{ProcessHandle, Target};
use super::snapshot::{reachable, reachable_by_all};
use crate::ipc::Child;
use crate::ipc::codec::{Encoder, Purpose};
use crate::ipc::fork_server::{self, ForkServer};
use crate::language::exception::{Outcome, exception_of, raise, raise_io};
use crate::language::program::Program;
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::synchronise;
use crate::modules::io::flush_all;
use crate::modules::os::environment::Environment;
use crate::runtime::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::runtime::{Site, detached};

/// A running fork server and the program that its children know.
struct Server {
    server: ForkServer,
    program: Option<Arc<Program>>,
    /// What it inherited besides the variables.
    surroundings: Surroundings,
}

/// The fork server of this process, once there is one.
#[derive(Default)]
pub(super) struct Launcher {
    server: Mutex<Option<Arc<Server>>>,
    /// This process runs the script once more and must not start processes at its module level.
    is_bootstrapping: AtomicBool,
}

impl Launcher {
    /// In a forked child: the server is the parent's. Only this process's end of its socket is closed.
    pub(super) fn forget(&self) {
        *self.server.lock() = None;
    }

    pub(super) fn set_bootstrapping(&self, is_bootstrapping: bool) {
        self.is_bootstrapping.store(is_bootstrapping, Ordering::Relaxed);
    }

    /// The server, which begins with so many spare children if it is made now.
    fn server(&self, realm: &Arc<Realm>, spares: usize) -> std::io::Result<Arc<Server>> {
        let program = realm.program();
        // A session may have grown: the children of the server before would not know the new functions.
        let is_current = |server: &Arc<Server>| {
            server.program.as_ref().map(Arc::as_ptr) == program.as_ref().map(Arc::as_ptr)
        };
        let known = self.server.lock().clone();
        match known {
            Some(server) if is_current(&server) => return Ok(server),
            Some(_) => *self.server.lock() = None,
            None => {}
        }
        flush_all();
        let prepare = || bootstrap::prepare(realm, program.as_deref());
        // Not under the mutex, which the server would inherit locked.
        let start =
            || Ok::<_, std::io::Error>((Surroundings::now(realm), ForkServer::start(prepare, spares)?));
        let (surroundings, server) = realm.runtime.at_rest(start)?;
        let server = Arc::new(Server { server, program: program.clone(), surroundings });
        Ok(Arc::clone(self.server.lock().get_or_insert(server)))
    }
}

/// How many children are forked ahead for a program that has yet to begin.
const SPARES: usize = 2;

/// Words of programs that start processes.
const SIGNS: [&str; 5] = ["Process", "Pool", "Manager", "multiprocessing", "mp_context"];

/// Does the program look as if it would start processes?
pub fn is_expected(source: &str) -> bool {
    let mentions = |sign: &str| source.match_indices(sign).any(|(at, _)| !source[..at].ends_with("Thread"));
    SIGNS.iter().any(|sign| mentions(sign))
}

/// Called before a program's first statement: if the program looks as if it would start processes, forks the
/// server while there is nothing yet to copy and no thread to mind.
pub fn anticipate(realm: &Arc<Realm>, source: &str) {
    if is_expected(source) {
        // If it fails, it fails again when a process is started, and is reported there.
        let _ = realm.extension::<Launcher>().server(realm, SPARES);
    }
}

/// Forks the server now if there is none yet, so that it does not inherit descriptors that are about to be made: a
/// copy of one end of a pipe would keep the other one from seeing the end.
pub(super) fn prepare(realm: &Arc<Realm>) {
    // If it fails, it fails again when a process is started, and is reported there.
    let _ = realm.extension::<Launcher>().server(realm, 0);
}

/// Is this child of the calling process one that no script knows of: the fork server, or a spare child?
pub fn is_hidden(realm: &Realm, child: rustix::process::Pid) -> bool {
    let server = realm.extension::<Launcher>().server.lock().as_ref().map(|server| server.server.pid());
    if server.is_none() || realm.extension::<Children>().knows(child) {
        return false;
    }
    // What was forked has the server's name until it has something to do.
    let name = std::fs::read(format!("/proc/{child}/comm")).unwrap_or_default();
    server == Some(child) || name.trim_ascii_end() == fork_server::NAME.to_bytes()
}

const BOOTSTRAPPING: &str = "An attempt has been made to start a new process before the current process has \
finished its bootstrapping phase: put the main part of the script inside `if __name__ == \"__main__\" { … }`";

/// Starts the child that runs `target` as `process`.
///
/// # Errors
/// TypeError for what cannot travel, OSError, RuntimeError when the script is run once more and has no guard.
pub(super) fn launch(
    realm: &Arc<Realm>,
    process: &ProcessHandle,
    target: &Target,
    method: Option<StartMethod>,
    _site: Site,
) -> Outcome<Child> {
    let launcher = realm.extension::<Launcher>();
    if launcher.is_bootstrapping.load(Ordering::Relaxed) {
        return Err(raise("RuntimeError", BOOTSTRAPPING));
    }
    synchronise();
    let method = method.unwrap_or_else(|| start_method(realm));
    let request = encode(realm, process, target, method)?;
    flush_all();
    let descriptors: Vec<_> = request.fds.iter().map(|fd| fd.as_fd()).collect();
    let start = || {
        let server = launcher.server(realm, 0)?;
        detached(|| server.server.launch(&request.bytes, &descriptors))
    };
    let child = match start() {
        // Somebody killed the server: another one has to do.
        Err(error) if is_gone(&error) => {
            launcher.forget();
            start()
        }
        child => child,
    };
    let child = child.map_err(|error| raise_io(&error, None))?;
    drop(descriptors);
    request.sent();
    Ok(child)
}

/// Does the error say that the server is over?
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

/// Everything that the child gets: see [`bootstrap::Request`] for the order.
fn encode(
    realm: &Arc<Realm>,
    process: &ProcessHandle,
    target: &Target,
    method: StartMethod,
) -> Outcome<crate::ipc::codec::Encoded> {
    let mut roots: Vec<Dynamic> = target.function.iter().cloned().collect();
    roots.extend(target.args.iter().cloned());
    roots.extend(process.attributes().into_iter().map(|(_, value)| value));
    let globals = match method {
        // Which functions a pool's worker is to call is not known yet.
        StartMethod::Fork if target.is_worker => reachable_by_all(realm, &roots),
        StartMethod::Fork => reachable(realm, &roots),
        StartMethod::Forkserver | StartMethod::Spawn => Vec::new(),
    };
    let all: Vec<&(ImmutableString, Dynamic)> = globals.iter().collect();
    match encode_with(realm, process, target, method, (&all, &[])) {
        Ok(request) => Ok(request),
        // A module-level variable that cannot travel is no error: the child may never touch it.
        Err(_) if !all.is_empty() => {
            let (mut travelling, mut unsent) = (Vec::new(), Vec::new());
            for variable in &globals {
                match Encoder::new(Purpose::Start).value(&variable.1) {
                    Ok(()) => travelling.push(variable),
                    Err(error) => unsent.push(Unsent {
                        name: variable.0.clone(),
                        kind: value::type_name(&variable.1),
                        reason: exception_of(&error, "", "").message().to_string(),
                    }),
                }
            }
            encode_with(realm, process, target, method, (&travelling, &unsent))
        }
        Err(error) => Err(error),
    }
}

/// A variable that cannot travel.
struct Unsent {
    name: ImmutableString,
    kind: String,
    reason: String,
}

fn encode_with(
    realm: &Arc<Realm>,
    process: &ProcessHandle,
    target: &Target,
    method: StartMethod,
    (globals, unsent): (&[&(ImmutableString, Dynamic)], &[Unsent]),
) -> Outcome<crate::ipc::codec::Encoded> {
    let mut out = Encoder::new(Purpose::Start);
    out.u64(method as u64);
    let server = realm.extension::<Launcher>().server.lock().clone();
    // What the server has already, its children have.
    let is_known = server.is_some_and(|server| server.surroundings.are_unchanged(realm));
    out.bytes(&if is_known { Vec::new() } else { Surroundings::now(realm).encode(realm) });
    out.str(&process.name());
    out.u64(u64::from(process.is_daemon()));
    out.bytes(&process.authkey(realm));
    let numbers = process.process_identity().numbers();
    out.u64(numbers.len() as u64);
    numbers.iter().for_each(|number| out.u64(*number));
    out.str(&current(realm).name());
    out.u64(u64::from(target.is_run));
    out.u64(u64::from(target.function.is_some()));
    if let Some(function) = &target.function {
        out.named(|| "target".into(), function)?;
    }
    out.u64(target.args.len() as u64);
    for (index, arg) in target.args.iter().enumerate() {
        out.named(|| format!("args[{index}]"), arg)?;
    }
    let attributes = process.attributes();
    out.u64(attributes.len() as u64);
    for (name, value) in &attributes {
        out.str(name);
        out.named(|| name.to_string(), value)?;
    }
    out.u64(globals.len() as u64);
    for (name, value) in globals {
        out.str(name);
        out.named(|| name.to_string(), value)?;
    }
    out.u64(unsent.len() as u64);
    for Unsent { name, kind, reason } in unsent {
        out.str(name);
        out.str(kind);
        out.str(reason);
    }
    Ok(out.finish())
}

/// What a fork would have copied besides the variables.
struct Surroundings {
    environment: Vec<(Dynamic, Dynamic)>,
    directory: PathBuf,
    processors: CpuSet,
    switch_interval: Duration,
    check_interval: u32,
}

impl Surroundings {
    /// As they are now.
    fn now(realm: &Realm) -> Self {
        let gil = realm.runtime.gil();
        Self {
            environment: realm.extension::<Environment>().dict().items(),
            directory: std::env::current_dir().unwrap_or_default(),
            processors: sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new()),
            switch_interval: gil.switch_interval(),
            check_interval: gil.check_interval(),
        }
    }

    /// Are they certainly as they were?
    fn are_unchanged(&self, realm: &Realm) -> bool {
        let gil = realm.runtime.gil();
        let is_same = |a: &Dynamic, b: &Dynamic| {
            let text = |value| Dynamic::read_lock::<ImmutableString>(value);
            text(a).is_some_and(|a| text(b).is_some_and(|b| *a == *b))
        };
        realm.extension::<Environment>().dict().has_only(&self.environment, is_same)
            && std::env::current_dir().unwrap_or_default() == self.directory
            && sched_getaffinity(None).is_ok_and(|processors| processors == self.processors)
            && gil.switch_interval() == self.switch_interval
            && gil.check_interval() == self.check_interval
    }

    /// For a child; see [`bootstrap`] for the order.
    fn encode(&self, realm: &Realm) -> Vec<u8> {
        let mut out = Encoder::new(Purpose::Start);
        let environment = realm.extension::<Environment>().variables();
        out.u64(environment.len() as u64);
        for (name, value) in environment {
            out.str(&name);
            out.str(&value);
        }
        out.str(&self.directory.to_string_lossy());
        let processors = (0..CpuSet::MAX_CPU).filter(|cpu| self.processors.is_set(*cpu));
        let processors: Vec<usize> = processors.collect();
        out.u64(processors.len() as u64);
        processors.iter().for_each(|cpu| out.u64(*cpu as u64));
        out.u64(self.switch_interval.as_nanos() as u64);
        out.u64(u64::from(self.check_interval));
        std::mem::take(&mut out.finish().bytes)
    }
}

/// In a forked child: nothing of the parent's children and servers is its own.
pub fn after_fork(realm: &Realm) {
    realm.extension::<Launcher>().forget();
    realm.extension::<Children>().forget();
    super::managers::after_fork(realm);
    crate::modules::pool::forget(realm);
}
