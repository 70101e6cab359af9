//! [`Assignor`]: who of a group reads which partitions. The leader of a classic group computes it for all.
//!
//! [`BuiltIn`] are those that every Kafka client knows; an application may bring its own, and [`Strategy`] is either.
//!
//! The built-in assignments are those of Java's classes of the same names, so that it does not matter who leads a mixed
//! group; racks are looked at where Java looks at them (KIP-881, `racks`). Where Java lets a hash table decide between
//! equals, we ask the same question of the same hash (`java`). We part with Java where it goes wrong: claims to
//! partitions that a topic no longer has, a member that subscribes to nothing at all, a partition that two members
//! claim and that goes to the one whose claim is void, and cooperative groups whose racks would have them rebalance for
//! ever.
//!
//! Always true, whoever wrote the assignor:
//! - a partition goes to at most one member, and only to one that subscribes to its topic;
//! - cooperatively, a partition that another member rightly holds is nobody's until that one has given it up (KIP-429);
//! - claims to partitions that do not exist are ignored, and so are those that a newer generation contradicts (KIP-792);
//! - the work of the built-in ones is bounded, whatever the members wrote.

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

/// The members of a group by id, and what the leader knows of each.
pub type Members = BTreeMap<String, MemberSubscription>;

/// What each member gets, in order of topic and partition. Every member is in it.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

/// What an assignor of one's own gives to one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemberAssignment {
    /// The partitions, each of a topic that the member subscribes to.
    pub partitions: Vec<TopicPartition>,
    /// For [`Assignor::on_assignment`] of that member's own assignor.
    pub user_data: Option<Bytes>,
}

impl From<Vec<TopicPartition>> for MemberAssignment {
    fn from(partitions: Vec<TopicPartition>) -> Self {
        Self { partitions, user_data: None }
    }
}

/// Who reads what in a classic group, as an application may decide it itself; Java's `ConsumerPartitionAssignor`.
///
/// All members of the group need an assignor of the same name. One of them leads: its [`assign`](Self::assign) decides
/// for all. It is called on the thread that also sends heartbeats, so it must not block.
///
/// What it answers is looked over before it counts, so that no mistake here gives a partition two owners: a partition
/// that is given twice goes to one of the two, partitions that do not exist and members that are not there are left
/// out, and cooperatively a partition that another member still holds is given in the round after that one let go. What
/// nobody is given stays unread. If it panics, `sticky` or `cooperative-sticky` assigns in its place. Each time it is
/// corrected one warning tells what was wrong ([`AssignorFault`]).
pub trait Assignor: Send + Sync + 'static {
    /// The name by which the members agree on it. Kafka's own are `range`, `roundrobin`, `sticky` and
    /// `cooperative-sticky`.
    fn name(&self) -> &str;

    /// How the members rebalance: by default everybody gives up everything first.
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// What to tell the leader's assignor of this member, with every JoinGroup; by default nothing. `topics` is what the
    /// member subscribes to. The leader finds it in [`MemberSubscription::user_data`].
    fn subscription_user_data(&self, topics: &BTreeSet<Topic>) -> Option<Bytes> {
        let _ = topics;
        None
    }

    /// As leader: who gets what. Members that are left out get nothing.
    fn assign(&self, partitions: &Partitions, members: &Members) -> BTreeMap<String, MemberAssignment>;

    /// As any member: what this one has been given, in the order of topic and partition, and the generation in which.
    fn on_assignment(&self, assignment: &MemberAssignment, generation: i32) {
        let _ = (assignment, generation);
    }
}

/// What a member gives up before a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Everything, before it joins again.
    Eager,
    /// Nothing before; afterwards what it has been told to.
    Cooperative,
}

/// The assignors that every Kafka client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuiltIn {
    /// Of each topic, a run of neighbouring partitions: partition *n* of two topics goes to the same member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// As even as can be, and moving as little as possible; yet everybody stops while it is decided.
    Sticky,
    /// The same, but only partitions that move are stopped (KIP-429).
    CooperativeSticky,
}

impl BuiltIn {
    /// All of them.
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
    /// it is assigned.
    pub fn assign(self, partitions: &Partitions, members: &Members) -> Assignment {
        let mut group = Group::new(partitions, members);
        let plan = match self {
            Self::Range => range::assign(&group),
            Self::RoundRobin => roundrobin::assign(&group),
            Self::Sticky => sticky::assign(&mut group, sticky::Moves::AtOnce),
            Self::CooperativeSticky => sticky::assign(&mut group, sticky::Moves::AfterRelease),
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

/// An assignor that a member votes for. Two of one name are the same: the group knows no more of them.
#[derive(Clone)]
pub enum Strategy {
    /// One that every client knows.
    BuiltIn(BuiltIn),
    /// The application's own.
    Custom(Arc<dyn Assignor>),
}

impl Strategy {
    /// An assignor of the application's own.
    pub fn custom(assignor: impl Assignor) -> Self {
        Self::Custom(Arc::new(assignor))
    }

    /// The name by which members agree on it.
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(assignor) => (*assignor).name(),
            Self::Custom(assignor) => assignor.name(),
        }
    }

    /// How its members rebalance.
    pub fn protocol(&self) -> RebalanceProtocol {
        match self {
            Self::BuiltIn(assignor) => (*assignor).protocol(),
            Self::Custom(assignor) => assignor.protocol(),
        }
    }

    /// Who gets what, and what was wrong with it before it was put right: only an assignor of the application's own can
    /// go wrong.
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
