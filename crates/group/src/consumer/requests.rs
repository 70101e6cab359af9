//! What a heartbeat says.

use std::{collections::BTreeMap, mem};

use offtake_wire::{
    Uuid,
    messages::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions},
};

use super::{Consumer, state::State};
use crate::config::{Protocol, millis};

/// The epoch of a heartbeat that joins, leaves, or leaves as a static member that means to be back.
pub(super) const JOIN: i32 = 0;
pub(super) const LEAVE: i32 = -1;
pub(super) const LEAVE_FOR_A_WHILE: i32 = -2;

impl Consumer {
    pub(super) fn request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let say = mem::take(&mut self.say);
        let (joins, leaves) =
            (matches!(self.state, State::Joining { .. }), matches!(self.state, State::Leaving { .. }));
        let everything = !leaves && (joins || say.everything);
        let remote_assignor = match &self.config.protocol {
            Protocol::Consumer { remote_assignor } => remote_assignor.clone(),
            Protocol::Classic => None,
        };
        let pattern = (everything || say.topics).then(|| self.pattern.clone());
        let pattern = pattern.filter(|pattern| !pattern.is_empty() || self.told_pattern);
        self.told_pattern |= pattern.is_some();
        let topics = || self.subscription.iter().map(|topic| topic.as_str().to_owned()).collect();
        ConsumerGroupHeartbeatRequest {
            group_id: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: match &self.state {
                State::Leaving { epoch, .. } => *epoch,
                State::Joining { .. } => JOIN,
                _ => self.epoch,
            },
            instance_id: self.config.instance_id.clone(),
            rack_id: self.config.rack.clone().filter(|_| everything),
            rebalance_timeout_ms: if everything { millis(self.config.rebalance_timeout) } else { -1 },
            subscribed_topic_names: (everything || say.topics).then(topics),
            subscribed_topic_regex: pattern,
            server_assignor: remote_assignor.filter(|_| everything),
            topic_partitions: (everything || say.owned).then(|| by_topic(self.holding.ids())),
        }
    }
}

/// Partition indices by topic id.
fn by_topic(ids: impl Iterator<Item = (Uuid, i32)>) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in ids {
        topics.entry(topic).or_default().push(partition);
    }
    topics.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions }).collect()
}
