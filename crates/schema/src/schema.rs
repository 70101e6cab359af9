//! [`Schema`]: a registered schema, compiled for decoding.

use serde_json::Value;

use crate::{
    avro::{self, Budget, JsonForm},
    error::{DecodeError, DecodeErrorKind, EncodeError},
    id::{SchemaId, SchemaType},
    names::Names,
    numbers::{self, Kept},
};

/// The text of a schema, as registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaText {
    /// The language.
    pub kind: SchemaType,
    /// The text: JSON, or a `.proto` file.
    pub text: String,
    /// The referenced schemas.
    pub references: Vec<Reference>,
}

/// A reference of a schema to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The name used in the schema: a full name, the path of an import, a URI.
    pub name: String,
    /// The subject that has it.
    pub subject: String,
    /// The version.
    pub version: u32,
}

impl SchemaText {
    /// A schema without references.
    pub fn new(kind: SchemaType, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), references: Vec::new() }
    }

    /// Adds a reference.
    pub fn reference(mut self, name: impl Into<String>, subject: impl Into<String>, version: u32) -> Self {
        self.references.push(Reference { name: name.into(), subject: subject.into(), version });
        self
    }
}

/// A registered schema, compiled for decoding.
#[derive(Debug)]
pub struct Schema {
    id: SchemaId,
    text: SchemaText,
    compiled: Result<Compiled, String>,
    names: Names,
}

#[derive(Debug)]
pub(crate) enum Compiled {
    Avro(avro::Schema),
    #[cfg(feature = "protobuf")]
    Protobuf(crate::protobuf::Schema),
    #[cfg(feature = "json-schema")]
    Json(crate::json_schema::Validator),
}

impl Schema {
    /// Compiles a schema without a registry. `references` are the names and texts of all schemas that it refers to, directly or indirectly;
    /// a schema's own references come before it. If the schema is invalid, that is reported when it is used.
    pub fn new(id: SchemaId, text: SchemaText, references: &[(String, String)]) -> Self {
        let compiled = Compiled::new(text.kind, &text.text, references);
        Self { id, text, compiled, names: Names::default() }
    }

    /// The id by which records name it.
    pub fn id(&self) -> SchemaId {
        self.id
    }

    /// The language.
    pub fn kind(&self) -> SchemaType {
        self.text.kind
    }

    /// The text, as registered.
    pub fn text(&self) -> &SchemaText {
        &self.text
    }

    /// The subjects and versions under which it is registered, if they were requested.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The Protobuf message with this name, without its package.
    pub(crate) fn message_by_name(&self, name: &[u8]) -> Option<crate::framing::MessageIndexes> {
        match &self.compiled {
            #[cfg(feature = "protobuf")]
            Ok(Compiled::Protobuf(schema)) => schema.by_name(std::str::from_utf8(name).ok()?),
            _ => {
                let _ = name;
                None
            }
        }
    }

    /// The name of the first Protobuf message, without its package.
    pub(crate) fn first_message(&self) -> Option<String> {
        match &self.compiled {
            #[cfg(feature = "protobuf")]
            Ok(Compiled::Protobuf(schema)) => schema.first_name(),
            _ => None,
        }
    }

    /// The compiled form, or the reason why there is none.
    pub(crate) fn compiled(&self) -> Result<&Compiled, DecodeError> {
        self.compiled.as_ref().map_err(|reason| {
            let reason = format!("the schema cannot be used: {reason}");
            DecodeError::new(DecodeErrorKind::BadSchema, reason).of_schema(self)
        })
    }

    /// Decodes a value written with this schema to JSON. `indexes` come from the framing of Protobuf.
    ///
    /// # Errors
    /// Bytes that are invalid for this schema, or that exceed the budget.
    pub fn to_json(
        &self,
        payload: &[u8],
        indexes: &crate::framing::MessageIndexes,
        form: JsonForm,
        budget: &Budget,
    ) -> Result<Value, DecodeError> {
        let value = match self.compiled()? {
            Compiled::Avro(schema) => schema.to_json(payload, form, budget).map_err(DecodeError::from),
            #[cfg(feature = "protobuf")]
            Compiled::Protobuf(schema) => schema.to_json(indexes, payload, budget),
            #[cfg(feature = "json-schema")]
            Compiled::Json(validator) => validator.to_json(payload, budget),
        };
        #[cfg(not(feature = "protobuf"))]
        let _ = indexes;
        value.map_err(|error| error.of_schema(self))
    }

    /// Encodes the form of [`to_json`](Self::to_json), without framing. For Protobuf, it encodes the first message of the text.
    ///
    /// # Errors
    /// A value that the schema does not describe.
    pub fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        match self.compiled.as_ref().map_err(|reason| EncodeError::new(reason.as_str()))? {
            Compiled::Avro(schema) => schema.encode_json(value).map_err(EncodeError::new),
            #[cfg(feature = "protobuf")]
            Compiled::Protobuf(schema) => schema.encode_json(value),
            #[cfg(feature = "json-schema")]
            Compiled::Json(validator) => validator.encode_json(value),
        }
    }

    /// The same for a JSON text, whose numbers are kept exactly, or refused.
    ///
    /// # Errors
    /// The text is not JSON; a number exceeds 64 bits or has more digits than a double (for a decimal: write it as a string); or
    /// the schema does not describe the value.
    pub fn encode_json_text(&self, text: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let kept = match &self.compiled {
            Ok(Compiled::Avro(schema)) if schema.has_decimals() => Kept::AsDecimals,
            _ => Kept::AsDoubles,
        };
        numbers::check(text, kept).map_err(EncodeError::new)?;
        let value = serde_json::from_slice(text);
        self.encode_json(&value.map_err(|error| EncodeError::new(format!("it is not JSON: {error}")))?)
    }

    /// An estimate of its size in memory.
    pub(crate) fn weight(&self, references: &[(String, String)]) -> usize {
        let texts = references.iter().map(|(name, text)| name.len().saturating_add(text.len()));
        texts.fold(self.text.text.len().saturating_add(1024), usize::saturating_add)
    }
}

impl Compiled {
    fn new(kind: SchemaType, text: &str, references: &[(String, String)]) -> Result<Self, String> {
        match kind {
            SchemaType::Avro => {
                avro::Schema::parse(text, references).map(Self::Avro).map_err(|error| error.to_string())
            }
            #[cfg(feature = "protobuf")]
            SchemaType::Protobuf => crate::protobuf::Schema::parse(text, references).map(Self::Protobuf),
            #[cfg(not(feature = "protobuf"))]
            SchemaType::Protobuf => {
                Err("this program was built without the cargo feature `protobuf`".to_owned())
            }
            #[cfg(feature = "json-schema")]
            SchemaType::Json => crate::json_schema::Validator::parse(text, references).map(Self::Json),
            #[cfg(not(feature = "json-schema"))]
            SchemaType::Json => {
                Err("this program was built without the cargo feature `json-schema`".to_owned())
            }
        }
    }
}
