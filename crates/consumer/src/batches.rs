//! Whole batches, as they came: for those who unpack them elsewhere.

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

/// Opens batches ([`RecordBatch::open`]). It keeps buffers and the state of the codecs to use them again, so each thread has one of its own.
#[derive(Debug, Default)]
pub struct Decompressor(wire::Decompressor);

impl Decompressor {
    /// The default limit of an opened batch: 64 MiB.
    pub const DEFAULT_LIMIT: usize = wire::Decompressor::DEFAULT_LIMIT;

    /// The largest limit: 2 GiB less one byte, the longest batch that the format allows.
    pub const MAX_LIMIT: usize = wire::Decompressor::MAX_LIMIT;

    /// With the default limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// No batch may inflate to more than `limit` bytes, nor to more than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn with_limit(limit: usize) -> Self {
        Self(wire::Decompressor::with_limit(limit))
    }

    /// Keeps up to so many bytes of buffers instead of 4 MiB: for an application that holds many opened batches at a time.
    #[must_use]
    pub fn keeping(self, bytes: usize) -> Self {
        Self(self.0.keeping(bytes))
    }

    /// The limit, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit()
    }
}

/// What one [`poll_batches`](crate::Consumer::poll_batches) handed out: batches of one or more partitions, each partition's
/// in offset order.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    pub(crate) parts: Vec<RecordBatch>,
    pub(crate) resets: Vec<Event>,
}

impl Batches {
    /// How many batches.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are none: the timeout passed, or [`Handle::wake`](crate::Handle::wake) was called.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Resets and truncations of positions ahead of these batches; see [`Records::resets`](crate::Records::resets).
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

/// A batch of one partition's records, its checksum compared, packed as it came.
///
/// Knows nothing of the consumer, and may be [opened](Self::open) on any thread. It shares memory with all that one answer
/// brought (`fetch.max.bytes`), which stays as long as it does.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    pub(crate) partition: TopicPartition,
    pub(crate) token: Token,
    pub(crate) contents: Contents,
    /// Where reading stood before it.
    pub(crate) from: i64,
    /// Where it goes on after it: past compacted and control records too.
    pub(crate) next: Position,
    pub(crate) ledger: Option<Arc<Ledger>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Contents {
    Packed(Batch),
    /// Its first records were handed out by a `poll`.
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

    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// No record of it has a lower offset.
    pub fn first_offset(&self) -> i64 {
        self.from
    }

    /// The offset to commit when all of it is done.
    pub fn next_offset(&self) -> i64 {
        self.next.offset
    }

    /// The leader epoch under which it was written, where the format has it.
    pub fn leader_epoch(&self) -> Option<i32> {
        match &self.contents {
            Contents::Packed(batch) => batch.leader_epoch(),
            Contents::Begun { leader_epoch, .. } => *leader_epoch,
        }
    }

    /// Its records, as far as they have not been handed out. They share the batch's memory, or where it was packed what it
    /// was unpacked into; the decompressor keeps that to use it again. So each thread has one, and opens many batches with it.
    ///
    /// # Errors
    /// `Corrupt` if the batch is not what its producer should have written, though its checksum is right; `TooLarge` if it
    /// unpacks to more than the decompressor's limit; `MissingCodec` if this program was built without its codec. It tells the offsets:
    /// the consumer has gone on behind them, and a commit would pass over them. Seek to [`first_offset`](Self::first_offset) to stay.
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

    /// Says that all of its records are finished; see [`Record::finish`](crate::Record::finish).
    ///
    /// # Errors
    /// As of [`Record::finish`](crate::Record::finish).
    pub fn finish(&self) -> Result<()> {
        ticket::finish(&self.partition, self.ledger.as_deref(), self.from, self.next.offset)
    }

    /// Behind its last record, and before what follows without one.
    pub(crate) fn end(&self) -> Position {
        let offset = match &self.contents {
            Contents::Packed(batch) => batch.next_offset(),
            Contents::Begun { payload, .. } => payload.next_offset(),
        };
        Position { offset, epoch: self.leader_epoch() }
    }

    /// How many records it says it has; at least one.
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
