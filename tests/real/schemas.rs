//! Values with a real registry (Apicurio) on real Kafka: the command's options, a schema that evolves, and Python's
//! libraries as second opinions.

mod json_schema;
mod json_shapes;
mod proto_shapes;
mod protobuf;
mod serdes;
mod shelf;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use offtake::{AutoOffsetReset, Consumer};
use offtake_schema::{Registered, SchemaRegistry, SchemaText, SchemaType, Serializer, avro, worker::typed};
use offtake_tests::{
    Finished, Offtake, Registry, Shared, V4_3_0, python, python_with_libraries, shared, unique,
};
use offtake_worker::{DeadLetters, Retry, Worker};
use serde::Deserialize;
use serde_json::{Value, json};

const V1: &str = r#"{"type":"record","name":"Metric","namespace":"ops","fields":[
    {"name":"host","type":"string"},{"name":"load","type":"float"}]}"#;
/// Readable by version 1, and able to read it.
const V2: &str = r#"{"type":"record","name":"Metric","namespace":"ops","fields":[
    {"name":"host","type":"string"},{"name":"load","type":"double"},{"name":"zone","type":["null","string"],"default":null}]}"#;
const V3: &str = r#"{"type":"record","name":"Metric","namespace":"ops","fields":[
    {"name":"host","type":"string"},{"name":"load","type":{"type":"map","values":"double"}}]}"#;

const ORDER: &str = r#"syntax = "proto3";
package shop;
message Order { string order_id = 1; int64 units = 2; repeated Line lines = 3; message Line { string sku = 1; bytes raw = 2; } map<string, double> prices = 4; }"#;

fn offtake(at: &Shared, registry: &Registry, args: &str) -> Offtake {
    Offtake::new(args.split_whitespace()).args(["--registry", &registry.url()]).brokers(&at.kafka)
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn good(finished: Finished) -> Finished {
    assert_eq!(finished.code, Some(0), "{:?}", finished.stderr);
    finished
}

#[test]
fn values_are_written_and_printed_by_their_schemas() {
    let (at, registry) = (shared(V4_3_0), Registry::start());
    for (name, schema, values) in [
        ("v1.avsc", V1, [json!({"host": "a", "load": 0.5}), json!({"host": "é", "load": "NaN"})]),
        (
            "order.proto",
            ORDER,
            [
                json!({"orderId": "7", "units": "9007199254740993", "lines": [{"sku": "x", "raw": "/wA="}], "prices": {"eur": 1.5}}),
                json!({"orderId": "", "units": "0", "lines": [], "prices": {}}),
            ],
        ),
        (
            "person.json",
            r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["name"]}"#,
            [json!({"name": "x"}), json!({"name": [1, null]})],
        ),
    ] {
        let topic = at.tool.create_topic(&unique("values"), 1, &[]);
        let (_folder, path) = file(name, schema);
        let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
        good(offtake(at, &registry, &format!("produce {topic} --schema {path}")).stdin(lines.clone()).run());
        // And with the subject's latest version, each a JSON record.
        let records: String =
            values.iter().map(|value| format!("{}\n", json!({"key": "k", "value": value}))).collect();
        good(offtake(at, &registry, &format!("produce {topic} --json")).stdin(records).run());
        at.tool.produce(&[offtake_tests::RecordSpec::to(&topic).partition(0).value("no frame")]);
        let read =
            good(offtake(at, &registry, &format!("consume {topic} --json --until latest")).run()).json();
        assert_eq!(read.len(), 5);
        for (record, value) in read.iter().zip(values.iter().chain(&values)) {
            assert_eq!(&record["value"], value, "{record}");
            assert!(record["value_schema"]["id"].is_number() && record["value_schema"]["type"].is_string());
        }
        assert_eq!(read[4]["value"], "no frame");
        assert!(read[4]["value_error"].as_str().unwrap().contains("names no schema"), "{}", read[4]);
        let wrong = offtake(at, &registry, &format!("produce {topic} --schema {path}")).stdin("7\n").run();
        assert_eq!(wrong.code, Some(1));
    }
    let listed = good(offtake(at, &registry, "schemas list --json").run()).json();
    assert_eq!(listed.len(), 3);
    let subject = listed[0]["subject"].as_str().unwrap();
    good(offtake(at, &registry, &format!("schemas show {subject}:1")).run());
    let nowhere = Offtake::new(["consume", "t", "--registry", "http://127.0.0.1:1"]).brokers(&at.kafka).run();
    assert_eq!(nowhere.code, Some(1), "{:?}", nowhere.stderr);
}

/// Ids before values or in headers, in Confluent's format and in Apicurio's: each is read as it was written, and copied
/// to another.
#[test]
fn ids_are_where_the_options_say_and_a_copy_has_its_own() {
    let (at, registry) = (shared(V4_3_0), Registry::start());
    let (_folder, path) = file("v1.avsc", V1);
    let value = json!({"host": "a", "load": 0.5});
    let mut copied = format!("{}\n", json!({"key": "k", "value": value, "headers": [["trace", "x"]]}));
    for (framing, place, names) in [
        ("confluent", "--registry-headers", &["trace", "__value_schema_id"][..]),
        ("apicurio", "--registry-headers", &["trace", "apicurio.value.contentId", "apicurio.value.encoding"]),
        ("apicurio", "", &["trace"]),
        ("confluent", "", &["trace"]),
    ] {
        let topic = at.tool.create_topic(&unique("framed"), 1, &[]);
        let way = format!("--registry-framing {framing}");
        let args = format!("produce {topic} --json --schema {path} {way} {place}");
        good(offtake(at, &registry, &args).stdin(copied.clone()).run());
        let read =
            good(offtake(at, &registry, &format!("consume {topic} --json --until latest {way}")).run());
        let [record] = &read.json()[..] else { panic!("{read:?}") };
        assert_eq!(record["value"], value, "{record}");
        let headers = record["headers"].as_array().unwrap();
        assert_eq!(headers.iter().map(|header| &header[0]).collect::<Vec<_>>(), names, "{record}");
        // Records read from one topic are written to the next.
        copied = format!("{record}\n");
    }
}

#[test]
fn a_schema_is_checked_against_those_of_its_subject() {
    let (at, registry) = (shared(V4_3_0), Registry::start());
    let topic = at.tool.create_topic(&unique("checked"), 1, &[]);
    let (_a, v1) = file("v1.avsc", V1);
    good(
        offtake(at, &registry, &format!("produce {topic} --schema {v1}"))
            .stdin("{\"host\":\"a\",\"load\":1}\n")
            .run(),
    );
    set_compatibility(&registry, &format!("{topic}-value"));
    let (_b, v2) = file("v2.avsc", V2);
    let (_c, v3) = file("v3.avsc", V3);
    good(offtake(at, &registry, &format!("schemas check {topic}-value {v2}")).run());
    let refused = offtake(at, &registry, &format!("schemas check {topic}-value {v3}")).run();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.iter().any(|line| line.contains("not compatible")), "{:?}", refused.stderr);
    let written = offtake(at, &registry, &format!("produce {topic} --schema {v3}")).stdin("{}\n").run();
    assert_eq!(written.code, Some(1), "the registry does not take it");
}

/// Apicurio has no compatibility rule by default.
fn set_compatibility(registry: &Registry, subject: &str) {
    let program = "
import sys, urllib.request
url, subject = sys.stdin.read().split()
request = urllib.request.Request(f'{url}/config/{subject}', method='PUT', data=b'{\"compatibility\":\"BACKWARD\"}', headers={'content-type': 'application/vnd.schemaregistry.v1+json'})
print(urllib.request.urlopen(request).status)
";
    assert_eq!(python(program, &format!("{} {subject}", registry.url())).trim(), "200");
}

#[derive(Debug, Deserialize)]
struct Metric {
    host: String,
    load: f64,
    zone: Option<String>,
}

/// The main scenario: a consumer that knows version 2 runs while its producer goes from 1 to 2 and to 3.
#[test]
fn j6_a_producer_moves_on_and_what_cannot_be_read_is_dead_lettered_with_its_bytes_and_the_reason() {
    let (at, registry) = (shared(V4_3_0), Registry::start());
    let topic = at.tool.create_topic(&unique("metrics"), 2, &[]);
    let letters = at.tool.create_topic(&unique("metrics-dlq"), 1, &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (read, bytes) = runtime.block_on(async {
        let schemas = SchemaRegistry::new(&registry.url()).unwrap();
        let reader = avro::Schema::parse(V2, &[]).unwrap();
        let by = Registered::new(SchemaRegistry::new(&registry.url()).unwrap()).reader(reader);
        let read = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&read);
        let handler = typed(by, move |metric: Metric, _, _| {
            noted.lock().unwrap().push(metric);
            async { Ok(()) }
        });
        let consumer = Consumer::builder(at.kafka.bootstrap())
            .group(&topic)
            .auto_offset_reset(AutoOffsetReset::Earliest);
        let worker = Worker::new(consumer)
            .subscribe(topic.as_str())
            .retry(Retry::fixed(Duration::from_millis(100)).attempts(3))
            .dead_letters(DeadLetters::to(letters.as_str()));
        let handle = worker.handle();
        let running = tokio::spawn(worker.run(handler, std::future::pending::<()>()));
        let producer = offtake_producer::Producer::builder(at.kafka.bootstrap()).build().await.unwrap();
        let mut bytes = Vec::new();
        for (schema, value) in [
            (V1, json!({"host": "one", "load": 0.5})),
            (V2, json!({"host": "two", "load": 0.25, "zone": "b"})),
            (V3, json!({"host": "three", "load": {"1m": 0.5}})),
        ] {
            let schema = SchemaText::new(SchemaType::Avro, schema);
            let encoder = Serializer::register(schemas.clone(), schema).encoder(&topic).await.unwrap();
            for partition in 0..2 {
                bytes = encoder.encode_json(&value).unwrap().bytes;
                let record = offtake_producer::ProducerRecord::to(&topic).partition(partition).value(&bytes);
                producer.send(record).await.unwrap();
            }
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while handle.metrics().dead_lettered < 2 || read.lock().unwrap().len() < 4 {
            assert!(std::time::Instant::now() < deadline, "{:?}", handle.metrics());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        handle.stop();
        assert!(running.await.unwrap().unwrap().is_clean());
        (std::mem::take(&mut *read.lock().unwrap()), bytes)
    });
    let mut seen: Vec<_> = read.into_iter().map(|metric| (metric.host, metric.load, metric.zone)).collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let one = ("one".to_owned(), 0.5, None);
    let two = ("two".to_owned(), 0.25, Some("b".to_owned()));
    assert_eq!(seen, [one.clone(), one, two.clone(), two]);
    let dead = at.tool.read(&[&letters], "read_uncommitted");
    assert_eq!(dead.len(), 2);
    for letter in dead {
        let header = |name: &str| {
            let headers = letter["headers"].as_array().unwrap().iter();
            headers
                .clone()
                .find(|header| header[0] == name)
                .map(|header| header[1].as_str().unwrap().to_owned())
                .unwrap()
        };
        let reason = header("error_reason");
        for part in ["AVRO schema", &format!("{topic}-value version 3"), "load", "map", "double"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert_eq!(header("error_attempts"), "1");
        assert_eq!(raw(&letter["value"], &letter["value_base64"]), bytes);
    }
}

fn raw(text: &Value, base64: &Value) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    match text.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
    }
}

/// A registry that goes away: records of known schemas are printed, others wait; then it returns.
#[test]
fn a_registry_that_goes_away_stops_only_what_needs_it() {
    let (at, mut registry) = (shared(V4_3_0), Registry::start());
    let topics = ["known", "unknown"].map(|name| at.tool.create_topic(&unique(name), 1, &[]));
    let (_folder, path) = file("v1.avsc", V1);
    let line = "{\"host\":\"a\",\"load\":1}\n";
    for topic in &topics {
        good(offtake(at, &registry, &format!("produce {topic} --schema {path}")).stdin(line).run());
    }
    let (known, unknown) = (&topics[0], &topics[1]);
    // Frames with an id that the registry does not have yet wait; those with a known id do not.
    let frame = |id: u8| [&[0, 0, 0, 0, id][..], &[2, b'a', 0, 0, 0x80, 0x3f]].concat();
    let args = format!("consume {known} {unknown} --json --registry-wait 20s --registry-timeout 1s");
    let running = offtake(at, &registry, &args).start();
    let at_offset = |topic: &str, offset: i64| {
        let topic = topic.to_owned();
        move |record: &Value| record["topic"] == topic.as_str() && record["offset"] == offset
    };
    for topic in &topics {
        running.wait_json(Duration::from_secs(30), at_offset(topic, 0));
    }
    registry.kill9();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let producer = offtake_producer::Producer::builder(at.kafka.bootstrap()).build().await.unwrap();
        for (topic, id) in [(unknown, 200), (known, 1), (known, 1)] {
            let bytes = frame(id);
            producer.send(offtake_producer::ProducerRecord::to(topic.as_str()).value(&bytes)).await.unwrap();
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    running.wait_json(Duration::from_secs(15), at_offset(known, 2)); // while the other waits
    let last = running.wait_json(Duration::from_secs(40), at_offset(unknown, 1));
    assert!(last["value_error"].as_str().unwrap().contains("schema 200 is not known"), "{last}");
    running.signal("INT");
    assert_eq!(running.finish(Duration::from_secs(30)).code, Some(0));
}

/// Replicas of a registry follow one another: an id may appear later than its records. And some never do.
#[test]
fn an_id_that_the_registry_does_not_have_is_waited_for_and_others_flow() {
    let (at, registry) = (shared(V4_3_0), Registry::start());
    let [known, later, never] =
        ["known", "later", "never"].map(|name| at.tool.create_topic(&unique(name), 1, &[]));
    let (_folder, v1) = file("v1.avsc", V1);
    let line = "{\"host\":\"a\",\"load\":1}\n";
    good(offtake(at, &registry, &format!("produce {known} --schema {v1}")).stdin(line).run());
    let id_of = |topic: &str| {
        let listed = good(offtake(at, &registry, "schemas list --json").run()).json();
        let subject = format!("{topic}-value");
        let found = listed.iter().find(|one| one["subject"] == subject.as_str()).unwrap();
        u32::try_from(found["id"].as_u64().unwrap()).unwrap()
    };
    let next = id_of(&known) + 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let producer = offtake_producer::Producer::builder(at.kafka.bootstrap()).build().await.unwrap();
        for (topic, id) in [(&later, next), (&never, 4_000), (&never, 4_000)] {
            let bytes = [&[0][..], &id.to_be_bytes(), &[2, b'a'], &0.5_f64.to_le_bytes(), &[0]].concat();
            producer.send(offtake_producer::ProducerRecord::to(topic.as_str()).value(&bytes)).await.unwrap();
        }
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
    let of = |topic: &str| {
        let topic = topic.to_owned();
        move |record: &Value| record["topic"] == topic.as_str()
    };
    let running =
        offtake(at, &registry, &format!("consume {known} {later} --json --registry-wait 60s")).start();
    running.wait_json(Duration::from_secs(30), of(&known)); // while the other waits
    let (_folder, v2) = file("v2.avsc", V2);
    good(offtake(at, &registry, &format!("produce {known} --schema {v2}")).stdin(line).run());
    assert_eq!(id_of(&known), next, "ids follow one another");
    let found = running.wait_json(Duration::from_secs(60), of(&later));
    assert_eq!(found["value"], json!({"host": "a", "load": 0.5, "zone": null}), "{found}");
    running.signal("INT");
    assert_eq!(running.finish(Duration::from_secs(30)).code, Some(0));

    let args = format!("consume {never} --json --until latest --registry-wait 1s");
    let read = good(offtake(at, &registry, &args).run()).json();
    assert_eq!(read.len(), 2);
    for record in read {
        assert!(record["value_error"].as_str().unwrap().contains("answers 404"), "{record}");
    }
}

/// Python's libraries decode our frames, and we decode theirs.
#[test]
#[ignore = "it needs packages of PyPI; scripts/test full runs it"]
fn pythons_libraries_read_what_we_write_and_we_what_they_write() {
    let avro_value = json!({"host": "é", "load": 0.25, "zone": "b"});
    let ours = avro::Schema::parse(V2, &[]).unwrap().encode_json(&avro_value).unwrap();
    let program = "
import sys, json, io, base64, fastavro, tempfile, os, jsonschema
from grpc_tools import protoc
from google.protobuf import json_format, descriptor_pb2, descriptor_pool, message_factory
given = json.load(sys.stdin)
schema = fastavro.parse_schema(json.loads(given['avro']))
read = fastavro.schemaless_reader(io.BytesIO(base64.b64decode(given['ours'])), schema)
out = io.BytesIO()
fastavro.schemaless_writer(out, schema, read)
folder = tempfile.mkdtemp()
open(os.path.join(folder, 'order.proto'), 'w').write(given['proto'])
assert protoc.main(['', '-I' + folder, '--descriptor_set_out=' + folder + '/set', folder + '/order.proto']) == 0
files = descriptor_pb2.FileDescriptorSet.FromString(open(folder + '/set', 'rb').read())
pool = descriptor_pool.DescriptorPool()
for file in files.file: pool.Add(file)
message = message_factory.GetMessageClass(pool.FindMessageTypeByName('shop.Order'))
order = message.FromString(base64.b64decode(given['order']))
print(json.dumps({'read': read, 'written': base64.b64encode(out.getvalue()).decode(), 'order': json_format.MessageToDict(order), 'bytes': base64.b64encode(order.SerializeToString(deterministic=True)).decode()}))
";
    use base64::{Engine, engine::general_purpose::STANDARD};
    let order = json!({"orderId": "7", "units": "9007199254740993", "lines": [{"sku": "x", "raw": "/wA="}], "prices": {"eur": 1.5}});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registry = SchemaRegistry::new("http://127.0.0.1:1").unwrap();
    let proto = runtime.block_on(registry.prepare(1, &SchemaText::new(SchemaType::Protobuf, ORDER))).unwrap();
    let message = proto.encode_json(&order).unwrap();
    let given = json!({"avro": V2, "ours": STANDARD.encode(&ours), "proto": ORDER, "order": STANDARD.encode(&message)});
    let said: Value = serde_json::from_str(&python_with_libraries(program, &given.to_string())).unwrap();
    assert_eq!(said["read"], avro_value);
    assert_eq!(said["written"], STANDARD.encode(&ours));
    assert_eq!(said["order"], order, "as Protobuf's own JSON has it");
    let theirs = STANDARD.decode(said["bytes"].as_str().unwrap()).unwrap();
    let indexes = offtake_schema::framing::MessageIndexes::default();
    let read = proto.to_json(&theirs, &indexes, avro::JsonForm::Plain, &avro::Budget::default()).unwrap();
    assert_eq!(read, order);
}
