//! Converts dates and times to text (RFC 3339) and back. Years beyond four digits have a sign, as in ISO 8601, because Avro's
//! numbers exceed the range of RFC 3339.

use std::fmt::{self, Write};

use super::logical::{Moment, Unit};

const DAY: i64 = 86_400;

/// A short text on the stack.
pub(super) struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Text {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }

    pub(super) fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The text of a moment; `None` if there is no such time of day.
pub(super) fn format(moment: Moment, value: i64) -> Option<Text> {
    let mut text = Text::new();
    let written = match moment {
        Moment::Date => date(&mut text, value),
        Moment::Time(unit) => {
            if !(0..DAY * unit.per_second()).contains(&value) {
                return None;
            }
            time(&mut text, value, unit)
        }
        Moment::Timestamp(unit) | Moment::LocalTimestamp(unit) => {
            let day = DAY * unit.per_second();
            date(&mut text, value.div_euclid(day))
                .and_then(|()| text.write_char('T'))
                .and_then(|()| time(&mut text, value.rem_euclid(day), unit))
        }
    };
    written.ok()?;
    if matches!(moment, Moment::Timestamp(_)) {
        text.write_char('Z').ok()?;
    }
    Some(text)
}

fn date(text: &mut Text, days: i64) -> fmt::Result {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        write!(text, "{year:04}-{month:02}-{day:02}")
    } else {
        write!(text, "{year:+05}-{month:02}-{day:02}")
    }
}

fn time(text: &mut Text, since_midnight: i64, unit: Unit) -> fmt::Result {
    let (seconds, fraction) = (since_midnight / unit.per_second(), since_midnight % unit.per_second());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(text, "{hours:02}:{minutes:02}:{:02}.{fraction:0width$}", seconds % 60, width = unit.digits())
}

/// Parses the text of a moment to its number. Returns the reason if that is not possible.
pub(super) fn parse(moment: Moment, text: &str) -> Result<i64, &'static str> {
    const TOO_FAR: &str = "it is further away than its type reaches";
    let mut rest = Rest(text.as_bytes());
    let value = match moment {
        Moment::Date => i128::from(rest.date().ok_or("it is not a date like 2026-01-31")?),
        Moment::Time(unit) => i128::from(rest.time(unit)?),
        Moment::Timestamp(unit) | Moment::LocalTimestamp(unit) => {
            const FORM: &str = "it is not a time like 2026-01-31T12:00:00Z";
            let days = rest.date().ok_or(FORM)?;
            if !(rest.eat(b'T') || rest.eat(b't') || rest.eat(b' ')) {
                return Err(FORM);
            }
            let mut value = i128::from(days) * i128::from(DAY * unit.per_second());
            value += i128::from(rest.time(unit)?);
            if matches!(moment, Moment::Timestamp(_)) {
                let offset = rest.offset().ok_or("it says no time zone: Z, or an offset like +02:00")?;
                value -= i128::from(offset) * i128::from(unit.per_second());
            }
            value
        }
    };
    if !rest.0.is_empty() {
        return Err("something follows the time");
    }
    if moment.is_int() && i32::try_from(value).is_err() {
        return Err(TOO_FAR);
    }
    i64::try_from(value).map_err(|_| TOO_FAR)
}

/// The rest of a text.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// All following digits, of which there have to be from `least` to `most`.
    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(least..=most).contains(&count) {
            return None;
        }
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// Days since 1970-01-01.
    fn date(&mut self) -> Option<i64> {
        let negative = self.eat(b'-');
        let signed = negative || self.eat(b'+');
        let year = self.digits(4, if signed { 12 } else { 4 })?;
        let year = if negative { -year } else { year };
        let month = self.eat(b'-').then(|| self.digits(2, 2))??;
        let day = self.eat(b'-').then(|| self.digits(2, 2))??;
        let days = days(year, month, day);
        ((1..=12).contains(&month) && civil(days) == (year, month, day)).then_some(days)
    }

    fn time(&mut self, unit: Unit) -> Result<i64, &'static str> {
        const FORM: &str = "it is not a time of day like 12:00:00";
        let hours = self.digits(2, 2).filter(|hours| *hours < 24).ok_or(FORM)?;
        let mut sixtieth = || self.eat(b':').then(|| self.digits(2, 2)).flatten().filter(|part| *part < 60);
        let minutes = sixtieth().ok_or(FORM)?;
        let seconds = sixtieth().ok_or(FORM)?;
        let mut value = (hours * 3600 + minutes * 60 + seconds) * unit.per_second();
        if self.eat(b'.') {
            let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let kept = length.min(unit.digits());
            if self.0.iter().take(length).skip(kept).any(|digit| *digit != b'0') {
                return Err("its fraction of a second is finer than its type");
            }
            let mut place = unit.per_second();
            for digit in self.0.iter().take(kept) {
                place /= 10;
                value += i64::from(digit - b'0') * place;
            }
            self.0 = self.0.get(length..).filter(|_| length > 0).ok_or(FORM)?;
        }
        Ok(value)
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Option<i64> {
        if self.eat(b'Z') || self.eat(b'z') {
            return Some(0);
        }
        let west = self.eat(b'-');
        if !west && !self.eat(b'+') {
            return None;
        }
        let hours = self.digits(2, 2).filter(|hours| *hours < 24)?;
        let minutes = self.eat(b':').then(|| self.digits(2, 2)).flatten().filter(|minutes| *minutes < 60)?;
        let seconds = hours * 3600 + minutes * 60;
        Some(if west { -seconds } else { seconds })
    }
}

/// The calendar repeats after 400 years: 146,097 days. Years begin on the first of March here, so that the leap day is at the
/// end.
const ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Year, month and day of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(EPOCH);
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (years + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970-01-01 of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(moment: Moment, value: i64) -> String {
        format(moment, value).map_or_else(String::new, |text| text.as_str().to_owned())
    }

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        use Moment::{Date, LocalTimestamp, Time, Timestamp};
        let cases = [
            (Date, 0, "1970-01-01"),
            (Date, 11_016, "2000-02-29"),
            (Date, -1, "1969-12-31"),
            (Date, -719_528, "0000-01-01"),
            (Date, -719_529, "-0001-12-31"),
            (Date, 2_932_897, "+10000-01-01"),
            (Date, i64::from(i32::MAX), "+5881580-07-11"),
            (Time(Unit::Millis), 86_399_999, "23:59:59.999"),
            (Time(Unit::Micros), 1, "00:00:00.000001"),
            (Timestamp(Unit::Millis), 1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (Timestamp(Unit::Micros), -1, "1969-12-31T23:59:59.999999Z"),
            (Timestamp(Unit::Nanos), i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (LocalTimestamp(Unit::Millis), 0, "1970-01-01T00:00:00.000"),
        ];
        for (moment, value, expected) in cases {
            assert_eq!(text(moment, value), expected);
            assert_eq!(parse(moment, expected), Ok(value), "{expected}");
        }
    }

    #[test]
    fn a_time_outside_of_a_day_has_no_text() {
        assert!(format(Moment::Time(Unit::Millis), 86_400_000).is_none());
        assert!(format(Moment::Time(Unit::Micros), -1).is_none());
    }

    #[test]
    fn the_ends_of_every_type_come_back() {
        for unit in [Unit::Millis, Unit::Micros, Unit::Nanos] {
            for value in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
                for moment in [Moment::Timestamp(unit), Moment::LocalTimestamp(unit)] {
                    assert_eq!(parse(moment, &text(moment, value)), Ok(value));
                }
            }
        }
        for value in [i64::from(i32::MIN), i64::from(i32::MAX)] {
            assert_eq!(parse(Moment::Date, &text(Moment::Date, value)), Ok(value));
        }
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        let millis = Moment::Timestamp(Unit::Millis);
        assert_eq!(parse(millis, "1970-01-01T02:00:00+02:00"), Ok(0));
        assert_eq!(parse(millis, "1970-01-01t00:00:00.5z"), Ok(500));
        assert_eq!(parse(millis, "1970-01-01 00:00:00.001000Z"), Ok(1));
        for wrong in [
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.0001Z",
            "1970-02-30T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00Zz",
            "+999999999999-01-01T00:00:00Z",
            "",
            "70-1-1",
        ] {
            assert!(parse(millis, wrong).is_err(), "{wrong}");
        }
        assert!(parse(Moment::Date, "+5881580-07-12").is_err(), "one day beyond an int");
    }
}
