//! OffsetFetch: committed offsets. Always with `require_stable`, so that offsets of an open transaction are waited for
//! (KIP-447).

use offtake_machine::{Cluster, GroupProtocol, Identity, TopicPartition, names::known_epoch};
use offtake_wire::{
    ApiKey, ErrorCode, OffsetFetchRequest, OffsetFetchResponse,
    messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
};

use super::{Answers, TopicIds, by_topic};
use crate::{Cause, OffsetAndMetadata};

/// From this version on requests have topic ids instead of names.
const IDS: i16 = 10;

/// The request, the highest version that it fits, and the topic ids that its response needs.
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

/// The committed offset of each partition, or the error of the whole group. Only -1 without an error is `None`.
pub(crate) fn read(
    response: OffsetFetchResponse,
    version: i16,
    group: &str,
    ids: &TopicIds,
) -> Result<Answers<Option<OffsetAndMetadata>>, Cause> {
    let refused = |code| Cause::Refused { api: ApiKey::OffsetFetch, code };
    let mut answers = Answers::new();
    let mut take = |partition, offset, epoch, metadata: Option<String>, code: ErrorCode| {
        let answer = match (code, offset) {
            (ErrorCode::None, -1) => Ok(None),
            (ErrorCode::None, offset) if offset < -1 => {
                Err(Cause::BadOffset { api: ApiKey::OffsetFetch, offset })
            }
            (ErrorCode::None, offset) => Ok(Some(OffsetAndMetadata {
                offset,
                leader_epoch: known_epoch(epoch),
                metadata: metadata.unwrap_or_default(),
            })),
            (code, _) => Err(refused(code)),
        };
        answers.entry(partition).or_insert(answer);
    };
    if version < 8 {
        response.error_code.ok().map_err(refused)?;
        for topic in response.topics {
            for p in topic.partitions {
                let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
                take(partition, p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code);
            }
        }
        return Ok(answers);
    }
    for told in response.groups.into_iter().filter(|told| told.group_id == group) {
        told.error_code.ok().map_err(refused)?;
        for topic in told.topics {
            let Some(name) = ids.name(topic.name, topic.topic_id) else { continue };
            for p in topic.partitions {
                let partition = TopicPartition::new(&name, p.partition_index);
                take(partition, p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code);
            }
        }
    }
    Ok(answers)
}
