//! `strftime_now`: today's date for templates that tell the model.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The current time (UTC) in Python's `strftime` notation.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    strftime(format, seconds)
}

/// The date of a day, counted from 1970-01-01: year, month from 1, day from 1.
///
/// Counting in 400-year eras that begin in March puts the leap day at the end of a year, where it moves no month
/// (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn name<'n>(names: &[&'n str], index: u64) -> &'n str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("")
}

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = date(days);
    let weekday = (days + 4) % 7;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let day_of_year =
        before.get(usize::try_from(month - 1).unwrap_or(0)).unwrap_or(&0) + day + u64::from(leap && month > 2);
    let hour12 = (hour + 11) % 12 + 1;
    let half = if hour < 12 { "AM" } else { "PM" };

    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut directive = chars.next();
        let bare = directive == Some('-');
        if bare {
            directive = chars.next();
        }
        let mut number = |value: u64, width: usize| {
            let width = if bare { 1 } else { width };
            write!(out, "{value:0width$}")
        };
        let written = match directive {
            Some('Y') => number(year, 4),
            Some('y') => number(year % 100, 2),
            Some('m') => number(month, 2),
            Some('d') => number(day, 2),
            Some('H') => number(hour, 2),
            Some('I') => number(hour12, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('f') => number(0, 6),
            Some('j') => number(day_of_year, 3),
            Some('w') => number(weekday, 1),
            Some('e') => write!(out, "{day:2}"),
            Some('B') => write!(out, "{}", name(&MONTHS, month - 1)),
            Some('b' | 'h') => write!(out, "{}", short(name(&MONTHS, month - 1))),
            Some('A') => write!(out, "{}", name(&DAYS, weekday)),
            Some('a') => write!(out, "{}", short(name(&DAYS, weekday))),
            Some('p') => write!(out, "{half}"),
            Some('F') => write!(out, "{year:04}-{month:02}-{day:02}"),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => write!(out, "UTC"),
            Some('z') => write!(out, "+0000"),
            Some('%') => write!(out, "%"),
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now: directive %{} is not known", other.map(String::from).unwrap_or_default()),
                ));
            }
        };
        written.map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // 2026-11-25 15:44:53 UTC, a Wednesday; 2000-02-29; 1970-01-01; 2100-03-01 (2100 has no leap day).
        for (seconds, expected) in [
            (1_795_621_493, "Wed Wednesday 25 Nov November 2026 26 15:44:53 03 PM 329"),
            (951_782_400, "Tue Tuesday 29 Feb February 2000 00 00:00:00 12 AM 060"),
            (0, "Thu Thursday 01 Jan January 1970 70 00:00:00 12 AM 001"),
            (4_107_542_400, "Mon Monday 01 Mar March 2100 00 00:00:00 12 AM 060"),
        ] {
            assert_eq!(strftime("%a %A %d %b %B %Y %y %H:%M:%S %I %p %j", seconds).unwrap(), expected);
        }
        assert_eq!(strftime("%-d/%-m 100%% %F", 0).unwrap(), "1/1 100% 1970-01-01");
        assert!(strftime("%Q", 0).is_err());
        assert!(strftime("%", 0).is_err());
    }
}
