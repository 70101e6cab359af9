//! What the handle asks of the engine, and what the engine tells the handle.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use offtake_fetch::{Chunk, Watermarks};
use offtake_group::{GroupMembership, ReleaseId};
use offtake_machine::{PartitionInfo, Position, Token, Topic, TopicPartition};
use regex::Regex;
use tokio::sync::oneshot;

use crate::{
    error::{Error, Result},
    event::Event,
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
};

/// Answers one command.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

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
    Released(ReleaseId),
    /// Gives up everything and leaves the group; the listener has run.
    Unsubscribe {
        reason: &'static str,
        reply: Reply<()>,
    },
    Seek {
        partition: TopicPartition,
        at: StartAt,
        reply: Reply<()>,
    },
    Pause {
        partitions: Vec<TopicPartition>,
    },
    Resume {
        partitions: Vec<TopicPartition>,
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
    /// Waits until no commit is under way, at most until the deadline.
    SettleCommits {
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
    /// The handle has begun to hand out what comes again since the cluster moved the position back.
    MovedBack {
        partition: TopicPartition,
        token: Token,
    },
    /// The handle is done with a chunk of so many bytes.
    Freed {
        partition: TopicPartition,
        bytes: usize,
    },
    /// `poll` is called on this runtime from now on.
    RunsOn(tokio::runtime::Handle),
    /// Ends the running `poll`, or the next.
    Wake,
    /// `poll` was called after it had not been for `max.poll.interval.ms`.
    Polled,
    Close {
        deadline: Instant,
        group_membership: GroupMembership,
        reply: Reply<()>,
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

/// From the engine to the handle, in order.
#[derive(Debug)]
pub(crate) enum Notice {
    Assigned {
        added: Vec<(TopicPartition, Token)>,
        owned: Vec<TopicPartition>,
        generation: Option<i32>,
    },
    Revoke {
        id: ReleaseId,
        partitions: Vec<TopicPartition>,
        owned: Vec<TopicPartition>,
        generation: i32,
        /// When the group waits no longer.
        release_by: Option<Instant>,
    },
    Lost {
        id: ReleaseId,
        partitions: Vec<TopicPartition>,
        owned: Vec<TopicPartition>,
        generation: i32,
    },
    /// Reading starts (again) here.
    Started {
        partition: TopicPartition,
        token: Token,
        position: Position,
        /// What the chunks bear that are read from here on.
        run: u64,
        /// How it came to be there, if not by reading on: [`Event::Truncated`], [`Event::Reset`].
        jumps: Vec<Event>,
    },
    /// There is nothing to read where reading started.
    AtEnd {
        partition: TopicPartition,
        token: Token,
        watermarks: Watermarks,
    },
    /// Records fetched under an older token are not to be handed out.
    Sought {
        partition: TopicPartition,
        token: Token,
    },
    Paused {
        partitions: Vec<TopicPartition>,
    },
    Resumed {
        partitions: Vec<TopicPartition>,
    },
    /// To be returned from `poll` once; if `last`, after everything that is buffered.
    Failed {
        error: Error,
        /// Its partition has stopped there: what was fetched before it comes first.
        last: bool,
    },
    /// What `next` tells of it.
    PollIntervalExceeded(Event),
    /// `poll` returns at once.
    Wake,
    /// The session is known to be alive again, after a time when it was not.
    Current,
}

/// What the engine puts out for the handle.
#[derive(Debug)]
pub(crate) enum Output {
    Notice(Notice),
    Chunk(Chunk),
    /// Answers a command after which the handle looks at the notices: they have been sent before it.
    Reply(Reply<()>, Result<()>),
}

/// How long a listener's or a closing commit may take when nobody said.
pub(crate) const CLOSING_COMMIT: Duration = Duration::from_secs(10);
