//! Signals that the script handles: from the system's handler to the main thread.
//!
//! A signal handler may do next to nothing. Ours notes the signal, asks the main thread to look up, and tells the
//! thread that wakes it if it waits. The main thread then makes the pending call at its next safepoint, or in
//! the middle of a wait, which goes on afterwards.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Weak;

use rustix::event::{EventfdFlags, eventfd};

use super::blocking::Interrupt;
use super::registry::Runtime;
use super::sync::{Arc, AtomicBool, AtomicI32, AtomicU64, Mutex, Ordering};
use super::thread::{Attention, Thread};
use std::sync::OnceLock;

/// What a runtime knows of signals.
#[derive(Default)]
pub(super) struct Signals {
    /// A bit for each signal that has come and was not handled.
    pending: AtomicU64,
    /// Does the script deal with Ctrl-C itself?
    has_own_interrupt: AtomicBool,
    /// What the main thread calls when there is something to handle.
    call: OnceLock<fn() -> Result<(), Interrupt>>,
}

/// The waking thread's descriptor, for signal handlers; -1 while there is none.
static BELL: AtomicI32 = AtomicI32::new(-1);
/// Keeps the descriptor open, for ever: a signal handler may be about to write to it.
static BELLS: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
/// Whose main threads are woken.
static LISTENERS: Mutex<Vec<Weak<Runtime>>> = Mutex::new(Vec::new());

/// Its stack is touched by a few calls only.
const STACK_SIZE: usize = 64 << 10;

impl Runtime {
    /// Makes the main thread call `call` whenever signals have come in, from now on.
    ///
    /// # Errors
    /// The system's, when it has no room for the thread that wakes the main thread.
    pub fn listen_for_signals(self: &Arc<Self>, call: fn() -> Result<(), Interrupt>) -> io::Result<()> {
        if self.signals().call.set(call).is_ok() {
            LISTENERS.lock().push(Arc::downgrade(self));
        }
        if BELL.load(Ordering::Acquire) < 0 { hang_up_bell() } else { Ok(()) }
    }

    /// The signals that have come since the last call, as bits; they are thereby taken.
    pub fn take_signals(&self) -> u64 {
        self.signals().pending.swap(0, Ordering::AcqRel)
    }

    /// Puts signals back that were taken and not handled.
    pub fn put_signals_back(&self, signals: u64) {
        if signals != 0 {
            self.signals().pending.fetch_or(signals, Ordering::AcqRel);
            if let Some(main) = self.main_thread() {
                main.ask(Attention::CALL);
            }
        }
    }

    /// The script deals with Ctrl-C itself from now on, so that [`Runtime::interrupt_main`] need not. For good: the
    /// host may report a Ctrl-C long after the script's handler got it.
    pub fn own_interrupt(&self) {
        self.signals().has_own_interrupt.store(true, Ordering::Release);
    }

    pub(super) fn has_own_interrupt(&self) -> bool {
        self.signals().has_own_interrupt.load(Ordering::Acquire)
    }

    /// Says that signals may, or may no longer, free threads that wait for each other: no deadlock is seen then.
    pub fn expect_signals(&self, expected: bool) {
        self.count_runnable(if expected { 1 } else { -1 });
    }

    /// Makes the pending call of the main thread, which is the calling one.
    ///
    /// # Errors
    /// [`Interrupt`] when a handler raised something.
    pub(super) fn make_call(&self, main: &Thread) -> Result<(), Interrupt> {
        main.clear(Attention::CALL);
        self.signals().call.get().map_or(Ok(()), |call| call())
    }

    /// Handles at once what has come in for the calling thread, if that is the main thread.
    ///
    /// # Errors
    /// [`Interrupt`] when a handler raised something.
    pub fn handle_signals(&self) -> Result<(), Interrupt> {
        match super::current() {
            Some(current) if current.has(Attention::CALL) => self.make_call(&current),
            _ => Ok(()),
        }
    }
}

impl Thread {
    /// A signal has come: to be called by a signal handler, with the main thread. Only atomics and one write(2).
    pub fn note_signal(&self, number: i32) {
        self.runtime().signals().pending.fetch_or(1 << (number & 63), Ordering::AcqRel);
        self.ask(Attention::CALL);
        let bell = BELL.load(Ordering::Acquire);
        if bell >= 0 {
            // SAFETY: the descriptor is kept open for ever by `BELLS`.
            let bell = unsafe { BorrowedFd::borrow_raw(bell) };
            // It fails only when the bell rings already.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

/// Starts the thread that wakes main threads.
fn hang_up_bell() -> io::Result<()> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
    let listening = bell.try_clone()?;
    let wake = move || {
        while let Ok(_) | Err(rustix::io::Errno::INTR) = rustix::io::read(&listening, &mut [0_u8; 8]) {
            LISTENERS.lock().retain(|runtime| match runtime.upgrade() {
                None => false,
                Some(runtime) => {
                    if let Some(main) = runtime.main_thread().filter(|main| main.has(Attention::CALL)) {
                        main.parker.unpark();
                    }
                    true
                }
            });
        }
    };
    std::thread::Builder::new().name("signals".into()).stack_size(STACK_SIZE).spawn(wake)?;
    BELL.store(bell.as_raw_fd(), Ordering::Release);
    BELLS.lock().push(bell);
    Ok(())
}

/// In a forked child: the thread that wakes the main thread was left behind, and another one is needed.
pub(super) fn after_fork() {
    if BELL.swap(-1, Ordering::AcqRel) >= 0 {
        // Without it, a signal is handled when the main thread computes again.
        let _ = hang_up_bell();
    }
}
