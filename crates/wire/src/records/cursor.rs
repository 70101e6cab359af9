//! The records of a batch.
//!
//! [`Payload`] holds the decompressed records of a batch, and the properties they inherit from the batch. It owns its bytes and
//! is cheap to clone. [`Records`] iterates over it and checks each record. [`PayloadPosition`] is a position of such an
//! iteration, so that a batch can be delivered in parts. [`Payload::take`] checks records once, stores the positions of each
//! record's parts in a [`Row`], and returns a [`RecordSlice`], which is read without a `Result` and without decoding anything
//! again.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{TimestampType, V2Batch};
use super::compression::{Compression, Decompressor, Lz4Checksum};
use super::error::{RecordError, RecordFault};
use super::joined;
use super::record::{Field, Headers, Record, Row, field_len};
use super::varint::{Word, take, take_slice, varint, varlong};

/// The decompressed records of one batch, or of several that were [joined](super::Batches::join).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub(super) layout: Layout,
    pub(super) bytes: Bytes,
    pub(super) base_offset: i64,
    pub(super) last_offset_delta: i32,
    pub(super) base_timestamp: i64,
    pub(super) max_timestamp: i64,
    pub(super) timestamp_type: TimestampType,
    pub(super) count: u32,
}

/// What lies in the bytes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The records of one batch.
    OneBatch,
    /// Whole batches of one record each, with their headers.
    Joined,
}

impl Payload {
    /// Decompresses `batch`; uncompressed records are not copied.
    #[inline]
    pub(super) fn open(batch: V2Batch, decompressor: &mut Decompressor) -> Result<Self, RecordError> {
        let raw = batch.raw_records();
        let bytes = match batch.compression() {
            // Nothing was compressed, because a codec may have no form for empty data.
            _ if batch.count() == 0 && raw.is_empty() => None,
            Compression::None => None,
            codec => {
                let unpacked = decompressor.decompress(codec, raw, Lz4Checksum::Required);
                Some(unpacked.map_err(|error| batch.header().error(error.into()))?)
            }
        };
        let header = *batch.header();
        let bytes = bytes.unwrap_or_else(|| batch.into_raw_records());
        Ok(Self {
            layout: Layout::OneBatch,
            bytes,
            base_offset: header.base_offset(),
            last_offset_delta: header.last_offset_delta(),
            base_timestamp: header.base_timestamp(),
            max_timestamp: header.max_timestamp(),
            timestamp_type: header.timestamp_type(),
            count: header.count(),
        })
    }

    /// Iterates from the first record.
    pub fn records(&self) -> Records<'_> {
        self.records_from(PayloadPosition::START)
    }

    /// Iterates from `at`, where an earlier iteration stopped. With a position of another payload it yields an error or no
    /// records.
    pub fn records_from(&self, at: PayloadPosition) -> Records<'_> {
        Records {
            payload: self,
            rest: self.bytes.get(at.byte..).unwrap_or_default(),
            left: self.count.saturating_sub(at.index),
            previous: at.previous,
            failed_at: None,
        }
    }

    /// Takes up to `most` records and moves `at` after them. The error, if any, belongs to the record after the slice, and is
    /// returned again by the next call.
    pub fn take(&self, at: &mut PayloadPosition, most: usize) -> (RecordSlice, Option<RecordError>) {
        self.clone().into_slice(at, most)
    }

    /// The same, without cloning the payload.
    #[inline]
    pub fn into_slice(self, at: &mut PayloadPosition, most: usize) -> (RecordSlice, Option<RecordError>) {
        let mut records = self.records_from(*at);
        let most = most.min(records.left as usize);
        let mut rows = Rows::Few(None);
        let mut error = match most {
            // Producers that do not linger send batches of one record.
            0 | 1 => records.check(most, |row| rows = Rows::Few(Some(row))),
            most => {
                // A false count allocates no more than the bytes allow.
                let mut many = Vec::with_capacity(most.min(records.rest.len() / SMALLEST_RECORD));
                let checked = records.check(most, |row| many.push(row));
                let all = 0..many.len();
                rows = Rows::Many(Arc::new(many), all);
                checked
            }
        }
        .err();
        // Bytes after the last record are checked with it; otherwise a slice that ends there would hide them.
        if error.is_none() && records.left == 0 {
            error = records.next().and_then(Result::err);
        }
        *at = records.at();
        let next_offset = self.next_offset_at(*at);
        (RecordSlice { payload: self, rows, next_offset }, error)
    }

    /// The first offset of the batch.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// The last offset of the batch, whether or not a record still has it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The next offset to read after the batch.
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

    /// The number of records in the batch.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of records at and after `at`.
    pub fn count_from(&self, at: PayloadPosition) -> u32 {
        self.count.saturating_sub(at.index)
    }

    /// Whether these are the records of several batches, which were [joined](super::Batches::join).
    pub fn is_joined(&self) -> bool {
        self.layout == Layout::Joined
    }

    /// The source of the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The decompressed records.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[inline(always)]
    pub(super) fn offset(&self, delta: i32) -> i64 {
        // Cannot overflow: every delta is within -1..=last_offset_delta, and that sum was checked with the batch.
        self.base_offset.wrapping_add(i64::from(delta))
    }

    /// The timestamp of the record at this position, with this difference from the base. Timestamps wrap, as they do for every Kafka client.
    #[inline]
    pub(super) fn timestamp(&self, record: u32, delta: impl FnOnce() -> i64) -> i64 {
        let (base, max) = match self.layout {
            Layout::OneBatch => (self.base_timestamp, self.max_timestamp),
            Layout::Joined => joined::timestamps(&self.bytes, record as usize),
        };
        match self.timestamp_type {
            TimestampType::CreateTime => base.wrapping_add(delta()),
            TimestampType::LogAppendTime => max,
            TimestampType::NoTimestampType => -1,
        }
    }
}

/// The size of a record without key, value and headers, including its length.
const SMALLEST_RECORD: usize = 7;

/// A position between two records of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadPosition {
    byte: usize,
    index: u32,
    /// The offset delta of the previous record; -1 if there is none.
    previous: i32,
}

impl PayloadPosition {
    /// Before the first record.
    pub const START: Self = Self { byte: 0, index: 0, previous: -1 };

    /// The number of records before this position.
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
    /// The position of the error that ended the iteration.
    failed_at: Option<PayloadPosition>,
}

impl<'a> Records<'a> {
    /// The position before the next record, even if that is an error.
    pub fn at(&self) -> PayloadPosition {
        self.failed_at.unwrap_or(PayloadPosition {
            byte: self.payload.bytes.len().saturating_sub(self.rest.len()),
            index: self.payload.count.saturating_sub(self.left),
            previous: self.previous,
        })
    }

    /// The number of remaining records.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Skips the records before `offset`.
    pub fn skip_to(&mut self, offset: i64) -> Result<(), RecordError> {
        // There are no records before the batch.
        if offset <= self.payload.base_offset {
            return Ok(());
        }
        loop {
            let before = self.clone();
            match self.next() {
                Some(Ok(record)) if record.offset() < offset => {}
                Some(Ok(_)) => {
                    *self = before;
                    return Ok(());
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }

    /// Checks up to `most` records, passes the positions of their parts to `each`, and moves after them.
    #[inline]
    fn check(&mut self, most: usize, mut each: impl FnMut(Row)) -> Result<(), RecordError> {
        // Local variables stay in registers.
        let (mut rest, mut previous, mut left) = (self.rest, self.previous, self.left);
        let mut fault = None;
        let payload = self.payload;
        for _ in 0..most {
            let checked = match payload.layout {
                Layout::OneBatch => {
                    check_either(payload.bytes.len(), payload.last_offset_delta, rest, previous)
                }
                Layout::Joined => joined::check(payload, rest),
            };
            match checked {
                Ok((row, behind)) => {
                    (rest, previous, left) = (behind, row.delta, left.saturating_sub(1));
                    each(row);
                }
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
        let (first, last) = match self.payload.layout {
            Layout::OneBatch => {
                (self.payload.offset(self.previous).saturating_add(1), self.payload.last_offset())
            }
            // The others are whole.
            Layout::Joined => joined::offsets(self.rest),
        };
        self.rest = &[];
        self.left = 0;
        RecordError::new(first, last, fault)
    }
}

/// Checks the first record of `rest`, which ends `total` bytes after the beginning of the payload. Its offset delta is above `previous` and at most `last`.
#[inline(always)]
pub(super) fn check_either(
    total: usize,
    last: i32,
    rest: &[u8],
    previous: i32,
) -> Result<(Row, &[u8]), RecordFault> {
    check_short(total, last, rest, previous).map_or_else(|| check(total, last, rest, previous), Ok)
}

/// Like [`check`], but only for records whose lengths take at most three bytes each, as most do; `None` for others, and for a
/// record with a fault. It reads the fields before the key, and also the length of the value, in one go.
#[inline(always)]
fn check_short(total: usize, last: i32, rest: &[u8], previous: i32) -> Option<(Row, &[u8])> {
    let record = total.wrapping_sub(rest.len());
    let mut lead = Word::front(rest)?;
    let length = lead.varint()?;
    let end = lead.read.checked_add(usize::try_from(length).ok()?)?;
    lead.skip(); // attributes
    let _timestamp = lead.varint()?;
    let delta = lead.varint()?;
    let key = lead.varint()?;
    let key_at = lead.whole()?;
    let key_end = key_at.checked_add(usize::try_from(key).unwrap_or(0))?;
    let mut middle = Word::front(rest.get(key_end..)?)?;
    let value = middle.varint()?;
    let value_at = key_end.checked_add(middle.read)?;
    let value_end = value_at.checked_add(usize::try_from(value).unwrap_or(0))?;
    let (body, behind) = rest.split_at_checked(end)?;
    let mut headers = body.get(value_end..)?;
    let has_headers = headers != [0];
    let is_whole =
        !has_headers || varint(&mut headers).is_some_and(|count| Headers::are_whole(count, headers));
    let is_sound = is_whole && key >= -1 && value >= -1 && delta > previous && delta <= last;
    let at = |within: usize| record.wrapping_add(within) as u32;
    let value = Field { at: at(value_at), len: value };
    let row = Row { delta, record: at(0), before_key: key_at as u8, has_headers, key_len: key, value };
    is_sound.then_some((row, behind))
}

/// Checks the first record. Returns the positions of its parts, and the bytes after it.
#[inline(always)]
fn check(total: usize, last: i32, rest: &[u8], previous: i32) -> Result<(Row, &[u8]), RecordFault> {
    // Converts the rest of the payload to a position in it, which fits: see `Decompressor::MAX_LIMIT`.
    let at = |following: usize| total.wrapping_sub(following) as u32;
    let record = at(rest.len());
    let mut rest = rest;
    let body = varint(&mut rest).and_then(|length| take_slice(&mut rest, usize::try_from(length).ok()?));
    let body = &mut body.ok_or(RecordFault::RecordLength)?;
    let behind = rest.len();
    let lead = (|| {
        let _attributes = take::<1>(body)?;
        let _timestamp = varlong(body)?;
        varint(body)
    })();
    let delta = lead.ok_or(RecordFault::RecordLength)?;
    let mut field = || {
        let len = field_len(body)?;
        let field = Field { at: at(behind + body.len()), len };
        take_slice(body, usize::try_from(len).unwrap_or(0))?;
        Some(field)
    };
    let key = field().ok_or(RecordFault::FieldLength)?;
    let value = field().ok_or(RecordFault::FieldLength)?;
    let header_count = varint(body).ok_or(RecordFault::RecordLength)?;
    if !Headers::are_whole(header_count, body) {
        return Err(if header_count == 0 {
            RecordFault::RecordLength // bytes after a record without headers
        } else {
            RecordFault::Headers
        });
    }
    if delta <= previous || delta > last {
        return Err(RecordFault::NonMonotonic { delta, previous, last });
    }
    let before_key = key.at.wrapping_sub(record) as u8;
    let has_headers = header_count != 0;
    Ok((Row { delta, record, before_key, has_headers, key_len: key.len, value }, rest))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let extra = self.rest.len();
            return (extra > 0).then(|| Err(self.fail(RecordFault::BytesLeft(extra))));
        }
        let checked = match self.payload.layout {
            Layout::OneBatch => {
                check(self.payload.bytes.len(), self.payload.last_offset_delta, self.rest, self.previous)
            }
            Layout::Joined => joined::check(self.payload, self.rest),
        };
        match checked {
            Ok((row, behind)) => {
                (self.rest, self.previous) = (behind, row.delta);
                self.left -= 1;
                Some(Ok(Record { payload: self.payload, row }))
            }
            Err(fault) => Some(Err(self.fail(fault))),
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// Consecutive records of one payload that have been checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RecordSlice {
    payload: Payload,
    rows: Rows,
    next_offset: i64,
}

#[derive(Debug, Clone)]
enum Rows {
    /// At most one record, without an allocation.
    Few(Option<Row>),
    /// These of the rows.
    Many(Arc<Vec<Row>>, Range<usize>),
}

impl RecordSlice {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether the slice is empty.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// The next offset after the slice: the one after the batch if the slice reaches the last record.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The payload that it belongs to.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Keeps the first `most` records, at least one, and returns those behind them, if there are any. Moves `at`, the position before the
    /// first record of all, before the first of those.
    pub fn split_off(&mut self, at: &mut PayloadPosition, most: usize) -> Option<Self> {
        let Rows::Many(rows, these) = &mut self.rows else { return None };
        let most = most.max(1);
        let end = these.start.checked_add(most).filter(|end| *end < these.end)?;
        let (last, next) = (rows.get(end.checked_sub(1)?)?, rows.get(end)?);
        let byte = match self.payload.layout {
            Layout::OneBatch => next.record as usize,
            Layout::Joined => joined::batch_of(next.record as usize),
        };
        let index = at.index.saturating_add(most as u32); // there are no more records than a `u32` can count
        *at = PayloadPosition { byte, index, previous: last.delta };
        let behind = Rows::Many(rows.clone(), end..these.end);
        let behind = Self { payload: self.payload.clone(), rows: behind, next_offset: self.next_offset };
        these.end = end;
        self.next_offset = self.payload.offset(last.delta).saturating_add(1);
        Some(behind)
    }

    /// The positions of each record's parts, which take less memory than a [`Record`].
    #[inline]
    pub fn rows(&self) -> &[Row] {
        match &self.rows {
            Rows::Few(row) => row.as_slice(),
            Rows::Many(rows, these) => rows.get(these.clone()).unwrap_or_default(),
        }
    }

    /// The record of a row of this slice. A row of another slice returns wrong bytes of this batch.
    #[inline]
    pub fn record(&self, row: &Row) -> Record<'_> {
        Record { payload: &self.payload, row: *row }
    }

    /// The records.
    #[inline]
    pub fn iter(&self) -> RecordSliceIter<'_> {
        RecordSliceIter { slice: self, rows: self.rows().iter() }
    }
}

impl<'a> IntoIterator for &'a RecordSlice {
    type Item = Record<'a>;
    type IntoIter = RecordSliceIter<'a>;

    fn into_iter(self) -> RecordSliceIter<'a> {
        self.iter()
    }
}

/// Iterates over a [`RecordSlice`]. It cannot fail, because the bytes were checked before.
#[derive(Debug, Clone)]
pub struct RecordSliceIter<'a> {
    slice: &'a RecordSlice,
    rows: std::slice::Iter<'a, Row>,
}

impl<'a> Iterator for RecordSliceIter<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        self.rows.next().map(|row| self.slice.record(row))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for RecordSliceIter<'_> {}
impl std::iter::FusedIterator for RecordSliceIter<'_> {}
