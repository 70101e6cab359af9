//! The four requests and their responses: pure functions between partitions and messages, one file for each API.

pub(crate) mod epoch_ends;
pub(crate) mod list_offsets;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;

use std::collections::BTreeMap;

use offtake_machine::{Cluster, Topic, TopicPartition, offsets::OffsetError};
use offtake_wire::{ApiKey, Uuid};

use crate::Cause;

/// The response, partition by partition. A partition that it does not include is missing.
pub(crate) type Answers<T> = BTreeMap<TopicPartition, Result<T, Cause>>;

/// The response's result for a partition, or the cause if the partition or the whole response is missing.
pub(crate) fn take<T>(
    answers: &mut Result<Answers<T>, Cause>,
    partition: &TopicPartition,
    api: ApiKey,
) -> Result<T, Cause> {
    match answers {
        Ok(answers) => answers.remove(partition).unwrap_or(Err(Cause::PartitionMissing { api })),
        Err(cause) => Err(cause.clone()),
    }
}

/// The ids of the topics in a request at the time when it was built. Newer responses identify topics by id
/// only (KIP-848).
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicIds {
    names: BTreeMap<Uuid, Topic>,
    ids: BTreeMap<Topic, Uuid>,
}

impl TopicIds {
    /// `None` unless all ids are in the metadata: a request cannot mix ids and names.
    fn of<'a>(cluster: &Cluster, topics: impl Iterator<Item = &'a Topic>) -> Option<Self> {
        Self::of_all(topics.map(|topic| (topic, cluster.topic_id(topic.as_str()))))
    }

    /// `None` unless all ids are known.
    fn of_all<'a>(topics: impl Iterator<Item = (&'a Topic, Option<Uuid>)>) -> Option<Self> {
        let ids: BTreeMap<_, _> =
            topics.map(|(topic, id)| Some((topic.clone(), id?))).collect::<Option<_>>()?;
        let names = ids.iter().map(|(topic, id)| (*id, topic.clone())).collect();
        Some(Self { names, ids })
    }

    fn id(&self, of: &Topic) -> Uuid {
        self.ids.get(of).copied().unwrap_or_default()
    }

    /// The topic of a response.
    fn name(&self, name: String, id: Uuid) -> Option<Topic> {
        if id.is_zero() { Some(Topic::from(name)) } else { self.names.get(&id).cloned() }
    }
}

/// The cause if a partition has no offset.
pub(crate) fn cause_of(api: ApiKey, error: OffsetError) -> Cause {
    match error {
        OffsetError::Refused(code) => Cause::Refused { api, code },
        OffsetError::Impossible(offset) => Cause::BadOffset { api, offset },
    }
}
