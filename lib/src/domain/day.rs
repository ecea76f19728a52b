//! A day of the calendar, in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Millis, Timestamp};

const SECONDS: u64 = 86_400;
/// Days from the beginning of the year 0, March first, to 1970: the calendar is counted from there, so that a leap day
/// ends a year.
const EPOCH: u64 = 719_468;
const ERA: u64 = 146_097;

/// Days since 1970. Written as `2026-11-20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Day(u32);

/// A text that is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a day such as 2026-11-20")]
pub struct NoDay;

impl Day {
    pub fn of(at: Millis) -> Self {
        Self(u32::try_from(at.seconds().0 / SECONDS).unwrap_or(u32::MAX))
    }

    /// The moment at which it is over.
    pub fn end(self) -> Timestamp {
        Timestamp((u64::from(self.0) + 1) * SECONDS)
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    fn from_civil(year: u64, month: u64, day: u64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year / 400, year % 400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        Self(u32::try_from(days.saturating_sub(EPOCH)).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = u64::from(self.0) + EPOCH;
        let (era, of_era) = (days / ERA, days % ERA);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let number = |range| {
            let digits: &str = text.get(range).unwrap_or_default();
            (digits.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| digits.parse::<u64>().ok())
                .flatten()
        };
        let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10))
        else {
            return Err(NoDay);
        };
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return Err(NoDay);
        }
        let found = Self::from_civil(year, month, day);
        // A thirtieth of February would be some other day, and what is not written as days are would be none.
        (found.to_string() == text).then_some(found).ok_or(NoDay)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = NoDay;

    fn try_from(text: String) -> Result<Self, NoDay> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_the_calendar_has_them() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_777, "2026-11-20"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            let day = Day::of(Millis(days * SECONDS * 1000 + 5));
            assert_eq!(day.to_string(), text);
            assert_eq!(text.parse(), Ok(day));
            assert_eq!(day.end(), Timestamp((days + 1) * SECONDS));
        }
    }

    #[test]
    fn every_day_is_read_back_and_nothing_else_is() {
        for days in 0..60_000 {
            assert_eq!(Day(days).to_string().parse(), Ok(Day(days)));
        }
        for text in [
            "",
            "2026-11-31",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "1969-12-31",
            "2026-11-20 ",
            "2026/11/20",
            "+026-11-20",
            "heute",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NoDay), "{text}");
        }
    }
}
