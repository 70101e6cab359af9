//! [`Event`]: what a member reports to the engine.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{BrokerId, CallId, TopicPartition};
use offtake_wire::ErrorCode;

/// An event of a member. Each event has to be handled before the next is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance is complete. Reported once per rebalance, even if nothing was added.
    Assigned {
        /// The partitions that are new.
        added: Vec<TopicPartition>,
        /// All partitions that are owned now.
        owned: Vec<TopicPartition>,
        /// The generation, or the member epoch.
        generation: i32,
    },
    /// Stop handing these out. They are still owned and may be committed, until
    /// [`revocation_done`](crate::Member::revocation_done).
    Revoke {
        /// The id to confirm it with.
        id: RevocationId,
        /// The partitions to revoke.
        partitions: Vec<TopicPartition>,
        /// The generation in which they were owned.
        generation: i32,
    },
    /// These are no longer owned: hand nothing out, commit nothing. This is confirmed with
    /// [`revocation_done`](crate::Member::revocation_done) too, when the application has been notified.
    Lost {
        /// The id to confirm it with.
        id: RevocationId,
        /// The partitions that are lost.
        partitions: Vec<TopicPartition>,
        /// The generation in which they were owned.
        generation: i32,
    },
    /// This broker is not the coordinator, or is unreachable: the coordinator has to be looked up again. No
    /// partition is lost by that.
    CoordinatorLost(BrokerId),
    /// The application has not polled for four fifths of `max.poll.interval.ms`. Reported once, until it
    /// polls again.
    PollIntervalWarning {
        /// When it last polled.
        since: Instant,
    },
    /// The application did not poll for `max.poll.interval.ms`. The member has left, and rejoins at the next
    /// poll.
    PollIntervalExceeded,
    /// The member has left, or could not notify the coordinator in time.
    Left,
    /// The membership has failed. Only a new `subscribe` starts it again.
    Failed(GroupError),
    /// Calls to the coordinator have failed several times in a row. Reported once, until they succeed.
    CoordinatorFailing(String),
    /// Calls to the coordinator succeed again.
    CoordinatorRecovered,
    /// This call is given up. If it was not sent yet, it must not be sent: a JoinGroup that waits for its
    /// connection until the broker is the coordinator again would be processed, although the member's state
    /// has changed since.
    Withdraw(CallId),
}

impl Event {
    /// Whether [`revocation_done`](crate::Member::revocation_done) has to confirm it.
    pub fn wants_confirmation(&self) -> bool {
        self.revocation().is_some()
    }

    /// The id to confirm it with, if it has to be confirmed.
    pub fn revocation(&self) -> Option<RevocationId> {
        match self {
            Self::Revoke { id, .. } | Self::Lost { id, .. } => Some(*id),
            Self::Assigned { .. }
            | Self::CoordinatorLost(_)
            | Self::PollIntervalWarning { .. }
            | Self::PollIntervalExceeded
            | Self::Left
            | Self::Failed(_)
            | Self::CoordinatorFailing(_)
            | Self::CoordinatorRecovered
            | Self::Withdraw(_) => None,
        }
    }
}

/// The id of a [`Event::Revoke`] or [`Event::Lost`], which [`revocation_done`](crate::Member::revocation_done) confirms. It is
/// unique within a member and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationId(pub u64);

/// The consequence of leaving for the membership (KIP-1092).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupMembership {
    /// A dynamic member leaves. A static member stays: it keeps its partitions until its session expires.
    #[default]
    Default,
    /// A static member leaves, too: its partitions go to other members at once.
    Leave,
    /// A dynamic member stays, too: its partitions are not reassigned before its session has expired.
    Remain,
}

/// Why a membership has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The principal may not read the group.
    #[error("not allowed to join group {group}: the principal needs READ on the group")]
    GroupAuthorizationFailed {
        /// The group.
        group: String,
    },
    /// Another process uses the instance id.
    #[error(
        "another consumer has taken over group.instance.id {instance_id} in group {group}: each running instance needs \
         an id of its own"
    )]
    FencedInstanceId {
        /// The group.
        group: String,
        /// The instance id.
        instance_id: String,
    },
    /// Another process still has the instance id.
    #[error(
        "group.instance.id {instance_id} is in use in group {group}: each running instance needs an id of its own; after \
         a crash it is free when the session has expired"
    )]
    UnreleasedInstanceId {
        /// The group.
        group: String,
        /// The instance id.
        instance_id: String,
    },
    /// The group and this member have no assignor in common, or the group uses the other protocol and cannot be converted.
    #[error(
        "group {group} has no assignor in common with this member's partition.assignment.strategy ({ours}): give all \
         members one they share. Or its members have group.protocol=consumer, and the broker's \
         group.consumer.migration.policy does not let classic ones in"
    )]
    InconsistentGroupProtocol {
        /// The group.
        group: String,
        /// The assignors of this member.
        ours: String,
    },
    /// The group is full.
    #[error(
        "group {group} has as many members as the broker allows: see group.max.size (classic) or group.consumer.max.size"
    )]
    GroupMaxSizeReached {
        /// The group.
        group: String,
    },
    /// The broker refuses the session timeout.
    #[error(
        "the broker refuses session.timeout.ms={session_ms} of group {group}: it must lie between its \
         group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout {
        /// The group.
        group: String,
        /// The session timeout, in milliseconds.
        session_ms: i32,
    },
    /// The broker does not accept the pattern.
    #[error(
        "group {group} cannot subscribe to the pattern `{pattern}`: {reason}; the broker reads RE2 syntax"
    )]
    InvalidPattern {
        /// The group.
        group: String,
        /// The pattern.
        pattern: String,
        /// The broker's message.
        reason: String,
    },
    /// The broker is too old.
    #[error("the coordinator of group {group} is too old: {what}")]
    UnsupportedVersion {
        /// The group.
        group: String,
        /// The missing capability, and what to do about it.
        what: String,
    },
    /// Any other error that retrying cannot resolve.
    #[error("the coordinator refuses group {group} with {code}{}", .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// The group.
        group: String,
        /// The broker's code.
        code: ErrorCode,
        /// The broker's message, if it has one.
        message: Option<String>,
    },
    /// The subscription cannot be encoded.
    #[error("cannot encode the subscription for the coordinator of group {group}: {reason}")]
    NotEncodable {
        /// The group.
        group: String,
        /// The part that cannot be encoded.
        reason: String,
    },
}

/// Events that were not taken yet, and those that were not confirmed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Event>,
    /// Each Revoke and Lost that was taken and not confirmed.
    unconfirmed: BTreeSet<RevocationId>,
    last_revocation: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    pub(crate) fn push_revoke(&mut self, partitions: Vec<TopicPartition>, generation: i32) {
        let id = self.next_revocation();
        self.push(Event::Revoke { id, partitions, generation });
    }

    pub(crate) fn push_lost(&mut self, partitions: Vec<TopicPartition>, generation: i32) {
        let id = self.next_revocation();
        self.push(Event::Lost { id, partitions, generation });
    }

    fn next_revocation(&mut self) -> RevocationId {
        self.last_revocation = self.last_revocation.wrapping_add(1);
        RevocationId(self.last_revocation)
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.unconfirmed.extend(event.revocation());
        Some(event)
    }

    /// The events that were not taken, and the number of those taken and not confirmed.
    #[cfg(feature = "_model")]
    pub(crate) fn contents(&self) -> (&VecDeque<Event>, usize) {
        (&self.queue, self.unconfirmed.len())
    }

    /// Whether a Revoke or Lost was not confirmed yet.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty() || self.queue.iter().any(Event::wants_confirmation)
    }

    /// Confirms a Revoke or Lost. Returns whether it was open, and the last one that was.
    pub(crate) fn confirm(&mut self, id: RevocationId) -> bool {
        self.unconfirmed.remove(&id) && !self.has_unconfirmed()
    }

    /// A Revoke that was not taken yet is too late: it becomes a Lost.
    pub(crate) fn turn_revokes_into_lost(&mut self) {
        for event in &mut self.queue {
            if let Event::Revoke { id, partitions, generation } = event {
                let (id, generation) = (*id, *generation);
                *event = Event::Lost { id, partitions: std::mem::take(partitions), generation };
            }
        }
    }

    /// The application has given up all partitions already.
    pub(crate) fn forget_partitions(&mut self) {
        self.queue.retain(|event| !event.wants_confirmation() && !matches!(event, Event::Assigned { .. }));
        self.unconfirmed.clear();
    }
}
