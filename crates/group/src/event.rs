//! [`Event`]: what a member tells the engine.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use offtake_machine::{BrokerId, TopicPartition};
use offtake_wire::ErrorCode;

/// What happened to a member. In order: an event is to be acted upon before the next is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rebalance is complete. Comes once for each, also when nothing was added.
    Assigned {
        /// What is ours now and was not before.
        added: Vec<TopicPartition>,
        /// All that is ours now.
        owned: Vec<TopicPartition>,
        /// The generation, or the member epoch.
        generation: i32,
    },
    /// Stop handing these out. They are still ours and may be committed; [`released`](crate::Member::revocation_done) says that
    /// they need not be any longer.
    Revoke {
        /// Says which release this waits for.
        id: RevocationId,
        /// What has to be let go.
        partitions: Vec<TopicPartition>,
        /// The generation they were ours in.
        generation: i32,
    },
    /// These are no longer ours: hand nothing out, commit nothing. To be answered with
    /// [`released`](crate::Member::revocation_done) too, when the application has heard of it.
    Lost {
        /// Says which release this waits for.
        id: RevocationId,
        /// What is gone.
        partitions: Vec<TopicPartition>,
        /// The generation they were ours in.
        generation: i32,
    },
    /// That broker is not our coordinator, or cannot be reached: it is to be looked for again. Costs no partition.
    CoordinatorLost(BrokerId),
    /// The application has not polled for four fifths of `max.poll.interval.ms`. Once, until it polls again.
    PollIntervalWarning {
        /// When it last did.
        since: Instant,
    },
    /// The application did not poll for `max.poll.interval.ms`: the member has left, and comes back with the next poll.
    PollIntervalExceeded,
    /// The group has been told that we left, or could not be told in time.
    Left,
    /// It cannot go on; a new `subscribe` starts afresh.
    Failed(GroupError),
    /// Calls to the coordinator have failed several times in a row: once, when it starts.
    CoordinatorFailing(String),
    /// And once, when they work again.
    CoordinatorRecovered,
}

impl Event {
    /// Whether the application has to let go of something, which [`released`](crate::Member::revocation_done) confirms.
    pub fn wants_confirmation(&self) -> bool {
        self.revocation().is_some()
    }

    /// What the application has to confirm, if anything.
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
            | Self::CoordinatorRecovered => None,
        }
    }
}

/// Names one change of ownership that the application has to confirm with [`released`](crate::Member::revocation_done). Unique
/// within a member, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationId(pub u64);

/// What leaving means for the membership (KIP-1092).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GroupMembership {
    /// A dynamic member leaves. A static one means to be back: it keeps its partitions for as long as its session lasts.
    #[default]
    Default,
    /// A static member leaves too: its partitions go to others at once.
    Leave,
    /// A dynamic member stays too, by saying nothing: nobody gets its partitions before its session has expired.
    Remain,
}

/// Why membership ended for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The principal may not read the group.
    #[error("not allowed to join group {group}: the principal needs READ on the group")]
    GroupAuthorizationFailed {
        /// The group.
        group: String,
    },
    /// Another process uses our instance id.
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
    /// Another process holds our instance id and has not let go of it.
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
    /// The group cannot agree with us on an assignor, or is of the other protocol and cannot be converted.
    #[error(
        "group {group} has no assignor in common with this member's partition.assignment.strategy ({ours}): give all \
         members one they share. Or its members have group.protocol=consumer, and the broker's \
         group.consumer.migration.policy does not let classic ones in"
    )]
    InconsistentGroupProtocol {
        /// The group.
        group: String,
        /// What we offered.
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
    /// The broker does not like our session timeout.
    #[error(
        "the broker refuses session.timeout.ms={session_ms} of group {group}: it must lie between its \
         group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout {
        /// The group.
        group: String,
        /// What we asked for.
        session_ms: i32,
    },
    /// The broker cannot read the pattern that was subscribed to.
    #[error(
        "group {group} cannot subscribe to the pattern `{pattern}`: {reason}; the broker reads RE2 syntax"
    )]
    InvalidPattern {
        /// The group.
        group: String,
        /// As it was subscribed to.
        pattern: String,
        /// The broker's words.
        reason: String,
    },
    /// The broker is too old for what we want.
    #[error("the coordinator of group {group} is too old: {what}")]
    UnsupportedVersion {
        /// The group.
        group: String,
        /// What it cannot do, and what to do about it.
        what: String,
    },
    /// Anything else that retrying does not mend.
    #[error("the coordinator refuses group {group} with {code}{}", .message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// The group.
        group: String,
        /// Its code.
        code: ErrorCode,
        /// Its words, where it has any.
        message: Option<String>,
    },
    /// What we would have to say does not fit the wire.
    #[error("cannot tell the coordinator of group {group} what we subscribe to: {reason}")]
    NotEncodable {
        /// The group.
        group: String,
        /// What does not fit.
        reason: String,
    },
}

/// Events on their way to the engine, and what the application has still to release.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Event>,
    /// Of each Revoke and each Lost that has been taken out and not been released.
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

    /// What waits to be taken out, and how much of what was has not been released.
    #[cfg(feature = "_model")]
    pub(crate) fn contents(&self) -> (&VecDeque<Event>, usize) {
        (&self.queue, self.unconfirmed.len())
    }

    /// Whether something has still to be released.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty() || self.queue.iter().any(Event::wants_confirmation)
    }

    /// That is released. Whether it was open, and the last.
    pub(crate) fn confirm(&mut self, id: RevocationId) -> bool {
        self.unconfirmed.remove(&id) && !self.has_unconfirmed()
    }

    /// A Revoke that nobody has heard of yet has come too late: it is Lost.
    pub(crate) fn turn_revokes_into_lost(&mut self) {
        for event in &mut self.queue {
            if let Event::Revoke { id, partitions, generation } = event {
                let (id, generation) = (*id, *generation);
                *event = Event::Lost { id, partitions: std::mem::take(partitions), generation };
            }
        }
    }

    /// The application has let go of everything already.
    pub(crate) fn forget_partitions(&mut self) {
        self.queue.retain(|event| !event.wants_confirmation() && !matches!(event, Event::Assigned { .. }));
        self.unconfirmed.clear();
    }
}
