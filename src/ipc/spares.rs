//! Children that were forked ahead, and wait for what they are to do.
//!
//! A spare has most of its page faults behind it ([`super::working_set`]) and sleeps on a word in shared memory, its
//! berth. The script's process gives it an order by changing the word, which takes one system call and no answer, and
//! the fork server makes another one in its stead while the child works. Spares are children of the script's process,
//! which therefore can tell whether one lives. The berths are tied to the server's life ([`Lifeline`]): however it
//! ends, the kernel wakes the spares, and they end as well. So a spare needs no descriptor.

use std::io;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid};
use rustix::thread::futex;

use super::arena::Offset;
use super::family;
use super::guard::Lifeline;
use super::working_set::WorkingSet;
use super::{Child, Shared, Zeroed};
use crate::runtime::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// More spares than these there are never.
pub(super) const MOST: usize = 8;

/// Nobody has the berth.
const FREE: u32 = 0;
/// A spare was told what to do, or to go. No thread has that number.
const ORDERED: u32 = Lifeline::THREAD;
/// A spare is being made.
const RESERVED: u32 = Lifeline::THREAD - 1;

/// An order to end.
const LEAVE: Offset = 0;

/// Where one spare sleeps. The word holds [`FREE`], [`RESERVED`], [`ORDERED`], or, while a spare sleeps here, the
/// server's thread number with [`Lifeline::WATCHED`]. An order may come before the spare has lain down.
#[repr(C)]
struct Berth {
    life: Lifeline,
    /// The parcel of the order.
    order: AtomicU64,
    /// The spare, from its making until it gets its order; else 0.
    pid: AtomicU32,
    unused: u32,
}

/// All berths of a server.
#[repr(C)]
struct Berths {
    /// Holds the server's thread number while it lives.
    server: Lifeline,
    all: [Berth; MOST],
    working_set: WorkingSet,
}

// SAFETY: atomics; all zero are free berths without a server, of whose children nothing is known.
unsafe impl Zeroed for Berths {
    const KIND: u32 = 0x7370_6172;
}

fn is_asleep(word: u32) -> bool {
    word & Lifeline::WATCHED != 0 && word & Lifeline::CUT == 0
}

fn takes_orders(word: u32) -> bool {
    is_asleep(word) || word == RESERVED
}

fn wake(word: &AtomicU32) {
    // It wakes nobody if the spare was about to sleep; it then finds the word changed.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// The parent's side.
pub(super) struct Spares {
    berths: Shared<Berths>,
    /// Where the next look for a spare begins: at another berth each time, so that one that was killed is found.
    first: AtomicUsize,
}

impl Spares {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { berths: Shared::new()?, first: AtomicUsize::new(0) })
    }

    /// A reference for the server.
    pub(super) fn lend(&self) -> Offset {
        self.berths.lend()
    }

    pub(super) fn unlend(&self) {
        self.berths.unlend();
    }

    /// Gives the parcel to a spare, which is the caller's child from then on; nothing if none is ready. Not to be
    /// called by two threads at once.
    ///
    /// # Errors
    /// The system's, when there is no further descriptor.
    pub(super) fn order(&self, parcel: Offset) -> io::Result<Option<Child>> {
        let first = self.first.fetch_add(1, Ordering::Relaxed);
        let berths = |is_wanted: fn(u32) -> bool| {
            let all = (0..MOST).map(move |index| &self.berths.all[first.wrapping_add(index) % MOST]);
            all.filter(move |berth| is_wanted(berth.life.word.load(Ordering::SeqCst)))
        };
        // One that sleeps has its page faults behind it.
        for berth in berths(is_asleep).chain(berths(takes_orders)) {
            let word = berth.life.word.load(Ordering::SeqCst);
            // None while it is being made.
            let Some(pid) = Pid::from_raw(berth.pid.load(Ordering::Relaxed) as i32) else { continue };
            let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(pidfd) => Some(pidfd),
                Err(rustix::io::Errno::SRCH) => None,
                Err(error) => return Err(error.into()),
            };
            let Some(pidfd) = pidfd.filter(is_running) else {
                // Somebody killed it.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                berth.pid.store(0, Ordering::Relaxed);
                let _ = berth.life.word.compare_exchange(word, FREE, Ordering::SeqCst, Ordering::SeqCst);
                continue;
            };
            berth.order.store(parcel, Ordering::Relaxed);
            // Before the order: afterwards the berth may soon be somebody else's.
            berth.pid.store(0, Ordering::Relaxed);
            let mut seen = word;
            while takes_orders(seen) {
                match berth.life.word.compare_exchange(seen, ORDERED, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(_) => {
                        if is_asleep(seen) {
                            wake(&berth.life.word);
                        }
                        return Ok(Some(Child::watched(pid, pidfd)));
                    }
                    // It lies down just now.
                    Err(now) => seen = now,
                }
            }
            // The server has just ended.
            berth.pid.store(pid.as_raw_nonzero().get() as u32, Ordering::Relaxed);
        }
        Ok(None)
    }

    /// Sends a spare away, and waits for its end; false if there is none.
    pub(super) fn retire(&self) -> bool {
        let Ok(Some(child)) = self.order(LEAVE) else { return false };
        reap(child.pid());
        true
    }

    /// The spares that are ready.
    #[cfg(test)]
    pub(super) fn asleep(&self) -> Vec<Pid> {
        let asleep = self.berths.all.iter().filter(|berth| is_asleep(berth.life.word.load(Ordering::SeqCst)));
        asleep.filter_map(|berth| Pid::from_raw(berth.pid.load(Ordering::SeqCst) as i32)).collect()
    }

    /// Waits for the end of all spares. The server is over.
    pub(super) fn reap(&self) {
        for berth in &self.berths.all {
            if let Some(pid) = Pid::from_raw(berth.pid.swap(0, Ordering::SeqCst) as i32) {
                reap(pid);
            }
        }
    }
}

fn is_running(pidfd: &std::os::fd::OwnedFd) -> bool {
    use std::os::fd::AsFd;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
}

/// Waits for a child that is about to end.
pub(super) fn reap(pid: Pid) {
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// The server's side.
pub(super) struct Nursery {
    berths: Shared<Berths>,
    thread: u32,
    /// Who was forked for each berth last.
    forked: [u32; MOST],
}

impl Nursery {
    /// Takes over what [`Spares::lend`] gave, and ties it to the calling thread.
    pub(super) fn open(place: Offset) -> Option<Self> {
        let berths = Shared::<Berths>::adopt(place)?;
        let lines = std::iter::once(&berths.server).chain(berths.all.iter().map(|berth| &berth.life));
        let thread = Lifeline::tie(lines);
        berths.server.word.store(thread, Ordering::SeqCst);
        Some(Self { berths, thread, forked: [0; MOST] })
    }

    /// Lets one of the next children note which pages it has written to, for those that are forked later.
    pub(super) fn want_working_set(&self) {
        self.berths.working_set.want();
    }

    /// How many spares there are, those included that are not ready yet.
    pub(super) fn count(&self) -> usize {
        self.berths.all.iter().filter(|berth| takes_orders(berth.life.word.load(Ordering::SeqCst))).count()
    }

    /// Frees the berths of spares that were killed before they took their order. Those that were killed before they got
    /// one are found by who would give it.
    pub(super) fn sweep(&self) {
        for (berth, pid) in self.berths.all.iter().zip(self.forked) {
            if berth.life.word.load(Ordering::SeqCst) == ORDERED && family::is_over(pid) {
                berth.life.word.store(FREE, Ordering::SeqCst);
            }
        }
    }

    /// Makes a spare with `fork`, which gives the child's number, or nothing in the child, and has the number stored
    /// in the word that it is given before the child begins.
    pub(super) fn fork(
        &mut self,
        fork: impl FnOnce(&AtomicU32) -> io::Result<Option<i32>>,
    ) -> io::Result<Forked> {
        let free = |berth: &Berth| berth.life.word.load(Ordering::SeqCst) == FREE;
        let Some(index) = self.berths.all.iter().position(free) else { return Ok(Forked::Nowhere) };
        let Berth { life, pid, .. } = &self.berths.all[index];
        let word = &life.word;
        word.store(RESERVED, Ordering::SeqCst);
        let place = self.berths.lend();
        match fork(pid) {
            Ok(None) => {
                // Before anything is written to.
                self.berths.working_set.prefetch();
                let is_example = self.berths.working_set.is_wanted();
                Ok(Forked::Here(Arrival { berths: place, index, server: self.thread, is_example }))
            }
            Ok(Some(pid)) => {
                self.forked[index] = pid as u32;
                Ok(Forked::There)
            }
            Err(error) => {
                self.berths.unlend();
                word.store(FREE, Ordering::SeqCst);
                Err(error)
            }
        }
    }

    /// Sends all spares away: the server is about to end.
    pub(super) fn close(self) {
        self.berths.server.word.store(Lifeline::CUT, Ordering::SeqCst);
        for berth in &self.berths.all {
            let asleep = self.thread | Lifeline::WATCHED;
            let cut = Lifeline::CUT;
            if berth.life.word.compare_exchange(asleep, cut, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                wake(&berth.life.word);
            }
        }
        Lifeline::tie(std::iter::empty());
    }
}

/// What came of the making of a spare.
pub(super) enum Forked {
    /// The caller is it.
    Here(Arrival),
    /// The caller is the server.
    There,
    /// There is no berth left.
    Nowhere,
}

/// A spare that was just forked.
pub(super) struct Arrival {
    berths: Offset,
    index: usize,
    server: u32,
    /// May what it writes to be what others are going to write to?
    is_example: bool,
}

impl Arrival {
    /// Takes the berth that the spare was forked for; nothing if there is no server any more. To be called after
    /// [`super::after_fork`].
    pub(super) fn settle(self) -> Option<Place> {
        let Self { berths, index, server, is_example } = self;
        Some(Place { berths: Shared::adopt(berths)?, index, server, is_example })
    }
}

/// A spare's berth, as the spare itself knows it.
#[derive(Clone)]
pub(super) struct Place {
    berths: Shared<Berths>,
    index: usize,
    server: u32,
    is_example: bool,
}

impl Place {
    /// Sleeps until there is an order, and returns the parcel; nothing if the caller is to end.
    pub(super) fn wait(&self) -> Option<Offset> {
        let berth = &self.berths.all[self.index];
        let word = &berth.life.word;
        let asleep = self.server | Lifeline::WATCHED;
        // If it fails, there is an order already.
        let _ = word.compare_exchange(RESERVED, asleep, Ordering::SeqCst, Ordering::SeqCst);
        loop {
            match word.load(Ordering::SeqCst) {
                ORDERED => {
                    let order = berth.order.load(Ordering::SeqCst);
                    word.store(FREE, Ordering::SeqCst);
                    return (order != LEAVE).then_some(order);
                }
                // A server that ended before the word was set did not see it, but then its own word says so.
                seen if seen == asleep && self.berths.server.word.load(Ordering::SeqCst) == self.server => {
                    // It ends when the word is changed, or for a signal: all are looked at again.
                    let _ = futex::wait(word, futex::Flags::empty(), seen, None);
                }
                seen if seen == asleep => {
                    // The server has ended. An order that comes first is an order.
                    if word
                        .compare_exchange(asleep, Lifeline::CUT, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok()
                    {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    /// The child that the spare has become is about to end.
    pub(super) fn end(&self) {
        if self.is_example {
            self.berths.working_set.note();
        }
    }
}
