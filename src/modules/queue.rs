//! `queue`: queues between threads.

mod object;
mod priorities;
#[cfg(test)]
mod tests;

use rhai::Dynamic;

use crate::ipc::codec;
use crate::language::exception::{Class as ExceptionClass, Exception, Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::runtime::Wait;

use object::Class;
pub use object::QueueHandle;

/// Constructs a queue for the threads of this process, or by its bare name for other processes as well.
fn new(class: Class, call: &mut Call, serves_processes: bool) -> Outcome<Dynamic> {
    let capacity = if class == Class::Simple { 0 } else { call.int_or(0, 0)? };
    let (label, capacity) = (call.label(class.name()), usize::try_from(capacity).unwrap_or(0));
    Ok(Dynamic::from(QueueHandle::new(class, label, capacity, serves_processes)))
}

/// Reads `(block=True, timeout=None)` from parameter `first` on.
fn block_and_timeout(call: &mut Call, first: usize) -> Outcome<Wait> {
    if call.is_plain(first) {
        return Ok(Wait::forever(call.site()));
    }
    let block = call.bool_or(first, true);
    let timeout = call.seconds(first + 1)?;
    match timeout {
        _ if !block => Ok(Wait { deadline: None, try_only: true, site: call.site() }),
        Some(timeout) if timeout < 0.0 => Err(raise("ValueError", "'timeout' must be a non-negative number")),
        // CPython tries once more when a timeout of 0 is over, which is at once.
        timeout => Ok(call.wait_for(timeout)),
    }
}

/// `queue.Empty` or `queue.Full`.
pub(crate) fn empty_or_full(class: &'static str) -> Box<rhai::EvalAltResult> {
    Exception::new(ExceptionClass::in_module("queue", class).expect("a class of queue"), "").into_error()
}

fn put(queue: &QueueHandle, item: Dynamic, wait: &Wait) -> Outcome<Dynamic> {
    if queue.put(item, wait)? { Ok(Dynamic::UNIT) } else { Err(empty_or_full("Full")) }
}

fn get(queue: &QueueHandle, wait: &Wait) -> Outcome<Dynamic> {
    queue.get(wait)?.ok_or_else(|| empty_or_full("Empty"))
}

/// The module.
pub fn module() -> NativeModule {
    codec::register::<QueueHandle>();
    let mut module = NativeModule::new("queue");
    module
        .handle::<QueueHandle>()
        .function(
            "Queue(maxsize=0)",
            "A queue, first in, first out; put() waits while it is full. By its bare name it can be handed to \
             other processes.",
            |call| new(Class::Queue, call, false),
        )
        .builtin(
            "Queue(maxsize=0)",
            "A queue, first in, first out; put() waits while it is full. By its bare name it can be handed to \
             other processes.",
            |call| new(Class::Queue, call, true),
        )
        .class("LifoQueue(maxsize=0)", "A queue, last in, first out.", |call| new(Class::Lifo, call, false))
        .class(
            "PriorityQueue(maxsize=0)",
            "A queue, the smallest item first; arrays compare item by item.",
            |call| new(Class::Priority, call, false),
        )
        .function(
            "SimpleQueue()",
            "A queue without bound, first in, first out. By its bare name it can be handed to other processes.",
            |call| new(Class::Simple, call, false),
        )
        .builtin(
            "SimpleQueue()",
            "A queue without bound, first in, first out. By its bare name it can be handed to other processes.",
            |call| new(Class::Simple, call, true),
        )
        .method::<QueueHandle, _>(
            "put(item, block=True, timeout=None)",
            "Adds an item; waits for room. queue.Full if there is none in time.",
            |queue, call| {
                let item = call.required(0)?;
                let wait = block_and_timeout(call, 1)?;
                put(queue, item, &wait)
            },
        )
        .method::<QueueHandle, _>(
            "get(block=True, timeout=None)",
            "Takes the next item; waits for one. queue.Empty if there is none in time.",
            |queue, call| {
                let wait = block_and_timeout(call, 0)?;
                get(queue, &wait)
            },
        )
        .method::<QueueHandle, _>("put_nowait(item)", "put(item, block=False).", |queue, call| {
            let item = call.required(0)?;
            put(queue, item, &Wait { deadline: None, try_only: true, site: call.site() })
        })
        .method::<QueueHandle, _>("get_nowait()", "get(block=False).", |queue, call| {
            get(queue, &Wait { deadline: None, try_only: true, site: call.site() })
        })
        .method::<QueueHandle, _>("qsize()", "How many items it holds.", |queue, _| {
            synchronise();
            Ok((queue.len() as i64).into())
        })
        .method::<QueueHandle, _>("empty()", "Does it hold no item at the moment?", |queue, _| {
            synchronise();
            Ok(queue.is_empty().into())
        })
        .method::<QueueHandle, _>(
            "full()",
            "Does it hold as many items as it may at the moment?",
            |queue, _| {
                synchronise();
                not_simple(queue, "full")?;
                Ok(queue.is_full().into())
            },
        )
        .method::<QueueHandle, _>(
            "task_done()",
            "Reports one item as dealt with. ValueError if that were more than were put.",
            |queue, _| {
                not_simple(queue, "task_done")?;
                if queue.task_done() {
                    Ok(Dynamic::UNIT)
                } else {
                    Err(raise("ValueError", "task_done() called too many times"))
                }
            },
        )
        .method::<QueueHandle, _>(
            "join()",
            "Waits until every item that was put is reported as done.",
            |queue, call| {
                not_simple(queue, "join")?;
                queue.join(&Wait::forever(call.site())).map(|()| Dynamic::UNIT)
            },
        )
        .attribute::<QueueHandle, _>(
            "maxsize",
            "How many items it holds at most; any number if 0.",
            |queue| {
                not_simple(queue, "maxsize")?;
                Ok((queue.capacity() as i64).into())
            },
        )
        .attribute::<QueueHandle, _>(
            "unfinished_tasks",
            "How many items are not reported as done.",
            |queue| {
                not_simple(queue, "unfinished_tasks")?;
                Ok((queue.unfinished() as i64).into())
            },
        );
    module.exceptions();
    module
}

/// `SimpleQueue` has fewer methods than the others.
fn not_simple(queue: &QueueHandle, name: &str) -> Outcome<()> {
    match queue.class() {
        Class::Simple => {
            Err(raise("AttributeError", format!("'_queue.SimpleQueue' object has no attribute '{name}'")))
        }
        _ => Ok(()),
    }
}
