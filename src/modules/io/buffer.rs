//! Bytes on their way between a script and a file: added at the end, taken from the front.

use std::io;

/// Once so many bytes were taken from the front, the rest moves up.
const MOVE_UP: usize = 1 << 16;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// What is before this was taken.
    start: usize,
}

impl Buffer {
    /// The bytes that are there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets the first `length` bytes.
    pub(super) fn skip(&mut self, length: usize) {
        self.start += length;
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= MOVE_UP && self.start * 2 > self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes the first `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Vec<u8> {
        if self.start == 0 && length == self.bytes.len() {
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.bytes()[..length].to_vec();
        self.skip(length);
        taken
    }

    /// Adds what `read` puts into a space of `size` bytes, and returns how much that was.
    pub(super) fn fill(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let length = self.bytes.len();
        self.bytes.try_reserve(size).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.bytes.resize(length + size, 0);
        let result = read(&mut self.bytes[length..]);
        self.bytes.truncate(length + result.as_ref().map_or(0, |count| *count));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = Buffer::default();
        buffer.push(b"abc");
        assert_eq!(buffer.take(2), b"ab");
        buffer.push(b"def");
        assert_eq!(
            buffer
                .fill(10, |space| {
                    space[..2].copy_from_slice(b"gh");
                    Ok(2)
                })
                .unwrap(),
            2
        );
        assert_eq!((buffer.bytes(), buffer.len()), (&b"cdefgh"[..], 6));
        buffer.skip(6);
        assert!(buffer.is_empty());
    }

    #[test]
    fn the_front_is_given_back() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![7; 3 * MOVE_UP]);
        buffer.skip(2 * MOVE_UP);
        assert_eq!((buffer.start, buffer.len()), (0, MOVE_UP));
    }

    #[test]
    fn a_failed_read_adds_nothing() {
        let mut buffer = Buffer::default();
        assert!(buffer.fill(10, |_| Err(io::ErrorKind::BrokenPipe.into())).is_err());
        assert!(buffer.is_empty());
    }
}
