//! `signal`: handlers for what other processes, the terminal and timers send.
//!
//! A handler runs in the main thread, between two steps of its computation or in the middle of a wait, which
//! goes on afterwards unless the handler raises something.

mod action;
mod handlers;
pub mod names;

use std::io;
use std::time::Duration;

use rhai::Dynamic;

use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::Realm;
use crate::runtime::{Reason, Until, block};
use handlers::{DEFAULT, Handlers, IGNORE};

/// The largest number of a signal.
const LARGEST: i32 = 64;

/// The process was just forked from one whose script may have handlers; they are this one's as well.
pub fn after_fork(realm: &crate::language::realm::Realm) {
    realm.extension::<Handlers>().after_fork(&realm.runtime);
}

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("signal");
    for (name, number, text) in names::SIGNALS {
        module.constant(name, text, i64::from(*number));
    }
    module
        .constant("SIGCLD", "Child exited.", i64::from(libc::SIGCHLD))
        .constant("SIGPOLL", "I/O possible.", i64::from(libc::SIGPOLL))
        .constant("SIGRTMIN", "The first real-time signal.", i64::from(libc::SIGRTMIN()))
        .constant("SIGRTMAX", "The last real-time signal.", i64::from(libc::SIGRTMAX()))
        .constant("NSIG", "One more than the number of the last signal.", i64::from(LARGEST + 1))
        .constant("SIG_DFL", "What the system does by default.", DEFAULT)
        .constant("SIG_IGN", "Nothing.", IGNORE)
        .constant("ITIMER_REAL", "Counts time; sends SIGALRM.", i64::from(libc::ITIMER_REAL))
        .constant(
            "ITIMER_VIRTUAL",
            "Counts the process's computing; sends SIGVTALRM.",
            i64::from(libc::ITIMER_VIRTUAL),
        )
        .constant(
            "ITIMER_PROF",
            "Counts computing, the system's for it too; sends SIGPROF.",
            i64::from(libc::ITIMER_PROF),
        )
        .constant("default_int_handler", "Raises KeyboardInterrupt.", handlers::default_int_handler())
        .function("default_int_handler(signalnum, frame)", "Raises KeyboardInterrupt.", |_| {
            Err(raise("KeyboardInterrupt", ""))
        })
        .function(
            "signal(signalnum, handler)",
            "Calls handler(signalnum, None) for a signal, or SIG_IGN or SIG_DFL; returns the handler before.",
            |call| {
                let (number, handler) = (number(call)?, call.required(1)?);
                call.realm().extension::<Handlers>().set(call, number, handler)
            },
        )
        .function("getsignal(signalnum)", "The handler of a signal, SIG_IGN or SIG_DFL.", |call| {
            let number = number(call)?;
            call.realm().extension::<Handlers>().get(number)
        })
        .function("raise_signal(signum)", "Sends a signal to this process.", |call| {
            let number = call.int(0)?;
            let number = i32::try_from(number).unwrap_or(-1);
            action::raise(number).map_err(system_error)?;
            handle_now(&call.realm())?;
            Ok(Dynamic::UNIT)
        })
        .function(
            "strsignal(signalnum)",
            "What the system says of a signal; None if it knows none.",
            |call| {
                let number = number(call)?;
                Ok(names::text(number).map(Dynamic::from).unwrap_or_default())
            },
        )
        .function("valid_signals()", "The numbers that signals have.", |_| {
            let numbers = (1..=i64::from(LARGEST)).filter(|number| !matches!(number, 32 | 33));
            Ok(Dynamic::from(List::new(numbers.map(Dynamic::from).collect())))
        })
        .function("pause()", "Waits until a handler was called.", pause);
    timers(&mut module);
    module
}

fn system_error(error: io::Error) -> Box<rhai::EvalAltResult> {
    raise_io(&error, None)
}

fn number(call: &mut Call) -> Outcome<i32> {
    let number = call.int(0)?;
    let number = i32::try_from(number).ok().filter(|number| (1..=LARGEST).contains(number));
    number.ok_or_else(|| raise("ValueError", "signal number out of range"))
}

/// Calls the handlers of what this process has just sent itself, if the main thread did that.
///
/// # Errors
/// What they raise.
pub fn handle_now(realm: &Realm) -> Outcome<()> {
    realm.runtime.handle_signals().map_err(interrupted)
}

fn pause(call: &mut Call) -> Outcome<Dynamic> {
    let handlers = call.realm().extension::<Handlers>();
    let waiter = handlers.pause();
    let woken = block(Until::Notified(&waiter), Reason::External("a signal"), None, call.site());
    handlers.resume(&waiter);
    woken.map_err(interrupted)?;
    Ok(Dynamic::UNIT)
}

fn timers(module: &mut NativeModule) {
    module
        .function(
            "alarm(seconds)",
            "Sends SIGALRM after so many seconds, 0 for never; returns what was left of the alarm before.",
            |call| {
                let seconds = u64::try_from(call.int(0)?.max(0)).unwrap_or_default();
                let (left, _) =
                    action::set_timer(libc::ITIMER_REAL, Duration::from_secs(seconds), Duration::ZERO)
                        .map_err(system_error)?;
                Ok((left.as_secs_f64().ceil() as i64).into())
            },
        )
        .function(
            "setitimer(which, seconds, interval=0.0)",
            "Sends a signal after so many seconds and then at intervals; returns [left, interval] of before.",
            |call| {
                let which = i32::try_from(call.int(0)?).unwrap_or(-1);
                let first = duration(call.float(1)?)?;
                let interval = match call.argument(2) {
                    None => Duration::ZERO,
                    Some(interval) => {
                        let seconds = crate::language::value::number(&interval);
                        duration(seconds.ok_or_else(|| raise("TypeError", "interval must be a number"))?)?
                    }
                };
                pair(action::set_timer(which, first, interval))
            },
        )
        .function("getitimer(which)", "What is left of a timer, and its interval.", |call| {
            let which = i32::try_from(call.int(0)?).unwrap_or(-1);
            pair(action::timer(which))
        });
}

fn duration(seconds: f64) -> Outcome<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| system_error(io::Error::from_raw_os_error(libc::EINVAL)))
}

fn pair(times: io::Result<(Duration, Duration)>) -> Outcome<Dynamic> {
    let (left, interval) = times.map_err(system_error)?;
    let times: Vec<Dynamic> = vec![left.as_secs_f64().into(), interval.as_secs_f64().into()];
    Ok(times.into())
}
