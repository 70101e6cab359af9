//! What a round of samples says, as values.

use serde::{Deserialize, Serialize};

use crate::{offsets_topic::Shard, severity::Severity};

/// What is known of all watched groups after one round of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the round ended, in milliseconds since 1970.
    pub at: i64,
    /// The cluster's id, as brokers tell it.
    pub cluster: Option<String>,
    /// The groups, by name.
    pub groups: Vec<GroupReport>,
    /// The partitions that any of the groups reads, by topic and number.
    pub partitions: Vec<TopicPartitionReport>,
    /// What could not be asked in this round, one sentence each: the groups and partitions concerned have what was known before.
    pub failures: Vec<String>,
    /// What is odd beside lag: hot partitions, members that own nothing, groups that rebalance again and again, dead letters.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Which groups these are, if other replicas watch the others.
    #[serde(default)]
    pub shard: Option<Shard>,
}

/// The lag of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// The group's name.
    pub group: String,
    /// The group's state, as Kafka names it: `Stable`, `Empty`, `PreparingRebalance`, …
    pub state: String,
    /// `classic`, `consumer` (KIP-848), or what else the broker says.
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
    /// Rebalances that were seen in the window.
    pub rebalances: u32,
    /// Its members, also those that own nothing.
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
    /// The host it connects from, as the broker says it.
    pub host: String,
    /// How many partitions it owns.
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
    /// `lag_seconds` is off by no more than this.
    pub lag_seconds_error: Option<f64>,
    /// The lag in bytes as they are on the broker's disk, where the brokers tell sizes: what the log was seen to grow by, and of what was
    /// there before, the share of its mean record. What is deleted does not count.
    pub lag_bytes: Option<u64>,
    /// `lag_bytes` is off by no more than this, where nothing was deleted meanwhile: the samples around the first unread record say so.
    #[serde(default)]
    pub lag_bytes_error: Option<u64>,
    /// Records a second that arrive, over the window.
    pub produced_per_second: Option<f64>,
    /// Records a second that are committed, over the window.
    pub consumed_per_second: Option<f64>,
    /// Seconds until the lag is 0 at these rates; `None` where it does not shrink.
    pub catch_up_seconds: Option<f64>,
    /// Seconds until, at the present rates, retention deletes a record that is not read yet; 0 where it has begun to, or may with its next look. `None` where the
    /// group comes to every record in time, or what retention is set to is not known. A group that catches up loses records all the same if it has more before
    /// it than it reads until they are deleted. Before there is a window of samples it is taken that nothing is read; that it has begun to is known from the second sample on.
    pub time_to_data_loss_seconds: Option<f64>,
    /// The member that owns it, by its index in [`GroupReport::members`].
    pub member: Option<usize>,
    /// Its status; `None` until there is a window of samples.
    pub status: Option<Status>,
    /// How bad `lag_seconds` is by the thresholds that are set for the group, and whether records are about to be lost.
    #[serde(default)]
    pub severity: Severity,
}

impl GroupReport {
    /// Its partitions as `offtake lag` and `/api/groups/NAME` print them.
    pub fn rows(&self) -> impl Iterator<Item = PartitionRow<'_>> {
        self.partitions.iter().map(|partition| PartitionRow::new(self, partition))
    }

    /// The member that owns this partition of the group.
    #[must_use]
    pub fn owner(&self, partition: &PartitionReport) -> Option<&MemberReport> {
        self.members.get(partition.member?)
    }

    /// Its partitions, topic by topic.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &[PartitionReport])> {
        let topics = self.partitions.chunk_by(|left, right| left.topic == right.topic);
        topics.filter_map(|partitions| Some((partitions.first()?.topic.as_str(), partitions)))
    }

    /// Of the partition that has the least, the seconds until retention deletes a record that is not read yet.
    #[must_use]
    pub fn time_to_data_loss_seconds(&self) -> Option<f64> {
        let times = self.partitions.iter().filter_map(|partition| partition.time_to_data_loss_seconds);
        times.min_by(f64::total_cmp)
    }
}

/// A partition of a group as a row of a table, in the order of its columns.
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
    /// The end that lag counts to.
    pub end: Option<i64>,
    /// [`PartitionReport::difference`].
    pub lag: Option<i64>,
    /// The age of the oldest unread record, to milliseconds: timestamps have no more.
    pub lag_seconds: Option<f64>,
    /// The id of the member that owns it.
    pub member: Option<&'a str>,
    /// The member's `client.id`.
    pub client: Option<&'a str>,
    /// The host that the member connects from.
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
            member: member.map(|member| member.member_id.as_str()),
            client: member.map(|member| member.client_id.as_str()),
            host: member.map(|member| member.host.as_str()),
            status: partition.status,
            lag_bytes: partition.lag_bytes,
        }
    }
}

impl PartitionReport {
    /// `end - committed` as Kafka's own command shows it: negative where a log was cut back behind what is committed.
    #[must_use]
    pub fn difference(&self) -> Option<i64> {
        self.end?.checked_sub(self.committed?)
    }
}

/// A partition that is read, whoever reads it.
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

/// How a group does on a partition: Burrow's rules, and one more. In order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It keeps up, or has caught up within the window.
    Ok,
    /// It commits, and its lag grows through the whole window.
    Warn,
    /// The worst of its partitions has stopped, stalled or gone back. A group's status only.
    Err,
    /// It has not committed for longer than the window is, and there is lag.
    Stop,
    /// It commits, the committed offset does not move, and there is lag.
    Stall,
    /// Its committed offset has gone back.
    Rewind,
    /// At the present rates retention deletes records that it has not read, within the horizon.
    DataLossImminent,
}

impl Status {
    /// All of them, by their [`number`](Self::number).
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Warn, Self::Err, Self::Stop, Self::Stall, Self::Rewind, Self::DataLossImminent];

    /// The word that machines read: `ok`, `data_loss_imminent`.
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

    /// The number it has in metrics: 0 for [`Ok`](Self::Ok) to 6 for [`DataLossImminent`](Self::DataLossImminent).
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Something odd that is no lag by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The group that it is about, if it is about one.
    pub group: Option<String>,
    /// The topic that it is about, if it is about one.
    pub topic: Option<String>,
    /// The partition that it is about, if it is about one.
    pub partition: Option<i32>,
    /// One sentence.
    pub message: String,
}

/// The kinds of [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A partition takes many times what the others of its topic take.
    HotPartition,
    /// A member of a stable group owns nothing.
    IdleMember,
    /// A group rebalances again and again.
    RepeatedRebalances,
    /// A topic of dead letters grows.
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
