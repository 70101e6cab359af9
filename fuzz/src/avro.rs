//! Target `avro`: any texts of two schemas and any bytes of a value are read, or refused within the budget; a value
//! that was read can be written again, and is then the same.

use offtake_schema::avro::{Budget, JsonForm, Resolver, Schema};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::meter;

const BUDGET: Budget = Budget { depth: 64, values: 20_000, bytes: 4 << 20 };

/// `writer NUL reader NUL value`; an empty reader means the writer's schema.
pub fn run(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let (Some(writer), Some(reader), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Some(writer) = parse(writer) else { return };
    let reader = if reader.is_empty() { Some(writer.clone()) } else { parse(reader) };

    read(bytes, &writer, |form| writer.to_json(bytes, form, &BUDGET).ok());
    // A list of values takes more memory than its bytes.
    let enough = 16 << 20;
    let _ = meter::within(enough, || writer.decode::<IgnoredAny>(bytes, &BUDGET).is_ok());
    let _ = meter::within(enough, || writer.decode::<Value>(bytes, &BUDGET).is_ok());
    let Some(reader) = reader else { return };
    match Resolver::new(&writer, &reader) {
        Ok(resolver) => {
            assert!(resolver.gaps().iter().all(|gap| !gap.to_string().is_empty()));
            read(bytes, &reader, |form| resolver.to_json(bytes, form, &BUDGET).ok());
        }
        Err(mismatch) => assert!(!mismatch.to_string().is_empty()),
    }
}

fn parse(text: &[u8]) -> Option<Schema> {
    let text = std::str::from_utf8(text).ok()?;
    // The resolver checks defaults; a schema alone is a small multiple of its text.
    meter::within((1 << 20) + 400 * text.len(), || match Schema::parse(text, &[]) {
        Ok(schema) => Some(schema),
        Err(error) => {
            assert!(error.to_string().len() < 400 + 2 * text.len());
            None
        }
    })
}

/// A value read with `schema` can be written with it, and is the same when it is read again.
fn read(bytes: &[u8], schema: &Schema, decode: impl Fn(JsonForm) -> Option<Value>) {
    // The budget, and twice as much while lists grow.
    let enough = (16 << 20) + 64 * bytes.len();
    let Some(avro) = meter::within(enough, || decode(JsonForm::Avro)) else { return };
    let again = schema.encode_json_as(&avro, JsonForm::Avro).expect("what was read can be written");
    let larger = Budget { values: u64::MAX, bytes: u64::MAX, ..BUDGET };
    assert_eq!(schema.to_json(&again, JsonForm::Avro, &larger).as_ref(), Ok(&avro));
    if let Some(plain) = meter::within(enough, || decode(JsonForm::Plain)) {
        let _ = schema.encode_json(&plain);
    }
}
