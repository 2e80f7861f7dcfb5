//! A broken-down time, and `strftime` and `ctime` for it as the C library
//! writes them in the C locale.

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// No field is padded to more than this.
const WIDEST_FIELD: usize = 1024;

/// A local time in the units of Python's `time.struct_time`, which are not
/// those of C's `struct tm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenDownTime {
    /// The year with its century: 2024.
    pub year: i64,
    /// 1 to 12
    pub month: i32,
    /// 1 to 31
    pub day: i32,
    /// 0 to 23
    pub hour: i32,
    /// 0 to 59
    pub minute: i32,
    /// 0 to 61, with leap seconds
    pub second: i32,
    /// 0 to 6, Monday is 0
    pub weekday: i32,
    /// 1 to 366
    pub yearday: i32,
    /// 1 in summer time, 0 in winter time, -1 if it is not known
    pub is_dst: i32,
    /// The time zone's abbreviation: `CST`.
    pub zone: String,
    /// Seconds east of Greenwich.
    pub utc_offset: i32,
}

impl BrokenDownTime {
    /// What CPython does to a time that a script made up: zeros become the first
    /// month, day or day of the year, and anything else must be in its range.
    ///
    /// # Errors
    /// The message of CPython's `ValueError`.
    pub fn checked(mut self) -> Result<Self, &'static str> {
        for first in [&mut self.month, &mut self.day, &mut self.yearday] {
            if *first == 0 {
                *first = 1;
            }
        }
        let checks = [
            ((1..=12).contains(&self.month), "month out of range"),
            ((1..=31).contains(&self.day), "day of month out of range"),
            ((0..=23).contains(&self.hour), "hour out of range"),
            ((0..=59).contains(&self.minute), "minute out of range"),
            ((0..=61).contains(&self.second), "seconds out of range"),
            (self.weekday >= -1, "day of week out of range"),
            ((1..=366).contains(&self.yearday), "day of year out of range"),
        ];
        if let Some((_, message)) = checks.into_iter().find(|(fits, _)| !fits) {
            return Err(message);
        }
        self.weekday = (self.weekday + 1) % 7 - 1;
        if self.weekday < 0 {
            self.weekday += 7;
        }
        Ok(self)
    }

    fn day_name(&self) -> &'static str {
        name(&DAYS, self.weekday)
    }

    fn month_name(&self) -> &'static str {
        name(&MONTHS, self.month - 1)
    }

    fn hour_of_twelve(&self) -> i32 {
        (self.hour + 11).rem_euclid(12) + 1
    }

    /// The week of the year, when weeks begin with a weekday and the days
    /// before the first are week 0.
    fn week(&self, first_weekday: i32) -> i32 {
        (self.yearday + 6 - (self.weekday - first_weekday).rem_euclid(7)) / 7
    }

    /// The year and the week of ISO 8601: week 1 has the first Thursday.
    fn iso_week(&self) -> (i64, i32) {
        let thursday = self.yearday - self.weekday + 3;
        if thursday < 1 {
            let year = self.year - 1;
            (year, (thursday + days_in(year) + 6) / 7)
        } else if thursday > days_in(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, (thursday + 6) / 7)
        }
    }

    /// Seconds since 1970.
    fn timestamp(&self) -> i64 {
        // Years that begin in March have the leap day at their end.
        let shifted = i64::from(self.month) + 9;
        let year = self.year + (shifted / 12) - 1;
        let day_of_year = (153 * (shifted % 12) + 2) / 5 + i64::from(self.day) - 1;
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let days = 365 * year + leap_days + day_of_year - 719_468;
        let minutes = (days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute);
        minutes * 60 + i64::from(self.second) - i64::from(self.utc_offset)
    }
}

fn name(names: &[&'static str], index: i32) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).unwrap_or(&"?")
}

fn days_in(year: i64) -> i32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if leap { 366 } else { 365 }
}

/// `time.ctime()` and `time.asctime()`: `Sat Feb  3 04:05:06 2024`.
#[must_use]
pub fn ctime(time: &BrokenDownTime) -> String {
    strftime("%a %b %e %H:%M:%S %Y", time)
}

/// `time.strftime(format, time)`. What is no directive stays as it is.
#[must_use]
pub fn strftime(format: &str, time: &BrokenDownTime) -> String {
    let mut text = String::with_capacity(format.len() * 2);
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        let directive = &rest[start..];
        let (flags, length) = Flags::parse(directive);
        let code = directive[length..].chars().next();
        let end = length + code.map_or(0, char::len_utf8);
        match code.and_then(|code| flags.apply(code, time)) {
            Some(field) => text.push_str(&field),
            None => text.push_str(&directive[..end]),
        }
        rest = &directive[end..];
    }
    text.push_str(rest);
    text
}

/// What glibc allows between `%` and the letter.
#[derive(Default)]
struct Flags {
    /// `-` for none, `_` for spaces, `0` for zeros
    padding: Option<char>,
    upper: bool,
    swap: bool,
    width: Option<usize>,
    modifier: Option<char>,
}

/// The value of a directive before it is padded.
enum Value {
    /// A number, its least width, and what fills it.
    Number(i64, usize, char),
    Text(String),
}

impl Flags {
    /// The flags of a directive, and how far they reach.
    fn parse(directive: &str) -> (Self, usize) {
        let mut flags = Self::default();
        let bytes = directive.as_bytes();
        let mut position = 1;
        while let Some(byte) = bytes.get(position) {
            match byte {
                b'-' | b'_' | b'0' => flags.padding = Some(char::from(*byte)),
                b'^' => flags.upper = true,
                b'#' => flags.swap = true,
                _ => break,
            }
            position += 1;
        }
        while let Some(digit @ b'0'..=b'9') = bytes.get(position) {
            let width = flags.width.unwrap_or(0) * 10 + usize::from(digit - b'0');
            flags.width = Some(width.min(WIDEST_FIELD));
            position += 1;
        }
        if let Some(byte @ (b'E' | b'O')) = bytes.get(position) {
            flags.modifier = Some(char::from(*byte));
            position += 1;
        }
        (flags, position)
    }

    /// `None` if there is no such directive.
    fn apply(&self, code: char, time: &BrokenDownTime) -> Option<String> {
        // Where glibc refuses the letters that ask for a locale's own calendar.
        let allowed = match self.modifier {
            Some('E') => !"aAbBdDeFfgGhHIjklmMSUVwW".contains(code),
            Some(_) => !"aAcDFxXY".contains(code),
            None => true,
        };
        if !allowed {
            return None;
        }
        let text = match value(code, time)? {
            Value::Number(number, least, default) => {
                let fill = match self.padding {
                    Some('-') if self.width.is_none() => None,
                    Some('-' | '_') => Some(' '),
                    Some(_) => Some('0'),
                    None => Some(default),
                };
                return Some(pad_number(number, self.width.unwrap_or(0).max(least), fill));
            }
            Value::Text(text) => text,
        };
        let text = match code {
            'p' | 'Z' if self.swap => text.to_lowercase(),
            'a' | 'A' | 'b' | 'B' | 'h' if self.swap => text.to_uppercase(),
            'P' => text,
            _ if self.upper => text.to_uppercase(),
            _ => text,
        };
        let fill = if self.padding == Some('0') { '0' } else { ' ' };
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let mut padded: String = std::iter::repeat_n(fill, missing).collect();
        padded.push_str(&text);
        Some(padded)
    }
}

fn pad_number(number: i64, width: usize, fill: Option<char>) -> String {
    match fill {
        None => number.to_string(),
        Some('0') => format!("{number:0width$}"),
        Some(_) => format!("{number:width$}"),
    }
}

fn value(code: char, time: &BrokenDownTime) -> Option<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    let compound = |format| Value::Text(strftime(format, time));
    let two = |number: i32| Value::Number(number.into(), 2, '0');
    let spaced = |number: i32| Value::Number(number.into(), 2, ' ');
    let one = |number| Value::Number(number, 1, '0');
    let afternoon = time.hour >= 12;
    Some(match code {
        'a' => text(time.day_name().get(..3).unwrap_or("?")),
        'A' => text(time.day_name()),
        'b' | 'h' => text(time.month_name().get(..3).unwrap_or("?")),
        'B' => text(time.month_name()),
        'c' => compound("%a %b %e %H:%M:%S %Y"),
        'C' => one(time.year.div_euclid(100)),
        'd' => two(time.day),
        'D' | 'x' => compound("%m/%d/%y"),
        'e' => spaced(time.day),
        'F' => compound("%Y-%m-%d"),
        'g' => Value::Number(time.iso_week().0.rem_euclid(100), 2, '0'),
        'G' => one(time.iso_week().0),
        'H' => two(time.hour),
        'I' => two(time.hour_of_twelve()),
        'j' => Value::Number(time.yearday.into(), 3, '0'),
        'k' => spaced(time.hour),
        'l' => spaced(time.hour_of_twelve()),
        'm' => two(time.month),
        'M' => two(time.minute),
        'n' => text("\n"),
        'p' => text(if afternoon { "PM" } else { "AM" }),
        'P' => text(if afternoon { "pm" } else { "am" }),
        'r' => compound("%I:%M:%S %p"),
        'R' => compound("%H:%M"),
        's' => one(time.timestamp()),
        'S' => two(time.second),
        't' => text("\t"),
        'T' | 'X' => compound("%H:%M:%S"),
        'u' => one(i64::from(time.weekday) + 1),
        'U' => two(time.week(6)),
        'V' => two(time.iso_week().1),
        'w' => one((i64::from(time.weekday) + 1) % 7),
        'W' => two(time.week(0)),
        'y' => Value::Number(time.year.rem_euclid(100), 2, '0'),
        'Y' => one(time.year),
        'z' => {
            let sign = if time.utc_offset < 0 { '-' } else { '+' };
            let minutes = time.utc_offset.abs() / 60;
            Value::Text(format!("{sign}{:02}{:02}", minutes / 60, minutes % 60))
        }
        'Z' => text(&time.zone),
        '%' => text("%"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saturday() -> BrokenDownTime {
        BrokenDownTime {
            year: 2024,
            month: 2,
            day: 3,
            hour: 4,
            minute: 5,
            second: 6,
            weekday: 5,
            yearday: 34,
            is_dst: 0,
            zone: "CST".to_owned(),
            utc_offset: 8 * 3600,
        }
    }

    #[test]
    fn every_directive() {
        for (format, expected) in [
            ("%a %A %b %B", "Sat Saturday Feb February"),
            ("%c", "Sat Feb  3 04:05:06 2024"),
            ("%C %d %D %e %F", "20 03 02/03/24  3 2024-02-03"),
            ("%g %G %V %h", "24 2024 05 Feb"),
            ("%H %I %j %k %l %m %M", "04 04 034  4  4 02 05"),
            ("%n|%p|%P|%r|%R|%S|%t|%T", "\n|AM|am|04:05:06 AM|04:05|06|\t|04:05:06"),
            ("%u|%U|%w|%W|%x|%X|%y|%Y|%z|%Z|%%", "6|04|6|05|02/03/24|04:05:06|24|2024|+0800|CST|%"),
            ("%s", "1706904306"),
            ("%Y年%m月%d日", "2024年02月03日"),
        ] {
            assert_eq!(strftime(format, &saturday()), expected);
        }
        assert_eq!(ctime(&saturday()), "Sat Feb  3 04:05:06 2024");
    }

    #[test]
    fn what_is_no_directive_stays() {
        for format in ["%f", "%q", "%E", "%-", "%ä", "100%", "%Ed", "%:z", "%+"] {
            assert_eq!(strftime(format, &saturday()), format);
        }
    }

    #[test]
    fn flags_and_widths() {
        for (format, expected) in [
            ("%-d %_d %03d %0e %_H %-j", "3  3 003 03  4 34"),
            ("%^a %#a %#Z %#p %^B %^c", "SAT SAT cst am FEBRUARY SAT FEB  3 04:05:06 2024"),
            ("%10Y|%-4d|%5%|%6a|%Ey|%Od", "0000002024|   3|    %|   Sat|24|03"),
        ] {
            assert_eq!(strftime(format, &saturday()), expected);
        }
    }

    #[test]
    fn twelve_hours_and_the_turn_of_the_year() {
        let mut time = saturday();
        for (hour, expected) in [(0, "12 AM"), (11, "11 AM"), (12, "12 PM"), (23, "11 PM")] {
            time.hour = hour;
            assert_eq!(strftime("%I %p", &time), expected);
        }
        // Friday, 1 January 2021 belongs to the last week of 2020.
        (time.year, time.month, time.day, time.weekday, time.yearday) = (2021, 1, 1, 4, 1);
        assert_eq!(strftime("%G-W%V %U %W", &time), "2020-W53 00 00");
        // Tuesday, 31 December 2024 belongs to the first week of 2025.
        (time.year, time.month, time.day, time.weekday, time.yearday) = (2024, 12, 31, 1, 366);
        assert_eq!(strftime("%G-W%V %U %W", &time), "2025-W01 52 53");
    }

    #[test]
    fn a_made_up_time_is_checked() {
        let mut time = saturday();
        (time.month, time.weekday) = (0, -1);
        let time = time.checked().unwrap();
        assert_eq!((time.month, time.weekday), (1, 6));
        let message = |change: fn(&mut BrokenDownTime)| {
            let mut time = saturday();
            change(&mut time);
            time.checked().unwrap_err()
        };
        assert_eq!(message(|time| time.month = 13), "month out of range");
        assert_eq!(message(|time| time.second = 62), "seconds out of range");
    }
}
