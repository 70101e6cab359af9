//! OffsetFetch, v1 to v9: of one group, or from v8 of several.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        OffsetFetchRequest, OffsetFetchResponse,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};

use super::Stored;
use crate::{
    groups::{Group, Members},
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_offset_fetch(&mut self, context: &Context, request: OffsetFetchRequest) -> Reply {
        let stable = request.require_stable;
        if context.version >= 8 {
            let groups = request.groups.into_iter();
            let groups = groups.map(|group| self.fetch_offsets(context, group, stable)).collect();
            return OffsetFetchResponse::default().with_groups(groups).into();
        }
        let topics = request.topics.map(|topics| {
            let topic = |topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic.name)
                    .with_partition_indexes(topic.partition_indexes)
            };
            topics.into_iter().map(topic).collect()
        });
        let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics);
        let asked = group.topics.clone();
        let group = self.fetch_offsets(context, group, stable);
        single(context.version, group, asked).into()
    }

    fn fetch_offsets(
        &mut self,
        context: &Context,
        request: OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let response = OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        if let Err(error) = self.check_fetch(context, &request) {
            return response.with_error_code(self.refusal(context, error));
        }
        let nothing = Stored::default();
        let name = request.group_id.as_str();
        let stored = self.groups.all.get(name).map_or(&nothing, |group| &group.offsets);
        let topic = |name: &str, partitions: &mut dyn Iterator<Item = i32>| {
            OffsetFetchResponseTopics::default()
                .with_name(StrBytes::from_string(name.to_owned()).into())
                .with_partitions(partitions.map(|partition| stored.read(name, partition, stable)).collect())
        };
        let topics = match &request.topics {
            None => stored
                .committed
                .iter()
                .map(|(name, partitions)| topic(name, &mut partitions.keys().copied()))
                .collect(),
            Some(topics) => topics
                .iter()
                .map(|asked| topic(&asked.name, &mut asked.partition_indexes.iter().copied()))
                .collect(),
        };
        response.with_topics(topics)
    }

    fn check_fetch(
        &mut self,
        context: &Context,
        request: &OffsetFetchRequestGroup,
    ) -> Result<(), ResponseError> {
        let name = request.group_id.as_str();
        self.check_coordinator(context, name)?;
        match self.groups.all.get(name) {
            Some(Group { members: Members::Consumer(consumer), .. }) => {
                consumer.check_fetch(request.member_id.as_deref(), request.member_epoch)
            }
            Some(Group { members: Members::None | Members::Classic(_), .. }) | None => Ok(()),
        }
    }
}

impl Stored {
    fn read(&self, topic: &str, partition: i32, stable: bool) -> OffsetFetchResponsePartitions {
        let none = OffsetFetchResponsePartitions::default()
            .with_partition_index(partition)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1);
        if stable && self.is_unstable(topic, partition) {
            return none.with_error_code(ResponseError::UnstableOffsetCommit.code());
        }
        match self.get(topic, partition) {
            None => none,
            Some(commit) => none
                .with_committed_offset(commit.offset)
                .with_committed_leader_epoch(commit.leader_epoch)
                .with_metadata(Some(commit.metadata.clone())),
        }
    }
}

/// The answer about one group in the format up to v7. In v1 only partitions have an error code.
fn single(
    version: i16,
    group: OffsetFetchResponseGroup,
    asked: Option<Vec<OffsetFetchRequestTopics>>,
) -> OffsetFetchResponse {
    if version < 2 && group.error_code != 0 {
        let topics = asked.unwrap_or_default().into_iter().map(|topic| {
            let partitions = topic.partition_indexes.into_iter().map(|partition| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(-1)
                    .with_committed_leader_epoch(-1)
                    .with_error_code(group.error_code)
            });
            OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_error_code(group.error_code).with_topics(topics.collect())
}
