//! The racks of members and replicas, by number (KIP-881).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Members, Partitions,
    index::{Index, IndexVec, MemberIndex, PartitionIndex, RackIndex, TopicIndex},
    numbered::NumberedTopic,
};

/// The racks of members and replicas. A rack without a member has no number: it counts only as another rack.
pub(super) struct GroupRacks {
    /// The number of racks with members.
    pub(super) count: usize,
    of_member: IndexVec<MemberIndex, Option<RackIndex>>,
    /// The index in `sets` of each partition's racks; empty if no member has a rack.
    set_of: IndexVec<PartitionIndex, usize>,
    sets: Vec<Set>,
}

#[derive(Default)]
struct Set {
    /// The racks with members, in order.
    ours: Vec<RackIndex>,
    all: BTreeSet<String>,
}

impl GroupRacks {
    pub(super) fn new(
        partitions: &Partitions,
        members: &Members,
        topics: &IndexVec<TopicIndex, NumberedTopic<'_>>,
    ) -> Self {
        let mut numbers: BTreeMap<&str, RackIndex> = BTreeMap::new();
        let of_member = members
            .values()
            .map(|member| {
                let rack = member.rack.as_deref().filter(|rack| !rack.is_empty())?;
                let next = RackIndex::of(numbers.len());
                Some(*numbers.entry(rack).or_insert(next))
            })
            .collect();
        let mut racks = Self { count: numbers.len(), of_member, set_of: IndexVec::new(), sets: Vec::new() };
        if numbers.is_empty() {
            return racks;
        }
        racks.sets.push(Set::default());
        let mut known = HashMap::new();
        let mut set_of = Vec::new();
        for topic in topics.iter() {
            let listed = partitions.all_racks(topic.name.as_str()).iter().take(topic.count);
            let before = set_of.len();
            for set in listed {
                let next = racks.sets.len();
                let number = *known.entry(Arc::as_ptr(set)).or_insert(next);
                if number == next {
                    let mut ours: Vec<RackIndex> =
                        set.iter().filter_map(|rack| numbers.get(rack.as_str()).copied()).collect();
                    ours.sort_unstable();
                    racks.sets.push(Set { ours, all: BTreeSet::clone(set) });
                }
                set_of.push(number);
            }
            set_of.resize(before.saturating_add(topic.count), 0);
        }
        racks.set_of = set_of.into_iter().collect();
        racks
    }

    /// A list with an entry for each rack, and a last one for members without any: [`nowhere`](Self::nowhere).
    pub(super) fn with_nowhere<T: Clone>(&self, item: T) -> IndexVec<RackIndex, T> {
        IndexVec::filled(item, self.count + 1)
    }

    pub(super) fn nowhere(&self) -> RackIndex {
        RackIndex::of(self.count)
    }

    pub(super) fn of_member(&self, member: MemberIndex) -> Option<RackIndex> {
        self.of_member.get(member).copied().flatten()
    }

    /// The racks that have both members and a replica of the partition.
    pub(super) fn of_partition(&self, partition: PartitionIndex) -> &[RackIndex] {
        let set = self.set_of.get(partition).and_then(|set| self.sets.get(*set));
        set.map_or(&[], |set| &set.ours)
    }

    /// Whether the member is in a rack without a replica of the partition.
    pub(super) fn mismatch(&self, member: MemberIndex, partition: PartitionIndex) -> bool {
        self.of_member(member).is_some_and(|rack| !self.of_partition(partition).contains(&rack))
    }

    /// Whether racks can make a difference for these members and partitions: some member is in a rack with a replica, and not
    /// every partition has replicas in all racks.
    pub(super) fn matter(
        &self,
        members: impl Iterator<Item = MemberIndex>,
        partitions: impl Iterator<Item = PartitionIndex>,
    ) -> bool {
        let mut used = vec![false; self.sets.len()];
        for partition in partitions {
            let set = self.set_of.get(partition).and_then(|set| used.get_mut(*set));
            set.into_iter().for_each(|used| *used = true);
        }
        let sets = || self.sets.iter().zip(&used).filter(|(_, used)| **used).map(|(set, _)| set);
        let all: BTreeSet<&String> = sets().flat_map(|set| &set.all).collect();
        let replicated: BTreeSet<RackIndex> = sets().flat_map(|set| &set.ours).copied().collect();
        let any_local =
            members.filter_map(|member| self.of_member(member)).any(|rack| replicated.contains(&rack));
        any_local && sets().any(|set| set.all.len() < all.len())
    }
}
