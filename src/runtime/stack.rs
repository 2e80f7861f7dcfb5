//! How much stack the calling thread has left.
//!
//! The evaluator counts calls, but how much stack a call needs depends on what is in it. A script that recurses
//! must get an exception before the stack is used up, whatever its size, so the safepoint looks at the stack
//! pointer.

use std::cell::Cell;
use std::mem::MaybeUninit;

/// What must be left for the deepest native function that a safepoint may be followed by.
const RESERVE: usize = 256 << 10;

/// An address on the calling thread's stack, near its top.
#[inline]
pub(super) fn pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here) as usize
}

/// The part of a stack above the first function: what the system keeps of the thread, with the thread locals, and
/// the guard page at the other end.
const TAKEN: usize = 16 << 10;
/// From this size on it does not matter how large that is exactly.
const LARGE: usize = 256 << 10;

thread_local! {
    static LIMIT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The lowest address that the calling thread's stack may come down to; 0 if that is not known.
pub(super) fn limit() -> usize {
    LIMIT.get().unwrap_or_else(|| {
        let limit = find_limit();
        LIMIT.set(Some(limit));
        limit
    })
}

/// The calling thread's stack of `size` bytes begins here. So the system need not be asked for its bounds, which
/// takes it some memory and several calls.
pub(super) fn begins_here(size: usize) {
    if size >= LARGE {
        LIMIT.set(Some(pointer() - (size - TAKEN) + RESERVE.min(size / 4)));
    }
}

pub(super) fn find_limit() -> usize {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: pthread_getattr_np fills the attributes of the calling thread, or fails, and then they are not
    // used; they are destroyed once. See pthread_getattr_np(3).
    let known = unsafe {
        libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 && {
            let known = libc::pthread_attr_getstack(attributes.as_ptr(), &mut lowest, &mut size) == 0;
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            known
        }
    };
    if !known {
        return 0;
    }
    lowest as usize + RESERVE.min(size / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_above_the_limit() {
        for size in [256 << 10, 1 << 20, 8 << 20] {
            let thread = std::thread::Builder::new().stack_size(size);
            let (at, limit) = thread.spawn(|| (pointer(), limit())).unwrap().join().unwrap();
            assert!(at > limit && limit > 0, "{at:#x} {limit:#x} {size}");
        }
    }
}
