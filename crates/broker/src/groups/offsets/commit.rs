//! OffsetCommit, v2 to v9, and TxnOffsetCommit, v0 to v5.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic},
    },
    protocol::StrBytes,
};

use super::Commit;
use crate::{
    groups::{Group, Members},
    model::Model,
    nodes::partition_of,
    request::{Context, Reply},
    topics::OFFSETS_TOPIC,
};

/// The fields that both requests have.
struct CommitFields {
    group: String,
    member: StrBytes,
    instance: Option<StrBytes>,
    /// The generation, or the member epoch.
    generation: i32,
    offsets: Vec<Offset>,
    /// The transaction, for TxnOffsetCommit.
    transaction: Option<Transaction>,
}

struct Transaction {
    id: StrBytes,
    producer: i64,
    epoch: i16,
}

struct Offset {
    topic: StrBytes,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<StrBytes>,
}

/// A code for each partition, in the order of the answer.
type Codes = Vec<(StrBytes, Vec<(i32, i16)>)>;

impl Model {
    pub(crate) fn handle_offset_commit(&mut self, context: &Context, request: OffsetCommitRequest) -> Reply {
        let offsets = request.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |partition| Offset {
                topic: topic.name.0.clone(),
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata,
            })
        });
        let fields = CommitFields {
            group: request.group_id.as_str().to_owned(),
            member: request.member_id,
            instance: request.group_instance_id,
            generation: request.generation_id_or_member_epoch,
            offsets: offsets.collect(),
            transaction: None,
        };
        let topics = self.commit(context, fields).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, code)| {
                OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            });
            OffsetCommitResponseTopic::default().with_name(name.into()).with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics.collect()).into()
    }

    pub(crate) fn handle_txn_offset_commit(
        &mut self,
        context: &Context,
        request: TxnOffsetCommitRequest,
    ) -> Reply {
        let offsets = request.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |partition| Offset {
                topic: topic.name.0.clone(),
                partition: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata,
            })
        });
        let transaction = Transaction {
            id: request.transactional_id.0,
            producer: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let fields = CommitFields {
            group: request.group_id.as_str().to_owned(),
            member: request.member_id,
            instance: request.group_instance_id,
            generation: request.generation_id,
            offsets: offsets.collect(),
            transaction: Some(transaction),
        };
        let topics = self.commit(context, fields).into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, code)| {
                TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            });
            TxnOffsetCommitResponseTopic::default()
                .with_name(name.into())
                .with_partitions(partitions.collect())
        });
        TxnOffsetCommitResponse::default().with_topics(topics.collect()).into()
    }

    /// Checks partitions first: those that do not exist are refused one by one. The group is checked only for the
    /// others, if any.
    fn commit(&mut self, context: &Context, mut fields: CommitFields) -> Codes {
        let mut codes = Codes::new();
        let (known, unknown): (Vec<Offset>, Vec<Offset>) = std::mem::take(&mut fields.offsets)
            .into_iter()
            .partition(|offset| self.topics.partition(&offset.topic, offset.partition).is_some());
        for offset in unknown {
            let code = self.refusal(context, ResponseError::UnknownTopicOrPartition);
            answer(&mut codes, &offset, code);
        }
        if known.is_empty() {
            return codes;
        }
        let checked = self.check_commit(context, &fields, &known);
        let refused = checked.err().map(|error| self.refusal(context, error));
        for offset in known {
            let too_long =
                |metadata: &StrBytes| metadata.encode_utf16().count() > self.config.offset_metadata_max_bytes;
            let code = match refused {
                Some(code) => code,
                None if offset.metadata.as_ref().is_some_and(too_long) => {
                    self.refusal(context, ResponseError::OffsetMetadataTooLarge)
                }
                None => {
                    self.store_offset(&fields, &offset);
                    0
                }
            };
            answer(&mut codes, &offset, code);
        }
        codes
    }

    fn store_offset(&mut self, fields: &CommitFields, offset: &Offset) {
        let commit = Commit {
            topic: offset.topic.as_str().to_owned(),
            partition: offset.partition,
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone().unwrap_or_default(),
            member: fields.member.as_str().to_owned(),
            generation: fields.generation,
            number: 0,
        };
        let coordinator = self.coordinator_of(&fields.group);
        let group = self
            .groups
            .all
            .entry(fields.group.clone())
            .or_insert_with(|| Group { coordinator, ..Group::default() });
        match &fields.transaction {
            Some(transaction) => group.offsets.commit_in_transaction(transaction.producer, commit),
            None => {
                group.offsets.commit(commit.clone());
                self.observe(|at| commit.observed(at, &fields.group));
            }
        }
    }

    fn check_commit(
        &mut self,
        context: &Context,
        fields: &CommitFields,
        offsets: &[Offset],
    ) -> Result<(), ResponseError> {
        let name = &fields.group;
        let transactional = fields.transaction.is_some();
        // A plain commit may use the empty group name, but not one in a transaction.
        if transactional && name.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.check_coordinator(context, name)?;
        if let Some(transaction) = &fields.transaction {
            self.check_transaction(context, transaction, name)?;
        }
        let generation = fields.generation;
        let Some(group) = self.groups.all.get(name) else {
            return match generation {
                ..0 => Ok(()),
                _ if context.version >= 9 => Err(ResponseError::GroupIdNotFound),
                _ => Err(ResponseError::IllegalGeneration),
            };
        };
        match &group.members {
            Members::Consumer(consumer) => {
                let nobody = fields.member.is_empty() && fields.instance.is_none() && generation == -1;
                if transactional && nobody {
                    return Ok(());
                }
                let version = if transactional { i16::MAX } else { context.version };
                let checked = consumer.check_commit(&fields.member, generation, version).and_then(|()| {
                    offsets.iter().try_for_each(|offset| {
                        let id = self.topics.all.get(offset.topic.as_str()).map(|topic| topic.id);
                        let id = id.unwrap_or_default();
                        consumer.check_commit_of(&fields.member, generation, id, offset.partition)
                    })
                });
                return checked.map_err(|error| match error {
                    ResponseError::StaleMemberEpoch if transactional => ResponseError::IllegalGeneration,
                    ResponseError::StaleMemberEpoch if context.version < 9 => {
                        ResponseError::UnsupportedVersion
                    }
                    other => other,
                });
            }
            Members::None | Members::Classic(_) => {}
        }
        self.turn(name, |classic, turn| {
            let instance = fields.instance.as_deref();
            classic.check_commit(&fields.member, instance, generation, transactional)?;
            if !transactional {
                classic.committed(&fields.member, turn);
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Checks that the transaction is under way and that this group is part of it (KIP-890).
    fn check_transaction(
        &mut self,
        context: &Context,
        transaction: &Transaction,
        group: &str,
    ) -> Result<(), ResponseError> {
        let (id, producer, epoch) = (&transaction.id, transaction.producer, transaction.epoch);
        // From version 5 on the commit itself adds the group to the transaction (KIP-890).
        let may_add = context.version >= 5;
        let partition = partition_of(group);
        self.verify_transaction(id, producer, epoch, OFFSETS_TOPIC, partition, may_add).map_err(|error| {
            match error {
                ResponseError::TransactionAbortable if context.version < 4 => ResponseError::InvalidTxnState,
                ResponseError::ConcurrentTransactions if context.version < 5 => {
                    ResponseError::CoordinatorNotAvailable
                }
                error => error,
            }
        })
    }
}

fn answer(codes: &mut Codes, offset: &Offset, code: i16) {
    let entry = (offset.partition, code);
    match codes.iter_mut().find(|(topic, _)| *topic == offset.topic) {
        Some((_, partitions)) => partitions.push(entry),
        None => codes.push((offset.topic.clone(), vec![entry])),
    }
}
