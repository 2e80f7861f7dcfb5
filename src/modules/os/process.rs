//! The part of `os` that is about this process, its processors, and commands that it runs.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use rhai::Dynamic;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::environment::Environment;
use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::sync::Mutex;
use crate::runtime::{Reason, Site, Until, block, detached};

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .function("getpid()", "The number of this process.", |_| Ok(i64::from(std::process::id()).into()))
        .function("getppid()", "The number of the process that started this one.", |_| {
            Ok(i64::from(std::os::unix::process::parent_id()).into())
        })
        .function("abort()", "Ends the process at once with SIGABRT, as a crash does.", |_| {
            std::process::abort()
        })
        .function(
            "_exit(n)",
            "Ends the process at once: no thread is waited for, nothing is cleaned up.",
            |call| {
                let status = call.int(0)?;
                // SAFETY: _exit(2) takes any number and does not return; skipping all clean-up is what it is for.
                unsafe { libc::_exit((status & 0xff) as i32) }
            },
        )
        .function("cpu_count()", "How many processors the machine has.", |_| Ok(cpu_count().into()))
        .function(
            "sched_getaffinity(pid)",
            "The processors on which a process may run; 0 is the calling thread.",
            |call| {
                let pid = call.int(0)?;
                let set = sched_getaffinity(affinity_target(call, pid)?)
                    .map_err(|error| raise_io(&error.into(), None))?;
                let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| (cpu as i64).into());
                Ok(Dynamic::from(List::new(cpus.collect())))
            },
        )
        .function(
            "sched_setaffinity(pid, mask)",
            "Binds a process to processors; 0 is this process, with all its threads.",
            |call| {
                let set = cpu_set(&call.required(1)?)?;
                let pid = call.int(0)?;
                let bound = match pid == 0 || pid == i64::from(std::process::id()) {
                    true => bind_all_threads(&set),
                    false => sched_setaffinity(affinity_target(call, pid)?, &set).map_err(io::Error::from),
                };
                bound.map_err(|error| raise_io(&error, None))?;
                Ok(Dynamic::UNIT)
            },
        )
        .function("system(command)", "Runs a command in the shell; returns its wait status.", |call| {
            let command = call.text(0)?;
            if command.contains('\0') {
                let shown = value::repr(&command.into());
                return Err(raise("ValueError", format!("embedded null byte in the command {shown}")));
            }
            let variables = call.realm().extension::<Environment>().variables();
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(command.as_str()).env_clear().envs(variables);
            system(&mut shell, call.site())
        });
}

fn cpu_count() -> i64 {
    // SAFETY: sysconf only reads its argument, which is one of the names it knows.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    online.max(1)
}

/// The kernel binds threads, not processes. For this process, that is the thread that runs the main program.
fn affinity_target(call: &Call, pid: i64) -> Outcome<Option<Pid>> {
    let thread = match call.realm().runtime.main_thread() {
        Some(main) if pid == i64::from(std::process::id()) && main.native_id() > 0 => {
            i64::from(main.native_id())
        }
        _ => pid,
    };
    let thread = i32::try_from(thread).ok().filter(|thread| *thread >= 0);
    let thread =
        thread.ok_or_else(|| raise("ProcessLookupError", format!("[Errno 3] No such process: {pid}")))?;
    Ok(Pid::from_raw(thread))
}

/// Binds every thread of this process; those that they start inherit it. In CPython only the calling thread is
/// bound, but there a thread of the script is one of the system's, and here those are used again.
fn bind_all_threads(set: &CpuSet) -> io::Result<()> {
    sched_setaffinity(None, set)?;
    let mut bound = BTreeSet::new();
    // A thread that was not seen may have started another one before it was bound.
    loop {
        let tasks = std::fs::read_dir("/proc/self/task")?.flatten();
        let numbers = tasks.filter_map(|task| task.file_name().to_str()?.parse::<i32>().ok());
        let new: Vec<i32> = numbers.filter(|number| !bound.contains(number)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for number in new {
            bound.insert(number);
            match sched_setaffinity(Pid::from_raw(number), set) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn cpu_set(mask: &Dynamic) -> Outcome<CpuSet> {
    let kind = value::type_name(mask);
    let cpus = value::sequence(mask).ok_or_else(|| {
        raise(
            "TypeError",
            format!("'{kind}' object is not iterable: give the processors as an array, [0, 1]"),
        )
    })?;
    let mut set = CpuSet::new();
    for cpu in cpus {
        let number = cpu.as_int().map_err(|_| {
            let (kind, shown) = (value::type_name(&cpu), value::repr(&cpu));
            raise(
                "TypeError",
                format!("expected an iterator of ints, but iterator yielded <class '{kind}'>: {shown}"),
            )
        })?;
        if number < 0 {
            return Err(raise("ValueError", format!("negative CPU number: {number}")));
        }
        // A number beyond the set is that of no processor, as is one that the machine does not have.
        let number = usize::try_from(number).ok().filter(|number| *number < CpuSet::MAX_CPU);
        set.set(
            number.ok_or_else(|| raise("OSError", format!("[Errno 22] Invalid argument: no CPU {cpu}")))?,
        );
    }
    Ok(set)
}

/// Commands whose end nobody waited for, because the wait was interrupted.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

fn reap_left() {
    LEFT.lock().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

fn system(command: &mut Command, site: Site) -> Outcome<Dynamic> {
    let failed = |error: io::Error| raise_io(&error, Some("/bin/sh"));
    reap_left();
    let (mut child, ended) = detached(|| {
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        Ok((child, pidfd_open(pid, PidfdFlags::empty())?))
    })
    .map_err(failed)?;
    if let Err(interrupt) = block(Until::Readable(ended.as_fd()), Reason::External("a child"), None, site) {
        // Ctrl-C on the terminal has reached the child too; a signal that was sent to us alone has not.
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        LEFT.lock().push(child);
        return Err(interrupted(interrupt));
    }
    let status = child.wait().map_err(failed)?;
    Ok(i64::from(status.into_raw()).into())
}
