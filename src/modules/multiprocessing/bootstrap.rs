//! The child's half of a process's start, and its whole life.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rhai::grain::Vm;
use rhai::{Dynamic, EvalAltResult, FnPtr, ImmutableString, Scope};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::children::at_exit;
use super::context::{StartMethod, set_start_method};
use super::current::{Identity, become_child};
use super::launch::{Launcher, after_fork};
use super::process::{Origin, ProcessHandle, Target};
use crate::ipc::codec::Decoder;
use crate::ipc::fork_server::{Order, Request};
use crate::language::callable::CallSite;
use crate::language::compiled::machine;
use crate::language::exception::{Exception, Outcome, exception_of, interrupted, is_stop, panicked};
use crate::language::pointer;
use crate::language::program::Program;
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::unbind_all;
use crate::modules::os::environment::Environment;
use crate::modules::{io, random, threading};
use crate::runtime::Interrupt;
use crate::runtime::sync::{Arc, Mutex};

/// In the fork server: makes everything ready that all children need, and says what a child does.
pub(super) fn prepare<'a>(
    realm: &'a Arc<Realm>,
    program: Option<&'a Program>,
) -> impl FnOnce(Order) -> i32 + use<'a> {
    realm.runtime.forget_other_threads();
    unbind_all();
    after_fork(realm);
    io::close_stdin();
    random::reseed(realm);
    // Makes what all children need at their end.
    crate::modules::pool::begin_run(realm);
    let caller = Caller::at_end_of(realm, program);
    move |order| {
        realm.runtime.after_fork();
        let request = order.receive();
        let live = || caller.map_or(1, |caller| live(realm, program, caller, request));
        catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
            report(realm, "", &exception_of(&panicked(&*panic), "", ""));
            1
        })
    }
}

/// What calls a child's target. Nothing of it is dropped in a child, which ends anyway: every count of references lies
/// on a page that would be copied for it.
struct Caller<'e> {
    place: CallSite,
    machine: Box<Vm<'e>>,
}

impl<'e> Caller<'e> {
    /// For a program's functions: from a statement at its end, without what was before.
    #[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
    fn at_end_of(realm: &'e Arc<Realm>, program: Option<&Program>) -> Option<Self> {
        let place = Arc::new(Mutex::new(None));
        let found = Arc::clone(&place);
        let name = pointer::free_name(Some(&realm.functions), "here");
        let note = FnPtr::from_dyn_fn(
            name.clone(),
            Box::new(move |context, _| {
                *found.lock() = Some(context.store_data());
                Ok(Dynamic::UNIT)
            }),
        );
        let mut scope = Scope::new();
        scope.push(name.clone(), note.ok()?);
        let empty = Program::default();
        let statement = program.unwrap_or(&empty).with_statement(realm, &format!("{name}.call();")).ok()?;
        let _ = statement.run(realm, &mut scope).ok()?;
        let place = place.lock().take()?;
        Some(Self { machine: machine(realm.engine(), &place.global), place })
    }

    fn call(self, realm: &Realm, process: &ProcessHandle, target: Target) -> Outcome<Dynamic> {
        let mut machine = ManuallyDrop::new(self.machine);
        match process.callable(self.place, realm, target).map(ManuallyDrop::new) {
            Some(mut callable) => callable.call_on(&mut machine),
            None => Ok(Dynamic::UNIT),
        }
    }
}

/// The child's life; returns its exit status.
fn live(realm: &Arc<Realm>, program: Option<&Program>, caller: Caller<'_>, request: Request) -> i32 {
    let mut input = Decoder::new(&request.bytes, request.descriptors);
    let status = match begin(realm, program, &mut input) {
        Ok(job) => {
            drop(input);
            run(realm, caller, job)
        }
        Err(error) => fail(realm, "a new process", &error),
    };
    let status = finish(realm, status);
    io::flush_all();
    status
}

/// Reads the request, in the order in which the parent wrote it, and becomes that process.
fn begin(
    realm: &Arc<Realm>,
    program: Option<&Program>,
    input: &mut Decoder,
) -> Outcome<(ProcessHandle, Target)> {
    let method = StartMethod::of_number(input.u64()?);
    let surroundings = input.bytes()?;
    // Else they are as this process inherited them.
    if !surroundings.is_empty() {
        surround(realm, &mut Decoder::new(surroundings, Vec::new()))?;
    }
    let name = input.str()?.to_string();
    let daemon = input.u64()? != 0;
    let authkey = input.bytes()?.to_vec();
    let count = input.u64()?;
    let numbers = (0..count).map(|_| input.u64()).collect::<Outcome<Vec<u64>>>()?;
    let parent_name = input.str()?.to_string();
    let parent = std::os::unix::process::parent_id();
    let origin = Origin {
        identity: Identity::new(numbers),
        name,
        daemon,
        authkey: authkey.clone(),
        parent,
        attributes: Vec::new(),
    };
    let process = ProcessHandle::of_itself(origin);
    let parents = Origin {
        identity: Identity::default(),
        name: parent_name,
        daemon: false,
        authkey,
        parent: 0,
        attributes: Vec::new(),
    };
    become_child(realm, process.clone(), ProcessHandle::of_parent(parent, parents));
    set_start_method(realm, method);
    if method != StartMethod::Fork {
        rerun(realm, program)?;
    }
    let is_run = input.u64()? != 0;
    let function = if input.u64()? != 0 { Some(input.value()?) } else { None };
    let count = input.u64()?;
    let args = (0..count).map(|_| input.value()).collect::<Outcome<Vec<Dynamic>>>()?;
    for (name, value) in named_values(input)? {
        process.set_attribute(&name, value);
    }
    for (name, value) in named_values(input)? {
        realm.globals.declare(&name, value);
    }
    for _ in 0..input.u64()? {
        let (name, kind, reason) = (input.str()?, input.str()?, input.str()?);
        realm.globals.declare_unsent(name, kind, reason);
    }
    Ok((process, Target { function, args, is_run, is_worker: false }))
}

fn named_values(input: &mut Decoder) -> Outcome<Vec<(ImmutableString, Dynamic)>> {
    let count = input.u64()?;
    (0..count).map(|_| Ok((input.str()?.into(), input.value()?))).collect()
}

fn surround(realm: &Arc<Realm>, input: &mut Decoder) -> Outcome<()> {
    let count = input.u64()?;
    let environment = realm.extension::<Environment>();
    environment.dict().clear();
    for _ in 0..count {
        let name: ImmutableString = input.str()?.into();
        let value: ImmutableString = input.str()?.into();
        environment.dict().set(name.into(), value.into())?;
    }
    let directory = input.str()?;
    if std::env::current_dir().is_ok_and(|current| current.to_string_lossy() != directory) {
        // It may be gone meanwhile; the child then stays where the program was started.
        let _ = std::env::set_current_dir(directory);
    }
    let count = input.u64()?;
    let mut processors = CpuSet::new();
    for _ in 0..count {
        let cpu = input.u64()? as usize;
        if cpu < CpuSet::MAX_CPU {
            processors.set(cpu);
        }
    }
    if count > 0 && sched_getaffinity(None).is_ok_and(|own| own != processors) {
        // Refused only where the processors are not there any more.
        let _ = sched_setaffinity(None, &processors);
    }
    let gil = realm.runtime.gil();
    gil.set_switch_interval(Duration::from_nanos(input.u64()?));
    gil.set_check_interval(input.u64()? as u32);
    Ok(())
}

/// Start methods `spawn` and `forkserver`: runs the script once more, as `__mp_main__`.
fn rerun(realm: &Arc<Realm>, program: Option<&Program>) -> Outcome<()> {
    realm.begin_rerun();
    realm.globals.clear();
    let Some(program) = program.filter(|program| program.is_script()) else { return Ok(()) };
    let launcher = realm.extension::<Launcher>();
    launcher.set_bootstrapping(true);
    let result = program.run(realm, &mut Scope::new());
    launcher.set_bootstrapping(false);
    crate::language::variables::synchronise();
    result.map(drop)
}

fn run(realm: &Arc<Realm>, caller: Caller<'_>, (process, target): (ProcessHandle, Target)) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| caller.call(realm, &process, target)));
    match result.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(_) => 0,
        Err(error) => fail(realm, &process.name(), &error),
    }
}

/// Reports what ended a process; returns the exit status for that.
fn fail(realm: &Arc<Realm>, name: &str, error: &EvalAltResult) -> i32 {
    if is_stop(error) {
        return 1;
    }
    let exception = exception_of(error, "", "");
    if exception.class().name != "SystemExit" {
        report(realm, name, &exception);
        return 1;
    }
    match exception.args() {
        [] => 0,
        [code, ..] if code.is_unit() => 0,
        [code, ..] => match code.as_int() {
            Ok(code) => (code & 0xff) as i32,
            Err(_) => {
                // Nobody is left to tell if standard error is closed.
                let _ = realm.stderr.write(&format!("{}\n", value::str(code)));
                1
            }
        },
    }
}

fn report(realm: &Arc<Realm>, name: &str, exception: &Exception) {
    threading::report_uncaught(realm, &format!("Process {name}:"), exception);
}

/// Waits for what the process has begun and not ended: its threads, then its children.
fn finish(realm: &Arc<Realm>, status: i32) -> i32 {
    unbind_all();
    let name = super::current::current(realm).name();
    crate::modules::pool::end_of_program(realm);
    let joined = match realm.runtime.join_non_daemons() {
        Err(Interrupt::Stop | Interrupt::StackExhausted | Interrupt::MemoryExhausted) | Ok(()) => Ok(()),
        Err(interrupt) => Err(interrupted(interrupt)),
    };
    crate::modules::pool::terminate_pools(realm);
    let ended = joined.and_then(|()| at_exit(realm));
    crate::modules::pool::begin_run(realm);
    if let Some(report) = realm.runtime.take_deadlock() {
        let _ = realm.stderr.write(&format!("Process {name}: {report}"));
        return 1;
    }
    match ended {
        Ok(()) => status,
        Err(error) => fail(realm, &name, &error),
    }
}
