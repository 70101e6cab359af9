//! The records of a batch.
//!
//! [`Payload`] holds the decompressed records of a batch, and what they inherit from the batch. It owns its bytes and is cheap
//! to clone. [`Records`] iterates over it and checks each record; [`PayloadPosition`] says how far, so that a batch can be
//! handed out in parts. [`Payload::take`] checks records once and returns a [`RecordSlice`], which is read without a `Result`.

use bytes::Bytes;

use super::batch::{RecordBatch, TimestampType};
use super::compression::{Compression, Decompressor, Lz4Checksum};
use super::error::{RecordError, RecordFault};
use super::record::{Headers, Record, field};
use super::varint::{take, take_slice, varint, varlong};

/// The decompressed records of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub(super) bytes: Bytes,
    pub(super) base_offset: i64,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) timestamp_type: TimestampType,
    pub(super) count: u32,
}

impl Payload {
    /// Decompresses `batch`; uncompressed records are not copied.
    pub(super) fn open(batch: &RecordBatch, decompressor: &mut Decompressor) -> Result<Self, RecordError> {
        let raw = batch.raw_records();
        let bytes = match batch.compression() {
            // Nothing was compressed: a codec need not have an empty form.
            _ if batch.count() == 0 && raw.is_empty() => raw,
            Compression::None => raw,
            codec => decompressor
                .decompress(codec, &raw, Lz4Checksum::Required)
                .map_err(|error| batch.error(error.into()))?,
        };
        Ok(Self {
            bytes,
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta(),
            base_timestamp: batch.base_timestamp(),
            max_timestamp: batch.max_timestamp(),
            timestamp_type: batch.timestamp_type(),
            count: batch.count(),
        })
    }

    /// From the first record.
    pub fn records(&self) -> Records<'_> {
        self.records_from(PayloadPosition::START)
    }

    /// The records from `at` on, where an earlier iteration stopped. A position of another payload yields an error or no records.
    pub fn records_from(&self, at: PayloadPosition) -> Records<'_> {
        Records {
            payload: self,
            rest: self.bytes.get(at.byte..).unwrap_or_default(),
            left: self.count.saturating_sub(at.index),
            previous: at.previous,
            failed_at: None,
        }
    }

    /// Takes up to `most` records and moves `at` behind them. The error, if any, belongs to the record after the slice, and comes
    /// again at the next call.
    pub fn take(&self, at: &mut PayloadPosition, most: usize) -> (RecordSlice, Option<RecordError>) {
        let from = *at;
        let mut records = self.records_from(from);
        let mut error = records.check(most).err();
        // The bytes behind the last record are looked at with it, lest a run that ends there hide them.
        if error.is_none() && records.left == 0 {
            error = records.next().and_then(Result::err);
        }
        *at = records.at();
        let run =
            RecordSlice { payload: self.clone(), from, count: at.index.saturating_sub(from.index), to: *at };
        (run, error)
    }

    /// The offset the batch begins with.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The offset the batch ends with, whether or not a record still has it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Where reading goes on after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The next offset after the records before `at`: the one after the batch when no record is left.
    pub fn next_offset_at(&self, at: PayloadPosition) -> i64 {
        if at.index >= self.count && at.byte >= self.bytes.len() {
            self.next_offset()
        } else {
            self.offset(at.previous).saturating_add(1)
        }
    }

    /// Records in the batch.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Records at and after `at`.
    pub fn count_from(&self, at: PayloadPosition) -> u32 {
        self.count.saturating_sub(at.index)
    }

    /// Where the timestamps come from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The decompressed records.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[inline(always)]
    fn offset(&self, delta: i32) -> i64 {
        // Cannot wrap: every delta is within -1..=last_offset_delta, which was added when the batch was checked.
        self.base_offset.wrapping_add(i64::from(delta))
    }

    /// Timestamps wrap, as they do for every Kafka client.
    #[inline(always)]
    fn timestamp(&self, delta: i64) -> i64 {
        match self.timestamp_type {
            TimestampType::CreateTime => self.base_timestamp.wrapping_add(delta),
            TimestampType::LogAppendTime => self.max_timestamp,
            TimestampType::NoTimestampType => -1,
        }
    }
}

/// A position between two records of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadPosition {
    byte: usize,
    index: u32,
    /// The offset delta of the record before; -1 if there is none.
    previous: i32,
}

impl PayloadPosition {
    /// Before the first record.
    pub const START: Self = Self { byte: 0, index: 0, previous: -1 };

    /// Records before this position.
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Default for PayloadPosition {
    fn default() -> Self {
        Self::START
    }
}

/// Iterates over the records of a payload, and checks each. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    payload: &'a Payload,
    rest: &'a [u8],
    left: u32,
    previous: i32,
    /// Where an error ended the iteration.
    failed_at: Option<PayloadPosition>,
}

impl<'a> Records<'a> {
    /// The position before the next record, also if that one is an error.
    pub fn at(&self) -> PayloadPosition {
        self.failed_at.unwrap_or(PayloadPosition {
            byte: self.payload.bytes.len().saturating_sub(self.rest.len()),
            index: self.payload.count.saturating_sub(self.left),
            previous: self.previous,
        })
    }

    /// How many records are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Skips the records before `offset`, so that none of them is handed out.
    pub fn skip_to(&mut self, offset: i64) -> Result<(), RecordError> {
        loop {
            let before = self.clone();
            match self.next() {
                Some(Ok(record)) if record.offset < offset => {}
                Some(Ok(_)) => {
                    *self = before;
                    return Ok(());
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }

    /// Checks up to `most` records, and moves behind them.
    fn check(&mut self, most: usize) -> Result<(), RecordError> {
        // In locals, which stay in registers.
        let (mut rest, mut previous, mut left) = (self.rest, self.previous, self.left);
        let mut fault = None;
        for _ in 0..most.min(left as usize) {
            match decode(self.payload, rest, previous) {
                Ok((_, delta, behind)) => (rest, previous, left) = (behind, delta, left - 1),
                Err(found) => {
                    fault = Some(found);
                    break;
                }
            }
        }
        (self.rest, self.previous, self.left) = (rest, previous, left);
        fault.map_or(Ok(()), |fault| Err(self.fail(fault)))
    }

    #[cold]
    fn fail(&mut self, fault: RecordFault) -> RecordError {
        let fault = match fault {
            RecordFault::RecordLength if self.rest.is_empty() => {
                RecordFault::TooFewBytes { missing: self.left }
            }
            fault => fault,
        };
        self.failed_at = Some(self.at());
        self.rest = &[];
        self.left = 0;
        let first = self.payload.offset(self.previous).saturating_add(1);
        RecordError::new(first, self.payload.last_offset(), fault)
    }
}

/// The record at the front, its offset delta, and what lies behind it.
#[inline(always)]
fn decode<'a>(
    payload: &'a Payload,
    mut rest: &'a [u8],
    previous: i32,
) -> Result<(Record<'a>, i32, &'a [u8]), RecordFault> {
    let body = varint(&mut rest).and_then(|length| take_slice(&mut rest, usize::try_from(length).ok()?));
    let body = &mut body.ok_or(RecordFault::RecordLength)?;
    let lead = (|| {
        let _attributes = take::<1>(body)?;
        Some((varlong(body)?, varint(body)?))
    })();
    let (timestamp, delta) = lead.ok_or(RecordFault::RecordLength)?;
    let key = field(body).ok_or(RecordFault::FieldLength)?;
    let value = field(body).ok_or(RecordFault::FieldLength)?;
    let header_count = varint(body).ok_or(RecordFault::RecordLength)?;
    let headers = Headers::check(header_count, body).ok_or(if header_count == 0 {
        RecordFault::RecordLength // bytes behind a record without headers
    } else {
        RecordFault::Headers
    })?;

    let last = payload.last_offset_delta;
    if delta <= previous || delta > last {
        return Err(RecordFault::NonMonotonic { delta, previous, last });
    }
    let (offset, timestamp) = (payload.offset(delta), payload.timestamp(timestamp));
    Ok((Record { payload, offset, timestamp, key, value, headers }, delta, rest))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let extra = self.rest.len();
            return (extra > 0).then(|| Err(self.fail(RecordFault::BytesLeft(extra))));
        }
        match decode(self.payload, self.rest, self.previous) {
            Ok((record, delta, behind)) => {
                (self.rest, self.previous) = (behind, delta);
                self.left -= 1;
                Some(Ok(record))
            }
            Err(fault) => Some(Err(self.fail(fault))),
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// Consecutive records of one batch that have been checked.
#[derive(Debug, Clone)]
pub struct RecordSlice {
    payload: Payload,
    from: PayloadPosition,
    to: PayloadPosition,
    count: u32,
}

impl RecordSlice {
    /// How many records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The next offset after the slice: the one after the batch if the slice reaches the last record.
    pub fn next_offset(&self) -> i64 {
        self.payload.next_offset_at(self.to)
    }

    /// The batch it is a part of.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The records.
    #[inline]
    pub fn iter(&self) -> RecordSliceIter<'_> {
        let rest = self.payload.bytes.get(self.from.byte..).unwrap_or_default();
        RecordSliceIter { payload: &self.payload, rest, left: self.count }
    }
}

impl<'a> IntoIterator for &'a RecordSlice {
    type Item = Record<'a>;
    type IntoIter = RecordSliceIter<'a>;

    fn into_iter(self) -> RecordSliceIter<'a> {
        self.iter()
    }
}

/// Iterates over a [`RecordSlice`], whose bytes were checked before, so that nothing can fail.
#[derive(Debug, Clone)]
pub struct RecordSliceIter<'a> {
    payload: &'a Payload,
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for RecordSliceIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        let length = varint(&mut self.rest)?;
        let body = &mut take_slice(&mut self.rest, usize::try_from(length).ok()?)?;
        let _attributes = take::<1>(body)?;
        let timestamp = self.payload.timestamp(varlong(body)?);
        let offset = self.payload.offset(varint(body)?);
        let (key, value) = (field(body)?, field(body)?);
        let headers = Headers::checked(varint(body)?, body);
        Some(Record { payload: self.payload, offset, timestamp, key, value, headers })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for RecordSliceIter<'_> {}
impl std::iter::FusedIterator for RecordSliceIter<'_> {}
