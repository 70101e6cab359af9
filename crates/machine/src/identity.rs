//! The identity under which a group knows a consumer.

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

/// Prints the value of the property.
impl fmt::Display for GroupProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        })
    }
}

/// The identity under which a group knows a consumer. Commits contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The protocol of the group.
    pub protocol: GroupProtocol,
    /// The generation, or the member epoch in [`GroupProtocol::Consumer`].
    pub generation: i32,
    /// The member id.
    pub member_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
}

impl Identity {
    /// A consumer that is not a member: its partitions are assigned manually, and it uses the group only for
    /// its offsets.
    pub fn standalone() -> Self {
        Self { protocol: GroupProtocol::Classic, generation: -1, member_id: String::new(), instance_id: None }
    }
}

/// A consumer's membership in a group, for a producer that commits offsets in a transaction: the coordinator
/// then refuses those of a member that it has removed (KIP-447). It is valid only for the moment: request it
/// again for each transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation, or the member epoch with `group.protocol=consumer`; -1 for a consumer with manual
    /// assignment.
    pub generation_id: i32,
    /// The member id; empty for a consumer with manual assignment.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// The metadata of the group with this name and a member with this identity.
    #[doc(hidden)] // for the engine of a consumer
    pub fn of_member(group_id: impl Into<String>, identity: Identity) -> Self {
        Self {
            group_id: group_id.into(),
            generation_id: identity.generation,
            member_id: identity.member_id,
            group_instance_id: identity.instance_id,
        }
    }

    /// The metadata of a group without a member: offsets are then committed as by a consumer with manual
    /// assignment.
    pub fn new(group_id: impl Into<String>) -> Self {
        Self {
            group_id: group_id.into(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        }
    }
}

/// Offsets of a group to commit in a transaction (KIP-98), and the member that commits them (KIP-447). A
/// consumer returns them for records that it still owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOffsets {
    /// The member that commits.
    pub group: GroupMetadata,
    /// The next offset of each partition.
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
