//! Memory for the command: the system's, with an eye on single blocks of enormous size.
//!
//! An allocation that fails ends a Rust process. A script may double a string until that happens, with operators
//! that are rhai's own; so the thread that got a block beyond the limit is told, and raises MemoryError at its next
//! safepoint, long before there is none left.

use std::alloc::{GlobalAlloc, Layout, System};

use onelock::runtime::note_large_block;

/// The largest block that goes unnoticed: what one operation may allocate.
const LIMIT: usize = 1 << 30;

/// The system's allocator.
struct Noticing;

#[inline]
fn noticed(block: *mut u8, size: usize) -> *mut u8 {
    if size > LIMIT && !block.is_null() {
        note_large_block();
    }
    block
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments, so its guarantees are the
// caller's; noticing a block sets cells of the calling thread, allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Noticing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are the same.
        noticed(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are the same.
        noticed(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's obligations are the same.
        noticed(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Lets blocks of up to 1 MB lie in the heap, so that the fork server can make most of what it has consist of large
/// pages. Called before there is much.
pub fn keep_blocks_in_heap() {
    // The allocator maps blocks apart that are larger than any such block that was given back.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

#[global_allocator]
static ALLOCATOR: Noticing = Noticing;
