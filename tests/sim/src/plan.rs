//! [`Plan`]: everything that will happen in a run, as plain data. A seed draws one; a failing one is shrunk and saved.

mod draw;
mod fault_kind;
mod work;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    fault_kind::{CLASSES, Fault, FaultKind, Odd},
    work::{Blow, Breaker, Moment, Order, Strike, Work},
};

/// All times are milliseconds of virtual time from the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The seed of the run's latencies and jitter.
    pub(crate) seed: u64,
    /// Members use the real connection code over the simulated network; otherwise their engines call the model directly.
    pub(crate) connections: bool,
    pub(crate) brokers: i32,
    /// Each broker is in a rack, and each member in one of them: reading from followers (KIP-392).
    #[serde(default)] // plans saved before racks existed
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
    /// `metadata.max.age.ms`: where it is long, the next refresh repairs nothing.
    #[serde(default = "ten_seconds")]
    pub(crate) metadata_max_age: u64,
    /// Connections accept a few bytes at a time.
    #[serde(default)]
    pub(crate) partial_writes: bool,
    /// Batches are decoded ahead as by a thread that is early, or late, or in the middle of it.
    #[serde(default)]
    pub(crate) opens_ahead: bool,
    /// Each life of a member starts with another wall-clock time.
    #[serde(default)]
    pub(crate) clock_jumps: bool,
    /// Members copy what they read, in transactions.
    #[serde(default)]
    pub(crate) copies: Option<Copies>,
    /// Members are workers.
    #[serde(default)]
    pub(crate) work: Option<Work>,
    /// By then producers and faults have ended.
    pub(crate) calm: u64,
}

/// The settings of members that read, process and write in transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copies {
    /// The number of partitions of the topic that they write to.
    pub(crate) partitions: i32,
    /// The feature `transaction.version`: 2 has an epoch for each transaction (KIP-890).
    pub(crate) transaction_version: i16,
    /// All brokers are of this older release, as in [`FaultKind::Vintage`].
    pub(crate) vintage: Option<u8>,
    /// `transaction.timeout.ms`.
    pub(crate) timeout: u64,
    pub(crate) max_block: u64,
    pub(crate) linger: u64,
    /// Uses the loop of `offtake-exactly-once`, instead of one that is written out.
    #[serde(default)]
    pub(crate) steps: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) compacted: bool,
    /// `compression.type`; empty: as sent.
    #[serde(default)]
    pub(crate) compression: String,
}

fn ten_seconds() -> u64 {
    10_000
}

/// The protocols of the group's members.
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
    /// When and how it ends by itself.
    pub(crate) leaves: Option<(u64, Leave)>,
    /// How long after its end it returns, once.
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
    /// How long a listener takes, and in how many per cent of its calls it fails.
    pub(crate) listener: (u64, u64),
    /// The percentage of futures that are dropped before they are ready.
    pub(crate) drops: u64,
    /// The percentage of turns in which it pauses a partition for a while.
    pub(crate) pauses: u64,
    pub(crate) fetch_max_bytes: u32,
    /// Takes changes of ownership as values (`Consumer::next`) instead of by a listener.
    #[serde(default)]
    pub(crate) values: bool,
    /// Subscribes to patterns: matched by the coordinator with KIP-848, else by the client.
    #[serde(default)]
    pub(crate) patterns: bool,
    /// Its listener pauses the assigned partitions; the application resumes them some turns later.
    #[serde(default)]
    pub(crate) pauses_assigned: bool,
    /// Added once per poll, beside each record's time, as for a batch that is written to a database.
    #[serde(default)]
    pub(crate) per_poll: u64,
    /// Its listener seeks in `assigned` to the progress in the application's own store.
    #[serde(default)]
    pub(crate) keeps_offsets: bool,
    /// Later subscriptions, each in place of the one before.
    #[serde(default)]
    pub(crate) resubscribes: Vec<Resubscribe>,
    /// It was started by mistake with the `group.instance.id` of this member, which may be running.
    #[serde(default)]
    pub(crate) twin_of: Option<usize>,
    /// It has the `transactional.id` of this member, which may be running.
    #[serde(default)]
    pub(crate) rival_of: Option<usize>,
    /// It assigns by hand the partitions with which its topics were created, and commits for a group of its own.
    #[serde(default)]
    pub(crate) by_hand: bool,
}

/// A change of a member's subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resubscribe {
    pub(crate) at: u64,
    /// Indexes of topics in the plan.
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
    /// `store` for each finished record, with `enable.auto.offset.store=false`.
    Store,
    /// `finish` for each record, in any order, some of them turns later (`Builder::finish_each`).
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
    /// The number of batches.
    pub(crate) batches: u64,
    /// Records in a batch.
    pub(crate) records: u64,
    pub(crate) value_bytes: u64,
    /// The percentage of records with a key that are tombstones.
    #[serde(default)]
    pub(crate) tombstones: u64,
    /// It numbers its batches, so that the cleaner keeps the last of each, even if it is empty.
    #[serde(default)]
    pub(crate) idempotent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Plain,
    /// Batches in transactions, a percentage of which is aborted; markers are late by some milliseconds; the last one may never end.
    Transactional {
        aborts: u64,
        late: u64,
        hangs: bool,
    },
}

/// Habits of applications that are counted too: each must occur within a thousand seeds.
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
    /// Whether these two processes have the same `group.instance.id`.
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

    /// Whether the plan has this uncommon feature, by its name on the command line.
    pub(crate) fn has(&self, what: &str) -> bool {
        let fault = |is: fn(&FaultKind) -> bool| self.faults.iter().any(|fault| is(&fault.what));
        match what {
            "twins" => self.members.iter().any(|member| member.twin_of.is_some()),
            "subscriptions" => self.members.iter().any(|member| !member.resubscribes.is_empty()),
            "hand" => self.members.iter().any(|member| member.by_hand),
            "legacy" => fault(|kind| matches!(kind, FaultKind::Legacy { .. })),
            "ahead" => self.opens_ahead,
            "copies" => self.copies.is_some() && self.work.is_none(),
            "steps" => self.work.is_none() && self.copies.as_ref().is_some_and(|copies| copies.steps),
            "transactions" => self.work.as_ref().is_some_and(|work| work.transactional),
            "workers" => self.work.is_some(),
            "blocking" => self.work.as_ref().is_some_and(|work| work.blocking),
            "retries" => self.work.as_ref().is_some_and(|work| !work.retries.is_empty()),
            "breakers" => self.work.as_ref().is_some_and(|work| work.breaker.is_some()),
            "rivals" => self.members.iter().any(|member| member.rival_of.is_some()),
            "resets" => {
                fault(|kind| matches!(kind, FaultKind::ResetOffsets { .. } | FaultKind::DeleteOffsets { .. }))
            }
            "addresses" => fault(|kind| matches!(kind, FaultKind::Comeback { .. } | FaultKind::Swap { .. })),
            "cleaning" => {
                self.producers.iter().any(|producer| producer.tombstones > 0 || producer.idempotent)
            }
            _ => false,
        }
    }

    /// The `transactional.id` of a member.
    pub(crate) fn transactional_id(&self, member: usize) -> String {
        format!("copier-{}", self.members[member].rival_of.unwrap_or(member))
    }

    /// Whether these two processes have the same `transactional.id`.
    pub(crate) fn are_rivals(&self, one: usize, other: usize) -> bool {
        one != other && self.transactional_id(one) == self.transactional_id(other)
    }

    /// Whether a member is killed or stopped at a step, which is not among the faults.
    pub(crate) fn has_strikes(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.strikes.is_empty())
    }

    pub(crate) fn has_a_twin(&self, member: usize) -> bool {
        (0..self.members.len()).any(|other| self.are_twins(member, other))
    }

    /// The members' wall-clock time at the start, in milliseconds since 1970: plausible in most runs, and sometimes not (FAILURES M5).
    /// Nothing may depend on it.
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
