//! Ctrl-C.
//!
//! A signal handler may do next to nothing, so a thread of its own receives the signal and interrupts the
//! script's main thread. It sleeps until then.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use onelock::InterruptHandle;
use onelock::runtime::interrupt_deaf;
use signal_hook::consts::{SIGINT, SIGXFSZ};
use signal_hook::iterator::Signals;

/// The exit status after Ctrl-C: 128 and the signal's number, as in the shell.
const INTERRUPTED: i32 = 130;

/// Its stack is touched by a few calls only.
const STACK_SIZE: usize = 64 << 10;

/// Whom Ctrl-C reaches.
static TARGET: Mutex<Option<InterruptHandle>> = Mutex::new(None);

/// Lets a write or a memory file that would pass the limit on the size of files (`ulimit -f`) fail, which becomes an
/// OSError, instead of ending the process. A handler that does nothing, since programs that are started by this
/// one do not inherit it.
pub fn outlive_file_size_limit() {
    // Without it the system ends the process there, as it does with other programs.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Lets Ctrl-C raise KeyboardInterrupt in the interpreter of `handle`, from now on. When the one before was not
/// delivered yet, or nothing runs, it ends the process.
pub fn interrupt_on_ctrl_c(handle: InterruptHandle) {
    if was_ignored(SIGINT) {
        return;
    }
    handle.on_fork(listen_or_end);
    let before = TARGET.lock().unwrap_or_else(PoisonError::into_inner).replace(handle);
    if before.is_none() {
        listen_or_end();
        // SAFETY: it does what a signal handler may: atomics, and _exit(2).
        let _ = unsafe { signal_hook::low_level::register(SIGINT, interrupt_deaf) };
    }
}

/// Without a handler Ctrl-C ends the process, which is not far from what is wanted.
fn listen_or_end() {
    let _ = listen();
}

/// Does the process ignore the signal? A shell starts background jobs, and `nohup` its command, with signals that
/// stay ignored.
fn was_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn listen() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    let receive = move || {
        for _ in signals.forever() {
            let target = TARGET.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if !target.is_some_and(|target| target.interrupt()) {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new().name("ctrl-c".into()).stack_size(STACK_SIZE).spawn(receive)?;
    Ok(())
}
