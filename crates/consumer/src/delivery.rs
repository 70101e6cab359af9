//! [`Delivery`]: buffers what the application will receive, turns chunks into records, and hands them out.
//!
//! Each batch is verified by its checksum and decompressed here, once, on the thread that reads the records.
//! If the application takes its time between polls, or requests it, a thread does so [ahead](prefetch) of it.
//! Data of an assignment or a position that is no longer ours is dropped, never handed out.
//!
//! Partitions take turns, a chunk each, as in Kafka's own consumer, so that one output contains records of
//! every partition that has any.

mod chunk_batches;
mod chunk_reader;
mod flow;
mod moved;
mod poll_output;
mod prefetch;
mod receive;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use offtake_fetch::Chunk;
use offtake_machine::{Position, Token, TopicPartition};
use offtake_wire::records::{Crc, Decompressor, RecordError};

use crate::{
    command::Command,
    config::Config,
    error::{Error, Result},
    event::{Event, Reporter},
    gauges::PartitionGauges,
    handle::Handle,
    offsets::StartAt,
    passed::Passed,
    records::RecordPosition,
    unreadable::error_kind,
    view::{View, Viewer},
};

use flow::{Flow, NextOutput, Opening, State, Turn};
use moved::Moved;
pub(crate) use poll_output::{Part, PollOutput};
pub(crate) use prefetch::Opener;
use prefetch::{MAX_CHUNKS, Prefetcher};

/// Everything that we own, and what is buffered for it.
#[derive(Debug)]
pub(crate) struct Delivery {
    flows: BTreeMap<TopicPartition, Flow>,
    /// Nothing more is handed out for these, but they are ours until they are released.
    leaving: BTreeMap<TopicPartition, Leaving>,
    view: View,
    /// Partitions with buffered entries, in the order of their turns; one that has been removed meanwhile is
    /// skipped.
    turns: VecDeque<TopicPartition>,
    /// Partitions that had their turn while they were paused.
    parked: BTreeSet<TopicPartition>,
    /// How often partitions have been resumed, by anyone, and that count when `parked` was last looked at.
    resumes: Arc<AtomicU64>,
    seen_resumes: u64,
    moved: Moved,
    /// The number of the output being made.
    output_number: u64,
    prefetcher: Prefetcher,
    decompressor: Decompressor,
    crc: Crc,
    most: usize,
    reporter: Reporter,
}

/// A partition that is being revoked.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    token: Token,
    position: Option<Position>,
}

impl Delivery {
    pub(crate) fn new(config: &Config, opener: Opener, reporter: Reporter) -> Self {
        Self {
            flows: BTreeMap::new(),
            leaving: BTreeMap::new(),
            view: View::default(),
            turns: VecDeque::new(),
            parked: BTreeSet::new(),
            resumes: Arc::default(),
            seen_resumes: 0,
            moved: Moved::default(),
            output_number: 0,
            prefetcher: Prefetcher::new(
                opener,
                config.decompression_threads,
                config.decompressed_batch_max_bytes,
            ),
            decompressor: Decompressor::with_limit(config.decompressed_batch_max_bytes),
            crc: if config.check_crcs { Crc::Check } else { Crc::Trust },
            most: config.max_poll_records,
            reporter,
        }
    }

    /// A reader of the current assignment and gauges.
    pub(crate) fn viewer(&self) -> Viewer {
        self.view.reader()
    }

    /// The counter that is incremented whenever a partition is resumed.
    pub(crate) fn resumes(&self) -> Arc<AtomicU64> {
        self.resumes.clone()
    }

    // ---- ownership -----------------------------------------------------------------------------------------------

    pub(crate) fn start(&mut self, added: Vec<(TopicPartition, Arc<PartitionGauges>)>) {
        let held = added.iter().map(|(partition, _)| partition).filter(|held| self.flows.contains_key(*held));
        let held: Vec<_> = held.cloned().collect();
        self.remove(&held);
        let new = added.iter().map(|(partition, gauges)| (partition.clone(), Flow::new(gauges.clone())));
        self.flows.extend(new);
        self.view.add(added);
    }

    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(mut flow) = self.flows.remove(partition) {
                flow.drop_buffered(&mut self.moved);
            }
        }
        self.forget_gone();
        self.left(partitions);
    }

    /// Stops handing out records of these; they stay ours, and their state can be read, until they have
    /// [left](Self::left).
    pub(crate) fn leave(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(mut flow) = self.flows.remove(partition) {
                flow.drop_buffered(&mut self.moved);
                flow.gauges.set_leaving();
                let Flow { token, position, .. } = flow;
                self.leaving.insert(partition.clone(), Leaving { token, position });
            }
        }
        self.forget_gone();
    }

    /// Removed partitions lose their turn.
    fn forget_gone(&mut self) {
        self.turns.retain(|partition| self.flows.contains_key(partition));
        self.parked.retain(|partition| self.flows.contains_key(partition));
    }

    /// Forgets these partitions, which are released.
    pub(crate) fn left(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.leaving.remove(partition);
        }
        self.view.remove(partitions.iter().filter(|partition| !self.flows.contains_key(*partition)));
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.flows.keys()
    }

    pub(crate) fn owns(&self, partition: &TopicPartition, token: Token) -> bool {
        self.token_of(partition).is_some_and(|held| held.same_assignment(token))
    }

    /// Whether it is owned under this token: neither reassigned nor sought since.
    pub(crate) fn is_current(&self, partition: &TopicPartition, token: Token) -> bool {
        self.token_of(partition) == Some(token)
    }

    /// The token under which it is owned, whether it is read or being revoked.
    fn token_of(&self, partition: &TopicPartition) -> Option<Token> {
        self.state_of(partition).map(|(token, _)| token)
    }

    /// The token under which it is owned, and its position.
    fn state_of(&self, partition: &TopicPartition) -> Option<(Token, Option<Position>)> {
        let read = self.flows.get(partition).map(|flow| (flow.token, flow.position));
        read.or_else(|| self.leaving.get(partition).map(|of| (of.token, of.position)))
    }

    pub(crate) fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.flows.iter().filter(|(_, flow)| flow.gauges.is_paused()).map(|(partition, _)| partition)
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.flows.get(partition)?.gauges.position()
    }

    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.flows.get(partition)?.gauges.lag()
    }

    /// Completes an offset that the application seeks to. An offset without an epoch that is the partition's
    /// position gets the epoch of the record before it, so that the leader is asked whether its log was
    /// truncated since (KIP-320).
    pub(crate) fn with_epoch(&self, partition: &TopicPartition, at: StartAt) -> StartAt {
        let stands = self.flows.get(partition).and_then(|flow| flow.position);
        match (&at, stands) {
            (StartAt::Offset(to), Some(stands)) if *to == Position::at(stands.offset) => {
                StartAt::Offset(stands)
            }
            _ => at,
        }
    }

    /// Whether the application has sought to before this record since it was handed out, or the record
    /// belongs to a log that is gone.
    pub(crate) fn is_sought_before(&self, place: &RecordPosition) -> bool {
        let moved = self.state_of(&place.partition).filter(|(token, _)| *token != place.token);
        moved.is_some_and(|(_, at)| at.is_none_or(|position| position.offset < place.next.offset))
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// An output without records, but with resets of partitions that have nothing buffered.
    pub(crate) fn nothing<H: PollOutput>(&mut self) -> H {
        let mut nothing = H::default();
        nothing.set_resets(self.resets());
        nothing
    }

    pub(crate) fn next_reset(&mut self) -> Option<Event> {
        while let Some((token, reset)) = self.moved.resets.pop_front() {
            let flow = reset.partition().and_then(|partition| self.flows.get(partition));
            if flow.is_some_and(|flow| flow.token == token) {
                return Some(reset);
            }
        }
        None
    }

    fn resets(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next_reset()).collect()
    }

    /// Notes that the application polls again.
    pub(crate) fn application_returns(&mut self, now: Instant) {
        self.prefetcher.application_returns(now);
    }

    /// Whether more could be opened ahead than is buffered.
    pub(crate) fn wants_more(&self) -> bool {
        self.turns.len() < MAX_CHUNKS && self.prefetcher.wanted() > 0
    }

    /// Notes that the application is busy with its records. The next batches are opened meanwhile, if that
    /// pays.
    pub(crate) fn application_leaves(&mut self, now: Instant) {
        self.prefetcher.application_leaves(now);
        let mut room = self.prefetcher.wanted();
        let mut chunks = MAX_CHUNKS;
        // Partitions take turns, a chunk each.
        for nth in 0..MAX_CHUNKS {
            let before = chunks;
            for partition in self.turns.iter().take(MAX_CHUNKS) {
                if room == 0 || chunks == 0 {
                    return;
                }
                let Some(flow) = self.flows.get_mut(partition).filter(|flow| !flow.is_held()) else {
                    continue;
                };
                if let Some(bytes) = flow.submit(nth, self.crc, &mut self.prefetcher) {
                    room = room.saturating_sub(bytes);
                    chunks -= 1;
                }
            }
            if chunks == before {
                return;
            }
        }
    }

    /// Hands out up to `max.poll.records` of the buffered records, or as many batches as begin below that;
    /// `None` if there is nothing. If resets are returned separately from records, none is handed out
    /// together with records: it waits to be [taken](Self::next_reset).
    ///
    /// A reset comes before the records that follow it, an error after the records before it: the records of
    /// that partition after either wait for the next output, where the partition has the first turn. No other
    /// partition waits for it.
    pub(crate) fn hand_out<H: PollOutput>(
        &mut self,
        handle: &Handle,
        resets_apart: bool,
    ) -> Option<Result<H>> {
        self.unpark_resumed();
        self.output_number = self.output_number.wrapping_add(1);
        let mut output = H::default();
        let mut left = self.most;
        let mut waiting = Vec::new();
        let mut failed = None;
        while left > 0 && failed.is_none() {
            let Some(partition) = self.turns.pop_front() else { break };
            let Some(flow) = self.flows.get_mut(&partition) else { continue };
            flow.turn = Turn::Idle;
            if !flow.has_buffered() {
                continue;
            }
            if flow.is_held() {
                flow.drop_opened();
                flow.turn = Turn::Parked;
                self.parked.insert(partition);
                continue;
            }
            let mut opening =
                Opening { crc: self.crc, decompressor: &mut self.decompressor, moved: &mut self.moved };
            let chunks_done = flow.chunks_done;
            let next = loop {
                let part = match H::Part::next(flow, &partition, left, &mut opening) {
                    Ok(NextOutput::Part(part)) => part,
                    other => break Some(other),
                };
                flow.last_output = self.output_number;
                left = left.saturating_sub(part.records());
                output.push(part);
                // A partition's turn lasts for one chunk, so for several parts if its batches are small.
                if left == 0 || !flow.is_open() || flow.chunks_done != chunks_done {
                    break None;
                }
            };
            flow.show();
            let is_in_output = flow.last_output == self.output_number;
            match next {
                None => {
                    // Resets and errors must not make other partitions wait.
                    let first = flow.is_open() && flow.chunks_done == chunks_done || flow.has_event_next();
                    self.requeue(partition, first);
                }
                Some(Ok(NextOutput::Part(_) | NextOutput::Nothing)) => {}
                Some(Ok(NextOutput::Reset)) if is_in_output || resets_apart && !output.is_empty() => {
                    waiting.push(partition)
                }
                Some(Ok(NextOutput::Reset)) => {
                    flow.reset(&partition, &mut self.moved);
                    flow.show();
                    self.requeue(partition, !resets_apart);
                    if resets_apart {
                        break;
                    }
                }
                Some(Ok(NextOutput::Failed)) if !output.is_empty() => waiting.push(partition),
                Some(Ok(NextOutput::Failed)) => failed = flow.take_error(),
                // An error in records that no longer exist is not reported.
                Some(Err(error)) if flow.is_truncated_at(error.first_offset()) => {
                    flow.drop_cut_off(error.first_offset(), &mut self.moved);
                    self.requeue(partition, true);
                }
                Some(Err(_)) if !output.is_empty() => waiting.push(partition),
                Some(Err(error)) => {
                    flow.state = State::Stopped;
                    flow.drop_buffered(&mut self.moved);
                    let token = flow.token;
                    let error = unreadable(&partition, &error);
                    // Found here, so reported here; the engine reports its own errors at once.
                    self.reporter.report(|| Event::Error(error.clone()));
                    failed = Some(error);
                    let _ = handle.send(Command::Stop { partition, token });
                }
            }
        }
        for partition in waiting.into_iter().rev() {
            self.requeue(partition, true);
        }
        if let Some(error) = failed {
            return Some(Err(error));
        }
        if output.is_empty() {
            // A reset that is returned separately does not wait for records.
            return (resets_apart && !self.moved.resets.is_empty()).then_some(Ok(output));
        }
        output.set_resets(self.resets());
        Some(Ok(output))
    }

    fn requeue(&mut self, partition: TopicPartition, first: bool) {
        if let Some(flow) = self.flows.get_mut(&partition)
            && flow.has_buffered()
        {
            flow.turn = Turn::Queued;
            match first {
                true => self.turns.push_front(partition),
                false => self.turns.push_back(partition),
            }
        }
    }

    /// Queues the parked partitions that may be handed out again.
    fn unpark_resumed(&mut self) {
        let resumes = self.resumes.load(Ordering::Acquire);
        if resumes == self.seen_resumes {
            return;
        }
        self.seen_resumes = resumes;
        let flows = &self.flows;
        let is_free = |partition: &TopicPartition| flows.get(partition).is_some_and(|flow| !flow.is_held());
        let free: Vec<_> = self.parked.iter().filter(|partition| is_free(partition)).cloned().collect();
        for partition in &free {
            self.unpark(partition);
        }
    }

    /// Positions that moved without a record since the last call.
    pub(crate) fn passed(&mut self) -> Vec<Passed> {
        let mut passed = std::mem::take(&mut self.moved.over);
        passed.retain(|passed| self.token_of(&passed.to.partition) == Some(passed.to.token));
        passed
    }

    /// Partitions that the cluster has moved back since the last call, each with its new position: records
    /// handed out from there on are new deliveries, and what was finished from there on belonged to another
    /// log (FAILURES B3, L1, L3).
    pub(crate) fn moved_back(&mut self) -> Vec<(TopicPartition, Token, i64)> {
        let mut back = std::mem::take(&mut self.moved.back);
        back.retain(|(partition, token, _)| self.token_of(partition) == Some(*token));
        back
    }

    /// Partitions whose position the cluster has moved since the last call, each with the number of moves so
    /// far.
    pub(crate) fn restarted(&mut self) -> Vec<(TopicPartition, Token, u32)> {
        std::mem::take(&mut self.moved.restarted)
    }

    /// Partitions that the application has sought since the last call: what was finished for them is
    /// forgotten.
    pub(crate) fn newly_sought(&mut self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.moved.sought)
    }

    /// Decompressed bytes, all partitions together.
    #[cfg(test)]
    pub(crate) fn unpacked(&self) -> usize {
        self.flows.values().map(Flow::unpacked).sum()
    }

    /// Chunks that have been completely read since the last call: their memory may be reused.
    pub(crate) fn freed(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.moved.freed)
    }
}

fn unreadable(partition: &TopicPartition, error: &RecordError) -> Error {
    let (first, last) = (error.first_offset(), error.last_offset());
    let next = last.saturating_add(1);
    Error::new(
        error_kind(error),
        format!("{partition}: offsets {first} to {last} cannot be read: {error}; the partition stops there, seek to {next} to go on without them"),
    )
    .with_partition(partition.clone())
}

#[cfg(test)]
mod tests;
