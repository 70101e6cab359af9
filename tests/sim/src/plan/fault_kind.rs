//! [`Fault`]: what happens in a run, and when.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) what: FaultKind,
}

/// A kind of fault. `for` is its duration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FaultKind {
    /// Traffic between a member and a broker takes longer.
    Slow {
        member: usize,
        broker: i32,
        by: u64,
        lasts: u64,
    },
    /// No traffic between them; bytes wait, as in TCP.
    Partition {
        member: usize,
        broker: i32,
        lasts: u64,
        one_way: bool,
    },
    /// Connections between them are reset.
    Reset {
        member: usize,
        broker: i32,
    },
    /// The next answer to a request of this kind is cut after this many bytes.
    Cut {
        api: i16,
        after: usize,
    },
    /// The next requests of this kind take effect, and their answers are lost with the connection.
    Lose {
        api: i16,
        times: u32,
    },
    /// The next requests of this kind are never answered.
    Swallow {
        api: i16,
        times: u32,
    },
    /// The next answers of this kind are late.
    Late {
        api: i16,
        by: u64,
        times: u32,
    },
    /// The next requests of this kind are answered with this code.
    Code {
        api: i16,
        code: i16,
        times: u32,
    },
    Throttle {
        api: i16,
        by: u64,
    },
    /// Bytes of the next Fetch answers flip.
    Corrupt {
        times: u32,
    },
    /// Legal by the protocol, but wrong.
    Odd {
        which: Odd,
        times: u32,
    },
    Resolve {
        member: usize,
        lasts: u64,
    },
    PauseBroker {
        broker: i32,
        lasts: u64,
    },
    CrashBroker {
        broker: i32,
        lasts: u64,
    },
    MoveCoordinator {
        to: i32,
    },
    LoadGroups {
        broker: i32,
    },
    ForgetGroup,
    MoveLeader {
        topic: usize,
        partition: i32,
        to: i32,
    },
    EvictSessions {
        broker: i32,
    },
    Vintage {
        broker: i32,
        which: u8,
    },
    Crash {
        member: usize,
        returns: Option<u64>,
    },
    Freeze {
        member: usize,
        lasts: u64,
    },
    Grow {
        topic: usize,
    },
    Recreate {
        topic: usize,
    },
    Truncate {
        topic: usize,
        partition: i32,
        by: i64,
    },
    Retain {
        topic: usize,
        partition: i32,
        keep: i64,
    },
    Compact {
        topic: usize,
        partition: i32,
    },
    /// An unclean election of another replica, whose log reached only up to there.
    Elect {
        topic: usize,
        partition: i32,
        by: i64,
        to: i32,
    },
    /// The topic is deleted for good.
    Delete {
        topic: usize,
    },
    /// The next requests of this kind are lost, and the connection stays open and silent.
    Drop {
        api: i16,
        times: u32,
    },
    /// The next requests of this kind wait at the broker for this long.
    Held {
        api: i16,
        lasts: u64,
    },
    /// A broker listens at another port from now on.
    Readdress {
        broker: i32,
        port: u16,
    },
    /// A broker dies, and returns at another port.
    Comeback {
        broker: i32,
        lasts: u64,
        port: u16,
    },
    /// Two brokers swap places: each listens where the other did.
    Swap {
        one: i32,
        other: i32,
    },
    /// An operator sets the group's committed offsets of a topic, to this percentage of each log. Kafka allows it while the group has no
    /// members.
    ResetOffsets {
        topic: usize,
        percent: i64,
    },
    /// An operator deletes the group's committed offsets of a topic. Kafka allows it while no member subscribes to it.
    DeleteOffsets {
        topic: usize,
    },
    /// The next Fetch answers use message format 0 or 1 as far as possible, with each batch compressed or message by message.
    Legacy {
        magic: i8,
        packed: bool,
        times: u32,
    },
    /// Another broker coordinates the transactions of a member.
    MoveTransactions {
        member: usize,
        to: i32,
    },
    /// Another broker leads a partition of the topic of copies.
    MoveCopies {
        partition: i32,
        to: i32,
    },
    /// Another broker leads a partition of the topic of dead letters.
    MoveLetters {
        partition: i32,
        to: i32,
    },
    /// Transactions that end get their markers only after this long.
    HoldMarkers {
        lasts: u64,
    },
    /// The application does not poll for this long.
    Stall {
        member: usize,
        lasts: u64,
    },
}

/// Answers that are wrong but legal (`docs/failures.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Odd {
    /// I4: a partition twice in one Fetch answer.
    FetchTwice,
    /// I3: a partition that was not asked for.
    FetchUnasked,
    /// I2: session id 0.
    NoSession,
    /// K1: the aborted list in reverse.
    AbortsReversed,
    /// H12: a partition missing from an OffsetFetch answer.
    CommittedOmitted,
    /// F5: a partition twice in an assignment.
    AssignedTwice,
    /// F6: an epoch of -1 in a good answer.
    NegativeEpoch,
    /// B6: no error and no partitions.
    NoPartitions,
    /// B2: a leader epoch older than the last.
    OldEpoch,
    /// L7: a negative offset in a good ListOffsets answer.
    NegativeOffset,
    /// L4: undefined epoch and offset in a good OffsetForLeaderEpoch answer.
    UndefinedEpoch,
    /// B5, B7: topics are not mentioned.
    NoTopics,
    /// B2: leader epochs are unknown.
    NoEpochs,
    /// INPUT20: impossible brokers.
    StrangeBrokers,
    /// INPUT48: aborted transactions twice.
    AbortedTwice,
    /// K2: an aborted transaction without a record here.
    AbortedElsewhere,
    /// I9: the replica to read from is broker 1, without records.
    PreferredReplica,
    /// F6: a heartbeat interval of 0.
    NoInterval,
    /// The coordinator is a broker that does not exist.
    CoordinatorNowhere,
}

impl Odd {
    /// The class of the oddity.
    fn class(self) -> &'static str {
        match self {
            Self::FetchTwice => "odd answer: a fetched partition twice",
            Self::FetchUnasked => "odd answer: a partition that was not asked for",
            Self::NoSession => "odd answer: no fetch session",
            Self::AbortsReversed => "odd answer: aborted transactions reversed",
            Self::CommittedOmitted => "odd answer: a committed offset left out",
            Self::AssignedTwice => "odd answer: a partition assigned twice",
            Self::NegativeEpoch => "odd answer: a negative member epoch",
            Self::NoPartitions => "odd answer: topics without partitions",
            Self::OldEpoch => "odd answer: metadata of the past",
            Self::NegativeOffset => "odd answer: a negative offset",
            Self::UndefinedEpoch => "odd answer: an undefined epoch",
            Self::NoTopics => "odd answer: metadata without topics",
            Self::NoEpochs => "odd answer: metadata without epochs",
            Self::StrangeBrokers => "odd answer: brokers that cannot be",
            Self::AbortedTwice => "odd answer: aborted transactions twice",
            Self::AbortedElsewhere => "odd answer: a transaction aborted elsewhere",
            Self::PreferredReplica => "odd answer: another replica preferred",
            Self::NoInterval => "odd answer: no heartbeat interval",
            Self::CoordinatorNowhere => "odd answer: a coordinator that is none",
        }
    }
}

/// Every class of fault, as it is counted: each must strike within a thousand seeds.
pub(crate) const CLASSES: &[&str] = &[
    "slow network",
    "network partition",
    "connection reset",
    "answer cut",
    "answer lost",
    "request swallowed",
    "late answer",
    "error code",
    "throttle",
    "corruption",
    "name resolution",
    "broker paused",
    "broker crash",
    "coordinator moved",
    "coordinator loading",
    "group forgotten",
    "leader moved",
    "fetch sessions evicted",
    "older broker",
    "member crash",
    "member stopped",
    "partitions added",
    "topic recreated",
    "truncation",
    "retention",
    "compaction",
    "application stalls",
    "unclean election",
    "topic deleted",
    "request dropped",
    "request held",
    "broker moved",
    "broker back elsewhere",
    "brokers changed places",
    "committed offsets reset",
    "committed offsets deleted",
    "batch emptied by the cleaner",
    "transaction coordinator moved",
    "leader of copies moved",
    "leader of dead letters moved",
    "markers held back",
    "older message format",
    "odd answer: a fetched partition twice",
    "odd answer: a partition that was not asked for",
    "odd answer: no fetch session",
    "odd answer: aborted transactions reversed",
    "odd answer: a committed offset left out",
    "odd answer: a partition assigned twice",
    "odd answer: a negative member epoch",
    "odd answer: topics without partitions",
    "odd answer: metadata of the past",
    "odd answer: a negative offset",
    "odd answer: an undefined epoch",
    "odd answer: metadata without topics",
    "odd answer: metadata without epochs",
    "odd answer: brokers that cannot be",
    "odd answer: aborted transactions twice",
    "odd answer: a transaction aborted elsewhere",
    "odd answer: another replica preferred",
    "odd answer: no heartbeat interval",
    "odd answer: a coordinator that is none",
];

impl FaultKind {
    /// The class of the fault: on or off for a whole seed, and counted.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow network",
            Self::Partition { .. } => "network partition",
            Self::Reset { .. } => "connection reset",
            Self::Cut { .. } => "answer cut",
            Self::Lose { .. } => "answer lost",
            Self::Swallow { .. } => "request swallowed",
            Self::Late { .. } => "late answer",
            Self::Code { .. } => "error code",
            Self::Throttle { .. } => "throttle",
            Self::Corrupt { .. } => "corruption",
            Self::Odd { which, .. } => which.class(),
            Self::Elect { .. } => "unclean election",
            Self::Delete { .. } => "topic deleted",
            Self::Drop { .. } => "request dropped",
            Self::Held { .. } => "request held",
            Self::Readdress { .. } => "broker moved",
            Self::Comeback { .. } => "broker back elsewhere",
            Self::Swap { .. } => "brokers changed places",
            Self::Legacy { .. } => "older message format",
            Self::DeleteOffsets { .. } => "committed offsets deleted",
            Self::ResetOffsets { .. } => "committed offsets reset",
            Self::Resolve { .. } => "name resolution",
            Self::PauseBroker { .. } => "broker paused",
            Self::CrashBroker { .. } => "broker crash",
            Self::MoveCoordinator { .. } => "coordinator moved",
            Self::LoadGroups { .. } => "coordinator loading",
            Self::ForgetGroup => "group forgotten",
            Self::MoveLeader { .. } => "leader moved",
            Self::EvictSessions { .. } => "fetch sessions evicted",
            Self::Vintage { .. } => "older broker",
            Self::Crash { .. } => "member crash",
            Self::Freeze { .. } => "member stopped",
            Self::Grow { .. } => "partitions added",
            Self::Recreate { .. } => "topic recreated",
            Self::Truncate { .. } => "truncation",
            Self::Retain { .. } => "retention",
            Self::Compact { .. } => "compaction",
            Self::Stall { .. } => "application stalls",
            Self::MoveTransactions { .. } => "transaction coordinator moved",
            Self::MoveCopies { .. } => "leader of copies moved",
            Self::MoveLetters { .. } => "leader of dead letters moved",
            Self::HoldMarkers { .. } => "markers held back",
        }
    }

    /// The member that the fault names.
    pub(crate) fn member(&self) -> Option<usize> {
        match self {
            Self::Slow { member, .. }
            | Self::Partition { member, .. }
            | Self::Reset { member, .. }
            | Self::Resolve { member, .. }
            | Self::Crash { member, .. }
            | Self::Freeze { member, .. }
            | Self::MoveTransactions { member, .. }
            | Self::Stall { member, .. } => Some(*member),
            _ => None,
        }
    }

    /// Whether a log may afterwards have other records at offsets that were read.
    pub(super) fn rewrites(&self) -> bool {
        matches!(
            self,
            Self::Truncate { .. } | Self::Elect { .. } | Self::Recreate { .. } | Self::Delete { .. }
        )
    }

    /// Whether reads or commits may be undone.
    pub(super) fn takes_back(&self) -> bool {
        self.rewrites()
            || matches!(
                self,
                Self::ResetOffsets { .. }
                    | Self::DeleteOffsets { .. }
                    | Self::ForgetGroup
                    | Self::Vintage { .. }
                    | Self::Odd { which: Odd::UndefinedEpoch, .. }
            )
    }
}
