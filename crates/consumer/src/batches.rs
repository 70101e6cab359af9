//! Whole batches, still compressed, for applications that decompress them on other threads.

use std::sync::Arc;

use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::{self as wire, Batch, Payload, RecordError};

use crate::{
    error::{Error, Result},
    event::Event,
    ledger::Ledger,
    records::{Delivered, PartitionRecords, RecordPosition},
    ticket,
    unreadable::error_kind,
};

/// Opens batches ([`RecordBatch::open`]). It keeps buffers and codec state for reuse, so use one per thread.
#[derive(Debug, Default)]
pub struct Decompressor(wire::Decompressor);

impl Decompressor {
    /// The default limit of an opened batch: 64 MiB.
    pub const DEFAULT_LIMIT: usize = wire::Decompressor::DEFAULT_LIMIT;

    /// The largest limit: 2 GiB less one byte, the longest batch that the format allows.
    pub const MAX_LIMIT: usize = wire::Decompressor::MAX_LIMIT;

    /// Creates a decompressor with the default limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits each decompressed batch to `limit` bytes, and to at most [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn with_limit(limit: usize) -> Self {
        Self(wire::Decompressor::with_limit(limit))
    }

    /// Keeps up to `bytes` bytes of buffers instead of 4 MiB: for an application that holds many opened
    /// batches at a time.
    #[must_use]
    pub fn with_buffer_limit(self, bytes: usize) -> Self {
        Self(self.0.with_buffer_limit(bytes))
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit()
    }
}

/// The batches that one [`poll_batches`](crate::Consumer::poll_batches) returned, from one or more
/// partitions, in offset order within each partition.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    pub(crate) parts: Vec<RecordBatch>,
    pub(crate) resets: Vec<Event>,
}

impl Batches {
    /// The number of batches.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none: the timeout passed, or [`Handle::wake`](crate::Handle::wake) was called.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Resets and truncations of positions that happened before these batches; see
    /// [`Records::resets`](crate::Records::resets).
    pub fn resets(&self) -> &[Event] {
        &self.resets
    }

    /// The batches.
    pub fn iter(&self) -> std::slice::Iter<'_, RecordBatch> {
        self.parts.iter()
    }
}

impl IntoIterator for Batches {
    type Item = RecordBatch;
    type IntoIter = std::vec::IntoIter<RecordBatch>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts.into_iter()
    }
}

impl<'a> IntoIterator for &'a Batches {
    type Item = &'a RecordBatch;
    type IntoIter = std::slice::Iter<'a, RecordBatch>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A batch of one partition's records, with its checksum verified, still compressed as the broker sent it.
///
/// It is independent of the consumer and may be [opened](Self::open) on any thread. It shares memory with the
/// whole fetch response (`fetch.max.bytes`), which stays allocated as long as the batch does.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    pub(crate) partition: TopicPartition,
    pub(crate) token: Token,
    pub(crate) contents: Contents,
    /// The position before this batch.
    pub(crate) from: i64,
    /// The position after this batch, past compacted and control records too.
    pub(crate) next: Position,
    pub(crate) ledger: Option<Arc<Ledger>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Contents {
    Packed(Batch),
    /// A `poll` has already handed out its first records.
    Begun {
        payload: Payload,
        at: wire::PayloadPosition,
        leader_epoch: Option<i32>,
    },
}

impl RecordBatch {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.partition.topic.as_str()
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.partition.partition
    }

    /// The topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// A lower bound: no record in the batch has a lower offset.
    pub fn first_offset(&self) -> i64 {
        self.from
    }

    /// The offset to commit when all records of the batch are done.
    pub fn next_offset(&self) -> i64 {
        self.next.offset
    }

    /// The leader epoch under which the batch was written, if its format records one.
    pub fn leader_epoch(&self) -> Option<i32> {
        match &self.contents {
            Contents::Packed(batch) => batch.leader_epoch(),
            Contents::Begun { leader_epoch, .. } => *leader_epoch,
        }
    }

    /// The records that have not been handed out yet. They share the batch's memory or, if it was compressed,
    /// the buffer that it was decompressed into. The decompressor reuses that buffer, so keep one
    /// decompressor per thread and open many batches with it.
    ///
    /// # Errors
    /// `Corrupt` if the batch is malformed although its checksum is right; `TooLarge` if it decompresses to
    /// more than the decompressor's limit; `MissingCodec` if this program was built without its codec. The
    /// error contains the offsets: the consumer's position is already past the batch, and a commit would skip
    /// it. To stay, seek to [`first_offset`](Self::first_offset).
    pub fn open(&self, decompressor: &mut Decompressor) -> Result<PartitionRecords> {
        let slice = self.slice(&mut decompressor.0).map_err(|error| self.unreadable(&error))?;
        if let Some(ledger) = &self.ledger {
            ledger.skip_holes(self.from, slice.iter().map(|record| record.offset()), self.end().offset);
        }
        Ok(PartitionRecords {
            partition: self.partition.clone(),
            token: self.token,
            leader_epoch: self.leader_epoch(),
            slice,
            next: self.next,
            ledger: self.ledger.clone(),
        })
    }

    fn slice(&self, decompressor: &mut wire::Decompressor) -> Result<wire::RecordSlice, RecordError> {
        let opened;
        let (payload, mut at) = match &self.contents {
            Contents::Packed(batch) => {
                opened = batch.open(decompressor)?;
                let mut records = opened.records();
                // A fetch may begin in the middle of a batch (FAILURES J8).
                records.skip_to(self.from)?;
                (&opened, records.at())
            }
            Contents::Begun { payload, at, .. } => (payload, *at),
        };
        match payload.take(&mut at, usize::MAX) {
            (slice, None) => Ok(slice),
            (_, Some(error)) => Err(error),
        }
    }

    /// Marks all of its records as finished; see [`Record::finish`](crate::Record::finish).
    ///
    /// # Errors
    /// As for [`Record::finish`](crate::Record::finish).
    pub fn finish(&self) -> Result<()> {
        ticket::finish(&self.partition, self.ledger.as_deref(), self.from, self.next.offset)
    }

    /// The position after its last record, before any following offsets that have no record.
    pub(crate) fn end(&self) -> Position {
        let offset = match &self.contents {
            Contents::Packed(batch) => batch.next_offset(),
            Contents::Begun { payload, .. } => payload.next_offset(),
        };
        Position { offset, epoch: self.leader_epoch() }
    }

    /// The number of records according to its header; at least one.
    pub(crate) fn count(&self) -> usize {
        let count = match &self.contents {
            Contents::Packed(batch) => batch.header().map_or(1, wire::BatchHeader::count),
            Contents::Begun { payload, at, .. } => payload.count_from(*at),
        };
        usize::try_from(count).unwrap_or(usize::MAX).max(1)
    }

    fn unreadable(&self, error: &RecordError) -> Error {
        let (first, last) = (error.first_offset().max(self.from), error.last_offset());
        let message = format!(
            "{}: the batch with the offsets {first} to {last} cannot be read: {error}; seek to {} to stay before it, \
             or go on without it",
            self.partition, self.from
        );
        Error::new(error_kind(error), message).with_partition(self.partition.clone())
    }
}

impl Delivered for RecordBatch {
    fn record_position(&self) -> RecordPosition {
        RecordPosition { partition: self.partition.clone(), token: self.token, next: self.next }
    }
}
