//! The requests to coordinators.

use std::{collections::BTreeSet, mem, time::Instant};

use offtake_machine::{
    Call, GroupOffsets, OffsetAndMetadata, Target, Topic, TopicPartition, Transmit, offsets::by_topic,
};
use offtake_wire::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest,
    InitProducerIdRequest, Request, TxnOffsetCommitRequest,
    messages::{
        add_partitions_to_txn::AddPartitionsToTxnTopic,
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use super::{Ask, Part, Protocol, State, Transactions, Work};
use crate::sender::ProducerIdentity;

/// The last version of TxnOffsetCommit and EndTxn in [`Protocol::Announced`].
const ANNOUNCED: i16 = 4;

impl Transactions {
    /// The kind of the next request.
    pub(super) fn next_ask(&self) -> Option<Ask> {
        match &self.state {
            State::LearningProtocol => Some(Ask::Features),
            State::Identifying => Some(Ask::Identity),
            State::Open(work) => self.next_of(work),
            State::Ending(work, end) => {
                // A request that the coordinator may have seen is repeated until its outcome is known.
                if !work.adding.is_empty() {
                    return Some(Ask::Partitions);
                }
                if end.commits
                    && let Some(ask) = self.next_of(work)
                {
                    return Some(ask);
                }
                (!end.awaits_records() && work.begun.is_some()).then_some(Ask::End)
            }
            State::Ready | State::Over(_) => None,
        }
    }

    fn next_of(&self, work: &Work) -> Option<Ask> {
        if work.failed.is_some() {
            return None;
        }
        if self.protocol == Protocol::Announced && !(work.wanted.is_empty() && work.adding.is_empty()) {
            return Some(Ask::Partitions);
        }
        let sent = work.offsets.front()?;
        let announces = self.protocol == Protocol::Announced && !sent.is_announced;
        Some(if announces { Ask::Offsets } else { Ask::CommitOffsets })
    }

    /// The next request.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<(Part, Transmit)> {
        if let Some(transmit) = self.coordinator.poll_transmit(now) {
            return Some((Part::Coordinator, transmit));
        }
        if let Some(group) = &mut self.group
            && let Some(transmit) = group.coordinator.poll_transmit(now)
        {
            return Some((Part::GroupCoordinator(group.number), transmit));
        }
        if !matches!(self.call, Call::Due(at) if at <= now) {
            return None;
        }
        let Some(ask) = self.next_ask() else {
            self.call = Call::Idle;
            return None;
        };
        let Some(to) = self.target() else {
            self.look_up(now, ask);
            return match ask {
                Ask::CommitOffsets => {
                    let group = self.group.as_mut()?;
                    Some((Part::GroupCoordinator(group.number), group.coordinator.poll_transmit(now)?))
                }
                _ => Some((Part::Coordinator, self.coordinator.poll_transmit(now)?)),
            };
        };
        let (request, max_version) = self.request(now, ask)?;
        let timeout = self.config.request_timeout;
        let id = self.call.start(now, &mut self.ids, timeout)?;
        self.asked = ask;
        let to = Target::Broker(to);
        Some((Part::Transaction, Transmit { id, to, request, max_version, timeout, prompt: None }))
    }

    /// The request, and the highest version that it fits.
    fn request(&mut self, now: Instant, ask: Ask) -> Option<(Request, Option<i16>)> {
        let transactional_id = self.config.id.clone();
        let identity = self.identity.unwrap_or(ProducerIdentity { id: -1, epoch: -1 });
        let ProducerIdentity { id: producer_id, epoch: producer_epoch } = identity;
        let announced = (self.protocol == Protocol::Announced).then_some(ANNOUNCED);
        let work = self.state.work_mut();
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
                    v3_and_below_topics: partitions_by_topic(&work.adding),
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
                let end = self.state.end_mut()?;
                end.progress = end.progress.sent();
                let committed = end.commits;
                let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed };
                return Some((request.into(), announced));
            }
        };
        Some((request, None))
    }
}

fn partitions_by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<AddPartitionsToTxnTopic> {
    let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
    let topic = |(topic, partitions): (&Topic, Vec<(i32, ())>)| AddPartitionsToTxnTopic {
        name: topic.as_str().to_owned(),
        partitions: partitions.into_iter().map(|(partition, ())| partition).collect(),
    };
    topics.into_iter().map(topic).collect()
}

fn commit_offsets(
    transactional_id: String,
    identity: ProducerIdentity,
    sent: &GroupOffsets,
) -> TxnOffsetCommitRequest {
    let one = |(partition_index, offset): (i32, &OffsetAndMetadata)| TxnOffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
        committed_metadata: Some(offset.metadata.clone()),
    };
    let topics = by_topic(&sent.offsets).into_iter().map(|(topic, partitions)| TxnOffsetCommitRequestTopic {
        name: topic.as_str().to_owned(),
        partitions: partitions.into_iter().map(one).collect(),
    });
    TxnOffsetCommitRequest {
        transactional_id,
        group_id: sent.group.group_id.clone(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        generation_id: sent.group.generation_id,
        member_id: sent.group.member_id.clone(),
        group_instance_id: sent.group.group_instance_id.clone(),
        topics: topics.collect(),
    }
}
