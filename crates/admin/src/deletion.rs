//! DeleteRecords: the beginnings of logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use offtake_machine::{BrokerId, Topic, TopicPartition};
use offtake_wire::{
    ErrorCode,
    messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
};

use crate::{
    Admin,
    attempts::AttemptError,
    calls::{Calls, TopicSelection},
    outcomes::Outcomes,
    topics::millis_left,
};
use offtake_client::Result;

impl Admin {
    /// Deletes the records of each partition that lie before an offset (KIP-107): where its log begins afterwards, which is at that
    /// offset or later. Readers that stand before it are reset to that place. -1 is the end of the log: all records go.
    ///
    /// # Errors
    /// For each partition by itself: `UnknownTopic`; `Misuse` if its log ends before that offset, or the topic is compacted only, as its
    /// `cleanup.policy` is without `delete`; its leader could not be reached or asked within the timeout.
    pub async fn delete_records<P: Into<TopicPartition>>(
        &mut self,
        before: impl IntoIterator<Item = (P, i64)>,
    ) -> BTreeMap<TopicPartition, Result<i64>> {
        let deadline = self.deadline();
        let before: BTreeMap<TopicPartition, i64> =
            before.into_iter().map(|(partition, offset)| (partition.into(), offset)).collect();
        let mut deleting =
            Deleting { each: Outcomes::of(before.keys().cloned()), before, starts: BTreeMap::new() };
        let ended =
            self.calls.retrying(deadline, async |calls| deleting.attempt(calls, deadline).await).await;
        let Deleting { each, starts, .. } = deleting;
        let start = |partition: &TopicPartition| starts.get(partition).copied().unwrap_or(-1);
        let each = each.ended(ended).into_iter();
        each.map(|(partition, became)| (partition.clone(), became.map(|()| start(&partition)))).collect()
    }
}

/// Logs on their way to a new beginning.
struct Deleting {
    before: BTreeMap<TopicPartition, i64>,
    each: Outcomes<TopicPartition>,
    /// Where the logs begin that have been cut.
    starts: BTreeMap<TopicPartition, i64>,
}

impl Deleting {
    /// Asks each leader once.
    async fn attempt(&mut self, calls: &mut Calls, deadline: Instant) -> Result<(), AttemptError> {
        let left = self.each.left();
        let names: BTreeSet<Topic> = left.iter().map(|partition| partition.topic.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let selection = TopicSelection::Named(names.into_iter().collect());
        let cluster = calls.cluster("find the leaders of partitions", deadline, &selection).await?;
        let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in left {
            let Some(topic) = cluster.topics.get(&partition.topic) else {
                let failure =
                    AttemptError::malformed(&deletion(&partition), "the metadata leaves its topic out");
                self.each.complete(partition.clone(), Err(failure.of(&partition)));
                continue;
            };
            match (topic.error, cluster.partition(&partition), cluster.leader(&partition)) {
                (ErrorCode::None, _, Some(leader)) => by_leader.entry(leader).or_default().push(partition),
                (ErrorCode::None, Some(_), None) => self.refused(partition, ErrorCode::LeaderNotAvailable),
                (ErrorCode::None, None, None) => self.refused(partition, ErrorCode::UnknownTopicOrPartition),
                (code, ..) => self.refused(partition, code),
            }
        }
        let requests = by_leader.into_iter().map(|(leader, partitions)| {
            let request = self.request(&partitions, deadline);
            (partitions, leader, request)
        });
        let requests = requests.collect();
        for (partitions, _, answer) in calls.call_each(deadline, requests).await {
            match answer {
                Ok(answer) => {
                    for topic in answer.topics {
                        for result in topic.partitions {
                            let partition = TopicPartition::new(topic.name.as_str(), result.partition_index);
                            match result.error_code {
                                ErrorCode::None => {
                                    self.starts.insert(partition.clone(), result.low_watermark);
                                    self.each.complete(partition, Ok(()));
                                }
                                code => self.refused(partition, code),
                            }
                        }
                    }
                }
                Err(error) => {
                    for partition in partitions {
                        let failure = AttemptError::call(&deletion(&partition), error.clone()).of(&partition);
                        self.each.complete(partition, Err(failure));
                    }
                }
            }
        }
        self.each.attempted("delete records")
    }

    fn request(&self, partitions: &[TopicPartition], deadline: Instant) -> DeleteRecordsRequest {
        let mut topics: Vec<DeleteRecordsTopic> = Vec::new();
        for partition in partitions {
            let cut = DeleteRecordsPartition {
                partition_index: partition.partition,
                offset: self.before.get(partition).copied().unwrap_or(0),
            };
            match topics.last_mut().filter(|topic| topic.name == partition.topic.as_str()) {
                Some(topic) => topic.partitions.push(cut),
                None => topics.push(DeleteRecordsTopic {
                    name: partition.topic.as_str().to_owned(),
                    partitions: vec![cut],
                }),
            }
        }
        DeleteRecordsRequest { topics, timeout_ms: millis_left(deadline) }
    }

    fn refused(&mut self, partition: TopicPartition, code: ErrorCode) {
        let what = deletion(&partition);
        let failure = match code {
            ErrorCode::OffsetOutOfRange => {
                AttemptError::hinted(&what, code, None, "its log does not reach that offset")
            }
            ErrorCode::PolicyViolation => {
                let hint = "the topic is compacted, and its `cleanup.policy` has no `delete`";
                AttemptError::hinted(&what, code, None, hint)
            }
            code => AttemptError::code(&what, code, None),
        };
        let failure = failure.of(&partition);
        self.each.complete(partition, Err(failure));
    }
}

fn deletion(partition: &TopicPartition) -> String {
    format!("delete records of {partition}")
}
