//! The topics that are read: how many records, of what, packed how.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Small,
    Plain,
    JsonNone,
    JsonLz4,
    JsonZstd,
    JsonSnappy,
    JsonGzip,
}

/// As the issue of this bench has it: consumers of one process share six partitions.
pub(crate) const PARTITIONS: i32 = 6;
/// Of keys and values of a JSON record's two headers; `java/Fill.java` writes them.
const HEADER_BYTES: u64 = 68;

impl Row {
    pub(crate) const ALL: [Self; 7] = [
        Self::Small,
        Self::Plain,
        Self::JsonNone,
        Self::JsonLz4,
        Self::JsonZstd,
        Self::JsonSnappy,
        Self::JsonGzip,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "100-none",
            Self::Plain => "1k-none",
            Self::JsonNone => "json-none",
            Self::JsonLz4 => "json-lz4",
            Self::JsonZstd => "json-zstd",
            Self::JsonSnappy => "json-snappy",
            Self::JsonGzip => "json-gzip",
        }
    }

    pub(crate) fn codec(self) -> &'static str {
        match self {
            Self::Small | Self::Plain | Self::JsonNone => "none",
            Self::JsonLz4 => "lz4",
            Self::JsonZstd => "zstd",
            Self::JsonSnappy => "snappy",
            Self::JsonGzip => "gzip",
        }
    }

    /// Whether it has JSON values, keys and headers; else it has values of letters.
    pub(crate) fn is_json(self) -> bool {
        !matches!(self, Self::Small | Self::Plain)
    }

    /// Bytes of a value.
    pub(crate) fn size(self) -> u64 {
        if self == Self::Small { 100 } else { 1024 }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of millions")]
    pub(crate) fn count(self, scale: f64) -> u64 {
        let millions = if self == Self::Small { 5.0 } else { 1.0 };
        (millions * 1e6 * scale) as u64
    }

    pub(crate) fn header_bytes(self, records: u64) -> u64 {
        if self.is_json() { records * HEADER_BYTES } else { 0 }
    }
}
