//! What the `random` module draws from the Mersenne Twister, in CPython's
//! order, so that a seed gives the same choices here and there. Sequences stay
//! with the caller: these functions draw indices.

use std::{collections::HashSet, f64::consts, fmt};

use super::mersenne_twister::MersenneTwister;

/// Why nothing can be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RandomError {
    /// `randrange(n)` with `n <= 0`, or a range with a step that is empty.
    EmptyRange,
    /// A range without a step that is empty: start, stop and width.
    EmptyInterval(i128, i128, i128),
    /// `randrange` with a step of zero.
    ZeroStep,
    /// `randrange` with a step but no stop.
    MissingStop,
    /// `choice` from nothing.
    EmptySequence,
    /// `choices` from nothing.
    EmptyPopulation,
    /// `sample` of more than there is, or of a negative number.
    SampleSize,
    /// `sample` with a different number of counts than elements.
    CountsLength,
    /// `sample` with counts that add up to nothing.
    CountsTotal,
    /// `choices` with a different number of weights than elements.
    WeightsLength,
    /// `choices` with weights that add up to nothing.
    WeightsTotal,
    /// `choices` with weights that add up to infinity or NaN.
    WeightsInfinite,
    /// A parameter of `gammavariate` or `betavariate` that is not positive.
    GammaParameter,
    /// `expovariate(0.0)`
    ZeroDivision,
    /// More results than there is memory for.
    Memory,
}

impl RandomError {
    /// The name of the Python exception.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::MissingStop => "TypeError",
            Self::EmptySequence | Self::EmptyPopulation => "IndexError",
            Self::ZeroDivision => "ZeroDivisionError",
            Self::Memory => "MemoryError",
            _ => "ValueError",
        }
    }
}

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyRange => "empty range for randrange()",
            Self::EmptyInterval(start, stop, width) => {
                return write!(f, "empty range for randrange() ({start}, {stop}, {width})");
            }
            Self::ZeroStep => "zero step for randrange()",
            Self::MissingStop => "Missing a non-None stop argument",
            Self::EmptySequence => "Cannot choose from an empty sequence",
            Self::EmptyPopulation => "list index out of range",
            Self::SampleSize => "Sample larger than population or is negative",
            Self::CountsLength => "The number of counts does not match the population",
            Self::CountsTotal => "Total of counts must be greater than zero",
            Self::WeightsLength => "The number of weights does not match the population",
            Self::WeightsTotal => "Total of weights must be greater than zero",
            Self::WeightsInfinite => "Total of weights must be finite",
            Self::GammaParameter => "gammavariate: alpha and beta must be > 0.0",
            Self::ZeroDivision => "float division by zero",
            Self::Memory => "more results than there is memory for",
        })
    }
}

impl std::error::Error for RandomError {}

/// How likely `choices` draws each element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights<'a> {
    /// All alike.
    Equal,
    /// `weights=`
    Relative(&'a [f64]),
    /// `cum_weights=`
    Cumulative(&'a [f64]),
}

/// `random.Random`: a generator, and what `gauss` keeps for its next call.
#[derive(Debug, Clone, PartialEq)]
pub struct Random {
    twister: MersenneTwister,
    gauss_next: Option<f64>,
}

impl Random {
    /// What `seed()` leaves behind.
    #[must_use]
    pub fn new(twister: MersenneTwister) -> Self {
        Self { twister, gauss_next: None }
    }

    /// `random()`
    pub fn random(&mut self) -> f64 {
        self.twister.random()
    }

    /// `getrandbits(k)`; more than 128 bits count as 128.
    pub fn getrandbits(&mut self, k: u32) -> u128 {
        self.twister.getrandbits(k)
    }

    /// `randrange(start)`, `randrange(start, stop)`, `randrange(start, stop, step)`.
    ///
    /// # Errors
    /// For an empty range, a step of zero, or a step without a stop.
    pub fn randrange(
        &mut self,
        start: i64,
        stop: Option<i64>,
        step: Option<i64>,
    ) -> Result<i64, RandomError> {
        match (stop, step) {
            (None, Some(_)) => Err(RandomError::MissingStop),
            (None, None) if start > 0 => self.element(0, 1, start.into()),
            (None, None) => Err(RandomError::EmptyRange),
            (Some(stop), step) => self.between(start.into(), stop.into(), step.unwrap_or(1).into()),
        }
    }

    /// `randint(a, b)`: a number in [a, b].
    ///
    /// # Errors
    /// If `b < a`.
    pub fn randint(&mut self, a: i64, b: i64) -> Result<i64, RandomError> {
        self.between(a.into(), i128::from(b) + 1, 1)
    }

    fn between(&mut self, start: i128, stop: i128, step: i128) -> Result<i64, RandomError> {
        let width = stop - start;
        let count = match step {
            1 if width <= 0 => return Err(RandomError::EmptyInterval(start, stop, width)),
            0 => return Err(RandomError::ZeroStep),
            1.. => (width + step - 1).div_euclid(step),
            // Python rounds down, and so does this: with a divisor below zero
            // div_euclid rounds up, so both signs are turned.
            _ => (-(width + step + 1)).div_euclid(-step),
        };
        if count <= 0 {
            return Err(RandomError::EmptyRange);
        }
        self.element(start, step, count)
    }

    fn element(&mut self, start: i128, step: i128, count: i128) -> Result<i64, RandomError> {
        let index = self.twister.randbelow(count.unsigned_abs()).cast_signed();
        // Every element lies between two 64-bit numbers.
        i64::try_from(start + step * index).map_err(|_| RandomError::EmptyRange)
    }

    fn index_below(&mut self, n: usize) -> usize {
        usize::try_from(self.twister.randbelow(n as u128)).unwrap_or_default()
    }

    /// The index that `choice` takes from a sequence of a length.
    ///
    /// # Errors
    /// If the sequence is empty.
    pub fn choice(&mut self, length: usize) -> Result<usize, RandomError> {
        if length == 0 {
            return Err(RandomError::EmptySequence);
        }
        Ok(self.index_below(length))
    }

    /// `shuffle` of a sequence of a length: calls `swap` with pairs of indices.
    pub fn shuffle(&mut self, length: usize, mut swap: impl FnMut(usize, usize)) {
        for i in (1..length).rev() {
            swap(i, self.index_below(i + 1));
        }
    }

    /// The indices that `sample` takes from a population of a size.
    ///
    /// # Errors
    /// If `k` is negative or more than the population.
    pub fn sample(&mut self, population: usize, k: i64) -> Result<Vec<usize>, RandomError> {
        let k = usize::try_from(k).map_err(|_| RandomError::SampleSize)?;
        if k > population {
            return Err(RandomError::SampleSize);
        }
        let mut result = reserve(k)?;
        if population as u128 <= pool_limit(k) {
            let mut pool: Vec<usize> = reserve(population)?;
            pool.extend(0..population);
            for _ in 0..k {
                // What was not drawn moves into the gap.
                let index = self.index_below(pool.len());
                result.push(pool.swap_remove(index));
            }
        } else {
            let mut selected = HashSet::new();
            selected.try_reserve(k).map_err(|_| RandomError::Memory)?;
            while result.len() < k {
                let index = self.index_below(population);
                if selected.insert(index) {
                    result.push(index);
                }
            }
        }
        Ok(result)
    }

    /// The indices that `sample` takes when the element at each index counts
    /// as so many.
    ///
    /// # Errors
    /// If the counts do not match the population or are not positive in total,
    /// and as [`Random::sample`].
    pub fn sample_counts(
        &mut self,
        population: usize,
        counts: &[i64],
        k: i64,
    ) -> Result<Vec<usize>, RandomError> {
        if counts.len() != population {
            return Err(RandomError::CountsLength);
        }
        let mut total = 0_i64;
        let mut ends = Vec::with_capacity(counts.len());
        for count in counts {
            total = total.saturating_add(*count);
            ends.push(total);
        }
        let total = usize::try_from(total).ok().filter(|&total| total > 0);
        let selections = self.sample(total.ok_or(RandomError::CountsTotal)?, k)?;
        let element = |selection: usize| {
            let selection = i64::try_from(selection).unwrap_or(i64::MAX);
            // CPython leaves the last end out.
            ends[..ends.len() - 1].partition_point(|&end| end <= selection)
        };
        Ok(selections.into_iter().map(element).collect())
    }

    /// The indices that `choices` takes; none if `k` is negative.
    ///
    /// # Errors
    /// If the population is empty, or if the weights do not match it, are not
    /// positive in total, or are not finite.
    pub fn choices(
        &mut self,
        population: usize,
        weights: Weights<'_>,
        k: i64,
    ) -> Result<Vec<usize>, RandomError> {
        let k = usize::try_from(k).unwrap_or_default();
        let sums: Vec<f64>;
        let cumulative = match weights {
            Weights::Equal => return self.equal_choices(population, k),
            Weights::Relative(weights) => {
                let mut sum = 0.0;
                let sum_up = |weight: &f64| {
                    sum += weight;
                    sum
                };
                sums = weights.iter().map(sum_up).collect();
                &sums
            }
            Weights::Cumulative(cumulative) => cumulative,
        };
        if cumulative.len() != population {
            return Err(RandomError::WeightsLength);
        }
        let Some((&total, but_last)) = cumulative.split_last() else {
            return Err(RandomError::EmptyPopulation);
        };
        if total <= 0.0 {
            return Err(RandomError::WeightsTotal);
        }
        if !total.is_finite() {
            return Err(RandomError::WeightsInfinite);
        }
        let mut result = reserve(k)?;
        for _ in 0..k {
            let target = self.random() * total;
            result.push(bisect_right(but_last, target));
        }
        Ok(result)
    }

    fn equal_choices(&mut self, population: usize, k: usize) -> Result<Vec<usize>, RandomError> {
        if population == 0 && k > 0 {
            // CPython draws before it finds nothing there.
            self.random();
            return Err(RandomError::EmptyPopulation);
        }
        let mut result = reserve(k)?;
        for _ in 0..k {
            result.push((self.random() * population as f64) as usize);
        }
        Ok(result)
    }

    /// `uniform(a, b)`
    pub fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.random()
    }

    /// `triangular(low, high, mode)`; without a mode the middle.
    pub fn triangular(&mut self, low: f64, high: f64, mode: Option<f64>) -> f64 {
        let mut u = self.random();
        let mut c = match mode {
            None => 0.5,
            Some(_) if high == low => return low,
            Some(mode) => (mode - low) / (high - low),
        };
        let (mut low, mut high) = (low, high);
        if u > c {
            u = 1.0 - u;
            c = 1.0 - c;
            (low, high) = (high, low);
        }
        low + (high - low) * (u * c).sqrt()
    }

    /// `gauss(mu, sigma)`: every second call uses what the one before left.
    pub fn gauss(&mut self, mu: f64, sigma: f64) -> f64 {
        let z = if let Some(z) = self.gauss_next.take() {
            z
        } else {
            let angle = self.random() * consts::TAU;
            let radius = (-2.0 * (1.0 - self.random()).ln()).sqrt();
            self.gauss_next = Some(angle.sin() * radius);
            angle.cos() * radius
        };
        mu + z * sigma
    }

    /// `normalvariate(mu, sigma)`
    pub fn normalvariate(&mut self, mu: f64, sigma: f64) -> f64 {
        let magic = 4.0 * (-0.5_f64).exp() / 2.0_f64.sqrt();
        loop {
            let u1 = self.random();
            let u2 = 1.0 - self.random();
            let z = magic * (u1 - 0.5) / u2;
            if z * z / 4.0 <= -u2.ln() {
                return mu + z * sigma;
            }
        }
    }

    /// `expovariate(lambd)`
    ///
    /// # Errors
    /// If `lambd` is zero.
    pub fn expovariate(&mut self, lambd: f64) -> Result<f64, RandomError> {
        let logarithm = (1.0 - self.random()).ln();
        if lambd == 0.0 {
            return Err(RandomError::ZeroDivision);
        }
        Ok(-logarithm / lambd)
    }

    /// `gammavariate(alpha, beta)`
    ///
    /// # Errors
    /// If a parameter is not positive.
    pub fn gammavariate(&mut self, alpha: f64, beta: f64) -> Result<f64, RandomError> {
        if alpha <= 0.0 || beta <= 0.0 {
            return Err(RandomError::GammaParameter);
        }
        Ok(beta
            * if alpha > 1.0 {
                self.gamma_above_one(alpha)
            } else if alpha < 1.0 {
                self.gamma_below_one(alpha)
            } else {
                -(1.0 - self.random()).ln()
            })
    }

    /// R. C. H. Cheng, "The generation of Gamma variables with non-integral
    /// shape parameters", 1977.
    fn gamma_above_one(&mut self, alpha: f64) -> f64 {
        let magic = 1.0 + 4.5_f64.ln();
        let ainv = (2.0 * alpha - 1.0).sqrt();
        let bbb = alpha - 4.0_f64.ln();
        let ccc = alpha + ainv;
        loop {
            let u1 = self.random();
            if !(1e-7 < u1 && u1 < 0.999_999_9) {
                continue;
            }
            let u2 = 1.0 - self.random();
            let v = (u1 / (1.0 - u1)).ln() / ainv;
            let x = alpha * v.exp();
            let z = u1 * u1 * u2;
            let r = bbb + ccc * v - x;
            if r + magic - 4.5 * z >= 0.0 || r >= z.ln() {
                return x;
            }
        }
    }

    /// Algorithm GS in Kennedy and Gentle, "Statistical Computing".
    fn gamma_below_one(&mut self, alpha: f64) -> f64 {
        loop {
            let u = self.random();
            let b = (consts::E + alpha) / consts::E;
            let p = b * u;
            let x = if p <= 1.0 { p.powf(1.0 / alpha) } else { -((b - p) / alpha).ln() };
            let u1 = self.random();
            let bound = if p > 1.0 { x.powf(alpha - 1.0) } else { (-x).exp() };
            if u1 <= bound {
                return x;
            }
        }
    }

    /// `betavariate(alpha, beta)`
    ///
    /// # Errors
    /// If a parameter is not positive.
    pub fn betavariate(&mut self, alpha: f64, beta: f64) -> Result<f64, RandomError> {
        let y = self.gammavariate(alpha, 1.0)?;
        if y == 0.0 {
            return Ok(0.0);
        }
        Ok(y / (y + self.gammavariate(beta, 1.0)?))
    }
}

/// An allocation that fails would end the process.
fn reserve<T>(count: usize) -> Result<Vec<T>, RandomError> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(count).map_err(|_| RandomError::Memory)?;
    Ok(vec)
}

/// Up to this population CPython's `sample` draws from a copy of it, since
/// a set of what was drawn would be larger.
fn pool_limit(k: usize) -> u128 {
    if k <= 5 {
        return 21;
    }
    let exponent = ((k as u128 * 3) as f64).ln() / 4.0_f64.ln();
    let exponent = exponent.ceil() as u32;
    21 + 4_u128.pow(exponent)
}

/// `bisect.bisect`. Unlike `partition_point` it is defined for sums that do not
/// ascend, as negative weights give.
fn bisect_right(sums: &[f64], target: f64) -> usize {
    let (mut low, mut high) = (0, sums.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if target < sums[middle] {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven() -> Random {
        Random::new(MersenneTwister::from_int(7))
    }

    #[test]
    fn ranges_draw_as_in_cpython() {
        let mut random = seven();
        assert_eq!(random.randrange(10, None, None), Ok(5));
        assert_eq!(random.randrange(-5, Some(5), None), Ok(-3));
        assert_eq!(random.randrange(0, Some(100), Some(7)), Ok(42));
        assert_eq!(random.randrange(100, Some(0), Some(-9)), Ok(10));
        assert_eq!(random.randint(i64::MIN, i64::MAX), Ok(-7_486_979_218_489_765_845));
        assert_eq!(random.randint(1, 6), Ok(5));
    }

    #[test]
    fn shuffle_and_sample_draw_as_in_cpython() {
        let mut random = seven();
        let mut items: Vec<usize> = (0..10).collect();
        random.shuffle(10, |i, j| items.swap(i, j));
        assert_eq!(items, [8, 3, 1, 4, 7, 0, 9, 6, 2, 5]);
        assert_eq!(random.sample(10, 4), Ok(vec![8, 3, 0, 7]));
        assert_eq!(random.sample(1000, 6), Ok(vec![444, 428, 71, 246, 92, 564]));
        assert_eq!(random.sample_counts(3, &[1, 2, 3], 4), Ok(vec![2, 0, 2, 2]));
    }

    #[test]
    fn choices_draw_as_in_cpython() {
        let mut random = seven();
        assert_eq!(random.choices(5, Weights::Equal, 5), Ok(vec![1, 0, 3, 0, 2]));
        let weights = Weights::Relative(&[1.0, 2.0, 3.0]);
        assert_eq!(random.choices(3, weights, 5), Ok(vec![1, 0, 2, 0, 1]));
        let weights = Weights::Cumulative(&[1.0, 2.0, 30.0]);
        assert_eq!(random.choices(3, weights, 5), Ok(vec![2; 5]));
        assert_eq!(random.choice(9), Ok(3));
        assert_eq!(random.choices(5, Weights::Equal, -1), Ok(vec![]));
    }

    #[test]
    fn real_distributions_draw_as_in_cpython() {
        let mut random = seven();
        assert_eq!(random.uniform(1.0, 3.0), 1.6476655296663247);
        assert_eq!(random.triangular(0.0, 10.0, Some(3.0)), 2.127316435731896);
        let rest = [
            random.gauss(0.0, 1.0),
            random.gauss(10.0, 2.0),
            random.normalvariate(0.0, 1.0),
            random.expovariate(2.0).unwrap(),
            random.gammavariate(0.5, 2.0).unwrap(),
            random.betavariate(2.0, 3.0).unwrap(),
        ];
        let expected = [
            -0.2260961647831047,
            9.36986315533763,
            0.0970447726200016,
            0.029874431489150505,
            0.7218571644501455,
            0.6156668806337945,
        ];
        for (value, expected) in rest.into_iter().zip(expected) {
            // The last digit belongs to the platform's sin, ln and exp.
            assert!((value - expected).abs() <= 1e-14 * expected.abs(), "{value} {expected}");
        }
    }

    #[test]
    fn errors_are_cpythons() {
        let mut random = seven();
        let range = |random: &mut Random, start, stop, step| {
            random.randrange(start, stop, step).unwrap_err().to_string()
        };
        assert_eq!(range(&mut random, 3, Some(3), None), "empty range for randrange() (3, 3, 0)");
        assert_eq!(range(&mut random, 3, Some(3), Some(2)), "empty range for randrange()");
        assert_eq!(range(&mut random, 0, None, None), "empty range for randrange()");
        assert_eq!(range(&mut random, 0, Some(3), Some(0)), "zero step for randrange()");
        assert_eq!(random.randrange(0, None, Some(2)).unwrap_err().class(), "TypeError");
        let error = random.randint(i64::MAX, i64::MIN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "empty range for randrange() (9223372036854775807, -9223372036854775807, -18446744073709551614)"
        );
        assert_eq!(random.choice(0).unwrap_err().class(), "IndexError");
        assert_eq!(random.sample(3, 4), Err(RandomError::SampleSize));
        assert_eq!(random.sample(3, -1), Err(RandomError::SampleSize));
        assert_eq!(random.sample_counts(2, &[0, 0], 0), Err(RandomError::CountsTotal));
        assert_eq!(random.sample(usize::MAX, i64::MAX), Err(RandomError::Memory));
        let zero = Weights::Relative(&[0.0, 0.0]);
        assert_eq!(random.choices(2, zero, 1), Err(RandomError::WeightsTotal));
        assert_eq!(random.choices(3, zero, 1), Err(RandomError::WeightsLength));
        assert_eq!(random.choices(0, Weights::Equal, 1), Err(RandomError::EmptyPopulation));
        assert_eq!(random.expovariate(0.0), Err(RandomError::ZeroDivision));
    }
}
