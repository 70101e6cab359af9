//! Handles the error of one partition in the response to a Fetch.

use std::time::Instant;

use offtake_machine::{Broker, BrokerId, TopicPartition};
use offtake_wire::{
    ErrorCode,
    messages::fetch::{NodeEndpoint, PartitionData},
};

use super::{
    Fetcher,
    response::{REPORT_AFTER, Reply},
};
use crate::{Event, PartitionError, partition::State, session::Entry};

/// After this many consecutive refusals of our leader epoch the engine is notified. A broker that has just
/// become leader learns of it within moments.
const REPORT_UNKNOWN_EPOCH_AFTER: u32 = 10;

/// The consequence of a partition's error code.
enum Remedy {
    /// `offsets` must find another position.
    Reset,
    /// The leader may be another broker: refresh the metadata.
    FindLeader,
    /// Retry after a pause.
    Wait,
    /// The same; if it lasts, our metadata may describe a log that is gone.
    DoubtEpoch,
    /// Retry after a pause; report it if it lasts.
    WaitThenReport,
    /// Retry after a pause; report it at once, as only an operator can resolve it.
    Refused,
}

fn remedy(code: ErrorCode) -> Remedy {
    match code {
        ErrorCode::OffsetOutOfRange => Remedy::Reset,
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::NewLeaderElected
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::KafkaStorageError
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId
        | ErrorCode::FetchSessionTopicIdError => Remedy::FindLeader,
        // The broker's high watermark is behind its own log.
        ErrorCode::OffsetNotAvailable => Remedy::Wait,
        // The broker is behind our metadata.
        ErrorCode::UnknownLeaderEpoch => Remedy::DoubtEpoch,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::InvalidTopicException
        | ErrorCode::UnsupportedCompressionType => Remedy::Refused,
        _ => Remedy::WaitThenReport,
    }
}

impl Fetcher {
    /// Retries after a pause; reports the error when that has happened several times in a row.
    pub(super) fn fail_after_retries(&mut self, now: Instant, tp: &TopicPartition, error: PartitionError) {
        let Some(partition) = self.back_off(now, tp) else { return };
        partition.no_progress_responses = partition.no_progress_responses.saturating_add(1);
        if partition.no_progress_responses >= REPORT_AFTER {
            self.failed(tp, error);
        }
    }

    /// Reports the error, and stops the partition if a retry cannot help.
    pub(super) fn failed(&mut self, tp: &TopicPartition, error: PartitionError) {
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if error.stops() {
            partition.state = State::Stopped;
        }
        self.events.push_back(Event::PartitionFailed {
            partition: tp.clone(),
            token: partition.token,
            position: partition.position,
            error,
        });
        self.reschedule(tp);
    }

    /// The partition's response is an error.
    pub(super) fn on_partition_error(
        &mut self,
        reply: &Reply<'_>,
        tp: &TopicPartition,
        entry: Entry,
        data: &PartitionData,
    ) {
        let Reply { now, broker, endpoints, .. } = *reply;
        let Some(partition) = self.partitions.get_mut(tp) else { return };
        if partition.leader != Some(broker) {
            // After an error of a replica the leader is asked, mainly for the start and the end of the log
            // (FAILURES I9).
            return self.back_to_leader(now, tp);
        }
        match remedy(data.error_code) {
            Remedy::Reset if entry.last_fetched_epoch.is_some() => {
                // A leader that does not know the epoch of our last record refuses even a valid position
                // (FAILURES L4).
                partition.send_epoch = false;
            }
            Remedy::Reset => self.out_of_range(tp),
            Remedy::FindLeader => {
                if !self.report_leader_hint(tp, data, endpoints) {
                    self.refresh = true;
                }
                self.back_off(now, tp);
            }
            Remedy::Wait => {
                self.back_off(now, tp);
            }
            Remedy::DoubtEpoch => {
                let Some(partition) = self.back_off(now, tp) else { return };
                partition.unknown_epochs = partition.unknown_epochs.saturating_add(1);
                let (times, code) = (partition.unknown_epochs, data.error_code);
                let tells =
                    times >= REPORT_UNKNOWN_EPOCH_AFTER && !std::mem::replace(&mut partition.reported, true);
                self.refresh |= times >= REPORT_AFTER;
                if tells {
                    self.failed(tp, PartitionError::Refused(code));
                }
            }
            remedy @ (Remedy::WaitThenReport | Remedy::Refused) => {
                let tell = if matches!(remedy, Remedy::Refused) { 1 } else { REPORT_AFTER };
                if let Some(partition) = self.back_off(now, tp)
                    && partition.backoff.failures() >= tell
                    && !std::mem::replace(&mut partition.reported, true)
                {
                    self.failed(tp, PartitionError::Refused(data.error_code));
                }
                self.refresh = true;
            }
        }
        self.reschedule(tp);
    }

    /// Reports the leader that the broker names, if any (KIP-951); false if it is not newer than the known
    /// one.
    fn report_leader_hint(
        &mut self,
        tp: &TopicPartition,
        data: &PartitionData,
        endpoints: &[NodeEndpoint],
    ) -> bool {
        let Some(partition) = self.partitions.get(tp) else { return false };
        let Some(hint) = &data.current_leader else { return false };
        let Some(leader) = BrokerId::known(hint.leader_id) else { return false };
        if Some(hint.leader_epoch) <= partition.leader_epoch.or(Some(-1)) {
            return false;
        }
        let address = endpoints
            .iter()
            .find(|endpoint| endpoint.node_id == hint.leader_id)
            .and_then(|at| Broker::at(at.host.clone(), at.port, at.rack.clone()));
        self.events.push_back(Event::LeaderHint {
            partition: tp.clone(),
            leader,
            epoch: hint.leader_epoch,
            address,
        });
        true
    }
}
