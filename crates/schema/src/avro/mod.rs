//! Avro: schemas, resolution, values to and from bytes.

mod budget;
mod error;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use budget::Budget;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, Mismatch, SchemaError};

/// How a value looks as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonForm {
    /// As a person or a program wants it.
    #[default]
    Plain,
    /// Avro's own JSON encoding.
    Avro,
}

/// A parsed schema. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Schema {}

impl Schema {
    /// Parses a schema; `references` are the names and texts of schemas that it names without defining them.
    pub fn parse(text: &str, references: &[(String, String)]) -> Result<Self, SchemaError> {
        let _ = (text, references);
        todo!()
    }

    /// Decodes a value by the schema it was written with, as JSON.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        let _ = (bytes, form, budget);
        todo!()
    }

    /// Decodes a value by the schema it was written with. `T` may borrow from `bytes`.
    pub fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8], budget: &Budget) -> Result<T, DecodeError> {
        let _ = (bytes, budget);
        todo!()
    }

    /// Encodes what [`JsonForm::Plain`] shows.
    pub fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        let _ = value;
        todo!()
    }

    /// Encodes a value of the user's own type.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, EncodeError> {
        let _ = value;
        todo!()
    }
}

/// A writer's schema resolved to a reader's.
#[derive(Debug, Clone)]
pub struct Resolver {}

impl Resolver {
    /// Resolves what `writer` wrote to what `reader` expects.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Self, Mismatch> {
        let _ = (writer, reader);
        todo!()
    }

    /// Decodes a value into the reader's form. `T` may borrow from `bytes`.
    pub fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8], budget: &Budget) -> Result<T, DecodeError> {
        let _ = (bytes, budget);
        todo!()
    }

    /// Decodes a value into the reader's form, as JSON.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        let _ = (bytes, form, budget);
        todo!()
    }
}
