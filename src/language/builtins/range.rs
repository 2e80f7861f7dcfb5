//! `range`: whole numbers from one to another, made one at a time.

use std::any::TypeId;
use std::hash::{DefaultHasher, Hash, Hasher};

use rhai::Dynamic;

use super::arguments::integer;
use super::exactly;
use super::limits::check_items;
use crate::language::exception::{Outcome, raise};
use crate::language::identity::Handle;
use crate::language::list::position;
use crate::language::native::NativeModule;

/// Rhai's `a..b`.
pub(super) type Slice = std::ops::Range<i64>;
/// Rhai's `a..=b`.
pub(super) type InclusiveSlice = std::ops::RangeInclusive<i64>;

/// `range(start, stop, step)`. Two ranges that were given the same numbers are the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    start: i64,
    stop: i64,
    step: i64,
}

impl Handle for Range {
    const NAME: &'static str = "range";

    fn identity(&self) -> usize {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() as usize
    }

    fn repr(&self) -> String {
        match self.step {
            1 => format!("range({}, {})", self.start, self.stop),
            step => format!("range({}, {}, {step})", self.start, self.stop),
        }
    }
}

impl Range {
    /// The numbers from `start` on, up to but without `stop`.
    ///
    /// # Errors
    /// ValueError for a step of 0.
    pub fn new(start: i64, stop: i64, step: i64) -> Outcome<Self> {
        if step == 0 {
            return Err(raise("ValueError", "range() arg 3 must not be zero"));
        }
        Ok(Self { start, stop, step })
    }

    /// The arguments that make the range: start, stop and step.
    pub fn arguments(self) -> [i64; 3] {
        [self.start, self.stop, self.step]
    }

    /// How many numbers there are.
    pub fn len(self) -> usize {
        let distance = match self.step > 0 {
            true => i128::from(self.stop) - i128::from(self.start),
            false => i128::from(self.start) - i128::from(self.stop),
        };
        let step = i128::from(self.step.unsigned_abs());
        usize::try_from((distance + step - 1) / step).unwrap_or(0)
    }

    /// Are there none?
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number at `index`, counted from the end if negative.
    ///
    /// # Errors
    /// IndexError.
    pub fn get(self, index: i64) -> Outcome<i64> {
        let length = self.len();
        let at = position(index, length).ok_or_else(|| {
            raise("IndexError", format!("range object index out of range: index {index} of {length} items"))
        })?;
        Ok(self.at(at))
    }

    fn at(self, index: usize) -> i64 {
        (i128::from(self.start) + index as i128 * i128::from(self.step)) as i64
    }

    /// Is `n` one of the numbers?
    pub fn contains(self, n: i64) -> bool {
        let inside = match self.step > 0 {
            true => (self.start..self.stop).contains(&n),
            false => n <= self.start && n > self.stop,
        };
        inside && (i128::from(n) - i128::from(self.start)) % i128::from(self.step) == 0
    }

    /// Are the numbers the same?
    pub fn equals(self, other: Self) -> bool {
        let length = self.len();
        length == other.len()
            && (length == 0 || self.start == other.start && (length == 1 || self.step == other.step))
    }

    /// The numbers as values.
    ///
    /// # Errors
    /// MemoryError when they are too many for one array.
    pub fn to_items(self) -> Outcome<Vec<Dynamic>> {
        check_items(&format!("an array of {}", self.repr()), self.len() as u128)?;
        Ok(self.into_iter().map(Dynamic::from).collect())
    }
}

impl IntoIterator for Range {
    type Item = i64;
    type IntoIter = Numbers;

    fn into_iter(self) -> Numbers {
        Numbers { next: self.start, left: self.len(), step: self.step }
    }
}

/// The numbers of a range, one after the other.
pub struct Numbers {
    next: i64,
    left: usize,
    step: i64,
}

impl Iterator for Numbers {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        let number = self.next;
        // Past the last number it may wrap, and is not used.
        self.next = number.wrapping_add(self.step);
        Some(number)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

pub(super) fn fill(module: &mut NativeModule) {
    module.named::<Range>("range");
    crate::language::identity::register::<Range>();
    module.shown::<Range>(Handle::repr);
    module.builtin(
        "range(start, stop=None, step=1)",
        "The numbers from start (or 0) on, up to but without stop.",
        |call| {
            let first = call.int(0)?;
            let range = match call.argument(1).filter(|stop| !stop.is_unit()) {
                None => Range::new(0, first, 1),
                Some(stop) => Range::new(first, integer(&stop, "range()'s stop")?, call.int_or(2, 1)?),
            };
            range.map(Dynamic::from)
        },
    );
    let natives = &mut module.builtins;
    natives.set_iter(TypeId::of::<Range>(), |range| {
        Box::new(range.cast::<Range>().into_iter().map(Dynamic::from))
    });
    exactly("range").set_into_module(natives, |stop: i64| Range::new(0, stop, 1));
    exactly("range").set_into_module(natives, |start: i64, stop: i64| Range::new(start, stop, 1));
    exactly("range").set_into_module(natives, Range::new);
    exactly("index$get$").set_into_module(natives, |range: &mut Range, index: i64| range.get(index));
    exactly("contains").set_into_module(natives, |range: &mut Range, n: i64| range.contains(n));
    exactly("contains").set_into_module(natives, |_: &mut Range, _: Dynamic| false);
    exactly("==").set_into_module(natives, |a: Range, b: Range| a.equals(b));
    exactly("!=").set_into_module(natives, |a: Range, b: Range| !a.equals(b));
    for name in ["start", "get$start"] {
        exactly(name).set_into_module(natives, |range: &mut Range| range.start);
    }
    for name in ["stop", "get$stop", "end", "get$end"] {
        exactly(name).set_into_module(natives, |range: &mut Range| range.stop);
    }
    for name in ["step", "get$step"] {
        exactly(name).set_into_module(natives, |range: &mut Range| range.step);
    }
    for name in ["is_empty", "get$is_empty"] {
        exactly(name).set_into_module(natives, |range: &mut Range| range.is_empty());
    }
    exactly("get$len").set_into_module(natives, |range: &mut Range| range.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cpythons() {
        let numbers =
            |start, stop, step| Range::new(start, stop, step).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(numbers(0, 5, 2), [0, 2, 4]);
        assert_eq!(numbers(5, 0, -2), [5, 3, 1]);
        assert!(numbers(5, 0, 1).is_empty());
        assert_eq!(numbers(i64::MAX - 1, i64::MAX, 1), [i64::MAX - 1]);
        assert_eq!(numbers(i64::MIN, i64::MAX, i64::MAX), [i64::MIN, -1, i64::MAX - 1]);
        assert!(Range::new(1, 10, 3).unwrap().contains(7));
        assert!(!Range::new(1, 10, 3).unwrap().contains(8));
        assert!(Range::new(10, 0, -5).unwrap().contains(5));
        assert!(Range::new(1, 10, 0).is_err());
        let equal = |a: (i64, i64, i64), b: (i64, i64, i64)| {
            Range::new(a.0, a.1, a.2).unwrap().equals(Range::new(b.0, b.1, b.2).unwrap())
        };
        assert!(equal((0, 3, 2), (0, 4, 2)) && equal((0, 0, 1), (5, 2, 1)) && equal((3, 4, 1), (3, 9, 7)));
        assert!(!equal((0, 3, 1), (0, 4, 1)) && !equal((0, 4, 2), (1, 5, 2)));
    }
}
