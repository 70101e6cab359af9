//! What went wrong with an attempt ([`Cause`]), and what that means for a partition, a commit, a question.

use offtake_machine::{CallError, TopicPartition};
use offtake_wire::{ApiKey, ErrorCode};

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The broker says no.
    #[error("{} refused: {code}", .api.name())]
    Refused {
        /// What was asked.
        api: ApiKey,
        /// What it said.
        code: ErrorCode,
    },
    /// The broker's answer says nothing of the partition.
    #[error("the answer to {} leaves the partition out", .api.name())]
    PartitionMissing {
        /// What was asked.
        api: ApiKey,
    },
    /// The broker says that all is well, and names an offset that cannot be.
    #[error("{} answered with the impossible offset {offset}", .api.name())]
    BadOffset {
        /// What was asked.
        api: ApiKey,
        /// What it said.
        offset: i64,
    },
    /// There is no answer.
    #[error(transparent)]
    Call(CallError),
    /// The metadata does not know the partition, or no leader of it.
    #[error("the partition has no known leader")]
    NoLeader,
    /// The metadata says why not.
    #[error("the topic cannot be used: {0}")]
    Topic(ErrorCode),
}

impl Cause {
    /// Kafka's code, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } | Self::Topic(code) => Some(*code),
            Self::PartitionMissing { .. } | Self::BadOffset { .. } | Self::Call(_) | Self::NoLeader => None,
        }
    }
}

/// Why a partition does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// Nothing is committed, and the policy is to have none.
    #[error("the group has committed nothing, and auto.offset.reset is none")]
    NoOffset,
    /// The position is not in the log, and the policy is to have none.
    #[error("offset {position} is out of range, and auto.offset.reset is none")]
    OffsetOutOfRange {
        /// The position.
        position: i64,
    },
    /// The log was truncated below the position, and the policy is to have none.
    #[error(
        "the log was truncated: offset {from} was read, but the leader's log ends at {to}; auto.offset.reset is none"
    )]
    LogTruncated {
        /// The position.
        from: i64,
        /// Where the log that both have ends.
        to: i64,
    },
    /// There are no offsets below 0.
    #[error("{0} is not an offset")]
    NegativeOffset(i64),
    /// It cannot be found out where to begin. Trying goes on, with backoffs: permissions and brokers come back.
    #[error("it cannot be found out where to begin: {0}")]
    Unresolved(Cause),
}

impl PartitionError {
    /// Whether the partition stays where it is until it is sought or assigned anew.
    pub fn stops(&self) -> bool {
        match self {
            Self::NoOffset
            | Self::OffsetOutOfRange { .. }
            | Self::LogTruncated { .. }
            | Self::NegativeOffset(_) => true,
            Self::Unresolved(_) => false,
        }
    }

    /// Kafka's code, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::OffsetOutOfRange { .. } => Some(ErrorCode::OffsetOutOfRange),
            Self::Unresolved(cause) => cause.code(),
            Self::NoOffset | Self::LogTruncated { .. } | Self::NegativeOffset(_) => None,
        }
    }
}

/// Why an offset was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The assignment that the offset belongs to has ended; nothing was sent after that.
    #[error("the partition is not, or no longer, assigned")]
    NotOwned,
    /// There is no `group.id`.
    #[error("there is no group to commit to")]
    NoGroup,
    /// There are no offsets below 0.
    #[error("{0} is not an offset")]
    NegativeOffset(i64),
    /// Of so many bytes: no request can say more than 32767.
    #[error("metadata of {0} bytes is too long")]
    MetadataTooLong(usize),
    /// More than [`MAX_QUEUED_COMMITS`](crate::MAX_QUEUED_COMMITS) wait already.
    #[error("too many commits are waiting for the coordinator")]
    QueueFull,
    /// The coordinator will not have it; trying again does not help.
    #[error(transparent)]
    Failed(Cause),
    /// The time was up. If it had been sent, it may have arrived.
    #[error("not committed in time{}", after(.0))]
    TimedOut(Option<Cause>),
}

impl CommitError {
    /// Kafka's code, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed(cause) | Self::TimedOut(Some(cause)) => cause.code(),
            // What a broker says of less.
            Self::MetadataTooLong(_) => Some(ErrorCode::OffsetMetadataTooLarge),
            Self::TimedOut(None)
            | Self::NotOwned
            | Self::NoGroup
            | Self::NegativeOffset(_)
            | Self::QueueFull => None,
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no `group.id`.
    #[error("there is no group to ask about")]
    NoGroup,
    /// Trying again does not help.
    #[error(transparent)]
    Failed(Cause),
    /// The time was up.
    #[error("not answered in time{}", after(.0))]
    TimedOut(Option<Cause>),
}

impl QueryError {
    /// Kafka's code, where there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed(cause) | Self::TimedOut(Some(cause)) => cause.code(),
            Self::TimedOut(None) | Self::NoGroup => None,
        }
    }
}

fn after(cause: &Option<Cause>) -> String {
    cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default()
}

/// The partition is not assigned, or the offset is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeekError {
    /// It is not assigned.
    #[error("{0} is not assigned")]
    NotAssigned(TopicPartition),
    /// There are no offsets below 0.
    #[error("{0} is not an offset")]
    NegativeOffset(i64),
}

/// Why a position was not taken as finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishedError {
    /// The assignment it belongs to has ended.
    #[error("the partition is not, or no longer, assigned")]
    NotOwned,
    /// It was read before the last seek.
    #[error("the partition was sought elsewhere since")]
    BeforeSeek,
    /// There are no offsets below 0.
    #[error("there are no offsets below 0")]
    NegativeOffset,
}
