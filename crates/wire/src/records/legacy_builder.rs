//! Writes message formats 0 and 1, which the producer never sends, for tests and fuzz corpora.

use bytes::Bytes;

use super::compression::{Compression, compress, write_wrong_lz4_checksum};
use super::legacy::LOG_APPEND_TIME;

/// A message to write. Offsets are written unchanged: in a v1 wrapper, the caller has to pass relative ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegacyMessage<'a> {
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970; omitted in format 0.
    pub timestamp: i64,
    /// The attributes, written unchanged.
    pub attributes: i8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl LegacyMessage<'_> {
    /// Appends the message in format `magic`.
    pub fn write(&self, magic: i8, out: &mut Vec<u8>) {
        let mut checked = vec![magic as u8, self.attributes as u8];
        if magic > 0 {
            checked.extend_from_slice(&self.timestamp.to_be_bytes());
        }
        for field in [self.key, self.value] {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap_or(i32::MAX));
            checked.extend_from_slice(&length.to_be_bytes());
            checked.extend_from_slice(field.unwrap_or_default());
        }
        let length = i32::try_from(checked.len().saturating_add(4)).unwrap_or(i32::MAX);
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
        out.extend_from_slice(&checked);
    }
}

/// Consecutive messages in format `magic`.
pub fn legacy_set(magic: i8, messages: &[LegacyMessage<'_>]) -> Bytes {
    let mut out = Vec::new();
    for message in messages {
        message.write(magic, &mut out);
    }
    out.into()
}

/// A wrapper around `inner`, an encoded set of the same format. `append_time` makes the timestamp LogAppendTime.
///
/// In format 0, the checksum of an lz4 header is written wrongly, as by old Kafka versions (KAFKA-3160).
pub fn legacy_wrapper(
    magic: i8,
    offset: i64,
    codec: Compression,
    timestamp: i64,
    append_time: bool,
    inner: &[u8],
) -> Bytes {
    let mut compressed = Vec::new();
    // If the codec fails, the value is empty, which no reader accepts.
    let _ = compress(codec, inner, &mut compressed);
    if (magic, codec) == (0, Compression::Lz4) {
        write_wrong_lz4_checksum(&mut compressed);
    }
    let attributes = codec.id() as i8 | if append_time { LOG_APPEND_TIME } else { 0 };
    legacy_set(magic, &[LegacyMessage { offset, timestamp, attributes, key: None, value: Some(&compressed) }])
}
