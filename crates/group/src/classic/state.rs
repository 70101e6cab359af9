//! What a member of the classic protocol holds, and where it stands.

use std::{collections::BTreeSet, time::Instant};

use offtake_machine::{Call, Topic, TopicPartition};
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

/// Partitions in the application's hands.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Held {
    /// All of them, those being let go included.
    pub(super) all: BTreeSet<TopicPartition>,
    /// Those that a Revoke is out for.
    pub(super) leaving: BTreeSet<TopicPartition>,
    /// The newest assignment and its generation, kept for the sticky assignor even when it is over.
    pub(super) last: Option<(BTreeSet<TopicPartition>, i32)>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// Out for good.
    Failed,
    /// `asked` is the subscription that the outstanding JoinGroup carries.
    Joining {
        call: Call,
        asked: BTreeSet<Topic>,
        reason: &'static str,
    },
    Syncing {
        call: Call,
        /// When the JoinGroup left, unless the coordinator took it for one of a member that is through already.
        joined: Option<Instant>,
        asked: BTreeSet<Topic>,
        plan: Plan,
    },
    /// Holding an assignment; the call is the next heartbeat.
    Stable {
        call: Call,
    },
    /// The application is letting go; then we join again. Idle when there is no generation to beat for.
    Releasing {
        call: Call,
        reason: &'static str,
    },
    Leaving {
        call: Call,
        until: Instant,
        reason: String,
        then: Next,
    },
}

/// What a SyncGroup says.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// As leader: to be made once the metadata is there, at the call's time at the latest.
    Make,
    /// As leader, when the coordinator keeps the assignment there is.
    Keep,
    /// A leader's assignment; nothing from a follower.
    Say(Vec<SyncGroupRequestAssignment>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    Outside,
    Unpolled,
    /// The application has polled meanwhile.
    Join,
    /// It has left and subscribed again meanwhile.
    LeftThenJoin,
}

/// Whether the coordinator still knows our member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    Same,
    New,
}

impl State {
    pub(super) fn call(&self) -> Option<&Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed => None,
            Self::Joining { call, .. }
            | Self::Syncing { call, .. }
            | Self::Stable { call }
            | Self::Releasing { call, .. }
            | Self::Leaving { call, .. } => Some(call),
        }
    }

    pub(super) fn call_mut(&mut self) -> Option<&mut Call> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed => None,
            Self::Joining { call, .. }
            | Self::Syncing { call, .. }
            | Self::Stable { call }
            | Self::Releasing { call, .. }
            | Self::Leaving { call, .. } => Some(call),
        }
    }

    /// Whether the application is expected to poll.
    pub(super) fn is_member(&self) -> bool {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => false,
            Self::Joining { .. } | Self::Syncing { .. } | Self::Stable { .. } | Self::Releasing { .. } => {
                true
            }
        }
    }
}

impl Held {
    /// The generation in which we got what we hold.
    pub(super) fn generation(&self) -> i32 {
        self.last.as_ref().map_or(-1, |(_, generation)| *generation)
    }
}
