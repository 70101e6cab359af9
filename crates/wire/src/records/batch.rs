//! A v2 record batch: a header of 61 bytes, and the records, compressed or not.

use bytes::{Buf, Bytes};

use super::compression::Compression;
use super::error::{RecordError, RecordFault};
use super::set::{Framed, frame};
use super::varint;

/// The size of a v2 header.
pub(super) const HEADER: usize = 61;
/// The start of the part that the checksum covers: the attributes.
pub(super) const CHECKED: usize = 21;

pub(super) const CODEC_MASK: i16 = 0x07;
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;

/// The source of a record's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Message format 0 has no timestamps; they read as -1.
    NoTimestampType,
    /// Set by the producer.
    CreateTime,
    /// Set by the broker: one timestamp for the whole batch.
    LogAppendTime,
}

/// Whether the checksums of batches are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Crc {
    /// Verified once, when the batch is split from the buffer.
    #[default]
    Check,
    /// Not verified: `check.crcs=false`.
    Trust,
}

/// The header of a v2 batch, with valid offsets.
///
/// In a [`V2Batch`], the checksum covers everything but the base offset and the leader epoch, which the broker sets. For a header
/// from `peek`, the checksum was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    base_offset: i64,
    last_offset: i64,
    batch_length: i32,
    partition_leader_epoch: i32,
    crc: u32,
    attributes: i16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `buf` without consuming it; `None` if the batch is incomplete. The checksum is not
    /// verified.
    pub fn peek(buf: &[u8]) -> Result<Option<Self>, RecordError> {
        match frame(buf)? {
            Framed::CutShort { .. } => Ok(None),
            Framed::Whole { base, magic, .. } => {
                Self::parse(buf).filter(|_| magic == 2).ok_or(unknown_magic(base, magic))?.checked().map(Some)
            }
        }
    }

    pub(super) fn parse(buf: &[u8]) -> Option<Self> {
        // With its length known, no field is looked for behind the end.
        let buf = &mut buf.first_chunk::<HEADER>()?.as_slice();
        let base_offset = varint::i64(buf)?;
        let batch_length = varint::i32(buf)?;
        let partition_leader_epoch = varint::i32(buf)?;
        let _magic = varint::i8(buf)?;
        let crc = varint::u32(buf)?;
        let attributes = varint::i16(buf)?;
        let last_offset_delta = varint::i32(buf)?;
        Some(Self {
            base_offset,
            last_offset: base_offset.saturating_add(i64::from(last_offset_delta)),
            batch_length,
            partition_leader_epoch,
            crc,
            attributes,
            last_offset_delta,
            base_timestamp: varint::i64(buf)?,
            max_timestamp: varint::i64(buf)?,
            producer_id: varint::i64(buf)?,
            producer_epoch: varint::i16(buf)?,
            base_sequence: varint::i32(buf)?,
            count: varint::i32(buf)?,
        })
    }

    /// Checks the offsets, so that arithmetic with them cannot overflow.
    pub(super) fn checked(self) -> Result<Self, RecordError> {
        let delta = self.last_offset_delta;
        if delta < 0 {
            return Err(self.error(RecordFault::LastOffsetDelta(delta)));
        }
        // The offset after the last must be valid too, because it is the next fetch position.
        let end = self.base_offset.checked_add(i64::from(delta)).and_then(|last| last.checked_add(1));
        if self.base_offset < 0 || end.is_none() {
            return Err(self.error(RecordFault::Offset { base: self.base_offset, delta }));
        }
        if self.count < 0 || i64::from(self.count) > i64::from(delta) + 1 {
            return Err(self.error(RecordFault::RecordCount(self.count)));
        }
        Ok(self)
    }

    /// Verifies the checksum of `batch`, which is the one that begins with this header.
    #[inline]
    pub(super) fn verify_crc(&self, batch: &[u8], crc: Crc) -> Result<(), RecordError> {
        if crc == Crc::Trust {
            return Ok(());
        }
        let computed = crc32c::crc32c(batch.get(CHECKED..).unwrap_or_default());
        if computed == self.crc {
            return Ok(());
        }
        Err(self.error(RecordFault::WrongCrc { stored: self.crc, computed }))
    }

    pub(super) fn codec(&self) -> u8 {
        (self.attributes & CODEC_MASK) as u8
    }

    pub(super) fn error(&self, fault: RecordFault) -> RecordError {
        RecordError::new(self.base_offset, self.last_offset, fault)
    }

    /// The offset of the first record with which the batch was written; compaction may have removed that record.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The offset of the last record with which the batch was written; compaction may have removed that record.
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// The next offset to read after this batch, whether or not its last record still exists.
    pub fn next_offset(&self) -> i64 {
        self.last_offset.saturating_add(1)
    }

    /// The difference of `last_offset` and `base_offset`.
    pub fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta
    }

    /// The size of the complete batch.
    pub fn size(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0).saturating_add(12)
    }

    /// The epoch of the leader that appended the batch; -1 if none did.
    pub fn partition_leader_epoch(&self) -> i32 {
        self.partition_leader_epoch
    }

    /// The base of the records' timestamps.
    pub fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// The largest timestamp in the batch; with LogAppendTime, that of every record.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// The source of the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The attribute bits, unchanged.
    pub fn attributes(&self) -> i16 {
        self.attributes
    }

    /// Whether the batch belongs to a transaction. A batch without a producer id does not, whatever its attributes are.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0 && self.has_producer_id()
    }

    /// Whether this is a control batch, which contains a marker of the broker instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether `base_timestamp` is the time from which the cleaner may remove the remaining contents of the batch (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// Id of the producer; -1 if it is not idempotent.
    pub fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// Epoch of the producer; -1 if it is not idempotent.
    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// Sequence number of the first record; -1 if the producer is not idempotent.
    pub fn base_sequence(&self) -> i32 {
        self.base_sequence
    }

    /// The number of records. Compaction can make it less than the number of offsets, and even 0.
    pub fn count(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(0)
    }
}

/// A v2 record batch with verified length and checksum. Cheap to clone: a slice of the Fetch response.
///
/// It dereferences to its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V2Batch {
    header: BatchHeader,
    compression: Compression,
    bytes: Bytes,
}

impl V2Batch {
    /// Splits the first batch off `buf`; `None` if the broker cut it short, which is allowed for the last one.
    ///
    /// After an error, `buf` is unchanged.
    pub fn split_from(buf: &mut Bytes, crc: Crc) -> Result<Option<Self>, RecordError> {
        match frame(buf)? {
            Framed::CutShort { .. } => Ok(None),
            Framed::Whole { magic: 2, size, .. } => {
                let batch = Self::verify(buf.slice(..size), crc)?;
                buf.advance(size);
                Ok(Some(batch))
            }
            Framed::Whole { base, magic, .. } => Err(unknown_magic(base, magic)),
        }
    }

    /// Verifies `bytes`, which is exactly one batch of magic 2.
    #[inline]
    pub(super) fn verify(bytes: Bytes, crc: Crc) -> Result<Self, RecordError> {
        let Some(header) = BatchHeader::parse(&bytes) else {
            return Err(RecordError::new(0, 0, RecordFault::BatchLength(0)));
        };
        header.verify_crc(&bytes, crc)?;
        let header = header.checked()?;
        let codec = header.codec();
        let compression =
            Compression::from_id(codec).ok_or_else(|| header.error(RecordFault::UnknownCodec(codec)))?;
        Ok(Self { header, compression, bytes })
    }

    /// The compression of the records.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The complete batch, unchanged.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records as received, compressed or not.
    pub(super) fn raw_records(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// The same without copying.
    #[inline]
    pub(super) fn into_raw_records(mut self) -> Bytes {
        self.bytes.advance(HEADER.min(self.bytes.len()));
        self.bytes
    }
}

impl std::ops::Deref for V2Batch {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

pub(super) fn unknown_magic(base: i64, magic: i8) -> RecordError {
    RecordError::new(base, base, RecordFault::Magic(magic))
}
