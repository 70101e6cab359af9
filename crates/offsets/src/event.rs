//! [`Event`]: what the engine has to know, or to do in other machines.

use std::fmt;

use offtake_machine::{BrokerId, CallId, Identity, LeaderEpoch, Position, Token, TopicPartition};
use offtake_wire::ErrorCode;

use crate::{CommitId, CommitOutcome, PartitionError, QueryId, QueryOutcome};

/// An event for the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Fetching may start. `fetch` owns the partition until it gives it back.
    Start {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The first offset to fetch.
        position: Position,
    },
    /// The topic was deleted and created again while `fetch` owns the partition. `fetch` has to return it
    /// ([`Offsets::on_topic_recreated`](crate::Offsets::on_topic_recreated)), unless it has already. Its
    /// finished and committed positions are forgotten.
    LogGone {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
    },
    /// The topic was deleted and created again. The partition continues in the new log, under this token. Records under an
    /// older token must not be handed out, and cannot be committed.
    NewLog {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership from now on.
        token: Token,
    },
    /// `auto.offset.reset` chose the position. Emitted just before the `Start` at it.
    Reset {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The position that could not be used; `None` if there was none.
        from: Option<i64>,
        /// The position that was chosen.
        to: i64,
        /// The reason.
        reason: ResetReason,
        /// How many offsets are skipped, if known. It is not known if the old position belongs to another log.
        skipped: Option<u64>,
    },
    /// The leader's log ends before our position (KIP-320): records read beyond its end no longer exist.
    /// Emitted just before the `Start` at that end or, if `auto.offset.reset` is `none`, before the partition
    /// fails.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The position before.
        from: i64,
        /// The end of the leader's log, if known.
        to: Option<i64>,
        /// The epoch that ends there.
        epoch: LeaderEpoch,
    },
    /// The partition cannot start. [`PartitionError::stops`] tells whether the lookup is repeated. Reported
    /// once until it starts.
    PartitionFailed {
        /// The partition.
        partition: TopicPartition,
        /// Its ownership.
        token: Token,
        /// The reason.
        error: PartitionError,
    },
    /// This OffsetCommit contains offsets that must not be committed any more. It must not be sent, if it has
    /// not been yet; its other offsets are then sent again.
    Withdraw(CallId),
    /// The metadata has no leader of a partition, or an old one.
    RefreshMetadata,
    /// This broker is not the coordinator, or is unreachable.
    CoordinatorLost(BrokerId),
    /// The coordinator refused a request because of its identity: it does not know the member, or, with
    /// `REBALANCE_IN_PROGRESS` and `STALE_MEMBER_EPOCH`, it has news for the member. Reported only for the
    /// current identity.
    MembershipRefused {
        /// The coordinator's code.
        code: ErrorCode,
        /// The identity of the request.
        identity: Identity,
    },
    /// These offsets are committed, by the application or automatically.
    Committed {
        /// The next offset to read of each partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A commit is complete. Automatic commits are reported only if they failed for good.
    CommitDone {
        /// The commit.
        id: CommitId,
        /// The result of each partition.
        outcome: CommitOutcome,
    },
    /// A query is complete.
    QueryDone {
        /// The query.
        id: QueryId,
        /// The result of each partition.
        outcome: QueryOutcome,
    },
}

/// Why `auto.offset.reset` was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// The group has committed nothing for the partition.
    NothingCommitted,
    /// The log does not contain the position.
    OutOfRange,
    /// The leader does not know the epoch in which the position was read.
    EpochUnknown,
    /// The topic was deleted and created again.
    TopicRecreated,
    /// The application requested it.
    Asked,
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NothingCommitted => "nothing is committed",
            Self::OutOfRange => "the offset is out of range",
            Self::EpochUnknown => "the leader does not know the epoch of the offset",
            Self::TopicRecreated => "the topic was deleted and created again",
            Self::Asked => "asked for",
        })
    }
}
