//! Rhai's shared cells, reached without its locking functions.
//!
//! A captured variable lives in an `Arc<RwLock<Dynamic>>`. Rhai's own accessors sleep 10 ms, five times, when
//! the cell is taken, even if it is the calling thread that holds it; they also keep the `Arc` to themselves.
//! This module finds the `Arc` inside a shared [`Dynamic`], so that a cell can be tried without a nap, be told
//! from others, and be known to be the last reference.

use std::sync::{OnceLock, RwLock};

use rhai::Dynamic;

use crate::runtime::sync::Arc;

/// A shared cell.
pub type Cell = Arc<RwLock<Dynamic>>;

/// A new shared cell and the value that refers to it.
pub fn new_cell(value: Dynamic) -> (Cell, Dynamic) {
    let cell = Arc::new(RwLock::new(value));
    (Arc::clone(&cell), Dynamic::from(cell))
}

/// Where a shared `Dynamic` keeps its `Arc`, and how far the `Arc`'s own pointer is from its data.
#[derive(Clone, Copy)]
struct Layout {
    offset: usize,
    to_data: usize,
}

/// The pointer-sized words of a `Dynamic`.
const WORDS: usize = size_of::<Dynamic>() / size_of::<usize>();

fn word(value: &Dynamic, index: usize) -> usize {
    assert!(index < WORDS);
    let words = std::ptr::from_ref(value).cast::<std::mem::MaybeUninit<usize>>();
    // SAFETY: `index` is inside the value, which is at least pointer-aligned; reading as `MaybeUninit` asks
    // nothing of the bits.
    let word = unsafe { *words.add(index) };
    // SAFETY: only called for shared values. The caller looks for, or has found, the word that holds the `Arc`;
    // the other words of a shared value are its tag and access mode, whose padding is why a probe is made on
    // several values that were zeroed before they were written.
    unsafe { word.assume_init() }
}

/// Finds the layout by looking for known `Arc`s in values that were made from them.
fn layout() -> Option<Layout> {
    static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
    *LAYOUT.get_or_init(|| {
        let probes: Vec<(Cell, Dynamic)> = (0..4).map(|i| new_cell(i.into())).collect();
        // An `Arc` points to its counters; the data follow them at the same distance for one type.
        (0..WORDS).find_map(|index| {
            let distance = |(cell, value): &(Cell, Dynamic)| {
                (Arc::as_ptr(cell) as usize).checked_sub(word(value, index)).filter(|d| *d <= 64)
            };
            let to_data = distance(probes.first()?)?;
            let all = probes.iter().all(|probe| distance(probe) == Some(to_data));
            all.then_some(Layout { offset: index, to_data })
        })
    })
}

/// The cell behind a shared value; nothing for any other value.
pub fn cell_of(value: &Dynamic) -> Option<Cell> {
    if !value.is_shared() {
        return None;
    }
    let layout = layout()?;
    let data = (word(value, layout.offset) + layout.to_data) as *const RwLock<Dynamic>;
    // SAFETY: `value` is shared, so the word at the probed offset is the pointer of its `Arc`, which `value`
    // keeps alive; `data` is what `Arc::as_ptr` of it would be.
    unsafe {
        Arc::increment_strong_count(data);
        Some(Arc::from_raw(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cell_of_a_shared_value() {
        for value in [Dynamic::from(1_i64), Dynamic::from("text"), Dynamic::UNIT, Dynamic::from(vec![1_u8])] {
            let shared = value.into_shared();
            let copy = shared.clone();
            let cell = cell_of(&shared).expect("a shared value has a cell");
            assert_eq!(Arc::strong_count(&cell), 3);
            *cell.write().unwrap() = Dynamic::from(42_i64);
            assert_eq!(copy.as_int(), Ok(42));
            assert!(Arc::ptr_eq(&cell, &cell_of(&copy).unwrap()));
            drop((shared, copy));
            assert_eq!(Arc::strong_count(&cell), 1);
        }
    }

    #[test]
    fn a_plain_value_has_none() {
        assert!(cell_of(&Dynamic::from(1_i64)).is_none());
    }

    #[test]
    fn a_locked_cell_is_found_without_waiting() {
        let (cell, value) = new_cell(7.into());
        let _guard = cell.write().unwrap();
        assert!(Arc::ptr_eq(&cell, &cell_of(&value).unwrap()));
    }
}
