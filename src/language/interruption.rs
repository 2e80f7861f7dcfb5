//! Ctrl-C in the middle of a computation, and the calls that it came in.
//!
//! Rhai's safepoint can only end a run, and such an error passes through all calls without noting them. So:
//!
//! - The tree walker asks the resolver for every variable, and from there an ordinary error can be raised. The
//!   safepoint leaves Ctrl-C pending for a few of its ticks and the resolver raises it. Only a loop without any
//!   variable is ended at the safepoint.
//! - The bytecode machine notes the address at which each frame stopped, whatever the error is.

use std::cell::Cell;

use rhai::grain::{Program, Vm};
use rhai::{AST, EvalAltResult, Position};

use super::exception::{Exception, Frame, Outcome, Traceback, interrupted, shown_name};
use crate::runtime::{Interrupt, postpone_interrupt, take_keyboard_interrupt};

/// How many ticks Ctrl-C is left pending for.
const MOST_POSTPONED: u32 = 100;

thread_local! {
    /// For how many ticks Ctrl-C has been pending, 0 if it is not.
    static POSTPONED: Cell<u32> = const { Cell::new(0) };
}

/// To be asked at a safepoint: true if the interrupt is to be raised there, false if it stays pending.
pub(super) fn is_due(interrupt: Interrupt) -> bool {
    let postponed = POSTPONED.get();
    if interrupt == Interrupt::KeyboardInterrupt && postponed < MOST_POSTPONED && postpone_interrupt() {
        POSTPONED.set(postponed + 1);
        return false;
    }
    POSTPONED.set(0);
    true
}

/// To be called where an ordinary error can be raised: raises a Ctrl-C that was left pending.
///
/// # Errors
/// KeyboardInterrupt.
#[inline]
pub(super) fn raise_postponed() -> Outcome<()> {
    if POSTPONED.get() == 0 { Ok(()) } else { raise_now() }
}

#[cold]
fn raise_now() -> Outcome<()> {
    POSTPONED.set(0);
    // A wait may have raised it meanwhile.
    if take_keyboard_interrupt() { Err(interrupted(Interrupt::KeyboardInterrupt)) } else { Ok(()) }
}

/// Gives an exception that ended a run of `program` the calls that the machine was in.
pub(super) fn note_calls(error: &EvalAltResult, vm: &Vm, program: &Program, ast: &AST) {
    let EvalAltResult::ErrorTerminated(value, _) = error.unwrap_inner() else { return };
    let Some(exception) = value.read_lock::<Exception>() else { return };
    let file = ast.source().unwrap_or_default();
    let faults = vm.fault_trace();
    let frames = faults.iter().rev().filter_map(|fault| {
        let position = place_of(program, fault.address);
        let line = position.line()?;
        Some(Frame::at(file, line, position.position().unwrap_or(0), function_at(ast, position)))
    });
    exception.set_traceback(Traceback::from_frames(frames.collect()));
}

/// The place of the instruction, or of the last one before it in the same function that has one: the jump at the end
/// of a loop has none.
fn place_of(program: &Program, address: usize) -> Position {
    let chunks = program.functions().iter().map(|f| &f.chunk).chain([program.main()]);
    let entries = chunks.map(|chunk| chunk.entry() as usize).filter(|entry| *entry <= address);
    let entry = entries.max().unwrap_or(address);
    let places = (entry..=address).rev().map(|address| program.position(address));
    places.into_iter().find(|place| !place.is_none()).unwrap_or(Position::NONE)
}

/// The innermost function whose body the position is in.
fn function_at(ast: &AST, position: Position) -> String {
    let contains = |start: Position, end: Position| {
        // A closure that is a mere expression has no end of its own.
        let is_before_end = if end.is_none() { position.line() == start.line() } else { position <= end };
        !start.is_none() && start <= position && is_before_end
    };
    let bodies = ast.iter_fn_def().map(|f| (f.body.start_position(), f.body.end_position(), &f.name));
    let innermost = bodies.filter(|(start, end, _)| contains(*start, *end)).max_by_key(|(start, ..)| *start);
    innermost.map_or_else(|| "<module>".into(), |(.., name)| shown_name(name))
}
