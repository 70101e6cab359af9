//! Offtake's own metric names.

use offtake_lag::MemberReport;

use super::{Family, Scope, gauge, of_log, of_partitions};

/// The names of Kafka Lag Exporter, which existing dashboards and rules use, and some more.
pub(in crate::metrics) const OWN: &[Family] = &[
    gauge(
        "kafka_consumergroup_group_lag",
        "Records between the committed offset and the end of the partition.",
        Scope::Group(|out, from, group| {
            for partition in &group.partitions {
                let Some(lag) = partition.lag else { continue };
                let member = group.owner(partition);
                let of =
                    |field: fn(&MemberReport) -> &String| member.map_or("", |member| field(member).as_str());
                out.sample(
                    &[
                        ("cluster_name", &from.cluster),
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
        Scope::Group(|out, from, group| {
            of_partitions(out, Some(from), group, |partition| partition.lag_seconds);
        }),
    ),
    gauge(
        "kafka_consumergroup_group_lag_bytes",
        "Bytes of the partition's unread records on its leader's disk; absent where brokers report no sizes.",
        Scope::Group(|out, from, group| {
            of_partitions(out, Some(from), group, |partition| partition.lag_bytes);
        }),
    ),
    gauge(
        "kafka_consumergroup_group_offset",
        "The committed offset.",
        Scope::Group(|out, from, group| {
            of_partitions(out, Some(from), group, |partition| partition.committed);
        }),
    ),
    gauge(
        "kafka_partition_latest_offset",
        "The high watermark.",
        Scope::Partition(|out, from, partition| of_log(out, from, partition, partition.latest)),
    ),
    gauge(
        "kafka_partition_earliest_offset",
        "The log start offset.",
        Scope::Partition(|out, from, partition| of_log(out, from, partition, partition.earliest)),
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
        "The same as kafka_consumergroup_group_sum_lag, by the name that common alerting rules use.",
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
