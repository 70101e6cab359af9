//! The contents of a heartbeat.

use std::{collections::BTreeMap, mem};

use offtake_wire::{
    Uuid,
    messages::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions},
};

use super::{Consumer, state::State};
use crate::config::{Protocol, millis};

/// The member epochs of heartbeats that join, leave, and leave as a static member that will return.
pub(super) const JOIN: i32 = 0;
pub(super) const LEAVE: i32 = -1;
pub(super) const STATIC_LEAVE: i32 = -2;

impl Consumer {
    pub(super) fn request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let pending = mem::take(&mut self.pending);
        let (joins, leaves) =
            (matches!(self.state, State::Joining { .. }), matches!(self.state, State::Leaving { .. }));
        let full = !leaves && (joins || pending.full);
        let remote_assignor = match &self.core.config.protocol {
            Protocol::Consumer { remote_assignor } => remote_assignor.clone(),
            Protocol::Classic => None,
        };
        let pattern = (full || pending.subscription).then(|| self.pattern.clone());
        let pattern = pattern.filter(|pattern| !pattern.is_empty() || self.pattern_sent);
        self.pattern_sent |= pattern.is_some();
        let topics = || self.subscription.iter().map(|topic| topic.as_str().to_owned()).collect();
        ConsumerGroupHeartbeatRequest {
            group_id: self.core.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: match &self.state {
                State::Leaving { epoch, .. } => *epoch,
                _ => self.epoch, // `JOIN` while this is no member
            },
            instance_id: self.core.config.instance_id.clone(),
            rack_id: self.core.config.rack.clone().filter(|_| full),
            rebalance_timeout_ms: if full { millis(self.core.config.rebalance_timeout) } else { -1 },
            subscribed_topic_names: (full || pending.subscription).then(topics),
            subscribed_topic_regex: pattern,
            server_assignor: remote_assignor.filter(|_| full),
            topic_partitions: (full || pending.owned).then(|| by_topic(self.partitions.ids())),
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
