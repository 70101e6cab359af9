//! [`Serializer`]: values to bytes that name their schema, for a producer.

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

/// Under which subject a schema is registered (`value.subject.name.strategy`).
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
    /// The subject of a topic's keys or values that have this schema.
    ///
    /// # Errors
    /// The strategy needs the record's name, and the schema has none.
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

/// Where a value names its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdPlace {
    /// Before the value: every consumer understands it.
    #[default]
    Payload,
    /// In headers, and the value is bare. Confluent's is one header, with the schema's GUID if the registry has told it, else with its id. Apicurio's
    /// are the id of the content, and beside it the encoding of Avro, or the name of Protobuf's message: that header is one for keys and values, so that
    /// only one of a record's two can be Protobuf.
    Header,
}

#[derive(Clone, Debug)]
enum Source {
    /// `auto.register.schemas=true`
    Register(SchemaText),
    /// `auto.register.schemas=false`: it has to be there.
    LookUp(SchemaText),
    /// `use.latest.version`
    Latest,
}

/// Makes bytes of values, which name their schema. What it learns of the registry is kept there.
#[derive(Clone, Debug)]
pub struct Serializer {
    registry: SchemaRegistry,
    source: Source,
    part: Part,
    strategy: SubjectStrategy,
    subject: Option<String>,
    normalize: bool,
    place: IdPlace,
    framing: Framing,
}

impl Serializer {
    fn new(registry: SchemaRegistry, source: Source) -> Self {
        let (strategy, place, framing) = (SubjectStrategy::default(), IdPlace::default(), Framing::default());
        Self {
            registry,
            source,
            part: Part::Value,
            strategy,
            subject: None,
            normalize: false,
            place,
            framing,
        }
    }

    /// Values are written by this schema, which is registered unless it is.
    pub fn register(registry: SchemaRegistry, schema: SchemaText) -> Self {
        Self::new(registry, Source::Register(schema))
    }

    /// By this schema, which has to be registered (`auto.register.schemas=false`).
    pub fn look_up(registry: SchemaRegistry, schema: SchemaText) -> Self {
        Self::new(registry, Source::LookUp(schema))
    }

    /// By the latest version of the subject (`use.latest.version=true`), which is looked up again after `latest.cache.ttl.sec`.
    pub fn latest(registry: SchemaRegistry) -> Self {
        Self::new(registry, Source::Latest)
    }

    /// Keys instead of values.
    pub fn of_keys(self) -> Self {
        Self { part: Part::Key, ..self }
    }

    /// How the subject is called.
    pub fn subject_strategy(self, strategy: SubjectStrategy) -> Self {
        Self { strategy, ..self }
    }

    /// This subject, whatever the topic.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// `normalize.schemas`: the registry brings schemas into a canonical form before it compares them.
    pub fn normalize(self, normalize: bool) -> Self {
        Self { normalize, ..self }
    }

    /// Where values name their schema. What headers these are is a matter of the [`framing`](Self::framing).
    pub fn id_in(self, place: IdPlace) -> Self {
        Self { place, ..self }
    }

    /// How values are framed. Apicurio's deserialisers need [`Framing::Apicurio`] for Protobuf, and take Confluent's frames of the others where they
    /// are told `apicurio.registry.as-confluent=true`. They have to be told `apicurio.registry.use-id=contentId`, and
    /// `apicurio.registry.headers.enabled=true` where ids are [in headers](Self::id_in).
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// What encodes values of a topic. The registry is asked for what is not known; it may be kept for as long as the same version is to be used.
    ///
    /// # Errors
    /// Why there is no schema.
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
        Ok(Encoder { id, guid, schema, part: self.part, place: self.place, framing: self.framing })
    }
}

/// Makes bytes of values by one schema.
#[derive(Clone, Debug)]
pub struct Encoder {
    id: u32,
    guid: Option<[u8; 16]>,
    schema: Arc<Schema>,
    part: Part,
    place: IdPlace,
    framing: Framing,
}

/// A value as it goes into a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The record's value, or key.
    pub bytes: Vec<u8>,
    /// Headers that the record needs, where these name the schema; none where the bytes do.
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

    /// A value of the user's own type. Of Protobuf it is the first message of the text, in Protobuf's JSON names or those of the text.
    ///
    /// # Errors
    /// A value that the schema does not describe; of Protobuf and JSON Schema also NaN and infinities, which JSON does not have (Protobuf takes them as
    /// strings).
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

    /// A value as `consume --registry` prints it.
    ///
    /// # Errors
    /// A value that the schema does not describe.
    pub fn encode_json(&self, value: &Value) -> Result<Encoded, EncodeError> {
        Ok(self.framed(self.schema.encode_json(value)?))
    }

    /// The same of a JSON text, whose numbers are kept exactly, or refused.
    ///
    /// # Errors
    /// As [`Schema::encode_json_text`].
    pub fn encode_json_text(&self, text: &[u8]) -> Result<Encoded, EncodeError> {
        Ok(self.framed(self.schema.encode_json_text(text)?))
    }

    fn framed(&self, value: Vec<u8>) -> Encoded {
        let mut front = Vec::with_capacity(9 + value.len());
        match self.framing {
            Framing::Confluent => {
                let indexes = (self.schema.kind() == SchemaType::Protobuf).then(MessageIndexes::default);
                match (self.place, self.guid) {
                    (IdPlace::Header, Some(guid)) => framing::push_guid(&mut front, guid),
                    (IdPlace::Header, None) | (IdPlace::Payload, _) => framing::push_id(&mut front, self.id),
                }
                indexes.into_iter().for_each(|indexes| indexes.push_to(&mut front));
            }
            Framing::Apicurio => {
                let message = self.schema.first_message();
                match self.place {
                    IdPlace::Header => {
                        let headers =
                            apicurio::headers(self.part, self.id, self.schema.kind(), message.as_deref());
                        return Encoded { bytes: value, headers };
                    }
                    IdPlace::Payload => apicurio::push_frame(&mut front, self.id, message.as_deref()),
                }
            }
        }
        match self.place {
            IdPlace::Header => {
                Encoded { bytes: value, headers: vec![(framing::id_header_name(self.part), front)] }
            }
            IdPlace::Payload => {
                front.extend_from_slice(&value);
                Encoded { bytes: front, headers: Vec::new() }
            }
        }
    }
}

impl SchemaText {
    /// The full name of its record: Avro's, the title of a JSON Schema, the first message of a `.proto` text.
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
