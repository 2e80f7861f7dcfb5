//! Cells of a type code: the memory behind a value or an array.

use rhai::Dynamic;

use super::typecode::TypeCode;
use crate::ipc::codec::{Decoder, Encoder};
use crate::ipc::{CType, Cells};
use crate::language::exception::{Outcome, raise, raise_io};

/// Cells of a type code. Clones are the same ones.
#[derive(Clone)]
pub struct Cell {
    cells: Cells,
    code: TypeCode,
}

impl Cell {
    /// So many cells, all zero.
    ///
    /// # Errors
    /// MemoryError or OSError when there is no room for them.
    pub fn new(code: TypeCode, count: usize) -> Outcome<Self> {
        let cells = Cells::new(code.ctype, count).map_err(|error| match error.kind() {
            std::io::ErrorKind::OutOfMemory => {
                raise("MemoryError", format!("no shared memory for {count} values of {}", code.name))
            }
            _ => raise_io(&error, None),
        })?;
        Ok(Self { cells, code })
    }

    /// Others with the same contents.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn copy(&self) -> Outcome<Self> {
        let copy = Self::new(self.code, self.len())?;
        (0..self.len()).for_each(|index| copy.cells.store(index, self.cells.load(index)));
        Ok(copy)
    }

    /// The type.
    pub fn code(&self) -> TypeCode {
        self.code
    }

    /// Are they bytes, which read as `bytes` together?
    pub fn is_bytes(&self) -> bool {
        self.code.ctype == CType::Char
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells.count()
    }

    /// What tells them from others, in every process.
    pub fn place(&self) -> usize {
        self.cells.place() as usize
    }

    /// The value at `index`, which is below [`Cell::len`].
    ///
    /// # Errors
    /// OverflowError for an unsigned number that no int can hold.
    pub fn get(&self, index: usize) -> Outcome<Dynamic> {
        self.code.to_value(self.cells.load(index))
    }

    /// Sets the value at `index`, which is below [`Cell::len`].
    ///
    /// # Errors
    /// TypeError for a value of another kind.
    pub fn set(&self, index: usize, value: &Dynamic) -> Outcome<()> {
        self.cells.store(index, self.code.to_bits(value)?);
        Ok(())
    }

    /// Adds to the value at `index` as C does, and returns what it is now. Another thread may come in between,
    /// unless a lock keeps it away.
    ///
    /// # Errors
    /// TypeError for a value of another kind; as [`Cell::get`].
    pub fn add(&self, index: usize, value: &Dynamic) -> Outcome<Dynamic> {
        let (before, more) = (self.cells.load(index), self.code.to_bits(value)?);
        let sum = match self.code.ctype {
            CType::Float => {
                u64::from((f32::from_bits(before as u32) + f32::from_bits(more as u32)).to_bits())
            }
            CType::Double => (f64::from_bits(before) + f64::from_bits(more)).to_bits(),
            CType::Int { .. } => before.wrapping_add(more),
            CType::Char | CType::WideChar => {
                return Err(raise("TypeError", format!("nothing can be added to a {}", self.code.name)));
            }
        };
        self.cells.store(index, sum);
        self.get(index)
    }

    /// The cells as bytes, for those that are.
    pub fn bytes(&self) -> Vec<u8> {
        (0..self.len()).map(|index| self.cells.load(index) as u8).collect()
    }

    /// Sets the first cells to these bytes.
    ///
    /// # Errors
    /// ValueError for too many.
    pub fn set_bytes(&self, bytes: &[u8]) -> Outcome<()> {
        if bytes.len() > self.len() {
            return Err(raise("ValueError", "byte string too long"));
        }
        bytes.iter().enumerate().for_each(|(index, byte)| self.cells.store(index, u64::from(*byte)));
        Ok(())
    }

    /// Writes what [`Cell::unpack`] needs.
    pub fn pack(&self, out: &mut Encoder) -> Outcome<()> {
        out.u64(u64::from(u32::from(self.code.code)));
        out.shared(self.cells.head())
    }

    /// The cells that another process has sent.
    pub fn unpack(input: &mut Decoder<'_>) -> Outcome<Self> {
        let letter = u32::try_from(input.u64()?).ok().and_then(char::from_u32);
        let code = letter.and_then(|letter| TypeCode::of(letter.encode_utf8(&mut [0; 4])));
        let code = code.ok_or_else(|| Decoder::bad("there is no such typecode"))?;
        let cells = Cells::of(code.ctype, input.shared()?);
        Ok(Self { cells: cells.ok_or_else(|| Decoder::bad("the values do not fit"))?, code })
    }
}
