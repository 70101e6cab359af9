//! OffsetForLeaderEpoch: where the epoch of a position ends in the leader's log (KIP-320).

use offtake_machine::{LeaderEpoch, Position, TopicPartition, names::known_epoch, offsets::by_topic};
use offtake_wire::{
    ApiKey, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};

use super::Answers;
use crate::Cause;

/// Whether the leader's log contains a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// It does.
    Valid,
    /// It ends here, before the position.
    Truncated(Position),
    /// The leader does not know the epoch: all of its epochs are older, as in a topic that was created again, or it keeps
    /// none (FAILURES L4).
    UnknownEpoch,
}

/// The request for one leader: each partition with the leader epoch in the metadata and the epoch of the position.
pub(crate) fn request(partitions: &[(TopicPartition, (LeaderEpoch, i32))]) -> OffsetForLeaderEpochRequest {
    let topics = by_topic(partitions.iter().map(|(partition, epochs)| (partition, *epochs)));
    OffsetForLeaderEpochRequest {
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| OffsetForLeaderTopic {
                topic: topic.as_str().to_owned(),
                partitions: partitions
                    .into_iter()
                    .map(|(partition, (current, ours))| OffsetForLeaderPartition {
                        partition,
                        current_leader_epoch: current.unwrap_or(-1),
                        leader_epoch: ours,
                    })
                    .collect(),
            })
            .collect(),
        ..Default::default()
    }
}

/// The ends of the epochs: the last epoch up to that of the position, and its end. `None` if the leader does not know.
pub(crate) fn read(response: OffsetForLeaderEpochResponse) -> Answers<Option<Position>> {
    let mut answers = Answers::new();
    for topic in response.topics {
        for p in topic.partitions {
            let known = p.end_offset >= 0 && p.leader_epoch >= 0;
            let end = Position { offset: p.end_offset, epoch: known_epoch(p.leader_epoch) };
            let answer = p
                .error_code
                .ok()
                .map(|()| known.then_some(end))
                .map_err(|code| Cause::Refused { api: ApiKey::OffsetForLeaderEpoch, code });
            answers.entry(TopicPartition::new(topic.topic.as_str(), p.partition)).or_insert(answer);
        }
    }
    answers
}

/// Validates a position against the end of its epoch.
pub(crate) fn compare(position: Position, end: Option<Position>) -> Validation {
    match end {
        None => Validation::UnknownEpoch,
        Some(end) if end.offset < position.offset => Validation::Truncated(end),
        Some(_) => Validation::Valid,
    }
}
