//! The identity by which a group knows a consumer.

use std::{collections::BTreeMap, fmt};

use crate::{names::TopicPartition, offsets::OffsetAndMetadata};

/// How the members of a group agree on their assignments: `group.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// JoinGroup and SyncGroup; one of the members assigns.
    Classic,
    /// ConsumerGroupHeartbeat; the broker assigns (KIP-848).
    Consumer,
}

/// As the property takes it.
impl fmt::Display for GroupProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        })
    }
}

/// The identity by which a group knows a consumer. Commits carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How the members of the group agree.
    pub protocol: GroupProtocol,
    /// The generation, or the member epoch in [`GroupProtocol::Consumer`].
    pub generation: i32,
    /// The member id.
    pub member_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
}

impl Identity {
    /// A consumer that is no member: it assigns its partitions by hand and uses the group for its offsets alone.
    pub fn standalone() -> Self {
        Self { protocol: GroupProtocol::Classic, generation: -1, member_id: String::new(), instance_id: None }
    }
}

/// As whom a group knows this consumer: what a producer that commits offsets in a transaction says of it, so that the
/// coordinator refuses those of a member that it has given up (KIP-447). True for the moment: ask for it anew for each
/// transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation, or the member epoch with `group.protocol=consumer`; -1 for a consumer that assigns by hand.
    pub generation_id: i32,
    /// The member id; empty for a consumer that assigns by hand.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// Of the group with this name, as it knows a member by this identity.
    #[doc(hidden)] // for the engine of a consumer
    pub fn of_member(group_id: impl Into<String>, identity: Identity) -> Self {
        Self {
            group_id: group_id.into(),
            generation_id: identity.generation,
            member_id: identity.member_id,
            group_instance_id: identity.instance_id,
        }
    }

    /// Of a group of which nobody is a member: offsets are then committed as by a consumer that assigns by hand.
    pub fn new(group_id: impl Into<String>) -> Self {
        Self {
            group_id: group_id.into(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        }
    }
}

/// Offsets of a group that a transaction commits (KIP-98), and as whom (KIP-447). A consumer gives them for records that it still owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOffsets {
    /// Who commits.
    pub group: GroupMetadata,
    /// How far its partitions have come.
    pub offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
}

impl GroupOffsets {
    /// These offsets, committed by this member.
    pub fn new(
        group: GroupMetadata,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Self {
        Self { group, offsets: offsets.into_iter().collect() }
    }
}
