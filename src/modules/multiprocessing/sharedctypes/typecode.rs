//! The type codes: how a script's value becomes one of C's, and back.

use rhai::Dynamic;

use crate::ipc::CType;
use crate::language::exception::{Outcome, raise};
use crate::language::value;

/// A type code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeCode {
    /// The letter.
    pub code: char,
    /// The type in C.
    pub ctype: CType,
    /// What `ctypes` calls it.
    pub name: &'static str,
}

const fn int(code: char, bytes: u8, signed: bool, name: &'static str) -> TypeCode {
    TypeCode { code, ctype: CType::Int { bytes, signed }, name }
}

const LONG: u8 = size_of::<std::ffi::c_long>() as u8;

const ALL: [TypeCode; 14] = [
    TypeCode { code: 'c', ctype: CType::Char, name: "c_char" },
    TypeCode { code: 'u', ctype: CType::WideChar, name: "c_wchar" },
    int('b', 1, true, "c_byte"),
    int('B', 1, false, "c_ubyte"),
    int('h', 2, true, "c_short"),
    int('H', 2, false, "c_ushort"),
    int('i', 4, true, "c_int"),
    int('I', 4, false, "c_uint"),
    int('l', LONG, true, "c_long"),
    int('L', LONG, false, "c_ulong"),
    int('q', 8, true, "c_longlong"),
    int('Q', 8, false, "c_ulonglong"),
    TypeCode { code: 'f', ctype: CType::Float, name: "c_float" },
    TypeCode { code: 'd', ctype: CType::Double, name: "c_double" },
];

impl TypeCode {
    /// The type code that a text is, if it is one.
    pub fn of(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let letter = letters.next().filter(|_| letters.next().is_none())?;
        ALL.into_iter().find(|code| code.code == letter)
    }

    /// All letters, for messages.
    pub fn all() -> String {
        ALL.map(|code| code.code.to_string()).join(" ")
    }

    /// A value of C as a script's.
    ///
    /// # Errors
    /// OverflowError for a whole number that is greater than a script's greatest.
    pub fn to_value(self, bits: u64) -> Outcome<Dynamic> {
        Ok(match self.ctype {
            CType::Char => Dynamic::from_blob(vec![bits as u8]),
            CType::WideChar => {
                char::from_u32(bits as u32).unwrap_or(char::REPLACEMENT_CHARACTER).to_string().into()
            }
            CType::Float => f64::from(f32::from_bits(bits as u32)).into(),
            CType::Double => f64::from_bits(bits).into(),
            CType::Int { bytes, signed } => {
                let unused = 64 - 8 * u32::from(bytes);
                if signed {
                    ((bits << unused) as i64 >> unused).into()
                } else {
                    let n = bits << unused >> unused;
                    let n = i64::try_from(n).map_err(|_| {
                        let text = format!("the value {n} is greater than the largest int, {}", i64::MAX);
                        raise("OverflowError", text)
                    })?;
                    n.into()
                }
            }
        })
    }

    /// A script's value as one of C: whole numbers wrap.
    ///
    /// # Errors
    /// TypeError for one of another kind.
    pub fn to_bits(self, value: &Dynamic) -> Outcome<u64> {
        let kind = || value::type_name(value);
        match self.ctype {
            CType::Int { .. } => match (value.as_int(), value.as_bool()) {
                (Ok(n), _) => Ok(n as u64),
                (_, Ok(truth)) => Ok(u64::from(truth)),
                _ => Err(raise(
                    "TypeError",
                    format!("'{}' object cannot be interpreted as an integer", kind()),
                )),
            },
            CType::Float | CType::Double => match value::number(value) {
                Some(x) if self.ctype == CType::Double => Ok(x.to_bits()),
                Some(x) => Ok(u64::from((x as f32).to_bits())),
                None => Err(raise("TypeError", format!("must be real number, not {}", kind()))),
            },
            CType::Char => byte(value)
                .map(u64::from)
                .ok_or_else(|| raise("TypeError", "one character bytes, bytearray or integer expected")),
            CType::WideChar => {
                if !value.is_string() && !value.is_char() {
                    let text = format!("unicode string expected instead of {} instance", kind());
                    return Err(raise("TypeError", text));
                }
                let text = value::str(value);
                let mut letters = text.chars();
                match (letters.next(), letters.next()) {
                    (Some(letter), None) => Ok(u64::from(u32::from(letter))),
                    _ => Err(raise("TypeError", "one character unicode string expected")),
                }
            }
        }
    }
}

fn byte(value: &Dynamic) -> Option<u8> {
    if let Ok(n) = value.as_int() {
        return u8::try_from(n).ok();
    }
    match value::bytes(value)?[..] {
        [byte] => Some(byte),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(code: &str, value: impl Into<Dynamic>) -> Dynamic {
        let code = TypeCode::of(code).unwrap();
        code.to_value(code.to_bits(&value.into()).unwrap()).unwrap()
    }

    #[test]
    fn whole_numbers_wrap_as_in_c() {
        for (code, given, read) in [
            ("b", 300, 44),
            ("b", 128, -128),
            ("B", 256, 0),
            ("B", -1, 255),
            ("h", 40_000, -25_536),
            ("H", -1, 65_535),
            ("i", 1 << 31, -(1 << 31)),
            ("I", -1, (1 << 32) - 1),
            ("l", i64::MIN, i64::MIN),
            ("L", i64::MAX, i64::MAX),
            ("q", -1, -1),
        ] {
            assert_eq!(round(code, given).as_int(), Ok(read), "{code} {given}");
        }
    }

    #[test]
    fn an_unsigned_number_may_be_too_large_to_read() {
        let code = TypeCode::of("Q").unwrap();
        assert!(code.to_value(u64::MAX).is_err());
        assert_eq!(code.to_value(7).unwrap().as_int(), Ok(7));
    }

    #[test]
    fn floats_are_as_precise_as_their_type() {
        assert_eq!(round("f", 0.1).as_float(), Ok(f64::from(0.1_f32)));
        assert_eq!(round("d", 0.1).as_float(), Ok(0.1));
        assert_eq!(round("d", 3_i64).as_float(), Ok(3.0));
        assert_eq!(round("f", 1e300).as_float(), Ok(f64::INFINITY));
    }

    #[test]
    fn letters_and_bytes_are_one_at_a_time() {
        assert_eq!(round("u", "进").to_string(), "进");
        assert!(TypeCode::of("u").unwrap().to_bits(&"ab".into()).is_err());
        assert!(TypeCode::of("c").unwrap().to_bits(&256_i64.into()).is_err());
        assert!(TypeCode::of("c").unwrap().to_bits(&Dynamic::from_blob(vec![1, 2])).is_err());
        assert_eq!(round("c", 65_i64).into_blob().unwrap(), [65]);
    }

    #[test]
    fn other_texts_are_no_type_codes() {
        for text in ["", "x", "ii", "int"] {
            assert_eq!(TypeCode::of(text), None);
        }
    }
}
