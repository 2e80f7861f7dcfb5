//! Makes a process cheaper to fork.
//!
//! fork(2) copies one entry for each page that a process has written to, and the child's end takes each away again:
//! for some megabytes that is most of what a short child costs. Pages of 2 MB have one entry.

use std::fs;

/// Large pages, on x86-64 and on most other machines.
const LARGE: usize = 2 << 20;

/// Lets the heap of the calling process consist of large pages where it can. It copies the memory once; where the
/// system has no large pages to give, everything stays as it is.
pub(super) fn compact_heap() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let heap = maps.lines().find(|line| line.ends_with("[heap]"));
    let Some((from, rest)) = heap.and_then(|line| line.split_once('-')) else { return };
    let Some((to, _)) = rest.split_once(' ') else { return };
    let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)) else { return };
    let from = from.next_multiple_of(LARGE);
    let to = to - to % LARGE;
    if from < to {
        // SAFETY: the advice changes by which pages the memory is mapped, and nothing that is in it.
        unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_COLLAPSE) };
    }
}
