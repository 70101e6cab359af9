//! ConsumerGroupDescribe.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName,
        consumer_group_describe_response::{
            Assignment, DescribedGroup, Member as Described, TopicPartitions,
        },
    },
    protocol::StrBytes,
};

use super::{Assigned, ClusterView, Consumer, Member, Partitions, member::without_epochs};
use crate::{
    groups::Members,
    model::Model,
    request::{Context, Reply},
};

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: the operations on a group that a fully authorized client may do.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

impl Model {
    pub(crate) fn handle_consumer_group_describe(
        &mut self,
        context: &Context,
        request: ConsumerGroupDescribeRequest,
    ) -> Reply {
        // Empty names are answered before any coordinator is asked.
        let (named, nameless): (Vec<_>, Vec<_>) = request.group_ids.iter().partition(|id| !id.is_empty());
        let nameless = nameless.into_iter().map(|id| refused(id, ResponseError::InvalidGroupId, None));
        let named = named.into_iter().map(|id| self.describe_consumer_group(context, &request, id));
        let groups = nameless.chain(named).collect();
        ConsumerGroupDescribeResponse::default().with_groups(groups).into()
    }

    fn describe_consumer_group(
        &self,
        context: &Context,
        request: &ConsumerGroupDescribeRequest,
        id: &GroupId,
    ) -> DescribedGroup {
        let name = id.as_str();
        if !self.coordinates(context, name) {
            return refused(id, ResponseError::NotCoordinator, None);
        }
        let error = ResponseError::GroupIdNotFound;
        match self.groups.all.get(name).map(|group| &group.members) {
            Some(Members::Consumer(group)) => {
                let world = ClusterView::new(self.now, &self.topics, &self.config);
                let described = group.describe(&world).with_group_id(id.clone());
                if request.include_authorized_operations {
                    described.with_authorized_operations(GROUP_OPERATIONS)
                } else {
                    described
                }
            }
            Some(_) => refused(id, error, Some(format!("Group {name} is not a consumer group."))),
            None => refused(id, error, Some(format!("Group {name} not found."))),
        }
    }
}

fn refused(id: &GroupId, error: ResponseError, message: Option<String>) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_error_code(error.code())
        .with_error_message(message.map(StrBytes::from_string))
}

impl Consumer {
    fn describe(&self, world: &ClusterView) -> DescribedGroup {
        let members = self.members.values().map(|member| self.describe_member(member, world));
        DescribedGroup::default()
            .with_group_state(StrBytes::from_static_str(self.state()))
            .with_group_epoch(self.epoch)
            .with_assignment_epoch(self.target_epoch)
            .with_assignor_name(StrBytes::from_string(self.assignor().to_owned()))
            .with_members(members.collect())
    }

    fn describe_member(&self, member: &Member, world: &ClusterView) -> Described {
        let text = |text: &String| StrBytes::from_string(text.clone());
        // Partitions that it is still to revoke count as held.
        let mut holds: Assigned = member.assigned.clone();
        for (topic, partitions) in &member.revoking {
            holds.entry(*topic).or_default().extend(partitions);
        }
        let target = self.target.get(&member.id).cloned().unwrap_or_default();
        Described::default()
            .with_member_id(text(&member.id))
            .with_instance_id(member.instance.as_ref().map(text))
            .with_rack_id(member.rack.as_ref().map(text))
            .with_member_epoch(member.epoch)
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_subscribed_topic_names(member.names.iter().map(|name| TopicName(text(name))).collect())
            .with_subscribed_topic_regex(Some(text(&member.pattern)))
            .with_assignment(named(&without_epochs(&holds), world))
            .with_target_assignment(named(&target, world))
            .with_member_type(i8::from(member.classic.is_none()))
    }
}

/// The partitions with their topics' names. Deleted topics are left out.
fn named(partitions: &Partitions, world: &ClusterView) -> Assignment {
    let topics = partitions.iter().filter(|(_, partitions)| !partitions.is_empty());
    let topics = topics.filter_map(|(topic, partitions)| {
        let name = TopicName(StrBytes::from_string(world.name_of(*topic)?.to_owned()));
        let partitions = partitions.iter().copied().collect();
        Some(
            TopicPartitions::default()
                .with_topic_id(*topic)
                .with_topic_name(name)
                .with_partitions(partitions),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
