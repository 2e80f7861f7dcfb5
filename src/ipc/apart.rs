//! Memory for what is built once and then only read.
//!
//! A forked child pays for every page that it writes to, and where that is a part of a large page, for the falling
//! apart of the whole. The parts of an interpreter are large and hardly ever written to; the objects of scripts and
//! threads are small and counted all the time. So they must not lie between each other. glibc's allocator has an
//! arena for each thread: what a thread has built that did nothing else is all that is in its arena.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

use super::compact::{LARGE, collapse};
use crate::runtime::sync::{AtomicUsize, Ordering};

/// An address in the memory of the last [`apart`], 0 before.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// Calls `build` on a thread of its own, and returns its result: what it allocates lies apart from everything else, and
/// in large pages, where the system has them to give. Where there is no room for a thread, or the allocator knows
/// nothing of threads, it lies where it would have lain.
pub fn apart<R: Send>(build: impl FnOnce() -> R + Send) -> R {
    let mut build = Some(build);
    let built = scope(|scope| {
        let body = || {
            prepare();
            build.take().map(|build| build())
        };
        let thread =
            Builder::new().name("builder".into()).stack_size(STACK).spawn_scoped(scope, body).ok()?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    built.or_else(|| build.map(|build| build())).expect("the thread was not made, or has built it")
}

/// More than glibc keeps of dead threads' stacks (40 MB): this one is not to be copied by every fork.
const STACK: usize = 64 << 20;

/// What an interpreter with all modules needs, more or less.
const EXPECTED: usize = 4 * LARGE;

/// Makes the calling thread's arena so large that what is expected lies in large pages from the first byte on.
fn prepare() {
    // Larger ones would not lie in the arena.
    const BLOCK: usize = 120 << 10;
    // SAFETY: asks the allocator for blocks. All but the last one are given back, and are one free block again; the
    // last one keeps them from being given to the system.
    unsafe {
        let blocks: [_; EXPECTED / BLOCK + 2] = std::array::from_fn(|_| black_box(libc::malloc(BLOCK)));
        let (first, last) = (blocks[0] as usize, blocks[blocks.len() - 1] as usize);
        let from = first - first % LARGE;
        // In one piece, as in an arena that nobody else has used.
        if first != 0 && last > first && last - first < EXPECTED + LARGE && last - from >= EXPECTED {
            PLACE.store(first, Ordering::Relaxed);
            collapse(from, EXPECTED);
        }
        blocks[..blocks.len() - 1].iter().for_each(|block| libc::free(*block));
    }
}

/// An address in the memory of the last [`apart`], if there was one.
pub(super) fn place() -> Option<usize> {
    Some(PLACE.load(Ordering::Relaxed)).filter(|place| *place != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::own_process;
    use std::ptr::from_ref;

    #[test]
    fn what_is_built_is_returned_and_lies_elsewhere() {
        // Elsewhere the builder may get an arena that another test's thread has left.
        if !own_process::is_own() {
            return;
        }
        let here = Box::new(1);
        let built: Vec<Box<u64>> = apart(|| (0..1000).map(Box::new).collect());
        assert!(built.iter().enumerate().all(|(index, number)| **number == index as u64));
        if cfg!(target_env = "gnu") {
            // Arenas begin at multiples of 64 MB.
            let arena = |address: usize| address >> 26;
            // The first one may lie in something small that the calling thread has handed over.
            let there = from_ref(&*built[999]) as usize;
            assert_ne!(arena(from_ref(&*here) as usize), arena(there));
            assert_eq!(place().map(arena), Some(arena(there)));
        }
    }

    #[test]
    #[should_panic(expected = "no such luck")]
    fn a_panic_is_the_callers() {
        apart(|| panic!("no such luck"));
    }
}
