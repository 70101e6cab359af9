//! The families of metrics: names, labels, and where their values come from.

use std::collections::HashSet;

use offtake_lag::{GroupReport, PartitionReport, TopicPartitionReport};

use super::{Scene, text::Text};
use crate::view::View;

/// Samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: &'static str,
    pub(super) scope: Scope,
}

/// What a family has samples of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Group(fn(&mut Text, &Scene, &GroupReport)),
    Partition(fn(&mut Text, &Scene, &TopicPartitionReport)),
    /// The partitions of one topic.
    Topic(fn(&mut Text, &Scene, &[TopicPartitionReport])),
    Monitor(fn(&mut Text, &View)),
}

const fn gauge(name: &'static str, help: &'static str, scope: Scope) -> Family {
    Family { name, help, kind: "gauge", scope }
}

const fn counter(name: &'static str, help: &'static str, scope: Scope) -> Family {
    Family { name, help, kind: "counter", scope }
}

/// Those of Kafka Lag Exporter, by which dashboards and rules in the wild ask, and some more.
pub(super) const OWN: &[Family] = &[
    gauge(
        "kafka_consumergroup_group_lag",
        "Records between the committed offset and the end of the partition.",
        Scope::Group(|out, scene, group| {
            for partition in &group.partitions {
                let Some(lag) = partition.lag else { continue };
                let member = partition.member.and_then(|member| group.members.get(member));
                let of = |field: fn(&offtake_lag::MemberReport) -> &String| {
                    member.map_or("", |member| field(member).as_str())
                };
                out.sample(
                    &[
                        ("cluster_name", &scene.cluster),
                        ("group", &group.group),
                        ("topic", &partition.topic),
                        ("partition", &partition.partition.to_string()),
                        ("member_host", of(|member| &member.host)),
                        ("consumer_id", of(|member| &member.member_id)),
                        ("client_id", of(|member| &member.client_id)),
                    ],
                    lag,
                );
            }
        }),
    ),
    gauge(
        "kafka_consumergroup_group_lag_seconds",
        "Age of the oldest unread record of the partition; 0 without lag.",
        Scope::Group(|out, scene, group| {
            of_partitions(out, Some(scene), group, |partition| partition.lag_seconds);
        }),
    ),
    gauge(
        "kafka_consumergroup_group_lag_bytes",
        "What the unread records of the partition take on its leader's disk; absent where brokers tell no sizes.",
        Scope::Group(|out, scene, group| {
            of_partitions(out, Some(scene), group, |partition| partition.lag_bytes);
        }),
    ),
    gauge(
        "kafka_consumergroup_group_offset",
        "The committed offset.",
        Scope::Group(|out, scene, group| {
            of_partitions(out, Some(scene), group, |partition| partition.committed);
        }),
    ),
    gauge(
        "kafka_partition_latest_offset",
        "The high watermark.",
        Scope::Partition(|out, scene, partition| of_log(out, scene, partition, partition.latest)),
    ),
    gauge(
        "kafka_partition_earliest_offset",
        "The log start offset.",
        Scope::Partition(|out, scene, partition| of_log(out, scene, partition, partition.earliest)),
    ),
    gauge(
        "kafka_consumergroup_group_max_lag_seconds",
        "The largest lag in seconds of the group's partitions.",
        Scope::Group(|out, _, group| {
            if let Some(seconds) = group.lag_seconds {
                out.sample(&[("group", &group.group)], seconds);
            }
        }),
    ),
    gauge(
        "kafka_consumergroup_group_sum_lag",
        "The sum of the lag of the group's partitions, in records.",
        Scope::Group(|out, _, group| out.sample(&[("group", &group.group)], group.lag)),
    ),
    gauge(
        "kafka_consumer_group_lag_sum",
        "The same as kafka_consumergroup_group_sum_lag, by the name that rules in the wild use.",
        Scope::Group(|out, _, group| out.sample(&[("group", &group.group)], group.lag)),
    ),
    gauge(
        "kafka_consumergroup_group_status",
        "0 ok, 1 warn, 2 err, 3 stop, 4 stall, 5 rewind, 6 data_loss_imminent.",
        Scope::Group(|out, _, group| {
            of_partitions(out, None, group, |partition| partition.status.map(|status| status.number()));
        }),
    ),
    gauge(
        "kafka_consumergroup_time_to_data_loss_seconds",
        "Seconds until retention deletes the first unread record at the present rates; absent where it never does.",
        Scope::Group(|out, _, group| {
            of_partitions(out, None, group, |partition| partition.time_to_data_loss_seconds);
        }),
    ),
];

/// Those of kafka_exporter that are about groups and what they read.
pub(super) const KAFKA_EXPORTER: &[Family] = &[
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
            for (topic, partitions) in by_topic(group) {
                out.sample(&[("consumergroup", &group.group), ("topic", topic)], committed_of(partitions));
            }
        }),
    ),
    gauge(
        "kafka_consumergroup_lag_sum",
        "Current Approximate Lag of a ConsumerGroup at Topic for all partitions",
        Scope::Group(|out, _, group| {
            for (topic, partitions) in by_topic(group) {
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

/// Those of KMinion that are about groups and what they read.
pub(super) const KMINION: &[Family] = &[
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
            for (topic, partitions) in by_topic(group) {
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
            for (topic, partitions) in by_topic(group) {
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
            for (topic, partitions) in by_topic(group) {
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

/// Of the monitor itself.
pub(super) const MONITOR: &[Family] = &[
    gauge(
        "offtake_monitor_up",
        "1 if the last round ended with a report, 0 if no broker answered.",
        Scope::Monitor(|out, view| out.sample(&[], u8::from(view.is_ready()))),
    ),
    counter(
        "offtake_monitor_rounds_total",
        "Rounds that ended with a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.rounds)),
    ),
    counter(
        "offtake_monitor_failed_rounds_total",
        "Rounds that ended without a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.failed_rounds)),
    ),
    gauge(
        "offtake_monitor_round_duration_seconds",
        "How long the last round took that ended with a report.",
        Scope::Monitor(|out, view| out.sample(&[], view.round_seconds)),
    ),
    gauge(
        "offtake_monitor_round_failures",
        "What could not be asked in the last report's round: brokers, groups, partitions.",
        Scope::Monitor(|out, view| {
            if let Some(report) = &view.report {
                out.sample(&[], report.failures.len());
            }
        }),
    ),
    gauge(
        "offtake_monitor_shard_partitions",
        "Partitions of __consumer_offsets of which this replica watches the groups; absent if it watches all.",
        Scope::Monitor(|out, view| {
            let shard = view.report.as_ref().and_then(|report| report.shard.as_ref());
            if let Some(shard) = shard {
                out.sample(&[], shard.partitions.len());
            }
        }),
    ),
    gauge(
        "offtake_monitor_finding",
        "Always 1, for what is odd beside lag: hot_partition, idle_member, repeated_rebalances, dead_letters.",
        Scope::Monitor(|out, view| {
            let findings = view.fresh().map_or(&[][..], |report| &report.findings);
            let mut seen = HashSet::new();
            for finding in findings {
                let kind = serde_json::to_value(finding.kind).unwrap_or_default();
                let partition = finding.partition.map_or_else(String::new, |partition| partition.to_string());
                let labels = [
                    ("kind", kind.as_str().unwrap_or_default()),
                    ("group", finding.group.as_deref().unwrap_or_default()),
                    ("topic", finding.topic.as_deref().unwrap_or_default()),
                    ("partition", partition.as_str()),
                ];
                // Two members that own nothing are one series: Prometheus refuses a text that has one twice.
                if seen.insert(labels.map(|(_, value)| value.to_owned())) {
                    out.sample(&labels, 1);
                }
            }
        }),
    ),
    gauge(
        "offtake_monitor_report_timestamp_seconds",
        "When the last report was made, in seconds since 1970.",
        Scope::Monitor(|out, view| {
            if let Some(report) = &view.report {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "milliseconds since 1970 are exact for 285,000 years"
                )]
                out.sample(&[], report.at as f64 / 1000.0);
            }
        }),
    ),
    gauge(
        "offtake_build_info",
        "Always 1; the label tells the version.",
        Scope::Monitor(|out, _| out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1)),
    ),
];

/// A sample of each partition that has the value. With a scene, the cluster is among the labels.
fn of_partitions<T: std::fmt::Display>(
    out: &mut Text,
    scene: Option<&Scene>,
    group: &GroupReport,
    value: fn(&PartitionReport) -> Option<T>,
) {
    for partition in &group.partitions {
        let Some(value) = value(partition) else { continue };
        let number = partition.partition.to_string();
        let cluster = scene.map_or("", |scene| &scene.cluster);
        let labels = [
            ("cluster_name", cluster),
            ("group", &group.group),
            ("topic", &partition.topic),
            ("partition", &number),
        ];
        let [_, without @ ..] = &labels;
        out.sample(if scene.is_some() { &labels } else { without }, value);
    }
}

fn of_log(out: &mut Text, scene: &Scene, partition: &TopicPartitionReport, offset: Option<i64>) {
    let Some(offset) = offset else { return };
    let number = partition.partition.to_string();
    let labels =
        [("cluster_name", scene.cluster.as_str()), ("topic", &partition.topic), ("partition", &number)];
    out.sample(&labels, offset);
}

fn log_by(out: &mut Text, [topic, number]: [&str; 2], partition: &TopicPartitionReport, offset: Option<i64>) {
    let Some(offset) = offset else { return };
    out.sample(&[(topic, &partition.topic), (number, &partition.partition.to_string())], offset);
}

fn by_exporter<T: std::fmt::Display>(
    out: &mut Text,
    group: &GroupReport,
    value: fn(&PartitionReport) -> Option<T>,
) {
    for partition in &group.partitions {
        let Some(value) = value(partition) else { continue };
        let labels = [
            ("consumergroup", group.group.as_str()),
            ("topic", &partition.topic),
            ("partition", &partition.partition.to_string()),
        ];
        out.sample(&labels, value);
    }
}

/// A report has a group's partitions by topic and number.
fn by_topic(group: &GroupReport) -> impl Iterator<Item = (&str, &[PartitionReport])> {
    group
        .partitions
        .chunk_by(|left, right| left.topic == right.topic)
        .filter_map(|partitions| Some((partitions.first()?.topic.as_str(), partitions)))
}

fn committed_of(partitions: &[PartitionReport]) -> i64 {
    partitions.iter().filter_map(|partition| partition.committed).fold(0, i64::saturating_add)
}

fn lag_of(partitions: &[PartitionReport]) -> u64 {
    partitions.iter().filter_map(|partition| partition.lag).fold(0, u64::saturating_add)
}
