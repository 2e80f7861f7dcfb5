//! The system's clocks, and its calendar for the local time zone.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

use super::strftime::BrokenDownTime;

/// A clock of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of day.
    Realtime,
    /// Time that only goes forward.
    Monotonic,
    /// The processor time of this process.
    Process,
    /// The processor time of the calling thread.
    Thread,
}

impl Clock {
    /// What the clock shows, in nanoseconds.
    pub fn nanoseconds(self) -> i64 {
        let id = match self {
            Self::Realtime => libc::CLOCK_REALTIME,
            Self::Monotonic => libc::CLOCK_MONOTONIC,
            Self::Process => libc::CLOCK_PROCESS_CPUTIME_ID,
            Self::Thread => libc::CLOCK_THREAD_CPUTIME_ID,
        };
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a timespec that the call may write to for as long as it lasts. It fails only for
        // clocks that do not exist; then `time` stays zero.
        unsafe { libc::clock_gettime(id, &raw mut time) };
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// What the clock shows, in seconds.
    pub fn seconds(self) -> f64 {
        let nanoseconds = self.nanoseconds();
        // The whole seconds apart, so that no digit of the fraction is lost to rounding twice.
        (nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 * 1e-9
    }
}

/// Which time zone a moment is broken down for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The one of the environment (`TZ`, `/etc/localtime`).
    Local,
    /// Coordinated universal time.
    Utc,
}

/// The calendar date and time of day, `seconds` after the start of 1970.
///
/// # Errors
/// The system's, when the year is too far away.
pub fn break_down(seconds: i64, zone: Zone) -> io::Result<BrokenDownTime> {
    let mut tm = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call. The functions with `_r` write to nothing but `tm`, and the
    // environment that they read is never changed by this program.
    let done = unsafe {
        match zone {
            Zone::Local => libc::localtime_r(&raw const seconds, tm.as_mut_ptr()),
            Zone::Utc => libc::gmtime_r(&raw const seconds, tm.as_mut_ptr()),
        }
    };
    if done.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid `tm`, and the call has filled it in.
    let tm = unsafe { tm.assume_init() };
    let zone = if tm.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: a zone that is set points to a C string that the library keeps.
        unsafe { CStr::from_ptr(tm.tm_zone) }.to_string_lossy().into_owned()
    };
    Ok(BrokenDownTime {
        year: i64::from(tm.tm_year) + 1900,
        month: tm.tm_mon + 1,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
        weekday: (tm.tm_wday + 6) % 7,
        yearday: tm.tm_yday + 1,
        is_dst: tm.tm_isdst,
        zone,
        utc_offset: i32::try_from(tm.tm_gmtoff).unwrap_or_default(),
    })
}

/// Seconds since the start of 1970 for a local date and time, whose fields may be out of their ranges; nothing
/// if it is too far away.
pub fn seconds_of_local(time: &BrokenDownTime) -> Option<i64> {
    // SAFETY: a `tm` of zeros is valid: its only pointer, the zone's name, may be null.
    let mut tm: libc::tm = unsafe { MaybeUninit::zeroed().assume_init() };
    tm.tm_year = i32::try_from(time.year.checked_sub(1900)?).ok()?;
    tm.tm_mon = time.month.checked_sub(1)?;
    tm.tm_mday = time.day;
    tm.tm_hour = time.hour;
    tm.tm_min = time.minute;
    tm.tm_sec = time.second;
    tm.tm_isdst = time.is_dst;
    // -1 is also a moment, the last second of 1969: only the weekday tells whether the call succeeded.
    tm.tm_wday = -1;
    // SAFETY: `tm` is valid, and is this function's own.
    let seconds = unsafe { libc::mktime(&raw mut tm) };
    (tm.tm_wday != -1).then_some(seconds)
}

/// The local time zone's names and offsets, as `time.tzname` and its neighbours tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneNames {
    /// The names in winter and in summer.
    pub names: [String; 2],
    /// Seconds west of Greenwich in winter and in summer.
    pub west: [i64; 2],
}

impl ZoneNames {
    /// Looks at the beginning and at the middle of the current year, as CPython does.
    pub fn of_this_year() -> Self {
        const YEAR: i64 = (365 * 24 + 6) * 3600;
        let year = Clock::Realtime.nanoseconds() / 1_000_000_000 / YEAR * YEAR;
        let of = |seconds| match break_down(seconds, Zone::Local) {
            Ok(time) => (time.zone, -i64::from(time.utc_offset)),
            Err(_) => ("UTC".to_string(), 0),
        };
        let (january, july) = (of(year), of(year + YEAR / 2));
        // South of the equator July is winter.
        let (winter, summer) = if january.1 < july.1 { (july, january) } else { (january, july) };
        Self { names: [winter.0, summer.0], west: [winter.1, summer.1] }
    }

    /// Is there a summer time?
    pub fn has_summer_time(&self) -> bool {
        self.west[0] != self.west[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_broken_down_and_put_together() {
        let start = break_down(0, Zone::Utc).unwrap();
        assert_eq!((start.year, start.month, start.day, start.weekday, start.yearday), (1970, 1, 1, 3, 1));
        assert_eq!((start.zone.as_str(), start.utc_offset), ("GMT", 0));
        for seconds in [-1, 0, 1_706_904_306, 4_102_444_800] {
            let local = break_down(seconds, Zone::Local).unwrap();
            assert_eq!(seconds_of_local(&local), Some(seconds));
        }
        assert_eq!(break_down(i64::MAX, Zone::Local).unwrap_err().raw_os_error(), Some(libc::EOVERFLOW));
    }

    #[test]
    fn clocks_go_forward() {
        for clock in [Clock::Realtime, Clock::Monotonic, Clock::Process, Clock::Thread] {
            let before = clock.nanoseconds();
            assert!(before > 0, "{clock:?}");
            assert!(clock.seconds() >= before as f64 * 1e-9 - 1e-3, "{clock:?}");
        }
    }
}
