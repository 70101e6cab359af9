//! The metric names of `danielqsj/kafka_exporter`.

use super::{Family, Scope, by_exporter, committed_of, gauge, lag_of, log_by};

/// The metrics of kafka_exporter about groups and the partitions they consume.
pub(in crate::metrics) const KAFKA_EXPORTER: &[Family] = &[
    gauge(
        "kafka_consumergroup_current_offset",
        "Current Offset of a ConsumerGroup at Topic/Partition",
        Scope::Group(|out, _, group| by_exporter(out, group, |partition| partition.committed)),
    ),
    gauge(
        "kafka_consumergroup_lag",
        "Current Approximate Lag of a ConsumerGroup at Topic/Partition",
        Scope::Group(|out, _, group| by_exporter(out, group, |partition| partition.lag)),
    ),
    gauge(
        "kafka_consumergroup_current_offset_sum",
        "Current Offset of a ConsumerGroup at Topic for all partitions",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in group.topics() {
                out.sample(&[("consumergroup", &group.group), ("topic", topic)], committed_of(partitions));
            }
        }),
    ),
    gauge(
        "kafka_consumergroup_lag_sum",
        "Current Approximate Lag of a ConsumerGroup at Topic for all partitions",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in group.topics() {
                out.sample(&[("consumergroup", &group.group), ("topic", topic)], lag_of(partitions));
            }
        }),
    ),
    gauge(
        "kafka_consumergroup_members",
        "Amount of members in a consumer group",
        Scope::Group(|out, _, group| out.sample(&[("consumergroup", &group.group)], group.members.len())),
    ),
    gauge(
        "kafka_topic_partitions",
        "Number of partitions for this Topic",
        Scope::Topic(|out, _, partitions| {
            if let Some(first) = partitions.first() {
                out.sample(&[("topic", &first.topic)], partitions.len());
            }
        }),
    ),
    gauge(
        "kafka_topic_partition_current_offset",
        "Current Offset of a Broker at Topic/Partition",
        Scope::Partition(|out, _, partition| {
            log_by(out, ["topic", "partition"], partition, partition.latest);
        }),
    ),
    gauge(
        "kafka_topic_partition_oldest_offset",
        "Oldest Offset of a Broker at Topic/Partition",
        Scope::Partition(|out, _, partition| {
            log_by(out, ["topic", "partition"], partition, partition.earliest);
        }),
    ),
];
