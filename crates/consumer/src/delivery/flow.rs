//! One partition, from the chunks that arrive to the records that are handed out.

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
    /// What others may read of the partition. Whether it is paused is stored only there.
    pub(super) gauges: Arc<PartitionGauges>,
    pub(super) token: Token,
    /// The next offset to hand out, once it is known.
    pub(super) position: Option<Position>,
    /// Whether the application knows its position: it received records since the assignment, or sought there.
    pub(super) is_known: bool,
    pub(super) state: State,
    pub(super) turn: Turn,
    /// The last output that contains its records.
    pub(super) last_output: u64,
    /// The number of chunks that have been completely read.
    pub(super) chunks_done: u64,
    open: Option<Open>,
    queue: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Reading,
    /// The buffered records were offered back to the engine, to be fetched again from here: nothing is handed
    /// out before the engine has answered.
    GivingBack {
        from: Position,
    },
    /// Stopped by an error; a seek starts it again.
    Stopped,
}

/// Its place in the queue of partitions that have buffered entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Idle,
    Queued,
    /// It is paused.
    Parked,
}

/// An entry that has arrived and is not being handed out yet, in order.
#[derive(Debug)]
enum Entry {
    Chunk(Box<ChunkReader>),
    /// The position moves here.
    Reset {
        to: Position,
        restart: Restart,
    },
    /// The partition stops here.
    Failed(Error),
}

/// The memory held beside a chunk, in a queue that has grown to twice its length, is charged with the chunk.
const _: () =
    assert!(size_of::<ChunkReader>() - size_of::<Chunk>() + 2 * size_of::<Entry>() <= READER_OVERHEAD);

/// A chunk that is being handed out.
#[derive(Debug)]
struct Open {
    reader: Box<ChunkReader>,
    batch: Option<OpenBatch>,
    /// The unreadable record or batch, reported before anything that follows.
    failed: Option<RecordError>,
}

/// The parameters for opening batches.
pub(crate) struct Opening<'a> {
    pub(super) crc: Crc,
    pub(super) decompressor: &'a mut Decompressor,
    pub(super) moved: &'a mut Moved,
}

/// The next output of a partition.
pub(crate) enum NextOutput<P> {
    Part(P),
    /// Its position is reset.
    Reset,
    /// It stops with an error.
    Failed,
    Nothing,
}

impl Flow {
    /// A partition that was just assigned.
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

    /// Whether a chunk has been begun.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a reset or an error comes next.
    pub(super) fn has_event_next(&self) -> bool {
        self.open.is_none() && matches!(self.queue.front(), Some(Entry::Reset { .. } | Entry::Failed(_)))
    }

    /// Whether its next records must not be handed out now. Resets and errors are reported even so.
    pub(super) fn is_held(&self) -> bool {
        let has_records_first = self.open.is_some() || matches!(self.queue.front(), Some(Entry::Chunk(_)));
        matches!(self.state, State::GivingBack { .. }) || self.gauges.is_paused() && has_records_first
    }

    /// Publishes the position in the gauges.
    pub(super) fn show(&self) {
        let offset = self.position.map(|position| position.offset);
        match self.is_known {
            true => self.gauges.set_known_position(self.token, offset),
            false => self.gauges.set_position(self.token, offset),
        }
    }

    // ---- handing out -------------------------------------------------------------------------------------------

    /// The next run of at most `most` records, out of what was opened together. The position then is after them, and after
    /// all buffered offsets without a record that follow them.
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
                // Each of these batches is handed out by itself, so that one that cannot be opened takes no other with it.
                Ok(Some(Upcoming::Opened(batch))) if batch.payload.is_joined() => {
                    let position = self.position.map(|position| position.offset);
                    open.reader.drop_opened(position.unwrap_or(open.reader.chunk.fetch_offset));
                    continue;
                }
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

    /// Moves the position for a part that ends here. Returns the new position.
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

    /// Moves up to the next record, reset or error.
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
            // The chunk has been read; it may end after its last record.
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

    /// Moves the position to where the cluster has moved it.
    pub(super) fn reset(&mut self, partition: &TopicPartition, moved: &mut Moved) {
        if let Some(Entry::Reset { .. }) = self.queue.front()
            && let Some(Entry::Reset { to, restart }) = self.queue.pop_front()
        {
            if let Some(from) = self.position.map(|position| position.offset).filter(|from| *from < to.offset)
            {
                // There are no offsets in between to finish, or none that were requested.
                let to = RecordPosition { partition: partition.clone(), token: self.token, next: to };
                moved.over.push(Passed { from, to });
            }
            self.moves_to(partition, to, moved);
            moved.restarts(partition, self.token, restart);
        }
    }

    /// Takes the error that stops the partition here; nothing follows it.
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

    /// Whether the cluster has moved the partition to this offset or before it, after the records being
    /// handed out. They then belong to a log that is gone, and are dropped: whatever still exists of them is
    /// delivered again.
    pub(super) fn is_truncated_at(&self, at: i64) -> bool {
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
            moved.note_rewind(partition, self.token, to.offset);
        }
        if self.position.is_none_or(|position| position.offset != to.offset) {
            self.position = Some(to);
        }
    }

    // ---- opening ahead -----------------------------------------------------------------------------------------

    /// Has the rest of the `nth` chunk opened ahead: the one being handed out is the first, others follow.
    /// Returns a first estimate of the bytes that will take; `None` if there is no such chunk.
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

    /// Drops what is opened, because nothing of the partition is handed out for now. It then holds no more
    /// than was fetched and charged; a decompressed batch can be a thousand times as large.
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

    /// The size in bytes of what is opened.
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
    /// Skips empty batches. Returns whether there may be another record, or an error to report.
    fn has_more(&mut self, crc: Crc) -> bool {
        self.batch.is_some() || self.failed.is_some() || self.reader.skip_empty(crc)
    }
}
