//! From chunks to records: what is buffered on the application's side, and handing it out.
//!
//! Each batch's checksum is verified, and the batch inflated, here: once, on the thread that reads the records, or for one
//! that takes its time [ahead] of it. What belongs to an assignment or a position that is no longer ours is dropped, never handed out.

mod ahead;
mod flow;
mod haul;
mod incoming;
mod reading;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use offtake_fetch::{Chunk, Watermarks};
use offtake_machine::{Position, Token, TopicPartition, mutant};
use offtake_wire::records::{Crc, Decompressor, RecordError};

use crate::{
    config::{Config, IsolationLevel},
    engine::command::Command,
    error::{Error, ErrorKind, Result},
    event::Event,
    handle::Handle,
    progress::Passed,
    records::Spot,
    view::{View, Viewer},
};

use ahead::Ahead;
pub(crate) use ahead::Opener;
use flow::{Flow, Jump, Moved, Next, Opening};
pub(crate) use haul::{Haul, Part};
use incoming::{Incoming, free};

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
    /// A chunk that came before the notice that explains it.
    early: Option<Incoming>,
    ahead: Ahead,
    decompressor: Decompressor,
    crc: Crc,
    most: usize,
    committed_only: bool,
}

impl Delivery {
    pub(crate) fn new(config: &Config, opener: Opener) -> Self {
        Self {
            flows: BTreeMap::new(),
            leaving: BTreeMap::new(),
            view: View::default(),
            turns: VecDeque::new(),
            moved: Moved::default(),
            early: None,
            ahead: Ahead::new(opener, config.max_poll_records, config.decompressed_batch_max_bytes),
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
            since: 0,
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
        flow.jumps.extend(jumps.into_iter().map(|event| Jump { run, to: position, event }));
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

    /// Nothing, but jumps of partitions of which nothing is buffered.
    pub(crate) fn nothing<H: Haul>(&mut self) -> H {
        self.finds_jumps();
        let mut nothing = H::default();
        nothing.set_jumps(self.moved.jumps.drain(..).collect());
        nothing
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

    /// Nothing more has come: positions stand where their partitions have jumped to, whether records follow or an error.
    pub(crate) fn follow_jumps(&mut self) {
        for (partition, flow) in self.flows.iter_mut().filter(|(_, flow)| !flow.jumps.is_empty()) {
            flow.follow_jumps(partition, &mut self.moved);
            flow.show(self.committed_only);
        }
    }

    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.flows.get(partition)?.lag(self.committed_only)
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// A chunk came. It waits until all is known that was said before it.
    pub(crate) fn comes(&mut self, chunk: Chunk) {
        debug_assert!(self.early.is_none(), "one after the other");
        self.early = Some(Incoming::new(chunk));
    }

    /// What came and waits.
    pub(crate) fn early(&self) -> Option<&Chunk> {
        self.early.as_ref().map(|incoming| &incoming.chunk)
    }

    /// What came is taken in. Dropped if it was fetched for an assignment or a position that is no longer ours.
    pub(crate) fn take_in(&mut self, handle: &Handle) {
        let Some(incoming) = self.early.take() else { return };
        let chunk = &incoming.chunk;
        match self.flows.get_mut(&chunk.partition) {
            Some(flow) if flow.token == chunk.token && !flow.stopped && chunk.run >= flow.since => {
                if !flow.has_buffered() && !flow.paused {
                    self.turns.push_back(chunk.partition.clone());
                }
                flow.queue.push_back(incoming);
            }
            _ => free(chunk, handle),
        }
    }

    /// The application comes for more.
    pub(crate) fn application_returns(&mut self, now: Instant) {
        self.ahead.returns(now);
        let current = self.turns.front().and_then(|partition| self.flows.get(partition));
        let opened = current.filter(|flow| !flow.paused).map_or(0, Flow::opened_records);
        if opened <= self.most || !self.ahead.is_at_work() {
            self.take_back();
        }
    }

    /// It is busy with what it was handed. If that takes its time, what follows is opened meanwhile: of the same chunk, or of
    /// the next to come.
    pub(crate) fn application_leaves(&mut self, now: Instant, next: impl FnOnce() -> Option<Chunk>) {
        self.ahead.leaves(now);
        let Some(amount) = self.ahead.wants() else { return };
        let crc = self.crc;
        let current = self.turns.front().and_then(|partition| self.flows.get_mut(partition));
        let current = current.filter(|flow| !flow.paused && flow.has_buffered());
        if current.is_some_and(|flow| flow.lend(crc, amount, &mut self.ahead)) || self.turns.len() > 1 {
            return;
        }
        if self.early.is_none() {
            self.early = next().map(Incoming::new);
        }
        if let Some(incoming) = &mut self.early {
            incoming.lend(crc, amount, &mut self.ahead);
        }
    }

    /// What is being opened ahead comes back. What it was of may be gone meanwhile.
    fn take_back(&mut self) {
        let Some(back) = self.ahead.take_back() else { return };
        let flow = self.flows.get_mut(&back.partition).into_iter();
        let mut lenders = flow.flat_map(Flow::lenders).chain(&mut self.early);
        let lender = lenders.find(|incoming| incoming.has_lent(back.id));
        if let Some(incoming) = lender {
            incoming.take_back(back.reading);
        }
    }

    /// Up to `max.poll.records` of what is buffered, and of batches as many as begin below that; `None` if there is
    /// nothing. Where jumps are told apart from records, no records are handed out with one: it waits to be
    /// [taken](Self::next_jump).
    pub(crate) fn hand_out<H: Haul>(&mut self, handle: &Handle, jumps_apart: bool) -> Option<Result<H>> {
        let mut haul = H::default();
        let mut left = self.most;
        while left > 0 {
            let Some(partition) = self.turns.front() else { break };
            let Some(flow) = self.flows.get_mut(partition).filter(|flow| !flow.paused && flow.has_buffered())
            else {
                self.turns.pop_front();
                continue;
            };
            let mut opening = Opening {
                crc: self.crc,
                decompressor: &mut self.decompressor,
                handle,
                moved: &mut self.moved,
            };
            let part = H::Part::next(flow, partition, left, &mut opening);
            flow.show(self.committed_only);
            match part {
                Ok(Next::Part(part)) => {
                    left = left.saturating_sub(part.records());
                    haul.push(part);
                }
                Ok(Next::Nothing) => {
                    self.turns.pop_front();
                }
                Ok(Next::Jump) if haul.is_empty() => {
                    self.moved.jumps.extend(flow.jumps.pop_front().map(|jump| jump.event));
                    if jumps_apart {
                        return Some(Ok(haul));
                    }
                }
                // What was handed out before it comes first.
                Ok(Next::Jump) => break,
                // An error in what is no longer there is none.
                Err(error) if flow.was_cut_off(error.first_offset(), handle) => {}
                // The good records before it come first; the error comes again at the next call.
                Err(_) if !haul.is_empty() => break,
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
        if haul.is_empty() {
            return None;
        }
        haul.set_jumps(self.moved.jumps.drain(..).collect());
        Some(Ok(haul))
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
