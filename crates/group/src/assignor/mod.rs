//! [`Assignor`]: who of a group reads which partitions. The leader of a classic group computes it for all.
//!
//! The assignments are those of Java's classes of the same names, so that it does not matter who leads a mixed group.
//! Where Java lets a hash table decide between equals, we ask the same question of the same hash (`java`). We part with
//! Java where it goes wrong: claims to partitions that a topic no longer has, a member that subscribes to nothing at
//! all, and a partition that two members claim and that goes to the one whose claim is void.
//! Partition counts are all that is looked at: rack-aware assignment (KIP-881) is not made yet, though a member's rack is
//! told to the other leaders.
//!
//! Always true:
//! - a partition goes to at most one member, and only to one that subscribes to its topic;
//! - claims to partitions that do not exist are ignored, and so are those that a newer generation contradicts (KIP-792);
//! - the work is bounded, whatever the members wrote (FAILURES D6, D7, bug 26).

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Topic, TopicPartition, mutant};

mod java;
mod range;
mod roundrobin;
mod sticky;
mod subscription;

pub use subscription::MemberSubscription;
pub(crate) use subscription::{Claim, decode_assignment, encode_assignment, encode_subscription};

/// How many partitions each topic has. Topics without metadata are missing, and nobody gets any of theirs.
pub type PartitionCounts = BTreeMap<Topic, i32>;

/// What each member gets, in order of topic and partition. Every member is in it.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

/// How members share partitions out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// Of each topic, a run of neighbouring partitions: partition *n* of two topics goes to the same member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// As even as can be, and moving as little as possible; yet everybody stops while it is decided.
    Sticky,
    /// The same, but only partitions that move are stopped (KIP-429).
    CooperativeSticky,
}

/// What a member gives up before a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Everything, before it joins again.
    Eager,
    /// Nothing before; afterwards what it has been told to.
    Cooperative,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// The name by which members agree on it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// How its members rebalance.
    pub fn protocol(self) -> RebalanceProtocol {
        match self {
            Self::Range | Self::RoundRobin | Self::Sticky => RebalanceProtocol::Eager,
            Self::CooperativeSticky => RebalanceProtocol::Cooperative,
        }
    }

    /// Who gets what.
    ///
    /// Cooperative: a partition that moves is nobody's in this round; its owner gives it up and joins again, and then
    /// it is assigned (FAILURES E1).
    pub fn assign(
        self,
        counts: &PartitionCounts,
        members: &BTreeMap<String, MemberSubscription>,
    ) -> Assignment {
        let mut assignment = match self {
            Self::Range => range::assign(counts, members),
            Self::RoundRobin => roundrobin::assign(counts, members),
            Self::Sticky => sticky::assign(counts, members, sticky::Moves::AtOnce),
            Self::CooperativeSticky => sticky::assign(counts, members, sticky::Moves::AfterRelease),
        };
        if mutant!(26) && assignment.len() > 1 {
            assignment.values_mut().find(|partitions| !partitions.is_empty()).map(Vec::pop);
        }
        assignment.values_mut().for_each(|partitions| partitions.sort_unstable());
        assignment
    }
}

impl std::fmt::Display for Assignor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Nothing for anybody yet.
fn nothing(members: &BTreeMap<String, MemberSubscription>) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

/// Member ids in the order in which partitions are dealt: static members by instance id, then the others by member id,
/// so that the order survives a restart of a static member (KIP-345).
fn dealing_order(members: &BTreeMap<String, MemberSubscription>) -> Vec<&str> {
    let mut ids: Vec<&str> = members.keys().map(String::as_str).collect();
    ids.sort_by_key(|id| {
        let instance = members.get(*id).and_then(|member| member.instance_id.as_deref());
        (instance.is_none(), instance, *id)
    });
    ids
}

/// The topics that somebody subscribes to and that have partitions.
fn subscribed<'a>(
    counts: &'a PartitionCounts,
    members: &BTreeMap<String, MemberSubscription>,
) -> BTreeMap<&'a Topic, i32> {
    let wanted: BTreeSet<&Topic> = members.values().flat_map(|member| &member.topics).collect();
    counts
        .iter()
        .filter(|(topic, count)| **count > 0 && wanted.contains(topic))
        .map(|(t, n)| (t, *n))
        .collect()
}
