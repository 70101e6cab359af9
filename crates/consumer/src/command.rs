//! The commands of the handle to the engine, and the engine's output for the handle.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_group::{GroupMembership, RevocationId};
use offtake_machine::{GroupMetadata, GroupOffsets, PartitionInfo, Position, Token, Topic, TopicPartition};
use regex::Regex;

pub(crate) use crate::inbox::Reply;
use crate::{
    error::Result,
    inbox::{Control, Data},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
};

/// A subscription or assignment.
#[derive(Clone, Debug)]
pub(crate) enum Subscription {
    None,
    Topics(Vec<Topic>),
    Patterns(Vec<Regex>),
    /// Matched by the broker (KIP-848).
    BrokerPattern(String),
    Assigned,
}

impl Subscription {
    /// Whether a group decides which partitions are ours.
    pub(crate) fn is_of_a_group(&self) -> bool {
        match self {
            Self::Topics(_) | Self::Patterns(_) | Self::BrokerPattern(_) => true,
            Self::None | Self::Assigned => false,
        }
    }

    /// Whether topics that are created later may belong to it.
    pub(crate) fn is_by_pattern(&self) -> bool {
        matches!(self, Self::Patterns(_) | Self::BrokerPattern(_))
    }

    /// Whether both are by the same patterns, in whatever order.
    pub(crate) fn has_patterns_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Patterns(ours), Self::Patterns(theirs)) => {
                let ours: BTreeSet<_> = ours.iter().map(Regex::as_str).collect();
                ours == theirs.iter().map(Regex::as_str).collect()
            }
            (Self::BrokerPattern(ours), Self::BrokerPattern(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

/// Who commits what is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitBy {
    /// A call of the application. It fails at once if the lookup of the coordinator is refused.
    Application,
    /// The consumer itself, as it gives partitions up: it tries until its deadline.
    Consumer,
}

/// A command from the handle to the engine.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        to: Subscription,
        reply: Reply<()>,
    },
    Assign {
        partitions: Vec<(TopicPartition, StartAt)>,
        reply: Reply<()>,
    },
    /// The application is done with this revoke or loss.
    RevocationDone(RevocationId),
    /// Gives up everything and leaves the group; the listener has run.
    Unsubscribe {
        reason: &'static str,
        reply: Reply<()>,
    },
    /// Answered with the new token, which marks everything read from there on.
    Seek {
        partition: TopicPartition,
        at: StartAt,
        reply: Reply<Token>,
    },
    /// These were paused or resumed: a hint to look at their gauges.
    PausesChanged {
        partitions: Vec<TopicPartition>,
    },
    /// The handle can return what it holds of a paused partition, if the partition is then fetched again from
    /// here.
    GiveBack {
        partition: TopicPartition,
        token: Token,
        from: Position,
    },
    /// These positions are finished; sent before a commit of them.
    Finished {
        positions: Vec<(TopicPartition, Token, Position)>,
    },
    /// The automatic commit: commits what is finished as soon as it can be sent. If it fails, the next one
    /// includes the same.
    CommitSoon,
    /// Commits what is finished.
    CommitFinished {
        deadline: Instant,
        by: CommitBy,
        reply: Option<Reply<()>>,
    },
    /// Waits until no commit of these partitions (or none at all) is in flight, at most until the deadline.
    SettleCommits {
        partitions: Option<Vec<TopicPartition>>,
        deadline: Instant,
        reply: Reply<()>,
    },
    /// Commits exactly these offsets; without a token, whatever the present assignment is.
    CommitThese {
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
        deadline: Instant,
        reply: Option<Reply<()>>,
    },
    Committed {
        partitions: Vec<TopicPartition>,
        deadline: Instant,
        reply: Reply<BTreeMap<TopicPartition, OffsetAndMetadata>>,
    },
    List {
        partitions: Vec<(TopicPartition, ListAt)>,
        deadline: Instant,
        reply: Reply<BTreeMap<TopicPartition, OffsetAndTimestamp>>,
    },
    Partitions {
        topic: Topic,
        deadline: Instant,
        reply: Reply<BTreeMap<i32, PartitionInfo>>,
    },
    /// Lists the topics whose names match, as the cluster has them now.
    Matching {
        patterns: Vec<Regex>,
        deadline: Instant,
        reply: Reply<Vec<Topic>>,
    },
    /// The handle cannot read on in this partition: nothing more of it is fetched until a seek.
    Stop {
        partition: TopicPartition,
        token: Token,
    },
    /// The handle has begun to hand out what follows a move of the position by the cluster; with the number
    /// of such moves so far.
    Moved {
        partition: TopicPartition,
        token: Token,
        rewinds: u32,
    },
    /// Fetching waits for memory, and the handle has [freed](crate::freed) some.
    Freed,
    /// Asks for the group metadata under which these may be committed in a transaction, if the partitions are
    /// still owned.
    GroupOffsets {
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
        reply: Reply<GroupOffsets>,
    },
    /// Asks for our membership as the group knows it.
    GroupMetadata {
        reply: Reply<GroupMetadata>,
    },
    /// Joins the group again (KIP-568).
    EnforceRebalance {
        reply: Reply<()>,
    },
    /// `poll` is called on this runtime from now on.
    RunsOn(tokio::runtime::Handle),
    /// `poll` was called again after a pause longer than `max.poll.interval.ms`.
    Polled,
    Close {
        deadline: Instant,
        group_membership: GroupMembership,
        reply: Reply<()>,
    },
    /// The consumer is dropped: commits what is finished, if `commits` is set, and leaves, quickly.
    Abandon {
        commits: bool,
    },
}

/// Selects which offset of a partition is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListAt {
    Earliest,
    Latest,
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Timestamp(i64),
}

/// An output of the engine for the handle.
#[derive(Debug)]
pub(crate) enum Output {
    Control(Control),
    Data(Data),
    /// The answer to a command after which the handle looks into its inbox.
    Answer(Answer),
}

/// The answer to a command after which the handle looks into its inbox.
#[derive(Debug)]
pub(crate) enum Answer {
    Done(Reply<()>, Result<()>),
    Sought(Reply<Token>, Result<Token>),
}

impl Answer {
    pub(crate) fn send(self) {
        match self {
            Self::Done(reply, result) => drop(reply.send(result)),
            Self::Sought(reply, result) => drop(reply.send(result)),
        }
    }
}

/// The longest time for the last commit and leaving the group if no caller waits for them or the caller
/// leaves no time.
pub(crate) const LAST_SECOND: Duration = Duration::from_secs(1);
/// The default limit for a commit of a listener or while closing.
pub(crate) const CLOSING_COMMIT: Duration = Duration::from_secs(10);
/// The least time that closing may take: enough for a response to the commit from a nearby broker, or to
/// learn that none was needed.
pub(crate) const SHORTEST_CLOSE: Duration = Duration::from_millis(50);
