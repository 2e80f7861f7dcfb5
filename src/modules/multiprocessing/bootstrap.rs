//! The child's half of a process's start, and its whole life.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult, FnPtr, ImmutableString, NativeCallContext, Scope};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::children::at_exit;
use super::context::{StartMethod, set_start_method};
use super::current::{Identity, become_child};
use super::launch::{Launcher, after_fork};
use super::process::{Origin, ProcessHandle, Target};
use crate::ipc;
use crate::ipc::codec::Decoder;
use crate::ipc::fork_server::{Order, Request};
use crate::language::engine::current_realm;
use crate::language::exception::{Exception, Outcome, exception_of, interrupted, is_stop, panicked};
use crate::language::program::Program;
use crate::language::realm::Realm;
use crate::language::value;
use crate::language::variables::unbind_all;
use crate::modules::os::environment::Environment;
use crate::modules::{io, random, threading};
use crate::runtime::Interrupt;
use crate::runtime::sync::{Arc, Mutex};

/// The variable in a child's scope that holds what its program calls: a function value, for one that the engine knows
/// by name would be counted inside the engine, which is not to be written to ([`ipc::apart`]). The value is called
/// like the variable. None of the script's functions has that name: it would be called in the value's place.
fn bootstrap_name(realm: &Realm) -> String {
    let mut name = String::from("bootstrap");
    while realm.functions.contains(&name) {
        name.push('_');
    }
    name
}

/// What the child is to do, between its decoding and the native call that does it.
#[derive(Default)]
struct Job(Mutex<Option<(ProcessHandle, Target)>>, Mutex<i32>);

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
    let empty = Program::default();
    let name = bootstrap_name(realm);
    let statement = format!("{name}.call();");
    let call = program.unwrap_or(&empty).with_statement(realm, &statement);
    let rehearsal = empty.with_statement(realm, &statement);
    let mut scope = Scope::new();
    scope.push(name.clone(), bootstrap_function(name));
    move |order| {
        realm.runtime.after_fork();
        if order.is_awaited()
            && let Ok(rehearsal) = &rehearsal
        {
            rehearse(realm, rehearsal, &mut scope);
        }
        let request = order.receive();
        let live = || match &call {
            Ok(call) => live(realm, program, call, &mut scope, request),
            Err(_) => 1,
        };
        let status = catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
            report(realm, "", &exception_of(&panicked(&*panic), "", ""));
            1
        });
        // The process is about to end, and to drop them would be to copy the pages that they lie in.
        std::mem::forget((call, rehearsal, scope));
        status
    }
}

/// In a child that has time: calls nothing in the way in which it will call its target, and touches thereby the memory
/// that it will need, so that the page faults are behind it.
fn rehearse(realm: &Arc<Realm>, call: &Program, scope: &mut Scope) {
    // Without a job the call does nothing.
    let _ = call.run(realm, scope);
}

/// The child's life; returns its exit status.
fn live(
    realm: &Arc<Realm>,
    program: Option<&Program>,
    call: &Program,
    scope: &mut Scope,
    request: Request,
) -> i32 {
    let mut input = Decoder::new(&request.bytes, request.descriptors);
    let status = match begin(realm, program, &mut input) {
        Ok(job) => {
            drop(input);
            run(realm, call, scope, job)
        }
        Err(error) => fail(realm, "a new process", &error),
    };
    let status = finish(realm, status);
    io::flush_all();
    ipc::release_all();
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

fn run(realm: &Arc<Realm>, call: &Program, scope: &mut Scope, job: (ProcessHandle, Target)) -> i32 {
    let state = realm.extension::<Job>();
    *state.0.lock() = Some(job);
    match call.run(realm, scope) {
        Ok(_) => *state.1.lock(),
        Err(error) => fail(realm, &super::current::current(realm).name(), &error),
    }
}

/// The native function that a child's program calls: it gives the target a context to be called from.
fn bootstrap(context: &NativeCallContext, realm: &Arc<Realm>) -> i32 {
    let job = realm.extension::<Job>().0.lock().take();
    let Some((process, target)) = job else { return 1 };
    let result = catch_unwind(AssertUnwindSafe(|| process.call_target(context, target)));
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

/// What a child's program calls, as a value.
#[allow(deprecated, reason = "rhai calls its volatile interfaces deprecated")]
fn bootstrap_function(name: String) -> Dynamic {
    let function = FnPtr::from_dyn_fn(
        name,
        Box::new(|context, _| {
            let realm = current_realm();
            let status = bootstrap(&context, &realm);
            *realm.extension::<Job>().1.lock() = status;
            Ok(Dynamic::UNIT)
        }),
    );
    function.map(Dynamic::from).unwrap_or_default()
}
