//! Validation of a client's batch before it is appended.

use kafka_protocol::error::ResponseError;

use super::{
    batch::{Batch, Header, UnpackError},
    compression::Codec,
    records::Entry,
    replica::{cleans_by, number},
};
use crate::topics::Topic;

/// The topic's requirements for a batch.
#[derive(Debug)]
pub(super) struct Rules {
    largest: i64,
    segment: i64,
    compacted: bool,
    pub(super) log_append_time: bool,
    before: i64,
    after: i64,
    codec: Option<Codec>,
}

/// The reason why a batch is not appended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ResponseError,
    /// Invalid records by their index in the batch, each with its error.
    pub(super) records: Vec<(i32, &'static str)>,
    pub(super) message: Option<&'static str>,
}

impl From<ResponseError> for Refusal {
    fn from(code: ResponseError) -> Self {
        Self { code, records: Vec::new(), message: None }
    }
}

impl Rules {
    pub(super) fn of(topic: &Topic, max_message_bytes: i32) -> Self {
        let set = |name| topic.configs.get(name).map(String::as_str);
        Self {
            largest: number(topic, "max.message.bytes", i64::from(max_message_bytes)),
            segment: number(topic, "segment.bytes", 1 << 30),
            compacted: cleans_by(topic, "compact"),
            log_append_time: set("message.timestamp.type") == Some("LogAppendTime"),
            before: number(topic, "message.timestamp.before.max.ms", i64::MAX),
            after: number(topic, "message.timestamp.after.max.ms", 3_600_000),
            codec: set("compression.type").and_then(Codec::named),
        }
    }

    /// The batch to append: with the timestamps and the codec that the topic wants.
    pub(super) fn admit(&self, batch: Batch, now: i64) -> Result<Batch, Refusal> {
        let header = batch.header;
        if header.base_offset != 0 {
            return Err(ResponseError::InvalidRecord.into());
        }
        self.fits(&batch)?;
        if !batch.is_whole() {
            return Err(ResponseError::CorruptMessage.into());
        }
        let source = Codec::of(header.attributes).ok_or(ResponseError::UnknownServerError)?;
        check_header(&header)?;
        let entries = batch.entries().map_err(|unpack| match unpack {
            // Kafka has no code for records that cannot be decompressed.
            UnpackError::Codec => ResponseError::UnknownServerError,
            UnpackError::Records => ResponseError::InvalidRecord,
        })?;
        self.check_entries(&header, &entries, now)?;

        let wanted = self.codec.unwrap_or(source);
        let misplaced = || entries.iter().zip(0_i32..).any(|(entry, at)| entry.offset_delta != at);
        let rebuilt = wanted != source || (source != Codec::None && misplaced());
        let batch = if rebuilt {
            let batch = rebuild(&header, entries.clone(), wanted).ok_or(ResponseError::UnknownServerError)?;
            self.fits(&batch)?;
            batch
        } else {
            batch
        };
        if batch.size() as i64 > self.segment {
            return Err(ResponseError::RecordListTooLarge.into());
        }
        let latest = entries.iter().map(|entry| header.timestamp_of(entry)).max().unwrap_or(-1).max(-1);
        Ok(batch.timed(self.log_append_time, if self.log_append_time { now } else { latest }))
    }

    fn fits(&self, batch: &Batch) -> Result<(), Refusal> {
        if batch.size() as i64 > self.largest {
            return Err(ResponseError::MessageTooLarge.into());
        }
        Ok(())
    }

    fn check_entries(&self, header: &Header, entries: &[Entry], now: i64) -> Result<(), Refusal> {
        let mut records = Vec::new();
        let mut code = ResponseError::InvalidRecord;
        for (entry, at) in entries.iter().zip(0_i32..) {
            let timestamp = header.timestamp_of(entry);
            if self.compacted && entry.key.is_none() {
                records.push((at, "a compacted topic takes no record without a key"));
            } else if !self.log_append_time && timestamp != -1 {
                let distance = timestamp.saturating_sub(now);
                if distance > self.after || distance < self.before.saturating_neg() {
                    code = ResponseError::InvalidTimestamp;
                    records.push((at, "the timestamp is too far from the broker's time"));
                }
            } else if header.is_log_append_time() {
                code = ResponseError::InvalidTimestamp;
                records.push((at, "a producer may not claim the time of appending"));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        Err(Refusal { code, records, message: Some("one or more records were rejected") })
    }
}

fn check_header(header: &Header) -> Result<(), Refusal> {
    let sound = header.last_delta >= 0
        && header.count > 0
        && i64::from(header.count) == i64::from(header.last_delta) + 1
        && !header.is_control()
        && !(header.has_producer() && header.base_sequence < 0);
    if sound { Ok(()) } else { Err(ResponseError::InvalidRecord.into()) }
}

/// The same records in another codec, or with corrected offsets.
fn rebuild(header: &Header, mut entries: Vec<Entry>, codec: Codec) -> Option<Batch> {
    for (entry, at) in entries.iter_mut().zip(0_i32..) {
        entry.offset_delta = at;
    }
    let attributes = (header.attributes & !7) | codec.bits();
    Batch::build(Header { attributes, ..*header }, &entries)
}
