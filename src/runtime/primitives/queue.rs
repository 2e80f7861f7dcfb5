//! A queue between threads, bounded or not, in one of three orders.
//!
//! Its items can be taken away to somewhere else, for good: whoever uses it afterwards, or waits on it at that
//! moment, is told that it has [`Moved`].

use std::collections::VecDeque;

use crate::runtime::sync::Arc;
use crate::runtime::{Interrupt, Label, Monitor, Reason, Resource, Wait, WaitQueue};

/// In which order items leave.
pub trait Discipline<T>: Send {
    /// May the item be added to those that are there?
    fn admits(&self, _item: &T) -> bool {
        true
    }
    /// Adds an item.
    fn push(&mut self, item: T);
    /// Takes the item that is next.
    fn pop(&mut self) -> Option<T>;
    /// Puts back the items that [`Discipline::pop`] gave until there were none, in that order.
    fn restore(&mut self, items: Vec<T>);
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

    fn restore(&mut self, items: Vec<T>) {
        *self = items.into();
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

    fn restore(&mut self, mut items: Vec<T>) {
        items.reverse();
        *self = items;
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

/// `task_done` was called more often than items were put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDone;

/// The queue's items are somewhere else now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

/// What became of an item that was to be put.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<T> {
    /// It is in the queue.
    Done,
    /// There was no room in time.
    Full,
    /// The queue's order has no place for it ([`Discipline::admits`]).
    Refused,
    /// The queue has moved: here it is again.
    Moved(T),
}

struct State<T> {
    items: Box<dyn Discipline<T>>,
    /// How many items there may be: none after the move, so that only who cannot go on asks whether it has moved.
    limit: usize,
    has_moved: bool,
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
            limit: if capacity == 0 { usize::MAX } else { capacity },
            has_moved: false,
            unfinished: 0,
            not_empty: WaitQueue::default(),
            not_full: WaitQueue::default(),
            all_done: WaitQueue::default(),
        };
        Arc::new(Self { label, capacity, state: Monitor::new(state) })
    }

    /// What reports call it.
    pub fn label(&self) -> &Label {
        &self.label
    }

    fn reason(self: &Arc<Self>, what: &'static str) -> Reason {
        Reason::Resource(Arc::new(End { queue: Arc::clone(self), what }))
    }

    /// How many items it holds at most; any number if 0.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What `look` says of the items and of how many are unfinished.
    fn look<R>(&self, look: impl FnOnce(&State<T>) -> R) -> Result<R, Moved> {
        let state = self.state.enter();
        if state.has_moved { Err(Moved) } else { Ok(look(&state)) }
    }

    /// How many items it holds.
    ///
    /// # Errors
    /// [`Moved`].
    pub fn len(&self) -> Result<usize, Moved> {
        self.look(|state| state.items.len())
    }

    /// Does it hold none?
    ///
    /// # Errors
    /// [`Moved`].
    pub fn is_empty(&self) -> Result<bool, Moved> {
        self.look(|state| state.items.is_empty())
    }

    /// Does it hold as many as it may?
    ///
    /// # Errors
    /// [`Moved`].
    pub fn is_full(&self) -> Result<bool, Moved> {
        self.look(|state| state.items.len() >= state.limit)
    }

    /// How many items were put and not yet reported as done.
    ///
    /// # Errors
    /// [`Moved`].
    pub fn unfinished(&self) -> Result<usize, Moved> {
        self.look(|state| state.unfinished)
    }

    /// Adds an item, unless the wait for room is over first or the queue has moved.
    ///
    /// # Errors
    /// [`Interrupt`]; the item is then dropped.
    pub fn put(self: &Arc<Self>, item: T, wait: &Wait) -> Result<Put<T>, Interrupt> {
        let mut item = Some(item);
        let put = self.state.wait_until(
            wait,
            || self.reason("room in"),
            |state| &mut state.not_full,
            |state| {
                if state.items.len() >= state.limit {
                    return state.has_moved.then_some(Err(Moved));
                }
                if !state.items.admits(item.as_ref()?) {
                    return Some(Ok(false));
                }
                state.items.push(item.take()?);
                state.unfinished += 1;
                state.not_empty.wake_one();
                Some(Ok(true))
            },
        )?;
        Ok(match (put, item) {
            (Some(Err(Moved)), Some(item)) => Put::Moved(item),
            (Some(Ok(false)), _) => Put::Refused,
            (Some(_), _) => Put::Done,
            (None, _) => Put::Full,
        })
    }

    /// Takes the next item; nothing when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; nothing is then taken.
    pub fn get(self: &Arc<Self>, wait: &Wait) -> Result<Result<Option<T>, Moved>, Interrupt> {
        let got = self.state.wait_until(
            wait,
            || self.reason("an item in"),
            |state| &mut state.not_empty,
            |state| {
                let Some(item) = state.items.pop() else {
                    return state.has_moved.then_some(Err(Moved));
                };
                state.not_full.wake_one();
                Some(Ok(item))
            },
        )?;
        Ok(got.transpose())
    }

    /// Reports one item as done; the last one wakes who waits in [`Queue::join`].
    ///
    /// # Errors
    /// [`Moved`]; [`TooManyDone`] inside.
    pub fn task_done(&self) -> Result<Result<(), TooManyDone>, Moved> {
        let mut state = self.state.enter();
        if state.has_moved {
            return Err(Moved);
        }
        let Some(unfinished) = state.unfinished.checked_sub(1) else { return Ok(Err(TooManyDone)) };
        state.unfinished = unfinished;
        if unfinished == 0 {
            state.all_done.wake_all();
        }
        Ok(Ok(()))
    }

    /// Waits until every item was reported as done; false when the wait was over first.
    ///
    /// # Errors
    /// [`Interrupt`]; [`Moved`] inside.
    pub fn join(self: &Arc<Self>, wait: &Wait) -> Result<Result<bool, Moved>, Interrupt> {
        let done = self.state.wait_until(
            wait,
            || self.reason("task_done() for every item of"),
            |state| &mut state.all_done,
            |state| match state.has_moved {
                true => Some(Err(Moved)),
                false => (state.unfinished == 0).then_some(Ok(())),
            },
        )?;
        Ok(done.transpose().map(|done| done.is_some()))
    }

    /// Takes all items away, once `take_over` has agreed: it gets them in the order in which they would leave, and
    /// the number of those that are unfinished. Nobody else uses the queue meanwhile, so it must not wait. Who
    /// waits on the queue then learns that it has moved; if `take_over` fails everything stays as it was.
    ///
    /// # Errors
    /// What `take_over` fails with; [`Moved`] inside if the queue has moved before.
    pub fn move_away<R, E>(
        &self,
        take_over: impl FnOnce(&[T], usize) -> Result<R, E>,
    ) -> Result<Result<R, Moved>, E> {
        let mut state = self.state.enter();
        if state.has_moved {
            return Ok(Err(Moved));
        }
        let items: Vec<T> = std::iter::from_fn(|| state.items.pop()).collect();
        match take_over(&items, state.unfinished) {
            Err(error) => {
                state.items.restore(items);
                Err(error)
            }
            Ok(result) => {
                state.has_moved = true;
                state.limit = 0;
                state.not_empty.wake_all();
                state.not_full.wake_all();
                state.all_done.wake_all();
                // An item may be the last handle of something that uses this queue as it ends.
                drop(state);
                drop(items);
                Ok(Ok(result))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sync::{AtomicUsize, Ordering};
    use crate::runtime::{GilMode, OnDeadlock, Runtime, Site, Thread, ThreadState};

    fn forever() -> Wait {
        Wait::forever(Site::default())
    }

    fn full_queue() -> Arc<Queue<u32>> {
        let queue = Queue::new(Label::default(), 3, Box::new(VecDeque::new()));
        (1..=3).for_each(|n| assert_eq!(queue.put(n, &forever()).unwrap(), Put::Done));
        queue
    }

    #[test]
    fn a_refused_move_leaves_everything_as_it_was() {
        let queue = full_queue();
        let refused = queue.move_away(|items, unfinished| {
            assert_eq!((items, unfinished), (&[1, 2, 3][..], 3));
            Err::<(), _>("no")
        });
        assert_eq!(refused, Err("no"));
        assert_eq!((queue.len(), queue.unfinished(), queue.is_full()), (Ok(3), Ok(3), Ok(true)));
        assert_eq!(queue.get(&forever()).unwrap(), Ok(Some(1)));
        assert_eq!(queue.put(4, &forever()).unwrap(), Put::Done);
        let items = queue.move_away(|items, unfinished| Ok::<_, ()>((items.to_vec(), unfinished)));
        assert_eq!(items, Ok(Ok((vec![2, 3, 4], 4))));
        assert_eq!(queue.move_away(|_, _| Ok::<_, ()>(())), Ok(Err(Moved)));
    }

    #[test]
    fn a_moved_queue_says_so() {
        let queue = full_queue();
        queue.move_away(|_, _| Ok::<_, ()>(())).unwrap().unwrap();
        assert_eq!(queue.put(9, &forever()).unwrap(), Put::Moved(9));
        assert_eq!(queue.get(&forever()).unwrap(), Err(Moved));
        assert_eq!(queue.len(), Err(Moved));
        assert_eq!(queue.is_full(), Err(Moved));
        assert_eq!(queue.task_done(), Err(Moved));
        assert_eq!(queue.join(&forever()).unwrap(), Err(Moved));
    }

    /// Threads that wait for room, for an item and for the end of all tasks are all told of the move, in every
    /// mode of the lock.
    #[test]
    fn whoever_waits_learns_of_the_move() {
        for mode in GilMode::ALL {
            let runtime = Runtime::new(mode, OnDeadlock::Exit, || {});
            let told = Arc::new(AtomicUsize::new(0));
            runtime.run_main(|| {
                let full = full_queue();
                let empty = Queue::<u32>::new(Label::default(), 0, Box::new(VecDeque::new()));
                let learns = |way: usize, queue: &Arc<Queue<u32>>| match way {
                    0 => queue.put(9, &forever()).unwrap() == Put::Moved(9),
                    1 => queue.get(&forever()).unwrap() == Err(Moved),
                    _ => queue.join(&forever()).unwrap() == Err(Moved),
                };
                let threads: Vec<_> = (0..9)
                    .map(|i| {
                        let thread = Thread::new(&runtime, "waiter", false);
                        let queue = Arc::clone(if i % 3 == 1 { &empty } else { &full });
                        let told = Arc::clone(&told);
                        let body = move || {
                            told.fetch_add(usize::from(learns(i % 3, &queue)), Ordering::Relaxed);
                        };
                        runtime.start(&thread, body, Site::default()).unwrap().unwrap();
                        thread
                    })
                    .collect();
                let waiting = |thread: &Arc<Thread>| matches!(thread.state(), ThreadState::Blocked { .. });
                while !threads.iter().all(waiting) {
                    crate::runtime::sleep_for(std::time::Duration::from_millis(1), Site::default()).unwrap();
                }
                for queue in [&full, &empty] {
                    queue.move_away(|_, _| Ok::<_, ()>(())).unwrap().unwrap();
                }
                for thread in threads {
                    assert!(runtime.join(&thread, &forever()).unwrap());
                }
            });
            assert_eq!(told.load(Ordering::Relaxed), 9);
            assert_eq!(runtime.take_deadlock(), None);
        }
    }
}
