//! Combinations of properties that exclude one another; Java's client refuses the same ones.

use super::{Acks, Config, Properties};

/// The number of batches of a partition that a broker remembers, to recognize duplicates (KIP-98).
const MOST_IN_FLIGHT: usize = 5;

impl Config {
    pub(super) fn find_conflicts(&self) -> Vec<String> {
        let mut conflicts = self.client.conflicts();
        if self.enable_idempotence && self.is_given("enable.idempotence") {
            conflicts.extend(self.excludes_idempotence());
        }
        if self.transactional_id.is_some() && !self.is_idempotent() {
            let why = self.excludes_idempotence().into_iter().next();
            let why = why.unwrap_or_else(|| "it is set to false".to_owned());
            conflicts.push(format!("`transactional.id` needs `enable.idempotence=true`: {why}"));
        }
        if self.transactional_id.is_some() && self.max_block.is_zero() {
            let text = "`transactional.id` needs `max.block.ms` above 0: transactions are begun and ended within that";
            conflicts.push(text.to_owned());
        }
        if self.max_in_flight_requests == 0 {
            conflicts.push("`max.in.flight.requests.per.connection` must be 1 at least".to_owned());
        }
        let least = self.linger.saturating_add(self.client.request_timeout);
        if self.total_timeout() < least {
            conflicts.push(format!(
                "`delivery.timeout.ms` ({}) must be at least `linger.ms` and `request.timeout.ms` together ({})",
                self.delivery_timeout.as_millis(),
                least.as_millis()
            ));
        }
        if self.max_request_size == 0 || self.buffer_memory == 0 {
            conflicts.push("`max.request.size` and `buffer.memory` must be 1 at least".to_owned());
        }
        conflicts
    }

    /// The reasons why this producer cannot be idempotent, one sentence each.
    pub(super) fn excludes_idempotence(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.acks != Acks::All {
            why.push(format!("`enable.idempotence=true` needs `acks=all`, not {}", self.acks));
        }
        if self.retries == 0 {
            why.push("`enable.idempotence=true` needs `retries` above 0".to_owned());
        }
        if self.max_in_flight_requests > MOST_IN_FLIGHT {
            why.push(format!(
                "`enable.idempotence=true` needs `max.in.flight.requests.per.connection` of {MOST_IN_FLIGHT} at most: \
                 a broker remembers so many batches"
            ));
        }
        why
    }
}
