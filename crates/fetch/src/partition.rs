//! One started partition: its position, and the broker to fetch it from.

use std::time::Instant;

use offtake_machine::{Backoff, BrokerId, LeaderEpoch, Position, Token, TopicPartition};
use offtake_wire::{Uuid, messages::fetch::PartitionData};

use crate::{Charge, Chunk, VisibleBatches, chunk::Queue, session::Entry};

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) token: Token,
    /// The number of its last start, which its chunks have.
    pub(crate) start_id: u64,
    /// The position of the next fetch.
    pub(crate) position: Position,
    /// The topic that the position belongs to; zero while its id is not known.
    pub(crate) topic_id: Uuid,
    pub(crate) leader: Option<BrokerId>,
    /// The newest leader epoch seen; it never goes back (FAILURES B2).
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) replica: Option<Replica>,
    /// The number of consecutive failures of preferred replicas.
    pub(crate) replica_failures: u32,
    /// How often the rack was omitted because of them.
    pub(crate) without_rack_times: u32,
    pub(crate) state: State,
    pub(crate) backoff: Backoff,
    /// The number of consecutive responses with records that did not move the position.
    pub(crate) no_progress_responses: u32,
    /// How many pauses new leaders have ended since the last answer without an error.
    pub(crate) moves: u32,
    /// The number of consecutive refusals in which the leader did not know our leader epoch.
    pub(crate) unknown_epochs: u32,
    /// Whether the current error has been reported.
    pub(crate) reported: bool,
    /// Whether requests contain the epoch of the record before the position, so that the leader can detect a
    /// truncation (KIP-320).
    pub(crate) send_epoch: bool,
    /// Chunks that wait to be taken.
    pub(crate) queue: Queue,
    pub(crate) watermarks: Option<Watermarks>,
    /// The broker that it is fetched from now.
    pub(crate) fetched_from: Option<BrokerId>,
    /// The broker that it would be fetched from if it was not over its share of the budget.
    pub(crate) over_share_at: Option<BrokerId>,
    /// Its place among the fetcher's timers.
    pub(crate) timer: Option<Instant>,
    /// Whether the handle has been asked to return its chunks.
    pub(crate) reclaim_requested: bool,
    /// The first position that was dropped, here or by the handle, while the partition awaits its start.
    pub(crate) rewound_to: Option<Position>,
}

/// Whether a partition may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Yes, whenever there is memory.
    Fetching,
    /// It failed: not before this time, or until there is a new leader.
    BackingOff { until: Instant },
    /// No: `offsets` determines its position. Only `start` changes that.
    AwaitingStart,
    /// No: an error has stopped it. Only `start` changes that, or fetching the records before the error
    /// again.
    Stopped,
}

/// A replica that the leader names as preferred (KIP-392).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) broker: BrokerId,
    pub(crate) until: Instant,
}

/// The start and the end of a partition's log, as a broker last reported them, corrected to `low ≤
/// last_stable ≤ high`.
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
        // -1: the broker is too old, or has no transactions.
        let last_stable =
            Some(data.last_stable_offset).filter(|offset| (0..=high).contains(offset)).unwrap_or(high);
        let low = data.log_start_offset.clamp(0, last_stable);
        Some(Self { low, high, last_stable })
    }
}

impl Partition {
    pub(crate) fn new(token: Token, start_id: u64, position: Position, backoff: Backoff) -> Self {
        Self {
            token,
            start_id,
            position,
            topic_id: Uuid::ZERO,
            leader: None,
            leader_epoch: None,
            replica: None,
            replica_failures: 0,
            without_rack_times: 0,
            state: State::Fetching,
            backoff,
            no_progress_responses: 0,
            unknown_epochs: 0,
            moves: 0,
            reported: false,
            send_epoch: true,
            queue: Queue::default(),
            watermarks: None,
            fetched_from: None,
            over_share_at: None,
            timer: None,
            reclaim_requested: false,
            rewound_to: None,
        }
    }

    /// A chunk with the batches between the position and `next`.
    pub(crate) fn chunk(&self, tp: &TopicPartition, next: Position, batches: VisibleBatches) -> Chunk {
        Chunk {
            partition: tp.clone(),
            token: self.token,
            start_id: self.start_id,
            fetch_offset: self.position.offset,
            next,
            batches,
            charge: Charge::default(),
        }
    }

    /// The broker to fetch from: the preferred replica, or the leader.
    pub(crate) fn source(&self) -> Option<BrokerId> {
        self.leader.map(|leader| self.replica.map_or(leader, |replica| replica.broker))
    }

    /// Its entry in a request.
    pub(crate) fn entry(&self) -> Entry {
        // A leader that does not know the epoch refuses the position as out of range. So an epoch newer than
        // the leader's own is not sent.
        let last_fetched =
            self.position.epoch.filter(|epoch| self.send_epoch && Some(*epoch) <= self.leader_epoch);
        Entry {
            token: self.token,
            topic_id: self.topic_id,
            offset: self.position.offset,
            leader_epoch: self.leader_epoch,
            last_fetched_epoch: last_fetched,
        }
    }

    /// Whether a response of `broker` to `entry` is for the current position and token (FAILURES I7, I8, E3).
    pub(crate) fn awaits(&self, entry: &Entry, broker: BrokerId) -> bool {
        self.state == State::Fetching
            && self.source() == Some(broker)
            // The same offset of a topic that no longer exists is another position.
            && self.topic_id == entry.topic_id
            && self.token == entry.token
            && self.position.offset == entry.offset
    }

    /// When its timer is due.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        match self.state {
            State::Fetching => self.replica.map(|replica| replica.until),
            State::BackingOff { until } => Some(until),
            State::AwaitingStart | State::Stopped => None,
        }
    }
}
