//! [`Reconciliation`]: the partitions that the application owns, those that it revokes, and the target that
//! the broker assigned.
//!
//! Topics are identified by id: a topic that was deleted and created again is another one with the same name
//! (FAILURES B3).

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Topic, TopicPartition};
use offtake_wire::Uuid;

/// A partition as the broker identifies it.
type Id = (Uuid, i32);

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reconciliation {
    owned: BTreeMap<Id, TopicPartition>,
    /// The same by name.
    names: BTreeSet<TopicPartition>,
    /// The partitions of a Revoke that is not confirmed.
    revoking: BTreeSet<Id>,
    /// The assignment of the broker; `None` when it is reached.
    target: Option<BTreeSet<Id>>,
}

impl Reconciliation {
    pub(super) fn names(&self) -> &BTreeSet<TopicPartition> {
        &self.names
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.owned.keys().copied()
    }

    /// The id of each owned topic. (Partitions of a deleted topic are revoked before any of a new topic with its name are
    /// added.)
    pub(super) fn topic_ids(&self) -> BTreeMap<Topic, Uuid> {
        self.owned.iter().map(|((id, _), name)| (name.topic.clone(), *id)).collect()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.target.is_none() && self.revoking.is_empty()
    }

    /// Whether a revocation is not confirmed.
    pub(super) fn is_revoking(&self) -> bool {
        !self.revoking.is_empty()
    }

    /// A new target replaces the one before. Returns whether partitions have to be revoked for it.
    pub(super) fn set_target(&mut self, target: BTreeSet<Id>) -> bool {
        let must_revoke = self.owned.keys().any(|id| !target.contains(id));
        self.target = Some(target);
        must_revoke
    }

    /// Whether `target` equals what is owned, and no other target is pending.
    pub(super) fn is_at(&self, target: &BTreeSet<Id>) -> bool {
        self.is_settled() && self.owned.keys().eq(target)
    }

    /// Whether `target` is the pending target.
    pub(super) fn is_on_the_way_to(&self, target: &BTreeSet<Id>) -> bool {
        self.target.as_ref() == Some(target)
    }

    /// Topics in the target whose names are not known yet (FAILURES F4).
    pub(super) fn unnamed(&self, names: &BTreeMap<Uuid, Topic>) -> Vec<Uuid> {
        let topics: BTreeSet<Uuid> = self.target.iter().flatten().map(|(topic, _)| *topic).collect();
        topics.into_iter().filter(|topic| !names.contains_key(topic)).collect()
    }

    /// Whether the target has partitions of this topic.
    pub(super) fn is_to_be_assigned(&self, topic: Uuid) -> bool {
        let mut first = self.target.iter().flat_map(|target| target.range((topic, i32::MIN)..));
        first.next().is_some_and(|(id, _)| *id == topic)
    }

    /// Starts to revoke the partitions that are not in the target.
    pub(super) fn revoke(&mut self) -> Vec<TopicPartition> {
        let Some(target) = &self.target else { return Vec::new() };
        let surplus = self.owned.iter().filter(|(id, _)| !target.contains(*id));
        let (ids, names): (BTreeSet<Id>, Vec<TopicPartition>) =
            surplus.map(|(id, name)| (*id, name.clone())).unzip();
        self.revoking = ids;
        names
    }

    /// The application has revoked the partitions.
    pub(super) fn revocation_done(&mut self) {
        for id in std::mem::take(&mut self.revoking) {
            if let Some(name) = self.owned.remove(&id) {
                self.names.remove(&name);
            }
        }
    }

    /// Adds the new partitions of the target whose topic names are known. Returns them, and whether the target is reached.
    pub(super) fn take_assigned(&mut self, names: &BTreeMap<Uuid, Topic>) -> (Vec<TopicPartition>, bool) {
        let Some(target) = &self.target else { return (Vec::new(), false) };
        let mut added = Vec::new();
        let mut complete = true;
        for id @ (topic, partition) in target {
            if self.owned.contains_key(id) {
                continue;
            }
            match names.get(topic).map(|name| TopicPartition::new(name, *partition)) {
                Some(name) if self.names.insert(name.clone()) => {
                    added.push(name.clone());
                    self.owned.insert(*id, name);
                }
                // Two ids with one name: one of the topics is deleted, and the broker will notice.
                Some(_) | None => complete = false,
            }
        }
        if complete {
            self.target = None;
        }
        (added, complete)
    }

    /// All partitions are lost. Returns those that were not being revoked (FAILURES SAFE9).
    pub(super) fn lose(&mut self) -> Vec<TopicPartition> {
        let Self { owned, revoking, .. } = std::mem::take(self);
        owned.into_iter().filter(|(id, _)| !revoking.contains(id)).map(|(_, name)| name).collect()
    }
}
