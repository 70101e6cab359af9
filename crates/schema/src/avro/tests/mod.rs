//! Avro through its public interface.

mod encoding;
mod hostile;
mod json;
mod parsing;
mod random;
mod resolution;
mod typed;

use serde_json::{Value, json};

use super::{Budget, JsonForm, Resolver, Schema};

fn schema(value: &Value) -> Schema {
    parse(&value.to_string())
}

fn parse(text: &str) -> Schema {
    match Schema::parse(text, &[]) {
        Ok(schema) => schema,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn record(fields: Value) -> Value {
    json!({"type": "record", "name": "R", "fields": fields})
}

fn plain(schema: &Schema, bytes: &[u8]) -> Value {
    schema.to_json(bytes, JsonForm::Plain, &Budget::default()).unwrap()
}

/// Reads a value written with `writer` through `reader`.
fn resolved(writer: &Value, reader: &Value, value: &Value) -> Result<Value, String> {
    let (writer, reader) = (schema(writer), schema(reader));
    let bytes = writer.encode_json(value).unwrap();
    let resolver = Resolver::new(&writer, &reader).map_err(|mismatch| mismatch.to_string())?;
    resolver.to_json(&bytes, JsonForm::Plain, &Budget::default()).map_err(|error| error.to_string())
}
