//! Groups that change from one protocol to the other (KIP-848, `group.consumer.migration.policy=bidirectional`).

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::{
    Assigned, ClusterView, Consumer, Member, Refusal,
    embedded::{assigned_at, assignment, embedded_assignment, subscription},
    member::ClassicPart,
};
use crate::{
    groups::{Members, classic::Classic},
    model::Model,
    topics::Topics,
};

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// A group during its conversion from one protocol to the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Migration {
    pub(crate) protocol_type: Option<String>,
    /// The assignor that the members chose.
    pub(crate) protocol: Option<String>,
    /// The generation; as a group of the consumer protocol, its epoch.
    pub(crate) generation: i32,
    pub(crate) members: Vec<MigratingMember>,
}

/// A member of a [`Migration`].
#[derive(Clone, Debug, Default)]
pub(crate) struct MigratingMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    /// In Java's format, with a leading `/`.
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Its assignors and their metadata, in its order of preference.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Its assignment from SyncGroup: a ConsumerProtocolAssignment, or nothing.
    pub(crate) assignment: Bytes,
}

// ---- what the classic protocol has to provide ----------------------------------------------------------------------

// ---- changing the protocol -----------------------------------------------------------------------------------------

impl Consumer {
    /// Converts a classic group when a member of the consumer protocol joins.
    pub(super) fn upgrade(
        name: &str,
        migration: Option<Migration>,
        max_size: usize,
        now: Instant,
        topics: &Topics,
    ) -> Result<Self, Refusal> {
        let cannot = |why: &str| {
            let message = format!("Cannot upgrade classic group {name} to consumer group because {why}.");
            Refusal::new(ResponseError::GroupIdNotFound, message)
        };
        let migration = migration.ok_or_else(|| cannot("online upgrade is disabled"))?;
        if migration.members.is_empty() {
            return Ok(Self::default());
        }
        if migration.protocol_type.as_deref() != Some(CONSUMER) {
            return Err(cannot("the group does not use the consumer embedded protocol"));
        }
        if migration.members.len() > max_size {
            return Err(cannot("the group size exceeds the consumer group maximum size"));
        }
        let epoch = migration.generation;
        let mut group = Self { epoch, target_epoch: epoch, ..Self::default() };
        for migrating in migration.members {
            let malformed = || cannot("the embedded consumer protocol is malformed");
            let chosen = migrating
                .protocols
                .iter()
                .find(|(protocol, _)| Some(protocol) == migration.protocol.as_ref());
            let metadata =
                chosen.or_else(|| migrating.protocols.first()).map(|(_, metadata)| metadata.clone());
            let (_, subscription) = metadata.and_then(subscription).ok_or_else(malformed)?;
            let assigned = if migrating.assignment.is_empty() {
                Assigned::new()
            } else {
                let assignment = assignment(migrating.assignment).ok_or_else(malformed)?;
                if assignment.user_data.is_some_and(|data| !data.is_empty()) {
                    return Err(cannot(
                        "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade",
                    ));
                }
                assigned_at(epoch, &assignment.assigned_partitions, topics)
            };
            let member = Member {
                instance: migrating.instance,
                rack: subscription.rack_id.as_ref().map(|rack| rack.as_str().to_owned()),
                client_id: migrating.client_id,
                client_host: migrating.client_host,
                names: subscription.topics.iter().map(|name| name.as_str().to_owned()).collect(),
                rebalance_timeout: migrating.rebalance_timeout,
                epoch,
                previous_epoch: epoch,
                assigned,
                session: Some(now + migrating.session_timeout),
                classic: Some(ClassicPart {
                    session_timeout: migrating.session_timeout,
                    protocols: migrating.protocols,
                }),
                ..Member::new(&migrating.id)
            };
            group.target.insert(migrating.id.clone(), member.assignment());
            group.members.insert(migrating.id, member);
        }
        Ok(group)
    }

    /// The group in terms of the classic protocol; `None` while a member speaks only the consumer protocol.
    fn downgrade(&self, world: &ClusterView) -> Option<Migration> {
        let mut members = Vec::new();
        for member in self.members.values() {
            let classic = member.classic.as_ref()?;
            members.push(MigratingMember {
                id: member.id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_timeout: classic.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: classic.protocols.clone(),
                assignment: embedded_assignment(self.target.get(&member.id), classic, world),
            });
        }
        let has = |migrating: &MigratingMember, name: &str| {
            migrating.protocols.iter().any(|(known, _)| known == name)
        };
        let first = members.first()?;
        let mut names = first.protocols.iter().map(|(name, _)| name);
        let shared = names.find(|name| members.iter().all(|migrating| has(migrating, name)));
        Some(Migration {
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: shared.cloned(),
            generation: self.epoch,
            members,
        })
    }
}

impl Model {
    /// Converts a group whose last member of the consumer protocol left to a classic one. Returns whether it did.
    pub(super) fn downgrade_if_classic(&mut self, name: &str, rebalances: bool) -> bool {
        let world = ClusterView::new(self.now, &self.topics, &self.config);
        let migration = self.consumer_members(name).and_then(|group| group.downgrade(&world));
        let classic = migration.and_then(|migration| Classic::from_migration(migration, self.now));
        let (Some(classic), Some(group)) = (classic, self.groups.all.get_mut(name)) else { return false };
        group.members = Members::Classic(classic);
        if rebalances {
            self.rebalance_downgraded(name);
        }
        true
    }
}
