//! What goes to the application: the batches that one answer brought for one partition.

use std::{collections::VecDeque, vec};

use bytes::Bytes;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::{Batch, Batches, Crc, RecordError};

use crate::Charge;

/// Records of one partition, in offset order, with neither hole nor repeat towards the chunk before it.
///
/// Only the headers of the batches have been looked at. Whoever reads them checks the checksums and unpacks.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Whose records they are.
    pub partition: TopicPartition,
    /// The ownership that they were asked for under.
    pub token: Token,
    /// What [`Fetcher::start`](crate::Fetcher::start) said when reading last began, or began again elsewhere.
    pub run: u64,
    /// Records below it are not for the application: a batch is sent whole, also where reading began inside it.
    pub fetch_offset: i64,
    /// Where reading stands when all of it has been read. With no batches it still moves the position: what lay between
    /// was aborted, or the broker's own, or has been compacted away.
    pub next: Position,
    /// The records.
    pub batches: VisibleBatches,
    /// What it holds in the budget until it is [released](crate::Fetcher::release).
    pub charge: Charge,
}

/// The batches of a chunk that the application may see: no control batches, and under read_committed none of aborted
/// transactions. Cheap to clone: slices of the fetch response.
#[derive(Clone, Debug, Default)]
pub struct VisibleBatches {
    /// Batches that stand end to end share a segment, so that a topic of small batches costs nothing a batch.
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

    /// Whether there is nothing to see.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Cuts them into batches, verifying each. After an error nothing more comes.
    pub fn read(self, crc: Crc) -> ReadBatches {
        ReadBatches { segments: self.segments.into_iter(), crc, batches: None }
    }
}

/// From slices of whole batches, in offset order.
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
}

impl Iterator for ReadBatches {
    type Item = Result<Batch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
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

impl std::iter::FusedIterator for ReadBatches {}

/// A chunk that waits to be taken.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Its place in the order of arrival.
    pub(crate) arrival: u64,
    /// Where reading stood before it: what to go back to if it is dropped.
    pub(crate) from: Position,
    pub(crate) chunk: Chunk,
}

/// The chunks of one partition that wait to be taken, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
}

impl Queue {
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.waiting.iter().map(|waiting| waiting.arrival)
    }

    /// Where the oldest begins.
    pub(crate) fn front(&self) -> Option<Position> {
        self.waiting.front().map(|waiting| waiting.from)
    }

    /// The newest.
    pub(crate) fn newest(&mut self) -> Option<&mut Chunk> {
        self.waiting.back_mut().map(|waiting| &mut waiting.chunk)
    }

    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    pub(crate) fn take_oldest(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    pub(crate) fn drop_newest(&mut self) -> Option<Waiting> {
        self.waiting.pop_back()
    }

    /// Drops the newest if it is this chunk, or arrived after it.
    pub(crate) fn drop_newest_since(&mut self, arrival: u64) -> Option<Waiting> {
        self.waiting.back().filter(|waiting| waiting.arrival >= arrival)?;
        self.drop_newest()
    }

    /// Drops the newest if it reaches beyond `offset`.
    pub(crate) fn drop_newest_beyond(&mut self, offset: i64) -> Option<Waiting> {
        self.waiting.back().filter(|waiting| waiting.chunk.next.offset > offset)?;
        self.drop_newest()
    }
}
