//! One value, and the ways to parse it: units, ranges, words.

use std::{fmt::Display, str::FromStr, time::Duration};

use super::{ConfigError, error::Shown};

/// The value given for a property.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The name as it was given, alias or not, so that errors show what the user wrote.
    pub name: &'a str,
    /// The value.
    pub text: &'a str,
    /// Whether errors must not show it.
    pub secret: bool,
}

/// Longer waits are limited to this: 30 years, as good as endless. Keeps `now + wait` within any clock's
/// range.
pub const ENDLESS: Duration = Duration::from_secs(30 * 366 * 24 * 3600);

impl<'a> Value<'a> {
    /// The error for an invalid value.
    pub fn invalid(&self, expected: impl Into<String>) -> ConfigError {
        let value = if self.secret { Shown::secret() } else { Shown::value(self.text) };
        ConfigError::Invalid { name: self.name.to_owned(), value, expected: expected.into() }
    }

    /// The value without white space around it.
    pub fn text(&self) -> &'a str {
        self.text.trim()
    }

    /// The text, or `None` if there is only white space.
    pub fn optional(&self) -> Option<String> {
        let text = self.text();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A number within a range.
    pub fn number<N: FromStr + PartialOrd + Display>(&self, least: N, most: N) -> Result<N, ConfigError> {
        match self.text().parse::<N>() {
            Ok(number) if number >= least && number <= most => Ok(number),
            _ => Err(self.invalid(format!("a whole number from {least} to {most}"))),
        }
    }

    /// A size in bytes, up to Java's `int`.
    pub fn bytes(&self, least: u32) -> Result<u32, ConfigError> {
        self.number(least, i32::MAX.unsigned_abs())
    }

    /// A size in bytes, without Java's limit.
    pub fn large_bytes(&self, least: u64) -> Result<usize, ConfigError> {
        let bytes = self.number(least, 1 << 40)?;
        usize::try_from(bytes).map_err(|_| self.invalid("fewer bytes on this machine"))
    }

    /// Milliseconds within Java's `int`.
    pub fn millis(&self, least: u64) -> Result<Duration, ConfigError> {
        self.number(least, u64::from(i32::MAX.unsigned_abs())).map(Duration::from_millis)
    }

    /// Milliseconds within Java's `long`.
    pub fn long_millis(&self, least: u64) -> Result<Duration, ConfigError> {
        let millis = self.number(least, i64::MAX.unsigned_abs())?;
        Ok(Duration::from_millis(millis).min(ENDLESS))
    }

    /// `true` or `false`, in any case.
    pub fn boolean(&self) -> Result<bool, ConfigError> {
        match self.text() {
            text if text.eq_ignore_ascii_case("true") => Ok(true),
            text if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.invalid("true or false")),
        }
    }

    /// The elements between commas; none for an empty value.
    pub fn list(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text.split(',').map(str::trim).filter(|element| !element.is_empty())
    }

    /// One of some words, in any case.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, ConfigError> {
        let found = words.iter().find(|(word, _)| self.text().eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.invalid(format!("one of {}", words.join(", ")))
        })
    }
}

/// Parses ISO 8601 durations like Java's `Duration.parse`: `PnDTnHnMn.nS`. Negative ones are refused, as an
/// age cannot be negative.
pub fn parse_iso_duration(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_uppercase();
    let rest = text.strip_prefix('P').or_else(|| text.strip_prefix("+P"))?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    if !days.is_empty() {
        let days: u64 = days.strip_suffix('D').and_then(digits)?;
        total = total.checked_add(Duration::from_secs(days.checked_mul(86_400)?))?;
    }
    let mut rest = time;
    for (unit, seconds) in [('H', 3600), ('M', 60)] {
        if let Some((count, after)) = rest.split_once(unit) {
            total = total.checked_add(Duration::from_secs(digits(count)?.checked_mul(seconds)?))?;
            rest = after;
        }
    }
    if !rest.is_empty() {
        let (whole, fraction) =
            rest.strip_suffix('S')?.split_once(['.', ',']).unwrap_or((rest.strip_suffix('S')?, "0"));
        if fraction.len() > 9 {
            return None;
        }
        let nanos = u32::try_from(digits(&format!("{fraction:0<9}"))?).ok()?;
        total = total.checked_add(Duration::new(digits(whole)?, nanos))?;
    }
    Some(total)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value { name: "x", text, secret: false }
    }

    #[test]
    fn durations_are_javas() {
        for (text, seconds) in
            [("P1D", 86_400), ("PT1H", 3600), ("P1DT1H1M1S", 90_061), ("pt15m", 900), ("PT0S", 0)]
        {
            assert_eq!(parse_iso_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_iso_duration("PT1.5S"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_iso_duration("PT0,000000001S"), Some(Duration::from_nanos(1)));
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "P1H",
            "PT1D",
            "-P1D",
            "PT-1S",
            "P1Y",
            "PT1S1M",
            "PT1.1234567890S",
            "P99999999999999999999D",
            "PT.5S",
            "P1DT",
        ] {
            assert_eq!(parse_iso_duration(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert_eq!(value(" 7 ").bytes(0).unwrap(), 7);
        for text in ["", "-1", "2147483648", "1k", "1.5", "0x10"] {
            let error = value(text).bytes(0).unwrap_err().to_string();
            assert!(error.ends_with("it takes a whole number from 0 to 2147483647"), "{error}");
        }
        assert_eq!(value("9223372036854775807").long_millis(0).unwrap(), ENDLESS);
    }

    #[test]
    fn a_secret_is_not_repeated_and_control_characters_are_escaped() {
        let secret = Value { name: "sasl.password", text: "hunter2", secret: true };
        assert!(!secret.invalid("x").to_string().contains("hunter2"));
        assert!(!format!("{:?}", secret.invalid("x")).contains("hunter2"));
        assert!(value("\u{1b}[31m").invalid("x").to_string().contains("\\u{1b}[31m"));
    }
}
