//! One broker's replica of a partition.

use kafka_protocol::error::ResponseError;

use super::FollowerLimit;
use crate::{
    model::Model,
    topics::{Partition, Topic},
};

/// The offsets of one replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaState {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
}

impl ReplicaState {
    pub(crate) fn of(partition: &Partition, broker: i32) -> Self {
        let log = &partition.log;
        let lag = log.lags.get(&broker).filter(|_| partition.leader != Some(broker));
        let FollowerLimit { end, high_watermark } = lag.copied().unwrap_or_default();
        let end = end.map_or(log.end(), |end| end.clamp(log.start(), log.end()));
        let high_watermark = high_watermark.unwrap_or(i64::MAX).min(log.high_watermark()).min(end);
        let high_watermark = high_watermark.max(log.start());
        Self { start: log.start(), end, high_watermark, last_stable: log.last_stable_under(high_watermark) }
    }
}

impl Model {
    /// A partition, if this broker has a replica that may answer: the leader's if `leader_only`, and in the leader
    /// epoch that the client names, unless that is -1.
    pub(crate) fn replica(
        &mut self,
        broker: i32,
        (topic, partition): (&str, i32),
        epoch: i32,
        leader_only: bool,
    ) -> Result<&mut Partition, ResponseError> {
        let found =
            self.topics.partition_mut(topic, partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
        if !found.replicas.contains(&broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        if epoch >= 0 && epoch < found.leader_epoch {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        if epoch >= 0 && epoch > found.leader_epoch {
            return Err(ResponseError::UnknownLeaderEpoch);
        }
        if leader_only && found.leader != Some(broker) {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        // No record is written between a change of the leader and this call, so the epoch begins here.
        found.log.lead(found.leader_epoch);
        Ok(found)
    }

    /// The leader and its epoch as Produce and Fetch report them to a client that asked another broker; -1 for unknown values.
    pub(crate) fn current_leader(&self, topic: &str, partition: i32) -> (i32, i32) {
        self.topics
            .partition(topic, partition)
            .map_or((-1, -1), |found| (found.leader.unwrap_or(-1), found.leader_epoch))
    }
}

/// A config of a topic, as a number.
pub(super) fn number(topic: &Topic, name: &str, default: i64) -> i64 {
    topic.configs.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Whether a topic's `cleanup.policy` contains this policy.
pub(super) fn cleans_by(topic: &Topic, policy: &str) -> bool {
    let set = topic.configs.get("cleanup.policy").map_or("delete", String::as_str);
    set.split(',').any(|part| part.trim() == policy)
}
