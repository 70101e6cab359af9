//! What a member of the classic protocol holds, and where it stands.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use offtake_machine::{CallId, Topic, TopicPartition};
use offtake_wire::messages::sync_group::SyncGroupRequestAssignment;

use super::{follow_up::FollowUp, lead::Lead};
use crate::{
    assignor::Strategy,
    call::{CoordinatorCall, Sent},
    core::AfterLeaving,
    pacer::HeartbeatPacer,
    session::Session,
};

/// Partitions in the application's hands.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct OwnedPartitions {
    /// All of them, those being revoked included.
    pub(super) all: BTreeSet<TopicPartition>,
    /// Those that a Revoke is out for.
    pub(super) revoking: BTreeSet<TopicPartition>,
    /// The newest assignment and its generation, kept for the sticky assignor even when it is over.
    pub(super) last: Option<(BTreeSet<TopicPartition>, i32)>,
}

/// What a member has for as long as it is in a generation.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) generation: i32,
    /// What the generation voted for.
    pub(super) assignor: Strategy,
    /// Of the leader alone.
    pub(super) lead: Option<Lead>,
    /// Whether this generation is to be followed by another.
    pub(super) follow_up: FollowUp,
    /// As leader: when to ask for that rebalance ourselves.
    pub(super) follow_up_at: Option<Instant>,
    /// The next heartbeat; idle when the generation is known to be over.
    pub(super) heartbeat: CoordinatorCall,
    pub(super) pacer: HeartbeatPacer,
    pub(super) session: Session,
    /// When the last call left that was answered as if nothing was the matter: no rebalance that we do not take part in
    /// can be over before the rebalance timeout counted from here.
    pub(super) last_stable_at: Option<Instant>,
    /// Why to join again as soon as this rebalance is through.
    pub(super) rejoin_reason: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Out because the application stopped polling; back when it does.
    Unpolled,
    /// Out for good.
    Failed,
    /// `asked` is the subscription that the outstanding JoinGroup carries; the membership is that of the generation we were
    /// in, which goes on until the JoinGroup is answered.
    Joining {
        join: CoordinatorCall,
        membership: Option<Box<Membership>>,
        sent_subscription: BTreeSet<Topic>,
        reason: &'static str,
    },
    /// In a generation that has no assignment yet.
    Syncing {
        sync: CoordinatorCall,
        membership: Box<Membership>,
        /// When the JoinGroup left, unless the coordinator took it for one of a member that is through already.
        join_sent_at: Option<Instant>,
        sent_subscription: BTreeSet<Topic>,
        plan: SyncPlan,
    },
    /// A member that has its assignment.
    Stable {
        membership: Box<Membership>,
    },
    /// The application is letting go; then we join again.
    Revoking {
        membership: Option<Box<Membership>>,
        reason: &'static str,
    },
    Leaving {
        leave: CoordinatorCall,
        until: Instant,
        reason: String,
        then: AfterLeaving,
    },
}

/// What a SyncGroup says.
#[derive(Clone, Debug)]
pub(super) enum SyncPlan {
    /// As leader: to be made once the metadata is there, at the call's time at the latest.
    Make,
    /// As leader, when the coordinator keeps the assignment there is.
    Keep,
    /// A leader's assignment; nothing from a follower.
    Send(Vec<SyncGroupRequestAssignment>),
}

/// Whether the coordinator still knows our member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberId {
    Kept,
    Forgotten,
}

/// Which of the outstanding calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// JoinGroup, SyncGroup or LeaveGroup: what the state is about.
    Step,
    Heartbeat,
}

impl State {
    /// The call that the state is about.
    pub(super) fn step(&self) -> Option<&CoordinatorCall> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Stable { .. } | Self::Revoking { .. } => {
                None
            }
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut CoordinatorCall> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Stable { .. } | Self::Revoking { .. } => {
                None
            }
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { membership, .. } | Self::Revoking { membership, .. } => membership.as_deref(),
            Self::Syncing { membership, .. } | Self::Stable { membership } => Some(membership),
        }
    }

    pub(super) fn membership_mut(&mut self) -> Option<&mut Membership> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { membership, .. } | Self::Revoking { membership, .. } => membership.as_deref_mut(),
            Self::Syncing { membership, .. } | Self::Stable { membership } => Some(membership),
        }
    }

    pub(super) fn into_membership(self) -> Option<Box<Membership>> {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { membership, .. } | Self::Revoking { membership, .. } => membership,
            Self::Syncing { membership, .. } | Self::Stable { membership } => Some(membership),
        }
    }

    pub(super) fn heartbeat(&self) -> Option<&CoordinatorCall> {
        self.membership().map(|membership| &membership.heartbeat)
    }

    pub(super) fn heartbeat_mut(&mut self) -> Option<&mut CoordinatorCall> {
        self.membership_mut().map(|membership| &mut membership.heartbeat)
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &CoordinatorCall> {
        [self.step(), self.heartbeat()].into_iter().flatten()
    }

    /// If `id` answers one of the calls: which, and when it had left.
    pub(super) fn take(&mut self, id: CallId) -> Option<(CallKind, Sent)> {
        if let Some(sent) = self.step_mut().and_then(|step| step.take(id)) {
            return Some((CallKind::Step, sent));
        }
        let sent = self.heartbeat_mut()?.take(id)?;
        Some((CallKind::Heartbeat, sent))
    }

    /// Whether the application is expected to poll.
    pub(super) fn is_member(&self) -> bool {
        match self {
            Self::Outside | Self::Unpolled | Self::Failed | Self::Leaving { .. } => false,
            Self::Joining { .. } | Self::Syncing { .. } | Self::Stable { .. } | Self::Revoking { .. } => true,
        }
    }
}

impl OwnedPartitions {
    /// The generation in which we got what we hold.
    pub(super) fn generation(&self) -> i32 {
        self.last.as_ref().map_or(-1, |(_, generation)| *generation)
    }
}

impl Membership {
    /// Until when what is being revoked has to be released: then the group goes on without us.
    pub(super) fn revoke_by(&self, rebalance_timeout: Duration) -> Option<Instant> {
        self.last_stable_at?.checked_add(rebalance_timeout)
    }

    pub(super) fn stable_at(&mut self, sent: Instant) {
        self.last_stable_at = self.last_stable_at.max(Some(sent));
    }
}
