//! The first and last offsets of many logs.

use std::{collections::BTreeMap, time::Duration};

use offtake_machine::{
    BrokerId, IsolationLevel, ListedOffset, OffsetSpec, TopicPartition,
    offsets::{OffsetError, list_offsets, listed_offsets},
};
use offtake_wire::{ListOffsetsRequest, Message};

use super::{Answers, Survey};

/// The most partitions in one request.
const PARTITIONS: usize = 10_000;

impl Survey<'_> {
    /// The offset for the specification in each partition, requested from these leaders; `None` for partitions without a matching
    /// record. A partition that has moved to another leader fails with `NOT_LEADER_OR_FOLLOWER`, a deleted one with
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    pub async fn list_offsets(
        &mut self,
        leaders: &BTreeMap<BrokerId, Vec<TopicPartition>>,
        at: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Answers<TopicPartition, Option<ListedOffset>> {
        const WHAT: &str = "list offsets";
        let pieces = leaders.iter().flat_map(|(leader, partitions)| {
            partitions.chunks(PARTITIONS).map(|partitions| {
                let asked = partitions.iter().map(|partition| (partition, (None, at)));
                (partitions.to_vec(), *leader, list_offsets(isolation, Duration::ZERO, asked))
            })
        });
        let requests = pieces.collect();
        self.ask(ListOffsetsRequest::VERSIONS.max, WHAT, requests, |answers, leader, about, answer| {
            let mut listed = listed_offsets(answer);
            let mut left_out = Vec::new();
            for partition in about {
                match listed.remove(&partition) {
                    Some(Ok(offset)) => drop(answers.found.insert(partition, offset)),
                    Some(Err(OffsetError::Refused(code))) => answers.fail(leader, partition, WHAT, code),
                    Some(Err(OffsetError::Impossible(_))) | None => left_out.push(partition),
                }
            }
            answers.fail_left_out(leader, left_out, WHAT);
        })
        .await
    }
}
