//! The part of `os` that sends signals, and that asks who processes are.

use std::io;

use rhai::Dynamic;
use rustix::process::{Pid, getegid, geteuid, getgid, getuid, nice, setpgid, setsid};

use crate::language::exception::{Outcome, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::modules::signal;

fn number(call: &mut Call, index: usize) -> Outcome<i32> {
    let number = call.int(index)?;
    i32::try_from(number)
        .map_err(|_| raise("OverflowError", format!("signed integer is greater than maximum: {number}")))
}

fn system_error(error: impl Into<io::Error>) -> Box<rhai::EvalAltResult> {
    raise_io(&error.into(), None)
}

/// A process's number; 0 stands for this process.
fn process(call: &mut Call, index: usize) -> Outcome<Option<Pid>> {
    match number(call, index)? {
        pid if pid < 0 => Err(system_error(rustix::io::Errno::SRCH)),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// The process group of a process, of this one if the number is 0. The group is 0 where its leader is outside the
/// PID namespace, see pid_namespaces(7); rustix, which takes every group for a process in sight, panics there.
///
/// # Errors
///
/// ESRCH: there is no such process.
pub(super) fn process_group(pid: libc::pid_t) -> io::Result<libc::pid_t> {
    // SAFETY: getpgid(2) takes any number, and touches no memory.
    group_or_error(unsafe { libc::getpgid(pid) })
}

/// The session of a process, as [`process_group`] tells the group.
fn session(pid: libc::pid_t) -> io::Result<libc::pid_t> {
    // SAFETY: getsid(2) takes any number, and touches no memory.
    group_or_error(unsafe { libc::getsid(pid) })
}

fn group_or_error(answer: libc::pid_t) -> io::Result<libc::pid_t> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn shown(number: libc::pid_t) -> Dynamic {
    i64::from(number).into()
}

fn send(call: &Call, pid: i32, signal: i32) -> Outcome<Dynamic> {
    // SAFETY: kill(2) takes any numbers, and says which it does not like.
    if unsafe { libc::kill(pid, signal) } != 0 {
        return Err(system_error(io::Error::last_os_error()));
    }
    // What one sends oneself is handled before the next statement, as in CPython.
    signal::handle_now(&call.realm())?;
    Ok(Dynamic::UNIT)
}

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .function(
            "kill(pid, signal)",
            "Sends a signal to a process, to a group if pid is negative; signal 0 asks whether it is there.",
            |call| {
                let (pid, signal) = (number(call, 0)?, number(call, 1)?);
                send(call, pid, signal)
            },
        )
        .function("killpg(pgid, signal)", "Sends a signal to a process group.", |call| {
            let (group, signal) = (number(call, 0)?, number(call, 1)?);
            match group {
                ..=-1 => Err(system_error(rustix::io::Errno::INVAL)),
                // 0 is the group of this process; -1 would be everybody.
                1 => Err(system_error(rustix::io::Errno::PERM)),
                group => send(call, -group, signal),
            }
        })
        .function("getpgid(pid)", "The process group of a process; 0 is this one.", |call| {
            Ok(shown(process_group(number(call, 0)?).map_err(system_error)?))
        })
        .function("getpgrp()", "The process group of this process.", |_| {
            Ok(shown(process_group(0).map_err(system_error)?))
        })
        .function("setpgid(pid, pgrp)", "Puts a process into a process group.", |call| {
            let (pid, group) = (process(call, 0)?, process(call, 1)?);
            setpgid(pid, group).map_err(system_error)?;
            Ok(Dynamic::UNIT)
        })
        .function("getsid(pid)", "The session of a process; 0 is this one.", |call| {
            Ok(shown(session(number(call, 0)?).map_err(system_error)?))
        })
        .function("setsid()", "Begins a session.", |_| {
            setsid().map_err(system_error)?;
            Ok(Dynamic::UNIT)
        })
        .function("nice(increment)", "Lowers this process's priority; returns what it is now.", |call| {
            let increment = number(call, 0)?;
            Ok(i64::from(nice(increment).map_err(system_error)?).into())
        })
        .function("getuid()", "The number of the user.", |_| Ok(i64::from(getuid().as_raw()).into()))
        .function("geteuid()", "The number of the user whose rights it has.", |_| {
            Ok(i64::from(geteuid().as_raw()).into())
        })
        .function("getgid()", "The number of the user's group.", |_| Ok(i64::from(getgid().as_raw()).into()))
        .function("getegid()", "The number of the group whose rights it has.", |_| {
            Ok(i64::from(getegid().as_raw()).into())
        });
}
