//! Where a channel's messages lie: segments, and blocks for the long ones.

use std::cell::Cell;
use std::io;
use std::ops::{Deref, DerefMut};

use crate::ipc::arena::{self, Offset};
use crate::ipc::parts::Parts;
use crate::runtime::Spin;
use crate::runtime::sync::{AtomicU32, AtomicU64, Ordering};

/// The longest message that lies in a segment.
const INLINE: usize = 8 << 10;
/// The size of the first segment: most queues never need more.
const FIRST: u64 = 4 << 10;
/// The others are between these two: each twice as large as the one before it.
const SMALLEST: u64 = 64 << 10;
const LARGEST: u64 = 256 << 10;
/// Segments that were read, and the blocks of messages up to this size, are kept for other messages: fresh memory
/// costs the system more than a copy costs us, and to give it back costs as much again.
const KEPT: u64 = 256 << 10;
/// How many of either.
const SPARES: usize = 12;
/// Of blocks up to this size, as a power of two, more are kept: 6 MiB of them at most.
const MANY_POWER: u32 = 16;
const MANY: usize = 96;
/// glibc's memmove on AMD copies some alignments above 4 KiB at a tenth of the speed.
const PIECE: usize = 2 << 10;

/// What stands at the beginning of a segment.
#[repr(C)]
struct Segment {
    size: AtomicU64,
    /// The segment that follows, once this one is full.
    next: AtomicU64,
}

const BEGIN: u64 = size_of::<Segment>() as u64;
const WORD: u64 = size_of::<u64>() as u64;

// A message begins with a word that holds its length and one of these.
const INLINE_FRAME: u64 = 0;
/// A word follows: the place of a block, and in its lowest bits the block's size as a power of two.
const BLOCK_FRAME: u64 = 1;
/// No message: go on in the next segment.
const NEXT: u64 = 2;
const KINDS: u32 = 2;
const SIZE_BITS: u64 = 0x3f;

/// A place in a segment, written under a guard.
#[repr(C)]
pub(super) struct Place {
    segment: AtomicU64,
    /// No segment is longer than 4 GiB.
    at: AtomicU32,
    /// How many bytes were counted up to here, modulo 2^32.
    bytes: AtomicU32,
}

impl Place {
    /// The segment, 0 before the first one is made, and where in it.
    pub(super) fn get(&self) -> (Offset, u64) {
        (self.segment.load(Ordering::Relaxed), u64::from(self.at.load(Ordering::Relaxed)))
    }

    /// The bytes up to it.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, (segment, at): (Offset, u64), bytes: u32) {
        self.segment.store(segment, Ordering::Relaxed);
        self.at.store(at as u32, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// The block of one long message.
pub(super) struct Block {
    place: Offset,
    /// Its size is 2 to this power.
    power: u32,
    length: u64,
}

/// A message on its way into the channel.
pub(super) enum Message<'a> {
    Inline(Parts<'a>),
    Block(Block),
}

impl Message<'_> {
    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Inline(parts) => parts.len() as u64,
            Self::Block(block) => block.length,
        }
    }
}

/// A message in the channel.
pub(super) enum Contents {
    /// Its bytes, which stay until the segment is recycled.
    Inline(&'static [u8]),
    Block(Block),
}

impl Contents {
    /// How many bytes there are.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Block(block) => block.length,
        }
    }
}

pub(super) struct Found {
    pub(super) contents: Contents,
    /// The place behind it.
    pub(super) behind: (Offset, u64),
}

/// The memory of one channel. All zero is none.
#[repr(C)]
pub(super) struct Memory {
    first: AtomicU64,
    /// Segments that were read.
    segments: Spares<SPARES>,
    /// Blocks whose messages were read, in the form of a block frame.
    blocks: Spares<MANY>,
}

/// Pieces of memory that are kept to be used again.
#[repr(C)]
struct Spares<const N: usize>([AtomicU64; N]);

impl<const N: usize> Spares<N> {
    /// Takes one that is `fit`.
    fn take(&self, fit: impl Fn(u64) -> bool) -> Option<u64> {
        let take = |slot: &AtomicU64| {
            let kept = slot.load(Ordering::Relaxed);
            let taken = kept != 0
                && fit(kept)
                && slot.compare_exchange(kept, 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
            taken.then_some(kept)
        };
        self.0.iter().find_map(take)
    }

    /// Keeps one among the first `most`; false if there are enough.
    fn keep(&self, piece: u64, most: usize) -> bool {
        let mut free = self.0.iter().take(most).filter(|slot| slot.load(Ordering::Relaxed) == 0);
        free.any(|slot| slot.compare_exchange(0, piece, Ordering::Release, Ordering::Relaxed).is_ok())
    }
}

/// The memory of a block of this channel's. Nothing in an arena moves or goes away.
fn memory(place: Offset, bytes: u64) -> *mut u8 {
    arena::at(place, bytes).expect("a block that the arena gave")
}

fn segment(place: Offset) -> &'static Segment {
    // SAFETY: every segment begins with this header, which is made of atomics; blocks are aligned to 64 bytes.
    unsafe { &*memory(place, BEGIN).cast::<Segment>() }
}

/// The word at `at` of a segment, which is a multiple of 8 below the segment's size.
fn word(segment: Offset, at: u64) -> &'static AtomicU64 {
    let start = memory(segment, at + WORD);
    // SAFETY: inside the block, as was just checked, and aligned.
    unsafe { &*start.add(at as usize).cast::<AtomicU64>() }
}

/// Copies `bytes` to `to`, in pieces.
///
/// # Safety
/// There is room for them, and nobody else reads or writes there.
unsafe fn copy(bytes: &[u8], to: *mut u8) {
    for (i, piece) in bytes.chunks(PIECE).enumerate() {
        // SAFETY: the caller's promise; the arena and the caller's bytes do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), to.add(i * PIECE), piece.len()) };
    }
}

/// Copies a message to `to`, which is aligned as a word.
///
/// # Safety
/// There is room for it in whole words, and nobody else reads or writes there.
unsafe fn copy_parts(parts: &Parts<'_>, to: *mut u8) {
    let used = parts.head.len();
    let [first, second] = parts.head.words();
    // What is too much of the words is overwritten, or stays behind the message.
    // SAFETY: the words that hold the beginning are inside of those that hold the message.
    unsafe {
        if used > 0 {
            to.cast::<u64>().write(first);
        }
        if used > WORD as usize {
            to.cast::<u64>().add(1).write(second);
        }
    }
    if !parts.body.is_empty() {
        // SAFETY: behind the beginning there is room for the rest.
        unsafe { copy(parts.body, to.add(used)) };
    }
}

/// Does the message lie in a block of its own?
pub(super) fn is_long(message: &Parts<'_>) -> bool {
    message.len() > INLINE
}

/// Appends `bytes` to `to`, in pieces.
pub(super) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    to.reserve(bytes.len());
    bytes.chunks(PIECE).for_each(|piece| to.extend_from_slice(piece));
}

impl Memory {
    /// Copies a long message into a block. `is_behind` says whether the receivers have so much to read that they
    /// may give a block back in a moment.
    pub(super) fn prepare<'a>(
        &self,
        message: Parts<'a>,
        is_behind: impl FnOnce() -> bool,
    ) -> io::Result<Message<'a>> {
        if !is_long(&message) {
            return Ok(Message::Inline(message));
        }
        let block = self.block(message.len() as u64, is_behind)?;
        let (head, to) = (message.head.bytes(), memory(block.place, block.length));
        let head = &head[..message.head.len()];
        // SAFETY: the block was taken by this call and is long enough.
        unsafe {
            copy(head, to);
            copy(message.body, to.add(head.len()));
        }
        Ok(Message::Block(block))
    }

    fn block(&self, length: u64, is_behind: impl FnOnce() -> bool) -> io::Result<Block> {
        let power = length.next_power_of_two().trailing_zeros();
        if 1 << power <= KEPT
            && let Some(kept) = self.spare_block(power, is_behind)
        {
            return Ok(Block { place: kept & !SIZE_BITS, power: (kept & SIZE_BITS) as u32, length });
        }
        let place = arena::allocate(length)?;
        if let Err(error) = arena::populate(place, length) {
            arena::release(place, length);
            return Err(error);
        }
        Ok(Block { place, power, length })
    }

    /// A kept block of at least this size. A sender who is far ahead waits for one to come back, for no longer than
    /// fresh memory would take: else he would make the system provide page after page while the receivers make
    /// it take them back.
    fn spare_block(&self, power: u32, is_behind: impl FnOnce() -> bool) -> Option<u64> {
        let take = || self.blocks.take(|kept| kept & SIZE_BITS >= u64::from(power));
        let kept = take();
        if kept.is_some() || !is_behind() {
            return kept;
        }
        let mut spin = Spin::new();
        while spin.once() {
            if let Some(kept) = take() {
                spin.paid();
                return Some(kept);
            }
        }
        None
    }

    /// Keeps a block for another message, or gives it back.
    pub(super) fn recycle_block(&self, block: Block) {
        let kept = block.place | u64::from(block.power);
        let most = if block.power <= MANY_POWER { MANY } else { SPARES };
        if 1 << block.power <= KEPT && self.blocks.keep(kept, most) {
            return;
        }
        arena::release(block.place, 1 << block.power);
    }

    /// A received block, which is recycled when the caller is done with it.
    pub(super) fn hold(&self, block: Block) -> HeldBlock<'_> {
        HeldBlock { memory: self, block }
    }

    /// Writes a message at a place, or in the next segment if it does not fit there, and returns the place behind
    /// it. Only under the senders' guard.
    pub(super) fn write(&self, place: (Offset, u64), message: &Message<'_>) -> io::Result<(Offset, u64)> {
        let (mut into, mut at) = place;
        let length = match message {
            Message::Inline(parts) => WORD + (parts.len() as u64).next_multiple_of(WORD),
            Message::Block(_) => 2 * WORD,
        };
        if into == 0 {
            into = self.follow(&self.first, 0, length)?;
            at = BEGIN;
        } else {
            let header = segment(into);
            let size = header.size.load(Ordering::Relaxed);
            // There is always room for the word that leads on.
            if at + length + WORD > size {
                let next = self.follow(&header.next, size, length)?;
                word(into, at).store(NEXT, Ordering::Relaxed);
                into = next;
                at = BEGIN;
            }
        }
        match message {
            Message::Inline(parts) => {
                word(into, at).store((parts.len() as u64) << KINDS | INLINE_FRAME, Ordering::Relaxed);
                // SAFETY: the segment has room for `length` bytes from here on, nobody reads behind the last
                // message, and the senders' guard is held.
                unsafe { copy_parts(parts, memory(into, at + length).add((at + WORD) as usize)) };
            }
            Message::Block(block) => {
                word(into, at).store(block.length << KINDS | BLOCK_FRAME, Ordering::Relaxed);
                word(into, at + WORD).store(block.place | u64::from(block.power), Ordering::Relaxed);
            }
        }
        Ok((into, at + length))
    }

    /// The segment that `link` leads to, made if need be: one that is there already was made by a sender who was
    /// killed before he could use it.
    fn follow(&self, link: &AtomicU64, size_before: u64, length: u64) -> io::Result<Offset> {
        let needed = BEGIN + length + WORD;
        let left_behind = link.load(Ordering::Relaxed);
        if left_behind != 0 {
            if segment(left_behind).size.load(Ordering::Relaxed) >= needed {
                return Ok(left_behind);
            }
            link.store(0, Ordering::Relaxed);
            release_segment(left_behind);
        }
        let made = self.segment(size_before, needed)?;
        link.store(made, Ordering::Relaxed);
        Ok(made)
    }

    fn segment(&self, size_before: u64, needed: u64) -> io::Result<Offset> {
        // Every spare one is large enough for what lies in segments.
        if let Some(spare) = self.segments.take(|_| true) {
            segment(spare).next.store(0, Ordering::Relaxed);
            return Ok(spare);
        }
        let size = if size_before == 0 { FIRST } else { (2 * size_before).clamp(SMALLEST, LARGEST) };
        let size = size.max(needed.next_power_of_two());
        let place = arena::allocate(size)?;
        if let Err(error) = arena::populate(place, size) {
            arena::release(place, size);
            return Err(error);
        }
        segment(place).size.store(size, Ordering::Relaxed);
        Ok(place)
    }

    /// The message at a place, which the senders have left behind. Only under the receivers' guard.
    pub(super) fn read(&self, place: (Offset, u64)) -> Found {
        let (mut from, mut at) = place;
        if from == 0 {
            (from, at) = (self.first.load(Ordering::Relaxed), BEGIN);
        }
        let mut frame = word(from, at).load(Ordering::Relaxed);
        if frame == NEXT {
            (from, at) = (segment(from).next.load(Ordering::Relaxed), BEGIN);
            frame = word(from, at).load(Ordering::Relaxed);
        }
        let length = frame >> KINDS;
        if frame & BLOCK_FRAME == 0 {
            let behind = at + WORD + length.next_multiple_of(WORD);
            let start = memory(from, behind);
            // SAFETY: the message lies there, whole, and nobody writes to it before the segment is recycled.
            let bytes =
                unsafe { std::slice::from_raw_parts(start.add((at + WORD) as usize), length as usize) };
            return Found { contents: Contents::Inline(bytes), behind: (from, behind) };
        }
        let block = word(from, at + WORD).load(Ordering::Relaxed);
        let block = Block { place: block & !SIZE_BITS, power: (block & SIZE_BITS) as u32, length };
        Found { contents: Contents::Block(block), behind: (from, at + 2 * WORD) }
    }

    /// Keeps a segment for later messages, or gives it back.
    pub(super) fn recycle_segment(&self, place: Offset) {
        let is_kept =
            segment(place).size.load(Ordering::Relaxed) >= SMALLEST && self.segments.keep(place, SPARES);
        if !is_kept {
            release_segment(place);
        }
    }

    /// Gives everything back: there are no messages, and `current` is the segment of the last one.
    pub(super) fn release(&self, current: Offset) {
        let mut place = if current == 0 { self.first.load(Ordering::Relaxed) } else { current };
        while place != 0 {
            let next = segment(place).next.load(Ordering::Relaxed);
            release_segment(place);
            place = next;
        }
        while let Some(spare) = self.segments.take(|_| true) {
            release_segment(spare);
        }
        while let Some(kept) = self.blocks.take(|_| true) {
            arena::release(kept & !SIZE_BITS, 1 << (kept & SIZE_BITS));
        }
    }
}

fn release_segment(place: Offset) {
    let size = segment(place).size.load(Ordering::Relaxed);
    arena::release(place, size);
}

/// The block of a message that was received and is being read.
pub(super) struct HeldBlock<'a> {
    memory: &'a Memory,
    block: Block,
}

impl HeldBlock<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        let Block { place, length, .. } = self.block;
        // SAFETY: the block belongs to this receiver alone until it is recycled.
        unsafe { std::slice::from_raw_parts(memory(place, length), length as usize) }
    }
}

impl Drop for HeldBlock<'_> {
    fn drop(&mut self) {
        let Block { place, power, length } = self.block;
        self.memory.recycle_block(Block { place, power, length });
    }
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer for a short message, used again by the thread's next one.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn take() -> Self {
        Self(BUFFER.take())
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        BUFFER.set(std::mem::take(&mut self.0));
    }
}
