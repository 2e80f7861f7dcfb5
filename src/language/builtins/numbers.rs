//! Numbers: `int`, `float`, `bool`, `abs`, `divmod`, `pow`, and their texts. `round` has a file of its own.

use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

use super::arguments::{at_most_one, integer};
use super::call_style::written_as_method;
use super::exactly;
use super::rounding::whole;
use crate::language::exception::{Outcome, raise};
use crate::language::native::{Call, NativeModule};
use crate::language::text::number_parse::{NumberError, parse_float, parse_int};
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    module
        .builtin(
            "int(x=0, base=10)",
            "The whole number of a number or a text; floats lose their fraction.",
            |call| {
                let x = call.argument(0);
                let base = call.argument(1);
                int(x, base)
            },
        )
        .builtin("float(x=0.0)", "The float of a number or a text.", |call| match call.argument(0) {
            None => Ok(0.0.into()),
            Some(x) => float(&x).map(Dynamic::from),
        })
        .builtin(
            "bool(*x)",
            "False for 0, None, False and what is empty, True for everything else.",
            |call| {
                let x = at_most_one(call, "bool", 0)?;
                Ok(x.is_some_and(|x| value::is_true(&x)).into())
            },
        )
        .builtin("abs(x)", "The absolute value.", |call| {
            let x = call.required(0)?;
            match (x.as_int().or_else(|_| x.as_bool().map(i64::from)), x.as_float()) {
                (Ok(n), _) => n.checked_abs().map(Dynamic::from).ok_or_else(|| overflow(format!("abs({n})"))),
                (_, Ok(x)) => Ok(x.abs().into()),
                _ => Err(bad_operand("abs()", &x)),
            }
        })
        .builtin("divmod(a, b)", "[a // b, a % b], rounded down as Python does.", |call| {
            let (a, b) = (call.required(0)?, call.required(1)?);
            divmod(&a, &b)
        })
        .builtin("pow(base, exp, mod=None)", "base to the power of exp, modulo mod if given.", power)
        .builtin("hex(n)", "The number in base 16, as in '0xff'.", |call| {
            radix(call, "0x", |n| format!("{n:x}"))
        })
        .builtin("oct(n)", "The number in base 8, as in '0o17'.", |call| {
            radix(call, "0o", |n| format!("{n:o}"))
        })
        .builtin("bin(n)", "The number in base 2, as in '0b101'.", |call| {
            radix(call, "0b", |n| format!("{n:b}"))
        })
        .builtin("chr(n)", "The character with that code point, as a text.", |call| {
            let n = call.int(0)?;
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| raise("ValueError", format!("chr() arg not in range(0x110000): {n}")))?;
            Ok(c.to_string().into())
        })
        .builtin("ord(c)", "The code point of a character.", |call| {
            let c = call.required(0)?;
            ord(&c)
        });
    // Rhai has `int` for floats too, which makes another float: `x.int()` goes on doing that.
    exactly("int").set_into_module(&mut module.builtins, |context: NativeCallContext, x: f64| {
        match written_as_method(&context, "int") {
            Some(true) => Ok(x.trunc().into()),
            _ => whole(x.trunc()).map(Dynamic::from),
        }
    });
}

/// The error for a result that 64 bits cannot hold.
pub(super) fn overflow(what: impl std::fmt::Display) -> Box<EvalAltResult> {
    raise("OverflowError", format!("{what} does not fit into 64 bits: use floats for numbers of that size"))
}

fn bad_operand(what: &str, x: &Dynamic) -> Box<EvalAltResult> {
    let (kind, shown) = (value::type_name(x), value::repr(x));
    raise("TypeError", format!("bad operand type for {what}: '{kind}': {shown} is no number"))
}

fn int(x: Option<Dynamic>, base: Option<Dynamic>) -> Outcome<Dynamic> {
    let Some(x) = x else { return Ok(Dynamic::ZERO) };
    let text = match super::bytes::bytes_of(&x) {
        Some(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        None if x.is_string() || x.is_char() => Some(value::str(&x)),
        None => None,
    };
    if let Some(text) = text {
        let base = match base {
            None => 10,
            Some(base) => integer(&base, "int()'s base")?,
        };
        return parse_int(&text, base).map(Dynamic::from).map_err(|error| match error {
            NumberError::Invalid(message) => raise("ValueError", message),
            NumberError::Overflow => overflow(format!("int({})", value::repr(&text.into()))),
        });
    }
    if base.is_some() {
        return Err(raise("TypeError", "int() can't convert non-string with explicit base"));
    }
    if let Ok(x) = x.as_float() {
        return whole(x.trunc()).map(Dynamic::from);
    }
    match x.as_int().or_else(|_| x.as_bool().map(i64::from)) {
        Ok(n) => Ok(n.into()),
        Err(_) => {
            let kind = value::type_name(&x);
            let text = "int() argument must be a string, a bytes-like object or a real number";
            Err(raise("TypeError", format!("{text}, not '{kind}'")))
        }
    }
}

fn float(x: &Dynamic) -> Outcome<f64> {
    if let Some(x) = value::number(x) {
        return Ok(x);
    }
    let text = match super::bytes::bytes_of(x) {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None if x.is_string() || x.is_char() => value::str(x),
        None => {
            let kind = value::type_name(x);
            let text = format!("float() argument must be a string or a real number, not '{kind}'");
            return Err(raise("TypeError", text));
        }
    };
    parse_float(&text).map_err(|error| raise("ValueError", error.to_string()))
}

/// The number, if it is a whole one.
fn whole_number(x: &Dynamic) -> Option<i64> {
    x.as_int().or_else(|_| x.as_bool().map(i64::from)).ok()
}

fn divmod(a: &Dynamic, b: &Dynamic) -> Outcome<Dynamic> {
    if let (Some(a), Some(b)) = (whole_number(a), whole_number(b)) {
        if b == 0 {
            return Err(raise("ZeroDivisionError", "integer division or modulo by zero"));
        }
        let (Some(quotient), remainder) = (a.checked_div(b), a.wrapping_rem(b)) else {
            return Err(overflow(format!("divmod({a}, {b})")));
        };
        let is_rounded_up = remainder != 0 && (remainder < 0) != (b < 0);
        let pair: [Dynamic; 2] = match is_rounded_up {
            true => [(quotient - 1).into(), (remainder + b).into()],
            false => [quotient.into(), remainder.into()],
        };
        return Ok(pair.to_vec().into());
    }
    let (Some(x), Some(y)) = (value::number(a), value::number(b)) else {
        let (a, b) = (value::type_name(a), value::type_name(b));
        return Err(raise("TypeError", format!("unsupported operand type(s) for divmod(): '{a}' and '{b}'")));
    };
    if y == 0.0 {
        return Err(raise("ZeroDivisionError", "float divmod()"));
    }
    let mut remainder = x % y;
    let mut quotient = ((x - remainder) / y).round();
    if remainder != 0.0 && (remainder < 0.0) != (y < 0.0) {
        remainder += y;
        quotient -= 1.0;
    }
    Ok(vec![Dynamic::from(quotient), Dynamic::from(remainder)].into())
}

fn power(call: &mut Call) -> Outcome<Dynamic> {
    let (base, exp) = (call.required(0)?, call.required(1)?);
    let modulus = call.argument(2).filter(|m| !m.is_unit());
    if let (Some(b), Some(e)) = (whole_number(&base), whole_number(&exp)) {
        if let Some(modulus) = modulus {
            let modulus = integer(&modulus, "pow()'s mod")?;
            return power_modulo(b, e, modulus).map(Dynamic::from);
        }
        if e >= 0 {
            let result = u32::try_from(e).ok().and_then(|e| b.checked_pow(e));
            let small = matches!(b, 0 | 1).then_some(if e == 0 { 1 } else { b });
            let negative_one = (b == -1).then_some(if e % 2 == 0 { 1 } else { -1 });
            let result = result.or(small).or(negative_one);
            return result.map(Dynamic::from).ok_or_else(|| overflow(format!("{b} ** {e}")));
        }
    } else if modulus.is_some() {
        return Err(raise("TypeError", "pow() 3rd argument not allowed unless all arguments are integers"));
    }
    let (Some(b), Some(e)) = (value::number(&base), value::number(&exp)) else {
        let (base, exp) = (value::type_name(&base), value::type_name(&exp));
        return Err(raise(
            "TypeError",
            format!("unsupported operand type(s) for pow(): '{base}' and '{exp}'"),
        ));
    };
    if b == 0.0 && e < 0.0 {
        return Err(raise("ZeroDivisionError", "0.0 cannot be raised to a negative power"));
    }
    Ok(b.powf(e).into())
}

fn power_modulo(base: i64, exp: i64, modulus: i64) -> Outcome<i64> {
    if modulus == 0 {
        return Err(raise("ValueError", "pow() 3rd argument cannot be 0"));
    }
    if exp < 0 {
        return Err(raise(
            "ValueError",
            format!("pow() exponent must not be negative with a modulus: {exp}"),
        ));
    }
    let m = i128::from(modulus);
    let (mut base, mut exp, mut result) = (i128::from(base).rem_euclid(m.abs()), exp, 1 % m.abs());
    while exp > 0 {
        if exp & 1 == 1 {
            result = result * base % m.abs();
        }
        base = base * base % m.abs();
        exp >>= 1;
    }
    // The result has the modulus's sign, as `%` in Python.
    if m < 0 && result != 0 {
        result += m;
    }
    Ok(result as i64)
}

fn radix(call: &mut Call, prefix: &str, digits: fn(u64) -> String) -> Outcome<Dynamic> {
    let n = call.int(0)?;
    let sign = if n < 0 { "-" } else { "" };
    Ok(format!("{sign}{prefix}{}", digits(n.unsigned_abs())).into())
}

fn ord(c: &Dynamic) -> Outcome<Dynamic> {
    if let Ok(c) = c.as_char() {
        return Ok(i64::from(u32::from(c)).into());
    }
    if let Some(bytes) = super::bytes::bytes_of(c)
        && let [byte] = bytes[..]
    {
        return Ok(i64::from(byte).into());
    }
    let Some(text) = c.read_lock::<ImmutableString>() else {
        let kind = value::type_name(c);
        return Err(raise("TypeError", format!("ord() expected string of length 1, but {kind} found")));
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(i64::from(u32::from(c)).into()),
        _ => {
            let length = text.chars().count();
            Err(raise(
                "TypeError",
                format!("ord() expected a character, but string of length {length} found"),
            ))
        }
    }
}
