//! `round`: to the nearest, halves to the even neighbour, decided on the decimal digits as CPython does.

use rhai::{Dynamic, NativeCallContext};

use super::arguments::integer;
use super::call_style::written_as_method;
use super::exactly;
use super::numbers::overflow;
use crate::language::exception::{Outcome, raise};
use crate::language::native::NativeModule;
use crate::language::value;

pub(super) fn fill(module: &mut NativeModule) {
    module.builtin(
        "round(number, ndigits=None)",
        "The number rounded to so many digits after the point; without ndigits, to a whole number.",
        |call| {
            let number = call.required(0)?;
            let digits = call.argument(1).filter(|digits| !digits.is_unit());
            let digits = digits.map(|digits| integer(&digits, "round()'s ndigits")).transpose()?;
            round(&number, digits)
        },
    );
    // Rhai rounds floats to floats, halves away from zero: `x.round()` goes on doing that.
    exactly("round").set_into_module(&mut module.builtins, |context: NativeCallContext, x: f64| {
        match written_as_method(&context, "round") {
            Some(true) => Ok(x.round().into()),
            _ => round(&x.into(), None),
        }
    });
}

fn round(number: &Dynamic, digits: Option<i64>) -> Outcome<Dynamic> {
    if let Ok(n) = number.as_int().or_else(|_| number.as_bool().map(i64::from)) {
        return match digits {
            Some(digits) if digits < 0 => round_int(n, digits.unsigned_abs()).map(Dynamic::from),
            _ => Ok(n.into()),
        };
    }
    let Ok(x) = number.as_float() else {
        let kind = value::type_name(number);
        return Err(raise(
            "TypeError",
            format!("type {kind} doesn't define __round__ method: round() takes numbers"),
        ));
    };
    match digits {
        None => whole(x.round_ties_even()).map(Dynamic::from),
        Some(digits) => Ok(round_float(x, digits).into()),
    }
}

/// A float without a fraction as an integer.
///
/// # Errors
/// ValueError for NaN, OverflowError for infinities and for what 64 bits cannot hold.
pub(super) fn whole(x: f64) -> Outcome<i64> {
    if x.is_nan() {
        return Err(raise("ValueError", "cannot convert float NaN to integer"));
    }
    if x.is_infinite() {
        return Err(raise("OverflowError", "cannot convert float infinity to integer"));
    }
    // The bounds are powers of two, so both are floats exactly.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x) {
        return Err(overflow(value::repr(&x.into())));
    }
    Ok(x as i64)
}

fn round_int(n: i64, digits: u64) -> Outcome<i64> {
    let Some(unit) = u32::try_from(digits).ok().and_then(|digits| 10_i128.checked_pow(digits)) else {
        return Ok(0);
    };
    let (n, half) = (i128::from(n), unit / 2);
    let (down, rest) = (n.div_euclid(unit), n.rem_euclid(unit));
    let up = rest > half || (rest == half && down % 2 != 0);
    let rounded = (down + i128::from(up)) * unit;
    i64::try_from(rounded).map_err(|_| overflow(rounded))
}

fn round_float(x: f64, digits: i64) -> f64 {
    if !x.is_finite() || x == 0.0 || digits > 323 {
        return x;
    }
    if digits >= 0 {
        // Rust's digits are exact, and halves go to even.
        return format!("{x:.*}", digits as usize).parse().unwrap_or(x);
    }
    // As many significant digits as are left of the place that is rounded to.
    let exponent: i64 = format!("{x:e}").split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    match exponent + 1 + digits {
        significant if significant > 0 => format!("{x:.*e}", significant as usize - 1).parse().unwrap_or(x),
        // All digits are right of it: up only from more than a half of it on.
        0 if x.abs() > format!("5e{exponent}").parse().unwrap_or(f64::INFINITY) => {
            format!("1e{}", exponent + 1).parse::<f64>().unwrap_or(0.0).copysign(x)
        }
        _ => 0.0_f64.copysign(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_as_in_cpython() {
        for (x, digits, expected) in [
            (2.675, 2, 2.67),
            (0.125, 2, 0.12),
            (0.375, 2, 0.38),
            (1234.5, -2, 1200.0),
            (1250.0, -2, 1200.0),
            (1350.0, -2, 1400.0),
            (50.0, -2, 0.0),
            (51.0, -2, 100.0),
            (-51.0, -2, -100.0),
            (4.9, -1, 0.0),
            (9.99, 1, 10.0),
            (1e300, 5, 1e300),
        ] {
            assert_eq!(round_float(x, digits), expected, "round({x}, {digits})");
        }
    }

    #[test]
    fn ints_round_to_even() {
        for (n, digits, expected) in
            [(15, 1, 20), (25, 1, 20), (-25, 1, -20), (-15, 1, -20), (449, 2, 400), (5, 30, 0)]
        {
            assert_eq!(round_int(n, digits).ok(), Some(expected), "round({n}, -{digits})");
        }
    }
}
