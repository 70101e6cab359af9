//! Under which subject a schema goes, and where a value names it.

use offtake_schema::{
    Encoded, Framing, IdPlace, Part, Payload, Registered, SchemaRegistry, SchemaText, SchemaType, Serializer,
    SubjectStrategy,
};
use serde_json::{Value, json};

use crate::http::{METRIC, Server, says};

const GUID: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

/// Has one schema, under whatever subject.
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
    // The latest version has no text by which its subject could be called.
    let nameless = Serializer::latest(registry).subject_strategy(SubjectStrategy::Record);
    assert!(nameless.encoder("orders").await.unwrap_err().to_string().contains("name"));
}

#[tokio::test]
async fn a_header_names_the_schema_by_its_guid_where_there_is_one_and_a_reader_finds_it() {
    let (_server, registry) = registry().await;
    let bare = registry.prepare(7, &metric()).await.unwrap().encode_json(&value()).unwrap();
    let by_guid = [&[1][..], &GUID].concat();
    let by_id = vec![0, 0, 0, 0, 7];
    let registers = || Serializer::register(registry.clone(), metric()).id_in(IdPlace::Header);
    let latest = || Serializer::latest(registry.clone()).id_in(IdPlace::Header);
    for (serializer, name, header) in [
        (registers(), "__value_schema_id", &by_id),
        (registers().of_keys(), "__key_schema_id", &by_id),
        (latest(), "__value_schema_id", &by_guid),
        (latest().of_keys(), "__key_schema_id", &by_guid),
    ] {
        let encoded = encoded(&serializer).await;
        assert_eq!(encoded, Encoded { bytes: bare.clone(), header: Some((name, header.clone())) });
    }
    let framed = encoded(&Serializer::latest(registry.clone()).id_in(IdPlace::Payload)).await;
    assert_eq!(framed, Encoded { bytes: [&by_id[..], &bare].concat(), header: None });
    let read = Registered::new(registry.clone());
    let payload = Payload::new(Part::Value, "orders", Some(&framed.bytes));
    assert_eq!(read.to_json(&payload, offtake_schema::JsonForm::Plain).unwrap().0, value());
    let nowhere = latest().framing(Framing::Apicurio).encoder("orders").await.unwrap_err();
    assert!(nowhere.to_string().contains("not written"), "{nowhere}");
}
