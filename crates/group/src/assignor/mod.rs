//! [`Assignor`]: decides which member of a group reads which partitions. The leader of a classic group
//! computes the assignment of all members.
//!
//! [`BuiltIn`] has Kafka's own assignors. An application may bring a custom one; [`Strategy`] is either.
//!
//! The built-in assignors give the same assignments as Java's classes of the same names, so that it does not
//! matter which client leads a mixed group. Racks count where they do in Java (KIP-881, `racks`). Where the
//! order of a Java hash table decides between equals, we use the same order (`java`). We differ from Java
//! where it fails: claims to partitions that a topic no longer has, a member without a subscription, a
//! partition that two members claim and that goes to the one whose claim has lost, and cooperative groups
//! that would rebalance for ever because of racks.
//!
//! Always true, for custom assignors, too:
//! - a partition goes to at most one member, and only to one that subscribes to its topic;
//! - in a cooperative rebalance a partition that another member owns stays unassigned until it is revoked
//!   (KIP-429);
//! - claims to partitions that do not exist are ignored, and so are those that a newer generation contradicts (KIP-792);
//! - the work of the built-in ones is bounded, whatever the members have sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use offtake_machine::{Topic, TopicPartition};

mod claims;
mod custom;
mod index;
mod java;
mod numbered;
mod partitions;
mod racks;
mod range;
mod roundrobin;
mod sticky;
mod subscription;
mod wire;

pub use custom::AssignorFault;
pub use partitions::{Partitions, Racks};
pub use subscription::MemberSubscription;
pub(crate) use subscription::{Claim, encode_subscription};
pub use wire::{Subscriptions, decode_assignment, encode_assignment};

use numbered::{Group, Plan};

/// The members of a group by id, with the leader's knowledge of each.
pub type Members = BTreeMap<String, MemberSubscription>;

/// The partitions of each member, in order of topic and partition. Every member has an entry.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

/// The assignment of a custom assignor for one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberAssignment {
    /// The partitions, each of a topic that the member subscribes to.
    pub partitions: Vec<TopicPartition>,
    /// Passed to [`Assignor::on_assignment`] at that member.
    pub user_data: Option<Bytes>,
}

impl From<Vec<TopicPartition>> for MemberAssignment {
    fn from(partitions: Vec<TopicPartition>) -> Self {
        Self { partitions, user_data: None }
    }
}

/// A custom partition assignor for classic groups, like Java's `ConsumerPartitionAssignor`.
///
/// All members of the group need an assignor of the same name. The [`assign`](Self::assign) of the leader decides for all. It is
/// called on the thread that also sends heartbeats, so it must not block.
///
/// The assignment is validated, so that a mistake never gives a partition two owners. A partition that is
/// given twice goes to one of the two members. Partitions and members that do not exist are left out. In a
/// cooperative rebalance a partition that another member still owns is assigned in the next round, after its
/// revocation. A partition that is given to no member is not read. If `assign` panics, `sticky` or
/// `cooperative-sticky` assigns instead. Each correction is logged as one warning ([`AssignorFault`]).
pub trait Assignor: Send + Sync + 'static {
    /// Its name in `partition.assignment.strategy`. Kafka's own are `range`, `roundrobin`, `sticky` and `cooperative-sticky`.
    fn name(&self) -> &str;

    /// How the members rebalance. The default is eager.
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// User data for the leader's assignor, sent with every JoinGroup; by default none. `topics` is the member's subscription. The
    /// leader finds the data in [`MemberSubscription::user_data`].
    fn subscription_user_data(&self, topics: &BTreeSet<Topic>) -> Option<Bytes> {
        let _ = topics;
        None
    }

    /// The assignment of all members, computed by the leader. Members that are left out get nothing.
    fn assign(&self, partitions: &Partitions, members: &Members) -> BTreeMap<String, MemberAssignment>;

    /// Called at each member with its own assignment, in order of topic and partition, and the generation.
    fn on_assignment(&self, assignment: &MemberAssignment, generation: i32) {
        let _ = (assignment, generation);
    }
}

/// Which partitions a member revokes for a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Everything, before it joins.
    Eager,
    /// Only what moves, after the rebalance (KIP-429).
    Cooperative,
}

/// Kafka's own assignors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuiltIn {
    /// Consecutive partitions of each topic: partition *n* of two topics goes to the same member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Balanced, and moving as few partitions as possible. All members stop during a rebalance.
    Sticky,
    /// The same, but only partitions that move are revoked (KIP-429).
    CooperativeSticky,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Its name in `partition.assignment.strategy`.
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

    /// How the members rebalance.
    pub fn protocol(self) -> RebalanceProtocol {
        match self {
            Self::Range | Self::RoundRobin | Self::Sticky => RebalanceProtocol::Eager,
            Self::CooperativeSticky => RebalanceProtocol::Cooperative,
        }
    }

    /// The assignment of all members.
    ///
    /// In a cooperative rebalance a partition that moves stays unassigned in this round. Its owner revokes it
    /// and rejoins, and then it is assigned.
    pub fn assign(self, partitions: &Partitions, members: &Members) -> Assignment {
        let mut group = Group::new(partitions, members);
        let plan = match self {
            Self::Range => range::assign(&group),
            Self::RoundRobin => roundrobin::assign(&group),
            Self::Sticky => sticky::assign(&mut group, sticky::Moves::AtOnce),
            Self::CooperativeSticky => sticky::assign(&mut group, sticky::Moves::AfterRevocation),
        };
        group.named(plan)
    }
}

impl Assignor for BuiltIn {
    fn name(&self) -> &str {
        (*self).name()
    }

    fn protocol(&self) -> RebalanceProtocol {
        (*self).protocol()
    }

    fn assign(&self, partitions: &Partitions, members: &Members) -> BTreeMap<String, MemberAssignment> {
        let assignment = (*self).assign(partitions, members);
        assignment.into_iter().map(|(id, partitions)| (id, partitions.into())).collect()
    }
}

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An assignor that a member offers. Two of the same name are equal, as the group knows only names.
#[derive(Clone)]
pub enum Strategy {
    /// One of Kafka's own.
    BuiltIn(BuiltIn),
    /// A custom one.
    Custom(Arc<dyn Assignor>),
}

impl Strategy {
    /// A custom assignor.
    pub fn custom(assignor: impl Assignor) -> Self {
        Self::Custom(Arc::new(assignor))
    }

    /// Its name in `partition.assignment.strategy`.
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(assignor) => (*assignor).name(),
            Self::Custom(assignor) => assignor.name(),
        }
    }

    /// How the members rebalance.
    pub fn protocol(&self) -> RebalanceProtocol {
        match self {
            Self::BuiltIn(assignor) => (*assignor).protocol(),
            Self::Custom(assignor) => assignor.protocol(),
        }
    }

    /// The assignment of all members, and the errors in it that were corrected. Only a custom assignor can
    /// make errors.
    pub fn assign(
        &self,
        partitions: &Partitions,
        members: &Members,
    ) -> (BTreeMap<String, MemberAssignment>, Option<AssignorFault>) {
        match self {
            Self::BuiltIn(assignor) => (Assignor::assign(assignor, partitions, members), None),
            Self::Custom(assignor) => custom::assign(assignor.as_ref(), partitions, members),
        }
    }

    pub(crate) fn user_data(&self, topics: &BTreeSet<Topic>) -> Option<Bytes> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Custom(assignor) => custom::user_data(assignor.as_ref(), topics),
        }
    }

    pub(crate) fn on_assignment(&self, assignment: &MemberAssignment, generation: i32) {
        if let Self::Custom(assignor) = self {
            custom::on_assignment(assignor.as_ref(), assignment, generation);
        }
    }
}

impl From<BuiltIn> for Strategy {
    fn from(assignor: BuiltIn) -> Self {
        Self::BuiltIn(assignor)
    }
}

impl PartialEq for Strategy {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Strategy {}

impl Hash for Strategy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[derive(Debug)]
    struct Telling;

    impl Assignor for Telling {
        fn name(&self) -> &str {
            "telling"
        }

        fn subscription_user_data(&self, topics: &BTreeSet<Topic>) -> Option<Bytes> {
            topics.first().map(|topic| Bytes::copy_from_slice(topic.as_str().as_bytes()))
        }

        fn assign(&self, _: &Partitions, _: &Members) -> BTreeMap<String, MemberAssignment> {
            BTreeMap::new()
        }
    }

    #[test]
    fn a_custom_assignor_adds_its_own_data_to_the_subscription() {
        let topics = BTreeSet::from(["orders".into()]);
        assert_eq!(Strategy::custom(Telling).user_data(&topics), Some(Bytes::from_static(b"orders")));
        assert_eq!(Strategy::from(BuiltIn::Range).user_data(&topics), None);
    }

    /// The members of a group know an assignor by its name alone.
    #[test]
    fn assignors_of_one_name_are_the_same() {
        let (telling, range) = (Strategy::custom(Telling), Strategy::from(BuiltIn::Range));
        assert!(telling == Strategy::custom(Telling) && range == Strategy::from(BuiltIn::Range));
        assert!(telling != range && range != Strategy::from(BuiltIn::RoundRobin));
        let different = HashSet::from([telling.clone(), Strategy::custom(Telling), range.clone(), range]);
        assert_eq!(different.len(), 2);
        assert_eq!((format!("{telling:?}"), format!("{telling:>9}")), ("telling".into(), "  telling".into()));
        let data = MemberAssignment::from(vec![TopicPartition::new("orders", 1)]);
        assert_eq!((data.partitions.len(), data.user_data), (1, None));
    }
}
