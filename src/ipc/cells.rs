//! Values of C's types in shared memory, one or many behind one another.
//!
//! Every cell is read and written by one atomic instruction of its size, so that nobody sees half a value. What is
//! written in which order is up to the locks of those who use them.

use std::io;

use super::shared::{Shared, Zeroed};
use crate::runtime::sync::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// A type of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CType {
    /// `char`: a byte.
    Char,
    /// `wchar_t`: a letter.
    WideChar,
    /// A whole number of so many bytes, with a sign or without.
    Int {
        /// How many bytes: 1, 2, 4 or 8.
        bytes: u8,
        /// Has it a sign?
        signed: bool,
    },
    /// `float`.
    Float,
    /// `double`.
    Double,
}

impl CType {
    /// How many bytes a value takes.
    pub fn size(self) -> usize {
        match self {
            Self::Char => 1,
            Self::WideChar | Self::Float => 4,
            Self::Double => 8,
            Self::Int { bytes, .. } => usize::from(bytes),
        }
    }
}

/// What stands before the cells in shared memory.
pub struct Head {
    count: AtomicU64,
}

// SAFETY: an atomic; the cells behind it are reached through atomics only.
unsafe impl Zeroed for Head {
    const KIND: u32 = u32::from_be_bytes(*b"Cell");
}

/// Cells of one type in shared memory. Clones are handles of the same ones.
#[derive(Clone)]
pub struct Cells {
    head: Shared<Head>,
    ctype: CType,
    first: *mut u8,
    count: usize,
}

// SAFETY: the cells are reached through atomics only, and the head keeps their block.
unsafe impl Send for Cells {}
// SAFETY: as above.
unsafe impl Sync for Cells {}

impl Cells {
    /// So many cells, all zero.
    ///
    /// # Errors
    /// Those of the shared memory.
    pub fn new(ctype: CType, count: usize) -> io::Result<Self> {
        let bytes = (count as u64).checked_mul(ctype.size() as u64).ok_or(io::ErrorKind::OutOfMemory)?;
        let head = Shared::<Head>::with_tail(bytes)?;
        head.count.store(count as u64, Ordering::Release);
        Self::of(ctype, head).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// The cells behind a head, as another process sent it; nothing if there is no room for them.
    pub fn of(ctype: CType, head: Shared<Head>) -> Option<Self> {
        let (first, room) = head.tail();
        let count = head.count.load(Ordering::Acquire);
        let fits = count.checked_mul(ctype.size() as u64).is_some_and(|bytes| bytes <= room);
        fits.then_some(Self { head, ctype, first, count: count as usize })
    }

    /// What the cells contain.
    pub fn ctype(&self) -> CType {
        self.ctype
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// What tells them from others, in every process.
    pub fn place(&self) -> u64 {
        self.head.place()
    }

    /// What is sent to another process.
    pub fn head(&self) -> &Shared<Head> {
        &self.head
    }

    fn cell(&self, index: usize) -> *mut u8 {
        assert!(index < self.count, "cell {index} of {}", self.count);
        // SAFETY: inside the block, as was just checked.
        unsafe { self.first.add(index * self.ctype.size()) }
    }

    /// The bits of the cell at `index`, in the lowest bytes.
    ///
    /// # Panics
    /// When there is no such cell.
    #[inline]
    pub fn load(&self, index: usize) -> u64 {
        let cell = self.cell(index);
        // SAFETY: inside the block, which is aligned to 64 bytes and so each cell to its size; reached through
        // atomics of that size only.
        unsafe {
            match self.ctype.size() {
                1 => u64::from((*cell.cast::<AtomicU8>()).load(Ordering::Acquire)),
                2 => u64::from((*cell.cast::<AtomicU16>()).load(Ordering::Acquire)),
                4 => u64::from((*cell.cast::<AtomicU32>()).load(Ordering::Acquire)),
                _ => (*cell.cast::<AtomicU64>()).load(Ordering::Acquire),
            }
        }
    }

    /// Writes the lowest bytes of `bits` into the cell at `index`.
    ///
    /// # Panics
    /// When there is no such cell.
    #[inline]
    pub fn store(&self, index: usize, bits: u64) {
        let cell = self.cell(index);
        // SAFETY: as in `load`.
        unsafe {
            match self.ctype.size() {
                1 => (*cell.cast::<AtomicU8>()).store(bits as u8, Ordering::Release),
                2 => (*cell.cast::<AtomicU16>()).store(bits as u16, Ordering::Release),
                4 => (*cell.cast::<AtomicU32>()).store(bits as u32, Ordering::Release),
                _ => (*cell.cast::<AtomicU64>()).store(bits, Ordering::Release),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [CType; 7] = [
        CType::Char,
        CType::WideChar,
        CType::Int { bytes: 1, signed: true },
        CType::Int { bytes: 2, signed: false },
        CType::Int { bytes: 8, signed: true },
        CType::Float,
        CType::Double,
    ];

    #[test]
    fn cells_are_apart_and_cut_to_their_size() {
        for ctype in TYPES {
            let cells = Cells::new(ctype, 9).unwrap();
            assert!((0..9).all(|index| cells.load(index) == 0));
            for index in 0..9 {
                cells.store(index, u64::MAX - index as u64);
            }
            let mask = u64::MAX >> (64 - 8 * ctype.size());
            for index in 0..9 {
                assert_eq!(cells.load(index), (u64::MAX - index as u64) & mask, "{ctype:?} {index}");
            }
        }
    }

    #[test]
    fn another_handle_sees_the_same_cells() {
        let cells = Cells::new(CType::Double, 3).unwrap();
        let same = Cells::of(CType::Double, cells.head().clone()).unwrap();
        same.store(2, 2.5_f64.to_bits());
        assert_eq!((cells.load(2), same.count(), same.place()), (2.5_f64.to_bits(), 3, cells.place()));
    }

    #[test]
    fn cells_that_would_not_fit_are_refused() {
        let bytes = Cells::new(CType::Char, 100).unwrap();
        assert!(Cells::of(CType::Double, bytes.head().clone()).is_none(), "800 bytes in a block for 100");
        assert!(Cells::new(CType::Double, usize::MAX / 4).is_err());
        assert_eq!(Cells::new(CType::Double, 0).unwrap().count(), 0);
    }

    #[test]
    #[should_panic(expected = "cell 3 of 3")]
    fn there_is_no_cell_behind_the_last() {
        Cells::new(CType::Char, 3).unwrap().load(3);
    }
}
