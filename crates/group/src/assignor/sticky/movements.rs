//! What has been moved while evening out, so that two members do not swap partitions of one topic: instead of moving
//! a second partition the other way, the first is sent home.

use std::collections::BTreeMap;

use super::{Group, java};

/// From this member to that one.
type Pair = (usize, usize);

#[derive(Default)]
pub(super) struct Movements {
    /// Where each moved partition came from, and where it is.
    of: BTreeMap<usize, Pair>,
    /// The same by topic.
    between: BTreeMap<usize, BTreeMap<Pair, Moved>>,
}

#[derive(Default)]
struct Moved {
    /// In order of insertion.
    partitions: Vec<usize>,
    /// How many there ever were at once: the size of Java's table, and so its order, depends on it.
    most: usize,
}

impl Movements {
    /// Which partition to move to `to`, when it is `partition`'s turn to leave `from`.
    pub(super) fn instead_of(&self, group: &Group, partition: usize, from: usize, to: usize) -> usize {
        let topic = group.topic_of(partition);
        let from = self.of.get(&partition).map_or(from, |(source, _)| *source);
        let back = self.between.get(&topic).and_then(|pairs| pairs.get(&(to, from)));
        back.and_then(|moved| moved.first(group, topic)).unwrap_or(partition)
    }

    pub(super) fn moved(&mut self, group: &Group, partition: usize, from: usize, to: usize) {
        let topic = group.topic_of(partition);
        let pairs = self.between.entry(topic).or_default();
        let source = match self.of.remove(&partition) {
            None => from,
            Some(before) => {
                if let Some(moved) = pairs.get_mut(&before) {
                    moved.partitions.retain(|p| *p != partition);
                    if moved.partitions.is_empty() {
                        pairs.remove(&before);
                    }
                }
                before.0
            }
        };
        if source != to {
            self.of.insert(partition, (source, to));
            let moved = pairs.entry((source, to)).or_default();
            moved.partitions.push(partition);
            moved.most = moved.most.max(moved.partitions.len());
        }
    }
}

impl Moved {
    fn first(&self, group: &Group, topic: usize) -> Option<usize> {
        let hash = group.topics.get(topic)?.hash;
        self.partitions.iter().copied().min_by_key(|p| {
            let index = group.partitions.get(*p).map_or(0, |(_, named)| named.partition);
            java::bucket(java::hash_of_partition(hash, index), self.most)
        })
    }
}
