//! The safepoint: what every running thread comes to again and again.
//!
//! The evaluator calls [`tick`] before statements and expressions. In the common case that is a counter and
//! one relaxed load of a flag that only this thread's requesters write. Switching threads, Ctrl-C and the
//! stopping of daemons all hang on it, and nothing else looks at the lock.

use super::blocking::Interrupt;
use super::gil::TICKS_PER_SAFEPOINT;
use super::stack;
use super::thread::{Attention, Running, with_running};

/// One safepoint of the calling thread.
///
/// # Errors
/// [`Interrupt`] when the thread must stop running its script: Ctrl-C, or the end of the program. The caller
/// raises it; after `KeyboardInterrupt` was reported once it is no longer pending.
#[inline]
pub fn tick() -> Result<(), Interrupt> {
    with_running(|running| {
        let Some(running) = running else { return Ok(()) };
        let left = running.budget.get() - 1;
        running.budget.set(left);
        if left != 0 && !running.thread.needs_attention() && stack::pointer() > running.stack_limit {
            Ok(())
        } else {
            look_up(running)
        }
    })
}

/// Makes the calling script thread raise MemoryError at its next safepoint: it has taken a block of memory that is
/// larger than any operation may take. For the allocator of the process: it allocates nothing and cannot fail.
pub fn note_large_block() {
    with_running(|running| {
        let Some(running) = running else { return };
        running.large_block.set(true);
        // The next tick is to look up; those before it stay counted.
        let over = running.granted.get() - running.budget.get();
        running.budget.set(1);
        running.granted.set(over.saturating_add(1));
    });
}

/// Withdraws the note of [`note_large_block`]: the operation has raised an exception of its own.
pub fn forget_large_block() {
    with_running(|running| running.map(|running| running.large_block.set(false)));
}

/// Is the calling thread's stack so far used up that no native function should call itself any further?
pub fn stack_is_low() -> bool {
    stack::pointer() <= stack::limit()
}

/// Leaves a KeyboardInterrupt that [`tick`] has just reported pending after all: the next tick or wait reports it
/// again. False outside a script thread.
pub fn postpone_interrupt() -> bool {
    with_running(|running| running.map(|running| running.thread.ask(Attention::KEYBOARD_INTERRUPT)).is_some())
}

/// Was a KeyboardInterrupt pending for the calling thread? It is thereby delivered.
pub fn take_keyboard_interrupt() -> bool {
    with_running(|running| {
        let Some(running) = running.filter(|r| r.thread.has(Attention::KEYBOARD_INTERRUPT)) else {
            return false;
        };
        running.thread.clear(Attention::KEYBOARD_INTERRUPT);
        true
    })
}

#[cold]
#[inline(never)]
fn look_up(running: &Running) -> Result<(), Interrupt> {
    let thread = &*running.thread;
    let gil = thread.runtime().gil();
    let expired = running.budget.get() == 0;
    count_ticks(running);
    if expired {
        running.budget.set(gil.tick_budget());
        running.granted.set(gil.tick_budget());
    }
    if thread.has(Attention::REST) {
        thread.runtime().rest().pause(thread);
    }
    if running.large_block.take() {
        return Err(Interrupt::MemoryExhausted);
    }
    if stack::pointer() <= running.stack_limit {
        return Err(Interrupt::StackExhausted);
    }
    serve_interrupt(running)?;
    let kept = !expired || gil.budget_spent(thread);
    let has_lock = kept && (!thread.has(Attention::GIL_DROP_REQUEST) || gil.switch(thread));
    if has_lock { Ok(()) } else { Err(Interrupt::Stop) }
}

/// Books the calling thread's ticks, for the statistics.
pub(super) fn book_ticks() {
    with_running(|running| running.map(count_ticks));
}

/// Books the ticks that were counted down since the last booking.
pub(super) fn count_ticks(running: &Running) {
    let left = running.budget.get();
    running
        .thread
        .counters()
        .add_ticks(u64::from(running.granted.get() - left) * u64::from(TICKS_PER_SAFEPOINT));
    running.granted.set(left);
}

/// The interrupt that is pending for the thread, if any; Ctrl-C is thereby delivered.
pub(super) fn take_interrupt(running: &Running) -> Result<(), Interrupt> {
    let thread = &*running.thread;
    if thread.has(Attention::STOP) {
        return Err(Interrupt::Stop);
    }
    if thread.has(Attention::KEYBOARD_INTERRUPT) {
        thread.clear(Attention::KEYBOARD_INTERRUPT);
        return Err(Interrupt::KeyboardInterrupt);
    }
    if thread.has(Attention::CALL) {
        return Err(Interrupt::Call);
    }
    Ok(())
}

/// As [`take_interrupt`], for a thread that has the lock: a call that is pending is made.
pub(super) fn serve_interrupt(running: &Running) -> Result<(), Interrupt> {
    match take_interrupt(running) {
        Err(Interrupt::Call) => running.thread.runtime().make_call(&running.thread),
        result => result,
    }
}
