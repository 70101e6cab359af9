//! Protobuf: converts messages to JSON and back, by a registry's `.proto` text.
//!
//! `protox` parses the text and `prost-reflect` the messages. The cost of a message is computed from its bytes first, so that a
//! few bytes cannot require more memory than the budget allows.

mod cost;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, FileDescriptor, Kind, MessageDescriptor,
    SerializeOptions, prost::Message,
};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};
use serde_json::Value;

use crate::{
    avro::Budget,
    error::{DecodeError, DecodeErrorKind, EncodeError},
    framing::MessageIndexes,
    proto_text::deepest,
};

/// The messages of one `.proto` file.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pool: DescriptorPool,
    /// Whether it contains a float.
    has_floats: bool,
}

/// The internal name of the main file, which no import can have.
const MAIN: &str = "\u{1}main.proto";

/// The nesting limit of a text.
const DEEPEST: usize = 64;

/// Files by the names used in imports.
struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

impl Schema {
    pub(crate) fn parse(text: &str, references: &[(String, String)]) -> Result<Self, String> {
        let all = references.iter().map(|(_, text)| text.as_str()).chain([text]);
        if all.into_iter().any(|text| deepest(text) > DEEPEST) {
            return Err(format!("its text nests deeper than {DEEPEST}"));
        }
        let mut texts: HashMap<_, _> = references.iter().cloned().collect();
        texts.insert(MAIN.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(texts));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).open_file(MAIN).map_err(|error| explain(&error))?;
        let pool = compiler.descriptor_pool();
        let has_floats =
            pool.all_messages().any(|message| message.fields().any(|field| field.kind() == Kind::Float));
        Ok(Self { pool, has_floats })
    }

    fn file(&self) -> Option<FileDescriptor> {
        self.pool.get_file_by_name(MAIN)
    }

    /// The top-level message with this name, as written by Apicurio's serializers.
    pub(crate) fn by_name(&self, name: &str) -> Option<MessageIndexes> {
        let index = self.file()?.messages().position(|message| message.name() == name)?;
        Some(MessageIndexes::new([u32::try_from(index).ok()?]))
    }

    pub(crate) fn first_name(&self) -> Option<String> {
        Some(self.file()?.messages().next()?.name().to_owned())
    }

    /// The message with these indexes. Confluent's indexes do not count the messages that the compiler generates for maps. Those
    /// generated for groups are counted here, as in descriptors.
    fn message(&self, indexes: &MessageIndexes) -> Option<MessageDescriptor> {
        let (first, nested) = indexes.as_slice().split_first()?;
        let mut found = self.file()?.messages().nth(*first as usize)?;
        for index in nested {
            let inside = found.child_messages().filter(|one| !one.is_map_entry()).nth(*index as usize);
            found = inside?;
        }
        Some(found)
    }

    fn decode(
        &self,
        indexes: &MessageIndexes,
        payload: &[u8],
        budget: &Budget,
    ) -> Result<DynamicMessage, DecodeError> {
        let message = self.message(indexes).ok_or_else(|| {
            let reason = format!("the schema has no message at the indexes {:?}", indexes.as_slice());
            DecodeError::new(DecodeErrorKind::Framing, reason)
        })?;
        cost::check(&message, payload, budget)?;
        DynamicMessage::decode(message, payload)
            .map_err(|error| DecodeError::new(DecodeErrorKind::Malformed, error))
    }

    /// Protobuf's own JSON, including absent fields.
    pub(crate) fn to_json(
        &self,
        indexes: &MessageIndexes,
        payload: &[u8],
        budget: &Budget,
    ) -> Result<Value, DecodeError> {
        let options = SerializeOptions::new().skip_default_fields(false);
        if !self.has_floats {
            return self.serialized(indexes, payload, budget, &options);
        }
        // A float is printed with the fewest digits that identify it, as by other implementations, and not as a double.
        let wrong = |error| DecodeError::new(DecodeErrorKind::Malformed, error);
        let message = self.decode(indexes, payload, budget)?;
        let mut text = Vec::new();
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
            .map_err(wrong)?;
        let mut text = serde_json::Deserializer::from_slice(&text);
        serde::Deserialize::deserialize(&mut text).map_err(wrong)
    }

    /// For user types: fields have the names in the text, and 64-bit numbers are numbers.
    pub(crate) fn to_fields(
        &self,
        indexes: &MessageIndexes,
        payload: &[u8],
        budget: &Budget,
    ) -> Result<Value, DecodeError> {
        let options = SerializeOptions::new()
            .skip_default_fields(false)
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false);
        self.serialized(indexes, payload, budget, &options)
    }

    fn serialized(
        &self,
        indexes: &MessageIndexes,
        payload: &[u8],
        budget: &Budget,
        options: &SerializeOptions,
    ) -> Result<Value, DecodeError> {
        let message = self.decode(indexes, payload, budget)?;
        message
            .serialize_with_options(serde_json::value::Serializer, options)
            .map_err(|error| DecodeError::new(DecodeErrorKind::Malformed, error))
    }

    /// Encodes the form of `to_json`, as the first message of the text.
    pub(crate) fn encode_json(&self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        let message = self
            .message(&MessageIndexes::default())
            .ok_or_else(|| EncodeError::new("the schema has no message"))?;
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let message =
            DynamicMessage::deserialize_with_options(message, value, &options).map_err(EncodeError::new)?;
        Ok(message.encode_to_vec())
    }
}

fn explain(error: &protox::Error) -> String {
    error.to_string().replace(MAIN, "the schema")
}
