//! Records as the application reads them: views into the fetch response.

mod iter;

use std::{fmt, slice, sync::Arc};

use bytes::Bytes;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records as wire;
pub use offtake_wire::records::{Header, Headers, TimestampType};

pub use self::iter::{Iter, OwnedIter, PartitionIter};

use crate::{
    error::Result,
    event::Event,
    ledger::Ledger,
    ticket::{self, Ticket},
};

/// The records that one `poll` returned, from one or more partitions, in offset order within each partition.
///
/// It owns the memory that its records point into. Cheap to clone and to send to another thread.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub(crate) parts: Vec<PartitionRecords>,
    pub(crate) len: usize,
    pub(crate) resets: Vec<Event>,
}

impl Records {
    pub(crate) fn push(&mut self, part: PartitionRecords) {
        self.len = self.len.saturating_add(part.len());
        self.parts.push(part);
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none: the timeout passed, or [`Handle::wake`](crate::Handle::wake) was called.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Resets and truncations of positions that happened after the previous records and before these:
    /// [`Event::Reset`] and [`Event::Truncated`]. There may be some without any record.
    pub fn resets(&self) -> &[Event] {
        &self.resets
    }

    /// All records, partition by partition.
    pub fn iter(&self) -> Iter<'_> {
        Iter { parts: self.parts.iter(), current: None, left: self.len }
    }

    /// The runs of consecutive records, each of one batch, or of adjacent batches of one record. A partition may have several, in offset order.
    pub fn partitions(&self) -> slice::Iter<'_, PartitionRecords> {
        self.parts.iter()
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterates over records that outlive this, as if each was [detached](Record::detach).
impl IntoIterator for Records {
    type Item = OwnedRecord;
    type IntoIter = OwnedIter;

    fn into_iter(self) -> OwnedIter {
        OwnedIter { parts: self.parts.into_iter(), current: Vec::new().into_iter(), left: self.len }
    }
}

/// Consecutive records of one partition, out of one batch or out of adjacent batches of one record each.
#[derive(Clone, Debug)]
pub struct PartitionRecords {
    pub(crate) partition: TopicPartition,
    pub(crate) token: Token,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) slice: wire::RecordSlice,
    /// The position after these records, past compacted and control records too.
    pub(crate) next: Position,
    /// Tracks which of them are finished, if they are finished one by one.
    pub(crate) ledger: Option<Arc<Ledger>>,
}

impl PartitionRecords {
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

    /// The offset to commit when all of them are done.
    pub fn next_offset(&self) -> i64 {
        self.next.offset
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    /// Marks all of them as finished; see [`Record::finish`].
    pub fn finish(&self) -> Result<()> {
        let first = self.iter().next().map_or(self.next.offset, |record| record.offset());
        ticket::finish(&self.partition, self.ledger.as_deref(), first, self.next.offset)
    }

    /// The records, in offset order.
    pub fn iter(&self) -> PartitionIter<'_> {
        PartitionIter { of: self, rows: self.slice.rows().iter() }
    }
}

impl<'a> IntoIterator for &'a PartitionRecords {
    type Item = Record<'a>;
    type IntoIter = PartitionIter<'a>;

    fn into_iter(self) -> PartitionIter<'a> {
        self.iter()
    }
}

/// Iterates over records that outlive this, as if each was [detached](Record::detach).
impl IntoIterator for PartitionRecords {
    type Item = OwnedRecord;
    type IntoIter = OwnedIter;

    fn into_iter(self) -> OwnedIter {
        let left = self.len();
        OwnedIter { parts: vec![self].into_iter(), current: Vec::new().into_iter(), left }
    }
}

/// The size up to which a detached record is copied, so that it does not keep its batch in memory.
const SMALL: usize = 4096;

/// A record: a view into its batch. Nothing is copied until [`detach`](Self::detach).
#[derive(Clone, Copy)]
pub struct Record<'a> {
    of: &'a PartitionRecords,
    row: &'a wire::Row,
}

impl<'a> Record<'a> {
    #[inline]
    fn view(&self) -> wire::Record<'a> {
        self.of.slice.record(self.row)
    }

    /// The topic's name.
    pub fn topic(&self) -> &'a str {
        self.of.topic()
    }

    /// The partition's index.
    pub fn partition(&self) -> i32 {
        self.of.partition()
    }

    /// The topic and partition.
    pub fn topic_partition(&self) -> &'a TopicPartition {
        &self.of.partition
    }

    /// The record's offset.
    #[inline]
    pub fn offset(&self) -> i64 {
        self.view().offset()
    }

    /// Milliseconds since 1970, with the meaning of [`timestamp_type`](Self::timestamp_type); -1 if there is
    /// none.
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.view().timestamp()
    }

    /// What set the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        self.view().timestamp_type()
    }

    /// The key; `None` if it is null, which differs from empty.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view().key()
    }

    /// The value; `None` if it is null: a tombstone in a compacted topic.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view().value()
    }

    /// The headers, in order, with duplicates; parsed on access.
    #[inline]
    pub fn headers(&self) -> Headers<'a> {
        self.view().headers()
    }

    /// The leader epoch under which it was written, if the format records one.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.of.leader_epoch
    }

    /// Returns an owned record. Up to 4 KiB are copied, so that keeping a small record keeps nothing else in
    /// memory; a larger one shares the memory of its batch.
    pub fn detach(&self) -> OwnedRecord {
        let view = self.view();
        self.owning(if view.size() <= SMALL { view.copy() } else { view.detach() })
    }

    /// Returns an owned record that is always copied: for records that are kept for long, so that each holds
    /// only its own bytes.
    pub fn detach_copied(&self) -> OwnedRecord {
        self.owning(self.view().copy())
    }

    /// Returns an owned record that always shares the memory of its batch: for records that are dropped soon.
    /// Its batch stays in memory as long as it does, and an uncompressed batch keeps the whole fetch response
    /// (`fetch.max.bytes`).
    pub fn detach_shared(&self) -> OwnedRecord {
        self.owning(self.view().detach())
    }

    fn owning(&self, record: wire::OwnedRecord) -> OwnedRecord {
        OwnedRecord {
            partition: self.of.partition.clone(),
            token: self.of.token,
            leader_epoch: self.of.leader_epoch,
            record,
            ledger: self.of.ledger.clone(),
        }
    }

    /// Marks this record as finished, whatever became of those before it, if the consumer was built with
    /// [`Builder::finish_each`](crate::Builder::finish_each). It may be called in any order and from any
    /// thread; the longest unbroken run of finished records is committed. Calling it again changes nothing.
    ///
    /// # Errors
    /// `NotOwned`, with the reason, if the partition was given up or sought elsewhere since: the record is
    /// delivered again, to its new owner. `Misuse` for a consumer whose records are not finished one by one.
    pub fn finish(&self) -> Result<()> {
        let offset = self.offset();
        ticket::finish(&self.of.partition, self.of.ledger.as_deref(), offset, offset.saturating_add(1))
    }

    /// A ticket to [`finish`](Self::finish) the record later, without keeping the record.
    ///
    /// # Errors
    /// `Misuse` for a consumer whose records are not finished one by one.
    pub fn ticket(&self) -> Result<Ticket> {
        Ticket::new(&self.of.partition, self.of.ledger.as_ref(), self.offset())
    }

    pub(crate) fn token(&self) -> Token {
        self.of.token
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("partition", &self.of.partition).field("record", &self.view()).finish()
    }
}

/// A record that outlives its [`Records`]: see [`Record::detach`].
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    partition: TopicPartition,
    token: Token,
    leader_epoch: Option<i32>,
    record: wire::OwnedRecord,
    ledger: Option<Arc<Ledger>>,
}

impl OwnedRecord {
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

    /// The record's offset.
    pub fn offset(&self) -> i64 {
        self.record.offset()
    }

    /// Milliseconds since 1970; -1 if there is none.
    pub fn timestamp(&self) -> i64 {
        self.record.timestamp()
    }

    /// What set the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        self.record.timestamp_type()
    }

    /// The key; `None` if it is null.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key().map(AsRef::as_ref)
    }

    /// The value; `None` if it is null.
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value().map(AsRef::as_ref)
    }

    /// The key as shared bytes, which can be cloned without a copy.
    pub fn key_bytes(&self) -> Option<&Bytes> {
        self.record.key()
    }

    /// The value as shared bytes, which can be cloned without a copy.
    pub fn value_bytes(&self) -> Option<&Bytes> {
        self.record.value()
    }

    /// The headers, in order, with duplicates.
    pub fn headers(&self) -> Headers<'_> {
        self.record.headers()
    }

    /// The leader epoch under which it was written, if the format records one.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// Marks this record as finished; see [`Record::finish`].
    pub fn finish(&self) -> Result<()> {
        let offset = self.offset();
        ticket::finish(&self.partition, self.ledger.as_deref(), offset, offset.saturating_add(1))
    }

    /// A ticket to finish the record later; see [`Record::ticket`].
    pub fn ticket(&self) -> Result<Ticket> {
        Ticket::new(&self.partition, self.ledger.as_ref(), self.offset())
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }
}

/// A record, or several, with its position and the ownership under which it was read: for
/// [`Consumer::store`](crate::Consumer::store), which marks everything up to it as finished.
/// ([`Record::finish`] finishes one record alone.)
pub trait Delivered {
    #[doc(hidden)]
    fn record_position(&self) -> RecordPosition;
}

/// The position of a record, and the ownership under which it was delivered.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct RecordPosition {
    pub(crate) partition: TopicPartition,
    pub(crate) token: Token,
    pub(crate) next: Position,
}

impl Delivered for Record<'_> {
    fn record_position(&self) -> RecordPosition {
        RecordPosition {
            partition: self.of.partition.clone(),
            token: self.token(),
            next: Position { offset: self.offset().saturating_add(1), epoch: self.leader_epoch() },
        }
    }
}

impl Delivered for OwnedRecord {
    fn record_position(&self) -> RecordPosition {
        RecordPosition {
            partition: self.partition.clone(),
            token: self.token(),
            next: Position { offset: self.offset().saturating_add(1), epoch: self.leader_epoch },
        }
    }
}

impl Delivered for PartitionRecords {
    fn record_position(&self) -> RecordPosition {
        RecordPosition { partition: self.partition.clone(), token: self.token, next: self.next }
    }
}

#[cfg(test)]
mod tests;
