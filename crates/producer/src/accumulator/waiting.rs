//! Records that wait for their place: for the metadata of their topic, or for memory.

use std::{sync::Arc, time::Instant};

use offtake_client::{Error, ErrorKind, Result};
use offtake_machine::{Topic, after};

use super::{Accumulator, append::Found, topics::TopicId};
use crate::{
    ProducerRecord,
    delivery::{Delivery, PendingAppend},
    record::OwnedRecord,
};

/// A record that waits for its place in a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its number among all records that ever waited.
    pub(super) number: u64,
    /// An upper bound of the bytes that it takes in a batch.
    pub(super) bytes: usize,
    pub(super) until: Instant,
    pub(super) topic: TopicId,
    pub(super) name: Topic,
    pub(super) record: OwnedRecord,
    pub(super) pending: Arc<PendingAppend>,
}

impl Accumulator {
    /// Keeps a record that has no place yet.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        topic: TopicId,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        bytes: usize,
        for_topic: bool,
    ) -> Result<Delivery> {
        if self.waiting_bytes.saturating_add(bytes) > self.limits.buffer_memory && self.waiting_bytes > 0 {
            let text = format!(
                "`buffer.memory` ({} bytes) is full, and as much waits for it already: await what was sent before sending more",
                self.limits.buffer_memory
            );
            // A transaction of this size would fail again.
            let kind = if self.limits.is_transactional { ErrorKind::Misuse } else { ErrorKind::Timeout };
            return Err(Error::new(kind, text));
        }
        if self.limits.max_block.is_zero() {
            if for_topic {
                self.topics.want_news(); // for the next attempt
            }
            return Err(self.blocked(topic, record.topic, for_topic));
        }
        let pending = Arc::new(PendingAppend::default());
        let number = self.next_waiting;
        self.next_waiting = number.saturating_add(1);
        let waiting = Waiting {
            number,
            bytes,
            until: after(now, self.limits.max_block),
            topic,
            name: self.topics.name(topic).unwrap_or_else(|| Topic::from(record.topic)),
            record: OwnedRecord::new(record, timestamp),
            pending: pending.clone(),
        };
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        // The engine has to set a timer for the end of the wait, and to send open batches to make room.
        self.wants_engine = true;
        if for_topic {
            self.topics.wait(waiting);
        } else {
            self.waiting.push_back(waiting);
        }
        Ok(Delivery::waiting(pending))
    }

    pub(super) fn blocked(&self, id: TopicId, topic: &str, for_topic: bool) -> Error {
        let waited = self.limits.max_block.as_millis();
        let (kind, text) = if !for_topic {
            let limit = self.limits.buffer_memory;
            let text = format!(
                "`buffer.memory` ({limit} bytes) stayed full: records come faster than they are written"
            );
            (ErrorKind::Timeout, text)
        } else if let Ok(Some(partitions)) = self.topics.partitions(id) {
            let text =
                format!("the record names a partition that topic {topic} does not have: it has {partitions}");
            (ErrorKind::UnknownTopic, text)
        } else if self.topics.is_missing(id) {
            (
                ErrorKind::UnknownTopic,
                format!("topic {topic} does not exist, and the brokers did not create it"),
            )
        } else {
            let text = format!(
                "no metadata of topic {topic} from any broker: check that `bootstrap.servers` can be reached"
            );
            (ErrorKind::Timeout, text)
        };
        Error::new(kind, format!("{text} ({waited} ms, `max.block.ms`)"))
    }

    /// Gives waiting records their places, in order, as long as there is memory.
    pub(super) fn place_waiting(&mut self, now: Instant) {
        while let Some(first) = self.waiting.pop_front() {
            let record = first.record.borrow(first.name.as_str());
            let found = self.find(first.topic, &record, first.bytes);
            let position = match found {
                Ok(Found::NoMemory) => {
                    drop(record);
                    self.waiting.push_front(first);
                    return;
                }
                Ok(Found::UnknownTopic) => {
                    drop(record);
                    self.topics.wait(first);
                    continue;
                }
                Ok(Found::Slot(slot)) => self
                    .put(|| now, first.topic, slot, &record, first.record.timestamp, first.bytes, false)
                    .map(|(position, _)| position),
                Err(error) => Err(error),
            };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(first.bytes);
            if let Err(error) = &position {
                self.note_fault(error);
            }
            self.completed.add(first.pending, position);
        }
    }

    /// Fails records that have waited for `max.block.ms`.
    pub(crate) fn expire_waiting(&mut self, now: Instant) {
        let mut expired = self.topics.take_expired(now);
        let for_topic = expired.len();
        while self.waiting.front().is_some_and(|first| first.until <= now) {
            expired.extend(self.waiting.pop_front());
        }
        for (at, waiting) in expired.into_iter().enumerate() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
            let error = self.blocked(waiting.topic, waiting.name.as_str(), at < for_topic);
            self.note_fault(&error);
            self.completed.add(waiting.pending, Err(error));
        }
    }
}
