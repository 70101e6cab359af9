//! The state of a member of the classic protocol, and the partitions that it owns.

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

/// The partitions that the application has.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct OwnedPartitions {
    /// All of them, those being revoked included.
    pub(super) all: BTreeSet<TopicPartition>,
    /// The partitions of a Revoke that is not confirmed.
    pub(super) revoking: BTreeSet<TopicPartition>,
    /// The newest assignment and its generation. The sticky assignor needs it even after its generation.
    pub(super) last: Option<(BTreeSet<TopicPartition>, i32)>,
}

/// The data of one generation.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) generation: i32,
    /// The assignor that the group chose.
    pub(super) assignor: Strategy,
    /// Only the leader has it.
    pub(super) lead: Option<Lead>,
    /// Whether a second rebalance follows this one.
    pub(super) follow_up: FollowUp,
    /// When the leader starts that rebalance itself.
    pub(super) follow_up_at: Option<Instant>,
    /// The next heartbeat. When the generation is known to be over it is idle until the next JoinGroup is sent: then it asks whether the
    /// coordinator still knows the member.
    pub(super) heartbeat: CoordinatorCall,
    /// The generation is known to be over, and a JoinGroup is outstanding or due.
    pub(super) is_over: bool,
    pub(super) pacer: HeartbeatPacer,
    pub(super) session: Session,
    /// When the last call was sent that the coordinator answered without an error. A rebalance without us cannot be complete
    /// before the rebalance timeout, counted from then.
    pub(super) last_stable_at: Option<Instant>,
    /// The reason to rejoin as soon as this rebalance is complete, if any.
    pub(super) rejoin_reason: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not a member, and not trying to be one.
    Outside,
    /// Not a member because the application stopped polling. It rejoins at the next poll. If the member is
    /// static, the coordinator still has it under this id; otherwise the id is empty.
    Unpolled {
        static_id: String,
    },
    /// Failed, until the next `subscribe`.
    Failed,
    /// `sent_subscription` is the subscription in the outstanding JoinGroup. `membership` is that of the
    /// previous generation, which continues until the JoinGroup is answered.
    Joining {
        join: CoordinatorCall,
        /// When a JoinGroup was first sent: the coordinator may have processed one whose response was lost.
        first_sent_at: Option<Instant>,
        membership: Option<Box<Membership>>,
        sent_subscription: BTreeSet<Topic>,
        reason: &'static str,
    },
    /// In a generation that has no assignment yet.
    Syncing {
        sync: CoordinatorCall,
        membership: Box<Membership>,
        /// Since when the coordinator certainly counts the session; `None` if this generation may not have
        /// renewed it.
        counts_from: Option<Instant>,
        sent_subscription: BTreeSet<Topic>,
        plan: SyncPlan,
    },
    /// A member that has its assignment.
    Stable {
        membership: Box<Membership>,
    },
    /// The application revokes partitions. Then the member joins again.
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

/// The assignments in a SyncGroup.
#[derive(Clone, Debug)]
pub(super) enum SyncPlan {
    /// The leader makes the assignment when the metadata is complete, or at the time of the call.
    Make,
    /// The leader sends none: the coordinator keeps the current assignment (KIP-814).
    Keep,
    /// The leader's assignment; empty for a follower.
    Send(Vec<SyncGroupRequestAssignment>),
}

/// Whether the coordinator still knows our member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberId {
    Kept,
    Forgotten,
}

/// The kinds of calls that may be outstanding together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// JoinGroup, SyncGroup or LeaveGroup, which leads to the next state.
    Step,
    Heartbeat,
}

impl State {
    /// The call that leads to the next state.
    pub(super) fn step(&self) -> Option<&CoordinatorCall> {
        match self {
            Self::Outside
            | Self::Unpolled { .. }
            | Self::Failed
            | Self::Stable { .. }
            | Self::Revoking { .. } => None,
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut CoordinatorCall> {
        match self {
            Self::Outside
            | Self::Unpolled { .. }
            | Self::Failed
            | Self::Stable { .. }
            | Self::Revoking { .. } => None,
            Self::Joining { join: step, .. }
            | Self::Syncing { sync: step, .. }
            | Self::Leaving { leave: step, .. } => Some(step),
        }
    }

    pub(super) fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Outside | Self::Unpolled { .. } | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { membership, .. } | Self::Revoking { membership, .. } => membership.as_deref(),
            Self::Syncing { membership, .. } | Self::Stable { membership } => Some(membership),
        }
    }

    pub(super) fn membership_mut(&mut self) -> Option<&mut Membership> {
        match self {
            Self::Outside | Self::Unpolled { .. } | Self::Failed | Self::Leaving { .. } => None,
            Self::Joining { membership, .. } | Self::Revoking { membership, .. } => membership.as_deref_mut(),
            Self::Syncing { membership, .. } | Self::Stable { membership } => Some(membership),
        }
    }

    pub(super) fn into_membership(self) -> Option<Box<Membership>> {
        match self {
            Self::Outside | Self::Unpolled { .. } | Self::Failed | Self::Leaving { .. } => None,
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

    /// If `id` answers one of the calls: its kind, and when it was sent.
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
            Self::Outside | Self::Unpolled { .. } | Self::Failed | Self::Leaving { .. } => false,
            Self::Joining { .. } | Self::Syncing { .. } | Self::Stable { .. } | Self::Revoking { .. } => true,
        }
    }
}

impl OwnedPartitions {
    /// The generation in which the partitions were assigned.
    pub(super) fn generation(&self) -> i32 {
        self.last.as_ref().map_or(-1, |(_, generation)| *generation)
    }
}

impl Membership {
    /// When a revocation has to be done, at the latest: then the group continues without this member.
    pub(super) fn revoke_by(&self, rebalance_timeout: Duration) -> Option<Instant> {
        self.last_stable_at?.checked_add(rebalance_timeout)
    }

    pub(super) fn stable_at(&mut self, sent: Instant) {
        self.last_stable_at = self.last_stable_at.max(Some(sent));
    }
}
