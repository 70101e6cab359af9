//! The identity by which a group knows a consumer.

use std::fmt;

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
