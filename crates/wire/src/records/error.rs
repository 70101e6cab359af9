//! What may be wrong with the bytes of a record set, and which offsets it concerns.
//!
//! Small and `Copy`: it travels in the result of every record, where a destructor would cost.

use thiserror::Error;

use super::compression::{CodecError, Compression};

/// Records that cannot be read: the offsets they would have had, and why.
///
/// The range is what the batch claims of itself. When the checksum is wrong the claim may be wrong
/// too; it is still the best answer to "what would I skip".
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

    /// The first offset that the unreadable stretch covers.
    pub fn first_offset(&self) -> i64 {
        self.first
    }

    /// The last offset that the unreadable stretch covers, as far as can be told.
    pub fn last_offset(&self) -> i64 {
        self.last
    }

    /// What was wrong.
    pub fn fault(&self) -> &RecordFault {
        &self.fault
    }

    /// Whether the batch is sound but larger, once inflated, than the reader allows.
    pub fn is_too_large(&self) -> bool {
        matches!(self.fault, RecordFault::Codec(CodecError::TooLarge { .. }))
    }

    /// The codec that the batch needs and that this program was built without.
    pub fn missing_codec(&self) -> Option<Compression> {
        match self.fault {
            RecordFault::Codec(CodecError::NotBuiltIn { codec }) => Some(codec),
            _ => None,
        }
    }

    /// Whether the broker sent less than one whole batch, so that asking again for more may help.
    pub fn is_cut_short(&self) -> bool {
        matches!(self.fault, RecordFault::CutShort { .. })
    }

    /// Whether the batch ends beyond what the log was said to contain. That may have been said too early, so that asking again may
    /// help.
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
        /// Bytes the batch has.
        need: usize,
        /// Bytes that arrived.
        have: usize,
    },
    /// The checksum does not match.
    #[error("the checksum is {computed:08x}, the batch says {stored:08x}")]
    WrongCrc {
        /// As the batch has it.
        stored: u32,
        /// As it would have to be.
        computed: u32,
    },
    /// The message format is not known.
    #[error("message format {0} is unknown")]
    Magic(i8),
    /// The codec is not known, or the message format does not have it.
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
        /// Records that were announced and are not there.
        missing: u32,
    },
    /// Bytes left after the last record.
    #[error("{0} bytes are left after the last record")]
    BytesLeft(usize),
    /// A record length that is negative, larger than what is left, or not what its fields need.
    #[error("a record length is wrong")]
    RecordLength,
    /// A key or value length below -1, or beyond the record.
    #[error("a key or value length is wrong")]
    FieldLength,
    /// A header count that is negative or cannot fit, or a header without a key.
    #[error("the record's headers are malformed")]
    Headers,
    /// An offset that is not above the one before it, or is above the batch's last.
    #[error("offset delta {delta} after {previous} in a batch that ends at {last}")]
    NonMonotonic {
        /// The delta found.
        delta: i32,
        /// The delta before it, -1 at the start.
        previous: i32,
        /// The last offset delta of the batch.
        last: i32,
    },
    /// A last offset delta that is negative.
    #[error("last offset delta {0} is negative")]
    LastOffsetDelta(i32),
    /// A batch that ends beyond where the log ends.
    #[error("the batch ends at {last}, the log at {end}")]
    BeyondTheEnd {
        /// The last offset of the batch.
        last: i64,
        /// The first offset that cannot exist yet.
        end: i64,
    },
    /// Offsets outside 0..=i64::MAX.
    #[error("base offset {base} plus {delta} is no offset")]
    Offset {
        /// The base offset.
        base: i64,
        /// What was to be added.
        delta: i32,
    },
    /// A batch that begins before the previous one ended.
    #[error("a batch begins at {base} although the one before it ended at {previous}")]
    Overlap {
        /// Where it begins.
        base: i64,
        /// The last offset of the batch before.
        previous: i64,
    },
    /// A message set of format 0 or 1 that breaks its own rules.
    #[error("message format 0/1: {0}")]
    Legacy(&'static str),
    /// A control record is malformed.
    #[error("control record: {0}")]
    Control(&'static str),
}
