//! What the system does with a signal: sigaction(2) and its like.
//!
//! Handlers are installed by signal-hook, once per signal and process. To ignore a signal, or to let the system
//! do what it does by default, its handler is taken out here, and put back when a script wants one again.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use signal_hook::SigId;

use crate::runtime::Thread;
use crate::runtime::sync::{Arc, Mutex};

/// What the system does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What it does with it by default.
    Default,
    /// Nothing.
    Ignore,
    /// It calls a handler of this program.
    Handler,
}

/// The handlers that were taken out.
static TAKEN: Mutex<Option<HashMap<i32, libc::sigaction>>> = Mutex::new(None);

fn change(number: i32, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or a whole sigaction that was filled by this function or holds SIG_DFL or SIG_IGN, and
    // the system writes a whole one to `old`; all zeros are one as well.
    let (result, old) = unsafe { (libc::sigaction(number, new, old.as_mut_ptr()), old.assume_init()) };
    if result == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

fn action_of(raw: &libc::sigaction) -> Action {
    match raw.sa_sigaction {
        libc::SIG_DFL => Action::Default,
        libc::SIG_IGN => Action::Ignore,
        _ => Action::Handler,
    }
}

/// What the system does with the signal now.
///
/// # Errors
/// The system's, for a number that is no signal's.
pub fn current(number: i32) -> io::Result<Action> {
    change(number, None).map(|raw| action_of(&raw))
}

/// Lets the system ignore the signal, or do what it does by default.
///
/// # Errors
/// The system's, for SIGKILL and SIGSTOP.
pub fn set(number: i32, action: Action) -> io::Result<()> {
    // SAFETY: all zeros are a sigaction: the default action, no flags, no signals blocked.
    let mut raw = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    raw.sa_sigaction = if action == Action::Ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    let old = change(number, Some(&raw))?;
    if action_of(&old) == Action::Handler {
        TAKEN.lock().get_or_insert_default().insert(number, old);
    }
    Ok(())
}

/// Puts a handler back that [`set`] took out, if it did.
///
/// # Errors
/// The system's.
pub fn put_back(number: i32) -> io::Result<()> {
    let taken = TAKEN.lock().get_or_insert_default().remove(&number);
    match taken {
        Some(raw) if current(number)? != Action::Handler => change(number, Some(&raw)).map(drop),
        _ => Ok(()),
    }
}

/// Lets the signal reach the main thread, from now on.
///
/// # Errors
/// The system's; EINVAL for the signals that no handler can deal with.
pub fn hook(number: i32, main: Arc<Thread>) -> io::Result<SigId> {
    if signal_hook::consts::FORBIDDEN.contains(&number) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: what runs in the handler is atomics and a write(2), all of which signal handlers may do.
    unsafe { signal_hook::low_level::register(number, move || main.note_signal(number)) }
}

/// Sends a signal to the calling thread.
///
/// # Errors
/// The system's, for a number that is no signal's.
pub fn raise(number: i32) -> io::Result<()> {
    // SAFETY: raise(3) takes any number.
    if unsafe { libc::raise(number) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn time_of(value: libc::timeval) -> Duration {
    Duration::new(value.tv_sec.max(0) as u64, value.tv_usec.max(0) as u32 * 1000)
}

fn value_of(time: Duration) -> libc::timeval {
    let seconds = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
    libc::timeval { tv_sec: seconds, tv_usec: time.subsec_micros().into() }
}

/// Sets the timer that sends SIGALRM (or another, by `which`) after `first` and then every `interval`; returns
/// what was left of the one before. A `first` of zero stops it.
///
/// # Errors
/// The system's, for another `which` than it knows.
pub fn set_timer(which: i32, first: Duration, interval: Duration) -> io::Result<(Duration, Duration)> {
    let new = libc::itimerval { it_interval: value_of(interval), it_value: value_of(first) };
    let mut old =
        libc::itimerval { it_interval: value_of(Duration::ZERO), it_value: value_of(Duration::ZERO) };
    // SAFETY: both are whole itimervals; the system reads the one and writes the other. The cast is for C
    // libraries that give the number of a timer another integer type.
    let result = unsafe { libc::setitimer(which as _, &new, &mut old) };
    match result {
        0 => Ok((time_of(old.it_value), time_of(old.it_interval))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What is left of the timer, and its interval.
///
/// # Errors
/// The system's, for another `which` than it knows.
pub fn timer(which: i32) -> io::Result<(Duration, Duration)> {
    let mut now =
        libc::itimerval { it_interval: value_of(Duration::ZERO), it_value: value_of(Duration::ZERO) };
    // SAFETY: the system writes a whole itimerval to `now`.
    let result = unsafe { libc::getitimer(which as _, &mut now) };
    match result {
        0 => Ok((time_of(now.it_value), time_of(now.it_interval))),
        _ => Err(io::Error::last_os_error()),
    }
}
