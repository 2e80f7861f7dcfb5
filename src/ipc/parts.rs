//! A message in two parts: what stands before a value's bytes, and those bytes where they are.

/// What fits before the bytes; also a whole message of a value that has none.
const HEAD: usize = 16;

/// The beginning of a message. It is kept in words, as it is written: a word that was put together from bytes in memory
/// is there only when all of them are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    words: [u64; 2],
    length: usize,
}

impl Head {
    /// An empty one.
    pub const fn new() -> Self {
        Self { words: [0; 2], length: 0 }
    }

    /// One that consists of a byte.
    pub const fn of(byte: u8) -> Self {
        Self { words: [(byte as u64).to_le(), 0], length: 1 }
    }

    /// Appends a byte.
    ///
    /// # Panics
    /// When 16 are there.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.words[self.length / 8] |= (u64::from(byte) << (self.length % 8 * 8)).to_le();
        self.length += 1;
    }

    /// Appends the bytes of a number, the lowest first.
    ///
    /// # Panics
    /// When there would be more than 16 with those of one more word.
    #[inline]
    pub fn extend(&mut self, number: u64) {
        let (index, shift) = (self.length / 8, self.length % 8 * 8);
        self.words[index] |= (number << shift).to_le();
        self.words[index + 1] = (number.checked_shr(64 - shift as u32).unwrap_or(0)).to_le();
        self.length += 8;
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The bytes, and zeros behind them.
    #[inline]
    pub(super) fn bytes(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        for (piece, word) in bytes.chunks_exact_mut(8).zip(self.words) {
            piece.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The same as two words of memory.
    #[inline]
    pub(super) fn words(&self) -> [u64; 2] {
        self.words
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// What it begins with.
    pub head: Head,
    /// The rest.
    pub body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// One in a single part.
    pub const fn whole(body: &'a [u8]) -> Self {
        Self { head: Head::new(), body }
    }

    /// How many bytes it has.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

impl<'a> From<&'a [u8]> for Parts<'a> {
    fn from(body: &'a [u8]) -> Self {
        Self::whole(body)
    }
}
