//! The byte that a value begins with.

/// No value; what rhai calls unit and Python `None`.
pub const UNIT: u8 = 0;
/// `false`.
pub const FALSE: u8 = 1;
/// `true`.
pub const TRUE: u8 = 2;
/// A whole number that fits one byte.
pub const SMALL: u8 = 3;
/// A whole number: eight bytes.
pub const INT: u8 = 4;
/// A float: eight bytes.
pub const FLOAT: u8 = 5;
/// A character: its code point.
pub const CHAR: u8 = 6;
/// A length and so many bytes of UTF-8.
pub const TEXT: u8 = 7;
/// A length and so many bytes.
pub const BLOB: u8 = 8;
/// A plain array: a count and the items.
pub const ARRAY: u8 = 9;
/// A plain map: a count and names, each with its value.
pub const MAP: u8 = 10;
/// `range()`: start, stop and step.
pub const RANGE: u8 = 11;
/// Rhai's `a..b`.
pub const SLICE: u8 = 12;
/// Rhai's `a..=b`.
pub const INCLUSIVE_SLICE: u8 = 13;
/// A class that is no exception: its name.
pub const CLASS: u8 = 14;
/// An exception class: module and name.
pub const EXCEPTION_CLASS: u8 = 15;
/// A function of the program by its plain name, then a count and what the pointer captured.
pub const FUNCTION: u8 = 16;
/// The same of a closure.
pub const CLOSURE: u8 = 17;
/// The same of a native, by its qualified name.
pub const NATIVE: u8 = 18;
/// `kwargs(…)`: a map.
pub const KEYWORDS: u8 = 19;

/// An object of this message that came before: how many objects came before it. All tags that are greater begin
/// an object.
pub const AGAIN: u8 = 32;
/// A captured variable: its value.
pub const VARIABLE: u8 = 33;
/// A `list`: a count and the items.
pub const LIST: u8 = 34;
/// A `dict`: a count and keys, each with its value.
pub const DICT: u8 = 35;
/// A `bytearray`: a length and so many bytes.
pub const BYTEARRAY: u8 = 36;
/// An exception: module, name, message, arguments, attributes, traceback, cause.
pub const EXCEPTION: u8 = 37;
/// An object of a registered type: the type's tag, then what its `pack` wrote.
pub const OBJECT: u8 = 38;
