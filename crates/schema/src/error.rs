//! [`DecodeError`] and [`EncodeError`]: why bytes are no value, and a value no bytes.

use std::fmt;

use crate::{avro, registry::RegistryError, registry::RegistryErrorKind, schema::Schema};

/// Why a record's key or value could not be made of its bytes, in one sentence: where the record is, its schema, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<Failure>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: DecodeErrorKind,
    reason: String,
    /// Of the schema, as sentences call it.
    schema: Option<String>,
    place: Option<String>,
}

/// What kind of thing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// There is no value (a tombstone), and the type has no place for that.
    Null,
    /// The bytes do not begin as they have to, or name no schema.
    Framing,
    /// The registry has no such schema.
    UnknownSchema,
    /// No registry answered, or none that could do it then: it may go better later.
    Unavailable,
    /// A registry answered, but with no schema: it refuses who asks, or what it sends is no answer of a registry or too large. What is set up wrongly, here
    /// or there, may be mended.
    RegistrySetup,
    /// The schema itself cannot be used.
    BadSchema,
    /// The schema that it was written with cannot be resolved to the reader's.
    Mismatch,
    /// The bytes are none that the schema, or the format, writes.
    Malformed,
    /// The value asks for more than the budget.
    Budget,
    /// The value does not follow its JSON Schema.
    Invalid,
    /// The type does not take the value.
    Target,
}

impl DecodeError {
    /// For deserialisers of one's own: what kind of thing was wrong, and what, in a sentence without its full stop.
    #[cold]
    pub fn new(kind: DecodeErrorKind, reason: impl fmt::Display) -> Self {
        let reason = crate::registry::printable(&reason.to_string());
        Self(Box::new(Failure { kind, reason, schema: None, place: None }))
    }

    /// Says of which schema.
    #[cold]
    pub(crate) fn of_schema(mut self, schema: &Schema) -> Self {
        let names = schema.names().shown().map(|names| format!(" ({names})")).unwrap_or_default();
        self.0.schema = Some(format!("{} schema {}{names}", schema.kind(), schema.id()));
        self
    }

    /// Says of which record: `value of orders-0 at offset 42`.
    #[cold]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.place = Some(place.to_string());
        self
    }

    /// What kind of thing was wrong.
    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// Whether the same bytes may be decoded later: the registry did not answer, or did not answer with a schema. All else is for good, and poison for
    /// a worker.
    pub fn is_retriable(&self) -> bool {
        match self.0.kind {
            DecodeErrorKind::Unavailable | DecodeErrorKind::RegistrySetup => true,
            DecodeErrorKind::Null
            | DecodeErrorKind::Framing
            | DecodeErrorKind::UnknownSchema
            | DecodeErrorKind::BadSchema
            | DecodeErrorKind::Mismatch
            | DecodeErrorKind::Malformed
            | DecodeErrorKind::Budget
            | DecodeErrorKind::Invalid
            | DecodeErrorKind::Target => false,
        }
    }

    /// Without the record's place, which a caller who prints it beside the record knows.
    pub fn reason(&self) -> String {
        match &self.0.schema {
            Some(schema) => format!("{schema}: {}", self.0.reason),
            None => self.0.reason.clone(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.reason())
    }
}

impl std::error::Error for DecodeError {}

impl From<avro::DecodeError> for DecodeError {
    #[cold]
    fn from(error: avro::DecodeError) -> Self {
        let kind = match error.kind() {
            avro::DecodeErrorKind::Malformed => DecodeErrorKind::Malformed,
            avro::DecodeErrorKind::Budget => DecodeErrorKind::Budget,
            avro::DecodeErrorKind::Unresolved => DecodeErrorKind::Mismatch,
            avro::DecodeErrorKind::Target => DecodeErrorKind::Target,
        };
        Self::new(kind, error)
    }
}

impl From<RegistryError> for DecodeError {
    #[cold]
    fn from(error: RegistryError) -> Self {
        let kind = match error.kind() {
            RegistryErrorKind::NotFound => DecodeErrorKind::UnknownSchema,
            RegistryErrorKind::BadSchema => DecodeErrorKind::BadSchema,
            RegistryErrorKind::Unavailable => DecodeErrorKind::Unavailable,
            // A registry that is wrongly set up, or that we are wrongly told of, is mended without a change of the record.
            RegistryErrorKind::Refused
            | RegistryErrorKind::Malformed
            | RegistryErrorKind::Incompatible
            | RegistryErrorKind::Invalid
            | RegistryErrorKind::Config => DecodeErrorKind::RegistrySetup,
        };
        Self::new(kind, error)
    }
}

/// Why a value could not be made bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(String);

impl EncodeError {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self(crate::registry::printable(&reason.to_string()))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}
