//! Makes a process cheaper to fork.
//!
//! fork(2) copies one entry for each page that a process has written to, a child has a page fault for every few pages
//! of the program's file that it uses, and its end takes each of them away again: that is most of what a short
//! child costs. Pages of 2 MB have one entry, and where they belong to the process instead of the file, the
//! child inherits them without a fault.

use std::fs;
use std::os::unix::fs::FileExt;
use std::ptr::{copy_nonoverlapping, null_mut};

use rustix::io::Result;
use rustix::mm::{
    MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap_anonymous, mprotect, mremap_fixed, munmap,
};

use super::apart;
use super::maps::{Area, areas};

/// Large pages, on x86-64 and on most other machines.
pub(super) const LARGE: usize = 2 << 20;

/// What is smaller is not worth a large page of its own.
const WORTH_IT: usize = LARGE / 16;

/// Lets the heap and the program of the calling process consist of large pages where they can. It copies the memory
/// once; where the system has no large pages to give, everything stays as it is.
pub(super) fn compact() {
    compact_areas();
    fill_gaps();
}

fn compact_areas() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let areas: Vec<Area<'_>> = areas(&maps).collect();
    if let Some(heap) = areas.iter().find(|area| area.name == "[heap]") {
        compact_heap(heap);
    }
    if let Some(place) = apart::place()
        && let Some(area) = areas.iter().find(|area| area.contains(place))
    {
        compact_heap(area);
    }
    // Left as they are, these are only slower.
    let _ = share_c_library(&areas);
    let here = compact_areas as fn() as usize;
    let Some(program) = areas.iter().find(|area| area.contains(here)) else { return };
    for (index, area) in areas.iter().enumerate() {
        if area.name == program.name
            && matches!(area.permissions, "r--p" | "r-xp")
            && area.to - area.from >= WORTH_IT
        {
            let floor = index.checked_sub(1).map_or(0, |before| areas[before].to);
            let ceiling = areas.get(index + 1).map_or(usize::MAX, |after| after.from);
            let _ = compact_program(area, floor, ceiling);
        }
    }
}

/// All of a heap but its last, partly used large page. What children write to the main one lies there.
fn compact_heap(heap: &Area<'_>) {
    let (from, to) = (heap.from.next_multiple_of(LARGE), heap.to - heap.to % LARGE);
    if from < to {
        collapse(from, to - from);
    }
}

/// Takes every free block inside the heap, for good. A child's own blocks then come from the heap's end, side by side:
/// scattered over the heap, each would cost the copy of a page, and most a large page that has to be split first.
#[cfg(target_env = "gnu")]
fn fill_gaps() {
    const LARGE_BLOCKS: [usize; 6] = [64 << 10, 32 << 10, 16 << 10, 8 << 10, 4 << 10, 2 << 10];
    const SMALL_BLOCKS: std::ops::RangeInclusive<usize> = 24..=1032;
    // SAFETY: asks the allocator for numbers, and for blocks that nobody uses.
    unsafe {
        let end = libc::sbrk(0) as usize - libc::mallinfo().keepcost as usize;
        for size in LARGE_BLOCKS.into_iter().chain(SMALL_BLOCKS.rev().step_by(16)) {
            let block = loop {
                let block = libc::malloc(size);
                if block.is_null() || block as usize >= end {
                    break block;
                }
            };
            // A small one would be kept as the next of its size: the next ones of all sizes lie on ten pages.
            if size > *SMALL_BLOCKS.end() {
                libc::free(block);
            }
        }
    }
}

#[cfg(not(target_env = "gnu"))]
fn fill_gaps() {}

/// Lets children inherit the pages of the C library that are in use. fork(2) leaves a file's pages to be found by page
/// faults, unless one of that area's has been changed: one byte is, to what it is.
fn share_c_library(areas: &[Area<'_>]) -> std::io::Result<()> {
    let inside = libc::getpid as unsafe extern "C" fn() -> libc::pid_t as usize;
    let here = share_c_library as fn(&[Area<'_>]) -> std::io::Result<()> as usize;
    let Some(area) = areas.iter().find(|area| area.contains(inside)) else { return Ok(()) };
    if area.contains(here) {
        // It is a part of the program.
        return Ok(());
    }
    let memory = fs::File::options().read(true).write(true).open("/proc/self/mem")?;
    let mut byte = [0];
    memory.read_exact_at(&mut byte, area.from as u64)?;
    memory.write_all_at(&byte, area.from as u64)
}

/// Lets the system make large pages of these; true if all are.
pub(super) fn collapse(from: usize, length: usize) -> bool {
    // A page that another process is just giving back cannot be moved, and madvise(2) says that one may try again.
    const TRIES: usize = 10;
    // SAFETY: the advice changes by which pages the memory is mapped, and nothing that is in it.
    let advise = || unsafe { libc::madvise(from as *mut libc::c_void, length, libc::MADV_COLLAPSE) };
    let is_busy = || std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock;
    for _ in 0..TRIES {
        match advise() {
            0 => return true,
            _ if is_busy() => {}
            _ => break,
        }
    }
    false
}

/// An area of the program that lies between `floor` and `ceiling`; large pages may reach so far.
fn compact_program(area: &Area<'_>, floor: usize, ceiling: usize) -> Result<()> {
    let (down, up) = (area.from - area.from % LARGE, area.to.next_multiple_of(LARGE));
    let from = if floor <= down { down } else { down + LARGE };
    replace(area, from, if up <= ceiling { up } else { up - LARGE })
}

/// Replaces what lies there of the area by a copy in large pages. The process has one thread.
fn replace(area: &Area<'_>, from: usize, to: usize) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let length = to - from;
    let copy = fresh(length)?;
    let (first, last) = (area.from.max(from), area.to.min(to));
    // SAFETY: the copy is as long as what it is for; the original is mapped and is only read.
    unsafe { copy_nonoverlapping(first as *const u8, (copy + (first - from)) as *mut u8, last - first) };
    let is_moved = collapse(copy, length) && take_over(copy, length, from, area).is_ok();
    if !is_moved {
        // SAFETY: nobody else knows of the copy.
        unsafe { munmap(copy as *mut _, length)? };
    }
    Ok(())
}

/// New memory that begins with a large page.
fn fresh(length: usize) -> Result<usize> {
    // SAFETY: new memory, of which nobody else knows, and of which what is too much is given back.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let made = mmap_anonymous(null_mut(), length + LARGE, protection, MapFlags::PRIVATE)? as usize;
        let from = made.next_multiple_of(LARGE);
        if from > made {
            munmap(made as *mut _, from - made)?;
        }
        munmap((from + length) as *mut _, made + LARGE - from)?;
        libc::madvise(from as *mut libc::c_void, length, libc::MADV_HUGEPAGE);
        Ok(from)
    }
}

/// Puts the copy in the place of the original.
fn take_over(copy: usize, length: usize, original: usize, area: &Area<'_>) -> Result<()> {
    let mut protection = MprotectFlags::READ;
    protection.set(MprotectFlags::EXEC, area.permissions.contains('x'));
    // SAFETY: nobody else knows of the copy. It takes its place in one step of the kernel, with the same contents, so
    // that this code goes on in it; where it reaches further than the original, there was nothing.
    unsafe {
        mprotect(copy as *mut _, length, protection)?;
        mremap_fixed(copy as *mut _, length, length, MremapFlags::MAYMOVE, original as *mut _)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::own_process;

    fn maps() -> String {
        fs::read_to_string("/proc/self/maps").unwrap()
    }

    /// What is in the areas of the program that are only read.
    fn program() -> Vec<(usize, Vec<u8>)> {
        let maps = maps();
        let all: Vec<Area<'_>> = areas(&maps).collect();
        let here = program as fn() -> _ as usize;
        let name = all.iter().find(|area| area.contains(here)).unwrap().name;
        let readable = all.iter().filter(|area| area.name == name && !area.permissions.contains('w'));
        // SAFETY: these are mapped, and nobody writes to them.
        let bytes = |area: &Area<'_>| unsafe {
            std::slice::from_raw_parts(area.from as *const u8, area.to - area.from).to_vec()
        };
        readable.map(|area| (area.from, bytes(area))).collect()
    }

    #[test]
    fn nothing_changes_but_the_pages() {
        if !own_process::is_own() {
            return;
        }
        let texts: Vec<String> = (0..100_000).map(|number| format!("text {number}")).collect();
        let before = program();
        assert!(before.len() >= 2, "code and constants");
        compact();
        for (from, bytes) in &before {
            // SAFETY: it was mapped before, and is mapped still.
            let now = unsafe { std::slice::from_raw_parts(*from as *const u8, bytes.len()) };
            assert!(now == bytes.as_slice());
        }
        let right = |(number, text): (usize, &String)| *text == format!("text {number}");
        assert!(texts.iter().enumerate().all(right));
        // The heap grows behind.
        let more: Vec<String> = (0..300_000).map(|number| format!("more {number}")).collect();
        drop(texts);
        assert!(more.iter().enumerate().all(|(number, text)| *text == format!("more {number}")));
        // It can be done again, and a child is as its parent.
        compact();
        // SAFETY: the child reads its memory and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let same = more.iter().enumerate().all(|(number, text)| *text == format!("more {number}"));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if same { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: a plain system call on a child of this test.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(libc::WEXITSTATUS(status), 7);
    }

    /// Unless the system has none to give.
    #[test]
    fn the_program_lies_in_large_pages() {
        if !own_process::is_own() {
            return;
        }
        let code = |area: &Area<'_>| area.permissions == "r-xp" && area.to - area.from >= 2 * LARGE;
        let length = |area: Area<'_>| area.to - area.from - LARGE;
        let before: usize = areas(&maps()).filter(code).map(length).sum();
        compact();
        let moved = areas(&maps()).filter(code).any(|area| area.name.is_empty());
        let probe = fresh(before).unwrap();
        // SAFETY: the new memory is so long.
        unsafe { std::ptr::write_bytes(probe as *mut u8, 1, before) };
        assert!(moved || !collapse(probe, before));
    }
}
