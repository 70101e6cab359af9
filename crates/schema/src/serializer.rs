//! [`Serializer`]: encodes values with the id of their schema, for a producer.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::EncodeError,
    finite,
    framing::{self, Framing, MessageIndexes, apicurio},
    id::SchemaType,
    payload::Part,
    proto_text,
    registry::SchemaRegistry,
    schema::{Compiled, Schema, SchemaText},
};

/// The subject under which a schema is registered (`value.subject.name.strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectStrategy {
    /// `TopicNameStrategy`: `orders-value`, `orders-key`.
    #[default]
    Topic,
    /// `RecordNameStrategy`: the record's full name, whatever the topic.
    Record,
    /// `TopicRecordNameStrategy`: `orders-com.example.Order`.
    TopicRecord,
}

impl SubjectStrategy {
    /// The subject for a topic's keys or values with this schema.
    ///
    /// # Errors
    /// The strategy needs the record's name, but the schema has none.
    pub fn subject(
        self,
        topic: &str,
        part: Part,
        schema: Option<&SchemaText>,
    ) -> Result<String, EncodeError> {
        let record = || {
            let name = schema.and_then(SchemaText::record_name);
            name.ok_or_else(|| EncodeError::new("the subject is the record's name, and the schema has none"))
        };
        Ok(match self {
            Self::Topic => format!("{topic}-{}", part.name()),
            Self::Record => record()?,
            Self::TopicRecord => format!("{topic}-{}", record()?),
        })
    }
}

/// The location of the schema's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdLocation {
    /// Before the value, where every consumer understands it.
    #[default]
    Payload,
    /// In headers; the value is bare. Confluent uses one header, with the schema's GUID if the registry returned it, otherwise
    /// with its id. Apicurio uses a header with the content id, and one with the encoding for Avro, or with the message's name
    /// for Protobuf. That last header is shared by keys and values, so that only one of a record's two can be Protobuf.
    Header,
}

#[derive(Clone, Debug)]
enum Source {
    /// `auto.register.schemas=true`
    Register(SchemaText),
    /// `auto.register.schemas=false`: it has to be registered already.
    LookUp(SchemaText),
    /// `use.latest.version`
    Latest,
}

/// Encodes values with the ids of their schemas. Responses of the registry are cached there.
#[derive(Clone, Debug)]
pub struct Serializer {
    registry: SchemaRegistry,
    source: Source,
    part: Part,
    strategy: SubjectStrategy,
    subject: Option<String>,
    normalize: bool,
    location: IdLocation,
    framing: Framing,
}

impl Serializer {
    fn new(registry: SchemaRegistry, source: Source) -> Self {
        let (strategy, location, framing) =
            (SubjectStrategy::default(), IdLocation::default(), Framing::default());
        Self {
            registry,
            source,
            part: Part::Value,
            strategy,
            subject: None,
            normalize: false,
            location,
            framing,
        }
    }

    /// Writes values with this schema, which is registered if necessary.
    pub fn register(registry: SchemaRegistry, schema: SchemaText) -> Self {
        Self::new(registry, Source::Register(schema))
    }

    /// Writes values with this schema, which has to be registered already (`auto.register.schemas=false`).
    pub fn look_up(registry: SchemaRegistry, schema: SchemaText) -> Self {
        Self::new(registry, Source::LookUp(schema))
    }

    /// Writes values with the latest version of the subject (`use.latest.version=true`), which is looked up again after
    /// `latest.cache.ttl.sec`.
    pub fn latest(registry: SchemaRegistry) -> Self {
        Self::new(registry, Source::Latest)
    }

    /// Encodes keys instead of values.
    pub fn of_keys(self) -> Self {
        Self { part: Part::Key, ..self }
    }

    /// Sets the naming strategy of subjects.
    pub fn subject_strategy(self, strategy: SubjectStrategy) -> Self {
        Self { strategy, ..self }
    }

    /// Uses this subject, whatever the topic.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// `normalize.schemas`: the registry converts schemas to a canonical form before comparing them.
    pub fn normalize(self, normalize: bool) -> Self {
        Self { normalize, ..self }
    }

    /// Sets the location of the schema's id. The [`framing`](Self::framing) determines the headers.
    pub fn id_location(self, location: IdLocation) -> Self {
        Self { location, ..self }
    }

    /// Sets the framing. Apicurio's deserializers need [`Framing::Apicurio`] for Protobuf, and accept Confluent's framing for the
    /// other types if they are configured with `apicurio.registry.as-confluent=true`. They also need
    /// `apicurio.registry.use-id=contentId`, and `apicurio.registry.headers.enabled=true` if ids are
    /// [in headers](Self::id_location).
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// The encoder for values of a topic. Queries the registry if necessary. Keep the encoder as long as the same version is to
    /// be used.
    ///
    /// # Errors
    /// The reason.
    pub async fn encoder(&self, topic: &str) -> Result<Encoder, EncodeError> {
        let subject = |schema: Option<&SchemaText>| match &self.subject {
            Some(subject) => Ok(subject.clone()),
            None => self.strategy.subject(topic, self.part, schema),
        };
        let mut guid = None;
        let (id, schema) = match &self.source {
            Source::Register(schema) => {
                let subject = subject(Some(schema))?;
                (self.registry.register(&subject, schema, self.normalize).await, schema.clone())
            }
            Source::LookUp(schema) => {
                let subject = subject(Some(schema))?;
                (self.registry.lookup(&subject, schema, self.normalize).await, schema.clone())
            }
            Source::Latest => {
                let latest = self.registry.latest(&subject(None)?).await.map_err(EncodeError::new)?;
                guid = latest.guid;
                (Ok(latest.id), latest.schema.clone())
            }
        };
        let id = id.map_err(EncodeError::new)?;
        let schema = self.registry.prepare(id, &schema).await.map_err(EncodeError::new)?;
        Ok(Encoder { id, guid, schema, part: self.part, location: self.location, framing: self.framing })
    }
}

/// Encodes values with one schema.
#[derive(Clone, Debug)]
pub struct Encoder {
    id: u32,
    guid: Option<[u8; 16]>,
    schema: Arc<Schema>,
    part: Part,
    location: IdLocation,
    framing: Framing,
}

/// An encoded value for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes of the record's value, or key.
    pub bytes: Vec<u8>,
    /// The headers that the record needs, if they name the schema; empty if the bytes do.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl Encoder {
    /// The schema's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Encodes a value of a user type. For Protobuf it is the first message of the text, with Protobuf's JSON names or those of
    /// the text.
    ///
    /// # Errors
    /// The schema does not describe the value; or, for Protobuf and JSON Schema, the value contains NaN or an infinity, which
    /// JSON does not support (Protobuf accepts them as strings).
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Encoded, EncodeError> {
        let bytes = match self.schema.compiled() {
            Ok(Compiled::Avro(schema)) => schema.encode(value).map_err(EncodeError::new)?,
            _ => {
                finite::check(value)?;
                self.schema.encode_json(&serde_json::to_value(value).map_err(EncodeError::new)?)?
            }
        };
        Ok(self.framed(bytes))
    }

    /// Encodes a value in the form printed by `consume --registry`.
    ///
    /// # Errors
    /// The schema does not describe the value.
    pub fn encode_json(&self, value: &Value) -> Result<Encoded, EncodeError> {
        Ok(self.framed(self.schema.encode_json(value)?))
    }

    /// The same for a JSON text, whose numbers are kept exactly, or refused.
    ///
    /// # Errors
    /// Those of [`Schema::encode_json_text`].
    pub fn encode_json_text(&self, text: &[u8]) -> Result<Encoded, EncodeError> {
        Ok(self.framed(self.schema.encode_json_text(text)?))
    }

    fn framed(&self, value: Vec<u8>) -> Encoded {
        let mut front = Vec::with_capacity(9 + value.len());
        match self.framing {
            Framing::Confluent => {
                let indexes = (self.schema.kind() == SchemaType::Protobuf).then(MessageIndexes::default);
                match (self.location, self.guid) {
                    (IdLocation::Header, Some(guid)) => framing::push_guid(&mut front, guid),
                    (IdLocation::Header, None) | (IdLocation::Payload, _) => {
                        framing::push_id(&mut front, self.id)
                    }
                }
                indexes.into_iter().for_each(|indexes| indexes.push_to(&mut front));
            }
            Framing::Apicurio => {
                let message = self.schema.first_message();
                match self.location {
                    IdLocation::Header => {
                        let headers =
                            apicurio::headers(self.part, self.id, self.schema.kind(), message.as_deref());
                        return Encoded { bytes: value, headers };
                    }
                    IdLocation::Payload => apicurio::push_frame(&mut front, self.id, message.as_deref()),
                }
            }
        }
        match self.location {
            IdLocation::Header => {
                Encoded { bytes: value, headers: vec![(framing::id_header_name(self.part), front)] }
            }
            IdLocation::Payload => {
                front.extend_from_slice(&value);
                Encoded { bytes: front, headers: Vec::new() }
            }
        }
    }
}

impl SchemaText {
    /// The full name of the record: that of Avro, the title of a JSON Schema, or the first message of a `.proto` text.
    pub fn record_name(&self) -> Option<String> {
        let json = || serde_json::from_str::<Value>(&self.text).ok();
        match self.kind {
            SchemaType::Avro => {
                let schema = json()?;
                let name = schema.get("name")?.as_str()?.to_owned();
                let namespace = schema.get("namespace").and_then(Value::as_str).filter(|one| !one.is_empty());
                Some(match namespace {
                    Some(namespace) if !name.contains('.') => format!("{namespace}.{name}"),
                    _ => name,
                })
            }
            SchemaType::Json => json()?.get("title")?.as_str().map(str::to_owned),
            SchemaType::Protobuf => proto_text::first_message(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_called_by_topic_record_or_both() {
        let avro = SchemaText::new(
            SchemaType::Avro,
            r#"{"type":"record","name":"Order","namespace":"com.example"}"#,
        );
        let of = |strategy: SubjectStrategy, part| strategy.subject("orders", part, Some(&avro)).unwrap();
        assert_eq!(of(SubjectStrategy::Topic, Part::Value), "orders-value");
        assert_eq!(of(SubjectStrategy::Topic, Part::Key), "orders-key");
        assert_eq!(of(SubjectStrategy::Record, Part::Value), "com.example.Order");
        assert_eq!(of(SubjectStrategy::TopicRecord, Part::Value), "orders-com.example.Order");
        assert!(SubjectStrategy::Record.subject("orders", Part::Value, None).is_err());
    }

    #[test]
    fn a_schema_knows_its_records_name() {
        for (kind, text, name) in [
            (SchemaType::Avro, r#"{"type":"record","name":"a.B","namespace":"c"}"#, Some("a.B")),
            (SchemaType::Avro, r#""string""#, None),
            (SchemaType::Json, r#"{"title":"Order"}"#, Some("Order")),
            (SchemaType::Protobuf, "// A message.\npackage a.b; message Order {}", Some("a.b.Order")),
        ] {
            assert_eq!(SchemaText::new(kind, text).record_name().as_deref(), name, "{text}");
        }
    }
}
