//! `Future` as scripts see it.

use rhai::{Dynamic, EvalAltResult};

use super::future::Future;
use crate::language::exception::{Class, Exception, Outcome, raise};
use crate::language::function::Function;
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::language::types::Type;
use crate::language::variables::synchronise;
use crate::modules::pool::Told;
use crate::runtime::sync::Arc;

/// A script's reference to a future.
#[derive(Clone)]
pub struct FutureHandle(pub(super) Arc<Future>);

impl FutureHandle {
    /// `<Future at 0x… state=finished returned int>`.
    pub(super) fn shown(&self) -> String {
        format!("<Future at {:#x} {}>", self.identity(), self.0.describe_state())
    }
}

impl Handle for FutureHandle {
    const NAME: &'static str = "Future";
    const RANK: Rank = Rank::Third;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        self.shown()
    }
}

fn invalid_state(future: &FutureHandle, state: &str) -> Box<EvalAltResult> {
    let class = Class::known("InvalidStateError");
    Exception::new(class, format!("{state}: {}", future.shown())).into_error()
}

/// The exception that a script hands in: an exception, or an exception class.
fn exception_argument(call: &mut Call) -> Outcome<Exception> {
    let value = call.required(0)?;
    if let Some(exception) = value.read_lock::<Exception>() {
        return Ok(exception.clone());
    }
    match value.read_lock::<Type>().and_then(|class| class.exception_class()) {
        Some(class) => Ok(Exception::new(class, "")),
        None => {
            let shown = crate::language::value::repr(&value);
            Err(raise("TypeError", format!("exceptions must derive from BaseException: {shown}")))
        }
    }
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .handle::<FutureHandle>()
        .class("Future()", "The result of a call that may not be over; executors make them.", |call| {
            Ok(Dynamic::from(FutureHandle(Future::new(&call.realm(), None, Told::default()))))
        })
        .method::<FutureHandle, _>(
            "cancel()",
            "Cancels the call unless it runs or is over. True if it is cancelled.",
            |future, _| {
                synchronise();
                Ok(future.0.cancel().into())
            },
        )
        .method::<FutureHandle, _>("cancelled()", "Was the call cancelled?", |future, _| {
            Ok(future.0.is_cancelled().into())
        })
        .method::<FutureHandle, _>(
            "running()",
            "Is the call being made, so that it cannot be cancelled?",
            |future, _| Ok(future.0.is_running().into()),
        )
        .method::<FutureHandle, _>("done()", "Is the call over or cancelled?", |future, _| {
            synchronise();
            future.0.look()?;
            Ok(future.0.is_done().into())
        })
        .method::<FutureHandle, _>(
            "result(timeout=None)",
            "What the call returned, once it is over; raises what it raised, TimeoutError or CancelledError.",
            |future, call| {
                let timeout = call.seconds(0)?;
                future.0.result(&call.wait_for(timeout))
            },
        )
        .method::<FutureHandle, _>(
            "exception(timeout=None)",
            "What the call raised, once it is over, None if nothing; raises TimeoutError or CancelledError.",
            |future, call| {
                let timeout = call.seconds(0)?;
                let exception = future.0.exception(&call.wait_for(timeout))?;
                Ok(exception.map_or(Dynamic::UNIT, Dynamic::from))
            },
        )
        .method::<FutureHandle, _>(
            "add_done_callback(fn)",
            "Calls fn(future) when the call is over or cancelled, at once if it is.",
            |future, call| {
                let callback = call.required(0)?;
                let callback = Function::new(call.context(), &callback)?;
                future.0.add_done_callback(callback);
                Ok(Dynamic::UNIT)
            },
        )
        .method::<FutureHandle, _>(
            "set_running_or_notify_cancel()",
            "For executors: marks the call as begun; False if it was cancelled.",
            |future, _| {
                let running = future.0.set_running_or_notify_cancel(None);
                running.map(Dynamic::from).map_err(|_| raise("RuntimeError", "Future in unexpected state"))
            },
        )
        .method::<FutureHandle, _>(
            "set_result(result)",
            "For executors: ends the call with a result. InvalidStateError if it is over.",
            |future, call| {
                let result = call.required(0)?;
                synchronise();
                future.0.set(Ok(result)).map_err(|state| invalid_state(future, &state))?;
                Ok(Dynamic::UNIT)
            },
        )
        .method::<FutureHandle, _>(
            "set_exception(exception)",
            "For executors: ends the call with an exception. InvalidStateError if it is over.",
            |future, call| {
                let exception = exception_argument(call)?;
                synchronise();
                future.0.set(Err(exception)).map_err(|state| invalid_state(future, &state))?;
                Ok(Dynamic::UNIT)
            },
        );
}
