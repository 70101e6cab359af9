//! Logical types: the meaning of a type's values. Unknown or invalid ones are ignored, as the specification requires.

use std::fmt::{self, Display, Formatter};

use serde_json::{Map, Value};

use super::schema::Kind;

/// The greatest precision that a decimal may declare; with more, the type counts as plain bytes.
const MAX_PRECISION: u32 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logical {
    Moment(Moment),
    Decimal { precision: u32, scale: u32 },
    Uuid,
    Duration,
}

/// A number that represents a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Days since 1970-01-01.
    Date,
    /// Time since midnight.
    Time(Unit),
    /// Time since 1970-01-01T00:00:00Z.
    Timestamp(Unit),
    /// The same without a time zone.
    LocalTimestamp(Unit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub(super) fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    /// The number of digits of a second's fraction.
    pub(super) fn digits(self) -> usize {
        match self {
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

impl Moment {
    /// Whether it is stored as an `int`.
    pub(super) fn is_int(self) -> bool {
        matches!(self, Self::Date | Self::Time(Unit::Millis))
    }
}

impl Logical {
    /// The logical type in `object`, if it is allowed for a type of this kind.
    pub(super) fn parse(object: &Map<String, Value>, kind: &Kind) -> Option<Self> {
        use Unit::{Micros, Millis, Nanos};
        let name = object.get("logicalType")?.as_str()?;
        let logical = match (name, kind) {
            ("date", Kind::Int) => Self::Moment(Moment::Date),
            ("time-millis", Kind::Int) => Self::Moment(Moment::Time(Millis)),
            ("time-micros", Kind::Long) => Self::Moment(Moment::Time(Micros)),
            ("timestamp-millis", Kind::Long) => Self::Moment(Moment::Timestamp(Millis)),
            ("timestamp-micros", Kind::Long) => Self::Moment(Moment::Timestamp(Micros)),
            ("timestamp-nanos", Kind::Long) => Self::Moment(Moment::Timestamp(Nanos)),
            ("local-timestamp-millis", Kind::Long) => Self::Moment(Moment::LocalTimestamp(Millis)),
            ("local-timestamp-micros", Kind::Long) => Self::Moment(Moment::LocalTimestamp(Micros)),
            ("local-timestamp-nanos", Kind::Long) => Self::Moment(Moment::LocalTimestamp(Nanos)),
            ("uuid", Kind::String) => Self::Uuid,
            ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Self::Uuid,
            ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Self::Duration,
            ("decimal", Kind::Bytes) => Self::decimal(object, None)?,
            ("decimal", Kind::Fixed(fixed)) => Self::decimal(object, Some(fixed.size))?,
            _ => return None,
        };
        Some(logical)
    }

    fn decimal(object: &Map<String, Value>, size: Option<usize>) -> Option<Self> {
        let number = |key: &str| object.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let precision = number("precision")?;
        let scale = if object.contains_key("scale") { number("scale")? } else { 0 };
        // A fixed of n bytes holds no more digits than 2^(8n-1) has, less one: log10(2) is a little above 0.30102.
        let room = size.map_or(MAX_PRECISION, |size| {
            let bits = u64::try_from(size).unwrap_or(u64::MAX).saturating_mul(8).saturating_sub(1);
            u32::try_from(bits.saturating_mul(30_103) / 100_000).unwrap_or(u32::MAX)
        });
        let valid = precision > 0 && scale <= precision && precision <= room.min(MAX_PRECISION);
        valid.then_some(Self::Decimal { precision, scale })
    }
}

impl Display for Logical {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unit = |unit: &Unit| match unit {
            Unit::Millis => "millis",
            Unit::Micros => "micros",
            Unit::Nanos => "nanos",
        };
        match self {
            Self::Moment(Moment::Date) => f.write_str("date"),
            Self::Moment(Moment::Time(of)) => write!(f, "time-{}", unit(of)),
            Self::Moment(Moment::Timestamp(of)) => write!(f, "timestamp-{}", unit(of)),
            Self::Moment(Moment::LocalTimestamp(of)) => write!(f, "local-timestamp-{}", unit(of)),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Self::Uuid => f.write_str("uuid"),
            Self::Duration => f.write_str("duration"),
        }
    }
}
