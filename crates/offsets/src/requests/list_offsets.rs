//! ListOffsets: the ends of a log, and the first record with a timestamp.

use std::time::Duration;

use offtake_machine::{IsolationLevel, LeaderEpoch, TopicPartition, names::known_epoch};
use offtake_wire::{
    ApiKey, ErrorCode, ListOffsetsRequest, ListOffsetsResponse,
    messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
};

use super::{Answers, by_topic};
use crate::{Cause, ListSpec, ListedOffset};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// The request for one leader: each partition with its leader epoch in the metadata.
pub(crate) fn request(
    isolation: IsolationLevel,
    timeout: Duration,
    partitions: &[(TopicPartition, (LeaderEpoch, ListSpec))],
) -> ListOffsetsRequest {
    let topics = by_topic(partitions.iter().map(|(partition, what)| (partition, *what)));
    ListOffsetsRequest {
        isolation_level: isolation.code(),
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| ListOffsetsTopic {
                name: topic.as_str().to_owned(),
                partitions: partitions
                    .into_iter()
                    .map(|(partition_index, (epoch, spec))| ListOffsetsPartition {
                        partition_index,
                        current_leader_epoch: epoch.unwrap_or(-1),
                        timestamp: match spec {
                            ListSpec::Earliest => EARLIEST,
                            ListSpec::Latest => LATEST,
                            // Negative timestamps have special meanings.
                            ListSpec::Timestamp(at) => at.max(0),
                        },
                    })
                    .collect(),
            })
            .collect(),
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        ..Default::default()
    }
}

/// The offset of each partition. `None` is valid only for a lookup by timestamp (see [`checked`]).
pub(crate) fn read(response: ListOffsetsResponse) -> Answers<Option<ListedOffset>> {
    let api = ApiKey::ListOffsets;
    let mut answers = Answers::new();
    for topic in response.topics {
        for p in topic.partitions {
            let answer = match (p.error_code, p.offset) {
                (ErrorCode::None, -1) => Ok(None),
                // It is not taken for 0 (FAILURES L7).
                (ErrorCode::None, offset) if offset < -1 => Err(Cause::BadOffset { api, offset }),
                (ErrorCode::None, offset) => Ok(Some(ListedOffset {
                    offset,
                    timestamp: (p.timestamp >= 0).then_some(p.timestamp),
                    leader_epoch: known_epoch(p.leader_epoch),
                })),
                (code, _) => Err(Cause::Refused { api, code }),
            };
            answers.entry(TopicPartition::new(topic.name.as_str(), p.partition_index)).or_insert(answer);
        }
    }
    answers
}

/// Checks that only a lookup by timestamp has no result: every log has a beginning and an end (FAILURES L7).
pub(crate) fn checked(
    spec: ListSpec,
    answer: Option<Result<Option<ListedOffset>, Cause>>,
) -> Result<Option<ListedOffset>, Cause> {
    let api = ApiKey::ListOffsets;
    match (answer.unwrap_or(Err(Cause::PartitionMissing { api }))?, spec) {
        (None, ListSpec::Earliest | ListSpec::Latest) => Err(Cause::BadOffset { api, offset: -1 }),
        (listed, _) => Ok(listed),
    }
}
