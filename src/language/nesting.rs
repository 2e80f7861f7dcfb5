//! How deeply a native function may go into values that contain each other.
//!
//! `repr`, `==`, `json.dumps` and their like call themselves for what is inside. CPython counts those calls as it
//! counts a script's, and raises RecursionError; so does this.

use std::cell::Cell;

use super::exception::{Outcome, raise};
use super::realm;
use crate::runtime::stack_is_low;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static CUT: Cell<Cut> = const { Cell::new(Cut::No) };
}

/// What a text leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cut {
    #[default]
    No,
    /// What was nested too deeply.
    Deep,
    /// What made it too long.
    Long,
}

/// The longest text that shows a container, in bytes.
const LONGEST: usize = 1 << 30;

/// One level of nesting, for as long as it lives.
pub struct Level(());

impl Level {
    /// Goes one level deeper; nothing if that is too deep.
    pub fn enter() -> Option<Self> {
        let depth = DEPTH.get();
        if depth >= most() || stack_is_low() {
            return None;
        }
        DEPTH.set(depth + 1);
        Some(Self(()))
    }

    /// Goes one level deeper.
    ///
    /// # Errors
    /// RecursionError if that is too deep: "maximum recursion depth exceeded" and `during`, which begins with a
    /// blank.
    pub fn enter_or_raise(during: &str) -> Outcome<Self> {
        Self::enter().ok_or_else(|| too_deep(during))
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

fn most() -> usize {
    realm::recursion_limit()
}

// Not inlined: every native that waits would keep room for it.
#[cold]
#[inline(never)]
fn too_deep(during: &str) -> Box<rhai::EvalAltResult> {
    raise("RecursionError", format!("maximum recursion depth exceeded{during}"))
}

#[cold]
#[inline(never)]
fn too_long() -> Box<rhai::EvalAltResult> {
    raise("MemoryError", "the text would be longer than 1024 MiB: show a part of the object")
}

/// Runs `f`, which may make a text that leaves something out. Rhai asks for such texts and takes no error for an
/// answer: in `` `${x}` `` a container that is nested too deeply shows `[...]` for its inmost part.
pub fn cut_is_fine<T>(f: impl FnOnce() -> T) -> T {
    let before = CUT.get();
    let result = f();
    CUT.set(before);
    result
}

/// Notes that a text leaves out what was too deep.
pub fn note_cut() {
    if CUT.get() == Cut::No {
        CUT.set(Cut::Deep);
    }
}

/// May a text that shows a container have this length? If not, that is noted, and nothing more is to be shown.
pub fn may_be_so_long(length: usize) -> bool {
    if length > LONGEST {
        CUT.set(Cut::Long);
    }
    CUT.get() != Cut::Long
}

/// Runs `f`, whose result must not have been made from a text that leaves something out.
///
/// # Errors
/// What `f` raises; RecursionError or MemoryError if something was left out.
pub fn uncut<T>(f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let before = CUT.take();
    let result = f();
    match (result, CUT.replace(before)) {
        (Ok(_), Cut::Deep) => Err(too_deep(" while getting the repr of an object")),
        (Ok(_), Cut::Long) => Err(too_long()),
        (result, _) => result,
    }
}
