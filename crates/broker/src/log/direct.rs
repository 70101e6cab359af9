//! Direct changes to a log, by a test or a rule.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::{
    batch::{Batch, Header},
    records::Entry,
    validate::Rules,
};
use crate::{kafka::KafkaError, model::Model};

/// One record for [`Model::append_records`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewRecord {
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` makes a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

impl NewRecord {
    /// A record with this value and the current time, without key and headers.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record without a value: it deletes the key where the topic is compacted.
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// Sets the key.
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// Sets the time, in milliseconds since 1970.
    pub fn timestamp(self, timestamp: i64) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }
}

impl Model {
    /// Appends records as one batch, without a producer. Returns the offset of the first, or the error with which a
    /// Produce of these records would be refused.
    pub fn append_records(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[NewRecord],
    ) -> Result<i64, KafkaError> {
        self.append_unproduced(topic, partition, records).map_err(KafkaError::new)
    }

    fn append_unproduced(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[NewRecord],
    ) -> Result<i64, ResponseError> {
        let now = self.wall_ms();
        let found = self.topics.partition(topic, partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let leader = found.leader.ok_or(ResponseError::NotLeaderOrFollower)?;
        let configured = self.topics.all.get(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let rules = Rules::of(configured, self.config.max_message_bytes);
        let batch = build_batch(records, now).ok_or(ResponseError::InvalidRecord)?;
        let batch = rules.admit(batch, now).map_err(|refusal| refusal.code)?;
        let found = self.replica(leader, (topic, partition), -1, true)?;
        let epoch = found.leader_epoch;
        let appended = found.log.append(&batch, epoch, false)?;
        self.appended(topic, partition, appended.first, appended.last);
        Ok(appended.first)
    }

    /// Keeps the last record of each key, as a run of the log cleaner over the whole stable part. Offsets stay.
    pub fn compact(&mut self, topic: &str, partition: i32) {
        if let Some(found) = self.topics.partition_mut(topic, partition) {
            found.log.compact();
            self.wake_fetches(topic, partition);
        }
    }

    /// Moves the start of a log, at most up to its high watermark; it never moves back. Returns the new start.
    pub fn delete_records_before(&mut self, topic: &str, partition: i32, offset: i64) -> Option<i64> {
        let log = &mut self.topics.partition_mut(topic, partition)?.log;
        log.move_start(offset.min(log.high_watermark()));
        let start = log.start();
        self.wake_fetches(topic, partition);
        Some(start)
    }

    /// Removes everything from this offset on from a log, as an unclean election does; batches that begin before it and
    /// reach beyond it are removed too. Give the partition a new leader epoch as well, or clients will not notice.
    /// Returns the new end of the log.
    pub fn truncate_to(&mut self, topic: &str, partition: i32, offset: i64) -> Option<i64> {
        let log = &mut self.topics.partition_mut(topic, partition)?.log;
        log.truncate(offset);
        let end = log.end();
        self.wake_fetches(topic, partition);
        Some(end)
    }

    /// Keeps a high watermark from passing this offset; `None` releases it. The offset should be the beginning of a
    /// batch: a batch that it cuts is not returned at all. Produce with `acks=-1` waits for it.
    pub fn hold_high_watermark(&mut self, topic: &str, partition: i32, offset: Option<i64>) {
        if let Some(found) = self.topics.partition_mut(topic, partition) {
            found.log.held = offset;
            found.log.forget_ended();
            self.wake_fetches(topic, partition);
        }
    }

    /// Keeps a follower's log from growing beyond `end` and its high watermark from passing `high_watermark` (KIP-392);
    /// `None` for both releases it.
    pub fn hold_follower(
        &mut self,
        (topic, partition): (&str, i32),
        broker: i32,
        end: Option<i64>,
        high_watermark: Option<i64>,
    ) {
        if let Some(found) = self.topics.partition_mut(topic, partition) {
            if end.is_none() && high_watermark.is_none() {
                found.log.lags.remove(&broker);
            } else {
                found.log.lags.insert(broker, super::FollowerLimit { end, high_watermark });
            }
            found.log.forget_ended();
            self.wake_fetches(topic, partition);
        }
    }

    /// The records of a log, each with its offset: committed, open and aborted ones alike, without markers.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<(i64, NewRecord)> {
        let Some(found) = self.topics.partition(topic, partition) else { return Vec::new() };
        let batches = found.log.batches.iter().map(|stored| &stored.batch);
        let mut records = Vec::new();
        for batch in batches.filter(|batch| !batch.header.is_control()) {
            for entry in batch.entries().unwrap_or_default() {
                let offset = batch.header.base_offset.saturating_add(i64::from(entry.offset_delta));
                let text = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
                let record = NewRecord {
                    headers: entry.headers.iter().map(|(name, value)| (text(name), value.clone())).collect(),
                    timestamp: Some(batch.header.base_timestamp.saturating_add(entry.timestamp_delta)),
                    key: entry.key,
                    value: entry.value,
                };
                records.push((offset, record));
            }
        }
        records
    }

    /// How many batches the cleaner has left without a record.
    pub fn empty_batches(&self, topic: &str, partition: i32) -> usize {
        let Some(found) = self.topics.partition(topic, partition) else { return 0 };
        let batches = found.log.batches.iter().map(|stored| &stored.batch);
        batches.filter(|batch| batch.entries().is_ok_and(|entries| entries.is_empty())).count()
    }

    /// The log start offset, the high watermark, and the log end offset.
    pub fn offsets_of(&self, topic: &str, partition: i32) -> Option<(i64, i64, i64)> {
        let log = &self.topics.partition(topic, partition)?.log;
        Some((log.start(), log.high_watermark(), log.end()))
    }
}

/// A batch of these records; `None` when there are none.
fn build_batch(records: &[NewRecord], now: i64) -> Option<Batch> {
    let time = |record: &NewRecord| record.timestamp.unwrap_or(now);
    let base_timestamp = time(records.first()?);
    let entry = |(record, at): (&NewRecord, i32)| Entry {
        timestamp_delta: time(record).saturating_sub(base_timestamp),
        offset_delta: at,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().map(|(name, value)| (name.clone().into(), value.clone())).collect(),
    };
    let entries: Vec<Entry> = records.iter().zip(0_i32..).map(entry).collect();
    let header = Header {
        last_delta: i32::try_from(entries.len()).ok()?.checked_sub(1)?,
        base_timestamp,
        max_timestamp: records.iter().map(time).max()?,
        ..Header::plain()
    };
    Batch::build(header, &entries)
}
