//! The order of a PriorityQueue.

use std::cell::RefCell;
use std::collections::BinaryHeap;

use rhai::{Dynamic, EvalAltResult};

use crate::language::value;
use crate::runtime::primitives::Discipline;

thread_local! {
    /// Why the item that this thread wanted to add was not admitted.
    static REFUSAL: RefCell<Option<Box<EvalAltResult>>> = const { RefCell::new(None) };
}

/// Why the item that this thread just wanted to add was not admitted.
pub(super) fn take_refusal() -> Option<Box<EvalAltResult>> {
    REFUSAL.take()
}

/// Items that leave in the order of Python's tuples, the smallest first; equal ones in the order they came.
#[derive(Default)]
pub(super) struct Priorities {
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
    /// An item that cannot be compared with the smallest one would have no place.
    fn admits(&self, item: &Dynamic) -> bool {
        let Some(smallest) = self.heap.peek() else { return true };
        match value::compare(item, &smallest.item) {
            Ok(_) => true,
            Err(error) => {
                REFUSAL.set(Some(error));
                false
            }
        }
    }

    fn push(&mut self, item: Dynamic) {
        self.arrivals += 1;
        self.heap.push(Ranked { item, arrival: self.arrivals });
    }

    fn pop(&mut self) -> Option<Dynamic> {
        self.heap.pop().map(|ranked| ranked.item)
    }

    fn restore(&mut self, items: Vec<Dynamic>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}
