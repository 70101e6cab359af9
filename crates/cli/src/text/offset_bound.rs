//! `--from` and `--until`: a place in a partition.

use std::str::FromStr;

use super::time::time;

/// A place, before its offset is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetBound {
    Earliest,
    Latest,
    Offset(i64),
    /// This many records before the end.
    BeforeEnd(u64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
}

impl FromStr for OffsetBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write earliest, latest, an offset, -N (N before the end) or @TIME (RFC 3339 or epoch milliseconds)";
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let number = if plain { digits.parse::<i64>().ok() } else { None };
            number.ok_or_else(|| FORMS.to_owned())
        };
        match text {
            "earliest" | "beginning" | "smallest" => Ok(Self::Earliest),
            "latest" | "end" | "largest" => Ok(Self::Latest),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(at), _) => time(at).map(Self::Time),
                (None, Some(before)) => number(before).map(i64::unsigned_abs).map(Self::BeforeEnd),
                (None, None) => number(text).map(Self::Offset),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, place) in [
            ("earliest", OffsetBound::Earliest),
            ("latest", OffsetBound::Latest),
            ("0", OffsetBound::Offset(0)),
            ("9223372036854775807", OffsetBound::Offset(i64::MAX)),
            ("-1", OffsetBound::BeforeEnd(1)),
            ("-0", OffsetBound::BeforeEnd(0)),
            ("@1700000000000", OffsetBound::Time(1_700_000_000_000)),
            ("@2023-11-14T22:13:20Z", OffsetBound::Time(1_700_000_000_000)),
            ("@2023-11-14T23:13:20.5+01:00", OffsetBound::Time(1_700_000_000_500)),
            ("@2023-11-14T22:13:20", OffsetBound::Time(1_700_000_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
    }

    #[test]
    fn an_invalid_offset_bound_is_refused() {
        for text in [
            "",
            "-",
            "--1",
            "-+1",
            "+1",
            "first",
            "@",
            "@-1",
            "@yesterday",
            "@2023-11-14",
            "@1700000000",
            "1.5",
            "9223372036854775808",
        ] {
            assert!(text.parse::<OffsetBound>().is_err(), "{text}");
        }
    }
}
