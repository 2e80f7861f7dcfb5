//! `queue`: queues between threads.

use std::collections::{BinaryHeap, VecDeque};

use rhai::Dynamic;

use crate::language::disposal::Nested;
use crate::language::exception::{Class, Exception, Outcome, interrupted, raise};
use crate::language::identity::Handle;
use crate::language::native::{Call, NativeModule};
use crate::language::value;
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::runtime::Wait;
use crate::runtime::primitives::{Discipline, Queue};
use crate::runtime::sync::Arc;

/// A script's reference to a queue.
#[derive(Clone)]
pub struct QueueHandle {
    queue: Nested<Arc<Queue<Dynamic>>>,
    class: &'static str,
}

impl Handle for QueueHandle {
    const NAME: &'static str = "Queue";

    fn identity(&self) -> usize {
        Arc::as_ptr(&*self.queue) as usize
    }

    fn repr(&self) -> String {
        format!("<queue.{} object at {:#x}>", self.class, self.identity())
    }
}

/// Items that leave in the order of Python's tuples, the smallest first; equal ones in the order they came.
#[derive(Default)]
struct Priorities {
    heap: BinaryHeap<Ranked>,
    arrivals: u64,
}

struct Ranked {
    item: Dynamic,
    arrival: u64,
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // `put` has checked that the items can be compared. The heap's greatest leaves first, so: reversed.
        let order = value::compare(&self.item, &other.item).unwrap_or(std::cmp::Ordering::Equal);
        order.then(self.arrival.cmp(&other.arrival)).reverse()
    }
}

impl Discipline<Dynamic> for Priorities {
    fn push(&mut self, item: Dynamic) {
        self.arrivals += 1;
        self.heap.push(Ranked { item, arrival: self.arrivals });
    }

    fn pop(&mut self) -> Option<Dynamic> {
        self.heap.pop().map(|ranked| ranked.item)
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}

fn new(class: &'static str, call: &mut Call) -> Outcome<Dynamic> {
    let capacity = if class == "SimpleQueue" { 0 } else { call.int_or(0, 0)? };
    let items: Box<dyn Discipline<Dynamic>> = match class {
        "LifoQueue" => Box::new(Vec::new()),
        "PriorityQueue" => Box::new(Priorities::default()),
        _ => Box::new(VecDeque::new()),
    };
    let queue = Queue::new(call.label(class), usize::try_from(capacity).unwrap_or(0), items);
    Ok(Dynamic::from(QueueHandle { queue: Nested::new(queue), class }))
}

/// Reads `(block=True, timeout=None)` from parameter `first` on.
fn block_and_timeout(call: &mut Call, first: usize) -> Outcome<Wait> {
    let block = call.bool_or(first, true);
    let timeout = call.seconds(first + 1)?;
    match timeout {
        _ if !block => Ok(Wait { deadline: None, try_only: true, site: call.site() }),
        Some(timeout) if timeout < 0.0 => Err(raise("ValueError", "'timeout' must be a non-negative number")),
        // CPython tries once more when a timeout of 0 is over, which is at once.
        timeout => Ok(call.wait_for(timeout)),
    }
}

fn empty(class: &'static str) -> Box<rhai::EvalAltResult> {
    Exception::new(Class::in_module("queue", class).expect("a class of queue"), "").into_error()
}

fn put(handle: &QueueHandle, item: Dynamic, wait: &Wait) -> Outcome<Dynamic> {
    synchronise();
    if handle.class == "PriorityQueue" {
        // An item that cannot be compared would otherwise be found out by whoever comes next.
        value::compare(&item, &item)?;
    }
    // A plain array or map is a value and travels as one; what a closure captured becomes shared.
    let item = if item.is_fnptr() { to_shared(item) } else { item };
    match handle.queue.put(item, wait).map_err(interrupted)? {
        true => Ok(Dynamic::UNIT),
        false => Err(empty("Full")),
    }
}

fn get(handle: &QueueHandle, wait: &Wait) -> Outcome<Dynamic> {
    synchronise();
    handle.queue.get(wait).map_err(interrupted)?.map(to_local).ok_or_else(|| empty("Empty"))
}

/// The module.
pub fn module() -> NativeModule {
    let mut module = NativeModule::new("queue");
    module
        .handle::<QueueHandle>()
        .class("Queue(maxsize=0)", "A queue, first in, first out; put() waits while it is full.", |call| {
            new("Queue", call)
        })
        .class("LifoQueue(maxsize=0)", "A queue, last in, first out.", |call| new("LifoQueue", call))
        .class(
            "PriorityQueue(maxsize=0)",
            "A queue, the smallest item first; arrays compare item by item.",
            |call| new("PriorityQueue", call),
        )
        .class("SimpleQueue()", "A queue without bound, first in, first out.", |call| {
            new("SimpleQueue", call)
        })
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
            Ok((queue.queue.len() as i64).into())
        })
        .method::<QueueHandle, _>("empty()", "Does it hold no item at the moment?", |queue, _| {
            synchronise();
            Ok(queue.queue.is_empty().into())
        })
        .method::<QueueHandle, _>(
            "full()",
            "Does it hold as many items as it may at the moment?",
            |queue, _| {
                synchronise();
                not_simple(queue, "full")?;
                Ok(queue.queue.is_full().into())
            },
        )
        .method::<QueueHandle, _>(
            "task_done()",
            "Reports one item as dealt with. ValueError if that were more than were put.",
            |queue, _| {
                not_simple(queue, "task_done")?;
                synchronise();
                let done = queue.queue.task_done();
                done.map(|()| Dynamic::UNIT)
                    .map_err(|_| raise("ValueError", "task_done() called too many times"))
            },
        )
        .method::<QueueHandle, _>(
            "join()",
            "Waits until every item that was put is reported as done.",
            |queue, call| {
                not_simple(queue, "join")?;
                let wait = Wait::forever(call.site());
                queue.queue.join(&wait).map(|_| Dynamic::UNIT).map_err(interrupted)
            },
        )
        .attribute::<QueueHandle, _>(
            "maxsize",
            "How many items it holds at most; any number if 0.",
            |queue| {
                not_simple(queue, "maxsize")?;
                Ok((queue.queue.capacity() as i64).into())
            },
        )
        .attribute::<QueueHandle, _>(
            "unfinished_tasks",
            "How many items are not reported as done.",
            |queue| {
                not_simple(queue, "unfinished_tasks")?;
                Ok((queue.queue.unfinished() as i64).into())
            },
        );
    module.exceptions();
    module
}

/// `SimpleQueue` has fewer methods than the others.
fn not_simple(queue: &QueueHandle, name: &str) -> Outcome<()> {
    match queue.class {
        "SimpleQueue" => {
            Err(raise("AttributeError", format!("'_queue.SimpleQueue' object has no attribute '{name}'")))
        }
        _ => Ok(()),
    }
}
