//! DeleteRecords: deletes the beginnings of logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{
    BrokerId, CallError, IsolationLevel, OffsetSpec, Topic, TopicPartition,
    offsets::{OffsetError, list_offsets, listed_offsets},
};
use offtake_wire::{
    ErrorCode,
    messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
};

use crate::{
    Admin,
    attempts::{AttemptError, Retry},
    calls::{Calls, TopicSelection},
    outcomes::Outcomes,
    topics::millis_left,
};
use offtake_client::Result;

impl Admin {
    /// Deletes the records before an offset in each partition (KIP-107). Returns the new log start offset of each, which is at
    /// that offset or later. Consumers with a position before it are reset to it. -1 stands for the end of the log at the time of
    /// the call: records written later stay.
    ///
    /// # Errors
    /// For each partition: `UnknownTopic`; `Misuse` if its log ends before that offset, or its topic is only compacted (a
    /// `cleanup.policy` without `delete`); or its leader could not be reached or did not respond within the timeout.
    pub async fn delete_records<P: Into<TopicPartition>>(
        &mut self,
        before: impl IntoIterator<Item = (P, i64)>,
    ) -> BTreeMap<TopicPartition, Result<i64>> {
        let deadline = self.deadline();
        let before: BTreeMap<TopicPartition, i64> =
            before.into_iter().map(|(partition, offset)| (partition.into(), offset)).collect();
        let mut deleting = Deleting {
            each: Outcomes::of(before.keys().cloned()),
            before,
            ends: BTreeMap::new(),
            starts: BTreeMap::new(),
        };
        let ended =
            self.calls.retrying(deadline, async |calls| deleting.attempt(calls, deadline).await).await;
        let Deleting { each, starts, .. } = deleting;
        let start = |partition: &TopicPartition| starts.get(partition).copied().unwrap_or(-1);
        let each = each.ended(ended).into_iter();
        each.map(|(partition, became)| (partition.clone(), became.map(|()| start(&partition)))).collect()
    }
}

/// Stands for the end of a log.
const END: i64 = -1;

/// The state of a deletion.
struct Deleting {
    before: BTreeMap<TopicPartition, i64>,
    /// The ends of the logs that are to be emptied, as first seen, so that records written later stay however often the request
    /// is repeated.
    ends: BTreeMap<TopicPartition, i64>,
    each: Outcomes<TopicPartition>,
    /// The new log start offsets.
    starts: BTreeMap<TopicPartition, i64>,
}

impl Deleting {
    /// Sends a request to each leader once.
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
                    AttemptError::malformed(&deletion(&partition), "its topic is missing in the metadata");
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
        self.find_ends(calls, deadline, &by_leader).await;
        let requests = by_leader.into_iter().filter_map(|(leader, partitions)| {
            let request = self.request(&partitions, deadline)?;
            Some((partitions, leader, request))
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
                Err(error) => self.unanswered(partitions, &error),
            }
        }
        self.each.attempted("delete records")
    }

    /// Fetches the ends that are needed and not known yet from the leaders.
    async fn find_ends(
        &mut self,
        calls: &mut Calls,
        deadline: Instant,
        by_leader: &BTreeMap<BrokerId, Vec<TopicPartition>>,
    ) {
        let requests = by_leader.iter().filter_map(|(leader, partitions)| {
            let open: Vec<_> =
                partitions.iter().filter(|partition| self.offset(partition).is_none()).cloned().collect();
            let ends = open.iter().map(|partition| (partition, (None, OffsetSpec::Latest)));
            let request = list_offsets(IsolationLevel::ReadUncommitted, Duration::ZERO, ends);
            (!open.is_empty()).then_some((open, *leader, request))
        });
        let requests = requests.collect();
        for (partitions, _, answer) in calls.call_each(deadline, requests).await {
            let mut listed = match answer {
                Ok(answer) => listed_offsets(answer),
                Err(error) => {
                    self.unanswered(partitions, &error);
                    continue;
                }
            };
            for partition in partitions {
                match listed.remove(&partition) {
                    Some(Ok(Some(end))) => {
                        self.ends.insert(partition, end.offset);
                    }
                    Some(Err(OffsetError::Refused(code))) => self.refused(partition, code),
                    Some(Ok(None) | Err(_)) | None => {
                        let failure = AttemptError::malformed(
                            &deletion(&partition),
                            "its leader does not say where it ends",
                        );
                        self.each.complete(partition.clone(), Err(failure.of(&partition)));
                    }
                }
            }
        }
    }

    /// The offset up to which to delete, if it is known.
    fn offset(&self, partition: &TopicPartition) -> Option<i64> {
        match self.before.get(partition).copied() {
            Some(END) => self.ends.get(partition).copied(),
            before => before,
        }
    }

    /// The request for those partitions whose offset is known, if there are any.
    fn request(&self, partitions: &[TopicPartition], deadline: Instant) -> Option<DeleteRecordsRequest> {
        let mut topics: Vec<DeleteRecordsTopic> = Vec::new();
        for partition in partitions {
            let Some(offset) = self.offset(partition) else { continue };
            let cut = DeleteRecordsPartition { partition_index: partition.partition, offset };
            match topics.last_mut().filter(|topic| topic.name == partition.topic.as_str()) {
                Some(topic) => topic.partitions.push(cut),
                None => topics.push(DeleteRecordsTopic {
                    name: partition.topic.as_str().to_owned(),
                    partitions: vec![cut],
                }),
            }
        }
        let request = DeleteRecordsRequest { timeout_ms: millis_left(deadline), topics };
        (!request.topics.is_empty()).then_some(request)
    }

    fn unanswered(&mut self, partitions: Vec<TopicPartition>, error: &CallError) {
        for partition in partitions {
            let failure = AttemptError::call(&deletion(&partition), error.clone()).of(&partition);
            self.each.complete(partition, Err(failure));
        }
    }

    fn refused(&mut self, partition: TopicPartition, code: ErrorCode) {
        let what = deletion(&partition);
        let failure = match code {
            // A new leader learns only gradually how much of its log is replicated.
            ErrorCode::OffsetOutOfRange if self.ends.contains_key(&partition) => {
                AttemptError { retry: Retry::AFewTimes, ..AttemptError::code(&what, code, None) }
            }
            ErrorCode::OffsetOutOfRange => {
                AttemptError::hinted(&what, code, None, "the offset is beyond the end of its log")
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
