//! Blocking: the one way in which anything in this program waits.
//!
//! A lock, a queue, join, sleep, input, a socket, a child: every wait goes through [`block`]. It records what
//! the thread waits for and on which line, gives up the global interpreter lock, sleeps until it is woken, its
//! deadline passes or it is interrupted, and takes the lock again. So the lock is never held across a wait,
//! Ctrl-C reaches a thread wherever it waits, and a deadlock is seen, because the runtime knows at every moment
//! who waits for what.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::deadlock;
use super::site::Site;
use super::sleepers::Sleepers;
use super::spin::Spin;
use super::sync::{Arc, AtomicU32};
use super::thread::{Running, Thread, ThreadState, with_running};
use super::tick::{count_ticks, serve_interrupt, take_interrupt};
use super::waiter::Waiter;
use super::words::{LOOK_AGAIN, sleep_on_word, spin_on_word, wait_for_words, watch_word};

/// Why a wait or a computation ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C, to be raised as KeyboardInterrupt.
    KeyboardInterrupt,
    /// The stack is used up, to be raised as RecursionError.
    StackExhausted,
    /// More memory was taken at once than one operation may, to be raised as MemoryError.
    MemoryExhausted,
    /// The program is over (or deadlocked): the thread must stop, and no script may catch it.
    Stop,
    /// A call is to be made in the middle of a wait. It does not leave the runtime.
    Call,
    /// A call that was made raised something, which whoever made it has kept.
    Raised,
}

/// Something that threads of this process wait for and that a thread may hold.
pub trait Resource: Send + Sync {
    /// What it is and what it is called: ``Lock `a` (made at line 3)``.
    fn describe(&self) -> String;

    /// The thread that holds it, and where it took it, if one does.
    fn holder(&self) -> Option<(Arc<Thread>, Site)> {
        None
    }

    /// Can other processes make it available? Then a wait for it is no deadlock, however many threads wait.
    fn is_shared(&self) -> bool {
        false
    }

    /// Is it there already, and whoever waits for it has only not seen it yet?
    fn is_available(&self) -> bool {
        false
    }

    /// Was the process that holds it killed, so that nobody is left who would give it back? Asked for what is
    /// shared, when a wait for it has lasted a while.
    fn is_stranded(&self) -> bool {
        false
    }

    /// What reports say of a holder that is not known as a thread of this process.
    fn foreign_holder(&self) -> Option<String> {
        None
    }
}

/// What a thread waits for.
#[derive(Clone)]
pub enum Reason {
    /// An object that only another thread of this process can make available.
    Resource(Arc<dyn Resource>),
    /// The end of a thread.
    Join(Arc<Thread>),
    /// The first step of a thread that was just started.
    Start(Arc<Thread>),
    /// Time.
    Sleep,
    /// Something from outside the process, by name: `input`, `a socket`, `a child`.
    External(&'static str),
}

impl Reason {
    /// Could anything but a thread of this process end the wait, which has lasted for `waited`? So it could if it only
    /// takes the waiting thread to look again.
    pub(crate) fn is_external(&self, waited: Duration) -> bool {
        match self {
            Self::Sleep | Self::External(_) => true,
            Self::Join(_) | Self::Start(_) => false,
            Self::Resource(resource) => {
                // A killed process may be found out only by a system call: not for a lock that is free in no time.
                let may_be_given = || waited < LOOK_AGAIN || !resource.is_stranded();
                resource.is_available() || (resource.is_shared() && may_be_given())
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(resource) => f.write_str(&resource.describe()),
            Self::Join(thread) => write!(f, "the end of {}", thread.name()),
            Self::Start(thread) => write!(f, "the start of {}", thread.name()),
            Self::Sleep => f.write_str("time to pass"),
            Self::External(what) => f.write_str(what),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a wait ended, if nothing interrupted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// By whoever it waited for.
    Notified,
    /// By the clock.
    TimedOut,
}

/// What ends a wait.
pub enum Until<'a> {
    /// [`Waiter::wake`].
    Notified(&'a Waiter),
    /// A file descriptor that can be read.
    Readable(BorrowedFd<'a>),
    /// A file descriptor that can be written.
    Writable(BorrowedFd<'a>),
    /// A word in memory that processes share differs from what was `seen`, and [`wake_word`] was called. The wait
    /// may also end, as if notified, when nothing has changed: a process that was killed may have taken the
    /// wake-up with it, so it is never longer than half a second.
    Changed {
        /// The word.
        word: &'a AtomicU32,
        /// Its value when the caller decided to wait.
        seen: u32,
    },
    /// A file descriptor that is ready for one of `flags`, or [`Waiter::wake`]: somebody closed it meanwhile.
    Ready {
        /// The descriptor; the caller keeps it open.
        fd: BorrowedFd<'a>,
        /// What it is to be ready for.
        flags: PollFlags,
        /// Who calls the wait off.
        closed: &'a Waiter,
    },
    /// Like [`Until::Ready`], for one that becomes readable only after `bell` was armed. Before that the wait spins
    /// for a short while.
    Rung {
        /// The descriptor; the caller keeps it open.
        fd: BorrowedFd<'a>,
        /// What makes it readable.
        bell: &'a dyn Bell,
        /// Who calls the wait off.
        closed: &'a Waiter,
    },
    /// [`Until::Changed`] with a record of who really sleeps: who changes the word calls [`Sleepers::wake_one`].
    Passed {
        /// The word.
        word: &'a AtomicU32,
        /// Its value when the caller decided to wait.
        seen: u32,
        /// Who sleeps on it.
        sleepers: &'a Sleepers,
        /// How long the thread goes on doing nothing when it sees the change while it spins, so that there is more
        /// when it comes.
        gathering: Duration,
    },
}

/// Something in shared memory whose change makes a descriptor readable, for those who asked for it.
pub trait Bell {
    /// Is there what the caller waits for?
    fn is_ready(&self) -> bool;

    /// From now on a change makes the descriptor readable. What changed before is to be seen by `is_ready`.
    fn arm(&self);

    /// The caller waits no longer.
    fn disarm(&self);

    /// How long the caller goes on doing nothing when it is ready while it spins: see [`Until::Passed`].
    fn gathering(&self) -> Duration {
        Duration::ZERO
    }
}

/// Blocks the calling thread until `until`, or until `deadline`, and lets others run meanwhile.
///
/// `reason` and `site` are what reports show. A deadline of `None` waits for ever; one that has passed still
/// gives the lock up once.
///
/// # Errors
/// [`Interrupt`] when Ctrl-C or the end of the program came first; the wait is then over and was not served.
pub fn block(
    until: Until<'_>,
    reason: Reason,
    deadline: Option<Instant>,
    site: Site,
) -> Result<Woken, Interrupt> {
    block_since(until, reason, deadline, site, Instant::now())
}

/// [`block`] once more in a wait that began at `since`: nobody has given the thread what it waits for, and all
/// that it did meanwhile was to look again.
///
/// # Errors
/// As [`block`].
pub fn block_since(
    until: Until<'_>,
    reason: Reason,
    deadline: Option<Instant>,
    site: Site,
    since: Instant,
) -> Result<Woken, Interrupt> {
    with_running(|running| match running {
        Some(running) => block_thread(running, &until, reason, deadline, site, since),
        None => Ok(block_foreign(&until, deadline)),
    })
}

fn block_thread(
    running: &Running,
    until: &Until<'_>,
    reason: Reason,
    deadline: Option<Instant>,
    site: Site,
    since: Instant,
) -> Result<Woken, Interrupt> {
    let thread = &*running.thread;
    let runtime = thread.runtime();
    runtime.synchronise();
    runtime.listen();
    serve_interrupt(running)?;
    count_ticks(running);
    let now = Instant::now();
    let stuck = deadline.is_none() && !reason.is_external(now - since);
    let may_spin = !matches!(reason, Reason::Sleep);
    begin_wait(thread, reason, since, site);
    loop {
        let result = wait_once(running, until, may_spin, deadline, stuck);
        if result != Err(Interrupt::Call) {
            thread.counters().add_blocked(now.elapsed());
            thread.set_state(ThreadState::Ready);
            return result;
        }
        call_amid_wait(thread)?;
    }
}

// Not inlined, here and at its like: two thread's states would lie on the stack of every thread that waits.
#[inline(never)]
fn call_amid_wait(thread: &Thread) -> Result<(), Interrupt> {
    // The handler may wait for something itself.
    let waiting = thread.state();
    thread.set_state(ThreadState::Ready);
    thread.runtime().make_call(thread)?;
    thread.set_state(waiting);
    Ok(())
}

/// Waits without the lock; afterwards the thread has it again, unless it is to stop.
fn wait_once(
    running: &Running,
    until: &Until<'_>,
    may_spin: bool,
    deadline: Option<Instant>,
    stuck: bool,
) -> Result<Woken, Interrupt> {
    let thread = &*running.thread;
    let runtime = thread.runtime();
    runtime.gil().release(thread);
    let result = match until {
        Until::Notified(waiter) => {
            if may_spin {
                spin_for(waiter);
            }
            sleep(running, waiter, deadline, stuck)
        }
        until => wait_otherwise(running, until, deadline, stuck),
    };
    let goes_on =
        !(result == Err(Interrupt::Stop) && thread.is_dismissed()) && runtime.gil().acquire(thread, true);
    runtime.synchronise();
    if goes_on { result } else { Err(Interrupt::Stop) }
}

/// The waits for anything but [`Until::Notified`].
// Not inlined: what it needs of the stack, a thread that waits for another one does not.
#[inline(never)]
fn wait_otherwise(
    running: &Running,
    until: &Until<'_>,
    deadline: Option<Instant>,
    stuck: bool,
) -> Result<Woken, Interrupt> {
    match until {
        Until::Notified(_) => unreachable!("the caller's own case"),
        Until::Readable(fd) => poll_fd(running, *fd, PollFlags::IN, None, deadline),
        Until::Writable(fd) => poll_fd(running, *fd, PollFlags::OUT, None, deadline),
        Until::Ready { fd, flags, closed } => poll_fd(running, *fd, *flags, Some(closed), deadline),
        Until::Rung { fd, bell, closed } => {
            poll_bell(*bell, |flags| poll_fd(running, *fd, flags, Some(closed), deadline))
        }
        Until::Changed { word, seen } => {
            if spin_on_word(word, *seen) {
                take_interrupt(running).map(|()| Woken::Notified)
            } else {
                sleep_on_word(running, word, *seen, deadline, stuck)
            }
        }
        Until::Passed { word, seen, sleepers, gathering } => {
            if watch_word(word, *seen, sleepers, *gathering) {
                take_interrupt(running).map(|()| Woken::Notified)
            } else {
                sleepers.enter();
                let result = sleep_on_word(running, word, *seen, deadline, stuck);
                sleepers.leave();
                result
            }
        }
    }
}

#[inline(never)]
fn begin_wait(thread: &Thread, reason: Reason, since: Instant, site: Site) {
    thread.set_state(ThreadState::Blocked { reason, since, site });
}

fn sleep(
    running: &Running,
    waiter: &Waiter,
    deadline: Option<Instant>,
    stuck: bool,
) -> Result<Woken, Interrupt> {
    let thread = &*running.thread;
    let mut suspicious = stuck && waiter.enter_stuck() && thread.runtime().count_runnable(-1) == 0;
    let mut suspicion = None;
    let mut park = thread.parker.lock.lock();
    let result = loop {
        if waiter.is_notified() {
            break Ok(Woken::Notified);
        }
        if let Err(interrupt) = take_interrupt(running) {
            break Err(interrupt);
        }
        if std::mem::take(&mut park.recheck) {
            suspicious = true;
        }
        if suspicious && deadline.is_none() {
            // The detector takes other locks; whoever wakes this thread needs the parker's.
            drop(park);
            suspicious = deadlock::examine(thread.runtime(), &mut suspicion);
            park = thread.parker.lock.lock();
            if suspicious && !waiter.is_notified() && !thread.needs_attention() {
                thread.parker.wake.wait_until(&mut park, Instant::now() + deadlock::GRACE);
            }
            continue;
        }
        match deadline {
            None => thread.parker.wake.wait(&mut park),
            Some(deadline) => {
                if thread.parker.wake.wait_until(&mut park, deadline) && !waiter.is_notified() {
                    break Ok(Woken::TimedOut);
                }
            }
        }
    };
    drop(park);
    if result != Ok(Woken::Notified) {
        waiter.leave_stuck(thread);
    }
    result
}

#[inline(never)]
fn poll_fd(
    running: &Running,
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    closed: Option<&Waiter>,
    deadline: Option<Instant>,
) -> Result<Woken, Interrupt> {
    let thread = &*running.thread;
    let Some(event) = EVENT.try_with(Cell::take).ok().flatten().or_else(new_event) else {
        // Out of descriptors: wait for this one without being interruptible rather than not at all.
        return Ok(poll_once(&mut [PollFd::from_borrowed_fd(fd, flags)], deadline));
    };
    thread.parker.lock.lock().polling = Some(Arc::clone(&event));
    let result = loop {
        if let Err(interrupt) = take_interrupt(running) {
            break Err(interrupt);
        }
        if closed.is_some_and(Waiter::is_notified) {
            break Ok(Woken::Notified);
        }
        let mut fds =
            [PollFd::from_borrowed_fd(fd, flags), PollFd::from_borrowed_fd(event.as_fd(), PollFlags::IN)];
        let woken = poll_once(&mut fds, deadline);
        if woken == Woken::TimedOut || !fds[0].revents().is_empty() {
            break Ok(woken);
        }
        let _ = rustix::io::read(&event, &mut [0u8; 8]);
    };
    thread.parker.lock.lock().polling = None;
    // A thread that is coming to its end keeps nothing.
    let _ = EVENT.try_with(|kept| kept.set(Some(event)));
    result
}

thread_local! {
    /// What wakes the calling thread from poll(2). To make another one for each wait would take longer than most waits.
    static EVENT: Cell<Option<Arc<OwnedFd>>> = const { Cell::new(None) };
}

fn new_event() -> Option<Arc<OwnedFd>> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Arc::new)
}

/// In a forked child: what wakes the parent's thread is none of it.
pub(super) fn after_fork() {
    drop(EVENT.take());
}

/// A short spin until the waiter is notified.
#[inline(never)]
fn spin_for(waiter: &Waiter) {
    let mut spin = Spin::new();
    while !waiter.is_notified() && spin.once() {}
    spin.paid();
}

/// A short spin until there is what the bell tells of, and then `poll` with the bell armed.
#[inline(never)]
fn poll_bell(
    bell: &dyn Bell,
    poll: impl FnOnce(PollFlags) -> Result<Woken, Interrupt>,
) -> Result<Woken, Interrupt> {
    let mut spin = Spin::new();
    while !bell.is_ready() && spin.once() {}
    spin.paid();
    if bell.is_ready() {
        spin.rest(bell.gathering());
        return Ok(Woken::Notified);
    }
    bell.arm();
    let woken = if bell.is_ready() { Ok(Woken::Notified) } else { poll(PollFlags::IN) };
    bell.disarm();
    woken
}

fn poll_once(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Woken {
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|d| Timespec::try_from(d).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) => return Woken::TimedOut,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return Woken::Notified,
        }
    }
}

/// The wait of an OS thread that is no script thread: nothing to give up, nobody to interrupt it.
#[inline(never)]
fn block_foreign(until: &Until<'_>, deadline: Option<Instant>) -> Woken {
    let waiter = match until {
        Until::Notified(waiter) => waiter,
        Until::Readable(fd) => return poll_once(&mut [PollFd::new(fd, PollFlags::IN)], deadline),
        Until::Writable(fd) => return poll_once(&mut [PollFd::new(fd, PollFlags::OUT)], deadline),
        Until::Changed { word, seen } => return wait_for_words(word, *seen, None, deadline, LOOK_AGAIN),
        Until::Ready { fd, flags, .. } => return poll_once(&mut [PollFd::new(fd, *flags)], deadline),
        Until::Rung { fd, bell, .. } => {
            let poll = |flags| Ok(poll_once(&mut [PollFd::new(fd, flags)], deadline));
            return poll_bell(*bell, poll).unwrap_or(Woken::Notified);
        }
        Until::Passed { word, seen, sleepers, gathering } => {
            if watch_word(word, *seen, sleepers, *gathering) {
                return Woken::Notified;
            }
            sleepers.enter();
            let woken = wait_for_words(word, *seen, None, deadline, LOOK_AGAIN);
            sleepers.leave();
            return woken;
        }
    };
    let mut park = waiter.parker.lock.lock();
    while !waiter.is_notified() {
        match deadline {
            None => waiter.parker.wake.wait(&mut park),
            Some(deadline) => {
                if waiter.parker.wake.wait_until(&mut park, deadline) {
                    return if waiter.is_notified() { Woken::Notified } else { Woken::TimedOut };
                }
            }
        }
    }
    Woken::Notified
}

/// Sleeps for `time`; none gives the lock up once and returns.
///
/// # Errors
/// [`Interrupt`], as [`block`].
pub fn sleep_for(time: Duration, site: Site) -> Result<(), Interrupt> {
    if time.is_zero() {
        return yield_now();
    }
    let waiter = Waiter::new();
    let deadline = Instant::now().checked_add(time);
    block(Until::Notified(&waiter), Reason::Sleep, deadline, site).map(drop)
}

/// Gives the lock up once, so that a waiter may take it.
fn yield_now() -> Result<(), Interrupt> {
    with_running(|running| {
        let Some(running) = running else { return Ok(()) };
        running.thread.runtime().synchronise();
        serve_interrupt(running)?;
        let goes_on = running.thread.runtime().gil().yield_now(&running.thread);
        running.thread.runtime().synchronise();
        if goes_on { Ok(()) } else { Err(Interrupt::Stop) }
    })
}

/// Runs `f`, a system call that may take a while but cannot be interrupted (a file, a name look-up), without
/// the lock.
pub fn detached<R>(f: impl FnOnce() -> R) -> R {
    with_running(|running| {
        let Some(running) = running else { return f() };
        let thread = &*running.thread;
        thread.runtime().synchronise();
        thread.runtime().gil().release(thread);
        let result = f();
        thread.runtime().gil().acquire(thread, false);
        result
    })
}
