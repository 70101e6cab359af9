//! The consumer's subscription and assignment, which the classic protocol carries as bytes: a version and a message.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
        consumer_protocol_assignment::TopicPartition,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use super::{Assigned, ClusterView, Partitions, member::ClassicPart};
use crate::topics::Topics;

/// The newest version of both.
const NEWEST: i16 = 3;

/// A subscription and its version.
pub(super) fn subscription(mut bytes: Bytes) -> Option<(i16, ConsumerProtocolSubscription)> {
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?.min(NEWEST);
    Some((version, ConsumerProtocolSubscription::decode(&mut bytes, version).ok()?))
}

pub(super) fn assignment(mut bytes: Bytes) -> Option<ConsumerProtocolAssignment> {
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?.min(NEWEST);
    ConsumerProtocolAssignment::decode(&mut bytes, version).ok()
}

/// Partitions in the format of SyncGroup for a classic member: in the version of its subscription.
pub(super) fn embedded_assignment(
    partitions: Option<&Partitions>,
    classic: &ClassicPart,
    world: &ClusterView,
) -> Bytes {
    let metadata = classic.protocols.first();
    let version =
        metadata.and_then(|(_, bytes)| subscription(bytes.clone())).map_or(0, |(version, _)| version);
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partitions) in partitions.into_iter().flatten() {
        if let Some(name) = world.name_of(*topic) {
            topics.entry(name).or_default().extend(partitions);
        }
    }
    let partitions = topics.into_iter().map(|(name, partitions)| {
        let name = TopicName(StrBytes::from_string(name.to_owned()));
        TopicPartition::default().with_topic(name).with_partitions(partitions)
    });
    let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(partitions.collect());
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    // Encoding it cannot fail.
    let _ = assignment.encode(&mut bytes, version);
    bytes.freeze()
}

pub(super) fn owned(subscription: &ConsumerProtocolSubscription, topics: &Topics) -> Partitions {
    let mut owned = Partitions::new();
    for topic in &subscription.owned_partitions {
        if let Some(known) = topics.all.get(topic.topic.as_str()) {
            owned.entry(known.id).or_default().extend(&topic.partitions);
        }
    }
    owned
}

pub(super) fn assigned_at(epoch: i32, partitions: &[TopicPartition], topics: &Topics) -> Assigned {
    let mut assigned = Assigned::new();
    for topic in partitions {
        if let Some(known) = topics.all.get(topic.topic.as_str()) {
            let partitions = topic.partitions.iter().map(|partition| (*partition, epoch));
            assigned.entry(known.id).or_default().extend(partitions);
        }
    }
    assigned
}
