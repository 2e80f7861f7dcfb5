//! The Mersenne Twister MT19937 as CPython's `random.Random` seeds and reads
//! it, so that a seed gives the same numbers here and there.

use sha2::{Digest as _, Sha512};

/// Words of state.
const N: usize = 624;
/// The distance of the second word that a new one is made from.
const M: usize = 397;
const UPPER_BIT: u32 = 0x8000_0000;
const LOWER_BITS: u32 = 0x7fff_ffff;

/// A generator of 32-bit words with a period of 2^19937 - 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MersenneTwister {
    state: [u32; N],
    index: usize,
}

impl MersenneTwister {
    /// `seed(number)`. The sign does not count, as in CPython.
    #[must_use]
    pub fn from_int(seed: i64) -> Self {
        Self::from_magnitude(seed.unsigned_abs())
    }

    /// `seed(x)` for a float: its hash, which for a whole number is the number.
    #[must_use]
    pub fn from_float(seed: f64) -> Self {
        Self::from_magnitude(hash(seed).cast_unsigned())
    }

    /// `seed(text)`, version 2: the text and its SHA-512 as one big integer.
    #[must_use]
    pub fn from_text(seed: &str) -> Self {
        Self::from_bytes(seed.as_bytes())
    }

    /// `seed(bytes)`, version 2.
    #[must_use]
    pub fn from_bytes(seed: &[u8]) -> Self {
        let mut number = seed.to_vec();
        number.extend_from_slice(&Sha512::digest(seed));
        // The bytes are a big-endian integer, the key has its lowest word first.
        let mut key: Vec<u32> = number
            .rchunks(4)
            .map(|chunk| chunk.iter().fold(0, |word, &byte| word << 8 | u32::from(byte)))
            .collect();
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        Self::from_key(&key)
    }

    fn from_magnitude(seed: u64) -> Self {
        let (low, high) = (seed & 0xffff_ffff, seed >> 32);
        let key = [low, high].map(|word| u32::try_from(word).unwrap_or_default());
        Self::from_key(if high == 0 { &key[..1] } else { &key })
    }

    /// The reference implementation's `init_by_array`. With 624 words from the
    /// operating system it is `seed()`. An empty key counts as `[0]`.
    #[must_use]
    pub fn from_key(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0] } else { key };
        let mut state = [0_u32; N];
        let mut word = 19_650_218_u32;
        for (index, slot) in (0_u32..).zip(&mut state) {
            if index > 0 {
                word = (word ^ word >> 30).wrapping_mul(1_812_433_253).wrapping_add(index);
            }
            *slot = word;
        }
        let mix = |state: &[u32; N], i: usize, factor: u32| {
            let previous = state[i - 1];
            state[i] ^ (previous ^ previous >> 30).wrapping_mul(factor)
        };
        let mut i = 1;
        for (offset, &word) in (0_u32..).zip(key).cycle().take(key.len().max(N)) {
            state[i] = mix(&state, i, 1_664_525).wrapping_add(word).wrapping_add(offset);
            i = Self::successor(&mut state, i);
        }
        for _ in 1..N {
            let offset = u32::try_from(i).unwrap_or_default();
            state[i] = mix(&state, i, 1_566_083_941).wrapping_sub(offset);
            i = Self::successor(&mut state, i);
        }
        state[0] = UPPER_BIT;
        Self { state, index: N }
    }

    /// The next index to seed; the first word takes over the last one's value.
    fn successor(state: &mut [u32; N], i: usize) -> usize {
        if i + 1 < N {
            return i + 1;
        }
        state[0] = state[N - 1];
        1
    }

    fn refill(&mut self) {
        for i in 0..N {
            let joined = (self.state[i] & UPPER_BIT) | (self.state[(i + 1) % N] & LOWER_BITS);
            let twist = if joined & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ joined >> 1 ^ twist;
        }
        self.index = 0;
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.index >= N {
            self.refill();
        }
        let mut word = self.state[self.index];
        self.index += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ word >> 18
    }

    /// `random()`: a float in [0, 1) with 53 random bits.
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `getrandbits(k)`; more than 128 bits count as 128.
    pub fn getrandbits(&mut self, k: u32) -> u128 {
        let mut bits = 0_u128;
        let mut filled = 0;
        let k = k.min(128);
        while filled < k {
            let missing = k - filled;
            let word = self.next_u32() >> 32_u32.saturating_sub(missing);
            bits |= u128::from(word) << filled;
            filled += 32;
        }
        bits
    }

    /// `_randbelow(n)`: a number in [0, n), 0 if `n` is 0. The width of a range
    /// of 64-bit numbers needs 65 bits, hence the type.
    pub fn randbelow(&mut self, n: u128) -> u128 {
        if n == 0 {
            return 0;
        }
        let k = u128::BITS - n.leading_zeros();
        loop {
            let number = self.getrandbits(k);
            if number < n {
                return number;
            }
        }
    }
}

/// CPython's `hash(float)` on 64 bits: the value modulo the prime 2^61 - 1.
/// CPython hashes a NaN by its address; here it is 0.
fn hash(x: f64) -> i64 {
    const BITS: u32 = 61;
    const PRIME: u64 = (1 << BITS) - 1;
    if x.is_nan() {
        return 0;
    }
    if x.is_infinite() {
        return if x > 0.0 { 314_159 } else { -314_159 };
    }
    let bits = x.to_bits();
    let stored = u32::try_from(bits >> 52 & 0x7ff).unwrap_or_default();
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if stored == 0 { fraction } else { fraction | 1 << 52 };
    // The value is mantissa * 2^exponent, and 2^61 is 1 modulo the prime.
    let exponent = i64::from(stored.max(1)) - 1075;
    let shift = u32::try_from(exponent.rem_euclid(i64::from(BITS))).unwrap_or_default();
    let product = u128::from(mantissa) << shift;
    let residue = u64::try_from(product % u128::from(PRIME)).unwrap_or_default().cast_signed();
    match if x < 0.0 { -residue } else { residue } {
        // -1 is how C code reports an error.
        -1 => -2,
        hash => hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CPython draws after a seed.
    fn assert_draws(mut twister: MersenneTwister, floats: [f64; 2], bits: [u128; 4], below: [u128; 4]) {
        assert_eq!([(); 2].map(|()| twister.random()), floats);
        assert_eq!([1, 32, 63, 100].map(|k| twister.getrandbits(k)), bits);
        assert_eq!([1, 7, 1 << 33, 1 << 64].map(|n| twister.randbelow(n)), below);
    }

    #[test]
    fn integers_seed_as_in_cpython() {
        assert_draws(
            MersenneTwister::from_int(0),
            [0.8444218515250481, 0.7579544029403025],
            [0, 173_879_092, 8_904_841_857_247_764_026, 1_141_276_462_758_851_372_969_594_381_922],
            [0, 3, 4_893_143_322, 13_942_126_818_862_981_423],
        );
        assert_draws(
            MersenneTwister::from_int(i64::MIN),
            [0.5534639983914199, 0.9406144709090462],
            [0, 4_162_741_883, 4_631_463_697_941_656_091, 455_881_006_836_619_354_233_440_996_661],
            [0, 3, 4_140_643_018, 15_026_278_505_223_917_094],
        );
        assert_eq!(MersenneTwister::from_int(-7), MersenneTwister::from_int(7));
        assert_eq!(MersenneTwister::from_key(&[]), MersenneTwister::from_int(0));
    }

    #[test]
    fn texts_and_bytes_seed_as_in_cpython() {
        assert_draws(
            MersenneTwister::from_text("进程"),
            [0.941720063394009, 0.6450092415028101],
            [0, 2_203_711_110, 1_228_959_298_556_635_352, 364_137_159_925_905_502_747_400_597_438],
            [0, 2, 6_175_300_545, 11_190_473_714_998_440_051],
        );
        assert_draws(
            MersenneTwister::from_bytes(b"\xff\x00"),
            [0.9206275108721917, 0.042766899833300176],
            [1, 1_496_363_007, 775_521_475_343_995_954, 706_184_887_717_199_930_907_091_711_803],
            [0, 2, 6_506_769_535, 3_151_860_378_652_503_700],
        );
        let first = MersenneTwister::from_text("").random();
        assert_eq!(first, 0.9602256525641875);
    }

    #[test]
    fn floats_seed_with_their_hash() {
        for (seed, first) in [
            (1.5, 0.551763726942059),
            (-1.0, 0.13119521545503066),
            (-2.5, 0.4779490710306722),
            (1e300, 0.2614143642581235),
            (f64::INFINITY, 0.19236379321481523),
            (5e-324, 0.4787190331584651),
        ] {
            assert_eq!(MersenneTwister::from_float(seed).random(), first, "{seed}");
        }
        assert_eq!(MersenneTwister::from_float(42.0), MersenneTwister::from_int(42));
    }

    #[test]
    fn the_state_is_refilled() {
        let mut twister = MersenneTwister::from_int(5489);
        let last = (0..10_000).map(|_| twister.next_u32()).last();
        assert_eq!(last, Some(2_375_762_794));
        assert_eq!((twister.getrandbits(0), twister.randbelow(0)), (0, 0));
    }
}
