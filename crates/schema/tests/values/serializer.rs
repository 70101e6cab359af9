//! The subject of a schema, and the place of its id in a record.

use std::time::Duration;

use offtake::{Consumer, OwnedRecord};
use offtake_broker::{Cluster, NewRecord};
use offtake_schema::{
    Encoded, Framing, IdLocation, JsonForm, Part, Payload, Registered, SchemaRegistry, SchemaText,
    SchemaType, Serializer, SubjectStrategy, framing::is_schema_header,
};
use serde_json::{Value, json};

use crate::http::{METRIC, Server, says};

const GUID: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// A registry with one schema under every subject.
async fn registry() -> (Server, SchemaRegistry) {
    let server = Server::start(|line| match line.starts_with("POST ") {
        true => says("200 OK", r#"{"id":7}"#),
        false => {
            let guid = "00112233-4455-6677-8899-aabbccddeeff";
            let version = json!({"subject": "s", "version": 1, "id": 7, "guid": guid, "schema": METRIC});
            says("200 OK", &version.to_string())
        }
    })
    .await;
    let registry = SchemaRegistry::with_config(server.config()).unwrap();
    (server, registry)
}

fn metric() -> SchemaText {
    SchemaText::new(SchemaType::Avro, METRIC)
}

fn value() -> Value {
    json!({"host": "a", "load": 0.5})
}

async fn encoded(serializer: &Serializer) -> Encoded {
    serializer.encoder("orders").await.unwrap().encode_json(&value()).unwrap()
}

#[tokio::test]
async fn a_subject_is_called_by_its_strategy_unless_it_is_named() {
    let (server, registry) = registry().await;
    let by = |strategy| Serializer::register(registry.clone(), metric()).subject_strategy(strategy);
    for (serializer, subject) in [
        (by(SubjectStrategy::Topic), "orders-value"),
        (by(SubjectStrategy::Topic).of_keys(), "orders-key"),
        (by(SubjectStrategy::Record), "Metric"),
        (by(SubjectStrategy::Record).of_keys(), "Metric"),
        (by(SubjectStrategy::TopicRecord), "orders-Metric"),
        (by(SubjectStrategy::TopicRecord).subject("named"), "named"),
    ] {
        serializer.encoder("orders").await.unwrap();
        let last = server.asked().pop().unwrap();
        assert!(last.starts_with(&format!("POST /subjects/{subject}/versions ")), "{last}");
    }
    assert_eq!(server.asked().len(), 5, "the key and the value of a record have one subject");
    // The latest version has no text from which its subject could be named.
    let nameless = Serializer::latest(registry).subject_strategy(SubjectStrategy::Record);
    assert!(nameless.encoder("orders").await.unwrap_err().to_string().contains("name"));
}

#[tokio::test]
async fn a_header_names_the_schema_by_its_guid_where_there_is_one_and_a_reader_finds_it() {
    let (_server, registry) = registry().await;
    let bare = registry.prepare(7, &metric()).await.unwrap().encode_json(&value()).unwrap();
    let by_guid = [&[1][..], &GUID].concat();
    let by_id = vec![0, 0, 0, 0, 7];
    let registers = || Serializer::register(registry.clone(), metric()).id_location(IdLocation::Header);
    let latest = || Serializer::latest(registry.clone()).id_location(IdLocation::Header);
    for (serializer, name, header) in [
        (registers(), "__value_schema_id", &by_id),
        (registers().of_keys(), "__key_schema_id", &by_id),
        (latest(), "__value_schema_id", &by_guid),
        (latest().of_keys(), "__key_schema_id", &by_guid),
    ] {
        let encoded = encoded(&serializer).await;
        assert_eq!(encoded, Encoded { bytes: bare.clone(), headers: vec![(name, header.clone())] });
    }
    let framed = encoded(&Serializer::latest(registry.clone()).id_location(IdLocation::Payload)).await;
    assert_eq!(framed, Encoded { bytes: [&by_id[..], &bare].concat(), headers: Vec::new() });
    let read = Registered::new(registry.clone());
    let payload = Payload::new(Part::Value, "orders", Some(&framed.bytes));
    assert_eq!(read.to_json(&payload, JsonForm::Plain).unwrap().0, value());
}

#[tokio::test]
async fn apicurios_headers_are_written_and_read() {
    let (server, _) = registry().await;
    let id = 7_u64.to_be_bytes().to_vec();
    let proto = SchemaText::new(
        SchemaType::Protobuf,
        "syntax = \"proto3\"; package p; message Host { string host = 1; }",
    );
    let json = SchemaText::new(SchemaType::Json, "{}");
    let avro = || (json!({"host": "a", "load": 0.5}), metric());
    let host = || json!({"host": "a"});
    for (part, (value, schema), expected) in [
        (
            Part::Value,
            avro(),
            &[("apicurio.value.contentId", &id[..]), ("apicurio.value.encoding", b"BINARY")][..],
        ),
        (Part::Key, avro(), &[("apicurio.key.contentId", &id[..]), ("apicurio.key.encoding", b"BINARY")]),
        (
            Part::Value,
            (host(), proto),
            &[("apicurio.value.contentId", &id[..]), ("apicurio.protobuf.type", b"Host")],
        ),
        (Part::Value, (host(), json), &[("apicurio.value.contentId", &id[..])]),
    ] {
        // Each has its own cache, because all have the same id.
        let registry = SchemaRegistry::with_config(server.config()).unwrap();
        let serializer = Serializer::register(registry.clone(), schema)
            .framing(Framing::Apicurio)
            .id_location(IdLocation::Header);
        let serializer = if part == Part::Key { serializer.of_keys() } else { serializer };
        let encoded = serializer.encoder("orders").await.unwrap().encode_json(&value).unwrap();
        let headers: Vec<_> = encoded.headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        assert_eq!(headers, expected);
        assert!(headers.iter().all(|(name, _)| is_schema_header(part, name)));
        let record = record(part, &encoded).await;
        let payload = Payload::of_owned(part, &record);
        let read = Registered::new(registry).framing(Framing::Apicurio);
        assert_eq!(read.to_json(&payload, JsonForm::Plain).unwrap().0, value);
    }
}

/// The record as read from a cluster.
async fn record(part: Part, encoded: &Encoded) -> OwnedRecord {
    let cluster = Cluster::builder().topic("orders", 1).start().await.unwrap();
    let mut record = NewRecord::new(if part == Part::Value { encoded.bytes.clone() } else { Vec::new() });
    if part == Part::Key {
        record.key = Some(encoded.bytes.clone().into());
    }
    let headers = encoded.headers.iter();
    record.headers = headers.map(|(name, value)| ((*name).to_owned(), Some(value.clone().into()))).collect();
    cluster.append("orders", 0, &[record]).unwrap();
    let mut consumer = Consumer::builder(cluster.bootstrap()).build().await.unwrap();
    consumer.assign(("orders", 0)).await.unwrap();
    consumer.seek(("orders", 0), 0).await.unwrap();
    let records = consumer.poll(Duration::from_secs(20)).await.unwrap();
    records.iter().next().unwrap().detach()
}

#[tokio::test]
async fn a_number_that_is_none_is_no_zero() {
    let (server, _) = registry().await;
    let registry = SchemaRegistry::with_config(server.config()).unwrap();
    let proto =
        SchemaText::new(SchemaType::Protobuf, "syntax = \"proto3\"; message Load { double load = 1; }");
    let encoder = Serializer::register(registry, proto).encoder("orders").await.unwrap();
    let of = |load: f64| encoder.encode(&std::collections::BTreeMap::from([("load", load)]));
    for load in [f64::NAN, f64::NEG_INFINITY] {
        assert!(of(load).unwrap_err().to_string().contains("JSON number"));
    }
    assert_eq!(of(0.5).unwrap().bytes[6..], [&[9][..], &0.5_f64.to_le_bytes()].concat());
    let as_text = encoder.encode(&std::collections::BTreeMap::from([("load", "-Infinity")])).unwrap();
    assert_eq!(as_text.bytes[6..], [&[9][..], &f64::NEG_INFINITY.to_le_bytes()].concat());
}

#[test]
fn only_headers_of_schemas_are_of_schemas() {
    for (part, name, is_one) in [
        (Part::Value, "__value_schema_id", true),
        (Part::Key, "__value_schema_id", false),
        (Part::Value, "apicurio.value.globalId", true),
        (Part::Key, "apicurio.value.globalId", false),
        (Part::Key, "apicurio.key.msgType", true),
        (Part::Key, "apicurio.protobuf.type", true),
        (Part::Value, "apicurio.protobuf.type", true),
        (Part::Value, "trace", false),
        (Part::Value, "", false),
    ] {
        assert_eq!(is_schema_header(part, name), is_one, "{name}");
    }
}
