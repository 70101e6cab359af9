//! The records field of a fetched partition: consecutive batches of any message format, the last of which may be cut short.

use bytes::Bytes;

use super::batch::{BatchHeader, Crc, HEADER, V2Batch, unknown_magic};
use super::compression::Decompressor;
use super::cursor::Payload;
use super::error::{RecordError, RecordFault};
use super::joined::{self, Joined};
use super::legacy::LegacyBatch;
use super::varint;

/// Offset and length, with which all formats begin.
const OVERHEAD: usize = 12;
/// The position of the magic in all formats.
const MAGIC: usize = 16;
/// The smallest length in each format: for format 0, a message without key and value.
const SMALLEST: [i32; 3] = [14, 22, (HEADER - OVERHEAD) as i32];

/// The contents at the front of a buffer.
pub(super) enum Framed {
    Whole { base: i64, magic: i8, size: usize },
    CutShort { base: i64, need: usize },
}

/// Finds the first batch's boundaries and reads nothing else. A magic outside 0..=2 is left for the caller to refuse.
pub(super) fn frame(buf: &[u8]) -> Result<Framed, RecordError> {
    let mut head = buf;
    let (Some(base), Some(length)) = (varint::i64(&mut head), varint::i32(&mut head)) else {
        return Ok(Framed::CutShort { base: 0, need: HEADER });
    };
    let magic = buf.get(MAGIC).map(|byte| *byte as i8);
    let min_size = magic
        .and_then(|magic| SMALLEST.get(usize::try_from(magic).ok()?))
        .or(SMALLEST.first())
        .copied()
        .unwrap_or(0);
    let size = usize::try_from(length).ok().filter(|_| length >= min_size).map(|length| length + OVERHEAD);
    let Some(size) = size else {
        return Err(RecordError::new(base, base, RecordFault::BatchLength(length)));
    };
    match magic {
        Some(magic) if size <= buf.len() => Ok(Framed::Whole { base, magic, size }),
        _ => Ok(Framed::CutShort { base, need: size }),
    }
}

/// One batch of any message format, with verified checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Format 2, since Kafka 0.11.
    V2(V2Batch),
    /// Formats 0 and 1: one message, or a wrapper of a compressed set of messages.
    Legacy(LegacyBatch),
}

impl Batch {
    /// A lower bound of the offsets in the batch, without opening it: a wrapper of format 0 or 1 contains only its last offset.
    pub fn base_offset(&self) -> i64 {
        match self {
            Self::V2(batch) => batch.base_offset(),
            Self::Legacy(batch) => batch.last_offset(),
        }
    }

    /// The highest offset of the batch.
    pub fn last_offset(&self) -> i64 {
        match self {
            Self::V2(batch) => batch.last_offset(),
            Self::Legacy(batch) => batch.last_offset(),
        }
    }

    /// The next offset to read after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The header, which only format 2 has: transactions, control batches, leader epochs.
    pub fn header(&self) -> Option<&BatchHeader> {
        match self {
            Self::V2(batch) => Some(batch.header()),
            Self::Legacy(_) => None,
        }
    }

    /// The epoch of the leader that appended the batch, if there was one and the format contains it.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.header().map(BatchHeader::partition_leader_epoch).filter(|epoch| *epoch >= 0)
    }

    /// Whether this is a control batch, which contains a marker of the broker instead of records.
    pub fn is_control(&self) -> bool {
        self.header().is_some_and(BatchHeader::is_control)
    }

    /// The size of the complete batch, as received.
    pub fn size(&self) -> usize {
        match self {
            Self::V2(batch) => batch.size(),
            Self::Legacy(batch) => batch.size(),
        }
    }

    /// Whether the batch consists only of a header, which is what compaction leaves of a batch without remaining records.
    pub fn is_header_only(&self) -> bool {
        match self {
            Self::V2(batch) => batch.count() == 0 && batch.raw_records().is_empty(),
            Self::Legacy(_) => false,
        }
    }

    /// Decompresses the records. Uncompressed v2 records are not copied.
    pub fn open(&self, decompressor: &mut Decompressor) -> Result<Payload, RecordError> {
        match self {
            Self::V2(batch) => Payload::open(batch.clone(), decompressor),
            Self::Legacy(batch) => batch.open(decompressor),
        }
    }

    /// The same, for a batch that is no longer needed.
    #[inline]
    pub fn into_payload(self, decompressor: &mut Decompressor) -> Result<Payload, RecordError> {
        match self {
            Self::V2(batch) => Payload::open(batch, decompressor),
            Self::Legacy(batch) => batch.open(decompressor),
        }
    }
}

/// The unverified header of a batch of any message format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyBatchHeader {
    /// The header of a v2 batch.
    V2(BatchHeader),
    /// A message of format 0 or 1.
    Legacy {
        /// The offset of the message, or of the last message if it is a wrapper.
        last_offset: i64,
        /// The size in bytes.
        size: usize,
    },
}

impl AnyBatchHeader {
    /// The highest offset of the batch.
    pub fn last_offset(&self) -> i64 {
        match self {
            Self::V2(header) => header.last_offset(),
            Self::Legacy { last_offset, .. } => *last_offset,
        }
    }

    /// The next offset to read after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The size of the complete batch.
    pub fn size(&self) -> usize {
        match self {
            Self::V2(header) => header.size(),
            Self::Legacy { size, .. } => *size,
        }
    }
}

/// Iterates over the batches of one partition's response, in order.
///
/// If the last batch was cut short, the iteration ends silently. If the first one was, that is an error
/// ([`RecordError::is_cut_short`]), because fetching again would return the same. After an error it yields nothing more: the
/// position stays until the caller decides to skip.
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
    /// The position of the next batch in them. (The length of this field in a response is an `i32`.)
    at: u32,
    crc: Crc,
    end: Option<i64>,
    /// The offset from which batches must not have gaps.
    gapless_from: Option<i64>,
    /// The last offset of the previous batch.
    previous: Option<i64>,
    failed: bool,
}

impl Batches {
    /// Reads `records`, the records field of a fetched partition.
    pub fn new(records: Bytes, crc: Crc) -> Self {
        Self { bytes: records, at: 0, crc, end: None, gapless_from: None, previous: None, failed: false }
    }

    /// Refuses batches that reach `end` or beyond, so that a false `lastOffsetDelta` cannot make the position jump.
    ///
    /// A leader reads its high watermark before the log, so that a batch may end above the watermark in its own response; `end`
    /// has to allow for that.
    pub fn ending_before(mut self, end: i64) -> Self {
        self.end = Some(end);
        self
    }

    /// Refuses batches of format 2 that reach `offset` or beyond and have fewer records than offsets.
    ///
    /// Only compaction leaves gaps in a batch, and only below the high watermark. A batch that was appended after the watermark
    /// was read has a record for each of its offsets, so that its length confirms its last offset.
    pub fn gapless_from(mut self, offset: i64) -> Self {
        self.gapless_from = Some(offset);
        self
    }

    /// The header of the next batch, without verification of its checksum; `None` where [`next`](Self::next) would end or fail.
    pub fn peek(&self) -> Option<AnyBatchHeader> {
        if self.failed {
            return None;
        }
        match frame(self.rest()).ok()? {
            Framed::Whole { magic: 2, .. } => {
                let header = BatchHeader::parse(self.rest())?.checked().ok()?;
                self.in_order(header.base_offset(), header.last_offset()).ok()?;
                self.gapless(&header).ok()?;
                Some(AnyBatchHeader::V2(header))
            }
            Framed::Whole { base, magic: 0 | 1, size } => {
                self.in_order(base, base).ok()?;
                Some(AnyBatchHeader::Legacy { last_offset: base, size })
            }
            _ => None,
        }
    }

    /// Skips the batch whose header was returned by [`peek`](Self::peek), without verification of its checksum.
    pub fn skip_batch(&mut self, header: &AnyBatchHeader) {
        self.skip(header.size(), header.last_offset());
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at as usize..).unwrap_or_default()
    }

    fn skip(&mut self, size: usize, last_offset: i64) {
        self.at = self.at.saturating_add(u32::try_from(size).unwrap_or(u32::MAX));
        self.previous = Some(last_offset);
    }

    /// The number of bytes not read yet; at the end, those of a batch that was cut short.
    pub fn bytes_left(&self) -> usize {
        self.rest().len()
    }

    /// The records of `first`, which [`next`](Self::next) has returned last, together with those of the batches behind it, as far as each of them has one
    /// record that is not compressed, and the same leader epoch. `None`, with nothing read, if `first` is not like that, or no other follows it.
    ///
    /// Producers that do not linger write such batches. Opened together they cost little more than the records of one batch.
    pub fn join(&mut self, first: &Batch) -> Option<Payload> {
        let Batch::V2(first) = first else { return None };
        let mut joined = Joined::begin(first)?;
        let start = (self.at as usize).checked_sub(first.size())?;
        let has_room = |at: u32| (at as usize).saturating_sub(start) < joined::ENOUGH;
        while has_room(self.at)
            && let Some((header, size)) = joined.next(self.rest(), self.crc)
        {
            let is_sound =
                self.in_order(header.base_offset(), header.last_offset()).and(self.gapless(&header)).is_ok();
            if !is_sound || !joined.push(&header) {
                break;
            }
            self.skip(size, header.last_offset());
        }
        joined.payload(self.bytes.slice(start..self.at as usize))
    }

    fn in_order(&self, base: i64, last: i64) -> Result<(), RecordError> {
        if let Some(previous) = self.previous.filter(|previous| base <= *previous) {
            return Err(RecordError::new(base, last, RecordFault::Overlap { base, previous }));
        }
        if let Some(end) = self.end.filter(|end| last >= *end) {
            return Err(RecordError::new(base, last, RecordFault::BeyondTheEnd { last, end }));
        }
        Ok(())
    }

    fn gapless(&self, header: &BatchHeader) -> Result<(), RecordError> {
        let (base, last) = (header.base_offset(), header.last_offset());
        let offsets = i64::from(header.last_offset_delta()).saturating_add(1);
        match self.gapless_from.filter(|end| last >= *end && i64::from(header.count()) < offsets) {
            Some(end) => Err(RecordError::new(base, last, RecordFault::BeyondTheEnd { last, end })),
            None => Ok(()),
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<Batch>, RecordError> {
        let rest = self.rest();
        let at = self.at as usize;
        let own = |size: usize| self.bytes.slice(at..at.saturating_add(size));
        let batch = match frame(rest)? {
            Framed::CutShort { base, need } if self.previous.is_none() && !rest.is_empty() => {
                let have = rest.len();
                return Err(RecordError::new(base, base, RecordFault::CutShort { need, have }));
            }
            Framed::CutShort { .. } => return Ok(None),
            Framed::Whole { magic: 2, size, .. } => Batch::V2(V2Batch::verify(own(size), self.crc)?),
            Framed::Whole { magic: 0 | 1, size, .. } => {
                Batch::Legacy(LegacyBatch::verify(own(size), self.crc)?)
            }
            Framed::Whole { base, magic, .. } => return Err(unknown_magic(base, magic)),
        };
        self.in_order(batch.base_offset(), batch.last_offset())?;
        if let Batch::V2(batch) = &batch {
            self.gapless(batch.header())?;
        }
        self.skip(batch.size(), batch.last_offset());
        Ok(Some(batch))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl std::iter::FusedIterator for Batches {}
