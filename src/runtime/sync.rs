//! The one place that synchronisation primitives come from.
//!
//! Everything else in the crate takes its atomics, mutexes and condition variables from here, so that a
//! model checker or a deterministic scheduler can stand in for all of them at once.

pub use std::sync::Arc;
pub use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering,
};

pub use super::condvar::Condvar;
pub use crossbeam_utils::CachePadded;
pub use parking_lot::{Mutex, MutexGuard, ReentrantMutex, RwLock};

/// Frees a mutex that was locked when this process was forked, by a thread that does not exist here.
///
/// # Safety
/// The calling thread is the only one, and has not locked it; what it guards may be half changed.
pub unsafe fn free_after_fork<T>(mutex: &Mutex<T>) {
    if mutex.is_locked() {
        // SAFETY: nobody else can free it, nor has a guard of it.
        unsafe { mutex.force_unlock(parking_lot::lock_api::GuardNoSend::new()) };
    }
}
