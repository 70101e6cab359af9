//! The methods of a [`Schema`] and of a [`Resolver`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget::Budget;
use super::compile;
use super::de;
use super::encode_json;
use super::error::{DecodeError, EncodeError, Mismatch, SchemaError};
use super::json::{self, JsonForm};
use super::parse;
use super::program::Program;
use super::schema::{Parsed, Schema};
use super::ser::To;

impl Schema {
    /// Parses the JSON of a schema.
    ///
    /// `references` are names and texts of schemas that it uses without defining them, as in a registry. The references of a
    /// reference have to come before it, or are found by name.
    ///
    /// A default of the wrong type is no error here, because such schemas are in use and their data can be read. It is an error
    /// when the default is needed ([`Resolver::new`], [`encode`](Self::encode)).
    pub fn parse(text: &str, references: &[(String, String)]) -> Result<Self, SchemaError> {
        let types = parse::parse(text, references)?;
        let program = compile::as_written(&types);
        Ok(Self(Arc::new(Parsed { types, program })))
    }

    /// Decodes a value written with this schema to JSON. No bytes may be left over.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        json::to_json(&self.0.program, bytes, form, budget)
    }

    /// Decodes a value written with this schema. `T` may borrow `&str` and `&[u8]` from `bytes`, and no bytes may be left over.
    /// The module's documentation lists the type conversions.
    pub fn decode<'de, T: Deserialize<'de>>(
        &self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, DecodeError> {
        de::decode(&self.0.program, bytes, budget)
    }

    /// Encodes JSON in the form of [`JsonForm::Plain`]. Missing fields get their defaults; unknown fields are an error. For a
    /// union, the best fitting branch is chosen: a string in the form of a date is a date if there is such a branch. `{"NAME":
    /// value}` names a branch explicitly if no record or map fits.
    pub fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        self.encode_json_as(value, JsonForm::Plain)
    }

    /// Encodes JSON in either form.
    pub fn encode_json_as(&self, value: &Value, form: JsonForm) -> Result<Vec<u8>, EncodeError> {
        encode_json::encode_json(&self.0.types, value, form)
    }

    /// Encodes a value of a user type.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_to(value, &mut out)?;
        Ok(out)
    }

    /// Appends an encoded value to `out`. After an error, `out` is unchanged.
    pub fn encode_to<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let types = &self.0.types;
        let encoded = value.serialize(To { out, types, id: types.root });
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }
}

/// Decodes data written with one schema in the form of another. Created once for each pair of schemas; cheap to clone.
///
/// Fields and types match by name, or by the reader's aliases; names of types without their namespaces. Numbers are promoted
/// (int, long, float, double); strings and bytes are interchangeable. Fields that the writer lacks get the reader's default;
/// fields that the reader lacks are skipped.
///
/// It is stricter than Java in one respect: two logical types whose numbers have different meanings (timestamps in millis and
/// micros, decimals of different scales) do not match, while Java reads the number unchanged.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Program>);

impl Resolver {
    /// Resolves the schema `writer` to the schema `reader`.
    ///
    /// It is an error if no value of the writer could be read. If only some values cannot be read (a branch of a union, a symbol
    /// of an enum), decoding these values is an error: [`gaps`](Self::gaps) lists such places.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Self, Mismatch> {
        Ok(Self(Arc::new(compile::resolve(&writer.0.types, &reader.0.types)?)))
    }

    /// The data that the writer may write and for which the reader has no place. If there is none, every value of the writer can
    /// be read, which is what a registry calls compatible.
    pub fn gaps(&self) -> Vec<Mismatch> {
        self.0.gaps().into_iter().cloned().collect()
    }

    /// Decodes a value in the reader's form. `T` may borrow `&str` and `&[u8]` from `bytes`, except for defaults and symbols of
    /// enums, which are not part of the bytes: `Cow<str>` accepts both.
    pub fn decode<'de, T: Deserialize<'de>>(
        &self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, DecodeError> {
        de::decode(&self.0, bytes, budget)
    }

    /// Decodes a value in the reader's form, to JSON.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        json::to_json(&self.0, bytes, form, budget)
    }
}
