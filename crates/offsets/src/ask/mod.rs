//! The four questions and their answers: pure functions between partitions and messages, one file for each API.

pub(crate) mod epochs;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;
pub(crate) mod offset_list;

use std::collections::BTreeMap;

use offtake_machine::{Cluster, Topic, TopicPartition};
use offtake_wire::Uuid;

use crate::Cause;

/// What an answer says, partition by partition. What it leaves out is in none.
pub(crate) type Answers<T> = BTreeMap<TopicPartition, Result<T, Cause>>;

/// The ids of the topics in a request, as they were when it was made: later answers name only them (KIP-848).
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicIds {
    names: BTreeMap<Uuid, Topic>,
    ids: BTreeMap<Topic, Uuid>,
}

impl TopicIds {
    /// `None` unless the cluster tells all of them: a request cannot mix ids and names.
    fn of<'a>(cluster: &Cluster, topics: impl Iterator<Item = &'a Topic>) -> Option<Self> {
        Self::of_all(topics.map(|topic| (topic, cluster.topic_id(topic.as_str()))))
    }

    /// `None` unless all are known.
    fn of_all<'a>(topics: impl Iterator<Item = (&'a Topic, Option<Uuid>)>) -> Option<Self> {
        let ids: BTreeMap<_, _> =
            topics.map(|(topic, id)| Some((topic.clone(), id?))).collect::<Option<_>>()?;
        let names = ids.iter().map(|(topic, id)| (*id, topic.clone())).collect();
        Some(Self { names, ids })
    }

    fn id(&self, of: &Topic) -> Uuid {
        self.ids.get(of).copied().unwrap_or_default()
    }

    /// The topic that an answer means.
    fn name(&self, name: String, id: Uuid) -> Option<Topic> {
        if id.is_zero() { Some(Topic::from(name)) } else { self.names.get(&id).cloned() }
    }
}

/// Grouped as requests have them.
fn by_topic<'a, T>(
    items: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a Topic, Vec<(i32, T)>> {
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (of, item) in items {
        topics.entry(&of.topic).or_default().push((of.partition, item));
    }
    topics
}
