//! Offsets in requests and responses: ListOffsets, and all versions of OffsetFetch's response.

use std::{collections::BTreeMap, time::Duration};

use offtake_wire::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetFetchResponse, Uuid,
    messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
};

use crate::{
    isolation::IsolationLevel,
    names::{LeaderEpoch, Position, Topic, TopicPartition, known_epoch},
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Which offset of a partition a leader lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// The offset of the first record.
    Earliest,
    /// The offset after the last record: the high watermark, or under `read_committed` the last stable offset.
    Latest,
    /// The offset of the first record with this timestamp (milliseconds since 1970) or a later one. A time before 1970 counts
    /// as 0.
    Timestamp(i64),
}

/// An offset that a leader listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: i64,
    /// The timestamp of its record in milliseconds since 1970, for [`OffsetSpec::Timestamp`].
    pub timestamp: Option<i64>,
    /// The leader epoch of its record, if known.
    pub leader_epoch: LeaderEpoch,
}

/// A committed offset, or one to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OffsetAndMetadata {
    /// The next offset to read: all records before it are finished.
    pub offset: i64,
    /// The leader epoch of the record before it, if known.
    #[cfg_attr(feature = "serde", serde(default))]
    pub leader_epoch: LeaderEpoch,
    /// The application's own metadata.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// This next offset to read, without leader epoch and metadata.
    pub fn new(offset: i64) -> Self {
        offset.into()
    }

    /// Adds this metadata. A broker accepts at most 4,096 bytes unless it is configured otherwise
    /// (`offset.metadata.max.bytes`).
    #[must_use]
    pub fn with_metadata(self, metadata: impl Into<String>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// Adds the leader epoch of the record before the offset (KIP-320).
    #[must_use]
    pub fn with_leader_epoch(self, leader_epoch: impl Into<LeaderEpoch>) -> Self {
        Self { leader_epoch: leader_epoch.into(), ..self }
    }

    /// The offset and epoch, without the metadata.
    pub fn position(&self) -> Position {
        Position { offset: self.offset, epoch: self.leader_epoch }
    }
}

impl From<Position> for OffsetAndMetadata {
    fn from(position: Position) -> Self {
        Self { offset: position.offset, leader_epoch: position.epoch, metadata: String::new() }
    }
}

impl From<i64> for OffsetAndMetadata {
    /// This offset, with neither a leader epoch nor metadata.
    fn from(offset: i64) -> Self {
        Position::at(offset).into()
    }
}

impl From<&i64> for OffsetAndMetadata {
    fn from(offset: &i64) -> Self {
        Self::from(*offset)
    }
}

impl From<&Self> for OffsetAndMetadata {
    fn from(offset: &Self) -> Self {
        offset.clone()
    }
}

/// Why a response has no offset for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetError {
    /// It has this error code.
    Refused(ErrorCode),
    /// It has no error and an impossible offset.
    Impossible(i64),
}

/// The offsets of a response, partition by partition. A partition that it does not include is missing.
pub type OffsetsByPartition<T> = BTreeMap<TopicPartition, Result<Option<T>, OffsetError>>;

/// Items grouped by topic, as in requests.
pub fn by_topic<'a, T>(
    items: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a Topic, Vec<(i32, T)>> {
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (of, item) in items {
        topics.entry(&of.topic).or_default().push((of.partition, item));
    }
    topics
}

/// A ListOffsets request for one leader: each partition with its leader epoch in the metadata.
pub fn list_offsets<'a>(
    isolation: IsolationLevel,
    timeout: Duration,
    partitions: impl IntoIterator<Item = (&'a TopicPartition, (LeaderEpoch, OffsetSpec))>,
) -> ListOffsetsRequest {
    let partition =
        |(partition_index, (epoch, spec)): (i32, (LeaderEpoch, OffsetSpec))| ListOffsetsPartition {
            partition_index,
            current_leader_epoch: epoch.unwrap_or(-1),
            timestamp: match spec {
                OffsetSpec::Earliest => EARLIEST,
                OffsetSpec::Latest => LATEST,
                // Negative timestamps have special meanings.
                OffsetSpec::Timestamp(at) => at.max(0),
            },
        };
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| ListOffsetsTopic {
        name: topic.as_str().to_owned(),
        partitions: partitions.into_iter().map(partition).collect(),
    });
    ListOffsetsRequest {
        isolation_level: isolation.code(),
        topics: topics.collect(),
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    }
}

/// The offsets of a ListOffsets response. `None`: no record has the timestamp or a later one.
pub fn listed_offsets(response: ListOffsetsResponse) -> OffsetsByPartition<ListedOffset> {
    let mut listed = OffsetsByPartition::new();
    for topic in response.topics {
        for p in topic.partitions {
            let offset = offset(p.error_code, p.offset).map(|offset| {
                offset.map(|offset| ListedOffset {
                    offset,
                    timestamp: (p.timestamp >= 0).then_some(p.timestamp),
                    leader_epoch: known_epoch(p.leader_epoch),
                })
            });
            listed.entry(TopicPartition::new(topic.name.as_str(), p.partition_index)).or_insert(offset);
        }
    }
    listed
}

/// The committed offsets of `group` in an OffsetFetch response. `None`: nothing is committed. Versions from
/// 10 on identify topics by id; `topic_of` returns the topic for a name and an id.
///
/// # Errors
/// The error of the whole group.
pub fn committed_offsets(
    response: OffsetFetchResponse,
    group: &str,
    topic_of: impl Fn(String, Uuid) -> Option<Topic>,
) -> Result<OffsetsByPartition<OffsetAndMetadata>, ErrorCode> {
    let mut committed = OffsetsByPartition::new();
    let mut insert = |partition, code, at, epoch, metadata: Option<String>| {
        let offset = offset(code, at).map(|offset| {
            offset.map(|offset| OffsetAndMetadata {
                offset,
                leader_epoch: known_epoch(epoch),
                metadata: metadata.unwrap_or_default(),
            })
        });
        committed.entry(partition).or_insert(offset);
    };
    // Versions before 8 have no groups, and later ones have only groups (KIP-709).
    response.error_code.ok()?;
    for topic in response.topics {
        for p in topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), p.partition_index);
            insert(partition, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata);
        }
    }
    for found in response.groups.into_iter().filter(|found| found.group_id == group) {
        found.error_code.ok()?;
        for topic in found.topics {
            let Some(name) = topic_of(topic.name, topic.topic_id) else { continue };
            for p in topic.partitions {
                let partition = TopicPartition::new(&name, p.partition_index);
                insert(partition, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata);
            }
        }
    }
    Ok(committed)
}

/// -1 without an error means no offset. Other negative offsets are impossible; they are not treated as 0
/// (FAILURES L7).
fn offset(code: ErrorCode, offset: i64) -> Result<Option<i64>, OffsetError> {
    match (code, offset) {
        (ErrorCode::None, -1) => Ok(None),
        (ErrorCode::None, offset) if offset < -1 => Err(OffsetError::Impossible(offset)),
        (ErrorCode::None, offset) => Ok(Some(offset)),
        (code, _) => Err(OffsetError::Refused(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l7_a_time_before_1970_is_not_taken_for_the_end_or_the_beginning_of_the_log() {
        for (at, timestamp) in [
            (OffsetSpec::Timestamp(-1), 0),
            (OffsetSpec::Timestamp(-2), 0),
            (OffsetSpec::Timestamp(i64::MIN), 0),
            (OffsetSpec::Timestamp(7), 7),
            (OffsetSpec::Latest, -1),
            (OffsetSpec::Earliest, -2),
        ] {
            let partition = TopicPartition::new("orders", 0);
            let isolation = IsolationLevel::ReadUncommitted;
            let request = list_offsets(isolation, Duration::from_secs(30), [(&partition, (None, at))]);
            assert_eq!(request.topics[0].partitions[0].timestamp, timestamp, "{at:?}");
        }
    }
}
