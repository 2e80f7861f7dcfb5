//! A lock for the length of a few instructions that survives its holder.
//!
//! The futex word holds the owner's thread number, as the kernel's robust futexes want it
//! (`Documentation/locking/robust-futex-ABI.rst`, set_robust_list(2)): every thread tells the kernel where its
//! list of held guards is, and when the thread dies, however it dies, the kernel walks the list, marks the words
//! and wakes a waiter. This is what glibc's robust mutexes do; they are not used because glibc remembers a
//! thread number that is wrong in a child made by clone(2) with `CLONE_PARENT`, and because a waiting process
//! must be able to lie in any shared memory. A thread that uses a guard loses glibc's own robust mutexes, of
//! which there are none in this program.

use std::cell::Cell;
use std::hint::spin_loop;
use std::mem::offset_of;
use std::sync::atomic::compiler_fence;

use rustix::thread::futex;

use crate::runtime::sync::{AtomicU32, AtomicUsize, Ordering};

const THREAD: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// Looks at the word before a sleep: holders need it for some tens of nanoseconds.
const SPINS: u32 = 200;

/// A lock in shared memory. All zero is a free one.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Guard {
    /// The next guard that the holder's thread holds: a link of the list that the kernel walks.
    next: AtomicUsize,
    word: AtomicU32,
    unused: u32,
}

/// The kernel's `struct robust_list_head`.
#[repr(C)]
struct Robust {
    list: AtomicUsize,
    futex_offset: usize,
    pending: AtomicUsize,
}

thread_local! {
    static ROBUST: Robust = const {
        Robust {
            list: AtomicUsize::new(0),
            futex_offset: offset_of!(Guard, word) - offset_of!(Guard, next),
            pending: AtomicUsize::new(0),
        }
    };
    /// This thread's number once the kernel knows its list, 0 before.
    static THREAD_NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// The calling thread's number.
fn thread_number() -> u32 {
    let known = THREAD_NUMBER.get();
    if known != 0 { known } else { register() }
}

#[cold]
fn register() -> u32 {
    let number = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    ROBUST.with(|robust| {
        let head = std::ptr::from_ref(robust);
        robust.list.store(head as usize, Ordering::Relaxed);
        robust.pending.store(0, Ordering::Relaxed);
        // SAFETY: the head is this thread's own thread-local variable without a destructor, so it lives until
        // the kernel is done with the thread; its layout is the kernel's.
        unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Robust>()) };
    });
    THREAD_NUMBER.set(number);
    number
}

/// The calling thread is the first one of a new process.
pub(super) fn after_fork() {
    THREAD_NUMBER.set(0);
}

impl Guard {
    /// Takes the lock. Sleeps while another thread or process is inside, and cannot be interrupted, so nobody
    /// may wait for anything while he holds it. Guards are given back in the opposite order.
    pub fn lock(&self) -> Held<'_> {
        let me = thread_number();
        ROBUST.with(|robust| {
            robust.pending.store(&raw const self.next as usize, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let recovered = match self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => false,
                Err(_) => self.lock_contended(me),
            };
            self.next.store(robust.list.load(Ordering::Relaxed), Ordering::Relaxed);
            robust.list.store(&raw const self.next as usize, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            robust.pending.store(0, Ordering::Relaxed);
            Held { guard: self, recovered }
        })
    }

    #[cold]
    fn lock_contended(&self, me: u32) -> bool {
        let mut spins = 0;
        let mut waited = 0;
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word & THREAD == 0 {
                let taken = me | (word & WAITERS) | waited;
                if self.word.compare_exchange(word, taken, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return word & OWNER_DIED != 0;
                }
                continue;
            }
            if spins < SPINS {
                spins += 1;
                spin_loop();
                continue;
            }
            let marked = word | WAITERS;
            if word != marked
                && self.word.compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed).is_err()
            {
                continue;
            }
            // It returns when it is woken, when the word has changed meanwhile, or for a signal: all are looked
            // at again.
            let _ = futex::wait(&self.word, futex::Flags::empty(), marked, None);
            waited = WAITERS;
        }
    }

    fn unlock(&self) {
        ROBUST.with(|robust| {
            robust.pending.store(&raw const self.next as usize, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            robust.list.store(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            if self.word.swap(0, Ordering::Release) & WAITERS != 0 {
                let _ = futex::wake(&self.word, futex::Flags::empty(), 1);
            }
            compiler_fence(Ordering::SeqCst);
            robust.pending.store(0, Ordering::Relaxed);
        });
    }
}

/// A word in shared memory that holds the number of a thread, of which the kernel takes note when that thread ends,
/// however it ends: it sets [`Lifeline::CUT`], and wakes whoever sleeps on the word and has set
/// [`Lifeline::WATCHED`]. A word that holds something else by then is left alone.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Lifeline {
    next: AtomicUsize,
    /// The word.
    pub(super) word: AtomicU32,
    unused: u32,
}

const _: () =
    assert!(offset_of!(Lifeline, word) == offset_of!(Guard, word) && offset_of!(Lifeline, next) == 0);

impl Lifeline {
    /// The thread has ended.
    pub(super) const CUT: u32 = OWNER_DIED;
    /// Somebody sleeps on the word.
    pub(super) const WATCHED: u32 = WAITERS;
    /// The bits that hold a thread's number.
    pub(super) const THREAD: u32 = THREAD;

    /// Ties these to the calling thread, whose number it returns, and any others loose. They are looked at in their
    /// order, must stay where they are for as long as the thread lives, and the thread holds no guard now.
    pub(super) fn tie<'a>(lines: impl Iterator<Item = &'a Self>) -> u32 {
        THREAD_NUMBER.set(0);
        let number = register();
        ROBUST.with(|robust| {
            let mut link = &robust.list;
            for line in lines {
                line.next.store(std::ptr::from_ref(robust) as usize, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                link.store(&raw const line.next as usize, Ordering::Relaxed);
                link = &line.next;
            }
        });
        number
    }
}

/// The lock is held until this is dropped.
#[must_use]
pub struct Held<'a> {
    guard: &'a Guard,
    recovered: bool,
}

impl Held<'_> {
    /// Was the holder before killed inside, so that what the guard protects may be half changed?
    pub fn is_recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.guard.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::own_process;
    use crate::ipc::{Shared, Zeroed};
    use crate::runtime::sync::AtomicU64;

    #[derive(Default)]
    struct Counter {
        guard: Guard,
        first: AtomicU64,
        second: AtomicU64,
    }

    // SAFETY: all zero is a free guard and two zeros.
    unsafe impl Zeroed for Counter {
        const KIND: u32 = 0xc0;
    }

    fn count(counter: &Counter) {
        let held = counter.guard.lock();
        if held.is_recovered() {
            counter.second.store(counter.first.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let n = counter.first.load(Ordering::Relaxed);
        assert_eq!(n, counter.second.load(Ordering::Relaxed));
        counter.first.store(n + 1, Ordering::Relaxed);
        counter.second.store(n + 1, Ordering::Relaxed);
    }

    #[test]
    fn one_at_a_time() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| count(&counter)));
            }
        });
        assert_eq!(counter.first.load(Ordering::Relaxed), 80_000);
    }

    #[test]
    fn guards_nest() {
        let (outer, inner) = (Guard::default(), Guard::default());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let _outer = outer.lock();
                        let _inner = inner.lock();
                    }
                });
            }
        });
    }

    /// Processes that count are killed at any moment; the others go on, and the two numbers stay equal.
    #[test]
    fn a_killed_holder_leaves_a_usable_guard() {
        if !own_process::is_own() {
            return;
        }
        let counter = Shared::<Counter>::new().unwrap();
        let mut recovered = 0;
        for round in 0..200_u64 {
            // SAFETY: the child touches only the counter and is killed; it returns into nothing.
            let child = unsafe { libc::fork() };
            if child == 0 {
                crate::ipc::after_fork();
                loop {
                    count(&counter);
                }
            }
            std::thread::sleep(std::time::Duration::from_micros(200 + round * 7 % 300));
            // SAFETY: plain system calls on a child of this test.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            let held = counter.guard.lock();
            if held.is_recovered() {
                recovered += 1;
                counter.second.store(counter.first.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            assert_eq!(counter.first.load(Ordering::Relaxed), counter.second.load(Ordering::Relaxed));
        }
        assert!(counter.first.load(Ordering::Relaxed) > 0);
        assert!(recovered > 0, "none of 200 children was killed inside");
    }
}
