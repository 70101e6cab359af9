//! The topics to read: the number, content and compression of their records.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Small,
    /// One record per batch, as from producers that do not linger.
    Single,
    Plain,
    /// Over many partitions.
    Many,
    JsonNone,
    JsonLz4,
    JsonZstd,
    JsonSnappy,
    JsonGzip,
}

/// Consumers of one process share six partitions.
pub(crate) const PARTITIONS: i32 = 6;
/// The bytes of the keys and values of a JSON record's two headers; `java/Fill.java` writes them.
const HEADER_BYTES: u64 = 68;

impl Row {
    pub(crate) const ALL: [Self; 9] = [
        Self::Small,
        Self::Single,
        Self::Plain,
        Self::Many,
        Self::JsonNone,
        Self::JsonLz4,
        Self::JsonZstd,
        Self::JsonSnappy,
        Self::JsonGzip,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "100-none",
            Self::Single => "100-single",
            Self::Plain => "1k-none",
            Self::Many => "1k-many",
            Self::JsonNone => "json-none",
            Self::JsonLz4 => "json-lz4",
            Self::JsonZstd => "json-zstd",
            Self::JsonSnappy => "json-snappy",
            Self::JsonGzip => "json-gzip",
        }
    }

    pub(crate) fn codec(self) -> &'static str {
        match self {
            Self::Small | Self::Single | Self::Plain | Self::Many | Self::JsonNone => "none",
            Self::JsonLz4 => "lz4",
            Self::JsonZstd => "zstd",
            Self::JsonSnappy => "snappy",
            Self::JsonGzip => "gzip",
        }
    }

    /// Whether it has JSON values, keys and headers; else it has values of letters.
    pub(crate) fn is_json(self) -> bool {
        !matches!(self, Self::Small | Self::Single | Self::Plain | Self::Many)
    }

    pub(crate) fn partitions(self) -> i32 {
        if self == Self::Many { 100 } else { PARTITIONS }
    }

    /// The largest size of a batch; 0 for one record per batch.
    pub(crate) fn batch_bytes(self) -> u32 {
        if self == Self::Single { 0 } else { 64 << 10 }
    }

    /// Bytes of a value.
    pub(crate) fn size(self) -> u64 {
        if matches!(self, Self::Small | Self::Single) { 100 } else { 1024 }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of millions")]
    pub(crate) fn count(self, scale: f64) -> u64 {
        let millions = match self {
            Self::Small => 5.0,
            Self::Single => 0.2,
            _ => 1.0,
        };
        (millions * 1e6 * scale) as u64
    }

    pub(crate) fn header_bytes(self, records: u64) -> u64 {
        if self.is_json() { records * HEADER_BYTES } else { 0 }
    }
}
