//! Protobuf beside Python's library: a thousand random files and values, both ways, with imports, recursive types, maps
//! and well-known types; and a thousand with groups, extensions and `Any`.

use std::collections::BTreeMap;

use offtake_schema::{Budget, JsonForm, SchemaText, SchemaType, framing::MessageIndexes};
use offtake_tests::python_file_with_libraries;
use serde_json::{Value, json};

use super::{proto_shapes::File, shelf::Shelf};

const CASES: u64 = 1_000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
#[ignore = "it needs packages of PyPI; scripts/test full runs it"]
fn python_reads_and_writes_random_messages_as_we_do() {
    compare((0..CASES).map(File::new).collect());
}

#[test]
#[ignore = "it needs packages of PyPI; scripts/test full runs it"]
fn python_reads_and_writes_groups_extensions_and_any_as_we_do() {
    compare((CASES..2 * CASES).map(File::rare).collect());
}

fn compare(mut files: Vec<File>) {
    let common = files.iter().filter_map(|file| Some((file.import()?, file.common())));
    let texts: BTreeMap<String, String> = common.collect();
    let shelf = Shelf::of(SchemaType::Protobuf, texts.clone());
    let mut all: BTreeMap<String, String> = texts;
    let (mut jobs, mut ours) = (Vec::new(), Vec::new());
    for (nth, file) in files.iter_mut().enumerate() {
        let mut text = SchemaText::new(SchemaType::Protobuf, file.text());
        if let Some(import) = file.import() {
            text = text.reference(import.clone(), import, 1);
        }
        let schema = shelf.schema(nth as u32, &text);
        let message = file.any_message();
        let value = file.value(message, 4);
        // Only the first message of a file is written.
        let written = (message == 0).then(|| {
            schema.encode_json(&value).unwrap_or_else(|error| panic!("{error}\n{value}\n{}", file.text()))
        });
        all.insert(format!("case{nth}.proto"), file.text());
        jobs.push(
            json!({"message": file.full_name(message), "value": value, "hex": written.as_deref().map(hex)}),
        );
        ours.push((schema, MessageIndexes::new(file.indexes(message)), written));
    }
    let said = python_file_with_libraries(
        "real/schemas/protobuf.py",
        &json!({"files": all, "cases": jobs}).to_string(),
    );
    let answers: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert_eq!(answers.len(), jobs.len());
    let mut differ = Vec::new();
    for (((file, job), answer), (schema, indexes, written)) in
        files.iter().zip(&jobs).zip(&answers).zip(&ours)
    {
        let read = |bytes: &[u8]| schema.to_json(bytes, indexes, JsonForm::Plain, &Budget::default());
        let theirs = bytes(answer["hex"].as_str().unwrap_or_default());
        let of_theirs = read(&theirs).map_err(|error| error.to_string());
        let mut wrong = Vec::new();
        if answer.get("failed").is_some() {
            wrong.push("Python fails");
        } else if !of_theirs.as_ref().is_ok_and(|value| alike(value, &answer["value"])) {
            wrong.push("what Python writes");
        }
        if let Some(written) = written {
            if !alike(&answer["read"], &answer["value"]) {
                wrong.push("what we write, as Python reads it");
            }
            if read(written).map_err(|error| error.to_string()) != of_theirs {
                wrong.push("what we write, as we read it");
            }
        }
        if !wrong.is_empty() {
            differ.push(format!("{wrong:?}\n{}{job}\nours {of_theirs:?}\nPython {answer}", file.text()));
        }
    }
    println!(
        "{CASES} files: {} of them written by us, {} differ",
        ours.iter().filter(|one| one.2.is_some()).count(),
        differ.len()
    );
    assert!(
        differ.is_empty(),
        "{} of {CASES} differ:\n{}",
        differ.len(),
        differ[..differ.len().min(4)].join("\n\n")
    );
}

/// Equal, except that a number may be written in different ways.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| alike(value, other)))
        }
        _ => one == other,
    }
}
