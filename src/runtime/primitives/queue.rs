//! A queue between threads, bounded or not, in one of three orders.

use std::collections::VecDeque;

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

/// In which order items leave.
pub trait Discipline<T>: Send {
    /// Adds an item.
    fn push(&mut self, item: T);
    /// Takes the item that is next.
    fn pop(&mut self) -> Option<T>;
    /// How many there are.
    fn len(&self) -> usize;
    /// Are there none?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send> Discipline<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

impl<T: Send> Discipline<T> for Vec<T> {
    fn push(&mut self, item: T) {
        Self::push(self, item);
    }

    fn pop(&mut self) -> Option<T> {
        Self::pop(self)
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

/// `task_done` was called more often than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

struct State<T> {
    items: Box<dyn Discipline<T>>,
    unfinished: usize,
    not_empty: WaitQueue,
    not_full: WaitQueue,
    all_done: WaitQueue,
}

/// A queue.
pub struct Queue<T> {
    label: Label,
    /// How many items it holds at most; any number if 0.
    capacity: usize,
    state: Monitor<State<T>>,
}

/// What a thread waits for that waits on a queue: the report says which end.
struct End<T> {
    queue: Arc<Queue<T>>,
    what: &'static str,
}

impl<T: Send> Resource for End<T> {
    fn describe(&self) -> String {
        format!("{} {}", self.what, self.queue.label)
    }
}

impl<T: Send + 'static> Queue<T> {
    /// An empty queue that holds at most `capacity` items, any number if 0.
    pub fn new(label: Label, capacity: usize, items: Box<dyn Discipline<T>>) -> Arc<Self> {
        let state = State {
            items,
            unfinished: 0,
            not_empty: WaitQueue::default(),
            not_full: WaitQueue::default(),
            all_done: WaitQueue::default(),
        };
        Arc::new(Self { label, capacity, state: Monitor::new(state) })
    }

    fn reason(self: &Arc<Self>, what: &'static str) -> Reason {
        Reason::Resource(Arc::new(End { queue: Arc::clone(self), what }))
    }

    /// How many items it holds at most; any number if 0.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many items it holds.
    pub fn len(&self) -> usize {
        self.state.enter().items.len()
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does it hold as many as it may?
    pub fn is_full(&self) -> bool {
        self.capacity > 0 && self.len() >= self.capacity
    }

    /// How many items were put and not yet reported as done.
    pub fn unfinished(&self) -> usize {
        self.state.enter().unfinished
    }

    /// Adds an item; false when the wait for room was over first, and then the item is dropped.
    ///
    /// # Errors
    /// [`Interrupt`]; the item is then dropped.
    pub fn put(self: &Arc<Self>, item: T, wait: &Wait) -> Result<bool, Interrupt> {
        let mut item = Some(item);
        let put = self.state.wait_until(
            wait,
            || self.reason("room in"),
            |state| &mut state.not_full,
            |state| {
                if self.capacity > 0 && state.items.len() >= self.capacity {
                    return None;
                }
                state.items.push(item.take()?);
                state.unfinished += 1;
                state.not_empty.wake_one();
                Some(())
            },
        )?;
        Ok(put.is_some())
    }

    /// Takes the next item; nothing when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn get(self: &Arc<Self>, wait: &Wait) -> Result<Option<T>, Interrupt> {
        self.state.wait_until(
            wait,
            || self.reason("an item in"),
            |state| &mut state.not_empty,
            |state| {
                let item = state.items.pop()?;
                state.not_full.wake_one();
                Some(item)
            },
        )
    }

    /// Reports one item as done; the last one wakes who waits in [`Queue::join`].
    ///
    /// # Errors
    /// [`TooManyDone`].
    pub fn task_done(&self) -> Result<(), TooManyDone> {
        let mut state = self.state.enter();
        state.unfinished = state.unfinished.checked_sub(1).ok_or(TooManyDone)?;
        if state.unfinished == 0 {
            state.all_done.wake_all();
        }
        Ok(())
    }

    /// Waits until every item was reported as done.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub fn join(self: &Arc<Self>, wait: &Wait) -> Result<bool, Interrupt> {
        let done = self.state.wait_until(
            wait,
            || self.reason("task_done() for every item of"),
            |state| &mut state.all_done,
            |state| (state.unfinished == 0).then_some(()),
        )?;
        Ok(done.is_some())
    }
}
