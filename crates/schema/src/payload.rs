//! [`Payload`]: a record's key or value, with what stands beside it.

use offtake::{OwnedRecord, Record, records::Headers};

/// Which of a record's two.
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

/// A record's key or value, with what stands beside it.
#[derive(Clone)]
pub struct Payload<'a> {
    part: Part,
    topic: &'a str,
    bytes: Option<&'a [u8]>,
    headers: Option<Headers<'a>>,
}

impl<'a> Payload<'a> {
    /// Bytes of a record that has no headers.
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

    /// The same of a record that outlives what it came in.
    pub fn of_owned(part: Part, record: &'a OwnedRecord) -> Self {
        let bytes = match part {
            Part::Key => record.key(),
            Part::Value => record.value(),
        };
        Self { part, topic: record.topic(), bytes: bytes.map(AsRef::as_ref), headers: Some(record.headers()) }
    }

    /// Which it is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The record's topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// As they came; `None` of a tombstone.
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
