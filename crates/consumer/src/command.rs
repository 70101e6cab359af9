//! What the handle asks of the engine, and what the engine tells the handle.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_fetch::Charge;
use offtake_group::{GroupMembership, RevocationId};
use offtake_machine::{GroupMetadata, GroupOffsets, PartitionInfo, Position, Token, Topic, TopicPartition};
use regex::Regex;

pub(crate) use crate::inbox::Reply;
use crate::{
    error::Result,
    inbox::{Control, Data},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
};

/// What may be subscribed to.
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
    /// Whether a group says which partitions are ours.
    pub(crate) fn is_of_a_group(&self) -> bool {
        match self {
            Self::Topics(_) | Self::Patterns(_) | Self::BrokerPattern(_) => true,
            Self::None | Self::Assigned => false,
        }
    }
}

/// From the handle to the engine.
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
    /// Answered with the token that what is read from there on bears.
    Seek {
        partition: TopicPartition,
        at: StartAt,
        reply: Reply<Token>,
    },
    /// Somebody has paused or resumed these: a hint to look at their gauges.
    PausesChanged {
        partitions: Vec<TopicPartition>,
    },
    /// What the handle holds of a paused partition can be had back, if the partition is then read on from here.
    GiveBack {
        partition: TopicPartition,
        token: Token,
        from: Position,
    },
    /// These positions are finished; said before a commit of them.
    Finished {
        positions: Vec<(TopicPartition, Token, Position)>,
    },
    /// Commits what is finished as soon as it can be sent: the automatic commit. Failing that, the next one does.
    CommitSoon,
    /// Commits what is finished.
    CommitFinished {
        deadline: Instant,
        reply: Option<Reply<()>>,
    },
    /// Waits until no commit of these partitions is under way, or none at all, at most until the deadline.
    SettleCommits {
        partitions: Option<Vec<TopicPartition>>,
        deadline: Instant,
        reply: Reply<()>,
    },
    /// Commits exactly these; without a token, whatever the present assignment is.
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
    /// Topics whose names match, as the cluster has them now.
    Matching {
        patterns: Vec<Regex>,
        deadline: Instant,
        reply: Reply<Vec<Topic>>,
    },
    /// The handle cannot read on in this partition: nothing more of it is fetched until it is sought.
    Stop {
        partition: TopicPartition,
        token: Token,
    },
    /// The handle has begun to hand out what follows where the cluster moved the position, back so often by then.
    Moved {
        partition: TopicPartition,
        token: Token,
        rewinds: u32,
    },
    /// The handle is done with these chunks.
    Freed {
        chunks: Vec<(TopicPartition, Charge)>,
    },
    /// As whom these may be committed in a transaction, if the partitions are still owned.
    GroupOffsets {
        offsets: Vec<(TopicPartition, Option<Token>, OffsetAndMetadata)>,
        reply: Reply<GroupOffsets>,
    },
    /// As whom the group knows us.
    GroupMetadata {
        reply: Reply<GroupMetadata>,
    },
    /// Joins the group again (KIP-568).
    EnforceRebalance {
        reply: Reply<()>,
    },
    /// `poll` is called on this runtime from now on.
    RunsOn(tokio::runtime::Handle),
    /// `poll` was called after it had not been for `max.poll.interval.ms`.
    Polled,
    Close {
        deadline: Instant,
        group_membership: GroupMembership,
        reply: Reply<()>,
    },
    /// The consumer is dropped: commits what is finished, if that is to be, and leaves, quickly.
    Abandon {
        commits: bool,
    },
}

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListAt {
    Earliest,
    Latest,
    /// The first record with this timestamp (milliseconds since 1970) or a later one.
    Timestamp(i64),
}

/// What the engine puts out for the handle.
#[derive(Debug)]
pub(crate) enum Output {
    Control(Control),
    Data(Data),
    /// Answers a command. What was put out before it has reached the inbox when the answer comes.
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

/// How long the last commit and leaving the group take at most where nobody waits for them, or has no time to.
pub(crate) const LAST_SECOND: Duration = Duration::from_secs(1);
/// How long a listener's or a closing commit may take when nobody said.
pub(crate) const CLOSING_COMMIT: Duration = Duration::from_secs(10);
/// What closing takes at least, if it needs it: enough to hear of a commit from a broker nearby, or that there was none to make.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(50);
