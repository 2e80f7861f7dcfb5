//! The figures of one run that another process is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stats::Stats;

/// What the lock did in one run, all threads together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The lock went from one thread to another.
    pub switches: u64,
    /// Switches that a waiter asked for.
    pub forced_switches: u64,
    /// Time that threads waited for the lock.
    pub waited: Duration,
    /// How many threads there were.
    pub threads: u64,
}

impl Totals {
    /// Adds a run's threads up.
    pub fn of(stats: &Stats) -> Self {
        Self {
            switches: stats.gil.switches,
            forced_switches: stats.gil.forced_switches,
            waited: stats.waited(),
            threads: stats.threads.len() as u64,
        }
    }

    /// One line of JSON, far shorter than what a pipe takes at once.
    pub fn to_json(&self) -> String {
        json!({
            "switches": self.switches,
            "forced_switches": self.forced_switches,
            "waited_ns": self.waited.as_nanos() as u64,
            "threads": self.threads,
        })
        .to_string()
    }

    /// Reads what [`Totals::to_json`] wrote; nothing if it is something else.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let number = |name: &str| value.get(name)?.as_u64();
        Some(Self {
            switches: number("switches")?,
            forced_switches: number("forced_switches")?,
            waited: Duration::from_nanos(number("waited_ns")?),
            threads: number("threads")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_the_pipe() {
        let totals = Totals { switches: 3, forced_switches: 2, waited: Duration::from_micros(7), threads: 4 };
        assert_eq!(Totals::from_json(&totals.to_json()), Some(totals));
        assert_eq!(Totals::from_json("{}"), None);
        assert_eq!(Totals::from_json(""), None);
    }
}
