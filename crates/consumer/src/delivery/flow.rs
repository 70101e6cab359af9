//! One partition, from what comes of it to what is handed out.

mod buffer;

use std::{collections::VecDeque, sync::Arc};

use offtake_fetch::{Chunk, READER_OVERHEAD};
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::{Crc, Decompressor, RecordError};

use super::{
    chunk_batches::{OpenBatch, Upcoming},
    chunk_reader::ChunkReader,
    moved::Moved,
    prefetch::Prefetcher,
};
use crate::{
    batches::{Contents, RecordBatch},
    error::Error,
    gauges::PartitionGauges,
    inbox::Restart,
    passed::Passed,
    records::{PartitionRecords, RecordPosition},
};

#[derive(Debug)]
pub(crate) struct Flow {
    /// What others read of it. Whether it is paused is known there alone.
    pub(super) gauges: Arc<PartitionGauges>,
    pub(super) token: Token,
    /// The next offset to hand out, once it is known.
    pub(super) position: Option<Position>,
    /// Whether the application knows where it stands: it was handed something since the assignment, or has sought there.
    pub(super) is_known: bool,
    pub(super) state: State,
    pub(super) turn: Turn,
    /// The last output that has records of it.
    pub(super) last_output: u64,
    /// How many chunks are done with.
    pub(super) chunks_done: u64,
    open: Option<Open>,
    queue: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Reading,
    /// What is buffered was offered to be given back, to be read again from here: nothing is handed out before the engine has
    /// answered.
    GivingBack {
        from: Position,
    },
    /// An error stopped it; a seek starts it again.
    Stopped,
}

/// Where it stands among the partitions that have something buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Idle,
    Queued,
    /// It is paused.
    Parked,
}

/// What has come and is not being handed out yet, in order.
#[derive(Debug)]
enum Entry {
    Chunk(Box<ChunkReader>),
    /// The position goes on here.
    Reset {
        to: Position,
        restart: Restart,
    },
    /// The partition stops here.
    Failed(Error),
}

/// What is held for a chunk beside it, in a queue that has grown to twice its length, is charged with it.
const _: () =
    assert!(size_of::<ChunkReader>() - size_of::<Chunk>() + 2 * size_of::<Entry>() <= READER_OVERHEAD);

/// A chunk that is being handed out.
#[derive(Debug)]
struct Open {
    reader: Box<ChunkReader>,
    batch: Option<OpenBatch>,
    /// What cannot be read, before anything that follows.
    failed: Option<RecordError>,
}

/// What batches are opened with.
pub(crate) struct Opening<'a> {
    pub(super) crc: Crc,
    pub(super) decompressor: &'a mut Decompressor,
    pub(super) moved: &'a mut Moved,
}

/// What comes next of a partition.
pub(crate) enum NextOutput<P> {
    Part(P),
    /// Its position is reset.
    Reset,
    /// It stops, and says why.
    Failed,
    Nothing,
}

impl Flow {
    /// Just assigned.
    pub(super) fn new(gauges: Arc<PartitionGauges>) -> Self {
        Self {
            token: gauges.token(),
            gauges,
            position: None,
            is_known: false,
            state: State::Reading,
            turn: Turn::Idle,
            last_output: 0,
            chunks_done: 0,
            open: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn has_buffered(&self) -> bool {
        self.open.is_some() || !self.queue.is_empty()
    }

    /// Whether a chunk is begun.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a reset or an error comes next.
    pub(super) fn tells_next(&self) -> bool {
        self.open.is_none() && matches!(self.queue.front(), Some(Entry::Reset { .. } | Entry::Failed(_)))
    }

    /// Whether records wait that are not to be handed out now. What is no record is told all the same: a reset, an error.
    pub(super) fn is_held(&self) -> bool {
        let has_records_first = self.open.is_some() || matches!(self.queue.front(), Some(Entry::Chunk(_)));
        matches!(self.state, State::GivingBack { .. }) || self.gauges.is_paused() && has_records_first
    }

    /// The position is shown to others.
    pub(super) fn show(&self) {
        let offset = self.position.map(|position| position.offset);
        match self.is_known {
            true => self.gauges.set_known_position(self.token, offset),
            false => self.gauges.set_position(self.token, offset),
        }
    }

    // ---- what is handed out --------------------------------------------------------------------------------------

    /// The next run of at most `most` records, out of one batch. The position then stands behind them, and behind all that
    /// follows in what is buffered without a record.
    pub(super) fn next_part(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        opening: &mut Opening<'_>,
    ) -> Result<NextOutput<PartitionRecords>, RecordError> {
        loop {
            self.pass(partition, opening);
            let Some(open) = &mut self.open else { return Ok(self.next_without_record()) };
            let upcoming = match (open.batch.take(), open.failed) {
                (Some(batch), _) => Ok(Some(batch)),
                (None, Some(failed)) => return Err(failed),
                (None, None) => open.reader.next_opened(opening.crc, opening.decompressor),
            };
            let batch = match upcoming {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(failed) => {
                    open.failed = Some(failed);
                    continue;
                }
            };
            let leader_epoch = batch.leader_epoch;
            let (slice, failed, rest) = batch.take(most);
            let next = Position { offset: slice.next_offset(), epoch: leader_epoch };
            (open.batch, open.failed) = (rest, failed);
            if slice.is_empty() {
                continue;
            }
            return Ok(NextOutput::Part(PartitionRecords {
                partition: partition.clone(),
                token: self.token,
                leader_epoch,
                slice,
                next: self.hands_out(next, partition, opening),
                ledger: None,
            }));
        }
    }

    /// The next batch, or the rest of one that was begun, without opening it.
    pub(super) fn next_batch(
        &mut self,
        partition: &TopicPartition,
        opening: &mut Opening<'_>,
    ) -> Result<NextOutput<RecordBatch>, RecordError> {
        loop {
            self.pass(partition, opening);
            let Some(open) = &mut self.open else { return Ok(self.next_without_record()) };
            let upcoming = match (open.batch.take(), open.failed) {
                (Some(batch), _) => Ok(Some(Upcoming::Opened(batch))),
                (None, Some(failed)) => return Err(failed),
                (None, None) => open.reader.next(opening.crc),
            };
            let contents = match upcoming {
                Ok(Some(Upcoming::Opened(OpenBatch { payload, at, leader_epoch, .. }))) => {
                    Contents::Begun { payload, at, leader_epoch }
                }
                Ok(Some(Upcoming::Packed(batch))) => Contents::Packed(batch),
                Ok(None) => continue,
                Err(failed) => {
                    open.failed = Some(failed);
                    continue;
                }
            };
            let from = self.position.map_or(open.reader.chunk.fetch_offset, |position| position.offset);
            let token = self.token;
            let mut batch = RecordBatch {
                partition: partition.clone(),
                token,
                contents,
                from,
                next: Position::at(from),
                ledger: None,
            };
            batch.next = self.hands_out(batch.end(), partition, opening);
            return Ok(NextOutput::Part(batch));
        }
    }

    fn next_without_record<P>(&self) -> NextOutput<P> {
        match self.queue.front() {
            Some(Entry::Reset { .. }) => NextOutput::Reset,
            Some(Entry::Failed(_)) => NextOutput::Failed,
            Some(Entry::Chunk(_)) | None => NextOutput::Nothing,
        }
    }

    /// Something is handed out that ends here; where the position stands then.
    fn hands_out(
        &mut self,
        end: Position,
        partition: &TopicPartition,
        opening: &mut Opening<'_>,
    ) -> Position {
        self.position = Some(end);
        self.is_known = true;
        self.pass(partition, opening);
        self.position.unwrap_or(end)
    }

    /// Up to the next record, or the next reset or error.
    fn pass(&mut self, partition: &TopicPartition, opening: &mut Opening<'_>) {
        loop {
            let Some(open) = &mut self.open else {
                let Some(Entry::Chunk(_)) = self.queue.front() else { return };
                let Some(Entry::Chunk(reader)) = self.queue.pop_front() else { return };
                self.moves_to(partition, Position::at(reader.chunk.fetch_offset), opening.moved);
                self.open = Some(Open { reader, batch: None, failed: None });
                continue;
            };
            if open.has_more(opening.crc) {
                return;
            }
            // The chunk is done; it may end behind its last record.
            let Some(Open { reader, .. }) = self.open.take() else { return };
            let next = reader.chunk.next;
            if self.position.is_none_or(|position| position.offset < next.offset) {
                let from = self.position.map_or(next.offset, |position| position.offset);
                self.position = Some(next);
                let to = RecordPosition { partition: partition.clone(), token: self.token, next };
                opening.moved.over.push(Passed { from, to });
            }
            opening.moved.freed.push(reader.chunk);
            self.chunks_done = self.chunks_done.wrapping_add(1);
        }
    }

    /// The position goes to where the cluster has moved it.
    pub(super) fn reset(&mut self, partition: &TopicPartition, moved: &mut Moved) {
        if let Some(Entry::Reset { .. }) = self.queue.front()
            && let Some(Entry::Reset { to, restart }) = self.queue.pop_front()
        {
            if let Some(from) = self.position.map(|position| position.offset).filter(|from| *from < to.offset)
            {
                // There is nothing in between to be finished, or nothing that was asked for.
                let to = RecordPosition { partition: partition.clone(), token: self.token, next: to };
                moved.over.push(Passed { from, to });
            }
            self.moves_to(partition, to, moved);
            moved.restarts(partition, self.token, restart);
        }
    }

    /// The error that stops it here; there is nothing behind it.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        match self.queue.pop_front()? {
            Entry::Failed(error) => {
                self.state = State::Stopped;
                Some(error)
            }
            other => {
                self.queue.push_front(other);
                None
            }
        }
    }

    /// Whether the cluster has moved the partition back to this offset or before it, behind what is being handed out. That
    /// is then of a log that is gone, and is dropped: nothing of it is missed that does not come again.
    pub(super) fn was_cut_off(&self, at: i64) -> bool {
        self.cut_at(at).is_some()
    }

    fn cut_at(&self, at: i64) -> Option<usize> {
        self.queue.iter().position(|entry| matches!(entry, Entry::Reset { to, .. } if to.offset <= at))
    }

    pub(super) fn drop_cut_off(&mut self, at: i64, moved: &mut Moved) {
        let Some(cut) = self.cut_at(at) else { return };
        moved.freed.extend(self.open.take().map(|open| open.reader.chunk));
        moved.freed.extend(self.queue.drain(..cut).filter_map(Entry::into_chunk));
    }

    fn moves_to(&mut self, partition: &TopicPartition, to: Position, moved: &mut Moved) {
        if self.position.is_some_and(|position| position.offset > to.offset) {
            moved.goes_back(partition, self.token, to.offset);
        }
        if self.position.is_none_or(|position| position.offset != to.offset) {
            self.position = Some(to);
        }
    }

    // ---- what is opened ahead ------------------------------------------------------------------------------------

    /// Has what follows in the `nth` chunk opened ahead: the one that is being handed out, or one behind it. How many bytes
    /// that will take, by a first estimate; `None` if there is no such chunk.
    pub(super) fn submit(&mut self, nth: usize, crc: Crc, to: &mut Prefetcher) -> Option<usize> {
        let is_open = usize::from(self.open.is_some());
        let (reader, handed_out) = match (&mut self.open, nth) {
            (Some(open), 0) => {
                if open.failed.is_some() {
                    return None;
                }
                let begun = open.batch.as_ref().map(|batch| batch.payload.next_offset());
                (&mut open.reader, begun.or(self.position.map(|position| position.offset)))
            }
            _ => match self.queue.get_mut(nth.saturating_sub(is_open)) {
                Some(Entry::Chunk(reader)) => (reader, None),
                Some(Entry::Reset { .. } | Entry::Failed(_)) | None => return None,
            },
        };
        let is_under_way = reader.submit(handed_out, crc, to);
        Some(if is_under_way { reader.chunk.charge.bytes() } else { 0 })
    }

    /// Nothing of it is handed out for now: what is opened is dropped. No more of it is held then than was fetched, which is
    /// what is charged; an unpacked batch can be a thousand times as large.
    pub(super) fn drop_opened(&mut self) {
        let position = self.position.map(|position| position.offset);
        if let Some(open) = &mut self.open {
            open.batch = None;
            open.reader.drop_opened(position.unwrap_or(open.reader.chunk.fetch_offset));
        }
        for entry in &mut self.queue {
            if let Entry::Chunk(reader) = entry {
                reader.drop_opened(reader.chunk.fetch_offset);
            }
        }
    }

    /// Bytes of what is opened.
    #[cfg(test)]
    pub(super) fn unpacked(&self) -> usize {
        let begun = self.open.iter().filter_map(|open| open.batch.as_ref());
        let begun: usize = begun.map(|batch| batch.payload.as_bytes().len()).sum();
        let queued = self.queue.iter().filter_map(|entry| match entry {
            Entry::Chunk(reader) => Some(reader.as_ref()),
            Entry::Reset { .. } | Entry::Failed(_) => None,
        });
        let readers = self.open.iter().map(|open| open.reader.as_ref()).chain(queued);
        begun + readers.map(ChunkReader::open_bytes).sum::<usize>()
    }
}

impl Entry {
    fn into_chunk(self) -> Option<Chunk> {
        match self {
            Self::Chunk(reader) => Some(reader.chunk),
            Self::Reset { .. } | Self::Failed(_) => None,
        }
    }
}

impl Open {
    /// Passes over what is empty; whether a record may be left, or an error to be told.
    fn has_more(&mut self, crc: Crc) -> bool {
        self.batch.is_some() || self.failed.is_some() || self.reader.skip_empty(crc)
    }
}
