//! The families of metrics: their names, labels, and the sources of their values.

mod kafka_exporter;
mod kminion;
mod monitor;
mod own;

use offtake_lag::{GroupReport, PartitionReport, TopicPartitionReport};

pub(super) use self::{kafka_exporter::KAFKA_EXPORTER, kminion::KMINION, monitor::MONITOR, own::OWN};
use super::{Reported, text::Text};
use crate::view::View;

/// The samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: &'static str,
    pub(super) scope: Scope,
}

/// The scope of a family's samples.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Group(fn(&mut Text, &Reported, &GroupReport)),
    Partition(fn(&mut Text, &Reported, &TopicPartitionReport)),
    /// The partitions of one topic.
    Topic(fn(&mut Text, &Reported, &[TopicPartitionReport])),
    Monitor(fn(&mut Text, &View)),
}

const fn gauge(name: &'static str, help: &'static str, scope: Scope) -> Family {
    Family { name, help, kind: "gauge", scope }
}

const fn counter(name: &'static str, help: &'static str, scope: Scope) -> Family {
    Family { name, help, kind: "counter", scope }
}

/// Writes a sample for each partition that has the value. If `from` is given, the labels include its cluster.
pub(super) fn of_partitions<T: std::fmt::Display>(
    out: &mut Text,
    from: Option<&Reported>,
    group: &GroupReport,
    value: fn(&PartitionReport) -> Option<T>,
) {
    for partition in &group.partitions {
        let Some(value) = value(partition) else { continue };
        let number = partition.partition.to_string();
        let cluster = from.map_or("", |from| &from.cluster);
        let labels = [
            ("cluster_name", cluster),
            ("group", &group.group),
            ("topic", &partition.topic),
            ("partition", &number),
        ];
        let [_, without @ ..] = &labels;
        out.sample(if from.is_some() { &labels } else { without }, value);
    }
}

pub(super) fn of_log(out: &mut Text, from: &Reported, partition: &TopicPartitionReport, offset: Option<i64>) {
    let Some(offset) = offset else { return };
    let number = partition.partition.to_string();
    let labels =
        [("cluster_name", from.cluster.as_str()), ("topic", &partition.topic), ("partition", &number)];
    out.sample(&labels, offset);
}

pub(super) fn log_by(
    out: &mut Text,
    [topic, number]: [&str; 2],
    partition: &TopicPartitionReport,
    offset: Option<i64>,
) {
    let Some(offset) = offset else { return };
    out.sample(&[(topic, &partition.topic), (number, &partition.partition.to_string())], offset);
}

pub(super) fn by_exporter<T: std::fmt::Display>(
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

pub(super) fn committed_of(partitions: &[PartitionReport]) -> i64 {
    partitions.iter().filter_map(|partition| partition.committed).fold(0, i64::saturating_add)
}

pub(super) fn lag_of(partitions: &[PartitionReport]) -> u64 {
    partitions.iter().filter_map(|partition| partition.lag).fold(0, u64::saturating_add)
}
