//! Queues between processes: `Queue`, `JoinableQueue`, `SimpleQueue`.
//!
//! CPython's have a thread in each process that feeds a pipe. Here an item is in shared memory when `put` returns,
//! so that a process may end, or be waited for, before anybody has taken what it put.

use std::marker::PhantomData;

use rhai::Dynamic;

use super::context::Context;
use crate::ipc::codec::{self, Decoder, Encoder, Purpose, Travel};
use crate::ipc::{Channel, SendError, values};
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::native::{Call, NativeModule};
use crate::language::variables::synchronise;
use crate::modules::queue::empty_or_full;
use crate::runtime::sync::{Arc, AtomicBool, Ordering};
use crate::runtime::{Label, Wait};

/// One of the classes.
pub trait Class: Clone + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its name in messages.
    const TAG: &'static str;
}

/// `Queue`.
#[derive(Clone)]
pub struct Plain;
/// `JoinableQueue`.
#[derive(Clone)]
pub struct Joinable;
/// `SimpleQueue`.
#[derive(Clone)]
pub struct Simple;

impl Class for Plain {
    const NAME: &'static str = "Queue";
    const TAG: &'static str = "multiprocessing.Queue";
}

impl Class for Joinable {
    const NAME: &'static str = "JoinableQueue";
    const TAG: &'static str = "multiprocessing.JoinableQueue";
}

impl Class for Simple {
    const NAME: &'static str = "SimpleQueue";
    const TAG: &'static str = "multiprocessing.SimpleQueue";
}

/// A script's reference to a queue between processes.
#[derive(Clone)]
pub struct ProcessQueue<C: Class> {
    channel: Channel,
    /// Closing concerns only this process.
    is_closed: Arc<AtomicBool>,
    class: PhantomData<C>,
}

impl<C: Class> Handle for ProcessQueue<C> {
    const NAME: &'static str = C::NAME;
    const RANK: Rank = Rank::Second;

    fn identity(&self) -> usize {
        self.channel.place() as usize
    }

    fn repr(&self) -> String {
        format!("<multiprocessing.queues.{} object at {:#x}>", C::NAME, 0x7f00_0000_0000 + self.identity())
    }
}

impl<C: Class> Travel for ProcessQueue<C> {
    const TAG: &'static str = C::TAG;

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        if out.purpose() != Purpose::Start {
            let text =
                format!("{} objects should only be shared between processes through inheritance", C::NAME);
            return Err(raise("RuntimeError", text));
        }
        out.shared(self.channel.shared())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let label = Label { class: C::NAME, ..Label::default() };
        input.shared().map(|state| Self::of(Channel::from(state).named(label)))
    }
}

impl<C: Class> ProcessQueue<C> {
    fn of(channel: Channel) -> Self {
        Self { channel, is_closed: Arc::default(), class: PhantomData }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn check_open(&self) -> Outcome<()> {
        if self.is_closed() {
            return Err(raise("ValueError", format!("Queue {} is closed", self.repr())));
        }
        Ok(())
    }

    /// A SimpleQueue is a pipe.
    fn check_handle(&self) -> Outcome<()> {
        if self.is_closed() { Err(raise("OSError", "handle is closed")) } else { Ok(()) }
    }

    /// Adds an item. How long to wait for room, and at which line of the script, is asked only if there is none.
    #[inline]
    fn put(&self, item: &Dynamic, wait: impl Fn() -> Wait) -> Outcome<Dynamic> {
        self.check_open()?;
        match values::put_or_wait(&self.channel, item, wait)? {
            true => Ok(Dynamic::UNIT),
            false => Err(empty_or_full("Full")),
        }
    }

    #[inline]
    fn get(&self, wait: impl FnOnce() -> Wait) -> Outcome<Dynamic> {
        self.check_open()?;
        synchronise();
        values::get_or_wait(&self.channel, wait)?.ok_or_else(|| empty_or_full("Empty"))
    }
}

/// Constructs a queue of a class for at most `maxsize` items, 2^31 - 1 if that is not positive.
fn construct<C: Class>(call: &Call, maxsize: i64) -> Outcome<Dynamic>
where
    ProcessQueue<C>: Handle,
{
    let channel = Channel::new(u64::try_from(maxsize).unwrap_or(0));
    let channel = channel.map_err(|error| values::not_sent(SendError::Memory(error)))?;
    Ok(Dynamic::from(ProcessQueue::<C>::of(channel.named(call.label(C::NAME)))))
}

/// Constructs a queue whose `maxsize` is the call's first argument.
fn sized<C: Class>(call: &mut Call) -> Outcome<Dynamic>
where
    ProcessQueue<C>: Handle,
{
    let maxsize = call.int_or(0, 0)?;
    construct::<C>(call, maxsize)
}

/// Reads `(block=True, timeout=None)` from parameter `first` on; a negative timeout is none.
fn block_and_timeout(call: &mut Call, first: usize) -> Outcome<Wait> {
    let block = call.bool_or(first, true);
    let timeout = call.seconds(first + 1)?;
    Ok(call.wait_for(if block { timeout } else { Some(0.0) }))
}

fn define_queue<C: Class>(module: &mut NativeModule) {
    codec::register::<ProcessQueue<C>>();
    module
        .handle::<ProcessQueue<C>>()
        .method::<ProcessQueue<C>, _>(
            "put(obj, block=True, timeout=None)",
            "Adds an item; waits for room. queue.Full if there is none in time, TypeError if it cannot travel.",
            |queue, call| {
                let item = call.required(0)?;
                if call.is_plain(1) {
                    return queue.put(&item, || Wait::forever(call.site()));
                }
                let wait = block_and_timeout(call, 1)?;
                queue.put(&item, || wait.clone())
            },
        )
        .method::<ProcessQueue<C>, _>(
            "get(block=True, timeout=None)",
            "Takes the next item; waits for one. queue.Empty if there is none in time.",
            |queue, call| {
                if call.is_plain(0) {
                    return queue.get(|| Wait::forever(call.site()));
                }
                let wait = block_and_timeout(call, 0)?;
                queue.get(|| wait)
            },
        )
        .method::<ProcessQueue<C>, _>("put_nowait(obj)", "put(obj, False).", |queue, call| {
            let item = call.required(0)?;
            queue.put(&item, || call.wait_for(Some(0.0)))
        })
        .method::<ProcessQueue<C>, _>("get_nowait()", "get(False).", |queue, call| {
            queue.get(|| call.wait_for(Some(0.0)))
        })
        .method::<ProcessQueue<C>, _>("qsize()", "How many items it holds.", |queue, _| {
            Ok((queue.channel.len() as i64).into())
        })
        .method::<ProcessQueue<C>, _>("empty()", "Does it hold no item at the moment?", |queue, _| {
            Ok(queue.channel.is_empty().into())
        })
        .method::<ProcessQueue<C>, _>(
            "full()",
            "Does it hold as many items as it may at the moment?",
            |queue, _| Ok(queue.channel.is_full().into()),
        )
        .method::<ProcessQueue<C>, _>(
            "close()",
            "This process puts and gets no more: from now on that is a ValueError.",
            |queue, _| {
                queue.is_closed.store(true, Ordering::Relaxed);
                Ok(Dynamic::UNIT)
            },
        )
        .method::<ProcessQueue<C>, _>(
            "join_thread()",
            "Does nothing: no thread of this process has anything left to send. AssertionError before close().",
            |queue, _| {
                if !queue.is_closed() {
                    return Err(raise("AssertionError", format!("Queue {} not closed", queue.repr())));
                }
                Ok(Dynamic::UNIT)
            },
        )
        .method::<ProcessQueue<C>, _>(
            "cancel_join_thread()",
            "Does nothing: the end of the process never waits for the queue.",
            |_, _| Ok(Dynamic::UNIT),
        );
}

fn define_joinable(module: &mut NativeModule) {
    module
        .method::<ProcessQueue<Joinable>, _>(
            "task_done()",
            "Reports one item as dealt with. ValueError if that were more than were put.",
            |queue, _| {
                synchronise();
                if queue.channel.task_done() {
                    Ok(Dynamic::UNIT)
                } else {
                    Err(raise("ValueError", "task_done() called too many times"))
                }
            },
        )
        .method::<ProcessQueue<Joinable>, _>(
            "join()",
            "Waits until every item that was put is reported as done.",
            |queue, call| {
                let wait = Wait::forever(call.site());
                queue.channel.join(&wait).map(|_| Dynamic::UNIT).map_err(interrupted)
            },
        );
}

fn define_simple(module: &mut NativeModule) {
    codec::register::<ProcessQueue<Simple>>();
    module
        .handle::<ProcessQueue<Simple>>()
        .method::<ProcessQueue<Simple>, _>(
            "put(obj)",
            "Adds an item. TypeError if it cannot travel.",
            |queue, call| {
                let item = call.required(0)?;
                queue.check_handle()?;
                let wait = || Wait::forever(call.site());
                values::put_or_wait(&queue.channel, &item, wait).map(|_| Dynamic::UNIT)
            },
        )
        .method::<ProcessQueue<Simple>, _>("get()", "Takes the next item; waits for one.", |queue, call| {
            queue.check_handle()?;
            synchronise();
            let item = values::get_or_wait(&queue.channel, || Wait::forever(call.site()))?;
            Ok(item.unwrap_or(Dynamic::UNIT))
        })
        .method::<ProcessQueue<Simple>, _>("empty()", "Does it hold no item at the moment?", |queue, _| {
            queue.check_handle()?;
            Ok(queue.channel.is_empty().into())
        })
        .method::<ProcessQueue<Simple>, _>(
            "close()",
            "This process puts and gets no more: from now on that is an OSError.",
            |queue, _| {
                queue.is_closed.store(true, Ordering::Relaxed);
                Ok(Dynamic::UNIT)
            },
        );
}

/// The constructors as methods of a context, whatever its start method.
fn define_in_contexts(module: &mut NativeModule) {
    module
        .method::<Context, _>("Queue(maxsize=0)", "multiprocessing.Queue.", |_, call| sized::<Plain>(call))
        .method::<Context, _>("JoinableQueue(maxsize=0)", "multiprocessing.JoinableQueue.", |_, call| {
            sized::<Joinable>(call)
        })
        .method::<Context, _>("SimpleQueue()", "multiprocessing.SimpleQueue.", |_, call| {
            construct::<Simple>(call, 0)
        });
}

/// Defines the classes. By their bare names `Queue` and `SimpleQueue` are others, which serve threads first.
pub(super) fn define(module: &mut NativeModule) {
    define_queue::<Plain>(module);
    define_queue::<Joinable>(module);
    define_joinable(module);
    define_simple(module);
    define_in_contexts(module);
    module
        .function(
            "Queue(maxsize=0)",
            "A queue between processes, first in, first out; put() waits while it is full.",
            sized::<Plain>,
        )
        .class(
            "JoinableQueue(maxsize=0)",
            "A queue between processes that counts the items that are dealt with.",
            sized::<Joinable>,
        )
        .function("SimpleQueue()", "A queue between processes without bound and with few methods.", |call| {
            construct::<Simple>(call, 0)
        });
}
