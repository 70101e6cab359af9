//! OffsetCommit.

use offtake_machine::{Identity, TopicPartition, offsets::by_topic};
use offtake_wire::{
    ApiKey, OffsetCommitRequest, OffsetCommitResponse, Uuid,
    messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
};

use super::{Answers, TopicIds};
use crate::{Cause, OffsetAndMetadata};

/// From this version on requests have topic ids instead of names.
const IDS: i16 = 10;

/// The request, the highest version that can encode it, and the topic ids that its response needs. `id_of`
/// returns the id of the topic that was read.
pub(crate) fn request(
    group: &str,
    identity: &Identity,
    offsets: &[(TopicPartition, OffsetAndMetadata)],
    id_of: impl Fn(&TopicPartition) -> Option<Uuid>,
) -> (OffsetCommitRequest, Option<i16>, TopicIds) {
    let topics = by_topic(offsets.iter().map(|(partition, offset)| (partition, offset)));
    let ids = TopicIds::of_all(offsets.iter().map(|(partition, _)| (&partition.topic, id_of(partition))));
    let max_version = ids.is_none().then_some(IDS - 1);
    let ids = ids.unwrap_or_default();
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: identity.generation,
        member_id: identity.member_id.clone(),
        // Brokers refuse an instance id without a member id (FAILURES G7).
        group_instance_id: identity.instance_id.clone().filter(|_| !identity.member_id.is_empty()),
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| OffsetCommitRequestTopic {
                name: topic.as_str().to_owned(),
                topic_id: ids.id(topic),
                partitions: partitions
                    .into_iter()
                    .map(|(partition_index, offset)| OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: offset.offset,
                        committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                        committed_metadata: Some(offset.metadata.clone()),
                    })
                    .collect(),
            })
            .collect(),
        ..Default::default()
    };
    (request, max_version, ids)
}

/// The result of each partition (FAILURES H5).
pub(crate) fn read(response: OffsetCommitResponse, ids: &TopicIds) -> Answers<()> {
    let mut answers = Answers::new();
    for topic in response.topics {
        let Some(name) = ids.name(topic.name, topic.topic_id) else { continue };
        for p in topic.partitions {
            let answer = p.error_code.ok().map_err(|code| Cause::Refused { api: ApiKey::OffsetCommit, code });
            answers.entry(TopicPartition::new(&name, p.partition_index)).or_insert(answer);
        }
    }
    answers
}
