//! [`Partitions`]: the cluster metadata that an assignor uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use offtake_machine::Topic;

/// The racks that hold a replica of a partition.
pub type Racks = Arc<BTreeSet<String>>;

/// How many partitions each topic of a group has, and in which racks their replicas are. Topics without
/// metadata are missing, and their partitions are not assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Partitions(BTreeMap<Topic, OfTopic>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct OfTopic {
    count: i32,
    /// By partition; the racks of those beyond the end are not known.
    racks: Vec<Racks>,
}

impl Partitions {
    /// Adds a topic with partitions 0 to `count` - 1, without racks.
    pub fn insert(&mut self, topic: impl Into<Topic>, count: i32) {
        self.insert_with_racks(topic, count, Vec::new());
    }

    /// The same, with the racks of each partition's replicas, from partition 0 on.
    pub fn insert_with_racks(&mut self, topic: impl Into<Topic>, count: i32, racks: Vec<Racks>) {
        self.0.insert(topic.into(), OfTopic { count, racks });
    }

    /// How many partitions the topic has; 0 if it is not known.
    pub fn count(&self, topic: &str) -> i32 {
        self.0.get(topic).map_or(0, |of| of.count)
    }

    /// The racks of a partition's replicas, if any are known.
    pub fn racks(&self, topic: &str, partition: i32) -> Option<&Racks> {
        self.0.get(topic)?.racks.get(usize::try_from(partition).ok()?)
    }

    /// The racks of the topic's partitions, from 0 on; shorter if not all are known.
    pub fn all_racks(&self, topic: &str) -> &[Racks] {
        self.0.get(topic).map_or(&[], |of| &of.racks)
    }

    /// All topics in order of name, with their partition counts.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, i32)> {
        self.0.iter().map(|(topic, of)| (topic, of.count))
    }
}

impl<T: Into<Topic>> FromIterator<(T, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (T, i32)>>(counts: I) -> Self {
        let mut partitions = Self::default();
        counts.into_iter().for_each(|(topic, count)| partitions.insert(topic, count));
        partitions
    }
}
