//! Floats as text: CPython's `repr(float)` and the presentations `e`, `f` and
//! `g` that the format languages share.

/// The way in which the digits of a float are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presentation {
    /// The shortest digits that read back as the same float.
    Repr,
    /// `d.ddde+XX`, always with an exponent.
    Exponent,
    /// `ddd.ddd`, never with an exponent.
    Fixed,
    /// So many significant digits, with an exponent where it is shorter.
    General,
}

/// How [`format_float`] writes a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloatLayout {
    /// The layout of the digits.
    pub presentation: Presentation,
    /// Digits after the point, or significant digits for
    /// [`Presentation::General`]; [`Presentation::Repr`] ignores it.
    pub precision: usize,
    /// `#`: keep the point and the zeros at the end.
    pub alternate: bool,
    /// Write `1.0`, not `1`, so that the text reads as a float.
    pub point_zero: bool,
    /// `z`: a result that rounds to zero has no sign.
    pub no_negative_zero: bool,
}

impl FloatLayout {
    /// A presentation with a precision and no flags.
    #[must_use]
    pub const fn new(presentation: Presentation, precision: usize) -> Self {
        Self { presentation, precision, alternate: false, point_zero: false, no_negative_zero: false }
    }
}

/// No double has more digits than this in any presentation; what a larger
/// precision asks for is zeros.
const MOST_DIGITS: usize = 1100;

/// `repr(x)`, as CPython writes it: `1.0`, `1e+16`, `-0.0`, `inf`, `nan`.
#[must_use]
pub fn float_repr(x: f64) -> String {
    let mut layout = FloatLayout::new(Presentation::Repr, 0);
    layout.point_zero = true;
    format_float(x, layout)
}

/// Writes a float with the given layout, in lower case, with a sign only if it
/// is negative.
#[must_use]
pub fn format_float(x: f64, layout: FloatLayout) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let decimal = Decimal::new(x.abs(), layout);
    let is_zero = decimal.digits.iter().all(|&digit| digit == b'0');
    let mut text = String::new();
    if x.is_sign_negative() && !(layout.no_negative_zero && is_zero) {
        text.push('-');
    }
    decimal.write(layout, &mut text);
    text
}

/// The number `0.DIGITS × 10^point`.
struct Decimal {
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// The digits that a layout shows of a finite, non-negative float. The
    /// standard library rounds exactly and half to even, as CPython's dtoa does.
    fn new(x: f64, layout: FloatLayout) -> Self {
        let precision = layout.precision.min(MOST_DIGITS);
        let (digits, point) = match layout.presentation {
            Presentation::Repr => Self::shortest(x),
            Presentation::Exponent => Self::scientific(&format!("{x:.precision$e}")),
            Presentation::General => {
                let after_first = precision.max(1) - 1;
                let (mut digits, point) = Self::scientific(&format!("{x:.after_first$e}"));
                while digits.len() > 1 && digits.last() == Some(&b'0') {
                    digits.pop();
                }
                (digits, point)
            }
            Presentation::Fixed => {
                let text = format!("{x:.precision$}");
                let whole = text.find('.').unwrap_or(text.len());
                let digits = text.bytes().filter(u8::is_ascii_digit).collect();
                (digits, i64::try_from(whole).unwrap_or(i64::MAX))
            }
        };
        Self { digits, point }
    }

    /// The shortest digits that read back as `x`. Where two texts of that length
    /// are equally near, Rust rounds up and CPython to even. With fewer than 16
    /// digits no second text is near enough.
    fn shortest(x: f64) -> (Vec<u8>, i64) {
        let (digits, point) = Self::scientific(&format!("{x:e}"));
        if digits.len() >= 16 {
            let even = format!("{x:.*e}", digits.len() - 1);
            if even.parse() == Ok(x) {
                return Self::scientific(&even);
            }
        }
        (digits, point)
    }

    /// Takes Rust's `d.ddde-X` apart.
    fn scientific(text: &str) -> (Vec<u8>, i64) {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        (digits, exponent.parse::<i64>().unwrap_or(0) + 1)
    }

    /// The layout rules of CPython's `format_float_short`.
    fn write(&self, layout: FloatLayout, text: &mut String) {
        let precision = i64::try_from(layout.precision).unwrap_or(i64::MAX / 2);
        let significant = precision.max(1);
        let count = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        let exponent_used = match layout.presentation {
            Presentation::Exponent => true,
            Presentation::Fixed => false,
            Presentation::General => {
                self.point <= -4 || self.point > significant - i64::from(layout.point_zero)
            }
            Presentation::Repr => self.point <= -4 || self.point > 16,
        };
        let point = if exponent_used { 1 } else { self.point };
        let shown = match layout.presentation {
            Presentation::Exponent => precision + 1,
            Presentation::Fixed => point + precision,
            Presentation::General if layout.alternate => significant,
            Presentation::General | Presentation::Repr => count,
        };
        let least = point + i64::from(layout.point_zero && !exponent_used);
        let first = if point <= 0 { point - 1 } else { 0 };
        for position in first..shown.max(least) {
            if position == point {
                text.push('.');
            }
            let digit = usize::try_from(position).ok().and_then(|index| self.digits.get(index));
            text.push(char::from(digit.copied().unwrap_or(b'0')));
        }
        if layout.alternate && shown.max(least) <= point {
            text.push('.');
        }
        if exponent_used {
            let exponent = self.point - 1;
            let sign = if exponent < 0 { '-' } else { '+' };
            text.push_str(&format!("e{sign}{:02}", exponent.abs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repr_is_the_shortest_text_in_pythons_forms() {
        for (x, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1e22, "1e+22"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (2f64.powi(-44), "5.684341886080802e-14"),
            (2f64.powi(-25), "2.9802322387695312e-08"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(x), expected);
        }
    }

    #[test]
    fn presentations_round_half_to_even_on_the_exact_value() {
        let fixed = |x, p| format_float(x, FloatLayout::new(Presentation::Fixed, p));
        assert_eq!(fixed(0.5, 0), "0");
        assert_eq!(fixed(1.5, 0), "2");
        assert_eq!(fixed(2.5, 0), "2");
        assert_eq!(fixed(0.125, 2), "0.12");
        assert_eq!(fixed(2.675, 2), "2.67");
        let exponent = |x, p| format_float(x, FloatLayout::new(Presentation::Exponent, p));
        assert_eq!(exponent(1.25, 1), "1.2e+00");
        assert_eq!(exponent(0.0, 3), "0.000e+00");
        assert_eq!(exponent(1e-200, 0), "1e-200");
        let general = |x, p| format_float(x, FloatLayout::new(Presentation::General, p));
        assert_eq!(general(1_234_567.0, 6), "1.23457e+06");
        assert_eq!(general(100.0, 0), "1e+02");
        assert_eq!(general(0.0001, 6), "0.0001");
    }

    #[test]
    fn a_precision_beyond_the_last_digit_gives_zeros() {
        let text = format_float(0.5, FloatLayout::new(Presentation::Fixed, 70_000));
        assert_eq!(text.len(), 70_002);
        assert!(text.starts_with("0.50000") && text.ends_with("000"));
    }

    #[test]
    fn alternate_keeps_the_point() {
        let mut layout = FloatLayout::new(Presentation::General, 6);
        layout.alternate = true;
        assert_eq!(format_float(1.0, layout), "1.00000");
        layout.presentation = Presentation::Fixed;
        layout.precision = 0;
        assert_eq!(format_float(3.0, layout), "3.");
    }

    #[test]
    fn z_drops_the_sign_of_a_rounded_zero() {
        let mut layout = FloatLayout::new(Presentation::Fixed, 1);
        assert_eq!(format_float(-0.01, layout), "-0.0");
        layout.no_negative_zero = true;
        assert_eq!(format_float(-0.01, layout), "0.0");
        assert_eq!(format_float(-0.06, layout), "-0.1");
    }
}
