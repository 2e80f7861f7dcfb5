//! A short, bounded spin before a sleep.
//!
//! Waking a thread that sleeps on another processor costs tens of microseconds; what it waits for is often
//! done sooner than that. The spin is bounded by the clock, and there is none on a machine with one processor,
//! where the awaited thread could not run meanwhile.

use std::hint;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// About half of what a sleep and a wake-up cost.
const LIMIT: Duration = Duration::from_micros(20);
/// Pauses between two looks at the clock.
const PAUSES: u32 = 32;

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// One bounded spin.
pub struct Spin {
    until: Option<Instant>,
    rounds: u32,
}

impl Spin {
    /// A spin that ends after about 20 µs, or at once where there is one processor.
    pub fn new() -> Self {
        Self { until: None, rounds: if processors() > 1 { 0 } else { u32::MAX } }
    }

    /// Pauses for an instant; false when the time is up and the caller should sleep.
    pub fn once(&mut self) -> bool {
        if self.rounds == u32::MAX {
            return false;
        }
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(4) {
            let now = Instant::now();
            match self.until {
                None => self.until = Some(now + LIMIT),
                Some(until) if now >= until => self.rounds = u32::MAX,
                Some(_) => {}
            }
        }
        self.rounds != u32::MAX
    }
}
