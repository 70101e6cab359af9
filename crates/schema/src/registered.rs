//! [`Registered`]: a deserialiser by the schemas of a registry.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    avro::{self, Budget, JsonForm, Resolver},
    deserializer::{Deserializer, PrepareFuture, Prepared, of_null},
    error::{DecodeError, DecodeErrorKind},
    framing::{Framed, Framing, MessageIndexes, apicurio},
    id::{SchemaId, SchemaType},
    payload::Payload,
    registry::SchemaRegistry,
    schema::{Compiled, Schema},
    table::{Hit, Table},
};

/// Decodes by the schema that a registry has under the id of each record: Avro, Protobuf or JSON Schema, whichever it is.
///
/// - Avro: by the writer's schema, or resolved to a reader's ([`reader`](Self::reader)). The type may borrow.
/// - Protobuf: fields have the names of the `.proto` text, numbers of 64 bits are numbers, bytes are base64, enums names. The type cannot borrow.
///   Who has a type that `prost` generated decodes [`message`](Self::message).
/// - JSON Schema: the value is validated by its writer's schema. The type may borrow.
#[derive(Clone)]
pub struct Registered {
    registry: SchemaRegistry,
    framing: Framing,
    budget: Budget,
    reader: Option<Arc<Reader>>,
}

struct Reader {
    schema: avro::Schema,
    /// By the writer's schema.
    resolved: Table<SchemaId, Result<Resolver, DecodeError>>,
}

impl Reader {
    /// Keeps the writer's schema resolved to this one, or why it cannot be.
    fn keep(
        &self,
        writer: &Schema,
        resolved: Result<Resolver, avro::Mismatch>,
    ) -> Arc<Result<Resolver, DecodeError>> {
        let resolved = resolved
            .map_err(|mismatch| DecodeError::new(DecodeErrorKind::Mismatch, mismatch).of_schema(writer));
        self.resolved.insert(writer.id(), Arc::new(resolved), 1)
    }
}

/// So many writers' schemas are kept resolved to the reader's.
const MOST_RESOLVED: usize = 1000;

impl Registered {
    /// By the schemas of this registry.
    pub fn new(registry: SchemaRegistry) -> Self {
        Self { registry, framing: Framing::default(), budget: Budget::default(), reader: None }
    }

    /// Avro is resolved to this schema (of [`avro::Schema::parse`]): what it has and the writer's has not takes its default, what it has not is skipped.
    /// A text that may be a default, or an enum's symbol, is not among the record's bytes: it is a `String` or a `Cow<str>`, and no `&str`.
    pub fn reader(self, schema: avro::Schema) -> Self {
        let reader = Reader { schema, resolved: Table::new(MOST_RESOLVED, usize::MAX) };
        Self { reader: Some(Arc::new(reader)), ..self }
    }

    /// How values are framed.
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// How much one value may cost.
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The registry.
    pub fn registry(&self) -> &SchemaRegistry {
        &self.registry
    }

    /// The schema of a record's key or value, once it is known.
    ///
    /// # Errors
    /// Why it is not.
    pub fn schema(&self, payload: &Payload<'_>) -> Result<Arc<Schema>, DecodeError> {
        let framed = self.framing.unframe(payload)?;
        self.registry.cached(framed.id).ok_or_else(|| self.unknown(framed.id))
    }

    /// The value as JSON, as its writer's schema has it; and that schema.
    ///
    /// # Errors
    /// Why there is none.
    pub fn to_json(
        &self,
        payload: &Payload<'_>,
        form: JsonForm,
    ) -> Result<(Value, Arc<Schema>), DecodeError> {
        let framed = self.framing.unframe(payload)?;
        let schema = self.registry.cached(framed.id).ok_or_else(|| self.unknown(framed.id))?;
        let (indexes, bytes) = split(&schema, &framed)?;
        let value = schema.to_json(bytes, &indexes, form, &self.budget)?;
        Ok((value, schema))
    }

    /// The bytes behind the frame, and of Protobuf which message they are: for types that decode themselves, as `prost`'s do.
    ///
    /// # Errors
    /// It has no frame, or its schema is not known.
    pub fn message<'a>(&self, payload: &Payload<'a>) -> Result<(MessageIndexes, &'a [u8]), DecodeError> {
        let framed = self.framing.unframe(payload)?;
        let schema = self.registry.hit(&framed.id).ok_or_else(|| self.unknown(framed.id))?;
        split(&schema, &framed)
    }

    #[cold]
    fn unknown(&self, id: SchemaId) -> DecodeError {
        match self.registry.reason(id) {
            Some(error) => {
                let kind = DecodeError::from(error.clone()).kind();
                DecodeError::new(kind, format!("schema {id} is not known: {error}"))
            }
            None => DecodeError::new(DecodeErrorKind::Unavailable, format!("schema {id} is not known yet")),
        }
    }

    fn decode_avro<'a, V: Deserialize<'a>>(
        &self,
        writer: &Schema,
        schema: &avro::Schema,
        bytes: &'a [u8],
    ) -> Result<V, DecodeError> {
        let Some(reader) = &self.reader else { return Ok(schema.decode(bytes, &self.budget)?) };
        let (kept, made);
        let resolved: &Result<Resolver, DecodeError> = match reader.resolved.get(&writer.id()) {
            Some(hit) => {
                kept = hit;
                &kept
            }
            None => {
                made = reader.keep(writer, Resolver::new(schema, &reader.schema));
                &made
            }
        };
        match resolved {
            Ok(resolver) => Ok(resolver.decode(bytes, &self.budget)?),
            Err(error) => Err(error.clone()),
        }
    }
}

impl Deserializer for Registered {
    #[inline]
    fn missing(&self, payload: &Payload<'_>) -> Option<SchemaId> {
        let id = self.framing.unframe(payload).ok()?.id;
        let is_ready = match (self.registry.hit(&id), &self.reader) {
            (Some(Hit::InSlot(_)), None) => true,
            // One that is to be resolved is, so that a sentence about what does not fit says where it comes from.
            (Some(Hit::InSlot(schema)), Some(reader)) => {
                schema.kind() != SchemaType::Avro || matches!(reader.resolved.get(&id), Some(Hit::InSlot(_)))
            }
            // What is not in a slot may be forgotten at any time.
            (Some(Hit::BehindLock(_)) | None, _) => false,
        };
        (!is_ready).then_some(id)
    }

    fn prepare(&self, id: SchemaId, limit: Duration) -> PrepareFuture<'_> {
        Box::pin(async move {
            let schema = if limit.is_zero() {
                self.registry.schema(id).await?
            } else {
                self.registry.schema_within(id, limit).await?
            };
            let (Some(reader), Ok(Compiled::Avro(writers))) = (&self.reader, schema.compiled()) else {
                return Ok(Prepared::holding(schema));
            };
            let resolved = Resolver::new(writers, &reader.schema);
            // A sentence about a schema that does not fit says where it comes from.
            if resolved.is_err() {
                self.registry.learn_names(&schema).await;
            }
            let resolved = reader.keep(&schema, resolved);
            Ok(Prepared::holding((schema, resolved)))
        })
    }

    fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        if payload.bytes().is_none() {
            return of_null();
        }
        let framed = self.framing.unframe(payload)?;
        let Some(schema) = self.registry.hit(&framed.id) else { return Err(self.unknown(framed.id)) };
        let (indexes, bytes) = split(&schema, &framed)?;
        let value = match schema.compiled()? {
            Compiled::Avro(avro) => self.decode_avro(&schema, avro, bytes),
            #[cfg(feature = "protobuf")]
            Compiled::Protobuf(protobuf) => {
                protobuf.to_fields(&indexes, bytes, &self.budget).and_then(|value| {
                    V::deserialize(value).map_err(|error| DecodeError::new(DecodeErrorKind::Target, error))
                })
            }
            #[cfg(feature = "json-schema")]
            Compiled::Json(validator) => {
                validator.to_json(bytes, &self.budget).and_then(|_| crate::deserializer::from_json(bytes))
            }
        };
        value.map_err(|error| error.of_schema(&schema))
    }
}

/// Takes off what Protobuf has between the frame and the message.
#[inline]
fn split<'a>(schema: &Schema, framed: &Framed<'a>) -> Result<(MessageIndexes, &'a [u8]), DecodeError> {
    if schema.kind() != SchemaType::Protobuf {
        return Ok((MessageIndexes::none(), framed.rest));
    }
    if let Some(name) = framed.message {
        let message = schema.message_by_name(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            DecodeError::new(DecodeErrorKind::Framing, format!("its schema has no message {name}"))
        })?;
        return Ok((message, framed.rest));
    }
    if let Some(indexes) = framed.indexes {
        return Ok((MessageIndexes::split_from(indexes)?.0, framed.rest));
    }
    // Apicurio's serialisers write a name where Confluent's write indexes, also where they write Confluent's ids.
    if let Some((name, rest)) = apicurio::split_name(framed.rest)
        && let Some(message) = schema.message_by_name(name)
    {
        return Ok((message, rest));
    }
    MessageIndexes::split_from(framed.rest)
}
