//! The error that arrives where one is caught: what is dropped on its way may raise one that takes its place, and there
//! a native cannot return it.

use std::cell::RefCell;

use rhai::EvalAltResult;

use super::is_stop;

thread_local! {
    /// The last one that was raised while another passed.
    static FAILURE: RefCell<Option<Box<EvalAltResult>>> = const { RefCell::new(None) };
}

/// To be called where an error passes: `failure` takes its place.
pub fn overtake(failure: Box<EvalAltResult>) {
    FAILURE.set(Some(failure));
}

/// To be called wherever an error comes out of a script: the one that took its place, or itself.
pub fn arrived(error: Box<EvalAltResult>) -> Box<EvalAltResult> {
    match FAILURE.take() {
        Some(failure) if !is_stop(&error) => failure,
        _ => error,
    }
}
