//! ListOffsets: where logs begin and end, and where a time is in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use offtake_machine::{BrokerId, Topic, TopicPartition, names::known_epoch};
use offtake_wire::{
    ErrorCode,
    messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
};

use super::{
    Admin,
    calls::Calls,
    topics,
    trouble::{Again, Trouble},
};
use crate::{config::IsolationLevel, error::Result, one_or_many::OneOrMany};

/// Which offset of a partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// Of the first record.
    Earliest,
    /// After the last record: the high watermark, or under read_committed the last stable offset.
    Latest,
    /// Of the first record with this timestamp (milliseconds since 1970) or a later one. A time before 1970 counts as 0.
    Timestamp(i64),
}

/// An offset that a leader told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedOffset {
    /// The offset.
    pub offset: i64,
    /// The timestamp of the record there, for [`OffsetSpec::Timestamp`].
    pub timestamp: Option<i64>,
    /// The leader epoch of the record there, where known.
    pub leader_epoch: Option<i32>,
}

impl Admin {
    /// The offset of each partition that the specification means; partitions where no record fits are absent.
    ///
    /// # Errors
    /// `UnknownTopic` if one of them does not exist.
    pub async fn list_offsets<S>(
        &mut self,
        partitions: impl OneOrMany<TopicPartition, S>,
        at: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<BTreeMap<TopicPartition, ListedOffset>> {
        let deadline = self.deadline();
        let mut asking = Asking {
            left: partitions.into_items().into_iter().collect(),
            at,
            isolation,
            found: BTreeMap::new(),
        };
        self.calls.retrying(deadline, async |calls| asking.ask(calls, deadline).await).await?;
        Ok(asking.found)
    }
}

/// One question about many partitions, until each is answered.
struct Asking {
    left: BTreeSet<TopicPartition>,
    at: OffsetSpec,
    isolation: IsolationLevel,
    found: BTreeMap<TopicPartition, ListedOffset>,
}

impl Asking {
    /// Asks the leaders of those that are left, each leader once.
    async fn ask(&mut self, calls: &mut Calls, deadline: Instant) -> Result<(), Trouble> {
        let names: BTreeSet<Topic> = self.left.iter().map(|partition| partition.topic.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = names.into_iter().collect();
        let cluster = topics::describe(calls, deadline, &names).await?;
        let mut trouble = None;
        let mut by_leader: BTreeMap<BrokerId, Vec<&TopicPartition>> = BTreeMap::new();
        for partition in &self.left {
            match (cluster.partition(partition), cluster.leader(partition)) {
                (_, Some(leader)) => by_leader.entry(leader).or_default().push(partition),
                (Some(_), None) => trouble = Some(refused(partition, ErrorCode::LeaderNotAvailable)),
                (None, None) => trouble = Some(refused(partition, ErrorCode::UnknownTopicOrPartition)),
            }
        }
        let requests =
            by_leader.into_iter().map(|(leader, partitions)| ((), leader, self.request(&partitions)));
        let requests = requests.collect();
        for ((), leader, answer) in calls.call_each(deadline, requests).await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    trouble = Some(Trouble::call(&format!("list offsets of {leader}"), error));
                    continue;
                }
            };
            for topic in answer.topics {
                let name: Topic = topic.name.into();
                for told in topic.partitions {
                    let partition = TopicPartition::new(name.clone(), told.partition_index);
                    match told.error_code {
                        ErrorCode::None => {
                            if self.left.remove(&partition) && told.offset >= 0 {
                                let listed = ListedOffset {
                                    offset: told.offset,
                                    timestamp: (told.timestamp >= 0).then_some(told.timestamp),
                                    leader_epoch: known_epoch(told.leader_epoch),
                                };
                                self.found.insert(partition, listed);
                            }
                        }
                        code => trouble = Some(refused(&partition, code)),
                    }
                }
            }
        }
        match (trouble, self.left.first()) {
            (None, None) => Ok(()),
            (Some(trouble), _) => Err(trouble),
            (None, Some(partition)) => {
                let what = format!("list offsets of {partition}");
                Err(Trouble::malformed(&what, "the leader's answer leaves it out"))
            }
        }
    }

    fn request(&self, partitions: &[&TopicPartition]) -> ListOffsetsRequest {
        let timestamp = match self.at {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            // Below 0 they mean something else.
            OffsetSpec::Timestamp(millis) => millis.max(0),
        };
        let mut topics: BTreeMap<&str, ListOffsetsTopic> = BTreeMap::new();
        for partition in partitions {
            let name = partition.topic.as_str();
            let topic = topics
                .entry(name)
                .or_insert_with(|| ListOffsetsTopic { name: name.to_owned(), ..ListOffsetsTopic::default() });
            topic.partitions.push(ListOffsetsPartition {
                partition_index: partition.partition,
                timestamp,
                ..ListOffsetsPartition::default()
            });
        }
        ListOffsetsRequest {
            isolation_level: self.isolation.code(),
            topics: topics.into_values().collect(),
            ..ListOffsetsRequest::default()
        }
    }
}

fn refused(partition: &TopicPartition, code: ErrorCode) -> Trouble {
    let trouble = Trouble::code(&format!("list offsets of {partition}"), code, None);
    // These two say that the view is stale, or the leader not ready yet; both pass.
    let passes = matches!(code, ErrorCode::FencedLeaderEpoch | ErrorCode::OffsetNotAvailable);
    Trouble { again: if passes { Again::Yes } else { trouble.again }, ..trouble.of(partition) }
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
            let asking = Asking {
                left: BTreeSet::new(),
                at,
                isolation: IsolationLevel::default(),
                found: BTreeMap::new(),
            };
            let request = asking.request(&[&TopicPartition::new("orders", 0)]);
            assert_eq!(request.topics[0].partitions[0].timestamp, timestamp, "{at:?}");
        }
    }
}
