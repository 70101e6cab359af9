//! Calendar dates, for certificates and for times in AWS's formats (`20260131T235959Z` and `2026-01-31T23:59:59Z`).

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// Formats as `20260131T235959Z`. Times before 1970 become 1970.
pub(crate) fn basic(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(any(test, feature = "msk-iam"))]
/// Parses `2026-01-31T23:59:59Z`, with or without a fraction of a second.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split('.').next()?.split(':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let fits = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    fits.then(|| UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

#[cfg(any(test, feature = "msk-iam"))]
fn number(digits: &str) -> Option<u64> {
    let is_short = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_short.then(|| digits.parse().ok())?
}

#[cfg_attr(not(feature = "_tls"), allow(dead_code, reason = "certificates have dates"))]
/// Days from 1970 to a date of the Gregorian calendar. Years begin in March here, so that the leap day is the last day of its
/// year.
pub(crate) fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let months = (month + 9) % 12;
    (year * 365 + year / 4 - year / 100 + year / 400 + (months * 153 + 2) / 5 + day).saturating_sub(719_469)
}

/// The date this many days after 1970.
pub(crate) fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097; // of 400 years
    let day = days % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let months = (5 * day + 2) / 153;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day - (153 * months + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn known_times_are_written_and_read() {
        // The values are those of `date -u -d @N`.
        let cases = [
            (0, "19700101T000000Z", "1970-01-01T00:00:00Z"),
            (951_782_400, "20000229T000000Z", "2000-02-29T00:00:00Z"),
            (1_369_353_600, "20130524T000000Z", "2013-05-24T00:00:00Z"),
            (1_767_225_599, "20251231T235959Z", "2025-12-31T23:59:59Z"),
            (1_772_323_200, "20260301T000000Z", "2026-03-01T00:00:00Z"),
            (4_107_542_400, "21000301T000000Z", "2100-03-01T00:00:00Z"),
        ];
        for (seconds, basic_form, text) in cases {
            assert_eq!(basic(at(seconds)), basic_form);
            assert_eq!(parse(text), Some(at(seconds)), "{text}");
        }
        assert_eq!(parse("2026-03-01T00:00:00.123Z"), Some(at(1_772_323_200)));
    }

    #[test]
    fn each_day_of_two_centuries_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for day in 0..73_000 {
            let now = date(day);
            assert!(now > before, "{now:?} after {before:?}");
            assert_eq!(days(now.0, now.1, now.2), day, "{now:?}");
            before = now;
        }
    }

    #[test]
    fn an_invalid_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-01-31",
            "2026-13-01T00:00:00Z",
            "2026-01-31T25:00:00Z",
            "x-1-1T0:0:0Z",
            "99999999-1-1T0:0:0Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
