//! Creating OS threads for script threads.
//!
//! std's threads come with what these do not need: a name and a record on the heap, a place to handle signals on
//! when the stack is used up, which the safepoints prevent, and the stack's bounds, for which the kernel is asked
//! and memory taken that the thread's allocator keeps. That is a fifth of what a sleeping thread has on the heap,
//! and ten of the thirty system calls until it sleeps.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::stack;

/// The smallest stack that the system can be asked for: what it keeps of a thread there takes part of it.
const SMALLEST_STACK: usize = 32 << 10;

struct Start<F> {
    body: F,
    stack_size: usize,
}

/// Runs `body` on a new OS thread that nobody joins, with a stack of `stack_size` bytes or a little more.
///
/// # Errors
/// The system's, when it has no room for another thread.
pub(super) fn spawn<F: FnOnce() + Send + 'static>(body: F, stack_size: usize) -> io::Result<()> {
    let stack_size = stack_size.max(SMALLEST_STACK);
    let start = Box::into_raw(Box::new(Start { body, stack_size }));
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are initialised before they are used, and destroyed once. The new thread gets a box
    // of the type that `begin` expects, and owns it.
    let error = unsafe {
        let attributes = attributes.as_mut_ptr();
        match libc::pthread_attr_init(attributes) {
            0 => {
                let mut error = libc::pthread_attr_setstacksize(attributes, stack_size);
                if error == 0 {
                    libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
                    error = libc::pthread_create(thread.as_mut_ptr(), attributes, begin::<F>, start.cast());
                }
                libc::pthread_attr_destroy(attributes);
                error
            }
            error => error,
        }
    };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: made above, and no thread has got it.
    drop(unsafe { Box::from_raw(start) });
    Err(io::Error::from_raw_os_error(error))
}

extern "C" fn begin<F: FnOnce()>(start: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `spawn` has made for this thread.
    let start = unsafe { Box::from_raw(start.cast::<Start<F>>()) };
    let Start { body, stack_size } = *start;
    stack::begins_here(stack_size);
    // For ps(1) and debuggers; it fails for no name as short as this one.
    let _ = rustix::thread::set_name(c"script");
    // A panic has been reported by now, and must not leave Rust.
    let _ = catch_unwind(AssertUnwindSafe(body));
    std::ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_has_the_stack_that_was_asked_for() {
        for size in [32 << 10, 256 << 10, 1 << 20, 64 << 20] {
            let (sender, receiver) = channel();
            let body = move || sender.send((stack::pointer(), stack::limit(), stack::find_limit())).unwrap();
            spawn(body, size).unwrap();
            let (at, limit, real) = receiver.recv().unwrap();
            // The system may give it one that another thread has left, which may be larger.
            assert!(limit >= real - (4 << 10), "{size}: {limit:#x} {real:#x}");
            assert!(at - limit >= size / 2, "{size}: {at:#x} {limit:#x}");
        }
    }

    #[test]
    fn a_panic_ends_the_thread_and_what_it_owns_is_dropped() {
        let (sender, receiver) = channel::<()>();
        let body = move || {
            let _sender = sender;
            panic!("on purpose");
        };
        spawn(body, 1 << 20).unwrap();
        assert!(receiver.recv().is_err());
    }

    #[test]
    fn a_stack_beyond_all_memory_is_an_error_and_the_body_is_dropped() {
        let (sender, receiver) = channel::<()>();
        assert!(spawn(move || sender.send(()).unwrap(), 1 << 60).is_err());
        assert!(receiver.recv().is_err());
    }
}
