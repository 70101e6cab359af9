//! ListOffsets: finds the first and last offsets of logs, and offsets by time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offtake_machine::{
    BrokerId, IsolationLevel, Topic, TopicPartition,
    offsets::{OffsetError, list_offsets, listed_offsets},
};
pub use offtake_machine::{ListedOffset, OffsetSpec};
use offtake_wire::ErrorCode;

use crate::{
    Admin,
    attempts::{AttemptError, Retry},
    calls::Calls,
    topics,
};
use offtake_client::{OneOrMany, Result};

impl Admin {
    /// Looks up the offset for the specification in each partition; partitions without a matching record are absent.
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

/// A lookup for many partitions, until each has its result.
struct Asking {
    left: BTreeSet<TopicPartition>,
    at: OffsetSpec,
    isolation: IsolationLevel,
    found: BTreeMap<TopicPartition, ListedOffset>,
}

impl Asking {
    /// Sends one request to each leader of the remaining partitions.
    async fn ask(&mut self, calls: &mut Calls, deadline: Instant) -> Result<(), AttemptError> {
        let names: BTreeSet<Topic> = self.left.iter().map(|partition| partition.topic.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = names.into_iter().collect();
        let cluster = topics::describe(calls, deadline, &names).await?;
        let mut failure = None;
        let mut by_leader: BTreeMap<BrokerId, Vec<&TopicPartition>> = BTreeMap::new();
        for partition in &self.left {
            match (cluster.partition(partition), cluster.leader(partition)) {
                (_, Some(leader)) => by_leader.entry(leader).or_default().push(partition),
                (Some(_), None) => failure = Some(refused(partition, ErrorCode::LeaderNotAvailable)),
                (None, None) => failure = Some(refused(partition, ErrorCode::UnknownTopicOrPartition)),
            }
        }
        let requests = by_leader.into_iter().map(|(leader, partitions)| {
            let partitions = partitions.into_iter().map(|partition| (partition, (None, self.at)));
            ((), leader, list_offsets(self.isolation, Duration::ZERO, partitions))
        });
        let requests = requests.collect();
        for ((), leader, answer) in calls.call_each(deadline, requests).await {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    failure = Some(AttemptError::call(&format!("list offsets of {leader}"), error));
                    continue;
                }
            };
            for (partition, listed) in listed_offsets(answer) {
                match listed {
                    Err(OffsetError::Refused(code)) => failure = Some(refused(&partition, code)),
                    listed => {
                        if self.left.remove(&partition)
                            && let Ok(Some(listed)) = listed
                        {
                            self.found.insert(partition, listed);
                        }
                    }
                }
            }
        }
        match (failure, self.left.first()) {
            (None, None) => Ok(()),
            (Some(failure), _) => Err(failure),
            (None, Some(partition)) => {
                let what = format!("list offsets of {partition}");
                Err(AttemptError::malformed(&what, "missing in the leader's response"))
            }
        }
    }
}

fn refused(partition: &TopicPartition, code: ErrorCode) -> AttemptError {
    let failure = AttemptError::code(&format!("list offsets of {partition}"), code, None);
    // These two codes mean that the metadata is stale, or that the leader is not ready yet; both are transient.
    let passes = matches!(code, ErrorCode::FencedLeaderEpoch | ErrorCode::OffsetNotAvailable);
    AttemptError { retry: if passes { Retry::UntilDeadline } else { failure.retry }, ..failure.of(partition) }
}
