//! What the engine has to know, or to do elsewhere.

use std::fmt;

use offtake_machine::{BrokerId, CallId, Identity, LeaderEpoch, Position, Token, TopicPartition};
use offtake_wire::ErrorCode;

use crate::{CommitId, CommitOutcome, PartitionError, QueryId, QueryOutcome};

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The partition may flow. It is in the hand of `fetch` from here on, until that gives it back.
    Start {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// The first offset to ask for.
        position: Position,
    },
    /// The topic was deleted and created again, and `fetch` has the partition: it is to be given back
    /// ([`Offsets::on_topic_recreated`](crate::Offsets::on_topic_recreated)), unless it has been already. Nothing of it is finished or committed any more.
    LogGone {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership.
        token: Token,
    },
    /// The topic was deleted and created again: the partition is another log, and goes on under this token. What bears an
    /// older one is not to be handed out, and cannot be committed.
    NewLog {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership from now on.
        token: Token,
    },
    /// `auto.offset.reset` chose the position; said just before the `Start` at it.
    Reset {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// The position that was of no use; `None` if there was none.
        from: Option<i64>,
        /// The position that was chosen.
        to: i64,
        /// What was wrong.
        reason: ResetReason,
        /// How many offsets the move jumps over, where that is known: not where the position belongs to another log.
        skipped: Option<u64>,
    },
    /// The leader's log ends before our position (KIP-320): what was read beyond its end is gone. Said just before the
    /// `Start` at that end, or, under `auto.offset.reset` `none`, before the partition fails.
    Truncated {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// Our position before.
        from: i64,
        /// Where the log that both have ends, if known.
        to: Option<i64>,
        /// The epoch that ends there.
        epoch: LeaderEpoch,
    },
    /// Something is wrong with this partition; [`PartitionError::stops`] says whether it is being tried again. Said once
    /// until it starts.
    PartitionFailed {
        /// Which one.
        partition: TopicPartition,
        /// Under which ownership.
        token: Token,
        /// What is wrong.
        error: PartitionError,
    },
    /// This OffsetCommit carries what must not be committed any more: it is not to be sent, if it has not been yet. What else
    /// it carries is then sent anew.
    Withdraw(CallId),
    /// The metadata does not know a leader, or the wrong one.
    RefreshMetadata,
    /// This broker is not the coordinator, or cannot be reached.
    CoordinatorLost(BrokerId),
    /// The coordinator does not take this from who we are: it does not know us, or not any more; or, of
    /// `REBALANCE_IN_PROGRESS` and `STALE_MEMBER_EPOCH`, it has news for us. Not said of who we no longer are.
    MembershipRefused {
        /// What it said.
        code: ErrorCode,
        /// As whom we had asked.
        identity: Identity,
    },
    /// The group has these offsets from us, whoever asked for the commit.
    Committed {
        /// The next offset to read of each.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A commit is over. Of automatic commits only those are told that failed in a way that trying again does not mend.
    CommitDone {
        /// Which one.
        id: CommitId,
        /// Partition by partition.
        outcome: CommitOutcome,
    },
    /// A question is answered.
    QueryDone {
        /// Which one.
        id: QueryId,
        /// Partition by partition.
        outcome: QueryOutcome,
    },
}

/// Why `auto.offset.reset` had to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// The group has committed nothing for the partition.
    NothingCommitted,
    /// The log does not contain the position.
    OutOfRange,
    /// The leader knows nothing of the epoch in which the position was read.
    EpochUnknown,
    /// The topic was deleted and created again.
    TopicRecreated,
    /// The application asked for the policy.
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

/// An offset as a group keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read: all before it is done.
    pub offset: i64,
    /// The leader epoch of the record before it, where known.
    pub leader_epoch: LeaderEpoch,
    /// Whatever the committer wants to remember.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// Without the metadata.
    pub fn position(&self) -> Position {
        Position { offset: self.offset, epoch: self.leader_epoch }
    }
}

impl From<Position> for OffsetAndMetadata {
    fn from(position: Position) -> Self {
        Self { offset: position.offset, leader_epoch: position.epoch, metadata: String::new() }
    }
}
