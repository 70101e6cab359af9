//! The moves during balancing. They keep two members from swapping partitions of one topic: instead of moving a second partition
//! the other way, the first one is moved back.

use std::collections::HashMap;

use super::{Group, IndexVec, MemberIndex, PartitionIndex, TopicIndex, java};

/// Topic, source and target member of a move.
type Between = (TopicIndex, MemberIndex, MemberIndex);

pub(super) struct Movements {
    /// The original owner of each moved partition.
    from: IndexVec<PartitionIndex, Option<MemberIndex>>,
    between: HashMap<Between, Moved>,
    /// Java's hashes of the topic names.
    hashes: IndexVec<TopicIndex, i32>,
}

#[derive(Default)]
struct Moved {
    /// In order of insertion.
    partitions: Vec<PartitionIndex>,
    /// The most there ever were at once: the size of Java's hash table, and so its order, depends on it.
    most: usize,
}

impl Movements {
    pub(super) fn new(group: &Group<'_>) -> Self {
        Self {
            from: IndexVec::filled(None, group.partitions()),
            between: HashMap::new(),
            hashes: group.topics.iter().map(|topic| java::hash_of_str(topic.name.as_str())).collect(),
        }
    }

    fn came_from(&self, partition: PartitionIndex) -> Option<MemberIndex> {
        self.from.get(partition).copied().flatten()
    }

    /// The partition to move to `to` when `partition` is to leave `owner`: one to move back, if there is any.
    pub(super) fn instead_of(
        &self,
        group: &Group<'_>,
        partition: PartitionIndex,
        owner: MemberIndex,
        to: MemberIndex,
    ) -> PartitionIndex {
        let topic = group.topic_of(partition);
        let from = self.came_from(partition).unwrap_or(owner);
        let back = self.between.get(&(topic, to, from));
        let hash = self.hashes.get(topic).copied().unwrap_or(0);
        back.and_then(|moved| moved.first(group, hash)).unwrap_or(partition)
    }

    pub(super) fn record_move(
        &mut self,
        group: &Group<'_>,
        partition: PartitionIndex,
        owner: MemberIndex,
        to: MemberIndex,
    ) {
        let topic = group.topic_of(partition);
        let source = match self.came_from(partition) {
            None => owner,
            Some(source) => {
                let before = (topic, source, owner);
                if let Some(moved) = self.between.get_mut(&before) {
                    moved.partitions.retain(|p| *p != partition);
                    if moved.partitions.is_empty() {
                        self.between.remove(&before);
                    }
                }
                source
            }
        };
        let away = source != to;
        self.from.set(partition, away.then_some(source));
        if away {
            let moved = self.between.entry((topic, source, to)).or_default();
            moved.partitions.push(partition);
            moved.most = moved.most.max(moved.partitions.len());
        }
    }
}

impl Moved {
    fn first(&self, group: &Group<'_>, topic_hash: i32) -> Option<PartitionIndex> {
        self.partitions.iter().copied().min_by_key(|p| {
            let index = i32::try_from(group.index_of(*p)).unwrap_or(0);
            java::bucket(java::hash_of_partition(topic_hash, index), self.most)
        })
    }
}
