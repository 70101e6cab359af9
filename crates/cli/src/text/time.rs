//! Times and durations as options have them.

use jiff::{Span, SpanRelativeTo, civil::DateTime, tz::TimeZone};

use super::place;

/// A time as `--from` takes it, and as Kafka's own command does: `2026-01-31T12:00:00.000` without a zone is in UTC.
/// Milliseconds since 1970.
pub(crate) fn datetime(text: &str) -> Result<i64, String> {
    let refused = match place::time(text) {
        Ok(millis) => return Ok(millis),
        Err(refused) => refused,
    };
    let in_utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let with_time = text.contains(['T', 't', ' ']);
    let parsed = if with_time { text.parse::<DateTime>().ok().and_then(in_utc) } else { None };
    match parsed.map(|time| time.as_millisecond()) {
        Some(millis) if millis >= 0 => Ok(millis),
        _ => Err(refused),
    }
}

/// `PT1H`, `P1DT12H`, `1h30m`: milliseconds. A day has 24 hours, as in Java.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    const FORMS: &str =
        "write a duration as PT1H30M, P7D or 1h30m; not in months or years, whose length varies";
    let span: Span = text.trim().parse().map_err(|_| FORMS)?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| FORMS)?;
    if length.is_negative() {
        return Err("a duration goes back from now: write it without a sign".to_owned());
    }
    i64::try_from(length.as_millis()).map_err(|_| FORMS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read() {
        for text in [
            "1700000000000",
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.000",
            "2023-11-14 22:13:20",
        ] {
            assert_eq!(datetime(text), Ok(1_700_000_000_000), "{text}");
        }
        for text in ["", "yesterday", "2023-11-14", "-1", "1969-12-31T23:59:59", "2023-13-14T00:00:00"] {
            assert!(datetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_form_of_a_duration_is_read() {
        const MINUTE: i64 = 60_000;
        for (text, millis) in [
            ("PT1H", 60 * MINUTE),
            ("PT1H30M", 90 * MINUTE),
            ("1h30m", 90 * MINUTE),
            ("1h 30m", 90 * MINUTE),
            ("P1DT12H", 36 * 60 * MINUTE),
            ("P7D", 7 * 24 * 60 * MINUTE),
            ("1w", 7 * 24 * 60 * MINUTE),
            ("90s", 90_000),
            ("PT0.5S", 500),
            ("250ms", 250),
            ("PT0S", 0),
        ] {
            assert_eq!(duration(text), Ok(millis), "{text}");
        }
        for text in ["", "1", "1h ago", "-PT1H", "PT-1H", "P1M", "P1Y", "an hour"] {
            assert!(duration(text).is_err(), "{text}: {:?}", duration(text));
        }
    }
}
