//! What happens to a worker, as values: for logs, metrics and scripts.

use std::{fmt, time::Duration};

use offtake::{OwnershipChange, TopicPartition};

use crate::BreakerState;

/// Something worth knowing. Told by [`Worker::events`](crate::Worker::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Partitions were given to this member; told before any of their records is handled.
    Assigned(OwnershipChange),
    /// Partitions were handed over, after a commit of what was finished in them; where that failed, an [`Error`](Self::Error) says so.
    Revoked(OwnershipChange),
    /// Partitions were taken away: their handlers were cancelled, and nothing was committed.
    Lost(OwnershipChange),
    /// These offsets are committed.
    Committed {
        /// The next offset to read, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A record failed, and is tried again.
    Retried {
        /// The record's.
        partition: TopicPartition,
        /// The record's.
        offset: i64,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// Why.
        reason: String,
        /// How long it waits.
        delay: Duration,
    },
    /// A record was written to the dead letters, and is finished.
    DeadLettered {
        /// The record's.
        partition: TopicPartition,
        /// The record's.
        offset: i64,
        /// How often it was tried.
        attempts: u32,
        /// Why it failed last.
        reason: String,
        /// The partition of its dead letter.
        to: TopicPartition,
        /// And its offset there, where the broker told it.
        to_offset: Option<i64>,
    },
    /// A record was written to a retry topic, and is finished where it was.
    Postponed {
        /// The record's.
        partition: TopicPartition,
        /// The record's.
        offset: i64,
        /// How often it was tried, in all.
        attempts: u32,
        /// Why it failed last.
        reason: String,
        /// How long it waits there.
        delay: Duration,
        /// The partition that it was written to.
        to: TopicPartition,
        /// And its offset there, where the broker told it.
        to_offset: Option<i64>,
    },
    /// A partition goes on no more until it is assigned again, by a restart for example. Its record is not finished; the others go on.
    Stopped(StoppedPartition),
    /// The breaker changed.
    Breaker {
        /// To this.
        state: BreakerState,
    },
    /// No broker can be reached; it is tried on, without an end. Told when that begins, also at the start.
    Unreachable {
        /// Why.
        why: String,
    },
    /// Brokers can be reached again.
    Reachable,
    /// Of the consumer: [`Reset`](offtake::Event::Reset), [`Truncated`](offtake::Event::Truncated) and what else it tells beside records.
    Consumer(offtake::Event),
    /// Something went wrong that is being mended: a commit that was refused, for example.
    Error(offtake::Error),
}

/// A partition that goes on no more, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoppedPartition {
    /// Which.
    pub partition: TopicPartition,
    /// The record that it stopped at, or that it would have read next.
    pub offset: Option<i64>,
    /// Why.
    pub why: StopReason,
}

/// Why a partition stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StopReason {
    /// A record is out of attempts, and there are no [dead letters](crate::Worker::dead_letters).
    OutOfAttempts {
        /// How often it was tried.
        attempts: u32,
        /// Why it failed last.
        reason: String,
    },
    /// A record cannot be handled ([`Failure::poison`](crate::Failure::poison)), and there are no dead letters.
    Poison {
        /// What the handler said.
        reason: String,
    },
    /// The dead letter of a record could not be written, or the record not to a retry topic.
    DeadLetterFailed {
        /// Why.
        error: offtake::Error,
        /// Why the record failed.
        reason: String,
    },
    /// What its handler sent cannot be written ([`Worker::transactional`](crate::Worker::transactional)).
    ResultFailed {
        /// Why.
        error: offtake::Error,
    },
    /// The group does not take its offset in a transaction ([`Worker::transactional`](crate::Worker::transactional)): its topic was deleted, or that this client may
    /// read it was taken back.
    OffsetRefused {
        /// Why.
        error: offtake::Error,
    },
    /// The consumer cannot read on.
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
                write!(f, "a record failed ({reason}), and its letter could not be written: {error}")
            }
            Self::ResultFailed { error } => {
                write!(f, "what the handler of a record sent could not be written: {error}")
            }
            Self::OffsetRefused { error } => write!(f, "its offset could not be committed: {error}"),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}
