//! How deeply script functions may call each other: a limit that a running script can change.
//!
//! Rhai keeps the limit in the engine and takes it only from whoever builds that. Each call reads it anew, so
//! storing the word while scripts run does what `sys.setrecursionlimit` is to do. This module finds the word.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use rhai::Engine;

use crate::runtime::sync::{AtomicUsize, Ordering};

/// The pointer-sized words of an engine.
const WORDS: usize = size_of::<Engine>() / size_of::<usize>();

/// Which of an engine's words is the limit, if that is certain.
fn place() -> Option<usize> {
    static PLACE: OnceLock<Option<usize>> = OnceLock::new();
    *PLACE.get_or_init(|| {
        let found = [0x5afe_0000_0ca1_1500_usize, 0x0bad_cafe_0001_1235].map(place_of);
        if found[0] == found[1] { found[0] } else { None }
    })
}

/// The only word of a new engine that changes to `limit` with the limit.
fn place_of(limit: usize) -> Option<usize> {
    // Zeroed, so that every word can be read whether the engine uses it or not.
    let mut memory = Box::new(MaybeUninit::<Engine>::zeroed());
    memory.write(Engine::new_raw());
    // SAFETY: it was just written, and is dropped once, below.
    let engine = unsafe { memory.assume_init_mut() };
    engine.set_max_call_levels(limit);
    let words = std::ptr::from_ref(engine).cast::<usize>();
    // SAFETY: the words are inside the engine, which is at least pointer-aligned. Those that the engine does not
    // use are read as they are, and only compared.
    let mut places = (0..WORDS).filter(|at| unsafe { words.add(*at).read_volatile() } == limit);
    let place = places.next().filter(|_| places.next().is_none());
    // SAFETY: it is not used after this.
    unsafe { memory.assume_init_drop() };
    place
}

/// Changes how deeply functions of scripts that `engine` runs may call each other. False if rhai keeps the limit in
/// a way that is not known here; it is as it was then.
pub(super) fn set(engine: &Engine, limit: usize) -> bool {
    let Some(place) = place() else { return false };
    let word = std::ptr::from_ref(engine).cast::<usize>().wrapping_add(place).cast_mut();
    // SAFETY: `place` is that of the limit in every engine, a plain aligned word that rhai reads whole, once at each
    // call, and that nobody writes but this function, atomically; no reference to the word itself is kept
    // anywhere. Whichever of two values a call reads is a limit that the script has set.
    let limit_of_engine = unsafe { AtomicUsize::from_ptr(word) };
    limit_of_engine.store(limit, Ordering::Relaxed);
    engine.max_call_levels() == limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_shared_engine_changes_and_nothing_else_does() {
        let mut engine = Engine::new();
        engine.set_max_call_levels(10);
        engine.set_max_variables(77);
        let shared = std::sync::Arc::new(engine);
        for limit in [3, 50] {
            assert!(set(&shared, limit));
            assert_eq!((shared.max_call_levels(), shared.max_variables()), (limit, 77));
            let deep = |n: usize| {
                shared.eval::<i64>(&format!("fn f(n) {{ if n > 1 {{ f(n - 1) }} else {{ 7 }} }} f({n})"))
            };
            assert_eq!(deep(limit).unwrap(), 7);
            assert!(deep(limit + 2).unwrap_err().to_string().contains("overflow"));
        }
    }
}
