//! Errors in the bytes of a record set, and the offsets that they concern.
//!
//! Small and `Copy`, because it is part of the result for every record, where a destructor would cost time.

use thiserror::Error;

use super::compression::{CodecError, Compression};

/// Records that cannot be read: their offsets, and the reason.
///
/// The range is taken from the batch. If the checksum is wrong, the range may be wrong too; it is still the best estimate of the
/// offsets to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("records {first} to {last}: {fault}")]
pub struct RecordError {
    first: i64,
    last: i64,
    fault: RecordFault,
}

impl RecordError {
    pub(super) fn new(first: i64, last: i64, fault: RecordFault) -> Self {
        Self { first, last: last.max(first), fault }
    }

    /// The first unreadable offset.
    pub fn first_offset(&self) -> i64 {
        self.first
    }

    /// The last unreadable offset, as far as known.
    pub fn last_offset(&self) -> i64 {
        self.last
    }

    /// The reason.
    pub fn fault(&self) -> &RecordFault {
        &self.fault
    }

    /// Whether the batch is valid, but its decompressed size exceeds the limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.fault, RecordFault::Codec(CodecError::TooLarge { .. }))
    }

    /// The codec that the batch needs, if it is not compiled in.
    pub fn missing_codec(&self) -> Option<Compression> {
        match self.fault {
            RecordFault::Codec(CodecError::NotBuiltIn { codec }) => Some(codec),
            _ => None,
        }
    }

    /// Whether the broker sent less than one complete batch, so that fetching more may help.
    pub fn is_cut_short(&self) -> bool {
        matches!(self.fault, RecordFault::CutShort { .. })
    }

    /// Whether the batch ends beyond the known end of the log. That end may be outdated, so that fetching again may help.
    pub fn is_beyond_the_end(&self) -> bool {
        matches!(self.fault, RecordFault::BeyondTheEnd { .. })
    }
}

/// Why records cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The batch length is impossible.
    #[error("a batch cannot be {0} bytes long")]
    BatchLength(i32),
    /// The first batch is cut short.
    #[error("the only batch was cut short: {have} of {need} bytes")]
    CutShort {
        /// The size of the batch.
        need: usize,
        /// The number of bytes that arrived.
        have: usize,
    },
    /// The checksum does not match.
    #[error("the checksum is {computed:08x}, the batch says {stored:08x}")]
    WrongCrc {
        /// As stored in the batch.
        stored: u32,
        /// As computed from the bytes.
        computed: u32,
    },
    /// The message format is unknown.
    #[error("message format {0} is unknown")]
    Magic(i8),
    /// The codec is unknown, or not part of the message format.
    #[error("codec {0} is unknown")]
    UnknownCodec(u8),
    /// The records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A negative record count, or more records than the batch has offsets.
    #[error("a batch cannot hold {0} records")]
    RecordCount(i32),
    /// Fewer bytes than the records need.
    #[error("the bytes end {missing} records too early")]
    TooFewBytes {
        /// The number of missing records.
        missing: u32,
    },
    /// Bytes left over after the last record.
    #[error("{0} bytes are left after the last record")]
    BytesLeft(usize),
    /// A record length that is negative, larger than the rest, or different from the size of its fields.
    #[error("a record length is wrong")]
    RecordLength,
    /// A key or value length below -1, or beyond the record.
    #[error("a key or value length is wrong")]
    FieldLength,
    /// A header count that is negative or cannot fit, or a header without a key.
    #[error("the record's headers are malformed")]
    Headers,
    /// An offset that is not above the previous one, or is above the batch's last.
    #[error("offset delta {delta} after {previous} in a batch that ends at {last}")]
    NonMonotonic {
        /// The delta found.
        delta: i32,
        /// The previous delta; -1 at the start.
        previous: i32,
        /// The last offset delta of the batch.
        last: i32,
    },
    /// A last offset delta that is negative.
    #[error("last offset delta {0} is negative")]
    LastOffsetDelta(i32),
    /// A batch that ends beyond the end of the log.
    #[error("the batch ends at {last}, the log at {end}")]
    BeyondTheEnd {
        /// The last offset of the batch.
        last: i64,
        /// The first offset that cannot exist yet.
        end: i64,
    },
    /// Offsets outside 0..=i64::MAX.
    #[error("base offset {base} plus {delta} is not a valid offset")]
    Offset {
        /// The base offset.
        base: i64,
        /// The delta that was to be added.
        delta: i32,
    },
    /// A batch that begins before the end of the previous one.
    #[error("a batch begins at {base} although the one before it ended at {previous}")]
    Overlap {
        /// Its base offset.
        base: i64,
        /// The last offset of the previous batch.
        previous: i64,
    },
    /// A message set of format 0 or 1 that violates its format.
    #[error("message format 0/1: {0}")]
    Legacy(&'static str),
    /// A control record is malformed.
    #[error("control record: {0}")]
    Control(&'static str),
}
