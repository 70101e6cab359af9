//! The events of a worker, for logs, metrics and scripts.

use std::{fmt, time::Duration};

use offtake::{OwnershipChange, TopicPartition};

use crate::BreakerState;

/// An event of a worker. Delivered to the handler set by [`Worker::events`](crate::Worker::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Partitions were assigned to this member. Delivered before any of their records is handled.
    Assigned(OwnershipChange),
    /// Partitions were revoked, after a commit of their finished records. If that commit failed, an [`Error`](Self::Error)
    /// reports it.
    Revoked(OwnershipChange),
    /// Partitions were lost: their handlers were cancelled, and nothing was committed.
    Lost(OwnershipChange),
    /// These offsets were committed.
    Committed {
        /// The next offset to consume, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A record failed, and will be retried.
    Retried {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// Why it failed.
        reason: String,
        /// The delay before the next attempt.
        delay: Duration,
    },
    /// A record was written to the dead letters, and is finished.
    DeadLettered {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// The number of attempts.
        attempts: u32,
        /// Why the last attempt failed.
        reason: String,
        /// The partition of the dead letter.
        to: TopicPartition,
        /// The offset of the dead letter, if the broker returned it.
        to_offset: Option<i64>,
    },
    /// A record was written to a retry topic, and is finished in its previous partition.
    Postponed {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// The number of attempts in all.
        attempts: u32,
        /// Why the last attempt failed.
        reason: String,
        /// The delay in the retry topic.
        delay: Duration,
        /// The partition of the retry topic.
        to: TopicPartition,
        /// The offset in the retry topic, if the broker returned it.
        to_offset: Option<i64>,
    },
    /// A partition stopped until it is assigned again, for example by a restart. Its record is not finished; other partitions go
    /// on.
    Stopped(StoppedPartition),
    /// The breaker changed its state.
    Breaker {
        /// The new state.
        state: BreakerState,
    },
    /// No broker can be reached; the worker keeps trying. Delivered when that begins, also at the start: within seconds if connections break or
    /// are refused, and after `request.timeout.ms` (30 s), up to twice, if brokers accept them and answer nothing.
    Unreachable {
        /// Why no broker can be reached.
        why: String,
    },
    /// Brokers can be reached again.
    Reachable,
    /// An event of the consumer: [`Reset`](offtake::Event::Reset), [`Truncated`](offtake::Event::Truncated) and its other events.
    Consumer(offtake::Event),
    /// An error that the worker recovers from, for example a refused commit, or a dead letter that cannot be written for now
    /// and will be written again (reported about every minute while that lasts).
    Error(offtake::Error),
}

/// A partition that stopped, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoppedPartition {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the record at which it stopped, or of the next one to read.
    pub offset: Option<i64>,
    /// Why it stopped.
    pub why: StopReason,
}

/// Why a partition stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StopReason {
    /// A record is out of attempts, and there are no [dead letters](crate::Worker::dead_letters).
    OutOfAttempts {
        /// The number of attempts.
        attempts: u32,
        /// Why the last attempt failed.
        reason: String,
    },
    /// A record cannot be handled ([`Failure::poison`](crate::Failure::poison)), and there are no dead letters.
    Poison {
        /// The handler's reason.
        reason: String,
    },
    /// The dead letter of a record, or its copy for a retry topic, was refused, or its producer cannot go on. In transactions
    /// also: its topic does not exist.
    DeadLetterFailed {
        /// Why it could not be written.
        error: offtake::Error,
        /// Why the record failed.
        reason: String,
    },
    /// The records sent by a handler cannot be written ([`Worker::transactional`](crate::Worker::transactional)).
    ResultFailed {
        /// Why they cannot be written.
        error: offtake::Error,
    },
    /// The group does not accept the partition's offset in a transaction
    /// ([`Worker::transactional`](crate::Worker::transactional)): its topic was deleted, or this client is no longer allowed to
    /// read it.
    OffsetRefused {
        /// Why the offset was refused.
        error: offtake::Error,
    },
    /// The consumer cannot read any further.
    Unreadable(offtake::Error),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfAttempts { attempts: 1, reason } => write!(f, "a record failed: {reason}"),
            Self::OutOfAttempts { attempts, reason } => {
                write!(f, "a record failed {attempts} times: {reason}")
            }
            Self::Poison { reason } => write!(f, "a record cannot be handled: {reason}"),
            Self::DeadLetterFailed { error, reason } => {
                write!(f, "a record failed ({reason}), and its dead letter could not be written: {error}")
            }
            Self::ResultFailed { error } => {
                write!(f, "the records sent by a handler could not be written: {error}")
            }
            Self::OffsetRefused { error } => write!(f, "its offset could not be committed: {error}"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}
