//! The pages that a child writes to, as an earlier one found them.
//!
//! A child has a page fault for each page of its parent's that it writes to, and most children of a program write to
//! the same ones. So one child notes at its end which they were, and those that are forked later take copies before
//! they have anything to do, a run of pages per system call. Restored virtual machines are made fast like this ("record
//! and prefetch", Ustiugov and others, *Benchmarking, analysis, and optimization of serverless function snapshots*,
//! ASPLOS 2021). A wrong note costs time and nothing else.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::param::page_size;

use super::maps::areas;
use crate::runtime::sync::{AtomicU32, AtomicUsize, Ordering};

/// So many runs of pages are noted at most.
const MOST_RUNS: usize = 32;
/// A child that has written to more pages is no example: copies that are not needed would cost more than faults.
const MOST_PAGES: usize = 128;

/// A child is to note at its end what it has written to.
const WANTED: u32 = 1;
const BEING_NOTED: u32 = 2;
const KNOWN: u32 = 3;

/// Some pages side by side.
#[repr(C)]
struct Run {
    from: AtomicUsize,
    length: AtomicUsize,
}

/// What is known. It lies in shared memory; all zero means that nothing is known, nor wanted.
#[repr(C)]
pub(super) struct WorkingSet {
    state: AtomicU32,
    count: AtomicU32,
    runs: [Run; MOST_RUNS],
}

impl WorkingSet {
    /// Lets one of the children that are forked from now on note what it has written to. What was known is forgotten.
    pub(super) fn want(&self) {
        self.state.store(WANTED, Ordering::Relaxed);
    }

    /// Is a child that begins now to be an example for later ones?
    pub(super) fn is_wanted(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WANTED
    }

    /// In a child that is about to end, and was forked when it was wanted: notes what it has written to, unless another
    /// one has done so meanwhile.
    pub(super) fn note(&self) {
        let taken = self.state.compare_exchange(WANTED, BEING_NOTED, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return;
        }
        let Ok(written) = written() else { return };
        if written.len() > MOST_RUNS
            || written.iter().map(|(_, length)| length).sum::<usize>() > MOST_PAGES * page_size()
        {
            return;
        }
        for (run, (from, length)) in self.runs.iter().zip(&written) {
            run.from.store(*from, Ordering::Relaxed);
            run.length.store(*length, Ordering::Relaxed);
        }
        self.count.store(written.len() as u32, Ordering::Relaxed);
        self.state.store(KNOWN, Ordering::Release);
    }

    /// In a new child: takes copies of the pages that it is going to write to.
    pub(super) fn prefetch(&self) {
        if self.state.load(Ordering::Acquire) != KNOWN {
            return;
        }
        for run in self.runs.iter().take(self.count.load(Ordering::Relaxed) as usize) {
            let (from, length) = (run.from.load(Ordering::Relaxed), run.length.load(Ordering::Relaxed));
            // SAFETY: the advice makes pages present, and changes nothing that is in them. What is not there, or not
            // to be written to, is refused.
            unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_POPULATE_WRITE) };
        }
    }
}

/// The pages that the calling process has for itself alone, as runs with a length in bytes.
fn written() -> io::Result<Vec<(usize, usize)>> {
    // So large that it lies apart from everything else, and is not a part of the answer.
    let mut buffer = vec![0_u8; 4 << 20];
    let own = buffer.as_ptr() as usize;
    let length = read_all(&mut File::open("/proc/self/maps")?, &mut buffer)?;
    let (maps, entries) = buffer.split_at_mut(length);
    let maps = std::str::from_utf8(maps).map_err(io::Error::other)?;
    let pagemap = File::open("/proc/self/pagemap")?;
    let page_size = page_size();
    let mut runs: Vec<(usize, usize)> = Vec::with_capacity(MOST_RUNS);
    for area in areas(maps).filter(|area| area.permissions == "rw-p" && !area.contains(own)) {
        let size = ((area.to - area.from) / page_size * size_of::<u64>()).min(entries.len());
        let place = area.from / page_size * size_of::<u64>();
        let length = pagemap.read_at(&mut entries[..size], place as u64)?;
        let (entries, _) = entries[..length].as_chunks();
        let own = entries.iter().enumerate().filter(|(_, entry)| is_own(u64::from_ne_bytes(**entry)));
        for page in own.map(|(index, _)| area.from + index * page_size) {
            match runs.last_mut() {
                Some((from, length)) if *from + *length == page => *length += page_size,
                _ => runs.push((page, page_size)),
            }
        }
    }
    Ok(runs)
}

/// Is the page in memory, in no other process's, and no file's? See `Documentation/admin-guide/mm/pagemap.rst`.
fn is_own(entry: u64) -> bool {
    const PRESENT: u64 = 1 << 63;
    const OF_A_FILE: u64 = 1 << 61;
    const EXCLUSIVE: u64 = 1 << 56;
    entry & (PRESENT | OF_A_FILE | EXCLUSIVE) == PRESENT | EXCLUSIVE
}

fn read_all(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    loop {
        match file.read(&mut buffer[length..])? {
            0 => return Ok(length),
            more => length += more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::own_process;
    use crate::ipc::shared::{Shared, Zeroed};

    #[repr(C)]
    struct Probe {
        set: WorkingSet,
        /// The pages of the test's memory that a child has for itself, a bit for each of the first 64.
        own: crate::runtime::sync::AtomicU64,
    }

    // SAFETY: atomics.
    unsafe impl Zeroed for Probe {
        const KIND: u32 = 0x7772_6b73;
    }

    /// Forks a child that does this, and waits for its end.
    fn child(body: impl FnOnce()) {
        // SAFETY: the test has the process to itself, and the child ends here.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            body();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: a plain system call on a child of this test.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(status, 0);
    }

    /// Which of these pages the calling process has for itself.
    fn own(memory: &[u8]) -> u64 {
        let runs = written().unwrap();
        let is_own = |page: usize| {
            let page = memory.as_ptr().addr().next_multiple_of(page_size()) + page * page_size();
            runs.iter().any(|(from, length)| (*from..from + length).contains(&page))
        };
        (0..64).filter(|page| is_own(*page)).fold(0, |all, page| all | 1 << page)
    }

    fn write(memory: &mut [u8], pages: impl IntoIterator<Item = usize>) {
        let first = memory.as_ptr().align_offset(page_size());
        pages
            .into_iter()
            .for_each(|page| std::hint::black_box(&mut *memory)[first + page * page_size()] += 1);
    }

    /// What a child that is forked now has for itself.
    fn found(probe: &Probe, memory: &[u8]) -> u64 {
        child(|| {
            probe.set.prefetch();
            probe.own.store(own(memory), Ordering::Relaxed);
        });
        probe.own.load(Ordering::Relaxed)
    }

    /// What a later child has for itself when an earlier one has written to these pages of the given memory.
    fn prefetched(memory: &mut [u8], pages: impl IntoIterator<Item = usize>) -> u64 {
        let probe = Shared::<Probe>::new().unwrap();
        assert_eq!(found(&probe, memory), 0);
        probe.set.want();
        assert!(probe.set.is_wanted());
        // One that does not note anything is no example.
        assert_eq!(found(&probe, memory), 0);
        child(|| {
            write(memory, pages);
            probe.set.note();
        });
        assert!(!probe.set.is_wanted());
        found(&probe, memory)
    }

    #[test]
    fn later_children_have_copies_of_what_an_example_wrote_to() {
        if !own_process::is_own() {
            return;
        }
        let mut memory = vec![1_u8; 256 * page_size()];
        assert_eq!(prefetched(&mut memory, [3, 4, 5, 40]), 0b111_000 | 1 << 40);
        assert!(memory.iter().all(|byte| *byte == 1));
    }

    #[test]
    fn a_child_that_wrote_to_much_is_no_example() {
        if !own_process::is_own() {
            return;
        }
        let mut memory = vec![1_u8; 256 * page_size()];
        assert_eq!(prefetched(&mut memory, 0..MOST_PAGES + 1), 0);
        // One page of every two.
        assert_eq!(prefetched(&mut memory, (0..MOST_RUNS * 2 + 2).step_by(2)), 0);
    }

    #[test]
    fn memory_that_has_changed_since_is_left_alone() {
        if !own_process::is_own() {
            return;
        }
        let probe = Shared::<Probe>::new().unwrap();
        let constant: &'static str = "cannot be written to";
        let page = page_size();
        let runs = [(0, page), (constant.as_ptr().addr() / page * page, page), (usize::MAX - page + 1, page)];
        for (run, (from, length)) in probe.set.runs.iter().zip(runs) {
            run.from.store(from, Ordering::Relaxed);
            run.length.store(length, Ordering::Relaxed);
        }
        probe.set.count.store(u32::MAX, Ordering::Relaxed);
        probe.set.state.store(KNOWN, Ordering::Relaxed);
        child(|| probe.set.prefetch());
        assert_eq!(constant, "cannot be written to");
    }
}
