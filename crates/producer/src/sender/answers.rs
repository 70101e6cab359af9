//! The handling of Produce responses: the outcome of each batch of a request.

use std::time::{Duration, Instant};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{
    Answer, Broker as BrokerAddress, BrokerId, CallError, TopicPartition, after, broker_text,
};
use offtake_wire::{
    ErrorCode, ProduceResponse, Response, Uuid,
    messages::produce::{NodeEndpoint, PartitionProduceResponse},
    records::BatchWriter,
};

use super::{
    Event, Sender, Sent, SentBatch,
    partition::{GivenUp, Shipment},
};
use crate::{
    accumulator::{Batch, Codec, Shared, SlotId, seal},
    config::Acks,
    delivery::Outcome,
};

/// The pause before a retry while the transaction's coordinator still finishes the previous transaction.
const A_MOMENT: Duration = Duration::from_millis(20);

/// The meaning of a broker's response for a batch.
enum BatchResult {
    Written {
        base_offset: Option<i64>,
        append_time: Option<i64>,
    },
    /// The batch is to be sent again.
    Again {
        reason: String,
        may_be_written: bool,
        is_stale: bool,
        /// Whether a short pause is enough.
        is_soon: bool,
    },
    /// The batch is neither the next one in the broker's log nor one of those that the broker remembers (KIP-98, KIP-360).
    OutOfOrder {
        reason: String,
        /// Whether the broker knows the producer at all.
        knows_producer: bool,
    },
    /// The batch is larger than the topic allows.
    TooLarge(Error),
    /// The batch will not be written.
    Refused(Outcome),
    /// The broker's response does not show whether the batch is written.
    Unclear(Error),
}

impl BatchResult {
    /// The broker's words, if it refused the batch.
    fn said(&self) -> String {
        match self {
            Self::TooLarge(error)
            | Self::Unclear(error)
            | Self::Refused(Outcome::Failed(error) | Outcome::Refused { others: error, .. }) => {
                error.to_string()
            }
            Self::Again { reason, .. } | Self::OutOfOrder { reason, .. } => reason.clone(),
            Self::Written { .. } | Self::Refused(_) => String::new(),
        }
    }
}

impl Sender {
    pub(super) fn answered(
        &mut self,
        now: Instant,
        sent: Sent,
        answer: Result<Answer, CallError>,
        shared: &Shared,
    ) {
        // A batch that was never written to a connection does not count as an attempt.
        let was_sent = !matches!(answer, Err(CallError::NotSent { .. }));
        let response = match answer {
            Ok(Answer { response: Response::Produce(mut response), .. }) => {
                sort(&mut response);
                Ok(response)
            }
            Ok(_) => Err(("unexpected response type".to_owned(), true)),
            Err(
                error @ (CallError::Unsupported { .. } | CallError::Authentication { is_final: true, .. }),
            ) => {
                return self.refused(now, sent, &Error::from(error), shared);
            }
            Err(error @ CallError::Unreachable { not_kafka: true, .. }) => {
                return self.refused(now, sent, &Error::from(error), shared);
            }
            Err(error) => Err((error.to_string(), error.may_have_arrived())),
        };
        let is_transactional = self.config.transactional_id.is_some();
        for SentBatch { slot, serial, topic_id } in sent.batches {
            let Some(partition) = self.partitions.get_mut(slot.index()) else { continue };
            let Some(mut shipment) = partition.take_in_flight(serial) else { continue };
            shipment.attempts = shipment.attempts.saturating_sub(u32::from(!was_sent));
            let name = partition.partition.clone();
            let result = match &response {
                // The request was sent, and `acks=0` has no response.
                Ok(_) if self.config.acks == Acks::None => {
                    BatchResult::Written { base_offset: None, append_time: None }
                }
                Ok(response) => match answer_of(response, &name, topic_id) {
                    Some(told) => {
                        self.learn_leader(&name, &told, &response.node_endpoints);
                        batch_result(&name, told, shipment.batch.sealed.count(), is_transactional)
                    }
                    None => BatchResult::Again {
                        reason: format!("missing in the response of {}", sent.broker),
                        may_be_written: true,
                        is_stale: false,
                        is_soon: false,
                    },
                },
                Err((reason, may_be_written)) => BatchResult::Again {
                    reason: reason.clone(),
                    may_be_written: *may_be_written,
                    is_stale: true,
                    is_soon: false,
                },
            };
            self.apply_result(now, slot, shipment, result, shared);
            self.look_at(slot);
        }
    }

    /// Stores the leader that a broker named (KIP-951).
    fn learn_leader(
        &mut self,
        of: &TopicPartition,
        told: &PartitionProduceResponse,
        endpoints: &[NodeEndpoint],
    ) {
        let Some(current) = &told.current_leader else { return };
        let Some(leader) = BrokerId::known(current.leader_id) else { return };
        let at = endpoints
            .iter()
            .find(|node| node.node_id == current.leader_id)
            .and_then(|at| BrokerAddress::at(at.host.clone(), at.port, at.rack.clone()));
        let (partition, epoch) = (of.clone(), current.leader_epoch);
        self.events.push_back(Event::LeaderMoved { partition, leader, epoch, at });
    }

    fn apply_result(
        &mut self,
        now: Instant,
        slot: SlotId,
        mut shipment: Shipment,
        result: BatchResult,
        shared: &Shared,
    ) {
        let given_up = self.given_up().cloned();
        let Some(partition) = self.partitions.get_mut(slot.index()) else { return };
        let retries_left = shipment.attempts <= self.config.retries;
        let is_transactional = self.config.transactional_id.is_some();
        match result {
            BatchResult::Written { base_offset, append_time } => {
                partition.proven(now, &shipment);
                partition.backoff.reset();
                let outcome =
                    Outcome::Written { partition: partition.partition.clone(), base_offset, append_time };
                self.end(now, slot, &shipment, outcome, shared);
            }
            BatchResult::Again { .. } | BatchResult::OutOfOrder { .. } if shipment.is_abandoned => {
                // Its failure was reported already. It may be written, and is not sent again.
                partition.gap(&shipment, GivenUp::UnknownOutcome);
                self.end(now, slot, &shipment, Outcome::Failed(Error::misuse("reported before")), shared);
            }
            BatchResult::Again { .. } | BatchResult::OutOfOrder { .. } if given_up.is_some() => {
                partition.gap(&shipment, GivenUp::UnknownOutcome);
                let why = given_up.unwrap_or_else(|| Error::misuse("given up"));
                self.end(now, slot, &shipment, Outcome::Failed(why), shared);
            }
            BatchResult::Again { reason, may_be_written, is_stale, is_soon } if retries_left => {
                shipment.may_be_written |= may_be_written;
                self.pause(now, slot, shipment, reason, is_soon);
                if is_stale {
                    self.wants_metadata();
                }
            }
            BatchResult::OutOfOrder { reason, knows_producer: true }
                if !is_transactional
                    && shipment.may_be_written
                    && !partition.may_miss_one_before(&shipment) =>
            {
                // A restarted broker remembers only the last batch.
                partition.gap(&shipment, GivenUp::NotKnownAgain);
                let name = &partition.partition;
                let text = format!(
                    "{name}: whether the record was written is not known: the broker cannot tell whether it has the batch: {reason}"
                );
                let error = Error::new(ErrorKind::OutcomeUnknown, text).with_partition(name.clone());
                self.end(now, slot, &shipment, Outcome::Failed(error), shared);
            }
            BatchResult::OutOfOrder { reason, .. }
                if self.config.is_idempotent
                    && retries_left
                    && !(is_transactional && partition.is_first(&shipment.batch.info)) =>
            {
                // A broker that lacks an earlier batch cannot have written this one.
                shipment.may_be_written = false;
                if partition.is_first(&shipment.batch.info) {
                    partition.gap(&shipment, GivenUp::NotWritten);
                }
                self.pause(now, slot, shipment, reason, false);
            }
            BatchResult::Again { reason, may_be_written, .. } => {
                let may_be_written = shipment.may_be_written || may_be_written;
                partition.gap(&shipment, GivenUp::unknown_if(may_be_written));
                let name = &partition.partition;
                let error = if may_be_written {
                    let text = format!("{name}: whether the record was written is not known: {reason}");
                    Error::new(ErrorKind::OutcomeUnknown, text)
                } else {
                    let text =
                        format!("{name}: the record was not written, and `retries` are used up: {reason}");
                    Error::new(ErrorKind::Timeout, text)
                };
                let error = error.with_partition(name.clone());
                self.end(now, slot, &shipment, Outcome::Failed(error), shared);
            }
            BatchResult::OutOfOrder { reason, .. } => {
                partition.gap(&shipment, GivenUp::NotWritten);
                let name = &partition.partition;
                let text = format!("{name}: the record was not written: {reason}");
                let kind = if is_transactional { ErrorKind::TransactionAborted } else { ErrorKind::Refused };
                let error = Error::new(kind, text).with_partition(name.clone());
                self.end(now, slot, &shipment, Outcome::Failed(error), shared);
            }
            // An earlier attempt may have been written, and its response lost.
            BatchResult::TooLarge(_) | BatchResult::Refused(_) if shipment.may_be_written => {
                partition.gap(&shipment, GivenUp::UnknownOutcome);
                let name = &partition.partition;
                let said = result.said();
                let text = format!(
                    "{name}: the record may have been written by an earlier attempt; sent again, it is refused: {said}"
                );
                let error = Error::new(ErrorKind::OutcomeUnknown, text).with_partition(name.clone());
                self.end(now, slot, &shipment, Outcome::Failed(error), shared);
            }
            BatchResult::TooLarge(error) => {
                // In a transaction the halves keep the sequences of the whole.
                if !is_transactional {
                    partition.gap(&shipment, GivenUp::NotWritten);
                }
                let is_split =
                    given_up.is_none() && !shipment.is_abandoned && self.split(now, slot, &shipment, shared);
                if !is_split {
                    if let Some(partition) = self.partitions.get_mut(slot.index()) {
                        partition.gap(&shipment, GivenUp::NotWritten);
                    }
                    self.end(now, slot, &shipment, Outcome::Failed(error), shared);
                }
            }
            BatchResult::Unclear(error) => {
                partition.gap(&shipment, GivenUp::UnknownOutcome);
                self.end(now, slot, &shipment, Outcome::Failed(error), shared);
            }
            BatchResult::Refused(outcome) => {
                partition.gap(&shipment, GivenUp::NotWritten);
                self.end(now, slot, &shipment, outcome, shared);
            }
        }
    }

    /// Queues a batch to be sent again, after a pause of its partition.
    fn pause(&mut self, now: Instant, slot: SlotId, mut shipment: Shipment, reason: String, is_soon: bool) {
        let Some(partition) = self.partitions.get_mut(slot.index()) else { return };
        tracing::debug!(partition = %partition.partition, attempts = shipment.attempts, reason, "a batch is sent again");
        shipment.last_error = Some(reason);
        partition.send_again(shipment);
        if partition.paused_until.is_none() {
            let wait = partition.backoff.next_wait();
            let until = after(now, if is_soon { wait.min(A_MOMENT) } else { wait });
            partition.paused_until = Some(until);
            self.paused.insert((until, slot));
        }
    }

    fn end(&mut self, now: Instant, slot: SlotId, shipment: &Shipment, outcome: Outcome, shared: &Shared) {
        self.give_up(now, slot, &shipment.batch.info, shipment.batch.held(), outcome, shared);
    }

    /// Fails these batches: no broker will accept them.
    fn refused(&mut self, now: Instant, sent: Sent, error: &Error, shared: &Shared) {
        for SentBatch { slot, serial, .. } in sent.batches {
            let Some(partition) = self.partitions.get_mut(slot.index()) else { continue };
            let Some(shipment) = partition.take_in_flight(serial) else { continue };
            let error = error.clone().with_partition(partition.partition.clone());
            self.apply_result(now, slot, shipment, BatchResult::Refused(Outcome::Failed(error)), shared);
            self.look_at(slot);
        }
    }

    /// Sends the two halves of a batch in its place. Returns false if it cannot be halved.
    fn split(&mut self, now: Instant, slot: SlotId, shipment: &Shipment, shared: &Shared) -> bool {
        let info = &shipment.batch.info;
        let codec = shared.lock().codec();
        let Some([first, second]) = halves(&shipment.batch, codec) else { return false };
        let middle = first.count().unsigned_abs();
        let stamps = shipment.stamp.of_parts(first.count());
        let mut accumulator = shared.lock();
        let parts = [(0, first), (middle, second)]
            .map(|(at, sealed)| Batch::new(accumulator.begin_part(slot, info, at), sealed));
        let outcomes = [0, middle].into_iter().zip(parts.iter().map(|part| part.info.outcome.clone()));
        let outcomes = outcomes.collect();
        let held: usize = parts.iter().map(Batch::held).sum();
        accumulator.finished(info, slot);
        accumulator.hold(held);
        accumulator.release(now, shipment.batch.held());
        drop(accumulator);
        info.outcome.end(Outcome::Split(outcomes));
        let Some(partition) = self.partitions.get_mut(slot.index()) else { return true };
        for (batch, stamp) in parts.into_iter().zip(stamps) {
            partition.send_again(shipment.part(batch, stamp));
        }
        true
    }
}

/// The records of a batch, in two halves. `None` if there is only one record, or the records cannot be read.
fn halves(batch: &Batch, codec: Codec) -> Option<[offtake_wire::records::SealedBatch; 2]> {
    use offtake_wire::records::{Batches, Crc, Decompressor};

    let middle = usize::try_from(batch.sealed.count() / 2).ok().filter(|middle| *middle > 0)?;
    let opened = Batches::new(batch.sealed.bytes().clone(), Crc::Trust).next()?.ok()?;
    let payload = opened.open(&mut Decompressor::with_limit(Decompressor::MAX_LIMIT)).ok()?;
    let mut writers = [BatchWriter::with_capacity(0), BatchWriter::with_capacity(0)];
    for (at, record) in payload.records().enumerate() {
        let record = record.ok()?;
        let headers: Vec<_> = record.headers().map(|header| (header.key, header.value)).collect();
        let [first, second] = &mut writers;
        let writer = if at < middle { first } else { second };
        writer.push(record.timestamp(), record.key(), record.value(), headers.into_iter()).ok()?;
    }
    let [first, second] = writers;
    Some([seal(first, codec).ok()?, seal(second, codec).ok()?])
}

/// Sorts a response for the searches in it, because it may have many topics.
fn sort(response: &mut ProduceResponse) {
    let topics = &mut response.responses;
    topics.sort_by(|one, other| (&one.name, one.topic_id).cmp(&(&other.name, other.topic_id)));
    for topic in topics {
        topic.partition_responses.sort_by_key(|told| told.index);
    }
}

/// The response for this partition, whose topic is given by name or by this id.
fn answer_of(
    response: &ProduceResponse,
    of: &TopicPartition,
    id: Option<Uuid>,
) -> Option<PartitionProduceResponse> {
    let topics = &response.responses;
    let by_name = topics.binary_search_by(|topic| topic.name.as_str().cmp(of.topic.as_str())).ok();
    let by_id = || {
        let wanted = ("", id?);
        topics.binary_search_by(|topic| (topic.name.as_str(), topic.topic_id).cmp(&wanted)).ok()
    };
    let told = &topics.get(by_name.or_else(by_id)?)?.partition_responses;
    told.get(told.binary_search_by_key(&of.partition, |told| told.index).ok()?).cloned()
}

fn batch_result(
    of: &TopicPartition,
    told: PartitionProduceResponse,
    count: i32,
    is_transactional: bool,
) -> BatchResult {
    let code = told.error_code;
    let message = told.error_message.as_deref().map(broker_text);
    let why = || message.as_ref().map_or_else(|| code.to_string(), |text| format!("{code}: {text}"));
    let refused = |kind: ErrorKind, text: String| {
        Error::new(kind, format!("{of}: {text}")).with_code(code).with_partition(of.clone())
    };
    match code {
        ErrorCode::None => BatchResult::Written {
            base_offset: Some(told.base_offset).filter(|offset| *offset >= 0),
            append_time: Some(told.log_append_time_ms).filter(|time| *time >= 0),
        },
        ErrorCode::DuplicateSequenceNumber => BatchResult::Written { base_offset: None, append_time: None },
        ErrorCode::InvalidProducerEpoch if is_transactional => {
            let reason = format!(
                "perhaps another producer has begun with this `transactional.id`, or the transaction was open for longer than \
                 `transaction.timeout.ms`: {}",
                why()
            );
            BatchResult::OutOfOrder { reason, knows_producer: true }
        }
        ErrorCode::OutOfOrderSequenceNumber | ErrorCode::InvalidProducerEpoch => {
            BatchResult::OutOfOrder { reason: why(), knows_producer: true }
        }
        ErrorCode::UnknownProducerId => BatchResult::OutOfOrder { reason: why(), knows_producer: false },
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            let what = if count == 1 { "the record" } else { "its batch" };
            let text = format!("{what} is larger than the topic takes (`max.message.bytes`): {}", why());
            BatchResult::TooLarge(refused(ErrorKind::TooLarge, text))
        }
        ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => {
            let text = format!("this client may not write to it (WRITE): {}", why());
            BatchResult::Refused(Outcome::Failed(refused(ErrorKind::Authorization, text)))
        }
        ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp if !told.record_errors.is_empty() => {
            let at_fault = told.record_errors.iter().filter_map(|fault| {
                let index = u32::try_from(fault.batch_index).ok()?;
                let said = fault.batch_index_error_message.as_deref().map_or_else(&why, broker_text);
                Some((index, refused(ErrorKind::Refused, format!("the broker refuses the record: {said}"))))
            });
            let at_fault = at_fault.collect();
            let text = "the record was not written, because the broker refuses another record of its batch: send it again".to_owned();
            BatchResult::Refused(Outcome::Refused { at_fault, others: refused(ErrorKind::Refused, text) })
        }
        ErrorCode::TransactionAbortable
        | ErrorCode::InvalidTxnState
        | ErrorCode::InvalidProducerIdMapping => {
            let text =
                format!("its transaction has ended, perhaps after `transaction.timeout.ms`: {}", why());
            BatchResult::Refused(Outcome::Failed(refused(ErrorKind::TransactionAborted, text)))
        }
        ErrorCode::ProducerFenced => {
            let text = format!("another producer has begun with this `transactional.id`: {}", why());
            BatchResult::Refused(Outcome::Failed(refused(ErrorKind::Fenced, text)))
        }
        // The coordinator still finishes the previous transaction. This is very common where each transaction has its own epoch.
        ErrorCode::ConcurrentTransactions => {
            BatchResult::Again { reason: why(), may_be_written: false, is_stale: false, is_soon: true }
        }
        // Brokers return this code for any failure, even after the batch was appended. For a transaction that does not matter,
        // because it ends without the batch.
        ErrorCode::UnknownServerError | ErrorCode::Unknown(_) if !is_transactional => {
            let text = format!("whether the record was written is not known: {}", why());
            BatchResult::Unclear(refused(ErrorKind::OutcomeUnknown, text))
        }
        // The batch is already in the leader's log.
        code if code.is_retriable() => BatchResult::Again {
            reason: why(),
            // Brokers return these before they append anything: for a deleted topic, for example.
            may_be_written: !matches!(
                code,
                ErrorCode::NotEnoughReplicas | ErrorCode::CorruptMessage | ErrorCode::UnknownTopicId
            ),
            is_stale: true,
            is_soon: false,
        },
        _ => {
            let text = format!("the broker refuses the batch: {}", why());
            BatchResult::Refused(Outcome::Failed(refused(ErrorKind::Refused, text)))
        }
    }
}
