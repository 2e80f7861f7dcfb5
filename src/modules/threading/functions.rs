//! The functions of `threading`: who runs, and how many.

use rhai::Dynamic;

use super::thread::ThreadHandle;
use crate::language::exception::{Outcome, raise};
use crate::language::list::List;
use crate::language::native::{Call, NativeModule, TIMEOUT_MAX};
use crate::runtime::{self, Runtime};

/// The smallest stack that CPython accepts, in bytes.
const SMALLEST_STACK: i64 = 32 << 10;

fn current(call: &mut Call) -> Outcome<Dynamic> {
    let record = runtime::current().ok_or_else(|| raise("RuntimeError", "this is no script thread"))?;
    Ok(Dynamic::from(ThreadHandle::of_record(&call.realm(), &record)))
}

fn active_count(call: &mut Call) -> Outcome<Dynamic> {
    Ok((call.realm().runtime.thread_count() as i64).into())
}

pub(super) fn define(module: &mut NativeModule) {
    module
        .class("current_thread()", "The thread that makes the call.", current)
        .class("currentThread()", "An old name of current_thread().", current)
        .class("main_thread()", "The thread that the program began with.", |call| {
            let realm = call.realm();
            let main = realm.runtime.main_thread().ok_or_else(|| raise("RuntimeError", "there is no main thread"))?;
            Ok(Dynamic::from(ThreadHandle::of_record(&realm, &main)))
        })
        .class("active_count()", "How many threads are alive, the main thread included.", active_count)
        .class("activeCount()", "An old name of active_count().", active_count)
        .function("enumerate()", "The threads that are alive, the main thread included.", |call| {
            let realm = call.realm();
            let threads = realm.runtime.threads();
            let handles = threads.iter().map(|t| Dynamic::from(ThreadHandle::of_record(&realm, t))).collect();
            Ok(Dynamic::from(List::new(handles)))
        })
        .class("get_ident()", "The identifier of the thread that makes the call.", |_| {
            Ok(runtime::current().map_or(0, |thread| thread.id().ident()).into())
        })
        .class("get_native_id()", "The kernel's number of the thread that makes the call.", |_| {
            Ok(runtime::current().map_or(0, |thread| i64::from(thread.native_id())).into())
        })
        .function(
            "stack_size(size=0)",
            "Sets the stack size of threads started from now on, in bytes (0: the default); returns the one before.",
            |call| {
                let given = call.argument(0).map(|size| {
                    size.as_int().map_err(|kind| raise("TypeError", format!("size must be an integer, not {kind}")))
                });
                let runtime = &call.realm().runtime;
                let before = match runtime.stack_size() {
                    size if size == Runtime::default_stack_size() => 0,
                    size => size as i64,
                };
                match given.transpose()? {
                    None => {}
                    Some(0) => runtime.set_stack_size(Runtime::default_stack_size()),
                    Some(size) if size >= SMALLEST_STACK => {
                        // The evaluator needs more than CPython's smallest stack for one call.
                        runtime.set_stack_size((size as usize).max(256 << 10));
                    }
                    Some(size) => return Err(raise("ValueError", format!("size not valid: {size} bytes"))),
                }
                Ok(before.into())
            },
        )
        .constant("TIMEOUT_MAX", "The longest timeout, in seconds.", TIMEOUT_MAX);
}
