//! Timestamps in the format of RFC 3339.

/// Formats milliseconds since 1970, in UTC: `2026-11-23T16:25:00.123Z`. Times before the year 0 or after 9999 are clamped.
pub fn rfc3339(millis: i64) -> String {
    let millis = millis.clamp(-62_167_219_200_000, 253_402_300_799_999);
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, fraction) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

/// Parses a timestamp as [`rfc3339`] writes it.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok().map(i64::from);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let in_day = (number(11..13)? * 60 + number(14..16)?) * 60_000 + number(17..19)? * 1000 + number(20..23)?;
    let years = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days =
        years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400) + day_of_year;
    let millis = (days - 719_468) * 86_400_000 + in_day;
    // A text that is no valid time, or written differently, does not survive the round trip.
    (rfc3339(millis) == text).then_some(millis)
}

/// Converts days since 1970 to year, month and day in the Gregorian calendar. Years begin in March here, so that a leap day is
/// the last day of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // since 1 March of the year 0
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153; // since March
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_times_are_read_back_and_nothing_else_is() {
        for millis in (-62_167_219_200_000..253_402_300_799_999i64).step_by(77_777_777_777) {
            assert_eq!(parse_rfc3339(&rfc3339(millis)), Some(millis));
        }
        for text in
            ["", "2026", "2026-02-30T00:00:00.000Z", "2026-11-23T16:25:00Z", "+026-11-23T16:25:00.123Z", "ä"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_written_as_their_calendar_has_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
    }
}
