//! Message formats 0 and 1, which brokers up to 3.x may still have on disk and may return.
//!
//! A set consists of consecutive messages; a message with a codec in its attributes wraps a compressed set of the same format,
//! one level deep. Inner offsets are absolute in format 0 and relative in format 1 (KIP-31), where the wrapper has the offset of
//! the last. Opening a set rewrites the messages as v2 records, so that callers need not know these formats.

use bytes::Bytes;

use super::batch::{Crc, TimestampType};
use super::compression::{Compression, Decompressor, Lz4Checksum};
use super::cursor::{Layout, Payload};
use super::error::{RecordError, RecordFault};
use super::varint::{self, put_varint, put_varlong, take_slice};

pub(super) const CODEC_MASK: i8 = 0x07;
pub(super) const LOG_APPEND_TIME: i8 = 0x08;

/// One message of format 0 or 1, or a compressed set of them, with verified length and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyBatch {
    bytes: Bytes,
    offset: i64,
    magic: i8,
    compression: Compression,
}

impl LegacyBatch {
    /// Verifies `bytes`, which is exactly one message of magic 0 or 1.
    pub(super) fn verify(bytes: Bytes, crc: Crc) -> Result<Self, RecordError> {
        let message = Message::take(&mut &bytes[..], crc).map_err(|(offset, fault)| error(offset, fault))?;
        let (offset, magic) = (message.offset, message.magic);
        if offset < 0 || offset == i64::MAX {
            return Err(error(offset, RecordFault::Offset { base: offset, delta: 0 }));
        }
        let codec = (message.attributes & CODEC_MASK) as u8;
        // zstd is newer than these formats (FAILURES INPUT44).
        let compression = Compression::from_id(codec)
            .filter(|codec| *codec != Compression::Zstd)
            .ok_or_else(|| error(offset, RecordFault::UnknownCodec(codec)))?;
        Ok(Self { bytes, offset, magic, compression })
    }

    /// The offset of the message, or of the last message if it is a wrapper.
    pub fn last_offset(&self) -> i64 {
        self.offset
    }

    /// The message format: 0 or 1.
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// The compression of the inner messages; `None` if this is a single message.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The size of the complete message.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The messages, rewritten as v2 records.
    pub fn open(&self, decompressor: &mut Decompressor) -> Result<Payload, RecordError> {
        self.unwrap(decompressor).map_err(|fault| error(self.offset, fault))
    }

    fn unwrap(&self, decompressor: &mut Decompressor) -> Result<Payload, RecordFault> {
        let outer = Message::take(&mut &self.bytes[..], Crc::Trust).map_err(|(_, fault)| fault)?;
        if self.compression == Compression::None {
            return self.rewrite(&outer, self.offset, self.offset, |each| each(&outer, outer.offset));
        }
        let compressed = outer.value.ok_or(RecordFault::Legacy("a wrapper without a value"))?;
        let checksum = if self.magic == 0 { Lz4Checksum::Ignored } else { Lz4Checksum::Required };
        let inner = decompressor.decompress(self.compression, compressed, checksum)?;

        // The base of offsets in format 1 follows from the last message only, so that the set is walked twice.
        let mut ends: Option<(i64, i64)> = None;
        self.walk(&inner, Crc::Check, |message| {
            if let Some((_, last)) = ends
                && message.offset <= last
            {
                return Err(RecordFault::Legacy("inner offsets do not ascend"));
            }
            ends = Some((ends.map_or(message.offset, |(first, _)| first), message.offset));
            Ok(())
        })?;
        let (first, last) = ends.ok_or(RecordFault::Legacy("a wrapper around nothing"))?;
        if first < 0 || last > self.offset {
            return Err(RecordFault::Legacy("inner offsets beyond the wrapper's"));
        }
        // Format 0 has absolute offsets, which the wrapper limits but does not shift.
        let shift = if self.magic == 0 { 0 } else { self.offset - last };
        self.rewrite(&outer, first + shift, self.offset, |each| {
            self.walk(&inner, Crc::Trust, |message| each(message, message.offset + shift))
        })
    }

    fn walk(
        &self,
        mut set: &[u8],
        crc: Crc,
        mut each: impl FnMut(&Message<'_>) -> Result<(), RecordFault>,
    ) -> Result<(), RecordFault> {
        while !set.is_empty() {
            let message = Message::take(&mut set, crc).map_err(|(_, fault)| fault)?;
            if message.magic != self.magic {
                return Err(RecordFault::Legacy("an inner message of another format"));
            }
            if message.attributes & CODEC_MASK != 0 {
                return Err(RecordFault::Legacy("a wrapper inside a wrapper"));
            }
            each(&message)?;
        }
        Ok(())
    }

    fn rewrite(
        &self,
        outer: &Message<'_>,
        base_offset: i64,
        last_offset: i64,
        messages: impl FnOnce(
            &mut dyn FnMut(&Message<'_>, i64) -> Result<(), RecordFault>,
        ) -> Result<(), RecordFault>,
    ) -> Result<Payload, RecordFault> {
        let too_wide = RecordFault::Legacy("inner offsets further apart than a batch can be");
        let delta = |offset: i64| {
            offset.checked_sub(base_offset).and_then(|delta| i32::try_from(delta).ok()).ok_or(too_wide)
        };
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut body = Vec::new();
        let mut base_timestamp = None;
        let mut count = 0u32;
        messages(&mut |message, offset| {
            let base = *base_timestamp.get_or_insert(message.timestamp);
            body.clear();
            body.push(0);
            put_varlong(&mut body, message.timestamp.wrapping_sub(base));
            put_varint(&mut body, delta(offset)?);
            for field in [message.key, message.value] {
                // The lengths were read as i32, so that they fit.
                put_varint(&mut body, field.map_or(-1, |field| field.len() as i32));
                body.extend_from_slice(field.unwrap_or_default());
            }
            put_varint(&mut body, 0);
            let length = i32::try_from(body.len()).map_err(|_| RecordFault::RecordLength)?;
            put_varint(&mut out, length);
            out.extend_from_slice(&body);
            count = count.saturating_add(1);
            Ok(())
        })?;
        Ok(Payload {
            layout: Layout::OneBatch,
            bytes: Bytes::from(out),
            base_offset,
            last_offset_delta: delta(last_offset)?,
            base_timestamp: base_timestamp.unwrap_or(-1),
            max_timestamp: outer.timestamp,
            timestamp_type: outer.timestamp_type(),
            count,
        })
    }
}

fn error(offset: i64, fault: RecordFault) -> RecordError {
    RecordError::new(offset, offset, fault)
}

/// One message, inner or outer.
struct Message<'a> {
    offset: i64,
    magic: i8,
    attributes: i8,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Takes one message from the front of a set. An error includes the offset it concerns.
    fn take(set: &mut &'a [u8], crc: Crc) -> Result<Self, (i64, RecordFault)> {
        let (Some(offset), Some(length)) = (varint::i64(set), varint::i32(set)) else {
            return Err((0, RecordFault::Legacy("a message is cut short")));
        };
        let whole = usize::try_from(length).ok().and_then(|length| take_slice(set, length));
        let whole = whole.ok_or((offset, RecordFault::BatchLength(length)))?;
        Self::body(offset, whole, crc).map_err(|fault| (offset, fault))
    }

    fn body(offset: i64, whole: &'a [u8], crc: Crc) -> Result<Self, RecordFault> {
        let short = RecordFault::Legacy("a message is too short");
        let mut rest = whole;
        let rest = &mut rest;
        let stored = varint::u32(rest).ok_or(short)?;
        if crc == Crc::Check {
            let computed = crc32fast::hash(rest);
            if computed != stored {
                return Err(RecordFault::WrongCrc { stored, computed });
            }
        }
        let magic = varint::i8(rest).ok_or(short)?;
        let attributes = varint::i8(rest).ok_or(short)?;
        let timestamp = match magic {
            0 => -1,
            1 => varint::i64(rest).ok_or(short)?,
            other => return Err(RecordFault::Magic(other)),
        };
        let key = field(rest).ok_or(RecordFault::FieldLength)?;
        let value = field(rest).ok_or(RecordFault::FieldLength)?;
        if !rest.is_empty() {
            return Err(RecordFault::BytesLeft(rest.len()));
        }
        Ok(Self { offset, magic, attributes, timestamp, key, value })
    }

    fn timestamp_type(&self) -> TimestampType {
        match self.magic {
            0 => TimestampType::NoTimestampType,
            _ if self.attributes & LOG_APPEND_TIME != 0 => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        }
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::i32(rest)?;
    match usize::try_from(length) {
        Ok(length) => take_slice(rest, length).map(Some),
        Err(_) if length == -1 => Some(None),
        Err(_) => None,
    }
}
