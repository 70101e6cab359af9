//! The machine: partitions that flow, what is buffered of them, and the budget.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{Backoff, BrokerId, CallIds, Position, Token, TopicPartition, earliest, mutant};

use crate::{
    Chunk, Config, Event, Isolation, Watermarks,
    chunk::Waiting,
    node::Node,
    partition::{Partition, State},
    read::Reader,
};

/// Fetches what flows, from every broker at once, into one budget.
///
/// Owns no socket and reads no clock. After every change (a command, an answer, a new cluster view, the clock) drain
/// `poll_event` and `poll_transmit`, take what is ready, then ask `poll_timeout` when to come back.
///
/// Always true:
/// - at most one request is outstanding per broker, and no broker waits for another;
/// - the chunks of one partition and token are its log from the start position on, without hole or repeat;
/// - an answer counts only if it comes from the broker that would be asked now, for the position and token of now;
/// - bytes held, and bytes asked for, do not exceed the budget, but for a first batch that is larger than what was
///   asked for: brokers send that whole;
/// - a partition that has nothing new costs nothing: only what changed since the last request is looked at.
///
/// KIP-74, KIP-98, KIP-227, KIP-320, KIP-392, KIP-516, KIP-951.
#[derive(Debug)]
pub struct Fetcher {
    pub(crate) config: Config,
    pub(crate) ids: CallIds,
    pub(crate) partitions: BTreeMap<TopicPartition, Partition>,
    pub(crate) nodes: BTreeMap<BrokerId, Node>,
    /// The broker that was asked last: the next in order is asked next.
    pub(crate) last_asked: Option<BrokerId>,
    /// The brokers that the newest view knows.
    pub(crate) brokers: BTreeSet<BrokerId>,
    /// Paused partitions, and the assignment they were paused in: a seek keeps the pause, a new owner does not (E10).
    pub(crate) paused: BTreeMap<TopicPartition, Option<u64>>,
    /// Started, and not yet looked up in a view.
    pub(crate) unplaced: BTreeSet<TopicPartition>,
    /// Looked up, and without a leader.
    pub(crate) leaderless: BTreeSet<TopicPartition>,
    pub(crate) lookup: Backoff,
    /// When to ask for metadata again, while a partition has no leader.
    pub(crate) lookup_at: Option<Instant>,
    pub(crate) timers: BTreeSet<(Instant, TopicPartition)>,
    /// Chunks that may be taken, in order of arrival.
    ready: BTreeMap<u64, TopicPartition>,
    arrivals: u64,
    /// Bytes that were taken and not yet released; they outlive the partition's stop.
    lent: BTreeMap<TopicPartition, usize>,
    /// Bytes in queues and lent.
    used: usize,
    pub(crate) reader: Reader,
    pub(crate) events: VecDeque<Event>,
    pub(crate) refresh: bool,
    pub(crate) closing: bool,
    seeds: u64,
    runs: u64,
}

impl Fetcher {
    /// Nothing flows yet.
    pub fn new(config: Config) -> Self {
        let config = config.meant();
        Self {
            ids: CallIds::default(),
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_asked: None,
            brokers: BTreeSet::new(),
            paused: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            leaderless: BTreeSet::new(),
            lookup: Backoff::new(config.backoff, config.seed),
            lookup_at: None,
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            arrivals: 0,
            lent: BTreeMap::new(),
            used: 0,
            reader: Reader::new(config.check_crcs, config.isolation == Isolation::ReadCommitted),
            events: VecDeque::new(),
            refresh: false,
            closing: false,
            seeds: config.seed,
            runs: 0,
            config,
        }
    }

    /// Lets a partition flow from `position` on, which `offsets` found or validated.
    ///
    /// Under the token that it has already, what is buffered stays as far as it lies before `position`: a position that
    /// was only validated costs nothing, and one that went back loses nothing. Under another token nothing stays.
    ///
    /// Gives the number of the run that begins, higher than all before: chunks that are fetched after this bear it.
    pub fn start(&mut self, _now: Instant, tp: TopicPartition, token: Token, position: Position) -> u64 {
        self.runs = self.runs.wrapping_add(1);
        let run = self.runs;
        if self.closing {
            return run;
        }
        if self.partitions.get(&tp).is_some_and(|partition| partition.token != token) {
            self.stop(&tp);
        }
        match self.paused.get_mut(&tp) {
            Some(Some(assignment)) if *assignment != token.assignment => {
                self.paused.remove(&tp);
            }
            Some(assignment) => *assignment = Some(token.assignment),
            None => {}
        }
        if self.partitions.contains_key(&tp) {
            self.restart(&tp, run, position);
        } else {
            let seed = self.next_seed();
            let partition = Partition::new(token, run, position, Backoff::new(self.config.backoff, seed));
            self.partitions.insert(tp.clone(), partition);
        }
        if position.offset < 0 {
            self.out_of_range(&tp);
        }
        self.settle(&tp);
        self.unplaced.insert(tp);
        run
    }

    fn restart(&mut self, tp: &TopicPartition, run: u64, position: Position) {
        let mut at = position;
        while let Some(waiting) =
            self.partitions.get_mut(tp).and_then(|p| p.queue.drop_newest_beyond(position.offset))
        {
            // Part of it lay before `position`: read that again.
            if waiting.from.offset < position.offset {
                at = waiting.from;
            }
            self.dropped(&waiting);
        }
        if let Some(partition) = self.partitions.get_mut(tp) {
            // A leader that called the same position wrong by its epoch would only do so again.
            partition.tell_epoch |= partition.position != at;
            partition.position = at;
            partition.run = run;
            partition.state = State::Flowing;
        }
    }

    /// Lets it flow no more: revoked, lost, sought. What is buffered is dropped, what is in flight will be ignored, and
    /// the broker is told to forget it.
    ///
    /// Gives where reading stood before what was dropped: after the last chunk that was taken.
    pub fn stop(&mut self, tp: &TopicPartition) -> Option<Position> {
        let mut partition = self.partitions.remove(tp)?;
        self.unplaced.remove(tp);
        self.leaderless.remove(tp);
        if let Some(at) = partition.timer {
            self.timers.remove(&(at, tp.clone()));
        }
        if let Some(node) = partition.left_out_of.and_then(|broker| self.nodes.get_mut(&broker)) {
            node.left_out.remove(tp);
        }
        if let Some(node) = partition.asked_of.and_then(|broker| self.nodes.get_mut(&broker)) {
            node.wanted.remove(tp);
            node.dirty.insert(tp.clone());
        }
        let position = partition.queue.front().unwrap_or(partition.position);
        while let Some(waiting) = partition.queue.take_oldest() {
            self.dropped(&waiting);
        }
        Some(position)
    }

    /// Hands out nothing of it and asks for no more, but keeps what is buffered (I11). Holds across seeks, until it is
    /// resumed or assigned anew.
    pub fn pause(&mut self, tp: &TopicPartition) {
        let partition = self.partitions.get(tp);
        self.paused.insert(tp.clone(), partition.map(|partition| partition.token.assignment));
        for arrival in partition.into_iter().flat_map(|partition| partition.queue.arrivals()) {
            self.ready.remove(&arrival);
        }
        self.settle(tp);
    }

    /// Hands it out, and asks for it, again.
    pub fn resume(&mut self, _now: Instant, tp: &TopicPartition) {
        if self.paused.remove(tp).is_none() {
            return;
        }
        if let Some(partition) = self.partitions.get_mut(tp) {
            if mutant!(14) {
                partition.position.offset = (partition.position.offset - 3).max(0);
            }
            self.ready.extend(partition.queue.arrivals().map(|arrival| (arrival, tp.clone())));
        }
        self.settle(tp);
    }

    /// The next chunk, in order of arrival. It is charged to the budget until it is [released](Self::release).
    pub fn take(&mut self) -> Option<Chunk> {
        loop {
            let (arrival, tp) = self.ready.pop_first()?;
            let Some(partition) = self.partitions.get_mut(&tp) else { continue };
            let Some(waiting) = partition.queue.take_oldest() else { continue };
            debug_assert_eq!(waiting.arrival, arrival, "a partition's chunks are taken in order");
            if waiting.chunk.size > 0 {
                let lent = self.lent.entry(tp).or_default();
                *lent = lent.saturating_add(waiting.chunk.size);
            }
            return Some(waiting.chunk);
        }
    }

    /// The handle is done with `bytes` of a partition's chunks, all told the sum of their sizes: they count no more,
    /// also when the partition has been stopped since.
    pub fn release(&mut self, _now: Instant, tp: &TopicPartition, bytes: usize) {
        let Some(lent) = self.lent.get_mut(tp) else { return };
        let bytes = bytes.min(*lent);
        *lent = lent.saturating_sub(bytes);
        if *lent == 0 {
            self.lent.remove(tp);
        }
        self.used = self.used.saturating_sub(bytes);
        self.settle(tp);
    }

    /// What is buffered or lent, in bytes.
    pub fn buffered(&self) -> usize {
        self.used
    }

    /// Whether a chunk can be taken.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next offset to ask for; what is buffered lies before it.
    pub fn position(&self, tp: &TopicPartition) -> Option<Position> {
        self.partitions.get(tp).map(|partition| partition.position)
    }

    /// What the broker last told of the partition's log; `None` until it has.
    pub fn watermarks(&self, tp: &TopicPartition) -> Option<Watermarks> {
        self.partitions.get(tp)?.watermarks
    }

    /// Whether it is paused.
    pub fn is_paused(&self, tp: &TopicPartition) -> bool {
        self.paused.contains_key(tp)
    }

    /// The clock moved.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, tp)) = self.timers.pop_first() else { break };
            self.wake(now, &tp);
        }
        if self.lookup_at.is_some_and(|at| at <= now) {
            self.look_up(now);
        }
        self.give_up_overdue(now);
    }

    /// When to come back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.timers.first().map(|(at, _)| *at), self.lookup_at, self.next_call()];
        earliest(timers)
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        std::mem::take(&mut self.refresh).then_some(Event::RefreshMetadata)
    }

    /// Buffers a chunk. One with nothing to see only moves on the chunk before it, so that a log of aborted
    /// transactions does not pile up chunks.
    pub(crate) fn store(&mut self, from: Position, chunk: Chunk) {
        let Some(partition) = self.partitions.get_mut(&chunk.partition) else { return };
        if chunk.batches.is_empty()
            && let Some(newest) = partition.queue.newest()
            && newest.run == chunk.run
        {
            newest.next = chunk.next;
            newest.high_watermark = chunk.high_watermark;
            newest.last_stable_offset = chunk.last_stable_offset;
            newest.log_start_offset = chunk.log_start_offset;
            return;
        }
        self.arrivals = self.arrivals.wrapping_add(1);
        self.used = self.used.saturating_add(chunk.size);
        if !self.paused.contains_key(&chunk.partition) {
            self.ready.insert(self.arrivals, chunk.partition.clone());
        }
        partition.queue.push(Waiting { arrival: self.arrivals, from, chunk });
    }

    /// A chunk that nobody will take.
    pub(crate) fn dropped(&mut self, waiting: &Waiting) {
        self.ready.remove(&waiting.arrival);
        self.used = self.used.saturating_sub(waiting.chunk.size);
    }

    /// Bytes of a partition that count against its share of the budget.
    pub(crate) fn load(&self, tp: &TopicPartition, partition: &Partition) -> usize {
        partition.queue.bytes().saturating_add(self.lent.get(tp).copied().unwrap_or(0))
    }

    pub(crate) fn next_seed(&mut self) -> u64 {
        self.seeds = self.seeds.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seeds
    }
}
