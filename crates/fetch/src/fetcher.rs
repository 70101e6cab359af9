//! The machine: partitions that flow, what is buffered of them, and the budget.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{
    Backoff, BrokerId, CallIds, IsolationLevel, Position, Token, TopicPartition, earliest,
};

use crate::{
    Charge, Chunk, Config, Event, Watermarks,
    chunk::Waiting,
    memory::{Frame, Memory},
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
/// - memory held, and bytes asked for, do not exceed the budget, but for what one response has beyond what was asked
///   for: brokers send a first batch whole, however large (KIP-74). A response is held, and counted, whole until the
///   last chunk of it is released;
/// - paused partitions keep nobody else from being read: what is buffered of them gives way, wherever it is;
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
    pub(crate) paused: BTreeMap<TopicPartition, u64>,
    /// Started, and not yet looked up in a view.
    pub(crate) unplaced: BTreeSet<TopicPartition>,
    /// How many have been looked up, all told.
    pub(crate) placements: u64,
    /// Looked up, and without a leader.
    pub(crate) leaderless: BTreeSet<TopicPartition>,
    pub(crate) lookup: Backoff,
    /// When to ask for metadata again, while a partition has no leader.
    pub(crate) lookup_at: Option<Instant>,
    pub(crate) timers: BTreeSet<(Instant, TopicPartition)>,
    /// Chunks that may be taken, in order of arrival.
    ready: BTreeMap<u64, TopicPartition>,
    arrivals: u64,
    /// What is held, in queues and lent. What is lent outlives the partition's stop.
    pub(crate) memory: Memory,
    pub(crate) reader: Reader,
    pub(crate) events: VecDeque<Event>,
    pub(crate) refresh: bool,
    pub(crate) closing: bool,
    seeds: u64,
    runs: u64,
}

/// How reading began, or began again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The number of this start, higher than all before: chunks that are fetched after it bear it.
    pub run: u64,
    /// Where reading really goes on. Before the position that [`Fetcher::start`] was given where what lies before that
    /// was dropped and has to be read again.
    pub position: Position,
}

impl Fetcher {
    /// Nothing flows yet.
    pub fn new(config: Config) -> Self {
        let config = config.normalized();
        Self {
            ids: CallIds::default(),
            partitions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_asked: None,
            brokers: BTreeSet::new(),
            paused: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            placements: 0,
            leaderless: BTreeSet::new(),
            lookup: Backoff::new(config.backoff, config.seed),
            lookup_at: None,
            timers: BTreeSet::new(),
            ready: BTreeMap::new(),
            arrivals: 0,
            memory: Memory::default(),
            reader: Reader::new(config.check_crcs, config.isolation == IsolationLevel::ReadCommitted),
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
    /// A pause of another assignment ends. One of this assignment holds, also if it was said before.
    pub fn start(&mut self, _now: Instant, tp: TopicPartition, token: Token, position: Position) -> Start {
        let run = self.next_run();
        if self.closing {
            return Start { run, position };
        }
        if self.partitions.get(&tp).is_some_and(|partition| partition.token != token) {
            self.stop(&tp);
        }
        if self.paused.get(&tp).is_some_and(|assignment| *assignment != token.assignment) {
            self.paused.remove(&tp);
        }
        let position = if self.partitions.contains_key(&tp) {
            self.restart(&tp, run, position)
        } else {
            let seed = self.next_seed();
            let partition = Partition::new(token, run, position, Backoff::new(self.config.backoff, seed));
            self.partitions.insert(tp.clone(), partition);
            position
        };
        if position.offset < 0 {
            self.out_of_range(&tp);
        }
        self.reschedule(&tp);
        self.unplaced.insert(tp);
        Start { run, position }
    }

    /// Where it really goes on.
    fn restart(&mut self, tp: &TopicPartition, run: u64, position: Position) -> Position {
        let given_back = self.partitions.get_mut(tp).and_then(|partition| partition.given_back.take());
        let mut at = given_back.filter(|back| back.offset < position.offset).unwrap_or(position);
        while let Some(waiting) =
            self.partitions.get_mut(tp).and_then(|p| p.queue.drop_newest_beyond(position.offset))
        {
            // Part of it lay before `position`: read that again.
            if waiting.from.offset < at.offset {
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
        at
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
        let front = partition.queue.front().unwrap_or(partition.position);
        let position = partition.given_back.filter(|back| back.offset < front.offset).unwrap_or(front);
        while let Some(waiting) = partition.queue.take_oldest() {
            self.dropped(&waiting);
        }
        // Whoever holds what was lent gives it back unasked.
        self.memory.set_paused(tp, false);
        Some(position)
    }

    /// [Stops](Self::stop) it for good: revoked or lost. A pause is forgotten with it.
    pub fn forget(&mut self, tp: &TopicPartition) -> Option<Position> {
        self.paused.remove(tp);
        self.stop(tp)
    }

    /// Hands out nothing of it and asks for no more. Holds for the whole assignment that `token` belongs to, before
    /// it is started and across seeks, until it is resumed.
    ///
    /// What is buffered of it stays as long as nobody else wants the room. When somebody does, what is here is dropped,
    /// to be read again after the pause; what has been taken is asked for by [`Event::GiveBack`], and once more when the pause
    /// is said again: whoever resumed it for a moment in between may have passed over the first.
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
            partition.asked_back = false;
        }
        self.memory.set_paused(tp, true);
        self.reschedule(tp);
    }

    /// Hands it out, and asks for it, again, unless the pause is another assignment's.
    pub fn resume(&mut self, _now: Instant, tp: &TopicPartition, token: Token) {
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
            partition.asked_back = false;
            self.ready.extend(partition.queue.arrivals().map(|arrival| (arrival, tp.clone())));
        }
        self.reschedule(tp);
    }

    /// The next chunk, in order of arrival. It is charged to the budget until it is [released](Self::release).
    pub fn take(&mut self) -> Option<Chunk> {
        loop {
            let (arrival, tp) = self.ready.pop_first()?;
            let Some(partition) = self.partitions.get_mut(&tp) else { continue };
            let Some(waiting) = partition.queue.take_oldest() else { continue };
            debug_assert_eq!(waiting.arrival, arrival, "a partition's chunks are taken in order");
            self.memory.lend(arrival);
            return Some(waiting.chunk);
        }
    }

    /// The handle is done with a chunk of this partition, also when that has been stopped since. A second time it changes
    /// nothing.
    pub fn release(&mut self, _now: Instant, tp: &TopicPartition, charge: Charge) {
        if self.memory.is_lent(charge.chunk) {
            self.memory.release(charge.chunk);
            self.reschedule(tp);
        }
    }

    /// The handle has dropped, and released, all that it held of a partition, as [`Event::GiveBack`] asked of it, and
    /// stands at `position`: from there the partition is read on when it is resumed. Nothing is lost.
    ///
    /// False if `token` is not that of the partition as it flows now: then whatever else was said of it holds.
    ///
    /// While it is in the hand of `offsets` it stays there; then the [`start`](Self::start) that ends this begins no
    /// later than at `position`.
    pub fn give_back(
        &mut self,
        _now: Instant,
        tp: &TopicPartition,
        token: Token,
        position: Position,
    ) -> bool {
        if self.partitions.get(tp).is_none_or(|partition| partition.token != token) {
            return false;
        }
        let mut at = position;
        while let Some(waiting) =
            self.partitions.get_mut(tp).and_then(|partition| partition.queue.drop_newest())
        {
            if waiting.from.offset < at.offset {
                at = waiting.from;
            }
            self.dropped(&waiting);
        }
        let Some(partition) = self.partitions.get_mut(tp) else { return false };
        partition.asked_back = false;
        if partition.state == State::Parked {
            partition.given_back = Some(at);
        } else {
            self.go_back(tp, at);
        }
        self.reschedule(tp);
        true
    }

    /// Reads on from here, which does not lie behind what was read last.
    pub(crate) fn go_back(&mut self, tp: &TopicPartition, to: Position) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if to.offset < partition.position.offset {
            partition.tell_epoch = true;
            partition.position = to;
        }
        if partition.state == State::Stopped {
            // What stopped it will do so again, behind what is to be read before it: whoever drops that drops the error too.
            partition.state = State::Flowing;
            self.unplaced.insert(tp.clone());
        }
    }

    /// The memory that is held, in bytes: of what is buffered, and of what has been taken and not yet released.
    pub fn buffered(&self) -> usize {
        self.memory.used()
    }

    /// Whether chunks of it wait to be taken, be it paused or not.
    pub fn holds(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_some_and(|partition| partition.queue.front().is_some())
    }

    /// The next offset to ask for; what is buffered lies before it.
    pub fn position(&self, tp: &TopicPartition) -> Option<Position> {
        self.partitions.get(tp).map(|partition| partition.position)
    }

    /// What the broker last told of the partition's log; `None` until it has.
    pub fn watermarks(&self, tp: &TopicPartition) -> Option<Watermarks> {
        self.partitions.get(tp)?.watermarks
    }

    /// Whether it is paused; before it is started, whether it will be.
    pub fn is_paused(&self, tp: &TopicPartition) -> bool {
        let Some(assignment) = self.paused.get(tp) else { return false };
        self.partitions.get(tp).is_none_or(|partition| partition.token.assignment == *assignment)
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
    pub(crate) fn store(&mut self, from: Position, mut chunk: Chunk, frame: Frame, bytes: usize) {
        let Some(partition) = self.partitions.get_mut(&chunk.partition) else { return };
        if chunk.batches.is_empty()
            && let Some(newest) = partition.queue.newest()
            && newest.run == chunk.run
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
        partition.queue.push(Waiting { arrival: self.arrivals, from, chunk });
    }

    /// A chunk that nobody will take.
    pub(crate) fn dropped(&mut self, waiting: &Waiting) {
        self.ready.remove(&waiting.arrival);
        self.memory.release(waiting.arrival);
    }

    fn next_run(&mut self) -> u64 {
        self.runs = self.runs.wrapping_add(1);
        self.runs
    }

    pub(crate) fn next_seed(&mut self) -> u64 {
        self.seeds = self.seeds.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seeds
    }
}
