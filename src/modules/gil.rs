//! `gil`: what mode the global interpreter lock is in, and what it did.

use rhai::{Dynamic, Map};

use crate::language::dict::Dict;
use crate::language::exception::Outcome;
use crate::language::list::List;
use crate::language::native::{Call, NativeModule};
use crate::stats::Stats;

fn stats(call: &mut Call) -> Outcome<Dynamic> {
    let stats = Stats::of(&call.realm().runtime);
    let mut entries = Map::new();
    let mut put = |name: &str, value: Dynamic| {
        entries.insert(name.into(), value);
    };
    put("mode", stats.mode.to_string().into());
    put("switches", (stats.gil.switches as i64).into());
    put("forced_switches", (stats.gil.forced_switches as i64).into());
    put("drop_requests", (stats.gil.drop_requests as i64).into());
    put("waits", (stats.gil.waits as i64).into());
    let threads = stats.threads.iter().map(|thread| {
        let mut entries = Map::new();
        entries.insert("name".into(), thread.name.clone().into());
        entries.insert("ticks".into(), (thread.times.ticks as i64).into());
        entries.insert("held".into(), thread.times.held.as_secs_f64().into());
        entries.insert("waited".into(), thread.times.waited.as_secs_f64().into());
        entries.insert("blocked".into(), thread.times.blocked.as_secs_f64().into());
        entries.insert("finished".into(), thread.finished.into());
        Dynamic::from(Dict::from_map(entries))
    });
    put("threads", Dynamic::from(List::new(threads.collect())));
    Ok(Dynamic::from(Dict::from_map(entries)))
}

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("gil");
    module
        .function("mode()", "The mode of this run: 'ticks:100', 'interval:5ms', 'off'.", |call| {
            Ok(call.realm().runtime.gil().mode().to_string().into())
        })
        .function(
            "stats()",
            "Counters: switches, forced_switches, drop_requests, waits, and threads, a list with ticks and seconds.",
            stats,
        );
    module
}
