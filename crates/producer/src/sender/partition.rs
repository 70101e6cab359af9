//! The sent batches of one partition, and the decision what may be sent next.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use offtake_machine::{Backoff, BackoffConfig, BrokerId, Cluster, TopicPartition};
use offtake_wire::{
    Uuid,
    records::{ProducerStamp, next_sequence},
};

use super::ProducerIdentity;
use crate::accumulator::{Batch, BatchInfo, Serial};

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) partition: TopicPartition,
    pub(super) leader: Option<BrokerId>,
    /// The topic id, if there is one. A new id means a new log.
    topic_id: Option<Uuid>,
    /// The place of the first batch numbered since the topic id changed. Earlier batches may be in the former log.
    first_of_topic: u64,
    /// Whether it is queued at its leader.
    pub(super) is_queued: bool,
    /// Whether the accumulator may have more batches.
    pub(super) has_more: bool,
    pub(super) paused_until: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Batches to be sent again, oldest first.
    pub(super) retries: VecDeque<Shipment>,
    pub(super) in_flight: VecDeque<Shipment>,
    sequences: Sequences,
    /// When a leader last acknowledged a batch.
    proven_at: Option<Instant>,
    /// The number of batches numbered so far, in all epochs.
    numbered: u64,
}

/// The number of a producer's last batches that a broker recognizes as duplicates.
const REMEMBERED: u64 = 5;

/// How long after its last batch a broker is assumed to know a producer. A broker forgets a producer after
/// `producer.id.expiration.ms`, a day by default.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// A batch that was sent.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) batch: Batch,
    /// Its place among the partition's batches, in the order of numbering.
    place: u64,
    /// The broker that it was last sent to.
    pub(super) sent_to: Option<BrokerId>,
    pub(super) stamp: ProducerStamp,
    /// The number of attempts.
    pub(super) attempts: u32,
    /// Whether an attempt may have written it.
    pub(super) may_be_written: bool,
    /// Why the last attempt did not write it.
    pub(super) last_error: Option<String>,
    /// Whether its delivery timeout ended while it was in flight, so that its failure was reported.
    pub(super) is_abandoned: bool,
}

impl Shipment {
    /// A batch that was numbered, but not sent.
    fn new(batch: Batch, stamp: ProducerStamp, place: u64) -> Self {
        Self {
            batch,
            place,
            sent_to: None,
            stamp,
            attempts: 0,
            may_be_written: false,
            last_error: None,
            is_abandoned: false,
        }
    }

    /// A part of this batch, with a part of its sequences.
    pub(super) fn part(&self, batch: Batch, stamp: ProducerStamp) -> Self {
        Self::new(batch, stamp, self.place)
    }
}

/// The sequences of a partition's batches (KIP-98).
#[derive(Debug, Default)]
enum Sequences {
    /// No batch was numbered yet.
    #[default]
    None,
    Epoch {
        identity: ProducerIdentity,
        next: i32,
        /// Whether the leader accepted a batch of this epoch, and therefore knows it.
        is_proven: bool,
        /// Set when a batch was given up: brokers accept no more batches in this epoch.
        gap: Option<Gap>,
    },
}

/// The batches that were given up.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    /// The first batch that is certainly not written. No log has a batch behind it.
    hole: Option<u64>,
    /// Whether one of them never got a response, so that the log may lack it.
    may_miss_one: bool,
}

/// How a batch was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    NotWritten,
    /// No response said whether it was written.
    UnknownOutcome,
    /// It may be written, and the broker does not recognize it.
    NotKnownAgain,
}

impl GivenUp {
    pub(super) fn unknown_if(may_be_written: bool) -> Self {
        if may_be_written { Self::UnknownOutcome } else { Self::NotWritten }
    }
}

/// How batches are numbered, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    None,
    /// After a gap, a partition begins the next epoch on its own (KIP-360).
    OwnEpochs,
    /// The transaction coordinator assigns epochs, and a gap ends a transaction.
    GivenEpochs,
}

/// The next thing that a partition may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextSend {
    /// The retry with this index.
    Retry(usize),
    /// A batch from the accumulator.
    New,
    /// Nothing, until the partition goes on in a new epoch.
    NewEpoch,
}

impl Sequences {
    fn is_of(&self, of: ProducerIdentity) -> bool {
        matches!(self, Self::Epoch { identity, .. } if *identity == of)
    }
}

impl Partition {
    pub(super) fn new(partition: TopicPartition, backoff: BackoffConfig, seed: u64) -> Self {
        Self {
            partition,
            leader: None,
            topic_id: None,
            first_of_topic: 0,
            is_queued: false,
            has_more: true,
            paused_until: None,
            backoff: Backoff::new(backoff, seed),
            retries: VecDeque::new(),
            in_flight: VecDeque::new(),
            sequences: Sequences::None,
            proven_at: None,
            numbered: 0,
        }
    }

    /// Stores the partition's metadata. The log of a topic that was created again does not know the producer.
    pub(super) fn learn(&mut self, cluster: &Cluster) {
        self.leader = cluster.leader(&self.partition);
        if let Some(id) = cluster.topic_id(self.partition.topic.as_str())
            && self.topic_id.replace(id).is_some_and(|before| before != id)
        {
            self.first_of_topic = self.numbered;
            self.doubt();
        }
    }

    /// Allows for brokers that forget producers which have written nothing for long.
    pub(super) fn doubt_after_long(&mut self, now: Instant) {
        if self.proven_at.is_some_and(|at| now.saturating_duration_since(at) >= KNOWN_FOR) {
            self.proven_at = None;
            self.doubt();
        }
    }

    /// Makes the next batch go alone, as the first of an epoch does.
    fn doubt(&mut self) {
        if let Sequences::Epoch { is_proven, .. } = &mut self.sequences {
            *is_proven = false;
        }
    }

    /// Whether there may be something to send, even if not at once.
    pub(super) fn has_work(&self) -> bool {
        (self.has_more || !self.retries.is_empty()) && self.paused_until.is_none()
    }

    /// Whether nothing of this partition is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.retries.is_empty() && self.in_flight.is_empty()
    }

    /// The next thing that may be sent. `alone`: only if nothing else is in flight.
    pub(super) fn next(
        &mut self,
        numbering: Numbering,
        alone: bool,
        identity: Option<ProducerIdentity>,
    ) -> Option<NextSend> {
        // A former leader may have written a batch whose response is still missing. A later batch at the new leader would make it
        // look as if it were not written.
        let is_elsewhere = self.in_flight.iter().any(|shipment| shipment.sent_to != self.leader);
        if self.paused_until.is_some() || is_elsewhere || (alone && !self.in_flight.is_empty()) {
            return None;
        }
        if numbering == Numbering::None {
            return if self.retries.is_empty() { self.new_batch() } else { Some(NextSend::Retry(0)) };
        }
        let is_quiet = self.in_flight.is_empty();
        let (is_proven, has_gap) = match &self.sequences {
            Sequences::Epoch { is_proven, gap, .. } => (*is_proven, gap.is_some()),
            Sequences::None => (false, false),
        };
        if has_gap && numbering == Numbering::GivenEpochs {
            // When nothing is left of the transaction, the next one has another epoch.
            let newest = identity.filter(|_| is_quiet && self.retries.is_empty())?;
            if self.sequences.is_of(newest) {
                return None;
            }
            self.begin_epoch(newest);
            return self.new_batch();
        }
        if has_gap {
            // A batch that may have been written is sent again under its old sequence.
            return match self.retries.iter().position(|shipment| shipment.may_be_written) {
                _ if !is_quiet => None,
                Some(at) => Some(NextSend::Retry(at)),
                None => Some(NextSend::NewEpoch),
            };
        }
        if !self.retries.is_empty() {
            return is_quiet.then_some(NextSend::Retry(0));
        }
        if is_quiet && let Some(identity) = identity {
            self.adopt(identity, numbering);
            return self.new_batch();
        }
        if is_proven && self.are_all_remembered() { self.new_batch() } else { None }
    }

    /// Whether a broker would still remember the oldest batch without an outcome after one more batch.
    fn are_all_remembered(&self) -> bool {
        let oldest = self.in_flight.iter().chain(&self.retries).map(|shipment| shipment.place).min();
        oldest.is_none_or(|oldest| self.numbered.saturating_sub(oldest) < REMEMBERED)
    }

    fn new_batch(&self) -> Option<NextSend> {
        self.has_more.then_some(NextSend::New)
    }

    /// Moves an idle partition to the newest identity.
    fn adopt(&mut self, newest: ProducerIdentity, numbering: Numbering) {
        match &self.sequences {
            Sequences::Epoch { identity, .. } if *identity == newest => {}
            // The partition's epoch may be ahead of the others', or behind.
            Sequences::Epoch { identity, .. }
                if numbering == Numbering::OwnEpochs && identity.id == newest.id => {}
            // The leader knows this producer, and in a new epoch accepts only sequence 0 first.
            Sequences::Epoch { identity, is_proven: true, gap: None, .. } if identity.id == newest.id => {
                self.begin_epoch(newest);
                self.is_known_under(ProducerStamp { id: newest.id, epoch: newest.epoch, base_sequence: 0 });
            }
            Sequences::Epoch { .. } | Sequences::None => self.begin_epoch(newest),
        }
    }

    /// Begins an epoch: all waiting batches are renumbered.
    pub(super) fn begin_epoch(&mut self, identity: ProducerIdentity) {
        self.sequences = Sequences::Epoch { identity, next: 0, is_proven: false, gap: None };
        let mut retries = mem::take(&mut self.retries);
        for shipment in &mut retries {
            (shipment.stamp, shipment.place) = self.number(shipment.batch.sealed.count());
        }
        self.retries = retries;
    }

    /// Numbers a batch that is sent for the first time.
    pub(super) fn numbered(&mut self, batch: Batch) -> Shipment {
        let (stamp, place) = self.number(batch.sealed.count());
        Shipment::new(batch, stamp, place)
    }

    /// The sequence and the place of the next batch.
    fn number(&mut self, count: i32) -> (ProducerStamp, u64) {
        let place = self.numbered;
        self.numbered = place.saturating_add(1);
        (self.stamp(count), place)
    }

    fn stamp(&mut self, count: i32) -> ProducerStamp {
        let Sequences::Epoch { identity, next, .. } = &mut self.sequences else { return ProducerStamp::NONE };
        let stamp = ProducerStamp { id: identity.id, epoch: identity.epoch, base_sequence: *next };
        *next = next_sequence(*next, count);
        stamp
    }

    /// Notes that the leader has a batch of this epoch.
    pub(super) fn proven(&mut self, now: Instant, shipment: &Shipment) {
        if shipment.place >= self.first_of_topic {
            self.proven_at = Some(now);
            self.is_known_under(shipment.stamp);
        }
    }

    fn is_known_under(&mut self, stamp: ProducerStamp) {
        if let Sequences::Epoch { identity, is_proven, .. } = &mut self.sequences
            && (identity.id, identity.epoch) == (stamp.id, stamp.epoch)
        {
            *is_proven = true;
        }
    }

    /// Gives up a batch. Batches behind it cannot be written under their sequences.
    pub(super) fn gap(&mut self, shipment: &Shipment, how: GivenUp) {
        let stamp = shipment.stamp;
        if let Sequences::Epoch { identity, gap, .. } = &mut self.sequences
            && (identity.id, identity.epoch) == (stamp.id, stamp.epoch)
        {
            let gap = gap.get_or_insert_default();
            gap.may_miss_one |= how == GivenUp::UnknownOutcome;
            if how == GivenUp::NotWritten {
                gap.hole = Some(gap.hole.map_or(shipment.place, |hole| hole.min(shipment.place)));
            }
        }
    }

    /// Whether a broker that calls this batch out of order may lack an earlier one. If not, the broker may have written this one
    /// and forgotten it.
    pub(super) fn may_miss_one_before(&self, shipment: &Shipment) -> bool {
        let Sequences::Epoch { gap, .. } = &self.sequences else { return false };
        let gap = gap.unwrap_or_default();
        gap.may_miss_one
            || gap.hole.is_some_and(|hole| hole < shipment.place)
            || !self.is_first(&shipment.batch.info)
    }

    /// Whether none of the earlier batches is in flight or waits to be sent again.
    pub(super) fn is_first(&self, info: &BatchInfo) -> bool {
        self.in_flight.iter().chain(&self.retries).all(|shipment| shipment.batch.info.order >= info.order)
    }

    /// Takes a batch from those in flight.
    pub(super) fn take_in_flight(&mut self, serial: Serial) -> Option<Shipment> {
        let at = self.in_flight.iter().position(|shipment| shipment.batch.info.serial == serial)?;
        self.in_flight.remove(at)
    }

    /// Takes a batch from those that wait to be sent again. Its sequence is then missing.
    pub(super) fn take_retry(&mut self, serial: Serial) -> Option<Shipment> {
        let at = self.retries.iter().position(|shipment| shipment.batch.info.serial == serial)?;
        let shipment = self.retries.remove(at)?;
        self.gap(&shipment, GivenUp::unknown_if(shipment.may_be_written));
        Some(shipment)
    }

    /// Takes all batches that wait to be sent again. Their sequences are then missing.
    pub(super) fn take_retries(&mut self) -> VecDeque<Shipment> {
        let retries = mem::take(&mut self.retries);
        for shipment in &retries {
            self.gap(shipment, GivenUp::unknown_if(shipment.may_be_written));
        }
        retries
    }

    /// Queues a batch to be sent again, in the order of the batches.
    pub(super) fn send_again(&mut self, shipment: Shipment) {
        let order = shipment.batch.info.order;
        let at = self.retries.iter().position(|other| other.batch.info.order > order);
        self.retries.insert(at.unwrap_or(self.retries.len()), shipment);
    }

    /// Marks a batch in flight whose failure was reported.
    pub(super) fn abandon(&mut self, serial: Serial) -> Option<BatchInfo> {
        let shipment = self.in_flight.iter_mut().find(|shipment| shipment.batch.info.serial == serial)?;
        shipment.is_abandoned = true;
        Some(shipment.batch.info.clone())
    }

    /// Takes all batches whose outcome was not reported, each with the bytes that it holds and whether it may be written.
    pub(super) fn end_all(&mut self) -> Vec<(BatchInfo, usize, bool)> {
        let in_flight = mem::take(&mut self.in_flight).into_iter().map(|shipment| (shipment, true));
        let retries = mem::take(&mut self.retries).into_iter().map(|shipment| {
            let may_be_written = shipment.may_be_written;
            (shipment, may_be_written)
        });
        let all = in_flight.chain(retries);
        all.map(|(shipment, may)| (shipment.batch.info.clone(), shipment.batch.held(), may)).collect()
    }
}
