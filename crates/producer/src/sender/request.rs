//! Requests: one batch of each partition that has something to send to a broker.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use offtake_machine::{BrokerId, Cluster, Target, Topic, TopicPartition, Transmit};
use offtake_wire::{
    ProduceRequest, Uuid,
    messages::produce::{PartitionProduceData, TopicProduceData},
};

use super::{
    Sender, Sent, SentBatch,
    partition::{NextSend, Shipment},
};
use crate::{
    accumulator::{Batch, Serial, Shared, SlotId, Taken, seal, seal_failed},
    delivery::Outcome,
};

/// The last version with topic names.
const NAMES: i16 = 12;
/// The last version whose Produce does not add partitions to a transaction (KIP-890).
const ANNOUNCED: i16 = 11;

impl Sender {
    /// The next request for this broker, if the broker may have one more and there is something to send.
    pub(super) fn next_request(
        &mut self,
        now: Instant,
        to: BrokerId,
        shared: &Shared,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        let broker = self.brokers.get(&to)?;
        if broker.in_flight >= self.config.max_in_flight {
            if !broker.ready.is_empty() {
                self.does_not_take(now, to);
            }
            return None;
        }
        let mut body = Body::default();
        let mut batches = Vec::new();
        // Each slot has one turn. A slot whose batch does not fit keeps its place.
        for _ in 0..broker.ready.len() {
            let Some(slot) = self.brokers.get_mut(&to).and_then(|broker| broker.ready.pop_front()) else {
                break;
            };
            let Some(partition) = self.partitions.get_mut(slot.index()) else { continue };
            partition.is_queued = false;
            if partition.leader != Some(to) {
                self.look_at(slot);
                continue;
            }
            let room = self.config.max_request_size.saturating_sub(body.bytes);
            match self.next_batch(now, slot, (!batches.is_empty()).then_some(room), shared) {
                NextBatch::Sent(serial, bytes) => {
                    let partition = self.partitions.get(slot.index());
                    let topic_id =
                        partition.and_then(|partition| body.add(&partition.partition, bytes, cluster));
                    batches.push(SentBatch { slot, serial, topic_id });
                    self.look_at(slot);
                }
                NextBatch::Nothing => {}
                NextBatch::DoesNotFit => {
                    if let (Some(partition), Some(broker)) =
                        (self.partitions.get_mut(slot.index()), self.brokers.get_mut(&to))
                    {
                        partition.is_queued = true;
                        broker.ready.push_front(slot);
                    }
                    break;
                }
            }
        }
        if batches.is_empty() {
            return None;
        }
        let id = self.ids.next_id();
        if let Some(broker) = self.brokers.get_mut(&to) {
            broker.in_flight = broker.in_flight.saturating_add(1);
        }
        self.sent.insert(id, Sent { broker: to, batches });
        let timeout = self.config.request_timeout;
        let request = ProduceRequest {
            transactional_id: self.config.transactional_id.clone(),
            acks: self.config.acks.on_the_wire(),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: body.topics,
        };
        let max_version = match (self.is_announced(), body.lacks_ids) {
            (true, _) => Some(ANNOUNCED),
            (false, true) => Some(NAMES),
            (false, false) => None,
        };
        Some(Transmit {
            id,
            to: Target::Broker(to),
            request: request.into(),
            max_version,
            timeout,
            prompt: None,
        })
    }

    /// The next batch of a slot, if one may be sent and needs no more than `room`.
    fn next_batch(&mut self, now: Instant, slot: SlotId, room: Option<usize>, shared: &Shared) -> NextBatch {
        loop {
            let Some(next) = self.next_of(now, slot) else { return NextBatch::Nothing };
            if next == NextSend::New && !self.may_begin(now, slot, shared) {
                return NextBatch::Nothing;
            }
            let Some(partition) = self.partitions.get_mut(slot.index()) else { return NextBatch::Nothing };
            match next {
                NextSend::Retry(at) => {
                    let Some(shipment) = partition.retries.get(at) else { return NextBatch::Nothing };
                    if room.is_some_and(|room| shipment.batch.sealed.size() > room) {
                        return NextBatch::DoesNotFit;
                    }
                    let Some(shipment) = partition.retries.remove(at) else { return NextBatch::Nothing };
                    return partition.ship(shipment);
                }
                NextSend::New => {
                    let taken = {
                        let mut accumulator = shared.lock();
                        if room.is_some_and(|room| accumulator.size_of_next(slot) > room) {
                            return NextBatch::DoesNotFit;
                        }
                        let taken = accumulator.take(slot);
                        partition.has_more = accumulator.is_ready_now(now, slot);
                        taken
                    };
                    let Some(taken) = taken else { return NextBatch::Nothing };
                    let Some(batch) = self.sealed(now, slot, taken, shared) else { continue };
                    let Some(partition) = self.partitions.get_mut(slot.index()) else {
                        return NextBatch::Nothing;
                    };
                    let shipment = partition.numbered(batch);
                    return partition.ship(shipment);
                }
                NextSend::NewEpoch => return NextBatch::Nothing,
            }
        }
    }

    /// Seals a batch that was taken. If that fails, the batch gets its outcome.
    fn sealed(&mut self, now: Instant, slot: SlotId, taken: Taken, shared: &Shared) -> Option<Batch> {
        let (info, error, bytes) = match taken {
            Taken::Sealed(batch) => return Some(batch),
            Taken::Failed(info, error, bytes) => (info, error, bytes),
            Taken::Filled(info, writer) => {
                let codec = shared.lock().codec();
                match seal(writer, codec) {
                    Ok(sealed) => {
                        let batch = Batch::new(info, sealed);
                        shared.lock().was_sealed(now, slot, &batch);
                        return Some(batch);
                    }
                    Err((error, bytes)) => (info, error, bytes),
                }
            }
        };
        self.give_up(now, slot, &info, bytes, Outcome::Failed(seal_failed(&error)), shared);
        None
    }
}

enum NextBatch {
    /// The batch was put into the request, with these bytes.
    Sent(Serial, Bytes),
    Nothing,
    DoesNotFit,
}

impl super::Partition {
    /// Sends a batch under the sequence that it has.
    fn ship(&mut self, mut shipment: Shipment) -> NextBatch {
        let bytes = shipment.batch.sealed.stamped(shipment.stamp);
        let serial = shipment.batch.info.serial;
        shipment.attempts = shipment.attempts.saturating_add(1);
        shipment.sent_to = self.leader;
        self.in_flight.push_back(shipment);
        NextBatch::Sent(serial, bytes)
    }
}

/// The body of a request.
#[derive(Default)]
struct Body {
    topics: Vec<TopicProduceData>,
    /// The index of each topic in `topics`.
    places: HashMap<Topic, usize>,
    bytes: usize,
    /// Whether some topic has no id and goes by its name.
    lacks_ids: bool,
}

impl Body {
    /// Adds a batch. Returns the topic id that is used for it.
    fn add(&mut self, partition: &TopicPartition, records: Bytes, cluster: &Cluster) -> Option<Uuid> {
        self.bytes = self.bytes.saturating_add(records.len());
        let data = PartitionProduceData { index: partition.partition, records: Some(records) };
        if let Some(topic) = self.places.get(&partition.topic).and_then(|at| self.topics.get_mut(*at)) {
            topic.partition_data.push(data);
            return Some(topic.topic_id).filter(|id| *id != Uuid::ZERO);
        }
        let name = partition.topic.as_str();
        let id = cluster.topic_id(name);
        self.lacks_ids |= id.is_none();
        self.places.insert(partition.topic.clone(), self.topics.len());
        self.topics.push(TopicProduceData {
            name: name.to_owned(),
            topic_id: id.unwrap_or(Uuid::ZERO),
            partition_data: vec![data],
        });
        id
    }
}
