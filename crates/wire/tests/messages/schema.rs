//! Compares every table with the definitions in a real broker's classes: `data/schemas-4.3.0.jsonl` has one line per API and
//! version, `errors-4.3.0.tsv` one per error code.
//!
//! Both sides are converted to a [`Shape`], so that any difference in fields, types, nullability, order, tags or versions shows.
use std::collections::{BTreeMap, BTreeSet};

use offtake_wire::{ApiKey, ErrorCode, FieldShape, Kind, Message, Shape};
use serde_json::Value;

const SCHEMAS: &str = include_str!("data/schemas-4.3.0.jsonl");
/// The fields that Kafka's message definitions call ignorable: API key, direction, path.
const IGNORABLE: &str = include_str!("data/ignorable-4.3.0.tsv");
const ERRORS: &str = include_str!("data/errors-4.3.0.tsv");

/// Kafka's schema for each API key and version.
fn schemas() -> BTreeMap<(i16, i16), Value> {
    let lines = SCHEMAS.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| ((number(&line["key"]), number(&line["version"])), line)).collect()
}

fn number(value: &Value) -> i16 {
    i16::try_from(value.as_i64().unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Converts Kafka's struct. It also checks `flexible`: in flexible versions, everything is compact and every struct ends in
/// tagged fields; in others, nothing is.
fn theirs(schema: &Value, flexible: bool) -> Shape {
    let mut fields = Vec::new();
    let (mut plain, mut tags) = (schema["struct"].as_array().unwrap().as_slice(), None);
    if let Some((last, rest)) = plain.split_last()
        && last["name"] == "_tagged_fields"
    {
        (plain, tags) = (rest, Some(last["type"]["tagged"].as_object().unwrap()));
    }
    assert_eq!(tags.is_some(), flexible, "tagged fields exactly in flexible versions: {schema}");
    for field in plain {
        fields.push(their_field(field, None, flexible));
    }
    let tags: BTreeMap<u32, &Value> =
        tags.into_iter().flatten().map(|(tag, field)| (tag.parse().unwrap(), field)).collect();
    for (tag, field) in tags {
        fields.push(their_field(field, Some(tag), flexible));
    }
    Shape { flexible, fields }
}

fn their_field(field: &Value, tag: Option<u32>, flexible: bool) -> FieldShape {
    let known: BTreeSet<&str> = field.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(known, BTreeSet::from(["name", "type"]), "nothing else is said of a field");
    let name = text(&field["name"]).to_owned();
    // The schemas printed by a broker do not contain ignorability; see `IGNORABLE`.
    FieldShape { name: name.leak(), tag, kind: their_kind(&field["type"], flexible), ignorable: false }
}

fn their_kind(of: &Value, flexible: bool) -> Kind {
    if let Some(name) = of.as_str() {
        let (name, compact) = match name.strip_prefix("COMPACT_") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let kind = match name {
            "BOOLEAN" => return Kind::Bool,
            "INT8" => return Kind::I8,
            "INT16" => return Kind::I16,
            "UINT16" => return Kind::U16,
            "INT32" => return Kind::I32,
            "UINT32" => return Kind::U32,
            "INT64" => return Kind::I64,
            "FLOAT64" => return Kind::F64,
            "UUID" => return Kind::Uuid,
            "STRING" => Kind::String { nullable: false },
            "NULLABLE_STRING" => Kind::String { nullable: true },
            "BYTES" | "RECORDS" => Kind::Bytes { nullable: false },
            "NULLABLE_BYTES" | "NULLABLE_RECORDS" => Kind::Bytes { nullable: true },
            other => panic!("a type we do not know: {other}"),
        };
        assert_eq!(compact, flexible, "compact exactly in flexible versions: {of}");
        return kind;
    }
    let nullable = of.get("nullable").is_some_and(|nullable| nullable.as_bool().unwrap());
    let (plain, compact) = (of.get("array"), of.get("compactArray"));
    if let Some(element) = plain.or(compact) {
        assert_eq!(compact.is_some(), flexible, "compact exactly in flexible versions: {of}");
        return Kind::Array { of: Box::new(their_kind(element, flexible)), nullable };
    }
    Kind::Struct { shape: theirs(of, flexible), nullable }
}

#[test]
fn every_table_is_what_kafka_says_in_every_version() {
    let mut schemas = schemas();
    for &api in ApiKey::ALL {
        let versions = api.versions();
        for version in versions.min..=versions.max {
            let Some(schema) = schemas.remove(&(api.code(), version)) else {
                panic!("{api} {version}: in our table, not in Kafka")
            };
            assert_eq!(text(&schema["api"]), api.name());
            assert_eq!(
                number(&schema["requestHeader"]),
                api.request_header_version(version),
                "{api} {version}"
            );
            assert_eq!(
                number(&schema["responseHeader"]),
                api.response_header_version(version),
                "{api} {version}"
            );
            let (request, response) = (api.request_shape(version), api.response_shape(version));
            let flexible = api.is_flexible(version);
            assert_eq!(plain(request), theirs(&schema["request"], flexible), "{api} request {version}");
            assert_eq!(plain(response), theirs(&schema["response"], flexible), "{api} response {version}");
        }
    }
    let left: Vec<_> = schemas.keys().collect();
    assert!(left.is_empty(), "in Kafka, not in our tables: {left:?}");
}

/// The shape without ignorability.
fn plain(mut shape: Shape) -> Shape {
    for field in &mut shape.fields {
        field.ignorable = false;
        field.kind = plain_kind(field.kind.clone());
    }
    shape
}

fn plain_kind(kind: Kind) -> Kind {
    match kind {
        Kind::Array { of, nullable } => Kind::Array { of: Box::new(plain_kind(*of)), nullable },
        Kind::Struct { shape, nullable } => Kind::Struct { shape: plain(shape), nullable },
        kind => kind,
    }
}

/// The path of each field, and whether the table marks it ignorable.
fn paths(shape: &Shape, path: &str, found: &mut BTreeMap<String, bool>) {
    for field in &shape.fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let mut kind = &field.kind;
        while let Kind::Array { of, .. } = kind {
            kind = of;
        }
        if let Kind::Struct { shape, .. } = kind {
            paths(shape, &path, found);
        }
        found.insert(path, field.ignorable);
    }
}

#[test]
fn fields_missing_in_some_version_are_ignorable_exactly_as_in_kafka() {
    let theirs: BTreeSet<_> = IGNORABLE.lines().collect();
    let mut checked = 0;
    for &api in ApiKey::ALL {
        for direction in ["request", "response"] {
            let versions = api.versions();
            let shapes = (versions.min..=versions.max).map(|version| {
                let mut found = BTreeMap::new();
                let shape = match direction {
                    "request" => api.request_shape(version),
                    _ => api.response_shape(version),
                };
                paths(&shape, "", &mut found);
                found
            });
            let shapes: Vec<_> = shapes.collect();
            let all: BTreeMap<_, _> = shapes.iter().flatten().collect();
            for (path, ours) in all {
                let parent = path.rsplit_once('.').map(|(parent, _)| parent);
                let lacks = |shape: &BTreeMap<String, bool>| {
                    !shape.contains_key(path) && parent.is_none_or(|parent| shape.contains_key(parent))
                };
                if !shapes.iter().any(lacks) {
                    continue; // every version of its struct has it
                }
                let line = format!("{}\t{direction}\t{path}", api.code());
                assert_eq!(*ours, theirs.contains(line.as_str()), "{api} {direction}: {path}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked} fields");
}

#[test]
fn every_error_code_has_kafkas_name_and_retriability() {
    let mut seen = Vec::new();
    for line in ERRORS.lines() {
        let [code, name, retriable] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let known = ErrorCode::from(code.parse::<i16>().unwrap());
        assert_eq!(known.name(), name);
        assert_eq!(known.code().to_string(), code);
        assert_eq!(known.is_retriable().to_string(), retriable, "{name}");
        assert_eq!(
            format!("{known:?}").to_uppercase(),
            name.replace('_', ""),
            "the variant is named like the code"
        );
        seen.push(known);
    }
    assert_eq!(seen, ErrorCode::ALL, "each code once, and no more than Kafka has");
    assert_eq!(seen.len(), 135);
}

#[test]
fn the_consumer_protocol_grows_by_one_field_a_version() {
    use offtake_wire::{
        ConsumerProtocolAssignment as Assignment, ConsumerProtocolSubscription as Subscription,
    };
    let fields = |shape: Shape| {
        assert!(!shape.flexible);
        shape.fields.into_iter().map(|field| field.name).collect::<Vec<_>>()
    };
    let all = ["topics", "user_data", "owned_partitions", "generation_id", "rack_id"];
    for (version, many) in (0..=3).zip(2..=5) {
        assert_eq!(fields(Subscription::shape(version)), all[..many]);
        assert_eq!(fields(Assignment::shape(version)), ["assigned_partitions", "user_data"]);
    }
}
