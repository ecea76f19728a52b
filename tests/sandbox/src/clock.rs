//! What differs from run to run: the time of day and fresh identifiers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Time since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that asks for the time"
)]
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the UMS and the SDK give random ids; the one place of this crate that makes them"
)]
pub(crate) fn fresh_id() -> Uuid {
    Uuid::new_v4()
}

/// A time as Python writes it: `2026-11-20T08:21:36.101879+00:00`.
pub(crate) fn iso(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = since_1970.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

/// Howard Hinnant's `civil_from_days`, for days from 1970 on.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_writes_them() {
        assert_eq!(iso(Duration::ZERO), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(
            iso(Duration::from_micros(1_795_162_896_101_879)),
            "2026-11-20T08:21:36.101879+00:00"
        );
        assert_eq!(
            iso(Duration::from_secs(1_709_164_801)),
            "2024-02-29T00:00:01.000000+00:00"
        );
    }
}
