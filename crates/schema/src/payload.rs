//! [`Payload`]: a record's key or value, with its topic and headers.

use offtake::{OwnedRecord, Record, records::Headers};

/// The key or the value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl Part {
    /// `key` or `value`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }
}

/// A record's key or value, with its topic and headers.
#[derive(Clone)]
pub struct Payload<'a> {
    part: Part,
    topic: &'a str,
    bytes: Option<&'a [u8]>,
    headers: Option<Headers<'a>>,
}

impl<'a> Payload<'a> {
    /// The bytes of a record without headers.
    pub fn new(part: Part, topic: &'a str, bytes: Option<&'a [u8]>) -> Self {
        Self { part, topic, bytes, headers: None }
    }

    /// A record's key or value.
    #[inline]
    pub fn of(part: Part, record: &Record<'a>) -> Self {
        let bytes = match part {
            Part::Key => record.key(),
            Part::Value => record.value(),
        };
        Self { part, topic: record.topic(), bytes, headers: Some(record.headers()) }
    }

    /// The same for an owned record.
    pub fn of_owned(part: Part, record: &'a OwnedRecord) -> Self {
        let bytes = match part {
            Part::Key => record.key(),
            Part::Value => record.value(),
        };
        Self { part, topic: record.topic(), bytes: bytes.map(AsRef::as_ref), headers: Some(record.headers()) }
    }

    /// Whether it is a key or a value.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The record's topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The bytes; `None` for a tombstone.
    #[inline]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        self.bytes
    }

    /// The record's headers.
    #[inline]
    pub fn headers(&self) -> impl Iterator<Item = offtake::Header<'a>> + use<'a> {
        self.headers.into_iter().flatten()
    }
}
