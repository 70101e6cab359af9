//! The consumer's health, through a handle.

use std::collections::BTreeMap;

use offtake_machine::TopicPartition;

use super::Handle;
use crate::{
    clock,
    health::{Health, Unfinished},
};

impl Handle {
    /// The consumer's health. Cheap, and sends no message: also for a probe every second.
    pub fn health(&self) -> Health {
        let now = clock::now();
        let is_running = !self.inbox.is_gone() && !self.commands.is_closed();
        let unfinished = self.ledgers.as_ref().map(|ledgers| ledgers.unfinished(now)).unwrap_or_default();
        let oldest_unfinished = unfinished.values().map(|unfinished| unfinished.age).max();
        self.vitals.health(now, is_running, self.config.max_poll_interval, oldest_unfinished)
    }

    /// The records that were handed out and are not finished, by partition. Empty unless records are finished
    /// [one by one](crate::Builder::finish_each).
    pub fn unfinished(&self) -> BTreeMap<TopicPartition, Unfinished> {
        self.ledgers.as_ref().map(|ledgers| ledgers.unfinished(clock::now())).unwrap_or_default()
    }
}
