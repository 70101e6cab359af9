//! Finds the partition whose batch is larger than the largest accepted response
//! (`receive.message.max.bytes`).
//!
//! Brokers send a first batch whole, however large (KIP-74). A response that was not read does not show whose
//! batch it was, so all partitions of the request are candidates. Each is fetched alone, for one batch, until
//! the oversized batch is found: its partition stops (FAILURES I10), and the others are fetched as before
//! (FAILURES I12). Each round begins with a pause, and the pauses grow while the rounds find nothing
//! (FAILURES SAFE15).

use std::time::Instant;

use offtake_machine::{BrokerId, CallError};

use super::{Fetcher, response::REPORT_AFTER};
use crate::{BrokerError, Event, PartitionError, node::NodeCall};

impl Fetcher {
    /// Handles a response of `size` bytes that was not read, because it exceeds `limit`.
    pub(super) fn too_large(
        &mut self,
        now: Instant,
        broker: BrokerId,
        error: CallError,
        size: usize,
        limit: usize,
    ) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        node.session.restart(); // its connection is closed
        let Some(found) = node.oversize_candidates.pop_front() else {
            return self.probe_each(now, broker, error);
        };
        node.oversize_candidates.clear();
        node.backoff.reset();
        let asked = node.session.entry(&found);
        let Some(partition) = self.partitions.get(&found) else { return };
        if asked.is_some_and(|entry| partition.awaits(&entry, broker)) {
            let offset = partition.position.offset;
            self.failed(&found, PartitionError::TooLarge { offset, size, limit });
        } // otherwise it was sought or moved meanwhile, and the next round decides
    }

    /// Begins with the partitions known to have records.
    fn probe_each(&mut self, now: Instant, broker: BrokerId, error: CallError) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        let (ahead, level): (Vec<_>, Vec<_>) = node.wanted.iter().cloned().partition(|tp| {
            let known = self.partitions.get(tp).and_then(|it| Some((it.position, it.watermarks?)));
            known.is_some_and(|(position, watermarks)| position.offset < watermarks.high)
        });
        node.oversize_candidates = ahead.into_iter().chain(level).collect();
        node.call = NodeCall::not_before(now + node.backoff.next_wait());
        if node.backoff.failures() >= REPORT_AFTER && !std::mem::replace(&mut node.reported, true) {
            self.events.push_back(Event::BrokerFailing { broker, error: BrokerError::Call(error) });
        }
    }
}
