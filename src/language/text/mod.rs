//! Python's text forms: `repr` of numbers and strings, `%`, `str.format`, and the parsing of numbers.

pub mod float_repr;
pub mod format_spec;
pub mod number_parse;
pub mod percent;
pub mod str_format;
pub mod str_repr;
