//! A message in two parts: what stands before a value's bytes, and those bytes where they are.

/// What fits before the bytes; also a whole message of a value that has none.
const HEAD: usize = 16;

/// The beginning of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    bytes: [u8; HEAD],
    length: usize,
}

impl Head {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bytes: [0; HEAD], length: 0 }
    }

    /// One that consists of a byte.
    pub const fn of(byte: u8) -> Self {
        let mut bytes = [0; HEAD];
        bytes[0] = byte;
        Self { bytes, length: 1 }
    }

    /// Appends a byte.
    ///
    /// # Panics
    /// When 16 are there.
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When there would be more than 16.
    #[inline]
    pub fn extend<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The bytes, and zeros behind them, as two words of memory.
    #[inline]
    pub(super) fn words(&self) -> [u64; 2] {
        let (words, _) = self.bytes.as_chunks();
        [words[0], words[1]].map(u64::from_ne_bytes)
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
        self.head.length + self.body.len()
    }
}

impl<'a> From<&'a [u8]> for Parts<'a> {
    fn from(body: &'a [u8]) -> Self {
        Self::whole(body)
    }
}
