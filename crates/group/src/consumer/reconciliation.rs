//! [`Reconciliation`]: what the application holds, what it revokes, and what the broker wants it to have.
//!
//! By topic id: a topic that was deleted and created again is another one, though its name is the same (FAILURES B3).

use std::collections::{BTreeMap, BTreeSet};

use offtake_machine::{Topic, TopicPartition};
use offtake_wire::Uuid;

/// A partition as the broker names it.
type Id = (Uuid, i32);

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Reconciliation {
    owned: BTreeMap<Id, TopicPartition>,
    /// The same by name.
    names: BTreeSet<TopicPartition>,
    /// Those of them that a Revoke is out for.
    revoking: BTreeSet<Id>,
    /// What the broker wants; `None` once it is so.
    target: Option<BTreeSet<Id>>,
}

impl Reconciliation {
    pub(super) fn names(&self) -> &BTreeSet<TopicPartition> {
        &self.names
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = Id> {
        self.owned.keys().copied()
    }

    /// By which id the broker gave each topic. (What is held of a topic that is gone is let go before anything is taken of the
    /// one that has its name.)
    pub(super) fn topic_ids(&self) -> BTreeMap<Topic, Uuid> {
        self.owned.iter().map(|((id, _), name)| (name.topic.clone(), *id)).collect()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.target.is_none() && self.revoking.is_empty()
    }

    /// Whether the application has still to let go of something.
    pub(super) fn is_revoking(&self) -> bool {
        !self.revoking.is_empty()
    }

    /// The newest word of the broker replaces any older one. Whether something has to be let go for it.
    pub(super) fn set_target(&mut self, target: BTreeSet<Id>) -> bool {
        let gives_up = self.owned.keys().any(|id| !target.contains(id));
        self.target = Some(target);
        gives_up
    }

    /// Whether that is what we have, and nothing else was wanted before.
    pub(super) fn is_at(&self, target: &BTreeSet<Id>) -> bool {
        self.is_settled() && self.owned.keys().eq(target)
    }

    /// Target topics whose names nobody knows yet (F4).
    pub(super) fn unnamed(&self, names: &BTreeMap<Uuid, Topic>) -> Vec<Uuid> {
        let topics: BTreeSet<Uuid> = self.target.iter().flatten().map(|(topic, _)| *topic).collect();
        topics.into_iter().filter(|topic| !names.contains_key(topic)).collect()
    }

    /// Begins to let go of what is not in the target.
    pub(super) fn revoke(&mut self) -> Vec<TopicPartition> {
        let Some(target) = &self.target else { return Vec::new() };
        let surplus = self.owned.iter().filter(|(id, _)| !target.contains(*id));
        let (ids, names): (BTreeSet<Id>, Vec<TopicPartition>) =
            surplus.map(|(id, name)| (*id, name.clone())).unzip();
        self.revoking = ids;
        names
    }

    /// The application has let go.
    pub(super) fn revocation_done(&mut self) {
        for id in std::mem::take(&mut self.revoking) {
            if let Some(name) = self.owned.remove(&id) {
                self.names.remove(&name);
            }
        }
    }

    /// Takes what is new in the target and has a name. Returns it, and whether that is all; then there is nothing left
    /// to do.
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
                // Two ids of one name: one of them is gone, and the broker will notice.
                Some(_) | None => complete = false,
            }
        }
        if complete {
            self.target = None;
        }
        (added, complete)
    }

    /// All of it is gone. Returns what was not being let go of anyway (invariant S9).
    pub(super) fn lose(&mut self) -> Vec<TopicPartition> {
        let Self { owned, revoking, .. } = std::mem::take(self);
        owned.into_iter().filter(|(id, _)| !revoking.contains(id)).map(|(_, name)| name).collect()
    }
}
