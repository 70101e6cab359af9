//! Times and durations in options, and times as people read them.

use jiff::{Span, SpanRelativeTo, Timestamp, civil::DateTime, tz::TimeZone};

/// Numbers below this are taken as seconds: as milliseconds they would be before March 1973, and no log is that old.
const SMALLEST_MILLIS: i64 = 100_000_000_000;

/// Parses RFC 3339, or milliseconds since 1970, with or without an `@`. `2026-01-31T12:00:00.000` without a
/// zone is in UTC, as in Kafka's own command. Returns milliseconds since 1970.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    const FORMS: &str = "write a time as 2026-01-31T12:00:00Z or in milliseconds since 1970";
    let text = text.strip_prefix('@').unwrap_or(text);
    if let Ok(number) = text.parse() {
        return epoch_millis(number);
    }
    let in_utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let with_time = text.contains(['T', 't', ' ']);
    let parsed = match text.parse::<Timestamp>() {
        Ok(time) => Some(time),
        // A zone in brackets would be passed over.
        Err(_) if with_time && !text.contains('[') => text.parse::<DateTime>().ok().and_then(in_utc),
        Err(_) if text.parse::<jiff::civil::Date>().is_ok() => {
            return Err(format!("the time of day is missing: write {text}T00:00:00Z"));
        }
        Err(_) => None,
    };
    match parsed.map(Timestamp::as_millisecond) {
        Some(millis) if millis < 0 => Err("times before 1970 are not supported".to_owned()),
        Some(millis) => Ok(millis),
        None => Err(FORMS.to_owned()),
    }
}

/// 0 is allowed: every record is younger.
fn epoch_millis(number: i64) -> Result<i64, String> {
    if number < 0 {
        return Err("times before 1970 are not supported".to_owned());
    }
    if (1..SMALLEST_MILLIS).contains(&number) {
        return Err(format!(
            "{number} milliseconds since 1970 is {}, so it looks like seconds: write {number}000, or that day itself",
            rfc3339(number)
        ));
    }
    Ok(number)
}

/// Milliseconds since 1970 as RFC 3339 in UTC, with milliseconds; the number itself if it is out of range.
pub(crate) fn rfc3339(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => millis.to_string(),
    }
}

/// Parses `PT1H`, `P1DT12H`, `1h30m` to milliseconds. A day has 24 hours, as in Java.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    const FORMS: &str =
        "write a duration as PT1H30M, P7D or 1h30m; not in months or years, whose length varies";
    let span: Span = text.trim().parse().map_err(|_| FORMS)?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| FORMS)?;
    if length.is_negative() {
        return Err("a duration has no sign here".to_owned());
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
            "@1700000000000",
            "2023-11-14T22:13:20Z",
            "@2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14T22:13:20",
            "@2023-11-14T22:13:20",
            "2023-11-14T22:13:20.000",
            "2023-11-14 22:13:20",
        ] {
            assert_eq!(time(text), Ok(1_700_000_000_000), "{text}");
        }
        let zones =
            ["[America/New_York]", "[-05:00]", "[Nonsense]"].map(|zone| format!("2023-11-14T22:13:20{zone}"));
        for text in ["", "@", "yesterday", "-1", "1969-12-31T23:59:59", "2023-13-14T00:00:00"]
            .into_iter()
            .chain(zones.iter().map(String::as_str))
        {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_not_taken_for_milliseconds() {
        for text in ["1795346206", "@1795346206", "1", "99999999999"] {
            let refused = time(text).unwrap_err();
            let number = text.trim_start_matches('@');
            assert!(refused.contains(&format!("write {number}000")), "{refused}");
        }
        assert!(time("1795346206").unwrap_err().contains("1970-01-21T18:42:26.206Z"));
        assert_eq!(time("0"), Ok(0), "the beginning of time is before every record");
        assert_eq!(time("1970-01-21T18:42:26.206Z"), Ok(1_795_346_206), "what is written as a day is meant");
        assert_eq!(time("100000000000"), Ok(SMALLEST_MILLIS));
    }

    #[test]
    fn a_day_without_a_time_is_told_what_is_missing() {
        assert!(time("2023-11-14").unwrap_err().contains("write 2023-11-14T00:00:00Z"));
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
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
