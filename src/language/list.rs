//! `list`: Python's, with reference semantics. Every operation is atomic; none runs a callback under its lock.

use std::cmp::Ordering;

use rhai::Dynamic;

use super::disposal::Nested;
use super::exception::{Outcome, raise};
use super::identity::{Handle, Rank};
use super::value;
use super::variables::{synchronise, to_local, to_shared};
use crate::runtime::sync::{Arc, Mutex, MutexGuard};

/// A reference to a list of values. Clones refer to the same list.
#[derive(Clone, Default)]
pub struct List(Arc<Nested<Mutex<Vec<Dynamic>>>>);

impl Handle for List {
    const NAME: &'static str = "list";
    const RANK: Rank = Rank::First;

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn repr(&self) -> String {
        value::repr_sequence(&self.snapshot(), self.identity())
    }
}

impl List {
    /// A list of `items`; arrays and maps among them become lists and dicts.
    pub fn new(items: Vec<Dynamic>) -> Self {
        Self(Arc::new(Nested::new(Mutex::new(items.into_iter().map(to_shared).collect()))))
    }

    /// The items, behind the list's lock, after everything that this thread wrote before.
    fn items(&self) -> MutexGuard<'_, Vec<Dynamic>> {
        synchronise();
        self.0.lock()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items().len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the items.
    pub fn snapshot(&self) -> Vec<Dynamic> {
        let items = self.items().clone();
        items.into_iter().map(to_local).collect()
    }

    /// Replaces all items at once.
    pub fn replace(&self, items: Vec<Dynamic>) {
        let items: Vec<Dynamic> = items.into_iter().map(to_shared).collect();
        let old = std::mem::replace(&mut *self.items(), items);
        drop(old);
    }

    /// Runs `change` on the items, as one atomic operation. It must not call back into a script.
    pub fn change<R>(&self, change: impl FnOnce(&mut Vec<Dynamic>) -> R) -> R {
        change(&mut self.items())
    }

    /// The item at `index`, counted from the end if negative.
    ///
    /// # Errors
    /// IndexError.
    pub fn get(&self, index: i64) -> Outcome<Dynamic> {
        let items = self.items();
        let at =
            position(index, items.len()).ok_or_else(|| out_of_range("list index", index, items.len()))?;
        let item = items[at].clone();
        drop(items);
        Ok(to_local(item))
    }

    /// Replaces the item at `index`.
    ///
    /// # Errors
    /// IndexError.
    pub fn set(&self, index: i64, item: Dynamic) -> Outcome<()> {
        let item = to_shared(item);
        let mut items = self.items();
        let length = items.len();
        let at =
            position(index, length).ok_or_else(|| out_of_range("list assignment index", index, length))?;
        let old = std::mem::replace(&mut items[at], item);
        drop(items);
        drop(old);
        Ok(())
    }

    /// Adds an item at the end.
    pub fn append(&self, item: Dynamic) {
        let item = to_shared(item);
        self.items().push(item);
    }

    /// Adds several items at the end.
    pub fn extend(&self, items: Vec<Dynamic>) {
        let items: Vec<Dynamic> = items.into_iter().map(to_shared).collect();
        self.items().extend(items);
    }

    /// Inserts an item before `index`; an index beyond the ends means the end.
    pub fn insert(&self, index: i64, item: Dynamic) {
        let item = to_shared(item);
        let mut items = self.items();
        let length = items.len() as i64;
        let at = if index < 0 { (index + length).max(0) } else { index.min(length) };
        items.insert(at as usize, item);
    }

    /// Takes out the item at `index`, the last one if `None`.
    ///
    /// # Errors
    /// IndexError.
    pub fn pop(&self, index: Option<i64>) -> Outcome<Dynamic> {
        let mut items = self.items();
        if items.is_empty() {
            return Err(raise("IndexError", "pop from empty list"));
        }
        let index = index.unwrap_or(-1);
        let at = position(index, items.len()).ok_or_else(|| out_of_range("pop index", index, items.len()))?;
        let item = items.remove(at);
        drop(items);
        Ok(to_local(item))
    }

    /// Takes out the first item that equals `item`.
    ///
    /// # Errors
    /// ValueError; RecursionError when it cannot be compared.
    pub fn remove(&self, item: &Dynamic) -> Outcome<()> {
        loop {
            // Compared outside the lock: equality of a list that contains this one comes back here.
            let items = self.items().clone();
            let at = value::position_of(&items, item)?
                .ok_or_else(|| raise("ValueError", "list.remove(x): x not in list"))?;
            // Somebody may have changed the list meanwhile: take out the very item, or search again.
            let mut now = self.items();
            if now.get(at).is_some_and(|found| value::is_same_item(found, &items[at])) {
                let old = now.remove(at);
                drop(now);
                drop(old);
                return Ok(());
            }
        }
    }

    /// The index of the first item that equals `item`.
    ///
    /// # Errors
    /// RecursionError when one cannot be compared.
    pub fn find(&self, item: &Dynamic) -> Outcome<Option<usize>> {
        // Compared outside the lock: equality of a list that contains this one comes back here.
        value::position_of(&self.snapshot(), item)
    }

    /// Sorts the items as Python does, stably.
    ///
    /// # Errors
    /// TypeError when two of them cannot be compared; the list is then as it was.
    pub fn sort(&self, reverse: bool) -> Outcome<()> {
        let mut items = self.snapshot();
        sort_values(&mut items, reverse)?;
        self.replace(items);
        Ok(())
    }
}

/// Sorts values as Python does.
///
/// # Errors
/// TypeError when two of them cannot be compared.
pub fn sort_values(items: &mut [Dynamic], reverse: bool) -> Outcome<()> {
    let mut failure = None;
    items.sort_by(|a, b| {
        if failure.is_some() {
            return Ordering::Equal;
        }
        match value::compare(a, b) {
            Ok(order) => {
                if reverse {
                    order.reverse()
                } else {
                    order
                }
            }
            Err(error) => {
                failure = Some(error);
                Ordering::Equal
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

/// The position that a Python index means.
pub fn position(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn out_of_range(what: &str, index: i64, length: usize) -> Box<rhai::EvalAltResult> {
    raise("IndexError", format!("{what} out of range: index {index} of {length} items"))
}
