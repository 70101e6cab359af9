//! [`DecodeError`] and [`EncodeError`]: why bytes cannot be decoded, or a value cannot be encoded.

use std::fmt;

use crate::{avro, registry::RegistryError, registry::RegistryErrorKind, schema::Schema};

/// Why a record's key or value could not be decoded, in one sentence: the record's place, its schema, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<Failure>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: DecodeErrorKind,
    reason: String,
    /// The description of the schema.
    schema: Option<String>,
    place: Option<String>,
}

/// The kind of a decoding error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// There is no value (a tombstone), and the type does not allow that.
    Null,
    /// The framing is invalid, or contains no schema id.
    Framing,
    /// The registry has no such schema.
    UnknownSchema,
    /// No registry responded, or none could answer at that time: a retry may help.
    Unavailable,
    /// A registry responded, but without a schema: it refuses this client, or its response is invalid or too large. Such a
    /// misconfiguration, here or there, can be corrected.
    RegistrySetup,
    /// The schema itself cannot be used.
    BadSchema,
    /// The writer's schema cannot be resolved to the reader's.
    Mismatch,
    /// The bytes are not valid for the schema or the format.
    Malformed,
    /// The value exceeds the budget.
    Budget,
    /// The value violates its JSON Schema.
    Invalid,
    /// The type does not accept the value.
    Target,
}

impl DecodeError {
    /// For custom deserializers: the kind of the error, and the reason in a sentence without its full stop.
    #[cold]
    pub fn new(kind: DecodeErrorKind, reason: impl fmt::Display) -> Self {
        let reason = crate::registry::printable(&reason.to_string());
        Self(Box::new(Failure { kind, reason, schema: None, place: None }))
    }

    /// Adds the schema.
    #[cold]
    pub(crate) fn of_schema(mut self, schema: &Schema) -> Self {
        let names = schema.names().shown().map(|names| format!(" ({names})")).unwrap_or_default();
        self.0.schema = Some(format!("{} schema {}{names}", schema.kind(), schema.id()));
        self
    }

    /// Adds the record's place: `value of orders-0 at offset 42`.
    #[cold]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.place = Some(place.to_string());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> DecodeErrorKind {
        self.0.kind
    }

    /// Whether the same bytes may be decodable later: the registry did not respond, or responded without a schema. All other
    /// errors are permanent, and poison for a worker.
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

    /// The error without the record's place, for callers that print it beside the record.
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
            // A misconfigured registry, or a misconfigured client, can be corrected without a change of the record.
            RegistryErrorKind::Refused
            | RegistryErrorKind::Malformed
            | RegistryErrorKind::Incompatible
            | RegistryErrorKind::Invalid
            | RegistryErrorKind::Config => DecodeErrorKind::RegistrySetup,
        };
        Self::new(kind, error)
    }
}

/// Why a value could not be encoded.
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
