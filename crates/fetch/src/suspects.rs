//! Whose batch is larger than what we read of an answer (`receive.message.max.bytes`).
//!
//! Brokers send a first batch whole, however large (KIP-74). An answer that was not read does not tell whose it was, so
//! all that the broker was asked for are suspects. Each is asked for alone, for one batch, until one of them has it: that
//! one stops (I10), and the others flow on as before (I12). Each round begins with a pause, and the pauses grow while the
//! rounds find nobody (S15).

use std::time::Instant;

use offtake_machine::{BrokerId, Call, CallError};

use crate::{BrokerError, Event, Fetcher, PartitionError, answer::TELLING};

impl Fetcher {
    /// An answer of `size` bytes was not read, for the most is `limit`.
    pub(crate) fn too_large(
        &mut self,
        now: Instant,
        broker: BrokerId,
        error: CallError,
        size: usize,
        limit: usize,
    ) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        node.session.restart(); // its connection is gone
        let Some(found) = node.suspects.pop_front() else {
            return self.suspect_all(now, broker, error);
        };
        node.suspects.clear();
        node.backoff.reset();
        let asked = node.session.entry(&found);
        let Some(partition) = self.partitions.get(&found) else { return };
        if asked.is_some_and(|entry| partition.awaits(&entry, broker)) {
            let offset = partition.position.offset;
            self.failed(&found, PartitionError::TooLarge { offset, size, limit });
        } // else it was sought or moved meanwhile: whose it is now will show
    }

    /// Those first that are known to have records.
    fn suspect_all(&mut self, now: Instant, broker: BrokerId, error: CallError) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        let (ahead, level): (Vec<_>, Vec<_>) = node.wanted.iter().cloned().partition(|tp| {
            let known = self.partitions.get(tp).and_then(|it| Some((it.position, it.watermarks?)));
            known.is_some_and(|(position, watermarks)| position.offset < watermarks.high)
        });
        node.suspects = ahead.into_iter().chain(level).collect();
        node.call = Call::Due(now + node.backoff.next_wait());
        if node.backoff.failures() >= TELLING && !std::mem::replace(&mut node.announced, true) {
            self.events.push_back(Event::BrokerFailing { broker, error: BrokerError::Call(error) });
        }
    }
}
