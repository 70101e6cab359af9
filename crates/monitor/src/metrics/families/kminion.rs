//! The metric names of KMinion.

use std::collections::HashSet;

use super::{Family, Scope, committed_of, gauge, lag_of, log_by};

/// The metrics of KMinion about groups and the partitions they consume.
pub(in crate::metrics) const KMINION: &[Family] = &[
    gauge(
        "kminion_kafka_consumer_group_info",
        "Consumer Group info metrics. It will report 1 if the group is in the stable state, otherwise 0.",
        Scope::Group(|out, _, group| {
            out.sample(
                &[
                    ("group_id", &group.group),
                    ("member_count", &group.members.len().to_string()),
                    ("protocol_type", "consumer"),
                    ("state", &group.state),
                ],
                u8::from(group.state == "Stable"),
            );
        }),
    ),
    gauge(
        "kminion_kafka_consumer_group_members",
        "Consumer Group member count metrics. It will report the number of members in the consumer group",
        Scope::Group(|out, _, group| out.sample(&[("group_id", &group.group)], group.members.len())),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_members",
        "It will report the number of members in the consumer group assigned on a given topic",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in group.topics() {
                let members: HashSet<_> =
                    partitions.iter().filter_map(|partition| partition.member).collect();
                out.sample(&[("group_id", &group.group), ("topic_name", topic)], members.len());
            }
        }),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_offset_sum",
        "The sum of all committed group offsets across all partitions in a topic",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in group.topics() {
                out.sample(&[("group_id", &group.group), ("topic_name", topic)], committed_of(partitions));
            }
        }),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_partition_lag",
        "The number of messages a consumer group is lagging behind the latest offset of a partition",
        Scope::Group(|out, _, group| {
            for partition in &group.partitions {
                let Some(lag) = partition.lag else { continue };
                out.sample(
                    &[
                        ("group_id", &group.group),
                        ("topic_name", &partition.topic),
                        ("partition_id", &partition.partition.to_string()),
                    ],
                    lag,
                );
            }
        }),
    ),
    gauge(
        "kminion_kafka_consumer_group_topic_lag",
        "The number of messages a consumer group is lagging behind across all partitions in a topic",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in group.topics() {
                out.sample(&[("group_id", &group.group), ("topic_name", topic)], lag_of(partitions));
            }
        }),
    ),
    gauge(
        "kminion_kafka_topic_partition_high_water_mark",
        "Partition High Water Mark",
        Scope::Partition(|out, _, partition| {
            log_by(out, ["topic_name", "partition_id"], partition, partition.latest);
        }),
    ),
    gauge(
        "kminion_kafka_topic_partition_low_water_mark",
        "Partition Low Water Mark",
        Scope::Partition(|out, _, partition| {
            log_by(out, ["topic_name", "partition_id"], partition, partition.earliest);
        }),
    ),
];
