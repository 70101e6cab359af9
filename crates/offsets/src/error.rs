//! Why an attempt failed ([`Cause`]), and the errors of partitions, commits and queries that follow from it.

use offtake_machine::{CallError, TopicPartition};
use offtake_wire::{ApiKey, ErrorCode};

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The broker answered with an error code.
    #[error("{} refused: {code}", .api.name())]
    Refused {
        /// The request.
        api: ApiKey,
        /// The code.
        code: ErrorCode,
    },
    /// The response did not include the partition.
    #[error("{} response did not include the partition", .api.name())]
    PartitionMissing {
        /// The request.
        api: ApiKey,
    },
    /// The response has no error and an impossible offset.
    #[error("{} response has the impossible offset {offset}", .api.name())]
    BadOffset {
        /// The request.
        api: ApiKey,
        /// The offset.
        offset: i64,
    },
    /// There was no response.
    #[error(transparent)]
    Call(CallError),
    /// The metadata does not list the partition, or has no leader for it.
    #[error("the partition has no known leader")]
    NoLeader,
    /// The position is of a newer leader epoch than the metadata has: these are old, or the leader that they name is one no longer.
    #[error("the metadata has leader epoch {known}, older than epoch {of} of the offset")]
    OldMetadata {
        /// The epoch in the metadata.
        known: i32,
        /// The epoch of the position.
        of: i32,
    },
    /// The metadata has an error for the topic.
    #[error("the topic cannot be used: {0}")]
    Topic(ErrorCode),
}

impl Cause {
    /// Kafka's code, if there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } | Self::Topic(code) => Some(*code),
            Self::PartitionMissing { .. }
            | Self::BadOffset { .. }
            | Self::Call(_)
            | Self::NoLeader
            | Self::OldMetadata { .. } => None,
        }
    }
}

/// Why a partition has not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// Nothing is committed, and `auto.offset.reset` is `none`.
    #[error("the group has committed nothing, and auto.offset.reset is none")]
    NoOffset,
    /// The position is not in the log, and `auto.offset.reset` is `none`.
    #[error("offset {position} is out of range, and auto.offset.reset is none")]
    OffsetOutOfRange {
        /// The position.
        position: i64,
    },
    /// The log was truncated below the position, and `auto.offset.reset` is `none`.
    #[error(
        "the log was truncated: offset {from} was read, but the leader's log ends at {to}; auto.offset.reset is none"
    )]
    LogTruncated {
        /// The position.
        from: i64,
        /// The end of the leader's log.
        to: i64,
    },
    /// The offset is negative.
    #[error("negative offset {0}")]
    NegativeOffset(i64),
    /// The start offset cannot be resolved. The lookup is repeated with backoff, as permissions and brokers
    /// may be restored.
    #[error("cannot resolve the start offset: {0}")]
    Unresolved(Cause),
}

impl PartitionError {
    /// Whether the partition is stopped until it is sought or assigned again.
    pub fn stops(&self) -> bool {
        match self {
            Self::NoOffset
            | Self::OffsetOutOfRange { .. }
            | Self::LogTruncated { .. }
            | Self::NegativeOffset(_) => true,
            Self::Unresolved(_) => false,
        }
    }

    /// Kafka's code, if there is one.
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
    /// The assignment that the offset belongs to has ended. Nothing was sent after that.
    #[error("the partition is not assigned, or no longer")]
    NotOwned,
    /// There is no `group.id`.
    #[error("no group.id is configured, so there is no group to commit to")]
    NoGroup,
    /// The offset is negative.
    #[error("negative offset {0}")]
    NegativeOffset(i64),
    /// The metadata has this many bytes; a request can carry 32767.
    #[error("metadata of {0} bytes is too long")]
    MetadataTooLong(usize),
    /// [`MAX_QUEUED_COMMITS`](crate::MAX_QUEUED_COMMITS) commits of the partition are waiting.
    #[error("too many commits are waiting for the coordinator")]
    QueueFull,
    /// The coordinator refuses it; a retry does not help.
    #[error(transparent)]
    Failed(Cause),
    /// The deadline has passed. If the commit was sent, it may have arrived.
    #[error("not committed in time{}", after(.0))]
    TimedOut(Option<Cause>),
}

impl CommitError {
    /// Kafka's code, if there is one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed(cause) | Self::TimedOut(Some(cause)) => cause.code(),
            // A broker has a lower limit of its own, and answers with the same code.
            Self::MetadataTooLong(_) => Some(ErrorCode::OffsetMetadataTooLarge),
            Self::TimedOut(None)
            | Self::NotOwned
            | Self::NoGroup
            | Self::NegativeOffset(_)
            | Self::QueueFull => None,
        }
    }
}

/// Why a query has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// There is no `group.id`.
    #[error("no group.id is configured, so there is no group to ask about")]
    NoGroup,
    /// A retry does not help.
    #[error(transparent)]
    Failed(Cause),
    /// The deadline has passed.
    #[error("not answered in time{}", after(.0))]
    TimedOut(Option<Cause>),
}

impl QueryError {
    /// Kafka's code, if there is one.
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

/// Why a seek was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeekError {
    /// The partition is not assigned.
    #[error("{0} is not assigned")]
    NotAssigned(TopicPartition),
    /// The offset is negative.
    #[error("negative offset {0}")]
    NegativeOffset(i64),
}

/// Why a position was not accepted as finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishedError {
    /// The assignment that the position belongs to has ended.
    #[error("the partition is not assigned, or no longer")]
    NotOwned,
    /// The position was read before the last seek.
    #[error("the partition was sought to another offset since")]
    BeforeSeek,
    /// The offset is negative.
    #[error("negative offset")]
    NegativeOffset,
}
