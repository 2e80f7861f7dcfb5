//! `time`: clocks, the calendar, and waiting for time to pass.

pub mod clock;
pub mod strftime;
pub mod struct_time;

use std::time::Duration;

use rhai::{Dynamic, FnNamespace, FuncRegistration, NativeCallContext};

use crate::language::exception::{Outcome, interrupted, raise, raise_io};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::{Site, sleep_for};
use clock::{Clock, Zone, ZoneNames};
use strftime::BrokenDownTime;
use struct_time::{StructTime, time_argument};

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("time");
    module.class(
        "sleep(secs)",
        "Waits for so many seconds, and lets other threads run; 0 gives the interpreter lock up once.",
        sleep,
    );
    replace_rhais_sleep(&mut module);
    struct_time::register(&mut module);
    clocks(&mut module);
    calendar(&mut module);
    zone(&mut module);
    module
}

fn sleep(call: &mut Call) -> Outcome<Dynamic> {
    let seconds = call.float(0)?;
    sleep_seconds(seconds, call.site())
}

/// Rhai's own `sleep` takes these very types and would win: it waits with the interpreter lock, for good.
fn replace_rhais_sleep(module: &mut NativeModule) {
    let site = |context: &NativeCallContext| {
        let line = context.call_position().line().unwrap_or(0);
        Site::new(context.call_source().unwrap_or(""), line as u32)
    };
    let natives = &mut module.builtins;
    FuncRegistration::new("sleep")
        .with_namespace(FnNamespace::Global)
        .set_into_module(natives, move |context: NativeCallContext, secs: i64| {
            sleep_seconds(secs as f64, site(&context))
        });
    FuncRegistration::new("sleep")
        .with_namespace(FnNamespace::Global)
        .set_into_module(natives, move |context: NativeCallContext, secs: f64| {
            sleep_seconds(secs, site(&context))
        });
}

fn sleep_seconds(seconds: f64, site: Site) -> Outcome<Dynamic> {
    if seconds.is_nan() {
        return Err(raise("ValueError", "Invalid value NaN (not a number)"));
    }
    if seconds < 0.0 {
        return Err(raise("ValueError", "sleep length must be non-negative"));
    }
    let time = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| i64::try_from(time.as_nanos()).is_ok())
        .ok_or_else(|| raise("OverflowError", "timestamp out of range for platform time_t"))?;
    // Less than a nanosecond is a wait all the same.
    let time = if seconds > 0.0 { time.max(Duration::from_nanos(1)) } else { time };
    sleep_for(time, site).map_err(interrupted)?;
    Ok(Dynamic::UNIT)
}

fn clocks(module: &mut NativeModule) {
    let all = [
        ("time()", "Seconds since the start of 1970.", Clock::Realtime),
        (
            "perf_counter()",
            "Seconds on the clock with the finest steps, to measure short times.",
            Clock::Monotonic,
        ),
        ("monotonic()", "Seconds on a clock that cannot go backward.", Clock::Monotonic),
        ("process_time()", "Seconds of processor time that the process has used.", Clock::Process),
        ("thread_time()", "Seconds of processor time that the thread has used.", Clock::Thread),
    ];
    for (signature, doc, clock) in all {
        module.function(signature, doc, move |_| Ok(clock.seconds().into()));
    }
    let all = [
        ("time_ns()", "Nanoseconds since the start of 1970.", Clock::Realtime),
        ("perf_counter_ns()", "As perf_counter(), in nanoseconds.", Clock::Monotonic),
        ("monotonic_ns()", "As monotonic(), in nanoseconds.", Clock::Monotonic),
        ("process_time_ns()", "As process_time(), in nanoseconds.", Clock::Process),
        ("thread_time_ns()", "As thread_time(), in nanoseconds.", Clock::Thread),
    ];
    for (signature, doc, clock) in all {
        module.function(signature, doc, move |_| Ok(clock.nanoseconds().into()));
    }
}

fn calendar(module: &mut NativeModule) {
    module
        .function("ctime(secs=None)", "The local time as text: `Sat Feb  3 04:05:06 2024`.", |call| {
            Ok(strftime::ctime(&moment_argument(call, Zone::Local)?).into())
        })
        .function("localtime(secs=None)", "The local time, broken down into a struct_time.", |call| {
            moment_argument(call, Zone::Local).map(|time| Dynamic::from(StructTime::new(time)))
        })
        .function("gmtime(secs=None)", "Universal time, broken down into a struct_time.", |call| {
            moment_argument(call, Zone::Utc).map(|time| Dynamic::from(StructTime::new(time)))
        })
        .function("asctime(t=None)", "A struct_time as text: `Sat Feb  3 04:05:06 2024`.", |call| {
            Ok(strftime::ctime(&checked_time(call, 0, "asctime")?).into())
        })
        .function("mktime(t)", "Seconds since the start of 1970 for a local struct_time.", |call| {
            let time = time_argument(call, 0, "mktime")?
                .ok_or_else(|| raise("TypeError", "Tuple or struct_time argument required"))?;
            match clock::seconds_of_local(&time) {
                Some(seconds) => Ok((seconds as f64).into()),
                None => Err(raise("OverflowError", "mktime argument out of range")),
            }
        })
        .function("strftime(format, t=None)", "A time as text, as the format's directives say.", |call| {
            let format = call.text(0)?;
            Ok(strftime::strftime(&format, &checked_time(call, 1, "strftime")?).into())
        });
}

fn zone(module: &mut NativeModule) {
    let zone = ZoneNames::of_this_year();
    let names = zone.names.iter().map(|name| Dynamic::from(name.clone())).collect();
    module
        .constant("timezone", "Seconds west of Greenwich, in winter.", zone.west[0])
        .constant("altzone", "Seconds west of Greenwich, in summer.", zone.west[1])
        .constant("daylight", "1 if there is a summer time, else 0.", i64::from(zone.has_summer_time()))
        .constant(
            "tzname",
            "The time zone's names in winter and in summer.",
            Dynamic::from(List::new(names)),
        );
}

/// The first argument, seconds since the start of 1970, or the present, broken down.
fn moment_argument(call: &mut Call, zone: Zone) -> Outcome<BrokenDownTime> {
    let seconds = match call.argument(0).filter(|value| !value.is_unit()) {
        None => Clock::Realtime.nanoseconds().div_euclid(1_000_000_000),
        Some(argument) => whole_seconds(&argument)?,
    };
    clock::break_down(seconds, zone).map_err(|error| raise_io(&error, None))
}

fn whole_seconds(argument: &Dynamic) -> Outcome<i64> {
    if let Ok(seconds) = argument.as_int() {
        return Ok(seconds);
    }
    let seconds = value::number(argument).ok_or_else(|| {
        let (kind, shown) = (value::type_name(argument), value::repr(argument));
        raise("TypeError", format!("'{kind}' object cannot be interpreted as an integer: {shown} is no time"))
    })?;
    if seconds.is_nan() {
        return Err(raise("ValueError", "Invalid value NaN (not a number)"));
    }
    let whole = seconds.floor();
    // The bounds of i64 as floats; the upper one is the first that does not fit.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
        return Err(raise("OverflowError", "timestamp out of range for platform time_t"));
    }
    Ok(whole as i64)
}

/// The time given as argument `index`, or the present; its fields are in their ranges.
fn checked_time(call: &mut Call, index: usize, function: &str) -> Outcome<BrokenDownTime> {
    match time_argument(call, index, function)? {
        Some(time) => time.checked().map_err(|message| raise("ValueError", message)),
        None => {
            let seconds = Clock::Realtime.nanoseconds().div_euclid(1_000_000_000);
            clock::break_down(seconds, Zone::Local).map_err(|error| raise_io(&error, None))
        }
    }
}
