//! The fast way between two ends of one family of processes: a channel in shared memory for each direction.
//!
//! The socket between the ends stays: it says who is still there, can be polled, carries file descriptors, and is
//! the bell by which a sender wakes a receiver that sleeps. A receiver that finds nothing arms the bell, looks
//! once more, and sleeps on the socket; a sender that finds the bell armed disarms it and sends one byte. Bytes
//! that lie in the socket when nobody sleeps mean nothing and are drained before the next sleep.

use std::io;
use std::time::Duration;

use crate::ipc::channel::Channel;
use crate::ipc::codec::{Decoder, Encoder};
use crate::ipc::shared::{Shared, Zeroed};
use crate::language::exception::Outcome;
use crate::runtime::Bell;
use crate::runtime::sync::{AtomicU32, AtomicU64, Ordering};

/// How many short messages may be under way.
const MESSAGES: u64 = 16 << 10;
/// How many bytes of messages that are not short may be under way; a longer one goes alone.
const BYTES: u32 = 1 << 20;

/// One direction.
#[repr(C, align(64))]
struct Way {
    /// 1 if a receiver sleeps and was not woken yet.
    wanted: AtomicU32,
    /// How many receivers sleep; too many if one was killed, which costs a byte now and then.
    asleep: AtomicU32,
}

#[repr(C)]
struct State {
    ways: [Way; 2],
    /// Counted up whenever somebody closes an end.
    closes: AtomicU32,
    /// The number of the next message that brings file descriptors.
    parcels: AtomicU64,
}

// SAFETY: atomics.
unsafe impl Zeroed for State {
    const KIND: u32 = 0x434f_4e4e;
}

/// The two channels between two ends, as one of them sees them.
#[derive(Clone)]
pub struct Ring {
    state: Shared<State>,
    /// 0 for the one end, 1 for the other.
    side: usize,
    incoming: Channel,
    outgoing: Channel,
}

impl Ring {
    /// Two ends.
    ///
    /// # Errors
    /// The arena's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let state = Shared::<State>::new()?;
        let channel = || Channel::with_most_bytes(MESSAGES, BYTES);
        let (a, b) = (channel()?, channel()?);
        let one = Self { state: state.clone(), side: 0, incoming: a.clone(), outgoing: b.clone() };
        Ok((one, Self { state, side: 1, incoming: b, outgoing: a }))
    }

    /// The channel to the end 0, and that to the end 1.
    fn channels(&self) -> [&Channel; 2] {
        match self.side {
            0 => [&self.incoming, &self.outgoing],
            _ => [&self.outgoing, &self.incoming],
        }
    }

    /// Writes what another process needs to have the same end.
    ///
    /// # Errors
    /// TypeError if the receiver may be a process that does not share memory with this one.
    pub fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        out.shared(&self.state)?;
        for channel in self.channels() {
            out.shared(channel.shared())?;
        }
        out.u64(self.side as u64);
        Ok(())
    }

    /// Reads what [`Ring::pack`] wrote.
    ///
    /// # Errors
    /// UnpicklingError.
    pub fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let state = input.shared()?;
        let (a, b) = (Channel::from(input.shared()?), Channel::from(input.shared()?));
        match input.u64()? {
            0 => Ok(Self { state, side: 0, incoming: a, outgoing: b }),
            1 => Ok(Self { state, side: 1, incoming: b, outgoing: a }),
            _ => Err(Decoder::bad("a connection has two ends")),
        }
    }

    fn way_in(&self) -> &Way {
        &self.state.ways[self.side]
    }

    fn way_out(&self) -> &Way {
        &self.state.ways[1 - self.side]
    }

    /// What comes in.
    pub fn incoming(&self) -> &Channel {
        &self.incoming
    }

    /// What goes out.
    pub fn outgoing(&self) -> &Channel {
        &self.outgoing
    }

    /// How often an end was closed: a reason to look whether the other one still is there.
    pub fn closes(&self) -> u32 {
        self.state.closes.load(Ordering::Acquire)
    }

    /// To be called by whoever closes an end, afterwards.
    pub fn note_close(&self) {
        self.state.closes.fetch_add(1, Ordering::Release);
        // Senders that wait for room look again as well.
        self.channels().into_iter().for_each(Channel::wake_senders);
    }

    /// A number for a message that brings file descriptors.
    pub fn parcel(&self) -> u64 {
        self.state.parcels.fetch_add(1, Ordering::Relaxed)
    }

    /// A message was sent: does a receiver sleep that is to be woken with a byte?
    pub fn must_ring(&self) -> bool {
        let wanted = &self.way_out().wanted;
        wanted.load(Ordering::SeqCst) != 0 && wanted.swap(0, Ordering::SeqCst) != 0
    }
}

impl Bell for Ring {
    fn is_ready(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn gathering(&self) -> Duration {
        self.incoming.gathering()
    }

    fn arm(&self) {
        let way = self.way_in();
        way.asleep.fetch_add(1, Ordering::SeqCst);
        way.wanted.store(1, Ordering::SeqCst);
        // The sender stores its message and then looks at `wanted`; we do the same the other way round.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    fn disarm(&self) {
        let way = self.way_in();
        if way.asleep.fetch_sub(1, Ordering::SeqCst) > 1 {
            way.wanted.store(1, Ordering::SeqCst);
        }
    }
}
