//! The modes of the lock, and how they are written on a command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When the holder of the global interpreter lock gives it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GilMode {
    /// Every so many ticks, as in CPython 2 (`sys.setcheckinterval`, 100).
    Ticks(u32),
    /// When another thread has waited for so long, as in CPython since 3.2 (`sys.setswitchinterval`, 5 ms).
    Interval(Duration),
    /// There is no lock: threads run in parallel.
    Off,
}

impl GilMode {
    /// CPython 2's check interval.
    pub const DEFAULT_TICKS: u32 = 100;
    /// CPython 3's switch interval.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(5);
    /// The three modes with their default settings, in the order in which they are compared.
    pub const ALL: [Self; 3] =
        [Self::Ticks(Self::DEFAULT_TICKS), Self::Interval(Self::DEFAULT_INTERVAL), Self::Off];

    /// The mode's name without its setting: `ticks`, `interval` or `off`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticks(_) => "ticks",
            Self::Interval(_) => "interval",
            Self::Off => "off",
        }
    }
}

impl Default for GilMode {
    fn default() -> Self {
        Self::Interval(Self::DEFAULT_INTERVAL)
    }
}

impl fmt::Display for GilMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticks(n) => write!(f, "ticks:{n}"),
            Self::Interval(d) => write!(f, "interval:{}ms", d.as_secs_f64() * 1e3),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for GilMode {
    type Err = String;

    /// Reads `ticks`, `ticks:N`, `interval`, `interval:5`, `interval:5ms`, `interval:0.5ms` or `off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, setting) = match text.split_once(':') {
            Some((name, setting)) => (name, Some(setting)),
            None => (text, None),
        };
        match (name, setting) {
            ("off", None) => Ok(Self::Off),
            ("ticks", None) => Ok(Self::Ticks(Self::DEFAULT_TICKS)),
            ("interval", None) => Ok(Self::Interval(Self::DEFAULT_INTERVAL)),
            ("ticks", Some(n)) => match n.parse() {
                Ok(n) if n > 0 => Ok(Self::Ticks(n)),
                _ => {
                    Err(format!("'{n}' is no number of ticks: use a whole number from 1 on, as in ticks:100"))
                }
            },
            ("interval", Some(ms)) => match ms.trim_end_matches("ms").parse::<f64>() {
                Ok(n) if n > 0.0 && n <= 1e9 => Ok(Self::Interval(Duration::from_secs_f64(n / 1e3))),
                _ => {
                    Err(format!("'{ms}' is no switch interval: use milliseconds above 0, as in interval:5ms"))
                }
            },
            _ => Err(format!("'{text}' is no GIL mode: use ticks[:N], interval[:MS] or off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_printed() {
        for (text, mode) in [
            ("ticks", GilMode::Ticks(100)),
            ("ticks:7", GilMode::Ticks(7)),
            ("interval", GilMode::Interval(Duration::from_millis(5))),
            ("interval:0.5ms", GilMode::Interval(Duration::from_micros(500))),
            ("interval:20", GilMode::Interval(Duration::from_millis(20))),
            ("off", GilMode::Off),
        ] {
            assert_eq!(text.parse::<GilMode>(), Ok(mode), "{text}");
            assert_eq!(mode.to_string().parse::<GilMode>(), Ok(mode), "{mode}");
        }
    }

    #[test]
    fn bad_modes_are_refused_with_the_way_out() {
        for text in ["", "on", "ticks:0", "ticks:x", "interval:-1", "interval:abc", "off:1"] {
            let error = text.parse::<GilMode>().unwrap_err();
            assert!(error.contains("use"), "{text}: {error}");
        }
    }
}
