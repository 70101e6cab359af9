//! [`Plan`]: everything that will happen to a run, as plain data. A seed draws one; a failing one is made smaller and saved.

mod draw;
mod work;

use serde::{Deserialize, Serialize};

pub(crate) use self::work::{Blow, Breaker, Order, Step, Work};

/// All times are milliseconds of virtual time from the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What the run draws its latencies and jitter from.
    pub(crate) seed: u64,
    /// Members run the real connection code over the simulated network; otherwise their engines meet the model directly.
    pub(crate) connections: bool,
    pub(crate) brokers: i32,
    /// Each broker in a rack, and each member in one of them: reading from followers (KIP-392).
    #[serde(default)] // plans that were saved before there were racks
    pub(crate) racks: bool,
    /// One way, least and most.
    pub(crate) latency: (u64, u64),
    pub(crate) topics: Vec<Topic>,
    pub(crate) protocol: Protocol,
    pub(crate) reset: Reset,
    pub(crate) session_timeout: u64,
    pub(crate) heartbeat_interval: u64,
    pub(crate) max_poll_interval: u64,
    pub(crate) initial_rebalance_delay: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) faults: Vec<Fault>,
    /// `metadata.max.age.ms`: where it is long, nothing is healed by the next refresh.
    #[serde(default = "ten_seconds")]
    pub(crate) metadata_max_age: u64,
    /// Connections take a few bytes at a time.
    #[serde(default)]
    pub(crate) partial_writes: bool,
    /// Batches are opened ahead as by a thread that is early, or late, or in the middle of it.
    #[serde(default)]
    pub(crate) opens_ahead: bool,
    /// Each life of a member finds the wall clock elsewhere.
    #[serde(default)]
    pub(crate) clock_jumps: bool,
    /// Members copy what they read, in transactions.
    #[serde(default)]
    pub(crate) copies: Option<Copies>,
    /// Members are workers.
    #[serde(default)]
    pub(crate) work: Option<Work>,
    /// Producers and faults are over by then.
    pub(crate) calm: u64,
}

/// What members that read, process and write in transactions have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copies {
    /// Of the topic that they write to.
    pub(crate) partitions: i32,
    /// The feature `transaction.version`: 2 has an epoch for each transaction (KIP-890).
    pub(crate) transaction_version: i16,
    /// All brokers are of this older release, as in [`Harm::Vintage`].
    pub(crate) vintage: Option<u8>,
    /// `transaction.timeout.ms`.
    pub(crate) timeout: u64,
    pub(crate) max_block: u64,
    pub(crate) linger: u64,
    /// By the loop of `offtake-exactly-once`, instead of one that is written out.
    #[serde(default)]
    pub(crate) steps: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) compacted: bool,
    /// `compression.type`; as it was sent if empty.
    #[serde(default)]
    pub(crate) compression: String,
}

fn ten_seconds() -> u64 {
    10_000
}

/// Which protocols the members of the group speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    Eager,
    Cooperative,
    /// Members that know both: eager or cooperative by vote.
    Voting,
    Consumer,
    /// Cooperative and KIP-848 members in one group.
    Migrating,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reset {
    Earliest,
    Latest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) joins: u64,
    /// When it ends of itself, and how.
    pub(crate) leaves: Option<(u64, Leave)>,
    /// How long after its end it comes again, once.
    pub(crate) returns: Option<u64>,
    pub(crate) assignors: String,
    pub(crate) consumer_protocol: bool,
    pub(crate) instance_id: bool,
    pub(crate) commits: Commits,
    pub(crate) auto_commit_interval: u64,
    pub(crate) read_committed: bool,
    /// For one record, least and most.
    pub(crate) processing: (u64, u64),
    pub(crate) max_poll_records: u32,
    pub(crate) poll_timeout: u64,
    /// How long a listener takes, and how often in a hundred it fails.
    pub(crate) listener: (u64, u64),
    /// How often in a hundred a future is dropped before it is ready.
    pub(crate) drops: u64,
    /// How often in a hundred it pauses a partition for a while.
    pub(crate) pauses: u64,
    pub(crate) fetch_max_bytes: u32,
    /// Takes changes of ownership as values (`Consumer::next`) instead of by a listener.
    #[serde(default)]
    pub(crate) values: bool,
    /// Subscribes to patterns: matched by the coordinator if it speaks KIP-848, else by itself.
    #[serde(default)]
    pub(crate) patterns: bool,
    /// Its listener pauses what it is given; the application resumes it some turns later.
    #[serde(default)]
    pub(crate) pauses_assigned: bool,
    /// For what one poll returned, beside each record: a batch that is written to a database.
    #[serde(default)]
    pub(crate) per_poll: u64,
    /// Its listener seeks in `assigned` to where the application's own store says that processing got to.
    #[serde(default)]
    pub(crate) keeps_offsets: bool,
    /// What it subscribes to later on, instead of what it was subscribed to before.
    #[serde(default)]
    pub(crate) resubscribes: Vec<Resubscribe>,
    /// It was started by mistake with the `group.instance.id` of this other one, which may be running.
    #[serde(default)]
    pub(crate) twin_of: Option<usize>,
    /// It has the `transactional.id` of this other one, which may be running.
    #[serde(default)]
    pub(crate) rival_of: Option<usize>,
    /// It assigns partitions by hand, those that its topics were created with, and commits for a group of its own.
    #[serde(default)]
    pub(crate) by_hand: bool,
}

/// A change of what a member is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resubscribe {
    pub(crate) at: u64,
    /// By their place in the plan.
    pub(crate) topics: Vec<usize>,
    /// By patterns rather than by name.
    pub(crate) patterns: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Leave {
    Close,
    /// Closes and stays in the group until its session ends (KIP-1092).
    Remain,
    Drop,
    Unsubscribe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Commits {
    Auto,
    /// `commit(&records).await` after each poll.
    Sync,
    Async,
    /// `store` each record when it is done, with `enable.auto.offset.store=false`.
    Store,
    /// `finish` each record when it is done, in any order, some of them turns later (`Builder::finish_each`).
    Each,
    /// By hand, from within `revoked` and now and then.
    Listener,
    /// With the copies of the records, in one transaction for each poll.
    Transaction,
    /// As `offtake-worker` does.
    Worker,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) topic: usize,
    pub(crate) kind: Kind,
    pub(crate) every: u64,
    /// So many batches.
    pub(crate) batches: u64,
    /// Records in a batch.
    pub(crate) records: u64,
    pub(crate) value_bytes: u64,
    /// So many in a hundred records with a key are tombstones.
    #[serde(default)]
    pub(crate) tombstones: u64,
    /// It numbers its batches, so that the cleaner keeps the last of each, though it be empty.
    #[serde(default)]
    pub(crate) idempotent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Plain,
    /// Batches in transactions, of which so many in a hundred are aborted; markers come so many milliseconds late; the last
    /// may never end.
    Transactional {
        aborts: u64,
        late: u64,
        hangs: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) what: Harm,
}

/// What is done. `for` is how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Harm {
    /// All that goes between a member and a broker takes longer.
    Slow {
        member: usize,
        broker: i32,
        by: u64,
        lasts: u64,
    },
    /// Nothing goes between them; bytes wait, as TCP's do.
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
    /// The next answer to a request of this kind: cut after so many bytes.
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
    /// The next answers of this kind come late.
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
    /// Legal by the protocol, and wrong.
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
    /// An unclean election: another replica leads, which had the log only up to there.
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
    /// The next requests of this kind wait at the broker for so long.
    Held {
        api: i16,
        lasts: u64,
    },
    /// A broker listens at another port from now on.
    Readdress {
        broker: i32,
        port: u16,
    },
    /// A broker dies, and comes back at another port.
    Comeback {
        broker: i32,
        lasts: u64,
        port: u16,
    },
    /// Two brokers change places: each listens where the other did.
    Swap {
        one: i32,
        other: i32,
    },
    /// An operator sets the group's committed offsets of a topic, so many hundredths into each log. Kafka allows it while the
    /// group has no members.
    ResetOffsets {
        topic: usize,
        percent: i64,
    },
    /// An operator deletes the group's committed offsets of a topic. Kafka allows it while nobody of the group subscribes to it.
    DeleteOffsets {
        topic: usize,
    },
    /// The next Fetch answers have what they can in message format 0 or 1, each batch compressed or message by message.
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
    /// Transactions that end get their markers only after so long.
    HoldMarkers {
        lasts: u64,
    },
    /// The application does not poll for so long.
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
    /// INPUT20: brokers that cannot be.
    StrangeBrokers,
    /// INPUT48: aborted transactions twice.
    AbortedTwice,
    /// K2: an aborted transaction without a record here.
    AbortedElsewhere,
    /// I9: the replica to read from is broker 1, and no records.
    PreferredReplica,
    /// F6: a heartbeat interval of 0.
    NoInterval,
    /// The coordinator is a broker that is none.
    CoordinatorNowhere,
}

impl Odd {
    /// Its class.
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

/// What applications do that is counted too: each must be done within a thousand seeds.
pub(crate) const HABITS: &[&str] = &[
    "offsets kept elsewhere",
    "subscription changed",
    "fenced by a twin",
    "assigned by hand",
    "opened ahead early or late",
    "wall clock jumped",
    "copied in steps",
    "copies committed",
    "copies aborted",
    "outcome of copies unknown",
    "transactional id fenced",
    "handler failed",
    "handler panicked",
    "handler dropped",
    "record dead-lettered",
    "record put aside",
    "handler blocked",
    "finished beyond a gap",
    "partition stopped",
    "breaker opened",
    "worker stopped clean",
];

impl Plan {
    /// Whether these two processes have one `group.instance.id`.
    pub(crate) fn are_twins(&self, one: usize, other: usize) -> bool {
        let first = |member: usize| self.members[member].twin_of.unwrap_or(member);
        one != other && self.members[one].instance_id && first(one) == first(other)
    }

    /// The group that a member commits for.
    pub(crate) fn group_of(&self, member: usize) -> String {
        if self.members[member].by_hand { format!("h{member}") } else { crate::world::GROUP.to_owned() }
    }

    pub(crate) fn is_by_hand(&self, member: usize) -> bool {
        self.members.get(member).is_some_and(|member| member.by_hand)
    }

    /// Whether something is in it that most plans do not have, by its name on the command line.
    pub(crate) fn has(&self, what: &str) -> bool {
        let fault = |is: fn(&Harm) -> bool| self.faults.iter().any(|fault| is(&fault.what));
        match what {
            "twins" => self.members.iter().any(|member| member.twin_of.is_some()),
            "subscriptions" => self.members.iter().any(|member| !member.resubscribes.is_empty()),
            "hand" => self.members.iter().any(|member| member.by_hand),
            "legacy" => fault(|harm| matches!(harm, Harm::Legacy { .. })),
            "ahead" => self.opens_ahead,
            "copies" => self.copies.is_some() && self.work.is_none(),
            "steps" => self.work.is_none() && self.copies.as_ref().is_some_and(|copies| copies.steps),
            "transactions" => self.work.as_ref().is_some_and(|work| work.transactional),
            "workers" => self.work.is_some(),
            "blocking" => self.work.as_ref().is_some_and(|work| work.blocking),
            "retries" => self.work.as_ref().is_some_and(|work| !work.retries.is_empty()),
            "breakers" => self.work.as_ref().is_some_and(|work| work.breaker.is_some()),
            "rivals" => self.members.iter().any(|member| member.rival_of.is_some()),
            "resets" => fault(|harm| matches!(harm, Harm::ResetOffsets { .. } | Harm::DeleteOffsets { .. })),
            "addresses" => fault(|harm| matches!(harm, Harm::Comeback { .. } | Harm::Swap { .. })),
            "cleaning" => {
                self.producers.iter().any(|producer| producer.tombstones > 0 || producer.idempotent)
            }
            _ => false,
        }
    }

    /// By whom a member's transactions are made.
    pub(crate) fn transactional_id(&self, member: usize) -> String {
        format!("copier-{}", self.members[member].rival_of.unwrap_or(member))
    }

    /// Whether these two processes have one `transactional.id`.
    pub(crate) fn are_rivals(&self, one: usize, other: usize) -> bool {
        one != other && self.transactional_id(one) == self.transactional_id(other)
    }

    /// Whether somebody is killed or stopped at a step, which no fault says.
    pub(crate) fn has_strikes(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.strikes.is_empty())
    }

    pub(crate) fn has_a_twin(&self, member: usize) -> bool {
        (0..self.members.len()).any(|other| self.are_twins(member, other))
    }

    /// What the members' wall clocks show at the start, in milliseconds since 1970: in most runs something sensible, and
    /// sometimes not (FAILURES M5). Nothing may depend on it.
    pub(crate) fn wall_clock(&self, life: u32) -> i64 {
        const YEAR: i64 = 31_557_600_000;
        let jump = if self.clock_jumps { u64::from(life) * 3 } else { 0 };
        match (self.seed + jump) % 8 {
            0 => 0,
            1 => 130 * YEAR,
            _ => 57 * YEAR,
        }
    }
}

impl Harm {
    /// Its class: on or off for a whole seed, and counted.
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
}

impl Harm {
    /// The member that it names.
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
}
