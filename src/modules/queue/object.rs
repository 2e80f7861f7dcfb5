//! The object behind a queue's handles: between the threads of one process until it is handed to another one,
//! and in shared memory from then on.
//!
//! That step is the *promotion*. It happens when the handle is written into a message for another process: with
//! the queue locked, its items are encoded and put into a channel, together with the number of those that are not
//! done; then whoever waits on the queue is told, and goes on waiting on the channel until the same deadline. If
//! some item cannot travel, the message fails and the queue is as it was.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{OnceLock, Weak};

use rhai::Dynamic;

use super::priorities::{Priorities, take_refusal};
use crate::ipc::codec::{Decoder, Encoded, Encoder, Purpose, Travel};
use crate::ipc::{Channel, SendError, values};
use crate::language::disposal::Nested;
use crate::language::exception::{Outcome, interrupted, raise};
use crate::language::identity::{Handle, Rank};
use crate::language::value;
use crate::language::variables::{synchronise, to_local, to_shared};
use crate::runtime::primitives::{Discipline, Moved, Put, Queue};
use crate::runtime::sync::{Arc, Mutex, ReentrantMutex};
use crate::runtime::{Label, Site, Wait};

/// The classes of queues between threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// First in, first out.
    Queue,
    /// Last in, first out.
    Lifo,
    /// The smallest first.
    Priority,
    /// First in, first out, with fewer methods.
    Simple,
}

impl Class {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queue => "Queue",
            Self::Lifo => "LifoQueue",
            Self::Priority => "PriorityQueue",
            Self::Simple => "SimpleQueue",
        }
    }

    fn discipline(self) -> Box<dyn Discipline<Dynamic>> {
        match self {
            Self::Queue | Self::Simple => Box::new(VecDeque::new()),
            Self::Lifo => Box::new(Vec::new()),
            Self::Priority => Box::new(Priorities::default()),
        }
    }
}

struct Object {
    local: Arc<Queue<Dynamic>>,
    /// Set by the promotion, before the local queue says that it has moved.
    shared: OnceLock<Channel>,
    class: Class,
    /// It was made by its bare name: `Queue()`, and not `queue::Queue()`.
    serves_processes: bool,
}

/// A script's reference to a queue.
#[derive(Clone)]
pub struct QueueHandle(Nested<Arc<Object>>);

impl Handle for QueueHandle {
    const NAME: &'static str = "Queue";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        format!("<queue.{} object at {:#x}>", self.0.class.name(), self.identity())
    }
}

/// One promotion at a time: queues may contain each other.
static PROMOTING: ReentrantMutex<()> = ReentrantMutex::new(());

/// The promoted queues of this process by the place of their channel, so that one that comes back is the same.
static PROMOTED: Mutex<Option<HashMap<u64, Weak<Object>>>> = Mutex::new(None);

thread_local! {
    /// The queues that this thread is promoting: one of their items may be the queue itself.
    static UNDER_WAY: RefCell<Vec<(usize, Channel)>> = const { RefCell::new(Vec::new()) };
}

impl QueueHandle {
    pub(super) fn new(class: Class, label: Label, capacity: usize, serves_processes: bool) -> Self {
        let local = Queue::new(label, capacity, class.discipline());
        Self::of(Object { local, shared: OnceLock::new(), class, serves_processes })
    }

    fn of(object: Object) -> Self {
        Self(Nested::new(Arc::new(object)))
    }

    /// The handle of a queue that another process has sent.
    fn adopt(class: Class, capacity: usize, channel: Channel) -> Self {
        let mut promoted = PROMOTED.lock();
        let promoted = promoted.get_or_insert_default();
        if let Some(known) = promoted.get(&channel.place()).and_then(Weak::upgrade) {
            return Self(Nested::new(known));
        }
        let label = Label { class: class.name(), name: None, made: Site::default() };
        let channel = channel.named(label.clone());
        let handle = Self::new(class, label, capacity, true);
        // There is nothing to move, so it cannot fail.
        let _ = handle.0.local.move_away(|_, _| Ok::<_, ()>(()));
        promoted.retain(|_, known| known.strong_count() > 0);
        promoted.insert(channel.place(), Arc::downgrade(&handle.0));
        let _ = handle.0.shared.set(channel);
        handle
    }

    pub(super) fn class(&self) -> Class {
        self.0.class
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.local.capacity()
    }

    fn channel(&self) -> &Channel {
        self.0.shared.get().expect("set before the queue says that it has moved")
    }

    /// Asks the queue between threads, and the channel if the items are there.
    fn ask<R>(
        &self,
        local: impl FnOnce(&Queue<Dynamic>) -> Result<R, Moved>,
        shared: impl FnOnce(&Channel) -> R,
    ) -> R {
        match self.0.shared.get() {
            None => local(&self.0.local).unwrap_or_else(|Moved| shared(self.channel())),
            Some(channel) => shared(channel),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ask(Queue::len, Channel::len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ask(Queue::is_empty, Channel::is_empty)
    }

    pub(super) fn is_full(&self) -> bool {
        self.ask(Queue::is_full, |channel| self.capacity() > 0 && channel.is_full())
    }

    pub(super) fn unfinished(&self) -> usize {
        self.ask(Queue::unfinished, |channel| channel.unfinished() as usize)
    }

    /// Adds an item; false when the wait for room was over first.
    pub(super) fn put(&self, item: Dynamic, wait: &Wait) -> Outcome<bool> {
        synchronise();
        if let Some(channel) = self.0.shared.get() {
            return values::put(channel, &item, wait);
        }
        if self.0.class == Class::Priority {
            // An item that cannot be compared would otherwise be found out by whoever comes next.
            value::compare(&item, &item)?;
        }
        // A plain array or map is a value and travels as one; what a closure captured becomes shared.
        let item = if item.is_fnptr() { to_shared(item) } else { item };
        match self.0.local.put(item, wait).map_err(interrupted)? {
            Put::Done => Ok(true),
            Put::Full => Ok(false),
            Put::Refused => {
                Err(take_refusal().unwrap_or_else(|| raise("TypeError", "items that cannot be compared")))
            }
            Put::Moved(item) => values::put(self.channel(), &item, wait),
        }
    }

    /// Takes the next item; nothing when the wait was over first.
    pub(super) fn get(&self, wait: &Wait) -> Outcome<Option<Dynamic>> {
        synchronise();
        if let Some(channel) = self.0.shared.get() {
            return values::get(channel, wait);
        }
        match self.0.local.get(wait).map_err(interrupted)? {
            Ok(item) => Ok(item.map(to_local)),
            Err(Moved) => values::get(self.channel(), wait),
        }
    }

    /// Reports one item as done; false if that was one too many.
    pub(super) fn task_done(&self) -> bool {
        synchronise();
        self.ask(|queue| Ok(queue.task_done()?.is_ok()), Channel::task_done)
    }

    /// Waits until every item was reported as done.
    pub(super) fn join(&self, wait: &Wait) -> Outcome<()> {
        if self.0.shared.get().is_none() && self.0.local.join(wait).map_err(interrupted)?.is_ok() {
            return Ok(());
        }
        self.channel().join(wait).map(drop).map_err(interrupted)
    }

    /// Moves the items into shared memory, if they are not there yet.
    fn promote(&self) -> Outcome<Channel> {
        if let Some(channel) = self.0.shared.get() {
            return Ok(channel.clone());
        }
        let _alone = PROMOTING.lock();
        let under_way =
            |(queue, channel): &(usize, Channel)| (*queue == self.identity()).then(|| channel.clone());
        if let Some(channel) = UNDER_WAY.with_borrow(|all| all.iter().find_map(under_way)) {
            return Ok(channel);
        }
        let no_memory = |error| values::not_sent(SendError::Memory(error));
        let channel = Channel::new(self.capacity() as u64).map_err(no_memory)?;
        let channel = channel.named(self.0.local.label().clone());
        UNDER_WAY.with_borrow_mut(|all| all.push((self.identity(), channel.clone())));
        let moved = self.0.local.move_away(|items, unfinished| self.fill(&channel, items, unfinished));
        UNDER_WAY.with_borrow_mut(Vec::pop);
        match moved? {
            Ok(()) => {
                let mut promoted = PROMOTED.lock();
                promoted.get_or_insert_default().insert(channel.place(), Arc::downgrade(&self.0));
                Ok(channel)
            }
            Err(Moved) => Ok(self.channel().clone()),
        }
    }

    fn fill(&self, channel: &Channel, items: &[Dynamic], unfinished: usize) -> Outcome<()> {
        let encode = |(index, item)| {
            let mut encoder = Encoder::new(Purpose::Message);
            encoder.named(|| format!("item {index} of the queue"), item)?;
            Ok(encoder.finish())
        };
        let messages: Vec<Encoded> = items.iter().enumerate().map(encode).collect::<Outcome<_>>()?;
        let at_once = Wait { deadline: None, try_only: true, site: Site::default() };
        for message in &messages {
            channel.send(&message.bytes, &at_once).map_err(values::not_sent)?;
        }
        messages.into_iter().for_each(|message| drop(message.sent()));
        channel.set_unfinished(unfinished as u32);
        let _ = self.0.shared.set(channel.clone());
        Ok(())
    }
}

impl Travel for QueueHandle {
    const TAG: &'static str = "queue.Queue";

    fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        let name = self.0.class.name();
        let can_move = matches!(self.0.class, Class::Queue | Class::Simple);
        if !(self.0.serves_processes && can_move && out.purpose().shares_memory()) {
            let text = format!(
                "cannot pickle 'queue.{name}' object: it serves the threads of one process; use Queue(), \
                 multiprocessing::Queue() or Manager().Queue() between processes"
            );
            return Err(raise("TypeError", text));
        }
        let channel = self.promote()?;
        out.u64(u64::from(self.0.class == Class::Simple));
        out.u64(self.capacity() as u64);
        out.shared(channel.shared())
    }

    fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let class = if input.u64()? == 0 { Class::Queue } else { Class::Simple };
        let capacity = input.u64()? as usize;
        Ok(Self::adopt(class, capacity, Channel::from(input.shared()?)))
    }
}
