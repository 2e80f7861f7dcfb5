//! `Timer`: a thread that waits before it calls its function, unless it is cancelled first.

use rhai::{Dynamic, Map};

use super::thread::{Body, ThreadHandle};
use crate::language::callable::Callable;
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::runtime::Wait;
use crate::runtime::primitives::Event;
use crate::runtime::sync::Arc;

fn new(call: &mut Call) -> Outcome<Dynamic> {
    let interval = call
        .seconds(0)?
        .ok_or_else(|| raise("TypeError", "Timer(): 'interval' must be a number, not None"))?;
    let function = call.required(1)?;
    let args = call.sequence(2)?;
    let keywords: Map = call.mapping(3)?;
    let callable = Box::new(Callable::new(call.context(), &function, args, keywords)?);
    let finished = Event::new(call.label("Timer"));
    let site = call.site();
    let cancelled = Arc::clone(&finished);
    let body = Body::Native(Box::new(move || {
        let deadline = std::time::Instant::now()
            .checked_add(std::time::Duration::try_from_secs_f64(interval.max(0.0)).unwrap_or_default());
        let wait = Wait { deadline, try_only: interval <= 0.0, site };
        if cancelled.wait(&wait).map_err(interrupted)? {
            return Ok(Dynamic::UNIT);
        }
        let result = callable.call();
        cancelled.set();
        result
    }));
    let thread = ThreadHandle::new(&call.realm(), "Timer", None, None, body)?;
    thread.set_attribute("interval", interval.into());
    thread.set_finished(finished);
    Ok(Dynamic::from(thread))
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .class(
            "Timer(interval, function, args=None, kwargs=None)",
            "A thread that calls a function after so many seconds, unless it is cancelled first.",
            new,
        )
        .method::<ThreadHandle, _>(
            "cancel()",
            "Stops a timer that has not called its function yet.",
            |thread, _| match thread.finished() {
                Some(finished) => {
                    finished.set();
                    Ok(Dynamic::UNIT)
                }
                None => {
                    let kind = value::type_name(&Dynamic::from(thread.clone()));
                    Err(raise("AttributeError", format!("'{kind}' object has no attribute 'cancel'")))
                }
            },
        );
}
