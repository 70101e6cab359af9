//! Batches of one record each, which lie one behind the other in a response, as one [`Payload`].
//!
//! The bytes of such a payload are the whole batches. Of a record's own header only what differs is read again, and only when it is asked for.

use bytes::Bytes;

use super::batch::{BatchHeader, Crc, HEADER, TimestampType, V2Batch};
use super::cursor::{Layout, Payload, check_either};
use super::error::RecordFault;
use super::record::Row;
use super::set::{Framed, frame};
use super::varint;

/// The most batches that are joined: as many as a `poll` hands out by default.
const MOST: u32 = 500;
/// No more are joined once they have this size: their records are checked afterwards, while they are still in the processor's cache.
pub(super) const ENOUGH: usize = 128 << 10;
/// The codec of a batch that is not compressed.
const UNCOMPRESSED: u8 = 0;
/// The positions of the timestamps in a header; the larger is that of the last record, and with LogAppendTime of all.
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;

/// Batches that are being joined.
pub(super) struct Joined {
    base_offset: i64,
    last_offset_delta: i32,
    leader_epoch: i32,
    timestamp_type: TimestampType,
    count: u32,
}

impl Joined {
    /// Begins with this batch, if it has one record, which is not compressed.
    pub(super) fn begin(first: &V2Batch) -> Option<Self> {
        let header = first.header();
        is_joinable(header, first.raw_records()).then(|| Self {
            base_offset: header.base_offset(),
            last_offset_delta: 0,
            leader_epoch: header.partition_leader_epoch(),
            timestamp_type: header.timestamp_type(),
            count: 1,
        })
    }

    /// The batch at the front of `rest`, with its size, if it is whole, sound and can be joined with these. Its offsets are compared with nothing here.
    #[inline]
    pub(super) fn next(&self, rest: &[u8], crc: Crc) -> Option<(BatchHeader, usize)> {
        let Framed::Whole { magic: 2, size, .. } = frame(rest).ok()? else { return None };
        let batch = rest.get(..size)?;
        let header = BatchHeader::parse(batch)?;
        let is_alike = is_joinable(&header, batch.get(HEADER..).unwrap_or_default())
            && header.partition_leader_epoch() == self.leader_epoch
            && header.timestamp_type() == self.timestamp_type;
        // Each is read once more if it cannot be joined, so the checksum comes last.
        if !is_alike || self.count >= MOST {
            return None;
        }
        let header = header.checked().ok()?;
        header.verify_crc(batch, crc).ok()?;
        Some((header, size))
    }

    /// Adds this batch. False if it is too far away from the first.
    #[inline]
    pub(super) fn push(&mut self, header: &BatchHeader) -> bool {
        let delta =
            header.base_offset().checked_sub(self.base_offset).and_then(|delta| i32::try_from(delta).ok());
        let Some(delta) = delta.filter(|delta| *delta > self.last_offset_delta) else { return false };
        self.last_offset_delta = delta;
        self.count = self.count.saturating_add(1);
        true
    }

    /// All of them, if they are several; `bytes` are theirs.
    pub(super) fn payload(self, bytes: Bytes) -> Option<Payload> {
        (self.count > 1).then(|| Payload {
            layout: Layout::Joined,
            bytes,
            base_offset: self.base_offset,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: 0,
            max_timestamp: 0,
            timestamp_type: self.timestamp_type,
            count: self.count,
        })
    }
}

/// Whether the batch has one record, which is not compressed and fills it, and no marker of the broker.
#[inline]
fn is_joinable(header: &BatchHeader, mut records: &[u8]) -> bool {
    header.count() == 1
        && header.last_offset_delta() == 0
        && header.codec() == UNCOMPRESSED
        && !header.is_control()
        && varint::varint(&mut records).is_some_and(|length| usize::try_from(length) == Ok(records.len()))
}

/// Checks the record of the batch at the front of `rest`. Returns the positions of its parts, and the bytes after the batch.
#[inline]
pub(super) fn check<'a>(payload: &Payload, rest: &'a [u8]) -> Result<(Row, &'a [u8]), RecordFault> {
    let Ok(Framed::Whole { base, size, .. }) = frame(rest) else { return Err(RecordFault::RecordLength) };
    let (batch, behind) = rest.split_at_checked(size).ok_or(RecordFault::RecordLength)?;
    let end = payload.bytes.len().saturating_sub(behind.len());
    let (row, left) = check_either(end, 0, batch.get(HEADER..).unwrap_or_default(), -1)?;
    debug_assert!(left.is_empty(), "that was checked when the batch was joined");
    // It fits, and is larger than the one before: that was checked when the batch was joined.
    let delta = base.wrapping_sub(payload.base_offset) as i32;
    Ok((Row { delta, ..row }, behind))
}

/// The offsets of the batch at the front of `rest`.
pub(super) fn offsets(rest: &[u8]) -> (i64, i64) {
    let base = BatchHeader::parse(rest).map_or(0, |header| header.base_offset());
    (base, base)
}

/// The position of the batch whose record is at this one.
pub(super) fn batch_of(record: usize) -> usize {
    record.saturating_sub(HEADER)
}

/// The base timestamp and the largest one of the batch whose record is at this position.
pub(super) fn timestamps(bytes: &[u8], record: usize) -> (i64, i64) {
    let header = bytes.get(batch_of(record)..).unwrap_or_default();
    let of = |at: usize| header.get(at..).and_then(|mut field| varint::i64(&mut field)).unwrap_or(-1);
    (of(BASE_TIMESTAMP), of(MAX_TIMESTAMP))
}
