//! How the consumer fares, for those who have a handle.

use std::collections::BTreeMap;

use offtake_machine::TopicPartition;

use super::Handle;
use crate::{
    clock,
    health::{Health, Unfinished},
};

impl Handle {
    /// How the consumer fares. Cheap, and asks nobody: also from a probe that comes every second.
    pub fn health(&self) -> Health {
        let now = clock::now();
        let is_running = !self.inbox.is_gone() && !self.commands.is_closed();
        let unfinished = self.ledgers.as_ref().map(|ledgers| ledgers.unfinished(now)).unwrap_or_default();
        let oldest_unfinished = unfinished.values().map(|unfinished| unfinished.age).max();
        self.vitals.health(now, is_running, self.config.max_poll_interval, oldest_unfinished)
    }

    /// The records that were handed out and are not finished, by partition. Empty for a consumer whose records are not finished
    /// [one by one](crate::Builder::finish_each).
    pub fn unfinished(&self) -> BTreeMap<TopicPartition, Unfinished> {
        self.ledgers.as_ref().map(|ledgers| ledgers.unfinished(clock::now())).unwrap_or_default()
    }
}
