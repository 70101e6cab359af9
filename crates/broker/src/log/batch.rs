//! Record batches (magic 2): the header by its field positions, and the records inside.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    compression::Codec,
    records::{Entry, parse, write},
};

/// The length of a batch's header.
pub(super) const HEADER: usize = 61;
/// Base offset and length: the bytes that the length field does not count.
const PREFIX: usize = 12;
const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;

/// One batch in a log, or about to be appended.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(super) bytes: Bytes,
    pub(super) header: Header,
}

/// The header's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) base_offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) count: i32,
}

impl Header {
    fn read(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER {
            return None;
        }
        let base_offset = bytes.get_i64();
        bytes.advance(4);
        let leader_epoch = bytes.get_i32();
        bytes.advance(1);
        Some(Self {
            base_offset,
            leader_epoch,
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            count: bytes.get_i32(),
        })
    }

    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_delta))
    }

    pub(super) fn has_producer(&self) -> bool {
        self.producer_id != -1
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub(super) fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// After the largest, sequences begin again at 0.
    pub(super) fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_delta);
        i32::try_from(last % (i64::from(i32::MAX) + 1)).unwrap_or(-1)
    }

    pub(super) fn timestamp_of(&self, entry: &Entry) -> i64 {
        if self.is_log_append_time() {
            self.max_timestamp
        } else {
            self.base_timestamp.saturating_add(entry.timestamp_delta)
        }
    }
}

/// The client's bytes are not a sequence of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CorruptBatch;

/// Splits a client's bytes into batches, of any magic. As in Kafka, a last one that is cut short is ignored.
pub(super) fn split(records: &Bytes) -> Split {
    Split { rest: records.clone() }
}

#[derive(Debug)]
pub(super) struct Split {
    rest: Bytes,
}

impl Iterator for Split {
    /// The magic, and the batch's bytes.
    type Item = Result<(u8, Bytes), CorruptBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        /// The length of the shortest record of format 0.
        const SHORTEST: i32 = 14;
        if self.rest.len() < PREFIX {
            return None;
        }
        let length = self.rest.get(8..PREFIX).map_or(0, |mut field| field.get_i32());
        if length < SHORTEST {
            self.rest.clear();
            return Some(Err(CorruptBatch));
        }
        let magic = *self.rest.get(PREFIX + 4)?;
        if magic > 2 {
            self.rest.clear();
            return Some(Err(CorruptBatch));
        }
        let whole = usize::try_from(length).ok()?.checked_add(PREFIX)?;
        if self.rest.len() < whole {
            self.rest.clear();
            return None;
        }
        Some(Ok((magic, self.rest.split_to(whole))))
    }
}

impl Batch {
    /// `None` when the bytes are too few for a header.
    pub(super) fn read(bytes: Bytes) -> Option<Self> {
        let header = Header::read(&bytes)?;
        Some(Self { bytes, header })
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.bytes.get(ATTRIBUTES_AT..).is_some_and(|body| crc32c::crc32c(body) == self.header.crc)
    }

    /// The records of the batch in their order; `UnpackError` if they cannot be read.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, UnpackError> {
        let codec = Codec::of(self.header.attributes).ok_or(UnpackError::Codec)?;
        if self.header.count == 0 && self.size() == HEADER {
            return Ok(Vec::new()); // compaction left only the header
        }
        let body = codec.unpack(&self.bytes.slice(HEADER..)).ok_or(UnpackError::Codec)?;
        parse(body, self.header.count).ok_or(UnpackError::Records)
    }

    /// The batch with its offset and leader epoch written into it. The checksum covers neither field.
    pub(super) fn placed(&self, base_offset: i64, leader_epoch: i32) -> Self {
        let mut bytes = BytesMut::from(self.bytes.as_ref());
        put(&mut bytes, 0, &base_offset.to_be_bytes());
        put(&mut bytes, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes());
        let header = Header { base_offset, leader_epoch, ..self.header };
        Self { bytes: bytes.freeze(), header }
    }

    /// The batch with this type of timestamp and this greatest one; the checksum is recomputed if that changes anything.
    pub(super) fn timed(self, log_append_time: bool, max_timestamp: i64) -> Self {
        let mut header = self.header;
        header.max_timestamp = max_timestamp;
        header.attributes &= !LOG_APPEND_TIME;
        if log_append_time {
            header.attributes |= LOG_APPEND_TIME;
        }
        if header.attributes == self.header.attributes && header.max_timestamp == self.header.max_timestamp {
            return self;
        }
        let mut bytes = BytesMut::from(self.bytes.as_ref());
        put(&mut bytes, ATTRIBUTES_AT, &header.attributes.to_be_bytes());
        put(&mut bytes, MAX_TIMESTAMP_AT, &header.max_timestamp.to_be_bytes());
        header.crc = write_crc(&mut bytes);
        Self { bytes: bytes.freeze(), header }
    }

    /// A batch of these records. `header` provides all fields but checksum and count; its attributes name the codec.
    pub(super) fn build(mut header: Header, entries: &[Entry]) -> Option<Self> {
        let mut plain = BytesMut::new();
        for entry in entries {
            write(&mut plain, entry);
        }
        // A batch that lost all its records is only a header, whatever codec it names.
        let body =
            if entries.is_empty() { Vec::new() } else { Codec::of(header.attributes)?.pack(&plain)? };
        header.count = i32::try_from(entries.len()).ok()?;
        let mut bytes = BytesMut::with_capacity(HEADER + body.len());
        bytes.put_i64(header.base_offset);
        bytes.put_i32(i32::try_from(HEADER - PREFIX + body.len()).ok()?);
        bytes.put_i32(header.leader_epoch);
        bytes.put_u8(2);
        bytes.put_u32(0);
        bytes.put_i16(header.attributes);
        bytes.put_i32(header.last_delta);
        bytes.put_i64(header.base_timestamp);
        bytes.put_i64(header.max_timestamp);
        bytes.put_i64(header.producer_id);
        bytes.put_i16(header.producer_epoch);
        bytes.put_i32(header.base_sequence);
        bytes.put_i32(header.count);
        bytes.put_slice(&body);
        header.crc = write_crc(&mut bytes);
        Some(Self { bytes: bytes.freeze(), header })
    }

    /// The marker that ends a transaction.
    pub(super) fn marker(
        producer: (i64, i16),
        commit: bool,
        coordinator_epoch: i32,
        timestamp: i64,
    ) -> Option<Self> {
        let mut key = BytesMut::new();
        key.put_i16(0);
        key.put_i16(i16::from(commit));
        let mut value = BytesMut::new();
        value.put_i16(0);
        value.put_i32(coordinator_epoch);
        let header = Header {
            attributes: CONTROL | TRANSACTIONAL,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: producer.0,
            producer_epoch: producer.1,
            ..Header::plain()
        };
        let entry = Entry {
            timestamp_delta: 0,
            offset_delta: 0,
            key: Some(key.freeze()),
            value: Some(value.freeze()),
            headers: Vec::new(),
        };
        Self::build(header, &[entry])
    }

    /// Whether a control batch ends its transaction by a commit.
    pub(super) fn commits(&self) -> Option<bool> {
        let entries = self.entries().ok()?;
        let key = entries.first()?.key.clone()?;
        Some(*key.get(3)? == 1)
    }

    /// The coordinator's epoch in a marker.
    pub(super) fn coordinator_epoch(&self) -> Option<i32> {
        let value = self.entries().ok()?.first()?.value.clone()?;
        value.get(2..6).map(|mut field| field.get_i32())
    }
}

impl Header {
    /// The header of a batch of one record, without a producer, at offset 0.
    pub(super) fn plain() -> Self {
        Self {
            base_offset: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_delta: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
        }
    }
}

/// An error in a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnpackError {
    /// They cannot be decompressed.
    Codec,
    /// Their number or length differs from the header's.
    Records,
}

fn put(bytes: &mut BytesMut, at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

fn write_crc(bytes: &mut BytesMut) -> u32 {
    let crc = bytes.get(ATTRIBUTES_AT..).map_or(0, crc32c::crc32c);
    put(bytes, CRC_AT, &crc.to_be_bytes());
    crc
}
