//! `sys`: the interpreter itself — its arguments, its streams, its lock and its limits.

pub mod streams;
mod version;

use std::time::Duration;

use rhai::Dynamic;

use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::realm::Realm;
use crate::language::value;
use crate::modules::io;

/// The longest switch interval: for ever, as far as a run goes.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1_000_000_000);

/// The module, for the interpreter whose arguments `sys.argv` are.
pub fn module(realm: &Realm) -> NativeModule {
    let mut module = NativeModule::new("sys");
    let argv = realm.argv.lock().iter().map(|argument| argument.clone().into()).collect();
    let executable =
        std::env::current_exe().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    module
        .constant("argv", "The script's name and its arguments.", Dynamic::from(List::new(argv)))
        .constant("platform", "The operating system: `linux`.", platform())
        .constant("maxsize", "The largest integer.", i64::MAX)
        .constant("byteorder", "Which end of a number comes first in memory.", byte_order())
        .constant("executable", "The program that runs the script.", executable)
        .constant("stdin", "Standard input, a file.", Dynamic::from(io::standard_input()))
        .class("exit(status=None)", "Ends the program, or the thread: raises SystemExit.", exit);
    version::register(&mut module);
    streams::register(&mut module);
    lock(&mut module);
    limits(&mut module);
    module
}

fn platform() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

fn byte_order() -> &'static str {
    if cfg!(target_endian = "big") { "big" } else { "little" }
}

fn exit(call: &mut Call) -> Outcome<Dynamic> {
    let status = call.argument(0);
    let args: Vec<Dynamic> = status.clone().into_iter().collect();
    let message = args.first().map_or_else(String::new, value::str);
    let exception = Exception::with_args(Class::known("SystemExit"), message, args);
    exception.set_attribute("code", status.unwrap_or(Dynamic::UNIT));
    Err(exception.into_error())
}

fn lock(module: &mut NativeModule) {
    module
        .function(
            "setswitchinterval(interval)",
            "After how many seconds a waiting thread asks for the lock.",
            |call| {
                let seconds = call.float(0)?;
                if seconds.is_nan() || seconds <= 0.0 {
                    return Err(raise("ValueError", "switch interval must be strictly positive"));
                }
                let interval =
                    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_INTERVAL).min(LONGEST_INTERVAL);
                call.realm().runtime.gil().set_switch_interval(interval);
                Ok(Dynamic::UNIT)
            },
        )
        .function(
            "getswitchinterval()",
            "After how many seconds a waiting thread asks for the lock.",
            |call| Ok(call.realm().runtime.gil().switch_interval().as_secs_f64().into()),
        )
        .function(
            "setcheckinterval(n)",
            "How many ticks a thread keeps the lock, under `--gil ticks`.",
            |call| {
                // As in CPython 2, nothing is an error; it means every tick.
                let ticks = u32::try_from(call.int(0)?.max(1)).unwrap_or(u32::MAX);
                call.realm().runtime.gil().set_check_interval(ticks);
                Ok(Dynamic::UNIT)
            },
        )
        .function(
            "getcheckinterval()",
            "How many ticks a thread keeps the lock, under `--gil ticks`.",
            |call| Ok(i64::from(call.realm().runtime.gil().check_interval()).into()),
        )
        .function("_is_gil_enabled()", "Is there a global interpreter lock?", |call| {
            Ok(call.realm().runtime.gil().is_enabled().into())
        });
}

fn limits(module: &mut NativeModule) {
    module
        .function("setrecursionlimit(limit)", "How deeply calls may nest.", |call| {
            let calls = usize::try_from(call.int(0)?)
                .ok()
                .filter(|calls| *calls > 0)
                .ok_or_else(|| raise("ValueError", "recursion limit must be greater or equal than 1"))?;
            let depth = call.context().call_level();
            if calls <= depth {
                let text = format!(
                    "cannot set the recursion limit to {calls} at the recursion depth {depth}: the limit is too low"
                );
                return Err(raise("RecursionError", text));
            }
            call.realm().set_recursion_limit(calls);
            Ok(Dynamic::UNIT)
        })
        .function("getrecursionlimit()", "How deeply calls may nest.", |call| {
            Ok((call.realm().recursion_limit() as i64).into())
        });
}
