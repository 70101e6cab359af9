//! What a group knows a member by.

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
