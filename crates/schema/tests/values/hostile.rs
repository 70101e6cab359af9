//! Processes untrusted bytes, for the fuzz targets `protobuf`, `json_schema` and `framing`, and for their saved inputs.

use offtake_schema::{
    Budget, DecodeError, Framing, JsonForm, Part, Payload, Schema, SchemaId, SchemaText, SchemaType,
    framing::{MessageIndexes, glue},
};

const BUDGET: Budget = Budget { depth: 64, values: 20_000, bytes: 4 << 20 };

/// `schema NUL reference NUL value`: a `.proto` text, another that it may import as `common.proto`, and the bytes after an id.
pub(crate) fn protobuf(input: &[u8]) {
    let Some((schema, bytes)) = parts(input, SchemaType::Protobuf, "common.proto") else { return };
    let Ok((indexes, message)) = MessageIndexes::split_from(bytes) else { return };
    let Some(value) = read(&schema, &indexes, message) else { return };
    if indexes == MessageIndexes::default()
        && let Ok(again) = schema.encode_json(&value)
    {
        let larger = Budget { values: u64::MAX, bytes: u64::MAX, ..BUDGET };
        let read = schema.to_json(&again, &indexes, JsonForm::Plain, &larger);
        assert_eq!(read.as_ref(), Ok(&value), "what was written is read as it was");
    }
}

/// The same with JSON Schema and `common.json`; the value is JSON.
pub(crate) fn json_schema(input: &[u8]) {
    let Some((schema, bytes)) = parts(input, SchemaType::Json, "common.json") else { return };
    let indexes = MessageIndexes::default();
    let Some(value) = read(&schema, &indexes, bytes) else { return };
    let again = schema.encode_json(&value).expect("what follows the schema is written");
    let larger = Budget { values: u64::MAX, bytes: u64::MAX, ..BUDGET };
    assert_eq!(schema.to_json(&again, &indexes, JsonForm::Plain, &larger).as_ref(), Ok(&value));
}

/// Any bytes, as a value in each framing.
pub(crate) fn framing(input: &[u8]) {
    let payload = Payload::new(Part::Value, "t", Some(input));
    for framing in [Framing::Confluent, Framing::Apicurio] {
        match framing.unframe(&payload) {
            Ok(framed) => {
                assert!(input.ends_with(framed.rest));
                indexes(framed.rest);
            }
            Err(error) => refused(&error),
        }
    }
    indexes(input);
    if let Err(error) = glue::unframe(input) {
        refused(&error);
    }
}

fn indexes(bytes: &[u8]) {
    match MessageIndexes::split_from(bytes) {
        Ok((indexes, rest)) => {
            assert!(bytes.ends_with(rest));
            let mut again = Vec::new();
            indexes.push_to(&mut again);
            assert_eq!(MessageIndexes::split_from(&again), Ok((indexes, &[][..])));
        }
        Err(error) => refused(&error),
    }
}

fn parts<'a>(input: &'a [u8], kind: SchemaType, name: &str) -> Option<(Schema, &'a [u8])> {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let mut text = || std::str::from_utf8(parts.next()?).ok().map(str::to_owned);
    let (schema, reference) = (text()?, text()?);
    let bytes = parts.next()?;
    let references = [(name.to_owned(), reference)];
    Some((Schema::new(SchemaId::Id(7), SchemaText::new(kind, schema), &references), bytes))
}

fn read(schema: &Schema, indexes: &MessageIndexes, bytes: &[u8]) -> Option<serde_json::Value> {
    schema.to_json(bytes, indexes, JsonForm::Plain, &BUDGET).inspect_err(refused).ok()
}

fn refused(error: &DecodeError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.chars().count() < 1_000 && !text.contains(char::is_control), "{text:?}");
}
