//! One record: a view into its batch, or detached from it.

use bytes::Bytes;

use super::batch::TimestampType;
use super::cursor::Payload;
use super::varint::{take_slice, varint};

/// A record, as a view into the payload it was read from. Nothing is copied; headers are decoded when looked at.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) payload: &'a Payload,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Where in the partition the record stands.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since the epoch, as [`timestamp_type`](Self::timestamp_type) means them; -1 if there are none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Who gave the timestamp.
    pub fn timestamp_type(&self) -> TimestampType {
        self.payload.timestamp_type()
    }

    /// The key; an empty one is not the same as none.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; none is a tombstone, an empty one is not.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers in the order they were written, duplicates kept.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The batch it was read from.
    pub fn payload(&self) -> &'a Payload {
        self.payload
    }

    /// A record that outlives its batch. It shares the batch's memory and keeps all of it alive: for an uncompressed batch that
    /// is the memory of the whole response.
    pub fn detach(&self) -> OwnedRecord {
        let bytes = self.payload.as_bytes();
        let shared = |part: &[u8]| bytes.slice_ref(part);
        self.owning(self.key.map(shared), self.value.map(shared), shared(self.headers.rest))
    }

    /// A record that outlives its batch, in memory of its own.
    pub fn copy(&self) -> OwnedRecord {
        let (key, value) = (self.key.unwrap_or_default(), self.value.unwrap_or_default());
        let mut own = Bytes::from([key, value, self.headers.rest].concat());
        let (key, value) = (own.split_to(key.len()), own.split_to(value.len()));
        self.owning(self.key.map(|_| key), self.value.map(|_| value), own)
    }

    /// Bytes of key, value and headers.
    pub fn size(&self) -> usize {
        let of = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        of(self.key).saturating_add(of(self.value)).saturating_add(self.headers.rest.len())
    }

    fn owning(&self, key: Option<Bytes>, value: Option<Bytes>, headers: Bytes) -> OwnedRecord {
        OwnedRecord {
            offset: self.offset,
            timestamp: self.timestamp,
            timestamp_type: self.timestamp_type(),
            key,
            value,
            header_count: self.headers.left,
            headers,
        }
    }
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key", &self.key)
            .field("value", &self.value)
            .field("headers", &self.headers)
            .finish()
    }
}

/// Two records are equal if all that was written is; which batch they stand in does not matter.
impl PartialEq for Record<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
            && self.timestamp == other.timestamp
            && self.timestamp_type() == other.timestamp_type()
            && self.key == other.key
            && self.value == other.value
            && self.headers.eq(other.headers)
    }
}

/// A record that has been detached from its batch.
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
    /// Where in the partition the record stands.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since the epoch; -1 if there are none.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Who gave the timestamp.
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

    /// The headers in the order they were written, duplicates kept.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: &self.headers, left: self.header_count }
    }
}

/// A header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key as it came. Kafka says it is UTF-8; brokers do not check.
    pub key: &'a [u8],
    /// The value, which may be absent.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The key as text.
    pub fn key_str(&self) -> Result<&'a str, std::str::Utf8Error> {
        std::str::from_utf8(self.key)
    }
}

/// The headers of a record, decoded one by one. They were found whole when the record was read.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// `rest` is what follows the header count in a record. `None` if that is not exactly `count` headers, each with
    /// a key.
    #[inline]
    pub(super) fn check(count: i32, rest: &'a [u8]) -> Option<Self> {
        if count == 0 && rest.is_empty() {
            return Some(Self { rest, left: 0 });
        }
        let left = u32::try_from(count).ok()?;
        // A header takes two bytes or more, so a count beyond that is false before anything is read.
        if left as usize > rest.len() / 2 {
            return None;
        }
        let mut walk = rest;
        for _ in 0..left {
            header(&mut walk)?;
        }
        walk.is_empty().then_some(Self { rest, left })
    }

    /// The same of what was checked before.
    #[inline(always)]
    pub(super) fn checked(count: i32, rest: &'a [u8]) -> Self {
        Self { rest, left: u32::try_from(count).unwrap_or(0) }
    }

    /// The first header with this key, if there is one.
    pub fn first(self, key: &str) -> Option<Header<'a>> {
        self.into_iter().find(|header| header.key == key.as_bytes())
    }
}

fn header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = field(rest)??;
    let value = field(rest)?;
    Some(Header { key, value })
}

/// A length and as many bytes; -1 stands for none.
#[inline(always)]
pub(super) fn field<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint(rest)?;
    match usize::try_from(length) {
        Ok(length) => take_slice(rest, length).map(Some),
        Err(_) if length == -1 => Some(None),
        Err(_) => None,
    }
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
