//! [`Chunk`]: the batches of one partition from one response.

use std::{collections::VecDeque, fmt, vec};

use bytes::Bytes;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::{Batch, Batches, Crc, Decompressor, Payload, RecordError};

use crate::Charge;

/// Records of one partition, in offset order, without a hole or a repeat after the chunk before it.
///
/// Only the headers of the batches have been read. Checksums and compression are left to the reader.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The partition of the records.
    pub partition: TopicPartition,
    /// The ownership under which they were requested.
    pub token: Token,
    /// The number of the last [`start`](crate::Fetcher::start) of the partition.
    pub start_id: u64,
    /// Records below this offset are to be skipped: brokers send whole batches, even if the fetch began
    /// inside one.
    pub fetch_offset: i64,
    /// The position after the chunk. A chunk without batches moves the position too: past aborted
    /// transactions, control batches or compacted offsets.
    pub next: Position,
    /// The records.
    pub batches: VisibleBatches,
    /// The memory that it holds until it is [released](crate::Fetcher::release).
    pub charge: Charge,
}

/// The batches of a chunk that the application may see: no control batches, and under read_committed none of
/// aborted transactions. Cheap to clone, because they are slices of the fetch response.
#[derive(Clone, Default)]
pub struct VisibleBatches {
    /// Adjacent batches share a segment, so that a topic of small batches needs no memory per batch.
    segments: Vec<Bytes>,
}

impl VisibleBatches {
    pub(crate) fn push(&mut self, segment: Bytes) {
        if segment.is_empty() {
            return;
        }
        if self.segments.is_empty() {
            self.segments.reserve_exact(1); // most chunks have one
        }
        self.segments.push(segment);
    }

    /// Whether there are no visible batches.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Cuts them into batches, verifying each. After an error there are no more.
    pub fn read(self, crc: Crc) -> ReadBatches {
        ReadBatches { segments: self.segments.into_iter(), crc, batches: None, peeked: None }
    }
}

/// Prints the size only: the contents of records are confidential.
impl fmt::Debug for VisibleBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.segments.iter().map(Bytes::len).fold(0, usize::saturating_add);
        f.debug_struct("VisibleBatches")
            .field("segments", &self.segments.len())
            .field("bytes", &bytes)
            .finish()
    }
}

/// Collects slices of whole batches, in offset order.
impl FromIterator<Bytes> for VisibleBatches {
    fn from_iter<I: IntoIterator<Item = Bytes>>(segments: I) -> Self {
        let mut batches = Self::default();
        segments.into_iter().for_each(|segment| batches.push(segment));
        batches
    }
}

/// The batches of a chunk, one by one.
#[derive(Debug)]
pub struct ReadBatches {
    segments: vec::IntoIter<Bytes>,
    crc: Crc,
    batches: Option<Batches>,
    /// The next item, if it was looked at.
    peeked: Option<Option<Result<Batch, RecordError>>>,
}

impl ReadBatches {
    /// The next item, which stays the next one.
    #[inline]
    pub fn peek(&mut self) -> Option<&Result<Batch, RecordError>> {
        if self.peeked.is_none() {
            self.peeked = Some(self.read_next());
        }
        self.peeked.as_ref().and_then(Option::as_ref)
    }

    /// The next batch, opened, with its leader epoch. If it has one record, those behind it that are like it are
    /// [joined](Batches::join) to it.
    #[inline]
    pub fn next_opened(
        &mut self,
        decompressor: &mut Decompressor,
    ) -> Option<Result<(Payload, Option<i32>), RecordError>> {
        let batch = match self.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let leader_epoch = batch.leader_epoch();
        let joined = self.batches.as_mut().and_then(|batches| batches.join(&batch));
        let payload = joined.map_or_else(|| batch.into_payload(decompressor), Ok);
        Some(payload.map(|payload| (payload, leader_epoch)))
    }

    fn read_next(&mut self) -> Option<Result<Batch, RecordError>> {
        loop {
            if let Some(next) = self.batches.as_mut().and_then(Batches::next) {
                if next.is_err() {
                    self.segments = Vec::new().into_iter();
                    self.batches = None;
                }
                return Some(next);
            }
            self.batches = Some(Batches::new(self.segments.next()?, self.crc));
        }
    }
}

impl Iterator for ReadBatches {
    type Item = Result<Batch, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.peeked.take().unwrap_or_else(|| self.read_next())
    }
}

impl std::iter::FusedIterator for ReadBatches {}

/// A chunk that waits to be taken.
#[derive(Debug)]
pub(crate) struct QueuedChunk {
    /// Its place in the order of arrival.
    pub(crate) arrival: u64,
    /// The position before it, to go back to if it is dropped.
    pub(crate) from: Position,
    pub(crate) chunk: Chunk,
}

/// The chunks of one partition that wait to be taken, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    queued: VecDeque<QueuedChunk>,
}

impl Queue {
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.queued.iter().map(|queued| queued.arrival)
    }

    /// The position before the oldest chunk.
    pub(crate) fn front(&self) -> Option<Position> {
        self.queued.front().map(|queued| queued.from)
    }

    /// The newest chunk.
    pub(crate) fn newest(&mut self) -> Option<&mut Chunk> {
        self.queued.back_mut().map(|queued| &mut queued.chunk)
    }

    pub(crate) fn push(&mut self, queued: QueuedChunk) {
        self.queued.push_back(queued);
    }

    pub(crate) fn take_oldest(&mut self) -> Option<QueuedChunk> {
        self.queued.pop_front()
    }

    pub(crate) fn drop_newest(&mut self) -> Option<QueuedChunk> {
        self.queued.pop_back()
    }

    /// Drops the newest if it is this chunk, or arrived after it.
    pub(crate) fn drop_newest_since(&mut self, arrival: u64) -> Option<QueuedChunk> {
        self.queued.back().filter(|queued| queued.arrival >= arrival)?;
        self.drop_newest()
    }

    /// Drops the newest if it reaches beyond `offset`.
    pub(crate) fn drop_newest_beyond(&mut self, offset: i64) -> Option<QueuedChunk> {
        self.queued.back().filter(|queued| queued.chunk.next.offset > offset)?;
        self.drop_newest()
    }
}
