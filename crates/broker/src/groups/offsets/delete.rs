//! OffsetDelete, v0.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        OffsetDeleteRequest, OffsetDeleteResponse,
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
    },
};

use crate::{
    groups::Members,
    model::Model,
    request::{Context, Reply},
};

impl Model {
    pub(crate) fn handle_offset_delete(&mut self, context: &Context, request: OffsetDeleteRequest) -> Reply {
        let group = request.group_id.as_str().to_owned();
        if let Err(error) = self.check_offset_delete(context, &group) {
            let code = self.refusal(context, error);
            return OffsetDeleteResponse::default().with_error_code(code).into();
        }
        // As with commits, missing topics come first in the answer, and within a topic the missing partitions.
        let (known, unknown): (Vec<_>, Vec<_>) =
            request.topics.into_iter().partition(|topic| self.topics.all.contains_key(topic.name.as_str()));
        let mut topics = Vec::new();
        for topic in unknown.into_iter().chain(known) {
            let error = self.forbids_deletion(&group, &topic.name);
            let code = error.map_or(0, |error| self.refusal(context, error));
            let exists = |index: i32| error.is_some() || self.topics.partition(&topic.name, index).is_some();
            let (known, missing): (Vec<_>, Vec<_>) = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index)
                .partition(|index| exists(*index));
            let mut partitions = Vec::new();
            for index in missing {
                let code = self.refusal(context, ResponseError::UnknownTopicOrPartition);
                let answer = OffsetDeleteResponsePartition::default();
                partitions.push(answer.with_partition_index(index).with_error_code(code));
            }
            for index in known {
                if let Some(group) = self.groups.all.get_mut(&group).filter(|_| error.is_none()) {
                    group.offsets.forget(&topic.name, index);
                }
                let answer = OffsetDeleteResponsePartition::default();
                partitions.push(answer.with_partition_index(index).with_error_code(code));
            }
            let answer = OffsetDeleteResponseTopic::default();
            topics.push(answer.with_name(topic.name).with_partitions(partitions));
        }
        OffsetDeleteResponse::default().with_topics(topics).into()
    }

    fn forbids_deletion(&self, group: &str, topic: &str) -> Option<ResponseError> {
        if !self.topics.all.contains_key(topic) {
            return Some(ResponseError::UnknownTopicOrPartition);
        }
        let subscribed = match &self.groups.all.get(group)?.members {
            Members::None => false,
            Members::Classic(classic) => classic.subscribed_to(topic),
            Members::Consumer(consumer) => consumer.subscribed_to(topic),
        };
        subscribed.then_some(ResponseError::GroupSubscribedToTopic)
    }

    fn check_offset_delete(&mut self, context: &Context, group: &str) -> Result<(), ResponseError> {
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_coordinator(context, group)?;
        match &self.groups.all.get(group).ok_or(ResponseError::GroupIdNotFound)?.members {
            // The subscriptions of consumers are known, so the offsets of other topics may be deleted.
            Members::Classic(classic) if !classic.is_empty() && !classic.is_of_consumers() => {
                Err(ResponseError::NonEmptyGroup)
            }
            Members::None | Members::Classic(_) | Members::Consumer(_) => Ok(()),
        }
    }
}
