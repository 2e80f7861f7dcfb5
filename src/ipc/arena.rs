//! The memory that the processes of one program share.
//!
//! One sparse memory file (memfd_create(2)), mapped before the first child is forked. It has no name, so nothing
//! of it can be left behind, and costs nothing until it is touched. Blocks come in powers of two from a free
//! list each; a list and the end of the used part change by one 8-byte store under the arena's guard, so that a
//! process that is killed in the middle loses at most the block that it was about to get.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

use super::guard::Guard;
use crate::runtime::sync::{AtomicU64, Ordering};

/// The place of a block in the arena; never 0.
pub type Offset = u64;

/// The smallest block: a cache line.
const SMALLEST: u64 = 64;
/// How many sizes there are: up to 2^45 bytes.
const SIZES: usize = 40;
/// From this size on a freed block's memory goes back to the system.
const LARGE: u64 = 64 << 10;
/// The sizes that are tried in turn: a limit on address space (`ulimit -v`) may refuse the first.
const ADDRESS_SPACE: [u32; 6] = [44, 40, 36, 32, 30, 27];
const MAGIC: u64 = u64::from_le_bytes(*b"onelock\x01");

/// What stands at the arena's beginning.
#[repr(C)]
struct Header {
    magic: AtomicU64,
    id: [AtomicU64; 2],
    guard: Guard,
    /// Where the unused part begins.
    end: AtomicU64,
    /// Where the table of the family's processes is, 0 before it is made.
    family: AtomicU64,
    /// The first free block of each size; its first word leads to the next.
    free: [AtomicU64; SIZES],
}

struct Arena {
    base: *mut u8,
    size: u64,
    file: OwnedFd,
}

// SAFETY: the mapping stays for the life of the process; what is in it is reached through atomics and guards.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

static ARENA: OnceLock<Arena> = OnceLock::new();

/// The arena of this family, made on first use.
///
/// # Errors
/// The system's, when it gives no memory file or no address space.
fn arena() -> io::Result<&'static Arena> {
    if let Some(arena) = ARENA.get() {
        return Ok(arena);
    }
    let made = Arena::create()?;
    Ok(ARENA.get_or_init(|| made))
}

impl Arena {
    fn create() -> io::Result<Self> {
        let file = memfd_create("onelock", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut refused = io::Error::from(io::ErrorKind::OutOfMemory);
        for bits in ADDRESS_SPACE {
            let size = 1_u64 << bits;
            match rustix::fs::ftruncate(&file, size).and_then(|()| map(file.as_fd(), size)) {
                Ok(base) => {
                    // A file that cannot shrink cannot take a page away from under a process. Where there is no
                    // sealing, nobody shrinks it either.
                    let _ = fcntl_add_seals(&file, SealFlags::SHRINK);
                    let arena = Self { base, size, file };
                    arena.begin()?;
                    return Ok(arena);
                }
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    fn begin(&self) -> io::Result<()> {
        let header = self.header();
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let (low, high) = id.split_at(8);
        for (word, bytes) in header.id.iter().zip([low, high]) {
            word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
        }
        header.end.store((size_of::<Header>() as u64).next_multiple_of(4096), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(())
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with the header, which is made of atomics, and is never unmapped.
        unsafe { &*self.base.cast::<Header>() }
    }

    fn word(&self, at: Offset) -> &AtomicU64 {
        // SAFETY: the caller took `at` from a free list or was just given it, so it is a block inside the
        // mapping, aligned to 64 bytes.
        unsafe { &*self.base.add(at as usize).cast::<AtomicU64>() }
    }
}

fn map(file: BorrowedFd<'_>, size: u64) -> rustix::io::Result<*mut u8> {
    // SAFETY: a new mapping at an address where there is nothing yet disturbs nothing.
    let base = unsafe {
        mmap(
            beyond_heap(),
            size as usize,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE,
            file,
            0,
        )?
    };
    Ok(base.cast())
}

/// Where the arena is to lie if there is room: a process has a tree of page tables for each 512 GB in which it uses
/// anything, and so every child that is forked would have one more for the arena alone. The heap may grow by 64 GB; then
/// the allocator takes its memory elsewhere.
fn beyond_heap() -> *mut libc::c_void {
    const ROOM: usize = 64 << 30;
    const ALIGNMENT: usize = 1 << 30;
    // SAFETY: asks for the heap's end, and moves nothing.
    let end = unsafe { libc::sbrk(0) } as usize;
    std::ptr::without_provenance_mut(end.saturating_add(ROOM) & !(ALIGNMENT - 1))
}

/// Maps the arena now, so that processes that are forked later share it.
///
/// # Errors
/// The system's, when it gives no memory file or no address space.
pub fn prepare() -> io::Result<()> {
    arena().map(drop)
}

/// The arena's file, to be handed to a process that does not descend from this one by fork alone.
///
/// # Errors
/// As [`prepare`].
pub fn file() -> io::Result<BorrowedFd<'static>> {
    arena().map(|arena| arena.file.as_fd())
}

/// Makes the arena behind `file`, got from [`file`] in another process, the arena of this one.
///
/// # Errors
/// The system's; `InvalidData` if it is no arena; `AlreadyExists` if this process has an arena already.
pub fn join(file: OwnedFd) -> io::Result<()> {
    let file = File::from(file);
    let size = file.metadata()?.len();
    if size < size_of::<Header>() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is no shared memory of onelock's"));
    }
    let base = map(file.as_fd(), size)?;
    let arena = Arena { base, size, file: file.into() };
    if arena.header().magic.load(Ordering::Acquire) != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is no shared memory of onelock's"));
    }
    ARENA.set(arena).map_err(|_| io::ErrorKind::AlreadyExists.into())
}

/// What tells this family of processes from every other one.
///
/// # Errors
/// As [`prepare`].
pub fn id() -> io::Result<u128> {
    let header = arena()?.header();
    let [low, high] = [0, 1].map(|i: usize| u128::from(header.id[i].load(Ordering::Relaxed)));
    Ok(low | high << 64)
}

/// Where the table of the family's processes is, 0 before it is made.
///
/// # Errors
/// As [`prepare`].
pub(super) fn family() -> io::Result<&'static AtomicU64> {
    arena().map(|arena| &arena.header().family)
}

fn size_index(bytes: u64) -> usize {
    let size = bytes.max(SMALLEST).next_power_of_two();
    (size.trailing_zeros() - SMALLEST.trailing_zeros()) as usize
}

fn size_of_index(index: usize) -> u64 {
    SMALLEST << index
}

/// A block of at least `bytes` bytes, all zero, aligned to 64 bytes.
///
/// # Errors
/// `OutOfMemory` when the arena is full; as [`prepare`].
pub fn allocate(bytes: u64) -> io::Result<Offset> {
    let arena = arena()?;
    if bytes > arena.size {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let index = size_index(bytes);
    let size = size_of_index(index);
    let header = arena.header();
    let block = {
        let _held = header.guard.lock();
        match header.free[index].load(Ordering::Relaxed) {
            0 => {
                let at = header.end.load(Ordering::Relaxed);
                if at + size > arena.size {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                header.end.store(at + size, Ordering::Relaxed);
                return Ok(at);
            }
            first => {
                header.free[index].store(arena.word(first).load(Ordering::Relaxed), Ordering::Relaxed);
                first
            }
        }
    };
    let used = if size >= LARGE { size_of::<u64>() as u64 } else { size };
    // SAFETY: the block is nobody else's now and at least `used` bytes long.
    unsafe { std::ptr::write_bytes(arena.base.add(block as usize), 0, used as usize) };
    Ok(block)
}

/// Gives back a block of `bytes` bytes that [`allocate`] gave. Nobody may use it any longer.
pub fn release(block: Offset, bytes: u64) {
    let Ok(arena) = arena() else { return };
    let index = size_index(bytes);
    let size = size_of_index(index);
    if size >= LARGE {
        // Zeroed as well, which is what the next user is promised.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&arena.file, flags, block, size).is_err() {
            // SAFETY: the block is the caller's, who gives it up.
            unsafe { std::ptr::write_bytes(arena.base.add(block as usize), 0, size as usize) };
        }
    }
    let header = arena.header();
    let _held = header.guard.lock();
    arena.word(block).store(header.free[index].load(Ordering::Relaxed), Ordering::Relaxed);
    header.free[index].store(block, Ordering::Release);
}

/// Makes the system provide the memory of a block now, so that there is an error instead of a SIGBUS when it has
/// none left, and one system call instead of a fault for each page.
///
/// # Errors
/// `OutOfMemory`; as [`prepare`].
pub fn populate(block: Offset, bytes: u64) -> io::Result<()> {
    let arena = arena()?;
    let page = rustix::param::page_size() as u64;
    let from = block - block % page;
    let length = (block + bytes).min(arena.size) - from;
    loop {
        // SAFETY: pages of the mapping; nothing in them changes.
        let populated = unsafe {
            madvise(arena.base.add(from as usize).cast(), length as usize, Advice::LinuxPopulateWrite)
        };
        match populated {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Before Linux 5.14 there is no such advice: pages come when they are touched.
            Ok(()) | Err(Errno::INVAL) => return Ok(()),
            Err(_) => return Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

/// Where a block is in this process's memory; nothing if no block of that length can be at that place.
pub fn at(block: Offset, bytes: u64) -> Option<*mut u8> {
    let arena = arena().ok()?;
    let end = block.checked_add(bytes)?;
    let fits = block >= size_of::<Header>() as u64
        && block.is_multiple_of(SMALLEST)
        && end <= arena.header().end.load(Ordering::Relaxed).min(arena.size);
    // SAFETY: inside the mapping, as was just checked.
    fits.then(|| unsafe { arena.base.add(block as usize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(block: Offset, length: u64) -> &'static mut [u8] {
        // SAFETY: the tests use each block from one thread, and not after its release.
        unsafe { std::slice::from_raw_parts_mut(at(block, length).unwrap(), length as usize) }
    }

    #[test]
    fn blocks_are_zero_and_apart() {
        let sizes = [1_u64, 64, 65, 4096, 70_000, 1 << 20];
        for _ in 0..3 {
            let blocks = sizes.map(|size| (allocate(size).unwrap(), size));
            for (at, size) in blocks {
                assert!(bytes(at, size).iter().all(|byte| *byte == 0), "{size} bytes at {at}");
                bytes(at, size).fill(size as u8 | 1);
            }
            for (at, size) in blocks {
                assert!(bytes(at, size).iter().all(|byte| *byte == size as u8 | 1));
                release(at, size);
            }
        }
    }

    #[test]
    fn threads_get_different_blocks() {
        let mine = |_| (0..500).map(|_| allocate(100).unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|i| std::thread::spawn(move || mine(i))).collect();
        let mut all: Vec<Offset> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2000);
        all.into_iter().for_each(|block| release(block, 100));
    }

    #[test]
    fn a_place_outside_is_none() {
        let block = allocate(64).unwrap();
        assert!(at(block, 64).is_some());
        for (block, bytes) in [(0, 8), (block + 1, 8), (u64::MAX, 1), (1 << 43, 64), (block, u64::MAX)] {
            assert!(at(block, bytes).is_none(), "{block} {bytes}");
        }
        release(block, 64);
    }

    #[test]
    fn too_much_is_an_error() {
        assert_eq!(allocate(u64::MAX / 2).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
