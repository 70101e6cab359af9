//! What a member of the classic protocol holds, and where it stands.

use std::{collections::BTreeSet, time::Instant};

use offtake_machine::{CallId, Topic, TopicPartition};
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

use crate::exchange::{Exchange, Sent};

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
    /// `asked` is the subscription that the outstanding JoinGroup carries. The heartbeat is one of the generation that we
    /// were in; idle when there is none, or when it is over.
    Joining {
        join: Exchange,
        heartbeat: Exchange,
        asked: BTreeSet<Topic>,
        reason: &'static str,
    },
    /// The heartbeat is one of the generation that we have joined.
    Syncing {
        sync: Exchange,
        heartbeat: Exchange,
        /// When the JoinGroup left, unless the coordinator took it for one of a member that is through already.
        joined: Option<Instant>,
        asked: BTreeSet<Topic>,
        plan: Plan,
    },
    /// Holding an assignment.
    Stable {
        heartbeat: Exchange,
    },
    /// The application is letting go; then we join again. The heartbeat is idle when there is no generation for it.
    Releasing {
        heartbeat: Exchange,
        reason: &'static str,
    },
    Leaving {
        leave: Exchange,
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
    Failed,
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

/// Which of the outstanding calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JoinGroup, SyncGroup or LeaveGroup: what the state is about.
    Step,
    Heartbeat,
}

impl State {
    /// The call that the state is about.
    pub(super) fn step(&self) -> Option<&Exchange> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Stable { .. } | Self::Releasing { .. } => {
                None
            }
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Stable { .. } | Self::Releasing { .. } => {
                None
            }
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn heartbeat(&self) -> Option<&Exchange> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { heartbeat, .. }
            | Self::Syncing { heartbeat, .. }
            | Self::Stable { heartbeat }
            | Self::Releasing { heartbeat, .. } => Some(heartbeat),
        }
    }

    pub(super) fn heartbeat_mut(&mut self) -> Option<&mut Exchange> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { heartbeat, .. }
            | Self::Syncing { heartbeat, .. }
            | Self::Stable { heartbeat }
            | Self::Releasing { heartbeat, .. } => Some(heartbeat),
        }
    }

    pub(super) fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        [self.step(), self.heartbeat()].into_iter().flatten()
    }

    /// If `id` answers one of the calls: which, and when it had left.
    pub(super) fn take(&mut self, id: CallId) -> Option<(Kind, Sent)> {
        if let Some(sent) = self.step_mut().and_then(|step| step.take(id)) {
            return Some((Kind::Step, sent));
        }
        let sent = self.heartbeat_mut()?.take(id)?;
        Some((Kind::Heartbeat, sent))
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
