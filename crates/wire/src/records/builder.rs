//! Writes v2 batches, for producing and for tests; the latter may need invalid ones.

use bytes::Bytes;
use thiserror::Error;

use super::batch::{CONTROL, DELETE_HORIZON, HEADER, LOG_APPEND_TIME, TRANSACTIONAL};
use super::compression::{CodecError, Compression, compress};
use super::encode::RecordToWrite;
use super::header::HeaderToWrite;

/// Records that do not fit into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BuildError {
    /// A length or count beyond the limits of the format.
    #[error("records exceed what one batch can hold")]
    TooLarge,
    /// The codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Builds one v2 batch.
///
/// ```
/// use offtake_wire::records::{BatchBuilder, Compression};
///
/// let mut batch = BatchBuilder::new(0).compression(Compression::Lz4);
/// batch.push(1_700_000_000_000, Some(b"key"), Some(b"value"), &[("trace", Some(b"7"))]);
/// let bytes = batch.build()?;
/// # assert_eq!(&bytes[..8], &[0; 8]);
/// # Ok::<(), offtake_wire::records::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    compression: Compression,
    flags: i16,
    base_timestamp: Option<i64>,
    max_timestamp: Option<i64>,
    log_append_time: Option<i64>,
    producer: (i64, i16, i32),
    records: Vec<u8>,
    count: i32,
    next_delta: i32,
    last_offset_delta: Option<i32>,
    claimed_count: Option<i32>,
    too_large: bool,
}

impl BatchBuilder {
    /// An empty batch: uncompressed, with the records' own timestamps, and without a producer id.
    pub fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            leader_epoch: -1,
            compression: Compression::None,
            flags: 0,
            base_timestamp: None,
            max_timestamp: None,
            log_append_time: None,
            producer: (-1, -1, -1),
            records: Vec::new(),
            count: 0,
            next_delta: 0,
            last_offset_delta: None,
            claimed_count: None,
            too_large: false,
        }
    }

    /// Sets the compression of the records.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets the leader epoch, which is normally set by a broker.
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Sets LogAppendTime: one timestamp for all records, which internally keep their own.
    pub fn log_append_time(mut self, timestamp: i64) -> Self {
        self.log_append_time = Some(timestamp);
        self
    }

    /// Sets the base of the timestamps, instead of the first record's.
    pub fn base_timestamp(mut self, timestamp: i64) -> Self {
        self.base_timestamp = Some(timestamp);
        self
    }

    /// Sets the base timestamp to a delete horizon (KIP-534).
    pub fn delete_horizon(mut self, timestamp: i64) -> Self {
        self.flags |= DELETE_HORIZON;
        self.base_timestamp(timestamp)
    }

    /// Sets an idempotent producer's id, epoch and first sequence.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.flags |= TRANSACTIONAL;
        self
    }

    /// Marks it as a control batch.
    pub fn control(mut self) -> Self {
        self.flags |= CONTROL;
        self
    }

    /// Sets the last offset delta instead of the last record's, as if the tail was compacted away.
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// Sets a wrong record count, for tests of readers.
    pub fn claim_count(mut self, count: i32) -> Self {
        self.claimed_count = Some(count);
        self
    }

    /// Skips this many offsets before the next record, as compaction does.
    pub fn gap(&mut self, offsets: i32) -> &mut Self {
        self.next_delta = self.next_delta.wrapping_add(offsets);
        self
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        let headers = headers.iter().map(|(key, value)| (key.as_bytes(), *value));
        self.push_at(self.next_delta, timestamp, key, value, headers)
    }

    /// Adds a record at any offset delta, with raw header keys.
    pub fn push_at<'a>(
        &mut self,
        delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    ) -> &mut Self {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(Some(timestamp));
        let timestamp_delta = timestamp.wrapping_sub(base);
        let record = RecordToWrite { offset_delta: delta, timestamp_delta, key, value, headers };
        match record.len() {
            Some(len) => record.put(&mut self.records, len),
            None => self.too_large = true,
        }
        self.push_encoded(&[], 1);
        self.too_large |= self.count == i32::MAX;
        self.next_delta = delta.wrapping_add(1);
        self
    }

    /// Adds raw bytes in place of `count` records, for tests of readers.
    pub fn push_encoded(&mut self, bytes: &[u8], count: i32) -> &mut Self {
        self.records.extend_from_slice(bytes);
        self.count = self.count.saturating_add(count);
        self.next_delta = self.next_delta.wrapping_add(count);
        self
    }

    /// The size of the records before compression, in bytes.
    pub fn uncompressed_size(&self) -> usize {
        self.records.len()
    }

    /// The number of records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The finished batch, compressed and with its checksum.
    pub fn build(&self) -> Result<Bytes, BuildError> {
        if self.too_large {
            return Err(BuildError::TooLarge);
        }
        let append_time = if self.log_append_time.is_some() { LOG_APPEND_TIME } else { 0 };
        let header = HeaderToWrite {
            base_offset: self.base_offset,
            leader_epoch: self.leader_epoch,
            attributes: self.flags | append_time,
            last_offset_delta: self.last_offset_delta.unwrap_or(self.next_delta.wrapping_sub(1)),
            base_timestamp: self.base_timestamp.unwrap_or(-1),
            max_timestamp: self.log_append_time.or(self.max_timestamp).unwrap_or(-1),
            producer: self.producer,
            count: self.claimed_count.unwrap_or(self.count),
        };
        // A batch without records is written without a codec, as by the cleaner.
        let codec = if self.records.is_empty() { Compression::None } else { self.compression };
        let mut out = Vec::with_capacity(HEADER.saturating_add(self.records.len()));
        out.resize(HEADER, 0);
        compress(codec, &self.records, &mut out)?;
        header.write(codec, &mut out)?;
        Ok(out.into())
    }
}
