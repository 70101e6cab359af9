//! The records that Java's consumer reads, field by field: every codec, shape and kind of log, in both isolation
//! levels, by hand assignment and through a group, on each version of Kafka.

use std::collections::BTreeMap;

use offtake_tests::{Offtake, V2_8_2, V3_9_1, V4_3_0, Version, shared, unique};
use serde_json::Value;

use crate::specimens::specimens;

type ByPartition = BTreeMap<(String, i32), Vec<Value>>;

pub(crate) fn by_partition(records: Vec<Value>) -> ByPartition {
    let mut all = ByPartition::new();
    for record in records {
        let topic = record["topic"].as_str().expect("a topic").to_owned();
        let partition = record["partition"].as_i64().and_then(|of| of.try_into().ok()).expect("a partition");
        all.entry((topic, partition)).or_default().push(record);
    }
    all
}

fn short(record: &Value) -> String {
    let text = record.to_string();
    text.chars().take(600).collect()
}

fn assert_same(ours: &ByPartition, javas: &ByPartition, what: &str) {
    for (partition, java) in javas {
        let our = ours.get(partition).map(Vec::as_slice).unwrap_or_default();
        if let Some((our, java)) = our.iter().zip(java).find(|(our, java)| our != java) {
            panic!("{what}, {partition:?}: ours {}\n Java's {}", short(our), short(java));
        }
        assert_eq!(our.len(), java.len(), "{what}, {partition:?}: the records are as many as Java's");
    }
    assert!(ours.keys().all(|partition| javas.contains_key(partition)), "{what}: ours has more partitions");
}

fn consume(version: Version, topics: &[String]) -> Offtake {
    Offtake::new(["consume", "--json", "--from", "earliest", "--until", "latest"])
        .args(topics)
        .brokers(&shared(version).kafka)
}

fn the_same_records_as_java(version: Version) {
    let at = shared(version);
    let topics = specimens(version);
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for isolation in ["read_uncommitted", "read_committed"] {
        let javas = by_partition(at.tool.read(&names, isolation));
        assert!(javas.len() > 20, "the topics are filled");
        let by_hand = consume(version, topics).args(["--isolation", isolation]).run();
        assert_same(&by_partition(by_hand.json()), &javas, isolation);

        let group = unique("group");
        let member = || consume(version, topics).args(["--isolation", isolation, "--group", &group]);
        assert_same(&by_partition(member().run().json()), &javas, &format!("{isolation} in a group"));
        // The printed records are committed, as Java sees it, and no more.
        let committed = at.tool.committed(&group);
        for (partition, records) in &javas {
            let last = records.last().and_then(|record| record["offset"].as_i64()).expect("an offset");
            let end = at.tool.list_offsets(&partition.0, "latest", isolation)[partition.1 as usize];
            let at = committed.get(partition).copied().unwrap_or(-1);
            assert!(last < at && at <= end, "{isolation}, {partition:?}: {last} < committed {at} <= {end}");
        }
        assert_eq!(member().run().json().len(), 0, "{isolation}: nothing is printed twice");
    }
}

#[test]
fn the_same_records_as_java_from_kafka_4_3() {
    the_same_records_as_java(V4_3_0);
}

#[test]
fn the_same_records_as_java_from_kafka_3_9() {
    the_same_records_as_java(V3_9_1);
}

#[test]
fn the_same_records_as_java_from_kafka_2_8_and_from_its_old_message_formats() {
    the_same_records_as_java(V2_8_2);
}

#[test]
fn bench_sums_what_java_sums() {
    for version in Version::ALL {
        let at = shared(version);
        let topics = specimens(version);
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let ours = |more: &[&str]| {
            let bench = Offtake::new(["bench", "consume", "--json"]).args(topics).brokers(&at.kafka);
            let ours = bench.args(more.iter().copied()).run().json();
            let [ours] = ours.as_slice() else { panic!("one object, not {ours:?}") };
            ours.clone()
        };
        for headers in [true, false] {
            let javas = at.tool.checksum(&names, headers);
            for threads in ["0", "2"] {
                let with =
                    if headers { &["--threads", threads, "--headers"][..] } else { &["--threads", threads] };
                let ours = ours(with);
                assert_eq!(
                    ours["checksum"].to_string(),
                    javas["checksum"].as_str().expect("text"),
                    "{version:?}, {threads} threads"
                );
                for field in ["records", "bytes", "order_errors"] {
                    assert_eq!(ours[field], javas[field], "{version:?}, {threads} threads, {field}");
                }
            }
        }
        // A measurement commits nothing: the next one reads the same again.
        let group = unique("group");
        for threads in ["0", "2"] {
            let member = ["--threads", threads, "--group", &group];
            assert_eq!(ours(&member)["records"], at.tool.checksum(&names, false)["records"], "{version:?}");
        }
        assert!(at.tool.committed(&group).is_empty(), "{version:?}");
    }
}
