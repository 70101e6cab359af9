//! [`Fetcher`]: the partitions that are fetched, their chunks, and the memory budget.
//!
//! This file has the commands of the application; the modules below have the other methods, and only they
//! access its fields.

mod oversized;
mod partition_error;
mod request;
mod response;
mod routing;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{
    Backoff, BrokerId, CallIds, IsolationLevel, Position, Token, TopicPartition, earliest,
};

use crate::{
    Charge, Chunk, Config, Event, Watermarks,
    chunk::QueuedChunk,
    memory::{Frame, Memory},
    node::Node,
    partition::{Partition, State},
    read::Reader,
};
use routing::Routing;

/// Fetches started partitions from all brokers at once, within one memory budget.
///
/// Owns no socket and reads no clock. After every change (a command, a response, new metadata, the clock)
/// drain `poll_event` and `poll_transmit`, take the ready chunks, then ask `poll_timeout` when to call again.
///
/// Always true:
/// - at most one request is outstanding per broker, and no broker waits for another;
/// - the chunks of one partition and token are its log from the start position on, without holes or repeats;
/// - a response counts only if it is from the broker that would be asked now, for the current position and token;
/// - memory held and requested bytes do not exceed the budget, except for what one response has beyond the
///   requested bytes: brokers send a first batch whole, however large (KIP-74). A response is held, and
///   counted, whole until its last chunk is released;
/// - paused partitions do not keep others from being fetched: their chunks are dropped or returned when others need the memory;
/// - a partition without news costs nothing: only what changed since the last request is examined.
///
/// KIP-74, KIP-98, KIP-227, KIP-320, KIP-392, KIP-516, KIP-951.
#[derive(Debug)]
pub struct Fetcher {
    config: Config,
    ids: CallIds,
    partitions: BTreeMap<TopicPartition, Partition>,
    nodes: BTreeMap<BrokerId, Node>,
    /// The broker of the last request: the next one in order gets the next request.
    last_broker: Option<BrokerId>,
    /// Paused partitions, and the assignment they were paused in: a seek keeps the pause, a new owner does not (FAILURES E10).
    paused: BTreeMap<TopicPartition, u64>,
    routing: Routing,
    timers: BTreeSet<(Instant, TopicPartition)>,
    /// Chunks that may be taken, in order of arrival.
    ready: BTreeMap<u64, TopicPartition>,
    arrivals: u64,
    /// The memory of chunks, queued and taken. A chunk that was taken is held until it is released, even
    /// after its partition has stopped.
    memory: Memory,
    reader: Reader,
    events: VecDeque<Event>,
    refresh: bool,
    /// The time of the last `poll_transmit`.
    polled_at: Option<Instant>,
    closing: bool,
    seeds: u64,
    starts: u64,
}

/// The result of starting a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The number of this start, higher than all before: chunks that are fetched after it have this number.
    pub start_id: u64,
    /// The position where fetching continues. It is below the position passed to [`Fetcher::start`] if chunks
    /// before that were dropped and have to be fetched again.
    pub position: Position,
}

impl Fetcher {
    /// A fetcher without any partition.
    pub fn new(config: Config) -> Self {
        let config = config.normalized();
        Self {
            ids: CallIds::default(),
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_broker: None,
            paused: BTreeMap::new(),
            routing: Routing::new(config.backoff, config.seed),
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            arrivals: 0,
            memory: Memory::default(),
            reader: Reader::new(config.check_crcs, config.isolation == IsolationLevel::ReadCommitted),
            events: VecDeque::new(),
            refresh: false,
            polled_at: None,
            closing: false,
            seeds: config.seed,
            starts: 0,
            config,
        }
    }

    /// Fetches a partition from `position` on, which `offsets` has found or validated.
    ///
    /// Under the current token, chunks before `position` stay: a position that was only validated costs
    /// nothing, and one that moved back loses nothing. Under another token all chunks are dropped.
    ///
    /// A pause from another assignment ends. A pause from this assignment holds, even if it came before the
    /// start.
    pub fn start(&mut self, tp: TopicPartition, token: Token, position: Position) -> Start {
        let start_id = self.next_start_id();
        if self.closing {
            return Start { start_id, position };
        }
        if self.partitions.get(&tp).is_some_and(|partition| partition.token != token) {
            self.stop(&tp);
        }
        if self.paused.get(&tp).is_some_and(|assignment| *assignment != token.assignment) {
            self.paused.remove(&tp);
        }
        if self.partitions.is_empty() {
            self.nodes.values_mut().for_each(|node| node.begins = true);
        }
        let position = if self.partitions.contains_key(&tp) {
            self.restart(&tp, start_id, position)
        } else {
            let seed = self.next_seed();
            let partition =
                Partition::new(token, start_id, position, Backoff::new(self.config.backoff, seed));
            self.partitions.insert(tp.clone(), partition);
            position
        };
        if position.offset < 0 {
            self.out_of_range(&tp);
        }
        self.reschedule(&tp);
        self.routing.add(tp);
        Start { start_id, position }
    }

    /// Returns the position where fetching continues.
    fn restart(&mut self, tp: &TopicPartition, start_id: u64, position: Position) -> Position {
        let rewound_to = self.partitions.get_mut(tp).and_then(|partition| partition.rewound_to.take());
        let mut at = rewound_to.filter(|back| back.offset < position.offset).unwrap_or(position);
        while let Some(queued) =
            self.partitions.get_mut(tp).and_then(|p| p.queue.drop_newest_beyond(position.offset))
        {
            // Part of the chunk lies before `position`: fetch that again.
            if queued.from.offset < at.offset {
                at = queued.from;
            }
            self.dropped(&queued);
        }
        if let Some(partition) = self.partitions.get_mut(tp) {
            // A leader that refused the same position because of its epoch would only do so again.
            partition.send_epoch |= partition.position != at;
            partition.position = at;
            partition.start_id = start_id;
            partition.state = State::Fetching;
        }
        at
    }

    /// Stops fetching a partition because it was revoked, lost or sought. Queued chunks are dropped,
    /// responses in flight will be ignored, and the partition leaves the fetch session.
    ///
    /// Returns the position after the last chunk that was taken.
    pub fn stop(&mut self, tp: &TopicPartition) -> Option<Position> {
        let mut partition = self.partitions.remove(tp)?;
        self.routing.forget(tp);
        if let Some(at) = partition.timer {
            self.timers.remove(&(at, tp.clone()));
        }
        if let Some(node) = partition.over_share_at.and_then(|broker| self.nodes.get_mut(&broker)) {
            node.over_share.remove(tp);
        }
        if let Some(node) = partition.fetched_from.and_then(|broker| self.nodes.get_mut(&broker)) {
            node.wanted.remove(tp);
            node.dirty.insert(tp.clone());
        }
        let front = partition.queue.front().unwrap_or(partition.position);
        let position = partition.rewound_to.filter(|back| back.offset < front.offset).unwrap_or(front);
        while let Some(queued) = partition.queue.take_oldest() {
            self.dropped(&queued);
        }
        // Chunks that were taken will be released without a request.
        self.memory.set_paused(tp, false);
        Some(position)
    }

    /// [Stops](Self::stop) it for good, because it was revoked or lost. A pause is forgotten too.
    pub fn forget(&mut self, tp: &TopicPartition) -> Option<Position> {
        self.paused.remove(tp);
        self.stop(tp)
    }

    /// Pauses a partition: its chunks are not handed out, and no more are fetched. This holds for the whole
    /// assignment that `token` belongs to, before the start and across seeks, until the partition is resumed.
    ///
    /// Its chunks stay as long as no other partition needs the memory. When one does, queued chunks are
    /// dropped, to be fetched again after the pause. Taken chunks are requested back by [`Event::Reclaim`],
    /// and once more when the partition is paused again, as the first event may have been ignored while it
    /// was resumed.
    pub fn pause(&mut self, tp: &TopicPartition, token: Token) {
        let current = self.partitions.get(tp).map(|partition| partition.token.assignment);
        if current.max(self.paused.get(tp).copied()) > Some(token.assignment) {
            return; // an earlier owner's
        }
        self.paused.insert(tp.clone(), token.assignment);
        if !self.is_paused(tp) {
            return; // of an assignment that is still to be started
        }
        for arrival in self.partitions.get(tp).into_iter().flat_map(|partition| partition.queue.arrivals()) {
            self.ready.remove(&arrival);
        }
        if let Some(partition) = self.partitions.get_mut(tp) {
            partition.reclaim_requested = false;
        }
        self.memory.set_paused(tp, true);
        self.reschedule(tp);
    }

    /// Resumes a partition, unless the pause belongs to another assignment.
    pub fn resume(&mut self, tp: &TopicPartition, token: Token) {
        if self.paused.get(tp) != Some(&token.assignment) {
            return;
        }
        let was_paused = self.is_paused(tp);
        self.paused.remove(tp);
        if !was_paused {
            return;
        }
        self.memory.set_paused(tp, false);
        if let Some(partition) = self.partitions.get_mut(tp) {
            partition.reclaim_requested = false;
            self.ready.extend(partition.queue.arrivals().map(|arrival| (arrival, tp.clone())));
        }
        self.reschedule(tp);
    }

    /// The next chunk, in order of arrival. It is charged to the budget until it is [released](Self::release).
    pub fn take(&mut self) -> Option<Chunk> {
        loop {
            let (arrival, tp) = self.ready.pop_first()?;
            let Some(partition) = self.partitions.get_mut(&tp) else { continue };
            let Some(queued) = partition.queue.take_oldest() else { continue };
            debug_assert_eq!(queued.arrival, arrival, "a partition's chunks are taken in order");
            self.memory.mark_taken(arrival);
            return Some(queued.chunk);
        }
    }

    /// The handle has finished with a chunk of this partition, which may have been stopped since. A second
    /// call for the same chunk changes nothing.
    pub fn release(&mut self, tp: &TopicPartition, charge: Charge) {
        if self.memory.is_taken(charge.chunk) {
            self.memory.release(charge.chunk);
            self.reschedule(tp);
        }
    }

    /// The handle has dropped and released all chunks of a partition, as [`Event::Reclaim`] requested:
    /// fetching continues at `position` when the partition is resumed, so that no record is lost.
    ///
    /// False, and nothing changes, if `token` is not the current one.
    ///
    /// If the partition awaits its [`start`](Self::start), that will begin at `position` at the latest.
    pub fn rewind(&mut self, tp: &TopicPartition, token: Token, position: Position) -> bool {
        if self.partitions.get(tp).is_none_or(|partition| partition.token != token) {
            return false;
        }
        let mut at = position;
        while let Some(queued) =
            self.partitions.get_mut(tp).and_then(|partition| partition.queue.drop_newest())
        {
            if queued.from.offset < at.offset {
                at = queued.from;
            }
            self.dropped(&queued);
        }
        if let Some(partition) = self.partitions.get_mut(tp) {
            partition.reclaim_requested = false;
        }
        self.move_back(tp, at);
        self.reschedule(tp);
        true
    }

    /// Moves the position back to `to`; a later one changes nothing. While `offsets` determines the position, it stays, and the next
    /// start begins there at the latest.
    fn move_back(&mut self, tp: &TopicPartition, to: Position) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if partition.state == State::AwaitingStart {
            let before = partition.rewound_to.filter(|before| before.offset < to.offset);
            partition.rewound_to = Some(before.unwrap_or(to));
            return;
        }
        if to.offset < partition.position.offset {
            partition.send_epoch = true;
            partition.position = to;
        }
        if partition.state == State::Stopped {
            // The error that stopped it comes after the records that are fetched again, and will occur again.
            partition.state = State::Fetching;
            self.routing.add(tp.clone());
        }
    }

    /// The memory of chunks that are queued, or taken and not released, in bytes.
    pub fn memory_held(&self) -> usize {
        self.memory.used()
    }

    /// Whether chunks of the partition are queued, paused or not.
    pub fn has_chunks(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_some_and(|partition| partition.queue.front().is_some())
    }

    /// The position of the next fetch; queued chunks lie before it.
    pub fn position(&self, tp: &TopicPartition) -> Option<Position> {
        self.partitions.get(tp).map(|partition| partition.position)
    }

    /// The watermarks of the newest response; `None` before the first.
    pub fn watermarks(&self, tp: &TopicPartition) -> Option<Watermarks> {
        self.partitions.get(tp)?.watermarks
    }

    /// Whether the partition is paused; before it is started, whether it will be.
    pub fn is_paused(&self, tp: &TopicPartition) -> bool {
        let Some(assignment) = self.paused.get(tp) else { return false };
        self.partitions.get(tp).is_none_or(|partition| partition.token.assignment == *assignment)
    }

    /// The clock has advanced.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, tp)) = self.timers.pop_first() else { break };
            self.on_timer(now, &tp);
        }
        self.refresh |= self.routing.handle_timeout(now);
        self.give_up_overdue(now);
    }

    /// When to call again: at once while there are events, which `poll_transmit` causes too.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.refresh || !self.events.is_empty() {
            return self.polled_at;
        }
        let timers =
            [self.timers.first().map(|(at, _)| *at), self.routing.poll_timeout(), self.next_call_at()];
        earliest(timers)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        std::mem::take(&mut self.refresh).then_some(Event::RefreshMetadata)
    }

    /// Queues a chunk. One without visible batches only extends the chunk before it, so that chunks do not
    /// accumulate for a log of aborted transactions.
    fn store(&mut self, from: Position, mut chunk: Chunk, frame: Frame, bytes: usize) {
        let Some(partition) = self.partitions.get_mut(&chunk.partition) else { return };
        if chunk.batches.is_empty()
            && let Some(newest) = partition.queue.newest()
            && newest.start_id == chunk.start_id
        {
            newest.next = chunk.next;
            return;
        }
        self.arrivals = self.arrivals.wrapping_add(1);
        let paused = self.paused.get(&chunk.partition) == Some(&partition.token.assignment);
        if !paused {
            self.ready.insert(self.arrivals, chunk.partition.clone());
        }
        chunk.charge = self.memory.charge(&chunk.partition, self.arrivals, frame, bytes, paused);
        partition.queue.push(QueuedChunk { arrival: self.arrivals, from, chunk });
    }

    /// Accounts for a queued chunk that was dropped.
    fn dropped(&mut self, queued: &QueuedChunk) {
        self.ready.remove(&queued.arrival);
        self.memory.release(queued.arrival);
    }

    fn next_start_id(&mut self) -> u64 {
        self.starts = self.starts.wrapping_add(1);
        self.starts
    }

    fn next_seed(&mut self) -> u64 {
        self.seeds = self.seeds.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seeds
    }
}
