//! The racks of members and replicas, by number (KIP-881).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Members, Partitions, numbered::NumberedTopic};

/// The racks of members and replicas. A rack without a member has no number: it counts only as another rack.
pub(super) struct GroupRacks {
    /// The number of racks with members.
    pub(super) count: usize,
    of_member: Vec<Option<usize>>,
    /// The index in `sets` of each partition's racks; empty if no member has a rack.
    set_of: Vec<usize>,
    sets: Vec<Set>,
}

#[derive(Default)]
struct Set {
    /// The racks with members, in order.
    ours: Vec<usize>,
    all: BTreeSet<String>,
}

impl GroupRacks {
    pub(super) fn new(partitions: &Partitions, members: &Members, topics: &[NumberedTopic<'_>]) -> Self {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let of_member = members
            .values()
            .map(|member| {
                let rack = member.rack.as_deref().filter(|rack| !rack.is_empty())?;
                let next = numbers.len();
                Some(*numbers.entry(rack).or_insert(next))
            })
            .collect();
        let mut racks = Self { count: numbers.len(), of_member, set_of: Vec::new(), sets: Vec::new() };
        if numbers.is_empty() {
            return racks;
        }
        racks.sets.push(Set::default());
        let mut known = HashMap::new();
        for topic in topics {
            let listed = partitions.all_racks(topic.name.as_str()).iter().take(topic.count);
            let before = racks.set_of.len();
            for set in listed {
                let next = racks.sets.len();
                let number = *known.entry(Arc::as_ptr(set)).or_insert(next);
                if number == next {
                    let mut ours: Vec<usize> =
                        set.iter().filter_map(|rack| numbers.get(rack.as_str()).copied()).collect();
                    ours.sort_unstable();
                    racks.sets.push(Set { ours, all: BTreeSet::clone(set) });
                }
                racks.set_of.push(number);
            }
            racks.set_of.resize(before.saturating_add(topic.count), 0);
        }
        racks
    }

    pub(super) fn of_member(&self, member: usize) -> Option<usize> {
        self.of_member.get(member).copied().flatten()
    }

    /// The racks that have both members and a replica of the partition.
    pub(super) fn of_partition(&self, partition: usize) -> &[usize] {
        let set = self.set_of.get(partition).and_then(|set| self.sets.get(*set));
        set.map_or(&[], |set| &set.ours)
    }

    /// Whether the member is in a rack without a replica of the partition.
    pub(super) fn mismatch(&self, member: usize, partition: usize) -> bool {
        self.of_member(member).is_some_and(|rack| !self.of_partition(partition).contains(&rack))
    }

    /// Whether racks can make a difference for these members and partitions: some member is in a rack with a replica, and not
    /// every partition has replicas in all racks.
    pub(super) fn matter(
        &self,
        members: impl Iterator<Item = usize>,
        partitions: impl Iterator<Item = usize>,
    ) -> bool {
        let mut used = vec![false; self.sets.len()];
        for partition in partitions {
            let set = self.set_of.get(partition).and_then(|set| used.get_mut(*set));
            set.into_iter().for_each(|used| *used = true);
        }
        let sets = || self.sets.iter().zip(&used).filter(|(_, used)| **used).map(|(set, _)| set);
        let all: BTreeSet<&String> = sets().flat_map(|set| &set.all).collect();
        let replicated: BTreeSet<usize> = sets().flat_map(|set| &set.ours).copied().collect();
        let any_local =
            members.filter_map(|member| self.of_member(member)).any(|rack| replicated.contains(&rack));
        any_local && sets().any(|set| set.all.len() < all.len())
    }
}
