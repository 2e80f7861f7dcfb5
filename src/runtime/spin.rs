//! A short, bounded spin before a sleep.
//!
//! Waking a thread that sleeps on another processor costs tens of microseconds; what it waits for is often
//! done sooner than that. The spin is bounded by the clock, and there is none on a machine with one processor,
//! where the awaited thread could not run meanwhile. The same holds where other programs keep all processors
//! busy, and that cannot be asked for; so each thread remembers whether its spins paid, and when they do not it
//! gives them up but for one in [`PROBE`].

use std::cell::Cell;
use std::hint;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Pauses between two looks at the clock.
const PAUSES: u32 = 32;
/// How many spins in a row must fail before the thread gives them up.
const PATIENCE: u8 = 4;
/// A thread that gave up tries again once in so many waits.
const PROBE: u8 = 16;

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What a thread's spins were worth lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// Failures that are left before the spins are given up.
    patience: u8,
    /// Waits that are left until the next try, once they are.
    until_probe: u8,
}

impl Record {
    const NEW: Self = Self { patience: PATIENCE, until_probe: PROBE };

    /// May the next wait begin with a spin?
    fn allows(&mut self) -> bool {
        if self.patience > 0 {
            return true;
        }
        self.until_probe -= 1;
        if self.until_probe == 0 {
            self.until_probe = PROBE;
            return true;
        }
        false
    }

    fn paid(&mut self) {
        *self = Self { patience: (self.patience + 1).min(PATIENCE), until_probe: PROBE };
    }

    fn failed(&mut self) {
        self.patience = self.patience.saturating_sub(1);
    }
}

thread_local! {
    static RECORD: Cell<Record> = const { Cell::new(Record::NEW) };
}

fn with_record<R>(f: impl FnOnce(&mut Record) -> R) -> R {
    let mut record = RECORD.get();
    let result = f(&mut record);
    RECORD.set(record);
    result
}

/// One bounded spin.
pub struct Spin {
    until: Option<Instant>,
    rounds: u32,
}

/// [`Spin::rounds`] of a spin that is over.
const OVER: u32 = u32::MAX;

impl Spin {
    /// How long a spin takes at most: about half of what a sleep and a wake-up cost.
    pub const LIMIT: Duration = Duration::from_micros(20);

    /// A spin that ends after about 20 µs, or at once where it would not pay.
    pub fn new() -> Self {
        Self { until: None, rounds: if processors() > 1 { 0 } else { OVER } }
    }

    /// Pauses for an instant; false when the time is up and the caller should sleep.
    pub fn once(&mut self) -> bool {
        if self.rounds == OVER {
            return false;
        }
        if self.rounds == 0 && !with_record(Record::allows) {
            self.rounds = OVER;
            return false;
        }
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(4) {
            let now = Instant::now();
            match self.until {
                None => self.until = Some(now + Self::LIMIT),
                Some(until) if now >= until => {
                    self.rounds = OVER;
                    with_record(Record::failed);
                }
                Some(_) => {}
            }
        }
        self.rounds != OVER
    }

    /// What was waited for is there: pauses for so long again and looks at nothing, unless the spin was over, or spins
    /// do not pay because others need the processors.
    pub fn rest(&self, time: Duration) {
        if self.rounds == OVER || time.is_zero() || !with_record(|record| record.patience > 0) {
            return;
        }
        let until = Instant::now() + time;
        while Instant::now() < until {
            for _ in 0..4 {
                hint::spin_loop();
            }
        }
    }

    /// What was waited for is there: if it came during the spin, the next wait spins as well.
    pub fn paid(&self) {
        if self.rounds != OVER && self.rounds > 0 {
            with_record(Record::paid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_that_fail_are_given_up_and_tried_again_now_and_then() {
        let mut record = Record::NEW;
        for _ in 0..PATIENCE {
            assert!(record.allows());
            record.failed();
        }
        for _ in 0..3 {
            let tries: Vec<bool> = (0..PROBE).map(|_| record.allows()).collect();
            assert_eq!(tries.iter().filter(|allowed| **allowed).count(), 1);
            record.failed();
        }
    }

    #[test]
    fn one_that_pays_brings_them_back() {
        let mut record = Record { patience: 0, until_probe: 3 };
        record.paid();
        assert!(record.allows());
        record.failed();
        assert!(!record.allows());
        for _ in 0..10 {
            record.paid();
        }
        assert_eq!(record, Record::NEW);
    }

    #[test]
    fn one_who_gave_up_spinning_does_not_rest_either() {
        let rested = |patience: u8, time: Duration| {
            RECORD.set(Record { patience, until_probe: PROBE });
            let since = Instant::now();
            Spin::new().rest(time);
            since.elapsed() >= time
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(processors() == 1 || rested(PATIENCE, Duration::from_millis(1)));
                assert!(!rested(0, Duration::from_secs(60)));
            });
        });
    }

    #[test]
    fn a_spin_ends_and_is_remembered() {
        std::thread::spawn(|| {
            for left in (0..PATIENCE).rev() {
                let mut spin = Spin::new();
                let mut rounds = 0;
                while spin.once() {
                    rounds += 1;
                }
                if processors() > 1 {
                    assert!(rounds > 0);
                    assert_eq!(RECORD.get().patience, left);
                }
            }
            assert!(!Spin::new().once(), "given up, or never begun");
        })
        .join()
        .unwrap();
    }
}
