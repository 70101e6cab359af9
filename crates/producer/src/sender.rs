//! [`Sender`]: the machine that sends batches and handles the responses.
//!
//! Each partition's batches are sent in order to its leader, with up to `max.in.flight.requests.per.connection` requests at once.
//! With idempotence (KIP-98), each batch carries a sequence, under an epoch of the producer's id, and keeps it from one attempt
//! to the next. A broker that has the batch already recognizes it and does not write it again:
//!
//! - The first batch of an epoch is sent alone. A broker that does not know the producer accepts any first sequence: it could
//!   accept the second batch after refusing the first, which could then never be written. The same is done after an hour without
//!   a written batch, and after the topic was created again, because the broker may have forgotten the producer.
//! - Retries go in order, each when the batch before it has an outcome.
//! - A broker remembers the last five batches. No new batch is sent that would make it forget one without an outcome, which may
//!   be written.
//! - A batch that is given up leaves a gap before the batches behind it. When everything sent has an outcome, the partition goes
//!   on in a new epoch, with sequences from 0 (KIP-360). A batch that may have been written is first sent again under its old
//!   sequence. If the broker does not recognize it, its outcome stays unknown: it is not sent under another sequence.

mod answers;
mod partition;
mod request;
mod stalls;
#[cfg(test)]
mod tests;
mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use offtake_client::{Error, ErrorKind};
use offtake_machine::{
    Answer, BackoffConfig, Broker as BrokerAddress, BrokerId, CallError, CallId, CallIds, Cluster,
    TopicPartition, Transmit, earliest,
};
use offtake_wire::Uuid;

use crate::{
    Config,
    accumulator::{BatchInfo, Overdue, Serial, Shared, SlotId, Taken, seal_failed},
    config::Acks,
    delivery::Outcome,
};
use partition::{NextSend, Partition};
use stalls::Intake;
use transaction::TransactionState;

/// The identity by which brokers know a producer (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerIdentity {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// An event for the engine.
#[derive(Debug)]
pub(crate) enum Event {
    /// The partition has a new leader.
    LeaderMoved { partition: TopicPartition, leader: BrokerId, epoch: i32, at: Option<BrokerAddress> },
    /// The metadata is stale.
    RefreshMetadata,
    /// The epochs of the identity are used up, or the cluster does not know it. A new identity is needed.
    IdentityLost,
    /// The open transaction is about to write to this partition, which must be [admitted](Sender::admit) first.
    WantsPartition(TopicPartition),
    /// The first batch of the open transaction is about to be sent.
    TransactionSent,
    /// A part of the open transaction was not written, or may not have been.
    BatchFailed(Error),
    /// The set of [stalled](Sender::stalled) brokers has changed.
    StallsChanged,
}

#[derive(Clone, Debug)]
struct SenderConfig {
    acks: Acks,
    is_idempotent: bool,
    transactional_id: Option<String>,
    max_in_flight: usize,
    retries: u32,
    max_request_size: usize,
    request_timeout: Duration,
    delivery_timeout: Duration,
    /// `partitioner.availability.timeout.ms`, if it has an effect.
    availability_timeout: Option<Duration>,
    backoff: BackoffConfig,
    seed: u64,
}

/// The machine.
pub(crate) struct Sender {
    config: SenderConfig,
    identity: Option<ProducerIdentity>,
    transaction: TransactionState,
    /// By slot.
    partitions: Vec<Partition>,
    brokers: BTreeMap<BrokerId, Broker>,
    /// Slots that are paused, by the end of the pause.
    paused: BTreeSet<(Instant, SlotId)>,
    ids: CallIds,
    sent: HashMap<CallId, Sent>,
    events: VecDeque<Event>,
}

/// A request without a response.
#[derive(Debug)]
struct Sent {
    broker: BrokerId,
    batches: Vec<SentBatch>,
}

/// A batch in a request.
#[derive(Clone, Copy, Debug)]
struct SentBatch {
    slot: SlotId,
    serial: Serial,
    /// The topic id in the request, by which the response names the topic too.
    topic_id: Option<Uuid>,
}

#[derive(Debug, Default)]
struct Broker {
    in_flight: usize,
    /// Slots with something to send to this broker, in turn.
    ready: VecDeque<SlotId>,
    intake: Intake,
}

impl Sender {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        Self {
            config: SenderConfig {
                acks: config.acks,
                is_idempotent: config.is_idempotent(),
                transactional_id: config.transactional_id.clone(),
                max_in_flight: config.max_in_flight_requests,
                retries: config.retries,
                max_request_size: config.max_request_size,
                request_timeout: config.client.request_timeout,
                delivery_timeout: config.total_timeout(),
                availability_timeout: Some(config.partitioner_availability_timeout)
                    .filter(|timeout| config.partitioner_adaptive && !timeout.is_zero()),
                backoff: config.client.backoff(),
                seed,
            },
            identity: None,
            transaction: TransactionState::default(),
            partitions: Vec::new(),
            brokers: BTreeMap::new(),
            paused: BTreeSet::new(),
            ids: CallIds::default(),
            sent: HashMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets the producer's identity from now on. Partitions with batches under another identity finish those first.
    pub(crate) fn identify(&mut self, identity: ProducerIdentity) {
        self.identity = Some(identity);
        self.look_at_all();
    }

    /// Notes that the leaders may have changed.
    pub(crate) fn learn_leaders(&mut self, cluster: &Cluster) {
        // A slot must not stay in the queue of its former leader, which may not respond.
        for broker in self.brokers.values_mut() {
            broker.ready.clear();
        }
        for partition in &mut self.partitions {
            partition.learn(cluster);
            partition.is_queued = false;
        }
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        for at in 0..self.partitions.len() {
            self.look_at(SlotId::at(at));
        }
    }

    /// Notes that these slots have something to send.
    pub(crate) fn ready(&mut self, slots: Vec<SlotId>, shared: &Shared, cluster: &Cluster) {
        for slot in slots {
            while self.partitions.len() <= slot.index() {
                let at = SlotId::at(self.partitions.len());
                let Some(partition) = shared.lock().partition(at).cloned() else { return };
                let seed = self.config.seed.wrapping_add(at.index() as u64);
                let mut partition = Partition::new(partition, self.config.backoff, seed);
                partition.learn(cluster);
                self.partitions.push(partition);
            }
            if let Some(partition) = self.partitions.get_mut(slot.index()) {
                partition.has_more = true;
            }
            self.look_at(slot);
        }
    }

    /// Queues a slot at its leader, if it may have something to send. A slot without a leader waits for the metadata.
    fn look_at(&mut self, slot: SlotId) {
        let Some(partition) = self.partitions.get_mut(slot.index()) else { return };
        if partition.is_queued || !partition.has_work() {
            return;
        }
        match partition.leader {
            Some(leader) => {
                partition.is_queued = true;
                self.brokers.entry(leader).or_default().ready.push_back(slot);
            }
            None => self.wants_metadata(),
        }
    }

    fn wants_metadata(&mut self) {
        if !matches!(self.events.back(), Some(Event::RefreshMetadata)) {
            self.events.push_back(Event::RefreshMetadata);
        }
    }

    /// Ends pauses, and expires batches.
    pub(crate) fn handle_timeout(&mut self, now: Instant, shared: &Shared) {
        while let Some((until, slot)) = self.paused.first().copied()
            && until <= now
        {
            self.paused.pop_first();
            if let Some(partition) = self.partitions.get_mut(slot.index()) {
                partition.paused_until = None;
            }
            self.look_at(slot);
        }
        self.expire(now, shared);
        self.find_stalls(now);
    }

    /// Gives up batches whose delivery timeout has ended.
    fn expire(&mut self, now: Instant, shared: &Shared) {
        loop {
            let mut accumulator = shared.lock();
            let Some((slot, serial)) = accumulator.take_overdue(now) else { return };
            let overdue = accumulator.take_if(slot, serial);
            drop(accumulator);
            match overdue {
                Overdue::Unsent(taken) => self.expired_before_it_was_sent(now, slot, taken, shared),
                Overdue::Sent => self.expired(now, slot, serial, shared),
                Overdue::Compressing => return, // the task that fills it will report that soon
            }
        }
    }

    fn expired_before_it_was_sent(&mut self, now: Instant, slot: SlotId, taken: Taken, shared: &Shared) {
        let (info, bytes, error) = match taken {
            Taken::Filled(info, writer) => (info, writer.size(), None),
            Taken::Sealed(batch) => (batch.info.clone(), batch.held(), None),
            Taken::Failed(info, error, bytes) => (info, bytes, Some(seal_failed(&error))),
        };
        let error = error.unwrap_or_else(|| self.too_late(slot, None, false));
        self.give_up(now, slot, &info, bytes, Outcome::Failed(error), shared);
        if let Some(partition) = self.partitions.get_mut(slot.index()) {
            partition.has_more = shared.lock().is_ready_now(now, slot);
        }
    }

    /// Expires a batch that was sent before, or waits to be sent again.
    fn expired(&mut self, now: Instant, slot: SlotId, serial: Serial, shared: &Shared) {
        let Some(partition) = self.partitions.get_mut(slot.index()) else { return };
        if let Some(shipment) = partition.take_retry(serial) {
            let error = self.too_late(slot, shipment.last_error.as_deref(), shipment.may_be_written);
            let (info, bytes) = (shipment.batch.info.clone(), shipment.batch.held());
            self.give_up(now, slot, &info, bytes, Outcome::Failed(error), shared);
            self.look_at(slot);
        } else if let Some(info) = partition.abandon(serial) {
            // Its bytes are held until the response arrives, or the connection ends.
            let outcome = Outcome::Failed(self.too_late(slot, None, true));
            self.note_outcome(&outcome);
            info.outcome.end(outcome);
            shared.lock().finished(&info, slot);
        }
    }

    fn too_late(&self, slot: SlotId, last_error: Option<&str>, may_be_written: bool) -> Error {
        let partition = self.partitions.get(slot.index()).map(|partition| partition.partition.clone());
        let name = partition.as_ref().map(ToString::to_string).unwrap_or_default();
        let limit = self.config.delivery_timeout.as_millis();
        let why = match last_error {
            Some(last_error) => last_error.to_owned(),
            None if may_be_written => "no response arrived".to_owned(),
            None => match self.partitions.get(slot.index()).map(|partition| partition.leader) {
                Some(None) => "it has no leader".to_owned(),
                Some(Some(leader)) if self.is_idle_for_want_of_identity() => {
                    format!("no request was sent to {leader}, because the producer has no id yet")
                }
                Some(Some(leader)) => format!("{leader} accepts no more requests"),
                None => "it was not sent in time".to_owned(),
            },
        };
        let error = if may_be_written {
            let text = format!(
                "{name}: whether the record was written is not known after {limit} ms (`delivery.timeout.ms`): {why}"
            );
            Error::new(ErrorKind::OutcomeUnknown, text)
        } else {
            let text = format!(
                "{name}: the record was not written within {limit} ms (`delivery.timeout.ms`): {why}"
            );
            Error::new(ErrorKind::Timeout, text)
        };
        partition.into_iter().fold(error, Error::with_partition)
    }

    fn is_idle_for_want_of_identity(&self) -> bool {
        self.config.is_idempotent && self.identity.is_none()
    }

    /// Gives a batch this outcome, and frees its bytes.
    fn give_up(
        &mut self,
        now: Instant,
        slot: SlotId,
        info: &BatchInfo,
        bytes: usize,
        outcome: Outcome,
        shared: &Shared,
    ) {
        self.note_outcome(&outcome);
        info.outcome.end(outcome);
        let mut accumulator = shared.lock();
        accumulator.finished(info, slot);
        accumulator.release(now, bytes);
    }

    /// The next request.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        shared: &Shared,
        cluster: &Cluster,
    ) -> Option<Transmit> {
        if self.is_idle_for_want_of_identity() || self.waits_for_transaction() {
            return None;
        }
        let brokers: Vec<_> = self.brokers.keys().copied().collect();
        brokers.into_iter().find_map(|broker| self.next_request(now, broker, shared, cluster))
    }

    /// When to call again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        earliest([self.paused.first().map(|(until, _)| *until), self.next_stall()])
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether nothing of this slot is in flight.
    pub(crate) fn is_idle(&self, slot: SlotId) -> bool {
        self.partitions.get(slot.index()).is_none_or(Partition::is_idle)
    }

    /// Whether a producer id is needed and missing.
    pub(crate) fn wants_identity(&self) -> bool {
        self.is_idle_for_want_of_identity()
    }

    /// Gives this outcome to everything not yet written, and sends no more.
    pub(crate) fn end_all(&mut self, now: Instant, why: &Error, shared: &Shared) {
        for at in 0..self.partitions.len() {
            let slot = SlotId::at(at);
            let Some(partition) = self.partitions.get_mut(at) else { return };
            for (info, bytes, may_be_written) in partition.end_all() {
                let error = if may_be_written {
                    let text = format!("{why}; whether the record was written is not known");
                    Error::new(ErrorKind::OutcomeUnknown, text)
                } else {
                    why.clone()
                };
                self.give_up(now, slot, &info, bytes, Outcome::Failed(error), shared);
            }
        }
        self.sent.clear();
    }

    /// Handles the response to a Produce request, or its failure.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        id: CallId,
        answer: Result<Answer, CallError>,
        shared: &Shared,
    ) {
        let Some(sent) = self.sent.remove(&id) else { return };
        if let Some(broker) = self.brokers.get_mut(&sent.broker) {
            broker.in_flight = broker.in_flight.saturating_sub(1);
        }
        match answer {
            Ok(_) => self.takes(sent.broker),
            Err(_) => self.does_not_take(now, sent.broker),
        }
        self.answered(now, sent, answer, shared);
    }

    /// The next thing to send of this slot, if any.
    fn next_of(&mut self, now: Instant, slot: SlotId) -> Option<NextSend> {
        let (numbering, identity) = (self.numbering(), self.identity);
        // One request at a time to a broker means one batch at a time of a partition, whichever broker leads it.
        let alone = self.config.max_in_flight == 1;
        let partition = self.partitions.get_mut(slot.index())?;
        partition.doubt_after_long(now);
        let next = partition.next(numbering, alone, identity)?;
        if let NextSend::NewEpoch = next {
            match identity.and_then(ProducerIdentity::bumped) {
                Some(bumped) => {
                    self.identity = Some(bumped);
                    partition.begin_epoch(bumped);
                    return partition.next(numbering, alone, Some(bumped));
                }
                None => {
                    self.identity = None;
                    self.events.push_back(Event::IdentityLost);
                    return None;
                }
            }
        }
        Some(next)
    }
}

impl ProducerIdentity {
    /// The identity with the next epoch, unless the epochs are used up.
    fn bumped(self) -> Option<Self> {
        Some(Self { epoch: self.epoch.checked_add(1)?, ..self })
    }
}
