//! Records of `finish_each` that are not finished: each holds back the commits of its partition, and nothing
//! else shows it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::TopicPartition;

use super::Engine;
use crate::{event::Event, health::Unfinished, ledgers::Ledgers};

/// How often the engine looks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How many partitions get a line of their own at one look.
const MOST_LINES: usize = 10;

#[derive(Debug)]
pub(super) struct UnfinishedWatch {
    ledgers: Arc<Ledgers>,
    next_look: Instant,
    /// When each partition was last reported, while it has unfinished records.
    told: BTreeMap<TopicPartition, Instant>,
}

impl UnfinishedWatch {
    pub(super) fn new(now: Instant, ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers, next_look: now + CHECK_INTERVAL, told: BTreeMap::new() }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.next_look
    }

    /// The partitions to report now: those with records unfinished for longer than `limit`, or with a dropped
    /// ticket; each once in that time.
    fn look(&mut self, now: Instant, limit: Duration) -> Vec<(TopicPartition, Unfinished)> {
        if now < self.next_look {
            return Vec::new();
        }
        self.next_look = now + CHECK_INTERVAL;
        let open = self.ledgers.unfinished(now);
        self.told.retain(|partition, _| open.contains_key(partition));
        let mut late = Vec::new();
        for (partition, unfinished) in open {
            let is_late = unfinished.age >= limit || unfinished.dropped.is_some();
            let told = self.told.get(&partition);
            if is_late && told.is_none_or(|at| now.saturating_duration_since(*at) >= limit) {
                self.told.insert(partition.clone(), now);
                late.push((partition, unfinished));
            }
        }
        late
    }
}

impl Engine {
    pub(super) fn watch_unfinished(&mut self, now: Instant) {
        let limit = self.config.max_poll_interval;
        let Some(watch) = &mut self.unfinished else { return };
        let late = watch.look(now, limit);
        for (partition, Unfinished { count, first, age, dropped }) in late.iter().take(MOST_LINES) {
            match dropped {
                Some(offset) => tracing::warn!(%partition, offset, count,
                    "the ticket of the record at offset {offset} of {partition} was dropped without finishing it: nothing from there \
                     on can be committed (the first record that is not finished was handed out {:.0} s ago)", age.as_secs_f64()),
                None => tracing::warn!(%partition, offset = first, count,
                    "the record at offset {first} of {partition} was handed out {:.0} s ago and is not finished: nothing from there \
                     on can be committed", age.as_secs_f64()),
            }
        }
        if let more @ 1.. = late.len().saturating_sub(MOST_LINES) {
            tracing::warn!("{more} more partitions have records that are not finished");
        }
        for (partition, Unfinished { count, first, age, dropped }) in late {
            let (offset, ticket_dropped) = (dropped.unwrap_or(first), dropped.is_some());
            self.reporter.report(|| Event::Unfinished { partition, offset, age, count, ticket_dropped });
        }
    }
}
