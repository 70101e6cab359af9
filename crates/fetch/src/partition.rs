//! One partition that flows: where its reading stands, and whom to ask.

use std::time::Instant;

use offtake_machine::{Backoff, BrokerId, LeaderEpoch, Position, Token, TopicPartition};
use offtake_wire::{Uuid, messages::fetch::PartitionData};

use crate::{Charge, Chunk, VisibleBatches, chunk::Queue, session::Entry};

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) token: Token,
    /// Which start its chunks follow.
    pub(crate) run: u64,
    /// The next offset to ask for.
    pub(crate) position: Position,
    /// The topic that the position belongs to; zero while no view has told its id.
    pub(crate) topic_id: Uuid,
    pub(crate) leader: Option<BrokerId>,
    /// The newest epoch that we have seen; never goes back (B2).
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Option<Replica>,
    /// How often in a row a preferred replica was of no use.
    pub(crate) replica_failures: u32,
    /// How often the leader was not told our rack because of them.
    pub(crate) rackless_times: u32,
    pub(crate) state: State,
    pub(crate) backoff: Backoff,
    /// Whether the application has been told that it is refused.
    pub(crate) announced: bool,
    /// Whether the leader may judge our position by the epoch of the record before it.
    pub(crate) tell_epoch: bool,
    /// What waits to be taken.
    pub(crate) queue: Queue,
    pub(crate) watermarks: Option<Watermarks>,
    /// The broker among whose wanted partitions it is.
    pub(crate) asked_of: Option<BrokerId>,
    /// The one that it would be asked of, had it not its share of the budget.
    pub(crate) left_out_of: Option<BrokerId>,
    /// Its place among the fetcher's timers.
    pub(crate) timer: Option<Instant>,
    /// Whether the handle has been asked to give back what it holds of it.
    pub(crate) asked_back: bool,
    /// Where the handle stands that gave it back, while it is parked.
    pub(crate) given_back: Option<Position>,
}

/// Whether it may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Whenever there is room.
    Flowing,
    /// There was trouble: not before this time, or a new leader.
    Waiting { until: Instant },
    /// No: in the hand of `offsets`. Only `start` changes that.
    Parked,
    /// No: an error has stopped it. Only `start` changes that, or reading again what lies before the error.
    Stopped,
}

/// A replica that the leader prefers us to ask (KIP-392).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) broker: BrokerId,
    pub(crate) until: Instant,
}

/// What a broker last told of a partition's log, put in order: `low ≤ last_stable ≤ high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that still exists: the log start offset.
    pub low: i64,
    /// The offset after the last that is replicated.
    pub high: i64,
    /// The offset below which every transaction has ended.
    pub last_stable: i64,
}

impl Watermarks {
    pub(crate) fn of(data: &PartitionData) -> Option<Self> {
        let high = Some(data.high_watermark).filter(|high| *high >= 0)?;
        // -1: the broker is too old to tell, or has no transactions.
        let last_stable =
            Some(data.last_stable_offset).filter(|offset| (0..=high).contains(offset)).unwrap_or(high);
        let low = data.log_start_offset.clamp(0, last_stable);
        Some(Self { low, high, last_stable })
    }
}

impl Partition {
    pub(crate) fn new(token: Token, run: u64, position: Position, backoff: Backoff) -> Self {
        Self {
            token,
            run,
            position,
            topic_id: Uuid::ZERO,
            leader: None,
            leader_epoch: None,
            replica: None,
            replica_failures: 0,
            rackless_times: 0,
            state: State::Flowing,
            backoff,
            announced: false,
            tell_epoch: true,
            queue: Queue::default(),
            watermarks: None,
            asked_of: None,
            left_out_of: None,
            timer: None,
            asked_back: false,
            given_back: None,
        }
    }

    /// What was found between the position and `next`.
    pub(crate) fn chunk(&self, tp: &TopicPartition, next: Position, batches: VisibleBatches) -> Chunk {
        Chunk {
            partition: tp.clone(),
            token: self.token,
            run: self.run,
            fetch_offset: self.position.offset,
            next,
            batches,
            charge: Charge::default(),
        }
    }

    /// Whom to ask, if anybody.
    pub(crate) fn source(&self) -> Option<BrokerId> {
        self.leader.map(|leader| self.replica.map_or(leader, |replica| replica.broker))
    }

    /// What to ask.
    pub(crate) fn entry(&self) -> Entry {
        // A leader that does not know the epoch calls the position out of range: not worth asking where the epoch is
        // newer than the leader's own.
        let last_fetched =
            self.position.epoch.filter(|epoch| self.tell_epoch && Some(*epoch) <= self.leader_epoch);
        Entry {
            token: self.token,
            topic_id: self.topic_id,
            offset: self.position.offset,
            leader_epoch: self.leader_epoch,
            last_fetched_epoch: last_fetched,
        }
    }

    /// Whether an answer to `entry` by `broker` is an answer to what we would ask now (I7, I8, E3).
    pub(crate) fn awaits(&self, entry: &Entry, broker: BrokerId) -> bool {
        self.state == State::Flowing
            && self.source() == Some(broker)
            // The same offset of a topic that is gone is another position.
            && self.topic_id == entry.topic_id
            && self.token == entry.token
            && self.position.offset == entry.offset
    }

    /// When to look at it again.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        match self.state {
            State::Flowing => self.replica.map(|replica| replica.until),
            State::Waiting { until } => Some(until),
            State::Parked | State::Stopped => None,
        }
    }
}
