//! Those who wait at an object in shared memory, one by one.
//!
//! Where it matters who is woken, and what with, every waiter has a word of its own to sleep on, in a node of a
//! list that hangs on the object. The list is changed under the object's guard, by one 8-byte store each time,
//! so that it is whole whenever a process is killed in the middle. A node belongs to its waiter, who frees it;
//! that of a killed waiter is freed when somebody comes across it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::arena::{self, Offset};
use super::family::Member;
use crate::runtime::sync::{AtomicU32, AtomicU64, Ordering};
use crate::runtime::{Interrupt, Reason, Sleepers, Until, Wait, Woken, block_since, wake_word};

/// One waiter.
#[repr(C)]
struct Node {
    /// 0 while it waits, then what it was told.
    told: AtomicU32,
    sleepers: Sleepers,
    process: AtomicU64,
    next: AtomicU64,
}

const BYTES: u64 = size_of::<Node>() as u64;

fn node(at: Offset) -> Option<&'static Node> {
    // SAFETY: the block was allocated for a node, which is made of atomics, and is freed by its owner only after
    // it has left the list.
    arena::at(at, BYTES).map(|node| unsafe { &*node.cast::<Node>() })
}

/// The calling thread's place in a list of waiters.
pub(super) struct Ticket {
    at: Offset,
    node: &'static Node,
    settled: Cell<bool>,
}

impl Ticket {
    /// Its waiter is done with it.
    pub(super) fn settle(&self) {
        self.settled.set(true);
    }

    /// Is its waiter done with it?
    pub(super) fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// A place that is in no list yet.
    pub(super) fn new() -> std::io::Result<Self> {
        let at = arena::allocate(BYTES)?;
        let node = node(at).ok_or(std::io::ErrorKind::OutOfMemory)?;
        node.process.store(Member::own().to_bits(), Ordering::Relaxed);
        Ok(Self { at, node, settled: Cell::new(false) })
    }

    /// What the waiter was told; 0 if nothing yet.
    pub(super) fn told(&self) -> u32 {
        self.node.told.load(Ordering::Acquire)
    }

    /// Sleeps until the waiter is told something, and returns that; nothing when the deadline came first.
    /// `look` is called every half second or so, in case the one who should wake was killed; it returns true to
    /// end the wait.
    ///
    /// # Errors
    /// [`Interrupt`].
    pub(super) fn wait(
        &self,
        wait: &Wait,
        reason: impl Fn() -> Reason,
        look: impl Fn() -> bool,
    ) -> Result<Option<u32>, Interrupt> {
        let since = Instant::now();
        loop {
            let until = Until::Passed {
                word: &self.node.told,
                seen: 0,
                sleepers: &self.node.sleepers,
                gathering: Duration::ZERO,
            };
            let woken = block_since(until, reason(), wait.deadline, wait.site, since)?;
            match self.told() {
                0 if woken == Woken::TimedOut || look() => return Ok(None),
                0 => {}
                told => return Ok(Some(told)),
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        arena::release(self.at, BYTES);
    }
}

/// Waiters who were told something and sleep: to be woken, best when the guard is free again.
#[must_use]
pub(super) struct Told(Vec<&'static AtomicU32>);

impl Told {
    /// Nobody.
    pub(super) fn nobody() -> Self {
        Self(Vec::new())
    }

    /// Are there none?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Wakes them.
    pub(super) fn wake(self) {
        for word in self.0 {
            // Its owner may have seen what it was told and freed the node: the word stays mapped, nothing is
            // written, and a wake-up that reaches somebody else is one that they have to bear anyway.
            wake_word(word, 1);
        }
    }
}

/// A list of waiters, the longest-waiting first. All zero is an empty one. Every method is to be called under
/// the guard of the object that the list belongs to.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Waiters {
    first: AtomicU64,
    /// Where the next one is added; found anew after somebody was killed inside.
    last: AtomicU64,
}

impl Waiters {
    fn nodes(&self) -> impl Iterator<Item = (Offset, &'static Node)> {
        let place = |at: Offset| node(at).map(|node| (at, node));
        std::iter::successors(place(self.first.load(Ordering::Relaxed)), move |(_, node)| {
            place(node.next.load(Ordering::Relaxed))
        })
    }

    /// How many wait, those included that were killed and not come across yet.
    pub(super) fn count(&self) -> usize {
        self.nodes().count()
    }

    /// Makes the list whole after a process was killed under the guard.
    pub(super) fn repair(&self) {
        self.last.store(self.nodes().last().map_or(0, |(at, _)| at), Ordering::Relaxed);
    }

    /// Adds a waiter at the end.
    pub(super) fn push(&self, ticket: &Ticket) {
        ticket.node.next.store(0, Ordering::Relaxed);
        let last =
            node(self.last.load(Ordering::Relaxed)).filter(|_| self.first.load(Ordering::Relaxed) != 0);
        // From this store on it is in the list.
        last.map_or(&self.first, |last| &last.next).store(ticket.at, Ordering::Release);
        self.last.store(ticket.at, Ordering::Release);
    }

    /// Takes a waiter out, which every waiter does before its ticket is dropped; returns what it was told.
    pub(super) fn remove(&self, ticket: &Ticket) -> u32 {
        self.unlink(ticket);
        ticket.told()
    }

    fn unlink(&self, ticket: &Ticket) {
        let mut before = (0, &self.first);
        for (at, node) in self.nodes() {
            if at == ticket.at {
                before.1.store(node.next.load(Ordering::Relaxed), Ordering::Release);
                if self.last.load(Ordering::Relaxed) == at {
                    self.last.store(before.0, Ordering::Release);
                }
                return;
            }
            before = (at, &node.next);
        }
    }

    /// Tells the first `most` living waiters something, which takes them out.
    pub(super) fn tell(&self, what: u32, most: usize) -> Told {
        self.tell_those(what, most, |process| process.end().is_some())
    }

    /// Tells all waiters something, which takes them out.
    pub(super) fn tell_all(&self, what: u32) -> Told {
        // Nobody goes without because of a killed one, so the kernel need not be asked about each.
        self.tell_those(what, usize::MAX, Member::is_known_to_be_over)
    }

    fn tell_those(&self, what: u32, most: usize, is_over: impl Fn(Member) -> bool) -> Told {
        let (mut told, mut count) = (Told::nobody(), 0);
        while count < most {
            let at = self.first.load(Ordering::Relaxed);
            let Some(node) = node(at) else { break };
            let is_over = is_over(Member::from_bits(node.process.load(Ordering::Relaxed)));
            // Told first: killed before it is taken out, the teller leaves a waiter that knows, and not one that
            // nobody knows. Such a one is passed over.
            let is_new = !is_over && node.told.swap(what, Ordering::SeqCst) == 0;
            self.first.store(node.next.load(Ordering::Relaxed), Ordering::Release);
            if is_over {
                arena::release(at, BYTES);
            }
            if is_new {
                count += 1;
                if node.sleepers.want_waking() {
                    told.0.push(&node.told);
                }
            }
        }
        told
    }

    /// Frees the nodes of killed waiters: the object is no longer used by anybody.
    pub(super) fn release(&self) {
        self.nodes()
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|at| arena::release(at, BYTES));
    }
}
