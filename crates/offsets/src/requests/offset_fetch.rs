//! OffsetFetch: committed offsets. Always with `require_stable`, so that the broker waits for offsets of an
//! open transaction (KIP-447).

use offtake_machine::{
    Answer, CallError, Cluster, GroupProtocol, Identity, TopicPartition,
    offsets::{by_topic, committed_offsets},
};
use offtake_wire::{
    ApiKey, OffsetFetchRequest, OffsetFetchResponse, Response,
    messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
};

use super::{Answers, TopicIds, cause_of};
use crate::{Cause, OffsetAndMetadata};

/// From this version on requests have topic ids instead of names.
const IDS: i16 = 10;

/// The request, the highest version that can encode it, and the topic ids that its response needs.
pub(crate) fn request<'a>(
    group: &str,
    identity: Option<&Identity>,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    cluster: &Cluster,
) -> (OffsetFetchRequest, Option<i16>, TopicIds) {
    let topics = by_topic(partitions.into_iter().map(|partition| (partition, ())));
    let ids = TopicIds::of(cluster, topics.keys().copied());
    let max_version = ids.is_none().then_some(IDS - 1);
    let ids = ids.unwrap_or_default();
    let member = identity.filter(|identity| identity.protocol == GroupProtocol::Consumer);
    let indexes = |partitions: &Vec<(i32, ())>| partitions.iter().map(|(index, ())| *index).collect();
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: Some(
            topics
                .iter()
                .map(|(topic, partitions)| OffsetFetchRequestTopic {
                    name: topic.as_str().to_owned(),
                    partition_indexes: indexes(partitions),
                })
                .collect(),
        ),
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            member_id: member.map(|member| member.member_id.clone()),
            member_epoch: member.map_or(-1, |member| member.generation),
            topics: Some(
                topics
                    .iter()
                    .map(|(topic, partitions)| OffsetFetchRequestTopics {
                        name: topic.as_str().to_owned(),
                        topic_id: ids.id(topic),
                        partition_indexes: indexes(partitions),
                    })
                    .collect(),
            ),
        }],
        require_stable: true,
    };
    (request, max_version, ids)
}

/// The committed offset of each partition, or the cause if there are none at all. Only -1 without an error is
/// `None`.
pub(crate) fn answers(
    answer: Result<Answer, CallError>,
    group: &str,
    ids: &TopicIds,
) -> Result<Answers<Option<OffsetAndMetadata>>, Cause> {
    match answer {
        Ok(Answer { response: Response::OffsetFetch(response), .. }) => read(response, group, ids),
        Ok(_) => Ok(Answers::new()),
        Err(error) => Err(Cause::Call(error)),
    }
}

fn read(
    response: OffsetFetchResponse,
    group: &str,
    ids: &TopicIds,
) -> Result<Answers<Option<OffsetAndMetadata>>, Cause> {
    let api = ApiKey::OffsetFetch;
    let committed = committed_offsets(response, group, |name, id| ids.name(name, id))
        .map_err(|code| Cause::Refused { api, code })?;
    let cause = |error| cause_of(api, error);
    Ok(committed.into_iter().map(|(of, committed)| (of, committed.map_err(cause))).collect())
}
