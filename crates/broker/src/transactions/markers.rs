//! Markers: they carry the outcome of a transaction to its partitions.

use std::time::Instant;

use super::{State, TopicAndPartition};
use crate::{
    model::Model,
    nodes::partition_of,
    topics::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC},
};

/// A transaction whose markers are due.
struct Due {
    id: String,
    producer: i64,
    epoch: i16,
    commit: bool,
    left: Vec<TopicAndPartition>,
}

impl Model {
    /// Delays markers: transactions that end before `until` (by their producer, a timeout, or a new producer) are
    /// decided and answered, and their markers are written at `until`.
    pub fn hold_markers(&mut self, until: Instant) {
        self.transactions.held_until = Some(until);
    }

    /// Writes the markers that are due, as far as their partitions have leaders. The others wait until
    /// [`retry_markers`](Self::retry_markers).
    pub(super) fn write_markers(&mut self) {
        let now = self.now;
        let due = self.transactions.all.iter_mut().filter_map(|(id, transaction)| {
            let State::Ending { commit, left, due, .. } = &mut transaction.state else { return None };
            if due.is_none_or(|at| at > now) {
                return None;
            }
            *due = None;
            Some(Due {
                id: id.clone(),
                producer: transaction.producer,
                epoch: transaction.epoch,
                commit: *commit,
                left: left.iter().cloned().collect(),
            })
        });
        let due: Vec<Due> = due.collect();
        for ending in due {
            let mut written = Vec::new();
            for partition in &ending.left {
                if self.write_marker(&ending, partition) {
                    written.push(partition.clone());
                }
            }
            self.complete(&ending.id, &written);
        }
    }

    /// Writes markers that waited for a leader, as leaders changed.
    pub(crate) fn retry_markers(&mut self) {
        let now = self.now;
        for transaction in self.transactions.all.values_mut() {
            if let State::Ending { due, .. } = &mut transaction.state {
                due.get_or_insert(now);
            }
        }
        self.write_markers();
    }

    /// Whether the marker is written; also true when the partition is gone.
    fn write_marker(&mut self, ending: &Due, (topic, partition): &TopicAndPartition) -> bool {
        let coordinator = partition_of(&ending.id);
        let coordinator_epoch =
            self.topics.partition(TRANSACTIONS_TOPIC, coordinator).map_or(0, |at| at.leader_epoch);
        match self.topics.partition(topic, *partition) {
            Some(at) if !at.leader.is_some_and(|leader| self.nodes.is_up(leader)) => return false,
            Some(_) => {}
            None if topic == OFFSETS_TOPIC => {}
            None => return true,
        }
        self.append_marker(
            topic,
            *partition,
            ending.producer,
            ending.epoch,
            ending.commit,
            coordinator_epoch,
        );
        if topic == OFFSETS_TOPIC {
            let groups: Vec<String> =
                self.groups.all.keys().filter(|group| partition_of(group) == *partition).cloned().collect();
            for group in groups {
                self.end_transaction_in_group(&group, ending.producer, ending.commit);
            }
        }
        self.wake_fetches(topic, *partition);
        true
    }

    fn complete(&mut self, id: &str, written: &[TopicAndPartition]) {
        let Some(transaction) = self.transactions.all.get_mut(id) else { return };
        let State::Ending { commit, left, next, .. } = &mut transaction.state else { return };
        left.retain(|partition| !written.contains(partition));
        if !left.is_empty() {
            return;
        }
        transaction.previous = transaction.producer;
        if let Some(next) = next {
            transaction.producer = *next;
            transaction.epoch = 0;
        }
        transaction.state = State::Complete { commit: *commit };
    }
}
