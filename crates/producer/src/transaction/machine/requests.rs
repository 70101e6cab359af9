//! What coordinators are asked.

use std::{collections::BTreeSet, mem, time::Instant};

use offtake_machine::{GroupOffsets, TopicPartition};
use offtake_wire::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest,
    InitProducerIdRequest, Request, TxnOffsetCommitRequest,
    messages::{
        add_partitions_to_txn::AddPartitionsToTxnTopic,
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use super::{Ask, Protocol, State, Transactions};
use crate::sender::ProducerIdentity;

/// The last version of TxnOffsetCommit and EndTxn in [`Protocol::Announced`].
const ANNOUNCED: i16 = 4;

impl Transactions {
    /// The request, and the highest version that it fits.
    pub(super) fn request(&mut self, now: Instant, ask: Ask) -> Option<(Request, Option<i16>)> {
        let transactional_id = self.config.id.clone();
        let identity = self.identity.unwrap_or(ProducerIdentity { id: -1, epoch: -1 });
        let ProducerIdentity { id: producer_id, epoch: producer_epoch } = identity;
        let announced = (self.protocol == Protocol::Announced).then_some(ANNOUNCED);
        let work = match &mut self.state {
            State::Open(work) | State::Ending(work, _) => Some(work),
            _ => None,
        };
        let request = match ask {
            Ask::Features => {
                return Some((
                    ApiVersionsRequest {
                        client_software_name: "offtake".to_owned(),
                        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
                    }
                    .into(),
                    None,
                ));
            }
            Ask::Identity => {
                let timeout = i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX);
                let request = InitProducerIdRequest {
                    transactional_id: Some(transactional_id),
                    transaction_timeout_ms: timeout,
                    producer_id,
                    producer_epoch,
                    ..Default::default()
                };
                return Some((request.into(), None));
            }
            Ask::Partitions => {
                let work = work?;
                let mut wanted = mem::take(&mut work.wanted);
                work.adding.append(&mut wanted);
                work.begin(now);
                AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: transactional_id,
                    v3_and_below_producer_id: producer_id,
                    v3_and_below_producer_epoch: producer_epoch,
                    v3_and_below_topics: by_topic(&work.adding),
                }
                .into()
            }
            Ask::Offsets => {
                let work = work?;
                work.begin(now);
                let group_id = work.offsets.front()?.offsets.group.group_id.clone();
                AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id }.into()
            }
            Ask::CommitOffsets => {
                let work = work?;
                work.begin(now);
                let request = commit_offsets(transactional_id, identity, &work.offsets.front()?.offsets);
                return Some((request.into(), announced));
            }
            Ask::End => {
                let State::Ending(_, end) = &mut self.state else { return None };
                end.asked = end.asked.sent();
                let committed = end.commits;
                let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed };
                return Some((request.into(), announced));
            }
        };
        Some((request, None))
    }
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<AddPartitionsToTxnTopic> {
    let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
    for partition in partitions {
        match topics.last_mut().filter(|topic| topic.name == partition.topic.as_str()) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(AddPartitionsToTxnTopic {
                name: partition.topic.as_str().to_owned(),
                partitions: vec![partition.partition],
            }),
        }
    }
    topics
}

fn commit_offsets(
    transactional_id: String,
    identity: ProducerIdentity,
    sent: &GroupOffsets,
) -> TxnOffsetCommitRequest {
    let mut topics: Vec<TxnOffsetCommitRequestTopic> = Vec::new();
    for (partition, offset) in &sent.offsets {
        let one = TxnOffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
        };
        match topics.last_mut().filter(|topic| topic.name == partition.topic.as_str()) {
            Some(topic) => topic.partitions.push(one),
            None => topics.push(TxnOffsetCommitRequestTopic {
                name: partition.topic.as_str().to_owned(),
                partitions: vec![one],
            }),
        }
    }
    TxnOffsetCommitRequest {
        transactional_id,
        group_id: sent.group.group_id.clone(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        generation_id: sent.group.generation_id,
        member_id: sent.group.member_id.clone(),
        group_instance_id: sent.group.group_instance_id.clone(),
        topics,
    }
}
