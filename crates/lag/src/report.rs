//! The results of a round of samples.

use serde::{Deserialize, Serialize};

use crate::{offsets_topic::Shard, severity::Severity};

/// The state of all watched groups after one round of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the round ended, in milliseconds since 1970.
    pub at: i64,
    /// The cluster's id, as returned by the brokers.
    pub cluster: Option<String>,
    /// The groups, by name.
    pub groups: Vec<GroupReport>,
    /// The partitions that any of the groups consumes, by topic and number.
    pub partitions: Vec<TopicPartitionReport>,
    /// The failures of this round, one sentence each; the groups and partitions concerned keep their previous values.
    pub failures: Vec<String>,
    /// Anomalies other than lag: hot partitions, members without partitions, groups that rebalance repeatedly, dead letters.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The watched groups, if other replicas watch the others.
    #[serde(default)]
    pub shard: Option<Shard>,
}

/// The lag of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// The group's name.
    pub group: String,
    /// The group's state, in Kafka's terms: `Stable`, `Empty`, `PreparingRebalance`, …
    pub state: String,
    /// `classic`, `consumer` (KIP-848), or another type returned by the broker.
    pub protocol: Option<String>,
    /// The worst status of its partitions; `None` until there is a window of samples.
    pub status: Option<Status>,
    /// The worst severity of its partitions.
    #[serde(default)]
    pub severity: Severity,
    /// The sum of its partitions' lag, in records.
    pub lag: u64,
    /// The largest lag in seconds of its partitions.
    pub lag_seconds: Option<f64>,
    /// The number of rebalances seen in the window.
    pub rebalances: u32,
    /// The members, including those without partitions.
    pub members: Vec<MemberReport>,
    /// The partitions that have a committed offset or a member, by topic and number.
    pub partitions: Vec<PartitionReport>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// The member id.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// The host from which it connects, according to the broker.
    pub host: String,
    /// The number of partitions it owns.
    pub partitions: usize,
}

/// The lag of a group on one partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The committed offset.
    pub committed: Option<i64>,
    /// The end of the log: the high watermark, or the last stable offset.
    pub end: Option<i64>,
    /// `end - committed`, never below 0.
    pub lag: Option<u64>,
    /// The age of the oldest unread record in seconds; 0 without lag.
    pub lag_seconds: Option<f64>,
    /// The maximum error of `lag_seconds`.
    pub lag_seconds_error: Option<f64>,
    /// The lag in bytes on the broker's disk, if the brokers return sizes: the observed growth of the log, and for older data the
    /// share of its mean record. Deleted data does not count.
    pub lag_bytes: Option<u64>,
    /// The maximum error of `lag_bytes` if nothing was deleted meanwhile, according to the samples around the first unread
    /// record.
    #[serde(default)]
    pub lag_bytes_error: Option<u64>,
    /// The records appended per second, over the window.
    pub produced_per_second: Option<f64>,
    /// The records committed per second, over the window.
    pub consumed_per_second: Option<f64>,
    /// The seconds until the lag is 0 at these rates; `None` if it does not shrink.
    pub catch_up_seconds: Option<f64>,
    /// The seconds until, at the present rates, retention deletes an unread record; 0 if that has begun, or may happen at Kafka's
    /// next check. `None` if the group reads every record in time, or the retention settings are unknown. A group that catches up
    /// can still lose records, if it has more to read than it can before they are deleted. Until there is a window of samples,
    /// the forecast assumes that nothing is read; that deletion has begun is known from the second sample on.
    pub time_to_data_loss_seconds: Option<f64>,
    /// The member that owns it, as an index into [`GroupReport::members`].
    pub member: Option<usize>,
    /// The status; `None` until there is a window of samples.
    pub status: Option<Status>,
    /// The severity of `lag_seconds` by the thresholds of the group, or of an imminent loss of records.
    #[serde(default)]
    pub severity: Severity,
}

impl GroupReport {
    /// The partitions as printed by `offtake lag` and `/api/groups/NAME`.
    pub fn rows(&self) -> impl Iterator<Item = PartitionRow<'_>> {
        self.partitions.iter().map(|partition| PartitionRow::new(self, partition))
    }

    /// The member that owns this partition.
    #[must_use]
    pub fn owner(&self, partition: &PartitionReport) -> Option<&MemberReport> {
        self.members.get(partition.member?)
    }

    /// The partitions by topic.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &[PartitionReport])> {
        let topics = self.partitions.chunk_by(|left, right| left.topic == right.topic);
        topics.filter_map(|partitions| Some((partitions.first()?.topic.as_str(), partitions)))
    }

    /// The shortest time, over the partitions, until retention deletes an unread record, in seconds.
    #[must_use]
    pub fn time_to_data_loss_seconds(&self) -> Option<f64> {
        let times = self.partitions.iter().filter_map(|partition| partition.time_to_data_loss_seconds);
        times.min_by(f64::total_cmp)
    }
}

/// A partition of a group as a row of a table, with the columns in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartitionRow<'a> {
    /// The group's name.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// The committed offset.
    pub committed: Option<i64>,
    /// The end up to which lag is counted.
    pub end: Option<i64>,
    /// [`PartitionReport::difference`].
    pub lag: Option<i64>,
    /// The age of the oldest unread record, rounded to milliseconds like timestamps.
    pub lag_seconds: Option<f64>,
    /// The maximum error of `lag_seconds`; not a column. Without one a lag is at least that old, as far as is known: the record's
    /// timestamp lies in the future.
    #[serde(skip)]
    pub lag_seconds_error: Option<f64>,
    /// The id of the member that owns it.
    pub member: Option<&'a str>,
    /// The member's `client.id`.
    pub client: Option<&'a str>,
    /// The host from which the member connects.
    pub host: Option<&'a str>,
    /// The status.
    pub status: Option<Status>,
    /// The lag in bytes.
    pub lag_bytes: Option<u64>,
}

impl<'a> PartitionRow<'a> {
    fn new(group: &'a GroupReport, partition: &'a PartitionReport) -> Self {
        let member = group.owner(partition);
        Self {
            group: &group.group,
            topic: &partition.topic,
            partition: partition.partition,
            committed: partition.committed,
            end: partition.end,
            lag: partition.difference(),
            lag_seconds: partition.lag_seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0),
            lag_seconds_error: partition.lag_seconds_error,
            member: member.map(|member| member.member_id.as_str()),
            client: member.map(|member| member.client_id.as_str()),
            host: member.map(|member| member.host.as_str()),
            status: partition.status,
            lag_bytes: partition.lag_bytes,
        }
    }
}

impl PartitionReport {
    /// `end - committed` as in Kafka's own command: negative if the log was truncated below the committed offset.
    #[must_use]
    pub fn difference(&self) -> Option<i64> {
        self.end?.checked_sub(self.committed?)
    }
}

/// A partition that some group consumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPartitionReport {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The log start offset.
    pub earliest: Option<i64>,
    /// The high watermark.
    pub latest: Option<i64>,
}

/// The status of a group on a partition, by Burrow's rules and one more. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It keeps up, or has caught up within the window.
    Ok,
    /// It commits, but its lag grows through the whole window.
    Warn,
    /// The worst of its partitions has stopped, stalled or gone back. Only for groups.
    Err,
    /// It has lag, and has not committed for longer than the window.
    Stop,
    /// It has lag and commits, but the committed offset does not move.
    Stall,
    /// Its committed offset has gone back.
    Rewind,
    /// At the present rates, retention deletes unread records within the horizon.
    DataLossImminent,
}

impl Status {
    /// All statuses, ordered by [`number`](Self::number).
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Warn, Self::Err, Self::Stop, Self::Stall, Self::Rewind, Self::DataLossImminent];

    /// The machine-readable name: `ok`, `data_loss_imminent`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Err => "err",
            Self::Stop => "stop",
            Self::Stall => "stall",
            Self::Rewind => "rewind",
            Self::DataLossImminent => "data_loss_imminent",
        }
    }

    /// The number in metrics: 0 for [`Ok`](Self::Ok) to 6 for [`DataLossImminent`](Self::DataLossImminent).
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// An anomaly that is not a lag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of anomaly.
    pub kind: FindingKind,
    /// The group concerned, if any.
    pub group: Option<String>,
    /// The topic concerned, if any.
    pub topic: Option<String>,
    /// The partition concerned, if any.
    pub partition: Option<i32>,
    /// A description in one sentence.
    pub message: String,
}

/// The kinds of [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A partition gets a multiple of the records of the topic's other partitions.
    HotPartition,
    /// A member of a stable group owns no partition.
    IdleMember,
    /// A group rebalances repeatedly.
    RepeatedRebalances,
    /// A dead-letter topic grows.
    DeadLetters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_stand_by_their_numbers_and_have_the_names_that_are_serialized() {
        for (number, status) in (0..).zip(Status::ALL) {
            assert_eq!(status.number(), number);
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
