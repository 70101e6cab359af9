//! Apicurio's own Java serialisers and deserialisers, on a real registry: we read their output, and they read ours.

use std::collections::BTreeMap;

use offtake_broker::{Cluster, NewRecord};
use offtake_schema::{
    Budget, Deserializer, Framing, IdLocation, JsonForm, Part, Payload, Registered, SchemaRegistry,
    SchemaText, SchemaType, Serializer,
};
use offtake_tests::{Registry, java_with_serialisers};
use serde_json::{Value, json};

const METRIC: &str = r#"{"type":"record","name":"Metric","namespace":"ops","fields":[
    {"name":"host","type":"string"},{"name":"load","type":"double"},{"name":"zone","type":["null","string"],"default":null}]}"#;
/// Two messages of it are written: the first, and another.
const SHOP: &str = "syntax = \"proto3\"; package shop; message Other { int32 x = 1; }
message Order { string order_id = 1; int64 units = 2; message Line { string sku = 1; bytes raw = 2; } repeated Line lines = 3; Order next = 4; }";
const PERSON: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["name"],
    "properties":{"name":{"type":"string"},"age":{"type":"integer"}}}"#;

/// A value of a schema: as Java's libraries read it from JSON, and as we print it.
struct Case {
    kind: SchemaType,
    schema: &'static str,
    /// The Protobuf message.
    message: &'static str,
    theirs: Value,
    ours: Value,
}

fn cases() -> Vec<Case> {
    let order = json!({"orderId": "7", "units": "9007199254740993", "lines": [{"sku": "x", "raw": "/wA="}], "next": {"orderId": "8"}});
    let mut ours = order.clone();
    ours["next"] = json!({"orderId": "8", "units": "0", "lines": []});
    let case = |kind, schema, message, theirs: Value, ours| Case { kind, schema, message, theirs, ours };
    let metric = json!({"host": "é", "load": 0.25, "zone": "b"});
    let person = json!({"name": "é", "age": 7});
    vec![
        case(
            SchemaType::Avro,
            METRIC,
            "",
            json!({"host": "é", "load": 0.25, "zone": {"string": "b"}}),
            metric,
        ),
        case(SchemaType::Protobuf, SHOP, "Order", order, ours),
        case(SchemaType::Protobuf, SHOP, "Other", json!({"x": 7}), json!({"x": 7})),
        case(SchemaType::Json, PERSON, "", person.clone(), person),
    ]
}

/// Its name, our framing and place of ids, and the configuration of their serialisers for the same.
type Way = (&'static str, Framing, IdLocation, &'static [(&'static str, &'static str)]);

const WAYS: [Way; 3] = [
    ("eight", Framing::Apicurio, IdLocation::Payload, &[("apicurio.registry.headers.enabled", "false")]),
    (
        "four",
        Framing::Confluent,
        IdLocation::Payload,
        &[("apicurio.registry.headers.enabled", "false"), ("apicurio.registry.as-confluent", "true")],
    ),
    ("headers", Framing::Apicurio, IdLocation::Header, &[("apicurio.registry.headers.enabled", "true")]),
];

fn job(case: &Case, topic: &str, registry: &Registry, way: &[(&str, &str)]) -> Value {
    let url = registry.url().replace("/apis/ccompat/v7", "/apis/registry/v2");
    let mut config = json!({
        "apicurio.registry.url": url,
        "apicurio.registry.use-id": "contentId",
        "apicurio.registry.artifact.group-id": "default",
        "apicurio.registry.deserializer.value.return-class": if case.kind == SchemaType::Json { "com.fasterxml.jackson.databind.JsonNode" } else { "" },
    });
    if case.kind != SchemaType::Json {
        config.as_object_mut().unwrap().remove("apicurio.registry.deserializer.value.return-class");
    }
    // Theirs generates no schema from a JSON value: it takes the topic's.
    let of_schema = if case.kind == SchemaType::Json { "find-latest" } else { "auto-register" };
    config[format!("apicurio.registry.{of_schema}")] = json!("true");
    for (name, value) in way {
        config[*name] = json!(value);
    }
    json!({"type": case.kind.name(), "topic": topic, "config": config, "schema": case.schema, "message": case.message})
}

fn java(jobs: &[Value]) -> Vec<Value> {
    let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    let said = java_with_serialisers("java-serdes/Serdes.java", &lines);
    let answers: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), jobs.len());
    for (job, answer) in jobs.iter().zip(&answers) {
        assert!(answer.get("failed").is_none(), "{answer:.600}\n{job}");
    }
    answers
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "it needs packages of Maven Central; scripts/test full runs it"]
fn apicurios_java_serialisers_are_read_and_its_deserialisers_read_us() {
    let registry = Registry::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let schemas = SchemaRegistry::new(&registry.url()).unwrap();
    let cases = cases();
    // Their output.
    let mut jobs = Vec::new();
    for (way, _, _, config) in WAYS {
        for case in &cases {
            let topic = format!("theirs-{}-{}{way}", case.kind, case.message);
            if case.kind == SchemaType::Json {
                let text = SchemaText::new(case.kind, case.schema);
                runtime.block_on(schemas.register(&format!("{topic}-value"), &text, false)).unwrap();
            }
            let mut job = job(case, &topic, &registry, config);
            job["value"] = case.theirs.clone();
            jobs.push(job);
        }
    }
    let written = java(&jobs);
    let mut of_them = written.iter();
    for (way, framing, _, _) in WAYS {
        for case in &cases {
            let record = of_them.next().unwrap();
            let value = runtime.block_on(read(&schemas, framing, record));
            assert_eq!(value, case.ours, "{way}: {record}");
        }
    }
    // Our output: they cannot read Confluent's Protobuf indexes, and only these.
    let (mut jobs, mut expected) = (Vec::new(), Vec::new());
    for (way, framing, place, config) in WAYS {
        for (nth, case) in cases.iter().enumerate() {
            if case.message == "Order" || (case.kind == SchemaType::Protobuf && framing == Framing::Confluent)
            {
                continue; // not the first message
            }
            let topic = format!("ours-{}-{way}", case.kind);
            let text = SchemaText::new(case.kind, case.schema);
            let serializer = Serializer::register(schemas.clone(), text).framing(framing).id_location(place);
            let encoder = runtime.block_on(serializer.encoder(&topic)).unwrap();
            let encoded = encoder.encode_json(&case.ours).unwrap();
            let mut job = job(case, &topic, &registry, config);
            job["hex"] = json!(hex(&encoded.bytes));
            let headers = encoded.headers.iter();
            job["headers"] = headers.map(|(name, value)| ((*name).to_owned(), json!(hex(value)))).collect();
            if place == IdLocation::Header {
                let theirs = written.len() - cases.len() + nth; // of the last way, like this one
                are_of_theirs(&job["headers"], &written[theirs]["headers"]);
            }
            jobs.push(job);
            expected.push(&case.theirs);
        }
    }
    assert_eq!(jobs.len(), 8);
    for ((job, answer), expected) in jobs.iter().zip(java(&jobs)).zip(expected) {
        assert_eq!(&answer["value"], expected, "{job}");
    }
}

/// All headers except the id are as they write them.
fn are_of_theirs(ours: &Value, theirs: &Value) {
    for (name, value) in ours.as_object().unwrap() {
        let same = theirs.get(name).unwrap_or_else(|| panic!("{name} is none of {theirs}"));
        assert!(same == value || name.ends_with("Id"), "{name}: {value}, and theirs is {same}");
    }
}

/// Reads it by way of a record in a cluster in this process, for the headers.
async fn read(schemas: &SchemaRegistry, framing: Framing, written: &Value) -> Value {
    let cluster = Cluster::builder().topic("t", 1).start().await.unwrap();
    let mut record = NewRecord::new(bytes(&written["hex"]));
    let headers: BTreeMap<String, Value> = serde_json::from_value(written["headers"].clone()).unwrap();
    record.headers = headers.into_iter().map(|(name, value)| (name, Some(bytes(&value).into()))).collect();
    cluster.append("t", 0, &[record]).unwrap();
    let mut consumer = offtake::Consumer::builder(cluster.bootstrap())
        .property("auto.offset.reset", "earliest")
        .build()
        .await
        .unwrap();
    consumer.assign(("t", 0)).await.unwrap();
    let records = consumer.poll(std::time::Duration::from_secs(20)).await.unwrap();
    let record = records.iter().next().unwrap();
    let by = Registered::new(schemas.clone()).framing(framing).budget(Budget::default());
    let payload = Payload::of(Part::Value, &record);
    if let Some(id) = by.missing(&payload) {
        by.prepare(id, std::time::Duration::from_secs(5)).await.unwrap();
    }
    by.to_json(&payload, JsonForm::Plain).unwrap_or_else(|error| panic!("{written}: {error}")).0
}
