//! One member, and its state.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::{Assigned, Partitions};

/// One member.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) rack: Option<String>,
    pub(super) client_id: String,
    /// In Java's format, with a leading `/`.
    pub(super) client_host: String,
    pub(super) names: BTreeSet<String>,
    /// Empty when there is none.
    pub(super) pattern: String,
    pub(super) assignor: Option<String>,
    pub(super) rebalance_timeout: Duration,
    pub(super) epoch: i32,
    /// The previous epoch, which is still accepted as the answer with the present one may have been lost.
    pub(super) previous_epoch: i32,
    pub(super) stage: Stage,
    /// The partitions that it may hold.
    pub(super) assigned: Assigned,
    /// The partitions that it was told to revoke and has not yet.
    pub(super) revoking: Assigned,
    /// The state that only members of the classic protocol have.
    pub(super) classic: Option<ClassicPart>,
    /// When it is removed unless it calls.
    pub(super) session: Option<Instant>,
    /// When it is removed unless it has left this epoch.
    pub(super) rebalance: Option<(Instant, i32)>,
    /// When a classic member must have joined again, or synced.
    pub(super) join: Option<Instant>,
    pub(super) sync: Option<Instant>,
    /// The epoch and the assignment that were last observed.
    pub(super) reported: Option<(i32, Partitions)>,
}

/// The state of a member on its way to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has its partitions of the target.
    #[default]
    Stable,
    /// It has to revoke partitions before it may go on.
    Unrevoked,
    /// It waits for partitions that others have not yet revoked.
    Unreleased,
}

/// The content of a classic member's JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassicPart {
    pub(super) session_timeout: Duration,
    /// Its assignors, in its order of preference, each with the subscription.
    pub(super) protocols: Vec<(String, Bytes)>,
}

impl Member {
    pub(super) fn new(id: &str) -> Self {
        // A member that never had an epoch has no previous one either.
        Self { id: id.to_owned(), previous_epoch: -1, ..Self::default() }
    }

    pub(super) fn is_at(&self, epoch: i32) -> bool {
        self.stage == Stage::Stable && self.epoch == epoch
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let rebalance = self.rebalance.map(|(at, _)| at);
        [self.session, rebalance, self.join, self.sync].into_iter().flatten().min()
    }

    /// The partitions it may hold, without their epochs.
    pub(super) fn assignment(&self) -> Partitions {
        without_epochs(&self.assigned)
    }

    /// The error for a commit in an epoch that is not the member's.
    pub(super) fn stale(&self) -> ResponseError {
        match self.classic {
            Some(_) => ResponseError::IllegalGeneration,
            None => ResponseError::StaleMemberEpoch,
        }
    }
}

pub(super) fn without_epochs(assigned: &Assigned) -> Partitions {
    assigned
        .iter()
        .filter(|(_, partitions)| !partitions.is_empty())
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}
