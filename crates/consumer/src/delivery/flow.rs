//! One partition's way from chunks to records.

use std::{collections::VecDeque, sync::Arc};

use offtake_machine::{Position, Token, TopicPartition, mutant};
use offtake_wire::records::{Crc, Decompressor, RecordError};

use super::{
    ahead::Ahead,
    incoming::{Incoming, free},
    reading::{Amount, OpenBatch, Upcoming},
};
use crate::{
    batches::{Contents, RecordBatch},
    event::Event,
    handle::Handle,
    progress::Passed,
    records::{PartitionRecords, Spot},
    view::Place,
};

#[derive(Debug)]
pub(crate) struct Flow {
    /// What others read of it.
    pub(super) place: Arc<Place>,
    pub(super) token: Token,
    /// The next offset to hand out, once it is known.
    pub(super) position: Option<Position>,
    /// Whether anything was, since the assignment or the last seek.
    pub(super) handed_out: bool,
    pub(super) paused: bool,
    /// An error stopped it; a seek starts it again.
    pub(super) stopped: bool,
    pub(super) open: Option<Open>,
    pub(super) queue: VecDeque<Incoming>,
    /// Where the position is to jump, behind what is buffered of the time before.
    pub(super) jumps: VecDeque<Jump>,
    /// Chunks of earlier runs are of a log that is gone, and of which something was missing.
    pub(super) since: u64,
    /// Where the log ends, as of the last chunk: what is replicated, and what is in no open transaction.
    pub(super) end: Option<i64>,
    pub(super) stable_end: Option<i64>,
}

/// A position that goes on elsewhere.
#[derive(Debug)]
pub(super) struct Jump {
    /// The first run of chunks behind it.
    pub(super) run: u64,
    pub(super) to: Position,
    /// What is said of it.
    pub(super) event: Event,
}

/// A chunk that is being handed out.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) incoming: Incoming,
    batch: Option<OpenBatch>,
    /// What cannot be read, before anything that follows.
    failed: Option<RecordError>,
}

/// Positions that moved otherwise than by handing out.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Beyond the last record handed out: control and aborted batches, emptied ones.
    pub(super) over: Vec<Passed>,
    pub(super) back: Vec<(TopicPartition, Token)>,
    /// Ahead of what is handed out next.
    pub(super) jumps: VecDeque<Event>,
}

/// What batches are opened with.
pub(crate) struct Opening<'a> {
    pub(super) crc: Crc,
    pub(super) decompressor: &'a mut Decompressor,
    pub(super) handle: &'a Handle,
    pub(super) moved: &'a mut Moved,
}

/// What comes next of a partition.
pub(crate) enum Next<P> {
    Part(P),
    /// Its position jumps.
    Jump,
    Nothing,
}

impl Flow {
    pub(super) fn has_buffered(&self) -> bool {
        self.open.is_some() || !self.queue.is_empty()
    }

    pub(super) fn lag(&self, committed_only: bool) -> Option<u64> {
        let end = if committed_only && !mutant!(29) { self.stable_end } else { self.end };
        let left = end?.saturating_sub(self.position?.offset);
        Some(u64::try_from(left).unwrap_or(0))
    }

    pub(super) fn show(&self, committed_only: bool) {
        let position = self.position.map(|position| position.offset);
        self.place.show(position, self.lag(committed_only), self.paused);
    }

    pub(super) fn drop_buffered(&mut self, partition: &TopicPartition, handle: &Handle) {
        debug_assert!(self.open.as_ref().is_none_or(|open| open.incoming.chunk.partition == *partition));
        for incoming in self.open.take().map(|open| open.incoming).into_iter().chain(self.queue.drain(..)) {
            free(&incoming.chunk, handle);
        }
    }

    /// The next run of at most `most` records, out of one batch. The position then stands behind them, and behind all that
    /// follows in what is buffered without a record.
    pub(super) fn next_part(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        opening: &mut Opening<'_>,
    ) -> Result<Next<PartitionRecords>, RecordError> {
        loop {
            self.pass(partition, opening);
            let Some(open) = &mut self.open else {
                return Ok(if self.queue.is_empty() { Next::Nothing } else { Next::Jump });
            };
            let Some(batch) = &mut open.batch else {
                if let Some(failed) = open.failed {
                    return Err(failed);
                }
                match open.incoming.next_opened(opening.crc, opening.decompressor) {
                    Ok(batch) => open.batch = batch,
                    Err(failed) => open.failed = Some(failed),
                }
                continue;
            };
            let (run, failed) = batch.payload.take(&mut batch.at, most);
            let next = Position { offset: run.next_offset(), epoch: batch.leader_epoch };
            let leader_epoch = batch.leader_epoch;
            if failed.is_some() || batch.payload.count_from(batch.at) == 0 {
                open.batch = None;
                open.failed = failed;
            }
            if run.is_empty() {
                continue;
            }
            return Ok(Next::Part(PartitionRecords {
                partition: partition.clone(),
                token: self.token,
                leader_epoch,
                run,
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
    ) -> Result<Next<RecordBatch>, RecordError> {
        loop {
            self.pass(partition, opening);
            let Some(open) = &mut self.open else {
                return Ok(if self.queue.is_empty() { Next::Nothing } else { Next::Jump });
            };
            let upcoming = match (open.batch.take(), open.failed) {
                (Some(batch), _) => Ok(Some(Upcoming::Opened(batch))),
                (None, Some(failed)) => return Err(failed),
                (None, None) => open.incoming.next(opening.crc),
            };
            let contents = match upcoming {
                Ok(Some(Upcoming::Opened(OpenBatch { payload, at, leader_epoch }))) => {
                    Contents::Begun { payload, at, leader_epoch }
                }
                Ok(Some(Upcoming::Packed(batch))) => Contents::Packed(batch),
                Ok(None) => continue,
                Err(failed) => {
                    open.failed = Some(failed);
                    continue;
                }
            };
            let from = self.position.map_or(open.incoming.chunk.fetch_offset, |position| position.offset);
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
            return Ok(Next::Part(batch));
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
        self.handed_out = true;
        self.pass(partition, opening);
        self.position.unwrap_or(end)
    }

    /// What follows in the chunk that is being handed out, or the next one, is given away to be opened ahead. False if there
    /// is nothing left to open.
    pub(super) fn lend(&mut self, crc: Crc, amount: Amount, to: &mut Ahead) -> bool {
        let position = self.position;
        self.open.as_mut().is_some_and(|open| open.lend(position, crc, amount, to))
            || self.queue.front_mut().is_some_and(|next| next.lend(crc, amount, to))
    }

    /// Records of the chunk that is being handed out that are opened.
    pub(super) fn opened_records(&self) -> usize {
        let of = |open: &Open| {
            let begun = open.batch.as_ref().map_or(0, OpenBatch::records);
            begun.saturating_add(open.incoming.opened_records())
        };
        self.open.as_ref().map_or(0, of)
    }

    /// Those that may have given something away.
    pub(super) fn lenders(&mut self) -> impl Iterator<Item = &mut Incoming> {
        self.open.iter_mut().map(|open| &mut open.incoming).chain(self.queue.front_mut())
    }

    /// Up to the next record, or the next jump.
    fn pass(&mut self, partition: &TopicPartition, opening: &mut Opening<'_>) {
        loop {
            let Some(open) = &mut self.open else {
                let jump = self.jumps.front().map(|jump| jump.run);
                let jumps = |incoming: &Incoming| jump.is_some_and(|jump| incoming.chunk.run >= jump);
                if self.queue.front().is_some_and(jumps) {
                    return;
                }
                let Some(incoming) = self.queue.pop_front() else { return };
                self.open(partition, incoming, opening);
                continue;
            };
            if open.has_more(opening.crc) {
                return;
            }
            // The chunk is done; it may end behind its last record.
            let next = open.incoming.chunk.next;
            if self.position.is_none_or(|position| position.offset < next.offset) {
                let from = self.position.map_or(next.offset, |position| position.offset);
                self.position = Some(next);
                let to = Spot { partition: partition.clone(), token: self.token, next };
                opening.moved.over.push(Passed { from, to });
            }
            free(&open.incoming.chunk, opening.handle);
            self.open = None;
        }
    }

    /// Where its jumps have led, if nothing is buffered before them.
    pub(super) fn follow_jumps(&mut self, partition: &TopicPartition, moved: &mut Moved) {
        if let Some(to) = self.jumps.back().map(|jump| jump.to).filter(|_| !self.has_buffered()) {
            self.moves_to(partition, to, moved);
        }
    }

    /// Whether the cluster has moved the partition back to this offset or before it, behind what is being handed out. That
    /// is then of a log that is gone, and is dropped: nothing of it is missed that does not come again.
    pub(super) fn was_cut_off(&mut self, at: i64, handle: &Handle) -> bool {
        let Some(run) = self.jumps.iter().find(|jump| jump.to.offset <= at).map(|jump| jump.run) else {
            return false;
        };
        self.since = run;
        let gone = self.queue.iter().take_while(|incoming| incoming.chunk.run < run).count();
        for incoming in self.open.take().map(|open| open.incoming).into_iter().chain(self.queue.drain(..gone))
        {
            free(&incoming.chunk, handle);
        }
        true
    }

    fn moves_to(&mut self, partition: &TopicPartition, to: Position, moved: &mut Moved) {
        if self.position.is_some_and(|position| position.offset > to.offset) {
            moved.back.push((partition.clone(), self.token));
            // Passed over in the log as it was before.
            moved.over.retain(|passed| passed.to.partition != *partition);
        }
        if self.position.is_none_or(|position| position.offset != to.offset) {
            self.position = Some(to);
        }
    }

    fn open(&mut self, partition: &TopicPartition, incoming: Incoming, opening: &mut Opening<'_>) {
        let chunk = &incoming.chunk;
        self.end = Some(chunk.high_watermark);
        self.stable_end = Some(chunk.last_stable_offset);
        self.moves_to(partition, Position::at(chunk.fetch_offset), opening.moved);
        self.open = Some(Open { incoming, batch: None, failed: None });
    }
}

impl Open {
    /// Whether a record may be left in it, or an error to be told.
    fn has_more(&mut self, crc: Crc) -> bool {
        self.batch.is_some() || self.failed.is_some() || self.incoming.has_more(crc)
    }

    fn lend(&mut self, position: Option<Position>, crc: Crc, amount: Amount, to: &mut Ahead) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let begun = self.batch.as_ref().map(|batch| batch.payload.next_offset());
        if let Some(at) = begun.or(position.map(|position| position.offset)) {
            self.incoming.stands_at(at);
        }
        self.incoming.lend(crc, amount, to)
    }
}
