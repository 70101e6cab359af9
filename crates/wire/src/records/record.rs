//! Records: views into a batch, or detached from it.

use bytes::Bytes;

use super::batch::TimestampType;
use super::cursor::Payload;
use super::varint::{take, take_slice, varint, varlong};

/// The positions of a record's parts in the bytes of its [`Payload`], stored when it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The difference between the offset of the record and the first offset of the batch.
    pub(super) delta: i32,
    /// The position of the record, including its length.
    pub(super) record: u32,
    /// The bytes of the record before its key: at most 26.
    pub(super) before_key: u8,
    /// Without this, whoever asks for the headers of a large record that has none would wait for the memory at its end.
    pub(super) has_headers: bool,
    /// Negative for null.
    pub(super) key_len: i32,
    pub(super) value: Field,
}

/// The position of a part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) at: u32,
    /// Negative for null.
    pub(super) len: i32,
}

/// A record, as a view into its payload. Nothing is copied; headers are decoded on access.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) payload: &'a Payload,
    pub(super) row: Row,
}

impl<'a> Record<'a> {
    /// The record's offset in its partition.
    #[inline]
    pub fn offset(&self) -> i64 {
        self.payload.offset(self.row.delta)
    }

    /// The timestamp in milliseconds since 1970, set by the party in [`timestamp_type`](Self::timestamp_type); -1 if there is
    /// none.
    pub fn timestamp(&self) -> i64 {
        self.payload.timestamp(self.row.record, || {
            let mut lead = self.payload.as_bytes().get(self.row.record as usize..).unwrap_or_default();
            let _length = varint(&mut lead);
            let _attributes = take::<1>(&mut lead);
            varlong(&mut lead).unwrap_or(0)
        })
    }

    /// The source of the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        self.payload.timestamp_type()
    }

    /// The key. An empty key differs from none.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        let Row { record, before_key, key_len, .. } = self.row;
        self.field(Field { at: record.saturating_add(before_key.into()), len: key_len })
    }

    /// The value. `None` is a tombstone, unlike an empty value.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.field(self.row.value)
    }

    /// The headers in their original order, including duplicates.
    #[inline]
    pub fn headers(&self) -> Headers<'a> {
        if !self.row.has_headers {
            return Headers::default();
        }
        let Field { at, len } = self.row.value;
        let value_end = (at as usize).saturating_add(usize::try_from(len).unwrap_or(0));
        let mut rest = self.payload.as_bytes().get(value_end..).unwrap_or_default();
        let count = varint(&mut rest).and_then(|count| u32::try_from(count).ok());
        Headers { rest, left: count.unwrap_or(0) }
    }

    /// The bytes of the headers, without their count.
    fn header_bytes(&self) -> &'a [u8] {
        let headers = self.headers();
        let mut behind = headers;
        behind.by_ref().for_each(drop);
        headers.rest.get(..headers.rest.len().saturating_sub(behind.rest.len())).unwrap_or_default()
    }

    /// The payload that it belongs to.
    pub fn payload(&self) -> &'a Payload {
        self.payload
    }

    /// A record that outlives its batch. It shares the batch's memory and keeps all of it alive; for an uncompressed batch, that
    /// is the memory of the whole response.
    pub fn detach(&self) -> OwnedRecord {
        let bytes = self.payload.as_bytes();
        let shared = |part: &[u8]| bytes.slice_ref(part);
        self.owning(self.key().map(shared), self.value().map(shared), shared(self.header_bytes()))
    }

    /// A record that outlives its batch, with its own memory.
    pub fn copy(&self) -> OwnedRecord {
        let (key, value) = (self.key().unwrap_or_default(), self.value().unwrap_or_default());
        let mut own = Bytes::from([key, value, self.header_bytes()].concat());
        let (key, value) = (own.split_to(key.len()), own.split_to(value.len()));
        self.owning(self.key().map(|_| key), self.value().map(|_| value), own)
    }

    /// The number of bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        of(self.key()).saturating_add(of(self.value())).saturating_add(self.header_bytes().len())
    }

    #[inline]
    fn field(&self, Field { at, len }: Field) -> Option<&'a [u8]> {
        let (at, len) = (at as usize, usize::try_from(len).ok()?);
        Some(self.payload.as_bytes().get(at..at.saturating_add(len)).unwrap_or_default())
    }

    fn owning(&self, key: Option<Bytes>, value: Option<Bytes>, headers: Bytes) -> OwnedRecord {
        OwnedRecord {
            offset: self.offset(),
            timestamp: self.timestamp(),
            timestamp_type: self.timestamp_type(),
            key,
            value,
            header_count: self.headers().left,
            headers,
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key", &self.key())
            .field("value", &self.value())
            .field("headers", &self.headers())
            .finish()
    }
}

/// Two records are equal if their contents are equal, whatever batches they are in.
impl PartialEq for Record<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.offset() == other.offset()
            && self.timestamp() == other.timestamp()
            && self.timestamp_type() == other.timestamp_type()
            && self.key() == other.key()
            && self.value() == other.value()
            && self.headers().eq(other.headers())
    }
}

/// A record detached from its batch.
#[derive(Debug, Clone)]
pub struct OwnedRecord {
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    key: Option<Bytes>,
    value: Option<Bytes>,
    header_count: u32,
    headers: Bytes,
}

impl OwnedRecord {
    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The timestamp in milliseconds since 1970; -1 if there is none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// The source of the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        self.timestamp_type
    }

    /// The key.
    pub fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The value.
    pub fn value(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// The headers in their original order, including duplicates.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: &self.headers, left: self.header_count }
    }
}

/// A header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key, unchanged. It should be UTF-8, but brokers do not check that.
    pub key: &'a [u8],
    /// The value, if there is one.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The key as text.
    pub fn key_str(&self) -> Result<&'a str, std::str::Utf8Error> {
        std::str::from_utf8(self.key)
    }
}

/// The headers of a record, decoded one by one. They were checked when the record was read.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    /// The bytes from the next header on; bytes after the last one are ignored.
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// Whether `rest`, which follows the header count in a record, consists of exactly `count` headers, each with a key.
    #[inline]
    pub(super) fn are_whole(count: i32, rest: &[u8]) -> bool {
        if count == 0 {
            return rest.is_empty();
        }
        // A header takes at least two bytes, so that a larger count is refused before anything is read.
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= rest.len() / 2) else {
            return false;
        };
        let mut walk = rest;
        (0..count).all(|_| header(&mut walk).is_some()) && walk.is_empty()
    }

    /// The first header with this key, if there is one.
    pub fn first(self, key: &str) -> Option<Header<'a>> {
        self.into_iter().find(|header| header.key == key.as_bytes())
    }
}

#[inline]
fn header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = field(rest)??;
    let value = field(rest)?;
    Some(Header { key, value })
}

/// A length and that many bytes; -1 means none.
#[inline(always)]
fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match usize::try_from(field_len(rest)?) {
        Ok(length) => take_slice(rest, length).map(Some),
        Err(_) => Some(None),
    }
}

/// The length of a key or a value; -1 means none, and other negative lengths are refused.
#[inline(always)]
pub(super) fn field_len(rest: &mut &[u8]) -> Option<i32> {
    varint(rest).filter(|length| *length >= -1)
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        header(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl std::iter::FusedIterator for Headers<'_> {}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
