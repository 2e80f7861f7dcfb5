//! The part of `os` that waits for children.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rhai::Dynamic;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};

use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::native::{Call, NativeModule};
use crate::modules::multiprocessing::is_hidden;
use crate::modules::os::signalling::process_group;
use crate::runtime::{Reason, Until, block};

/// After so long a wait for any child looks again: another thread may have started one meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The same where a child's being stopped ends the wait, which no descriptor tells.
const LOOK_OFTEN: Duration = Duration::from_millis(20);
/// How often the list of children is read before it is believed that there is none: the system leaves some out
/// while others end.
const READINGS: usize = 5;

/// Adds the functions to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .constant("WNOHANG", "waitpid: return [0, 0] instead of waiting.", i64::from(libc::WNOHANG))
        .constant("WUNTRACED", "waitpid: a child that was stopped, too.", i64::from(libc::WUNTRACED))
        .constant("WCONTINUED", "waitpid: a child that goes on, too.", i64::from(libc::WCONTINUED))
        .function("wait()", "Waits for the end of any child: [pid, status].", |call| {
            let ended = wait_for(Whom::Any, WaitOptions::empty(), call)?;
            Ok(shown(ended))
        })
        .function(
            "waitpid(pid, options)",
            "Waits for the end of a child, or of any one if pid is -1: [pid, status].",
            |call| {
                let (pid, options) = (call.int(0)?, call.int(1)?);
                let whom = match i32::try_from(pid) {
                    Ok(-1) => Whom::Any,
                    Ok(0) => Whom::Group(process_group(0).map_err(|error| raise_io(&error, None))?),
                    Ok(i32::MIN) | Err(_) => return Err(no_child()),
                    Ok(pid) => match (Pid::from_raw(pid.abs()), pid > 0) {
                        (Some(pid), true) => Whom::One(pid),
                        (Some(group), false) => Whom::Group(group.as_raw_nonzero().get()),
                        (None, _) => return Err(no_child()),
                    },
                };
                let options = u32::try_from(options).ok().and_then(WaitOptions::from_bits);
                let options = options.ok_or_else(|| raise_io(&Errno::INVAL.into(), None))?;
                Ok(shown(wait_for(whom, options, call)?))
            },
        )
        .function("WIFEXITED(status)", "Did the process exit?", |call| {
            Ok(libc::WIFEXITED(status(call)?).into())
        })
        .function("WEXITSTATUS(status)", "The status that it exited with.", |call| {
            Ok(i64::from(libc::WEXITSTATUS(status(call)?)).into())
        })
        .function("WIFSIGNALED(status)", "Did a signal end it?", |call| {
            Ok(libc::WIFSIGNALED(status(call)?).into())
        })
        .function("WTERMSIG(status)", "The signal that ended it.", |call| {
            Ok(i64::from(libc::WTERMSIG(status(call)?)).into())
        })
        .function("WCOREDUMP(status)", "Did it leave a core dump?", |call| {
            Ok(libc::WCOREDUMP(status(call)?).into())
        })
        .function("WIFSTOPPED(status)", "Was it stopped?", |call| Ok(libc::WIFSTOPPED(status(call)?).into()))
        .function("WSTOPSIG(status)", "The signal that stopped it.", |call| {
            Ok(i64::from(libc::WSTOPSIG(status(call)?)).into())
        })
        .function("WIFCONTINUED(status)", "Does it go on?", |call| {
            Ok(libc::WIFCONTINUED(status(call)?).into())
        })
        .function("waitstatus_to_exitcode(status)", "The exit status, -N for signal N.", |call| {
            let status = status(call)?;
            match () {
                () if libc::WIFEXITED(status) => Ok(i64::from(libc::WEXITSTATUS(status)).into()),
                () if libc::WIFSIGNALED(status) => Ok((-i64::from(libc::WTERMSIG(status))).into()),
                () if libc::WIFSTOPPED(status) => {
                    let signal = libc::WSTOPSIG(status);
                    Err(raise("ValueError", format!("process stopped by delivery of signal {signal}")))
                }
                () => Err(raise("ValueError", format!("invalid wait status: {status}"))),
            }
        });
}

fn status(call: &mut Call) -> Outcome<i32> {
    let status = call.int(0)?;
    i32::try_from(status)
        .map_err(|_| raise("OverflowError", format!("no wait status is as large as {status}")))
}

fn no_child() -> Box<rhai::EvalAltResult> {
    raise_io(&Errno::CHILD.into(), None)
}

fn shown(ended: Option<(Pid, WaitStatus)>) -> Dynamic {
    let (pid, status) = ended.map_or((0, 0), |(pid, status)| (pid.as_raw_nonzero().get(), status.as_raw()));
    let pair: Vec<Dynamic> = vec![i64::from(pid).into(), i64::from(status).into()];
    pair.into()
}

/// Whose end is waited for.
#[derive(Clone, Copy)]
enum Whom {
    One(Pid),
    Group(libc::pid_t),
    Any,
}

/// Waits until one of them has ended, and reaps it; nothing if there was to be no waiting and none has.
fn wait_for(whom: Whom, options: WaitOptions, call: &Call) -> Outcome<Option<(Pid, WaitStatus)>> {
    let at_once = options | WaitOptions::NOHANG;
    let look_again = match options.intersects(WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
        true => LOOK_OFTEN,
        false => LOOK_AGAIN,
    };
    let realm = call.realm();
    let hidden = |pid: Pid| is_hidden(&realm, pid);
    loop {
        let children = match whom {
            Whom::One(pid) => vec![pid],
            Whom::Group(group) => {
                let is_in = |pid: &Pid| process_group(pid.as_raw_nonzero().get()).ok() == Some(group);
                children(&hidden).into_iter().filter(is_in).collect()
            }
            Whom::Any => children(&hidden),
        };
        let mut last = Errno::CHILD;
        let mut running = Vec::new();
        for pid in children {
            match waitpid(Some(pid), at_once) {
                Ok(Some(ended)) => return Ok(Some(ended)),
                Ok(None) => running.push(pid),
                Err(error) => last = error,
            }
        }
        if running.is_empty() {
            return Err(raise_io(&last.into(), None));
        }
        if options.contains(WaitOptions::NOHANG) {
            return Ok(None);
        }
        let ends = Ends::watch(&running).map_err(|error| raise_io(&error, None))?;
        let is_single = matches!(whom, Whom::One(_)) && look_again == LOOK_AGAIN;
        let deadline = if is_single { None } else { Some(Instant::now() + look_again) };
        let reason = Reason::External("a child to end");
        block(Until::Readable(ends.set.as_fd()), reason, deadline, call.site()).map_err(interrupted)?;
    }
}

/// The ends of several processes.
struct Ends {
    /// Can be read once any of them has ended.
    set: OwnedFd,
    /// The set does not keep them open.
    _single: Vec<OwnedFd>,
}

impl Ends {
    fn watch(pids: &[Pid]) -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut single = Vec::with_capacity(pids.len());
        for pid in pids {
            let end = pidfd_open(*pid, PidfdFlags::empty())?;
            let data = epoll::EventData::new_u64(single.len() as u64);
            epoll::add(&set, &end, data, epoll::EventFlags::IN)?;
            single.push(end);
        }
        Ok(Self { set, _single: single })
    }
}

/// The children that scripts know of, those included that have ended.
fn children(hidden: &dyn Fn(Pid) -> bool) -> Vec<Pid> {
    for _ in 0..READINGS {
        let found: Vec<Pid> = listed().filter(|pid| !hidden(*pid)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// The children as the system lists them, by the threads that started them.
fn listed() -> impl Iterator<Item = Pid> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| {
        let pids = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        pids.collect::<Vec<_>>()
    })
}
