//! The calls of a [`Schema`] and of a [`Resolver`].

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
    /// `references` are names and texts of schemas that it uses without defining them, as a registry has them; what each of
    /// them needs comes before it, or is found by its name.
    ///
    /// A default that is not of its field's type is no error here, as schemas with such defaults are in use and what they wrote
    /// can be read: it is one where it is needed ([`Resolver::new`], [`encode`](Self::encode)).
    pub fn parse(text: &str, references: &[(String, String)]) -> Result<Self, SchemaError> {
        let types = parse::parse(text, references)?;
        let program = compile::as_written(&types);
        Ok(Self(Arc::new(Parsed { types, program })))
    }

    /// Decodes a value that was written with this schema, as JSON. Nothing may follow it in `bytes`.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        json::to_json(&self.0.program, bytes, form, budget)
    }

    /// Decodes a value that was written with this schema. `T` may borrow `&str` and `&[u8]` from `bytes`, of which nothing may
    /// be left over. The module's page says what becomes what.
    pub fn decode<'de, T: Deserialize<'de>>(
        &self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, DecodeError> {
        de::decode(&self.0.program, bytes, budget)
    }

    /// Encodes JSON as [`JsonForm::Plain`] shows it. Fields that are missing have their defaults; a field that the schema does not
    /// have is an error. Of a union the branch is taken that fits best: a string with the form of a date is a date if there is such
    /// a branch. `{"NAME": value}` says which branch is meant where no record or map fits.
    pub fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        self.encode_json_as(value, JsonForm::Plain)
    }

    /// Encodes JSON of either form.
    pub fn encode_json_as(&self, value: &Value, form: JsonForm) -> Result<Vec<u8>, EncodeError> {
        encode_json::encode_json(&self.0.types, value, form)
    }

    /// Encodes a value of the user's own type.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_to(value, &mut out)?;
        Ok(out)
    }

    /// Encodes behind what `out` has already; after an error, `out` is as it was.
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

/// Decodes what one schema wrote into what another describes. Made once for each pair of schemas; cloning it is cheap.
///
/// Fields and types match by name, or by the reader's aliases; names of types without their namespaces. Numbers are promoted
/// (int, long, float, double), strings and bytes are one another. What the writer does not have is the reader's default; what the
/// reader does not have is skipped.
///
/// Stricter than Java in one thing: two logical types whose numbers mean different things (timestamps in millis and micros,
/// decimals of different scales) do not match, where Java reads the number as it stands.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Program>);

impl Resolver {
    /// Resolves what `writer` wrote to what `reader` expects.
    ///
    /// It is an error if no value of the writer's could be read. Where only some cannot (a branch of a union, a symbol of an enum), this
    /// is an error of these values: [`gaps`](Self::gaps) lists such places.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Self, Mismatch> {
        Ok(Self(Arc::new(compile::resolve(&writer.0.types, &reader.0.types)?)))
    }

    /// What the writer may write and the reader has no place for. Where there is nothing, each of the writer's values can be read,
    /// which is what a registry calls compatible.
    pub fn gaps(&self) -> Vec<Mismatch> {
        self.0.gaps().into_iter().cloned().collect()
    }

    /// Decodes a value into the reader's form. `T` may borrow `&str` and `&[u8]` from `bytes`, but for defaults and symbols of enums, which
    /// are not among them: `Cow<str>` takes both.
    pub fn decode<'de, T: Deserialize<'de>>(
        &self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, DecodeError> {
        de::decode(&self.0, bytes, budget)
    }

    /// Decodes a value into the reader's form, as JSON.
    pub fn to_json(&self, bytes: &[u8], form: JsonForm, budget: &Budget) -> Result<Value, DecodeError> {
        json::to_json(&self.0, bytes, form, budget)
    }
}
