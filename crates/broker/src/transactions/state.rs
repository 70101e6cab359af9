//! The state of one transactional id.

use std::{collections::BTreeSet, time::Instant};

use super::TopicAndPartition;

/// The last epoch that a producer may have; one more is kept for fencing it.
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// One transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) producer: i64,
    /// The producer id before the last change: the same one, unless the epochs ran out.
    pub(super) previous: i64,
    /// -1 before the first producer has it.
    pub(super) epoch: i16,
    /// The present producer's previous epoch, or -1: a producer names it when it asks again for an answer that it
    /// missed (KIP-360).
    pub(super) last_epoch: i16,
    /// `transaction.timeout.ms` of the producer.
    pub(super) timeout_ms: i32,
    /// When the transaction began, in milliseconds since 1970, or -1.
    pub(super) started_ms: i64,
    pub(super) state: State,
}

/// The state of a transaction.
#[derive(Debug)]
pub(super) enum State {
    /// This producer has begun none.
    Empty,
    Ongoing {
        partitions: BTreeSet<TopicAndPartition>,
        /// When it is aborted.
        deadline: Instant,
    },
    /// The outcome is decided; the markers are being written.
    Ending {
        commit: bool,
        /// Partitions without their marker yet.
        left: BTreeSet<TopicAndPartition>,
        /// The next producer id, where the epochs ran out.
        next: Option<i64>,
        /// When the markers are written; `None` while one waits for its partition to have a leader.
        due: Option<Instant>,
    },
    Complete {
        commit: bool,
    },
}

impl State {
    /// Kafka's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing { .. } => "Ongoing",
            Self::Ending { commit: true, .. } => "PrepareCommit",
            Self::Ending { commit: false, .. } => "PrepareAbort",
            Self::Complete { commit: true } => "CompleteCommit",
            Self::Complete { commit: false } => "CompleteAbort",
        }
    }

    /// All of Kafka's names, also of states that clients never see.
    pub(super) const NAMES: [&str; 8] = [
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "Dead",
        "PrepareEpochFence",
    ];
}

impl Transaction {
    pub(super) fn new(producer: i64, timeout_ms: i32) -> Self {
        Self {
            producer,
            previous: -1,
            epoch: -1,
            last_epoch: -1,
            timeout_ms,
            started_ms: -1,
            state: State::Empty,
        }
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ongoing { deadline, .. } => Some(*deadline),
            State::Ending { due, .. } => *due,
            State::Empty | State::Complete { .. } => None,
        }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.epoch >= LAST_EPOCH
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicAndPartition> + '_ {
        let partitions = match &self.state {
            State::Ongoing { partitions, .. } => Some(partitions),
            State::Ending { left, .. } => Some(left),
            State::Empty | State::Complete { .. } => None,
        };
        partitions.into_iter().flatten()
    }
}
