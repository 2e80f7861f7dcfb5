//! Objects in the arena, counted by the processes that refer to them.
//!
//! A process has one reference to an object, however many handles it has; a message under way has one as well,
//! which the receiver takes over. A process that ends gives back its references; one that is killed does not,
//! and what it alone referred to is lost until the whole family is gone, which frees everything.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Weak;

use super::arena::{self, Offset};
use crate::runtime::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};

/// A type that can live in the arena.
///
/// # Safety
/// All bytes zero is a valid value; it contains no pointer, is changed through atomics or under a
/// [`super::Guard`] only, and needs no more than 64 bytes of alignment.
pub unsafe trait Zeroed: Sync + 'static {
    /// A number that no other such type has: a received offset is checked against it.
    const KIND: u32;

    /// Called for the last reference: gives back the blocks that the object owns.
    fn release(&self) {}
}

/// What stands before every object.
#[repr(C, align(64))]
struct Header {
    references: AtomicU64,
    /// The whole block's length.
    length: AtomicU64,
    kind: AtomicU32,
}

const HEADER: u64 = size_of::<Header>() as u64;

/// One process's reference to an object.
struct Reference {
    block: Offset,
    generation: u64,
    last: fn(Offset),
}

/// The references of this process, by the object's place.
static REFERENCES: Mutex<Option<HashMap<Offset, Weak<Reference>>>> = Mutex::new(None);

/// Counted up in a forked process: references of earlier generations belong to its parent.
static GENERATION: AtomicU64 = AtomicU64::new(0);

fn header(block: Offset) -> Option<&'static Header> {
    // SAFETY: the place is inside the arena, which stays mapped, aligned to 64 bytes; the header is atomics.
    arena::at(block, HEADER).map(|at| unsafe { &*at.cast::<Header>() })
}

fn add_reference(block: Offset) {
    if let Some(header) = header(block) {
        header.references.fetch_add(1, Ordering::Relaxed);
    }
}

fn drop_reference(block: Offset, last: fn(Offset)) {
    let Some(header) = header(block) else { return };
    if header.references.fetch_sub(1, Ordering::AcqRel) == 1 {
        last(block);
        let length = header.length.load(Ordering::Relaxed);
        header.kind.store(0, Ordering::Relaxed);
        arena::release(block, length);
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            return;
        }
        if let Some(references) = &mut *REFERENCES.lock()
            && references.get(&self.block).is_some_and(|known| std::ptr::eq(known.as_ptr(), self))
        {
            references.remove(&self.block);
        }
        drop_reference(self.block, self.last);
    }
}

/// A handle of an object in the arena. Clones are handles of the same one.
pub struct Shared<T: Zeroed> {
    reference: Arc<Reference>,
    object: *const T,
    kind: PhantomData<T>,
}

// SAFETY: `T` is `Sync`, and the reference keeps its block alive; all processes and threads may reach it.
unsafe impl<T: Zeroed> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed> Sync for Shared<T> {}

impl<T: Zeroed> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { reference: Arc::clone(&self.reference), object: self.object, kind: PhantomData }
    }
}

impl<T: Zeroed> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:#x})", self.reference.block)
    }
}

impl<T: Zeroed> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: made by `handle`, which checked the place and the kind; the reference keeps the block.
        unsafe { &*self.object }
    }
}

impl<T: Zeroed> Shared<T> {
    /// A new object, all zero.
    ///
    /// # Errors
    /// The arena's.
    pub fn new() -> io::Result<Self> {
        Self::with_tail(0)
    }

    /// A new object with so many bytes behind it, all zero.
    ///
    /// # Errors
    /// The arena's.
    pub fn with_tail(bytes: u64) -> io::Result<Self> {
        const { assert!(align_of::<T>() <= 64 && size_of::<Header>() == 64) };
        let length = (HEADER + size_of::<T>() as u64)
            .checked_add(bytes)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let block = arena::allocate(length)?;
        let header = header(block).ok_or(io::ErrorKind::OutOfMemory)?;
        header.length.store(length, Ordering::Relaxed);
        header.references.store(1, Ordering::Relaxed);
        header.kind.store(T::KIND, Ordering::Release);
        Self::handle(block).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Takes over the reference that a message brought; nothing if the place holds no such object.
    pub fn adopt(block: Offset) -> Option<Self> {
        let header = header(block)?;
        if header.kind.load(Ordering::Acquire) != T::KIND || header.references.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let known = REFERENCES.lock().as_ref().and_then(|all| all.get(&block)?.upgrade());
        match known {
            Some(reference) => {
                // There is a reference of this process already: the message's is one too many.
                header.references.fetch_sub(1, Ordering::AcqRel);
                let object = Self::object(block)?;
                Some(Self { reference, object, kind: PhantomData })
            }
            None => Self::handle(block),
        }
    }

    /// A reference for a message that is about to be sent, and the place to send.
    pub fn lend(&self) -> Offset {
        add_reference(self.reference.block);
        self.reference.block
    }

    /// Takes back the reference of a message that was not sent.
    pub fn unlend(&self) {
        drop_reference(self.reference.block, self.reference.last);
    }

    /// The object's place: its identity, the same in every process.
    pub fn place(&self) -> Offset {
        self.reference.block
    }

    /// Does no other process refer to the object, and no message under way?
    pub fn is_private(&self) -> bool {
        header(self.reference.block).is_some_and(|header| header.references.load(Ordering::Acquire) == 1)
    }

    /// The bytes behind the object, and how many there are.
    pub fn tail(&self) -> (*mut u8, u64) {
        let length = header(self.reference.block).map_or(0, |h| h.length.load(Ordering::Relaxed));
        let before = HEADER + size_of::<T>() as u64;
        // SAFETY: the block is `length` bytes long and begins with the header and the object.
        (unsafe { self.object.cast::<u8>().add(size_of::<T>()).cast_mut() }, length.saturating_sub(before))
    }

    fn handle(block: Offset) -> Option<Self> {
        let object = Self::object(block)?;
        let last: fn(Offset) = |block| {
            if let Some(object) = Self::object(block) {
                // SAFETY: the last reference: nobody gives the block back before this returns.
                unsafe { &*object }.release();
            }
        };
        let generation = GENERATION.load(Ordering::Relaxed);
        let reference = Arc::new(Reference { block, generation, last });
        let references = &mut *REFERENCES.lock();
        references.get_or_insert_default().insert(block, Arc::downgrade(&reference));
        Some(Self { reference, object, kind: PhantomData })
    }

    fn object(block: Offset) -> Option<*const T> {
        let at = arena::at(block, HEADER + size_of::<T>() as u64)?;
        // SAFETY: inside the block, behind the header.
        Some(unsafe { at.add(HEADER as usize) }.cast::<T>().cast_const())
    }
}

fn live() -> Vec<Arc<Reference>> {
    let references = REFERENCES.lock();
    references.iter().flatten().filter_map(|(_, reference)| reference.upgrade()).collect()
}

/// Counts every reference of this process once more, for a child that is about to be forked with copies of all
/// handles. [`unshare`] takes that back when there was no fork.
pub fn share_with_fork() {
    live().iter().for_each(|reference| add_reference(reference.block));
}

/// Takes back what [`share_with_fork`] did.
pub fn unshare() {
    live().iter().for_each(|reference| drop_reference(reference.block, reference.last));
}

/// In a forked process whose references were not counted: they are the parent's. No other thread of the parent
/// was inside a system call of ours when it was forked, so nobody holds the mutex.
pub(super) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Not dropped: freeing memory of the parent's is the parent's business.
    std::mem::forget(REFERENCES.lock().take());
}

/// The process is about to end without dropping its values: gives back all its references.
pub fn release_all() {
    for reference in live() {
        drop_reference(reference.block, reference.last);
    }
    GENERATION.fetch_add(1, Ordering::Relaxed);
    *REFERENCES.lock() = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Number(AtomicU64);

    // SAFETY: an atomic.
    unsafe impl Zeroed for Number {
        const KIND: u32 = 0x4e;
    }

    struct Other(#[expect(dead_code, reason = "only its kind matters")] AtomicU64);

    // SAFETY: an atomic.
    unsafe impl Zeroed for Other {
        const KIND: u32 = 0x4f;
    }

    #[test]
    fn a_message_brings_the_same_object() {
        let number = Shared::<Number>::new().unwrap();
        number.0.store(7, Ordering::Relaxed);
        let same = Shared::<Number>::adopt(number.lend()).unwrap();
        assert_eq!(same.0.load(Ordering::Relaxed), 7);
        assert!(Arc::ptr_eq(&same.reference, &number.reference));
        assert_eq!(header(number.place()).unwrap().references.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_last_reference_frees() {
        let number = Shared::<Number>::new().unwrap();
        let place = number.lend();
        drop(number);
        let again = Shared::<Number>::adopt(place).expect("the message's reference keeps it");
        drop(again);
        assert!(Shared::<Number>::adopt(place).is_none(), "freed");
    }

    #[test]
    fn a_wrong_place_is_refused() {
        let number = Shared::<Number>::new().unwrap();
        assert!(Shared::<Other>::adopt(number.place()).is_none());
        assert!(Shared::<Number>::adopt(12_345).is_none());
        assert!(Shared::<Number>::adopt(1 << 60).is_none());
    }

    #[test]
    fn a_tail_is_as_long_as_asked_for() {
        let number = Shared::<Number>::with_tail(100_000).unwrap();
        let (tail, length) = number.tail();
        assert_eq!(length, 100_000);
        // SAFETY: the test's own block.
        assert!(unsafe { std::slice::from_raw_parts(tail, 100_000) }.iter().all(|byte| *byte == 0));
    }
}
