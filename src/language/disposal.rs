//! Dropping values that contain each other, however deeply, with a bounded part of the stack.
//!
//! A list of a list of a list … is dropped from the outside in, each inside the drop of the one before. A hundred
//! thousand of them would need more stack than there is. As in CPython's "trashcan", beyond a certain depth what
//! is to be dropped is put aside, and the outermost drop takes care of it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::Deref;

/// How deeply drops may nest.
const MOST_NESTED: usize = 50;

thread_local! {
    /// How many drops of this thread are going on, each inside the one before.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What was put aside.
    static ASIDE: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static ANY_ASIDE: Cell<bool> = const { Cell::new(false) };
}

/// What an object holds that may hold others of its kind.
pub struct Nested<T: 'static>(Option<T>);

impl<T> Nested<T> {
    /// Holds `content`.
    pub const fn new(content: T) -> Self {
        Self(Some(content))
    }
}

impl<T: Default> Default for Nested<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Clone> Clone for Nested<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Nested<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("only dropping empties it")
    }
}

impl<T> Drop for Nested<T> {
    fn drop(&mut self) {
        let Some(content) = self.0.take() else { return };
        // The cells have no destructors, so they can be reached even while the thread's other locals end.
        let depth = DEPTH.get();
        if depth >= MOST_NESTED {
            put_aside(content);
            return;
        }
        DEPTH.set(depth + 1);
        drop(content);
        if depth == 0 {
            drop_what_was_put_aside();
        }
        DEPTH.set(depth);
    }
}

#[cold]
fn put_aside<T: 'static>(content: T) {
    let content: Box<dyn Any> = Box::new(content);
    // At the very end of a thread there is no list any more, and the content is dropped here.
    if ASIDE.try_with(|aside| aside.borrow_mut().push(content)).is_ok() {
        ANY_ASIDE.set(true);
    }
}

fn drop_what_was_put_aside() {
    while ANY_ASIDE.get() {
        let next = ASIDE.try_with(|aside| aside.borrow_mut().pop()).ok().flatten();
        // Dropping it may put more aside.
        if next.is_none() {
            ANY_ASIDE.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sync::Arc;

    struct Link {
        next: Option<Arc<Nested<Link>>>,
        dropped: Arc<std::sync::atomic::AtomicUsize>,
    }

    impl Drop for Link {
        fn drop(&mut self) {
            self.dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.next.take();
        }
    }

    #[test]
    fn a_long_chain_is_dropped_whole_on_a_small_stack() {
        let dropped = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        let body = move || {
            let mut chain = None;
            for _ in 0..100_000 {
                chain = Some(Arc::new(Nested::new(Link { next: chain, dropped: Arc::clone(&counter) })));
            }
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(body).unwrap().join().unwrap();
        assert_eq!(dropped.load(std::sync::atomic::Ordering::Relaxed), 100_000);
    }
}
