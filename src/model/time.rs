//! Two clocks: labels on the wall clock, durations on the one that never jumps.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::Offset;

/// A moment on the wall clock: milliseconds since the Unix epoch, UTC. A label, never the source of a duration.
///
/// Kept within the years 0000 to 9999, so that every value has an RFC 3339 form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// 9999-12-30T00:00:00Z, so that no time zone arithmetic can leave the range of RFC 3339.
const LATEST_MS: i64 = 253_402_128_000_000;
/// 0000-01-02T00:00:00Z.
const EARLIEST_MS: i64 = -62_167_132_800_000;

impl Timestamp {
    /// The moment `ms` milliseconds after the Unix epoch, moved into the range that RFC 3339 can say.
    pub const fn from_unix_ms(ms: i64) -> Timestamp {
        if ms > LATEST_MS {
            Timestamp(LATEST_MS)
        } else if ms < EARLIEST_MS {
            Timestamp(EARLIEST_MS)
        } else {
            Timestamp(ms)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// When the minute began that this is in.
    pub const fn minute(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0 - self.0.rem_euclid(60_000))
    }

    /// The form of the database, `YYYY-MM-DD HH:MM:SS.SSS`, which SQLite's date functions read and which sorts as text.
    pub fn sql(self) -> String {
        const FORM: DateTimePrinter = DateTimePrinter::new().separator(b' ').precision(Some(3));
        FORM.datetime_to_string(&Offset::UTC.to_datetime(self.moment()))
    }

    /// A number that somebody else wrote for a time: from 1e12 on milliseconds since the epoch, from 1e9 on seconds; below it
    /// is none.
    pub fn from_number(number: f64) -> Option<Timestamp> {
        #[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates, and the range is kept")]
        let ms = if number >= 1e12 { number } else { number * 1e3 } as i64;
        (number >= 1e9).then(|| Timestamp::from_unix_ms(ms))
    }

    /// Reads an RFC 3339 time, or the database's form of one (taken as UTC).
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Timestamp, ParseTimeError> {
        if let Some(known) = Timestamp::parse_sql(text.as_bytes()) {
            return Ok(known);
        }
        let utc;
        let text = if text.get(10..).is_some_and(|rest| !rest.contains(['Z', 'z', '+', '-'])) {
            utc = format!("{text}Z");
            &utc
        } else {
            text
        };
        let parsed: jiff::Timestamp =
            text.parse().map_err(|error: jiff::Error| ParseTimeError { reason: error.to_string() })?;
        Ok(Timestamp::from_unix_ms(parsed.as_millisecond()))
    }

    /// The database's form alone, a tenth as dear: thousands of rows are read for one answer. `None` for all else. Days
    /// from a date: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
    fn parse_sql(text: &[u8]) -> Option<Timestamp> {
        if text.len() != 23 || [4, 7, 10, 13, 16, 19].map(|at| text[at]) != *b"-- ::." {
            return None;
        }
        let number = |from: usize, to: usize| {
            text[from..to]
                .iter()
                .try_fold(0, |sum, digit| Some(sum * 10 + i64::from(digit.checked_sub(b'0').filter(|d| *d < 10)?)))
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
        // What is no date, leap days and leap seconds are for the general way.
        let days_of = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].get(usize::try_from(month - 1).ok()?)?;
        if !(1..=*days_of).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        Some(Timestamp::from_unix_ms((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms))
    }

    fn moment(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).expect("kept within the range of RFC 3339")
    }
}

/// RFC 3339, UTC, milliseconds: `2026-01-31T09:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.moment())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        Timestamp::from_unix_ms(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Duration) -> Timestamp {
        Timestamp::from_unix_ms(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time: {reason}")]
pub struct ParseTimeError {
    reason: String,
}

/// A moment on the monotonic clock: nanoseconds since some fixed point of this boot. Durations come from these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// No earlier than the point that it counts from.
impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, span: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks, taken together. Durations come from `mono`, labels from `wall`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// What the wall clock said.
    pub wall: Timestamp,
    /// What the monotonic clock said.
    pub mono: Mono,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let moment = Timestamp::from_unix_ms(1_767_225_600_007);
        assert_eq!(moment.to_string(), "2026-01-01T00:00:00.007Z");
        assert_eq!(moment.sql(), "2026-01-01 00:00:00.007");
        for text in ["2026-01-01T00:00:00.007Z", "2026-01-01 00:00:00.007", "2026-01-01T01:00:00.007+01:00"] {
            assert_eq!(Timestamp::parse(text), Ok(moment), "{text}");
        }
        for text in
            ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "é026-01-01T00:00:00", "2026-01-0é00:00:00Z"]
        {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn minutes() {
        for (ms, begun) in [(0, 0), (59_999, 0), (60_000, 60_000), (-1, -60_000)] {
            assert_eq!(Timestamp::from_unix_ms(ms).minute(), Timestamp::from_unix_ms(begun), "{ms}");
        }
    }

    #[test]
    fn both_ways_of_reading_agree() {
        let mut ms = EARLIEST_MS;
        while ms < LATEST_MS {
            let text = Timestamp(ms).sql();
            assert_eq!(Timestamp::parse(&text), Ok(Timestamp(ms)), "{text}");
            assert_eq!(Timestamp::parse_sql(text.as_bytes()).is_some(), &text[5..10] != "02-29", "{text}");
            // Some 17 days, and no part stays as it is.
            ms += 1_512_345_678 * 7;
        }
        for text in
            ["2026-02-30 00:00:00.000", "2026-01-01 24:00:00.000", "2026-01-01 00:00:0x.000", "2026/01-01 00:00:00.000"]
        {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn extremes_have_a_form() {
        for ms in [i64::MIN, i64::MAX, 0] {
            let moment = Timestamp::from_unix_ms(ms);
            assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        }
        assert_eq!(Timestamp::from_unix_ms(0).since(Timestamp::from_unix_ms(5)), Duration::ZERO);
    }
}
