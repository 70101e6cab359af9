//! From chunks to records: what is buffered on the application's side, and handing it out.
//!
//! Each batch's checksum is verified, and the batch inflated, here: once, on the thread that reads the records. What
//! belongs to an assignment or a position that is no longer ours is dropped, never handed out.

use std::{
    collections::{BTreeMap, VecDeque},
    iter::Peekable,
    sync::Arc,
};

use offtake_fetch::{Chunk, ReadBatches, Watermarks};
use offtake_machine::{Position, Token, TopicPartition, mutant};
use offtake_wire::records::{self as wire, Batch, Crc, Decompressor, Payload, RecordError};

use crate::{
    config::{Config, IsolationLevel},
    engine::command::Command,
    error::{Error, ErrorKind, Result},
    event::Event,
    handle::Handle,
    progress::Passed,
    records::{PartitionRecords, Records, Spot},
    view::{Place, View, Viewer},
};

/// Everything that is ours, and what is buffered of it.
#[derive(Debug)]
pub(crate) struct Delivery {
    flows: BTreeMap<TopicPartition, Flow>,
    /// No longer handed out, but still ours until they are released.
    leaving: BTreeMap<TopicPartition, Token>,
    view: View,
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
    /// What others read of it.
    place: Arc<Place>,
    token: Token,
    /// The next offset to hand out, once it is known.
    position: Option<Position>,
    /// Whether anything was, since the assignment or the last seek.
    handed_out: bool,
    paused: bool,
    /// An error stopped it; a seek starts it again.
    stopped: bool,
    open: Option<Open>,
    queue: VecDeque<Chunk>,
    /// Where the position is to jump, behind what is buffered of the time before.
    jumps: VecDeque<Jump>,
    /// Where the log ends, as of the last chunk: what is replicated, and what is in no open transaction.
    end: Option<i64>,
    stable_end: Option<i64>,
}

/// A position that goes on elsewhere.
#[derive(Debug)]
struct Jump {
    /// The first run of chunks behind it.
    run: u64,
    /// What is said of it.
    event: Event,
}

/// A chunk that is being handed out.
#[derive(Debug)]
struct Open {
    chunk: Chunk,
    batches: Peekable<ReadBatches>,
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
            leaving: BTreeMap::new(),
            view: View::default(),
            turns: VecDeque::new(),
            moved: Moved::default(),
            decompressor: Decompressor::with_limit(config.decompressed_batch_max_bytes),
            crc: if config.check_crcs { Crc::Check } else { Crc::Trust },
            most: config.max_poll_records,
            committed_only: config.isolation_level == IsolationLevel::ReadCommitted,
        }
    }

    /// For those who want to read where it stands.
    pub(crate) fn viewer(&self) -> Viewer {
        self.view.reader()
    }

    // ---- ownership -----------------------------------------------------------------------------------------------

    pub(crate) fn start(&mut self, partition: TopicPartition, token: Token, handle: &Handle) {
        self.remove(std::slice::from_ref(&partition), handle);
        let flow = Flow {
            place: self.view.add(partition.clone()),
            token,
            position: None,
            handed_out: false,
            paused: false,
            stopped: false,
            open: None,
            queue: VecDeque::new(),
            jumps: VecDeque::new(),
            end: None,
            stable_end: None,
        };
        self.flows.insert(partition, flow);
    }

    /// Reading starts here. A later start under the same token (a position validated, or reset) shows with its first
    /// chunk, after what was buffered before it; and so does what is said of a jump.
    pub(crate) fn started(
        &mut self,
        partition: &TopicPartition,
        token: Token,
        position: Position,
        run: u64,
        jumps: Vec<Event>,
    ) {
        let Some(flow) = self.flows.get_mut(partition).filter(|flow| flow.token == token) else { return };
        flow.jumps.extend(jumps.into_iter().map(|event| Jump { run, event }));
        if flow.position.is_none() {
            flow.position = Some(position);
            self.moved.jumps.extend(flow.jumps.drain(..).map(|jump| jump.event));
            flow.show(self.committed_only);
        }
    }

    /// There was nothing to read at the start, so that no chunk tells where the log ends.
    pub(crate) fn at_end(&mut self, partition: &TopicPartition, token: Token, watermarks: Watermarks) {
        if let Some(flow) = self.flows.get_mut(partition).filter(|flow| flow.token == token) {
            flow.end = Some(watermarks.high);
            flow.stable_end = Some(watermarks.last_stable);
        }
    }

    /// No records, but jumps of partitions of which nothing is buffered.
    pub(crate) fn nothing(&mut self) -> Records {
        self.finds_jumps();
        Records { jumps: self.moved.jumps.drain(..).collect(), ..Records::default() }
    }

    /// Whether a jump is to be told now, be it of a partition of which nothing is buffered.
    pub(crate) fn finds_jumps(&mut self) -> bool {
        for flow in self.flows.values_mut().filter(|flow| !flow.has_buffered()) {
            self.moved.jumps.extend(flow.jumps.drain(..).map(|jump| jump.event));
        }
        !self.moved.jumps.is_empty()
    }

    pub(crate) fn next_jump(&mut self) -> Option<Event> {
        self.moved.jumps.pop_front()
    }

    pub(crate) fn sought(&mut self, partition: &TopicPartition, token: Token, handle: &Handle) {
        if let Some(flow) = self.flows.get_mut(partition) {
            flow.token = token;
            flow.position = None;
            flow.handed_out = false;
            flow.stopped = false;
            flow.jumps.clear();
            flow.drop_buffered(partition, handle);
            flow.show(self.committed_only);
        }
    }

    pub(crate) fn remove(&mut self, partitions: &[TopicPartition], handle: &Handle) {
        for partition in partitions {
            if let Some(mut flow) = self.flows.remove(partition) {
                flow.drop_buffered(partition, handle);
            }
        }
        self.left(partitions);
    }

    /// Nothing more of these is handed out; they are ours, and can be read of, until they have [left](Self::left).
    pub(crate) fn leave(&mut self, partitions: &[TopicPartition], handle: &Handle) {
        for partition in partitions {
            if let Some(mut flow) = self.flows.remove(partition) {
                flow.drop_buffered(partition, handle);
                flow.place.leaves();
                self.leaving.insert(partition.clone(), flow.token);
            }
        }
    }

    /// These are released.
    pub(crate) fn left(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.leaving.remove(partition);
        }
        self.view.remove(partitions.iter().filter(|partition| !self.flows.contains_key(*partition)));
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
                flow.show(self.committed_only);
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
        let held = self.flows.get(partition).map(|flow| flow.token);
        held.or(self.leaving.get(partition).copied()).is_some_and(|held| held.same_owner(token))
    }

    pub(crate) fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.flows.iter().filter(|(_, flow)| flow.paused).map(|(partition, _)| partition)
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.flows.get(partition)?.position.map(|position| position.offset)
    }

    /// The application has sought; that reading stands elsewhere comes as a notice.
    pub(crate) fn begins_anew(&mut self, partition: &TopicPartition) {
        if let Some(flow) = self.flows.get_mut(partition) {
            flow.handed_out = false;
        }
    }

    /// The next offset to hand out, of a partition of which something was handed out since it was assigned or sought.
    pub(crate) fn handed_out(&self, partition: &TopicPartition) -> Option<i64> {
        let flow = self.flows.get(partition).filter(|flow| flow.handed_out)?;
        flow.position.map(|position| position.offset)
    }

    /// Whether the position is before what was handed out at it: the cluster has moved it back since.
    pub(crate) fn is_beyond(&self, place: &Spot) -> bool {
        let flow = self.flows.get(&place.partition).filter(|flow| flow.token == place.token);
        flow.and_then(|flow| flow.position).is_some_and(|position| position.offset < place.next.offset)
    }

    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.flows.get(partition)?.lag(self.committed_only)
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

    /// Up to `max.poll.records` of what is buffered; `None` if there is nothing. Where jumps are told apart from records,
    /// no records are handed out with one: it waits to be [taken](Self::next_jump).
    pub(crate) fn hand_out(&mut self, handle: &Handle, jumps_apart: bool) -> Option<Result<Records>> {
        let mut records = Records::default();
        while records.len() < self.most {
            let Some(partition) = self.turns.front() else { break };
            let Some(flow) = self.flows.get_mut(partition).filter(|flow| !flow.paused && flow.has_buffered())
            else {
                self.turns.pop_front();
                continue;
            };
            let left = self.most - records.len();
            let part =
                flow.next_part(partition, left, self.crc, &mut self.decompressor, handle, &mut self.moved);
            flow.show(self.committed_only);
            match part {
                Ok(Next::Part(part)) => records.push(part),
                Ok(Next::Nothing) => {
                    self.turns.pop_front();
                }
                Ok(Next::Jump) if records.is_empty() => {
                    self.moved.jumps.extend(flow.jumps.pop_front().map(|jump| jump.event));
                    if jumps_apart {
                        return Some(Ok(records));
                    }
                }
                // What was handed out before it comes first.
                Ok(Next::Jump) => break,
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
        if records.is_empty() {
            return None;
        }
        records.jumps = self.moved.jumps.drain(..).collect();
        Some(Ok(records))
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
    /// Ahead of what is handed out next.
    jumps: VecDeque<Event>,
}

/// What comes next of a partition.
enum Next {
    Part(PartitionRecords),
    /// Its position jumps.
    Jump,
    Nothing,
}

impl Flow {
    fn has_buffered(&self) -> bool {
        self.open.is_some() || !self.queue.is_empty()
    }

    fn lag(&self, committed_only: bool) -> Option<u64> {
        let end = if committed_only && !mutant!(29) { self.stable_end } else { self.end };
        let left = end?.saturating_sub(self.position?.offset);
        Some(u64::try_from(left).unwrap_or(0))
    }

    fn show(&self, committed_only: bool) {
        let position = self.position.map(|position| position.offset);
        self.place.show(position, self.lag(committed_only), self.paused);
    }

    fn drop_buffered(&mut self, partition: &TopicPartition, handle: &Handle) {
        debug_assert!(self.open.as_ref().is_none_or(|open| open.chunk.partition == *partition));
        for chunk in self.open.take().map(|open| open.chunk).into_iter().chain(self.queue.drain(..)) {
            free(&chunk, handle);
        }
    }

    /// The next run of at most `most` records, out of one batch. The position then stands behind them, and behind all that
    /// follows in what is buffered without a record.
    fn next_part(
        &mut self,
        partition: &TopicPartition,
        most: usize,
        crc: Crc,
        decompressor: &mut Decompressor,
        handle: &Handle,
        moved: &mut Moved,
    ) -> Result<Next, RecordError> {
        loop {
            self.pass(partition, crc, handle, moved);
            let Some(open) = &mut self.open else {
                return Ok(if self.queue.is_empty() { Next::Nothing } else { Next::Jump });
            };
            let Some(batch) = &mut open.batch else {
                if let Some(failed) = open.failed {
                    return Err(failed);
                }
                match open.next_batch(decompressor) {
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
            self.position = Some(next);
            self.handed_out = true;
            self.pass(partition, crc, handle, moved);
            return Ok(Next::Part(PartitionRecords {
                partition: partition.clone(),
                token: self.token,
                leader_epoch,
                run,
                next: self.position.unwrap_or(next),
                ledger: None,
            }));
        }
    }

    /// Up to the next record, or the next jump.
    fn pass(&mut self, partition: &TopicPartition, crc: Crc, handle: &Handle, moved: &mut Moved) {
        loop {
            let Some(open) = &mut self.open else {
                let jump = self.jumps.front().map(|jump| jump.run);
                if self.queue.front().is_some_and(|chunk| jump.is_some_and(|jump| chunk.run >= jump)) {
                    return;
                }
                let Some(chunk) = self.queue.pop_front() else { return };
                self.open(partition, chunk, crc, moved);
                continue;
            };
            if open.has_more() {
                return;
            }
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

    fn open(&mut self, partition: &TopicPartition, mut chunk: Chunk, crc: Crc, moved: &mut Moved) {
        self.end = Some(chunk.high_watermark);
        self.stable_end = Some(chunk.last_stable_offset);
        if self.position.is_some_and(|position| position.offset > chunk.fetch_offset) {
            moved.back.push((partition.clone(), self.token));
            // Passed over in the log as it was before.
            moved.over.retain(|passed| passed.to.partition != *partition);
        }
        if self.position.is_none_or(|position| position.offset != chunk.fetch_offset) {
            self.position = Some(Position::at(chunk.fetch_offset));
        }
        let batches = std::mem::take(&mut chunk.batches).read(crc).peekable();
        self.open = Some(Open { chunk, batches, batch: None, failed: None });
    }
}

impl Open {
    /// Whether a record may be left in it, or an error to be told.
    fn has_more(&mut self) -> bool {
        if self.batch.is_some() || self.failed.is_some() {
            return true;
        }
        let from = self.chunk.fetch_offset;
        let has_none = |batch: &Result<Batch, RecordError>| {
            batch.as_ref().is_ok_and(|batch| batch.next_offset() <= from || batch.is_bare())
        };
        while self.batches.next_if(has_none).is_some() {}
        self.batches.peek().is_some()
    }

    /// The next batch, at or above the fetch offset.
    fn next_batch(&mut self, decompressor: &mut Decompressor) -> Result<Option<OpenBatch>, RecordError> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let batch = batch?;
        let payload = batch.open(decompressor)?;
        let mut records = payload.records();
        // A fetch may begin in the middle of a batch (FAILURES J8).
        records.skip_to(self.chunk.fetch_offset)?;
        let at = records.at();
        Ok(Some(OpenBatch { at, leader_epoch: batch.leader_epoch(), payload }))
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
