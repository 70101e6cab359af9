//! From chunks to records: what is buffered on the application's side, and handing it out.
//!
//! Each batch's checksum is verified, and the batch inflated, here: once, on the thread that reads the records. What
//! belongs to an assignment or a position that is no longer ours is dropped, never handed out.

use std::collections::{BTreeMap, VecDeque};

use offtake_fetch::{Chunk, ReadBatches};
use offtake_machine::{Position, Token, TopicPartition, mutant};
use offtake_wire::records::{self as wire, Crc, Decompressor, Payload, RecordError};

use crate::{
    config::{Config, IsolationLevel},
    engine::command::Command,
    error::{Error, ErrorKind, Result},
    handle::Handle,
    progress::Passed,
    records::{PartitionRecords, Records, Spot},
};

/// Everything that is ours, and what is buffered of it.
#[derive(Debug)]
pub(crate) struct Delivery {
    flows: BTreeMap<TopicPartition, Flow>,
    /// Partitions with something buffered, in the order in which their turn comes.
    turns: VecDeque<TopicPartition>,
    moved: Moved,
    decompressor: Decompressor,
    crc: Crc,
    most: usize,
    committed_only: bool,
}

#[derive(Debug)]
struct Flow {
    token: Token,
    /// The next offset to hand out, once it is known.
    position: Option<Position>,
    paused: bool,
    /// An error stopped it; a seek starts it again.
    stopped: bool,
    open: Option<Open>,
    queue: VecDeque<Chunk>,
    /// Where the log ends, as of the last chunk: what is replicated, and what is in no open transaction.
    end: Option<i64>,
    stable_end: Option<i64>,
}

/// A chunk that is being handed out.
#[derive(Debug)]
struct Open {
    chunk: Chunk,
    batches: ReadBatches,
    batch: Option<OpenBatch>,
    /// What cannot be read, once everything before it has been: from there nothing goes on.
    failed: Option<RecordError>,
}

#[derive(Debug)]
struct OpenBatch {
    payload: Payload,
    at: wire::Position,
    leader_epoch: Option<i32>,
}

impl Delivery {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            flows: BTreeMap::new(),
            turns: VecDeque::new(),
            moved: Moved::default(),
            decompressor: Decompressor::with_limit(config.decompressed_batch_max_bytes),
            crc: if config.check_crcs { Crc::Check } else { Crc::Trust },
            most: config.max_poll_records,
            committed_only: config.isolation_level == IsolationLevel::ReadCommitted,
        }
    }

    // ---- ownership -----------------------------------------------------------------------------------------------

    pub(crate) fn start(&mut self, partition: TopicPartition, token: Token, handle: &Handle) {
        self.remove(std::slice::from_ref(&partition), handle);
        let flow = Flow {
            token,
            position: None,
            paused: false,
            stopped: false,
            open: None,
            queue: VecDeque::new(),
            end: None,
            stable_end: None,
        };
        self.flows.insert(partition, flow);
    }

    /// Reading starts here. A later start under the same token (a position validated, or reset) shows with its first
    /// chunk, after what was buffered before it.
    pub(crate) fn started(&mut self, partition: &TopicPartition, token: Token, position: Position) {
        if let Some(flow) = self.flows.get_mut(partition)
            && flow.token == token
            && flow.position.is_none()
        {
            flow.position = Some(position);
        }
    }

    pub(crate) fn sought(&mut self, partition: &TopicPartition, token: Token, handle: &Handle) {
        if let Some(flow) = self.flows.get_mut(partition) {
            flow.token = token;
            flow.position = None;
            flow.stopped = false;
            flow.drop_buffered(partition, handle);
        }
    }

    pub(crate) fn remove(&mut self, partitions: &[TopicPartition], handle: &Handle) {
        for partition in partitions {
            if let Some(mut flow) = self.flows.remove(partition) {
                flow.drop_buffered(partition, handle);
            }
        }
    }

    pub(crate) fn pause(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, true);
    }

    pub(crate) fn resume(&mut self, partitions: &[TopicPartition]) {
        self.set_paused(partitions, false);
    }

    fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for partition in partitions {
            if let Some(flow) = self.flows.get_mut(partition) {
                flow.paused = paused;
                if paused && mutant!(6) {
                    (flow.open, flow.queue) = (None, VecDeque::new());
                }
                if !paused && flow.has_buffered() {
                    self.turns.push_back(partition.clone());
                }
            }
        }
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.flows.keys()
    }

    pub(crate) fn owns(&self, partition: &TopicPartition, token: Token) -> bool {
        self.flows.get(partition).is_some_and(|flow| flow.token.same_owner(token))
    }

    pub(crate) fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.flows.iter().filter(|(_, flow)| flow.paused).map(|(partition, _)| partition)
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.flows.get(partition)?.position.map(|position| position.offset)
    }

    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        let flow = self.flows.get(partition)?;
        let end = if self.committed_only && !mutant!(29) { flow.stable_end } else { flow.end };
        let left = end?.saturating_sub(flow.position?.offset);
        Some(u64::try_from(left).unwrap_or(0))
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// A chunk came. Dropped if it was fetched for an assignment or a position that is no longer ours.
    pub(crate) fn take_in(&mut self, chunk: Chunk, handle: &Handle) {
        match self.flows.get_mut(&chunk.partition) {
            Some(flow) if flow.token == chunk.token && !flow.stopped => {
                if !flow.has_buffered() && !flow.paused {
                    self.turns.push_back(chunk.partition.clone());
                }
                flow.queue.push_back(chunk);
            }
            _ => free(&chunk, handle),
        }
    }

    /// Up to `max.poll.records` of what is buffered; `None` if there is nothing.
    pub(crate) fn hand_out(&mut self, handle: &Handle) -> Option<Result<Records>> {
        let mut records = Records::default();
        while records.len() < self.most {
            let Some(partition) = self.turns.front() else { break };
            let Some(flow) = self.flows.get_mut(partition).filter(|flow| !flow.paused && flow.has_buffered())
            else {
                self.turns.pop_front();
                continue;
            };
            let left = self.most - records.len();
            match flow.next_part(partition, left, self.crc, &mut self.decompressor, handle, &mut self.moved) {
                Ok(Some(part)) => records.push(part),
                Ok(None) => {
                    self.turns.pop_front();
                }
                // The good records before it come first; the error comes again at the next call.
                Err(_) if !records.is_empty() => break,
                Err(error) => {
                    let error = unreadable(partition, &error);
                    flow.stopped = true;
                    flow.drop_buffered(partition, handle);
                    let _ = handle.send(Command::Stop { partition: partition.clone(), token: flow.token });
                    self.turns.pop_front();
                    return Some(Err(error));
                }
            }
        }
        (!records.is_empty()).then_some(Ok(records))
    }

    /// Positions that moved without a record, since the last call.
    pub(crate) fn passed(&mut self) -> Vec<Passed> {
        std::mem::take(&mut self.moved.over)
    }

    /// Partitions that the cluster has moved back, since the last call: what is handed out of them from here on comes
    /// again, and what was finished of them was another log's (FAILURES B3, L1, L3).
    pub(crate) fn moved_back(&mut self) -> Vec<(TopicPartition, Token)> {
        std::mem::take(&mut self.moved.back)
    }
}

/// Positions that moved otherwise than by handing out.
#[derive(Debug, Default)]
struct Moved {
    /// Beyond the last record handed out: control and aborted batches, emptied ones.
    over: Vec<Passed>,
    back: Vec<(TopicPartition, Token)>,
}

impl Flow {
    fn has_buffered(&self) -> bool {
        self.open.is_some() || !self.queue.is_empty()
    }

    fn drop_buffered(&mut self, partition: &TopicPartition, handle: &Handle) {
        debug_assert!(self.open.as_ref().is_none_or(|open| open.chunk.partition == *partition));
        for chunk in self.open.take().map(|open| open.chunk).into_iter().chain(self.queue.drain(..)) {
            free(&chunk, handle);
        }
    }

    /// The next run of at most `most` records, out of one batch.
    fn next_part(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        crc: Crc,
        decompressor: &mut Decompressor,
        handle: &Handle,
        moved: &mut Moved,
    ) -> Result<Option<PartitionRecords>, RecordError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(mut chunk) = self.queue.pop_front() else { return Ok(None) };
                self.end = Some(chunk.high_watermark);
                self.stable_end = Some(chunk.last_stable_offset);
                match self.position {
                    Some(position) if position.offset == chunk.fetch_offset => {}
                    Some(position) if position.offset > chunk.fetch_offset => {
                        moved.back.push((partition.clone(), self.token));
                        self.position = Some(Position::at(chunk.fetch_offset));
                    }
                    _ => self.position = Some(Position::at(chunk.fetch_offset)),
                }
                let batches = std::mem::take(&mut chunk.batches).read(crc);
                self.open = Some(Open { chunk, batches, batch: None, failed: None });
                continue;
            };
            let Some(batch) = &mut open.batch else {
                if let Some(failed) = open.failed {
                    return Err(failed);
                }
                match open.next_batch(decompressor) {
                    Ok(Some(batch)) => open.batch = Some(batch),
                    Err(failed) => open.failed = Some(failed),
                    Ok(None) => {
                        // The chunk is done; it may end behind its last record.
                        let next = open.chunk.next;
                        if self.position.is_none_or(|position| position.offset < next.offset) {
                            let from = self.position.map_or(next.offset, |position| position.offset);
                            self.position = Some(next);
                            let to = Spot { partition: partition.clone(), token: self.token, next };
                            moved.over.push(Passed { from, to });
                        }
                        free(&open.chunk, handle);
                        self.open = None;
                    }
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
            self.position = Some(next);
            return Ok(Some(PartitionRecords {
                partition: partition.clone(),
                token: self.token,
                leader_epoch,
                run,
                next,
            }));
        }
    }
}

impl Open {
    /// The next batch with records at or above the fetch offset.
    fn next_batch(&mut self, decompressor: &mut Decompressor) -> Result<Option<OpenBatch>, RecordError> {
        loop {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch?;
            if batch.next_offset() <= self.chunk.fetch_offset {
                continue;
            }
            let payload = batch.open(decompressor)?;
            let mut records = payload.records();
            // A fetch may begin in the middle of a batch (FAILURES J8).
            records.skip_to(self.chunk.fetch_offset)?;
            let at = records.at();
            return Ok(Some(OpenBatch { at, leader_epoch: batch.leader_epoch(), payload }));
        }
    }
}

fn free(chunk: &Chunk, handle: &Handle) {
    // The engine may be gone, and its budget with it.
    let _ = handle.send(Command::Freed { partition: chunk.partition.clone(), bytes: chunk.size });
}

fn unreadable(partition: &TopicPartition, error: &RecordError) -> Error {
    let (first, last) = (error.first_offset(), error.last_offset());
    let kind = if error.is_too_large() { ErrorKind::TooLarge } else { ErrorKind::Corrupt };
    let next = last.saturating_add(1);
    Error::new(
        kind,
        format!("{partition}: offsets {first} to {last} cannot be read: {error}; the partition stops there, seek to {next} to go on without them"),
    )
    .with_partition(partition.clone())
}

#[cfg(test)]
mod tests;
