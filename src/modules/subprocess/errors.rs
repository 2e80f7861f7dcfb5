//! `CalledProcessError` and `TimeoutExpired`.

use rhai::Dynamic;

use crate::language::exception::{Class, Exception};
use crate::language::native::NativeModule;
use crate::language::value;
use crate::modules::signal::names;

fn class(name: &str) -> &'static Class {
    Class::in_module("subprocess", name).expect("a class of subprocess")
}

/// The error for a program that failed.
pub fn called_process_error(status: i64, args: Dynamic, stdout: Dynamic, stderr: Dynamic) -> Exception {
    let shown = value::str(&args);
    let message = match i32::try_from(-status) {
        Ok(signal) if signal > 0 => match names::name(signal) {
            Some(name) => format!("Command '{shown}' died with <Signals.{name}: {signal}>."),
            None => format!("Command '{shown}' died with unknown signal {signal}."),
        },
        _ => format!("Command '{shown}' returned non-zero exit status {status}."),
    };
    let error = Exception::with_args(class("CalledProcessError"), message, vec![status.into(), args.clone()]);
    error.set_attribute("returncode", status.into());
    error.set_attribute("cmd", args);
    set_output(&error, stdout, stderr);
    error
}

/// The error for a program that did not end in time.
pub fn timeout_expired(args: Dynamic, timeout: Dynamic) -> Exception {
    let message = format!("Command '{}' timed out after {} seconds", value::str(&args), value::str(&timeout));
    let given = vec![args.clone(), timeout.clone()];
    let error = Exception::with_args(class("TimeoutExpired"), message, given);
    error.set_attribute("cmd", args);
    error.set_attribute("timeout", timeout);
    set_output(&error, Dynamic::UNIT, Dynamic::UNIT);
    error
}

/// Notes what the program wrote.
pub fn set_output(error: &Exception, stdout: Dynamic, stderr: Dynamic) {
    error.set_attribute("output", stdout.clone());
    error.set_attribute("stdout", stdout);
    error.set_attribute("stderr", stderr);
}

/// Adds the classes to the module.
pub(super) fn register(module: &mut NativeModule) {
    module
        .exceptions()
        .class(
            "CalledProcessError(returncode, cmd, output=None, stderr=None)",
            "A program ended with a status other than 0.",
            |call| {
                let (status, args) = (call.int(0)?, call.required(1)?);
                let (stdout, stderr) =
                    (call.argument(2).unwrap_or_default(), call.argument(3).unwrap_or_default());
                Ok(Dynamic::from(called_process_error(status, args, stdout, stderr)))
            },
        )
        .class(
            "TimeoutExpired(cmd, timeout, output=None, stderr=None)",
            "A program did not end in time.",
            |call| {
                let error = timeout_expired(call.required(0)?, call.required(1)?);
                let (stdout, stderr) =
                    (call.argument(2).unwrap_or_default(), call.argument(3).unwrap_or_default());
                set_output(&error, stdout, stderr);
                Ok(Dynamic::from(error))
            },
        );
}
