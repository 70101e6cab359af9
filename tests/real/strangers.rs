//! Other clients, and ours, against the broker in the box: each does everything that it is used for, as with Kafka.
//!
//! These clients test the box: Java's are Kafka's own programs, kcat stands for librdkafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offtake_tests::{Boxed, Finished, JavaMember, Offtake, RecordSpec, Running};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const VERIFIABLE: &str = "org.apache.kafka.tools.VerifiableConsumer";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";

/// One of Kafka's own programs.
fn java(at: &Boxed, class: &str, args: &str) -> Offtake {
    at.java(class, &format!("--bootstrap-server {} {args}", at.bootstrap()))
}

/// `from\nfrom + 1\n…`, up to and without `until`.
fn numbers(from: u32, until: u32) -> String {
    (from..until).map(|number| format!("{number}\n")).collect()
}

/// The lines on stdout, without blank ones. Fails the test if the program failed.
fn well(finished: Finished) -> Vec<String> {
    assert_eq!(finished.code, Some(0), "stdout: {:#?}, stderr: {:#?}", finished.stdout, finished.stderr);
    finished.stdout.into_iter().filter(|line| !line.trim().is_empty()).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Rows of a table as Kafka's programs print it, each by the column names in its first line.
fn table(finished: Finished) -> Vec<BTreeMap<String, String>> {
    let lines = well(finished);
    let (head, rows) = lines.split_first().expect("a table");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    rows.iter().map(|row| words(head).into_iter().zip(words(row)).collect()).collect()
}

fn column<'a>(rows: &'a [BTreeMap<String, String>], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row.get(name).map_or("", String::as_str)).collect()
}

#[test]
fn javas_console_consumer_reads_what_its_producer_wrote() {
    let at = Boxed::start(&["orders:3"]);
    let keyed = "--topic orders --reader-property parse.key=true --reader-property key.separator=: ";
    let produce = |lines: &str, more: &str| {
        well(java(&at, PRODUCER, &format!("{keyed} {more}")).stdin(lines).run());
    };
    // Enough for both to stop by a count of records, not by time.
    let consume = |protocol: &str, count: u32| {
        let form = "--topic orders --group billing --from-beginning --formatter-property print.key=true";
        let args = format!("{form} --max-messages {count} --command-property group.protocol={protocol}");
        sorted(well(java(&at, CONSUMER, &args).run()))
    };
    produce("a:1\nb:2\nc:3\nd:4\n", "--compression-codec zstd");
    assert_eq!(consume("classic", 4), ["a\t1", "b\t2", "c\t3", "d\t4"]);
    produce("e:5\nf:6\n", "--command-property enable.idempotence=false --request-required-acks 1");
    assert_eq!(consume("consumer", 2), ["e\t5", "f\t6"], "the group goes on, now by KIP-848");
}

#[test]
fn kafka_topics_creates_describes_changes_and_deletes() {
    let at = Boxed::start(&["orders:1"]);
    let topics = |args: &str| java(&at, TOPICS, args).run();
    let create = "--create --topic bills --partitions 3 --replication-factor 2 --config retention.ms=1000000";
    assert_eq!(well(topics(create)), ["Created topic bills."]);
    let again = topics("--create --topic bills");
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.iter().any(|line| line.contains("TopicExistsException")), "{:?}", again.stderr);
    assert_eq!(well(topics("--list")), ["bills", "orders"]);
    well(topics("--alter --topic bills --partitions 4"));
    let described = well(topics("--describe --topic bills"));
    let head = "PartitionCount: 4\tReplicationFactor: 2\tConfigs: min.insync.replicas=1,retention.ms=1000000";
    assert!(described[0].starts_with("Topic: bills") && described[0].ends_with(head), "{described:?}");
    assert_eq!(described.len(), 5);
    for (partition, line) in described[1..].iter().enumerate() {
        let fields: Vec<_> = line.split('\t').map(str::trim).filter(|field| !field.is_empty()).collect();
        let [_, number, leader, replicas, isr, elr, last] = fields[..] else { panic!("{line}") };
        assert_eq!(number, format!("Partition: {partition}"));
        let (leader, replicas) = (&leader["Leader: ".len()..], &replicas["Replicas: ".len()..]);
        assert!(replicas.starts_with(leader) && replicas.len() == 3, "{line}");
        assert_eq!((isr, elr, last), (&*format!("Isr: {replicas}"), "Elr:", "LastKnownElr:"));
    }
    well(topics("--delete --topic bills"));
    assert_eq!(well(topics("--list")), ["orders"]);
}

#[test]
fn kafka_consumer_groups_lists_describes_resets_and_deletes() {
    let at = Boxed::start(&["orders:2"]);
    let groups = |args: &str| java(&at, GROUPS, args).run();
    at.tool.fill("orders", 2, 20, 10, json!({}));
    at.tool.alter_offsets("search", &[("orders", 0, 3)]);
    let member = JavaMember::at(&at.tool, "billing").topics(&["orders"]).start();
    member.wait_owned(PATIENCE, |owned| owned.len() == 2);
    let both =
        |event: &Value| event["event"] == "committed" && event.to_string().matches(",10]").count() == 2;
    assert!(member.events().wait_for(PATIENCE, both).is_some(), "{:?}", member.events().all());

    let mut listed = table(groups("--list --state"));
    listed.sort();
    assert_eq!(column(&listed, "GROUP"), ["billing", "search"]);
    assert_eq!(column(&listed, "STATE"), ["Stable", "Empty"]);
    let rows = table(groups("--describe --group billing"));
    assert_eq!(column(&rows, "PARTITION"), ["0", "1"]);
    assert_eq!((column(&rows, "CURRENT-OFFSET"), column(&rows, "LAG")), (vec!["10", "10"], vec!["0", "0"]));
    assert_eq!(column(&rows, "HOST"), ["/127.0.0.1", "/127.0.0.1"]);
    let reset = "--group billing --all-topics --reset-offsets --shift-by -4 --execute";
    let refused = groups(reset);
    let reason = [refused.stdout, refused.stderr].concat().join("\n");
    assert!(reason.contains("current state is Stable"), "{reason}");

    member.stop();
    let rows = table(groups(reset));
    assert_eq!(column(&rows, "NEW-OFFSET"), ["6", "6"]);
    assert_eq!(at.tool.committed("billing").into_values().collect::<Vec<_>>(), [6, 6]);
    well(groups("--delete --group billing --group search"));
    assert_eq!(well(groups("--list")), [""; 0]);
}

/// The partitions that a member holds, by its own account of assignments and revocations.
fn holds(said: &[String]) -> BTreeSet<i64> {
    let mut held = BTreeSet::new();
    for line in said.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let partitions = line["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let partitions = partitions.iter().filter_map(|partition| partition["partition"].as_i64());
        match line["name"].as_str() {
            Some("partitions_assigned") => held.extend(partitions),
            Some("partitions_revoked") => partitions.for_each(|partition| {
                held.remove(&partition);
            }),
            _ => {}
        }
    }
    held
}

/// The records of a member: partition and offset.
fn given(said: &[String]) -> Vec<(i64, i64)> {
    let lines = said.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records = lines.filter(|line| line["name"] == "record_data");
    records.filter_map(|line| Some((line["partition"].as_i64()?, line["offset"].as_i64()?))).collect()
}

fn wait(member: &Running, what: &str, enough: impl Fn(&[String]) -> bool) {
    assert!(member.stdout().wait_until(PATIENCE, &enough), "{what}: {:#?}", member.stdout().all());
}

/// Two of Kafka's own members share a topic; one leaves and the other takes over, without a record lost or repeated.
fn two_share_and_one_leaves(protocol: &str) {
    let at = Boxed::start(&["orders:4"]);
    let start = || {
        let form = "--topic orders --group-id billing --reset-policy earliest --verbose";
        java(&at, VERIFIABLE, &format!("{form} --group-protocol {protocol}")).start()
    };
    let stays = start();
    wait(&stays, "all partitions", |said| holds(said).len() == 4);
    let leaves = start();
    wait(&stays, "its share", |said| holds(said).len() == 2);
    wait(&leaves, "its share", |said| holds(said).len() == 2);
    at.tool.fill("orders", 4, 100, 10, json!({}));
    wait(&stays, "half of the records", |said| given(said).len() >= 50);
    wait(&leaves, "half of the records", |said| given(said).len() >= 50);
    leaves.signal("TERM");
    wait(&leaves, "its end", |said| said.iter().any(|line| line.contains("shutdown_complete")));
    wait(&stays, "all partitions", |said| holds(said).len() == 4);
    at.tool.fill("orders", 4, 20, 10, json!({}));
    wait(&stays, "the other records", |said| given(said).len() >= 70);
    let all = [given(&leaves.stdout().all()), given(&stays.stdout().all())].concat();
    let expected = (0..4).flat_map(|partition| (0..30).map(move |offset| (partition, offset)));
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>()), (120, expected.collect()));
}

#[test]
fn verifiable_consumers_share_and_take_over_by_the_classic_protocol() {
    two_share_and_one_leaves("classic");
}

#[test]
fn verifiable_consumers_share_and_take_over_by_the_consumer_protocol() {
    two_share_and_one_leaves("consumer");
}

#[test]
fn java_producers_are_idempotent_and_transactional() {
    let at = Boxed::start(&["orders:2"]);
    let spec = |partition: i32, value: &str| RecordSpec::to("orders").partition(partition).value(value);
    assert_eq!(at.tool.produce(&[spec(0, "idempotent")]), [0]);
    at.tool.begin("one");
    assert_eq!(at.tool.produce_within("one", &[spec(0, "committed"), spec(1, "committed")]), [1, 0]);
    let end = |isolation: &str| at.tool.list_offsets("orders", "latest", isolation);
    assert_eq!((end("read_committed"), end("read_uncommitted")), (vec![1, 0], vec![2, 1]));
    at.tool.commit("one"); // a marker in each partition
    at.tool.begin("one");
    assert_eq!(at.tool.produce_within("one", &[spec(0, "aborted"), spec(1, "aborted")]), [3, 2]);
    at.tool.abort("one");
    at.tool.begin("two");
    assert_eq!(at.tool.produce_within("two", &[spec(0, "open")]), [5]);
    assert_eq!(at.tool.produce(&[spec(0, "after")]), [6]);
    assert_eq!((end("read_committed"), end("read_uncommitted")), (vec![5, 4], vec![7, 4]));
    let java = |isolation: &str| {
        let read = at.tool.read(&["orders"], isolation);
        read.into_iter().map(|record| record["value"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let kcat = |isolation: &str| {
        let of = |partition| format!("-C -t orders -p {partition} -e -q -X isolation.level={isolation}");
        [0, 1].map(|partition| well(at.kcat(&of(partition)).run())).concat()
    };
    let committed = ["idempotent", "committed", "committed"];
    let all = ["idempotent", "committed", "aborted", "open", "after", "committed", "aborted"];
    let by_java: [Vec<String>; 2] = ["read_committed", "read_uncommitted"].map(java);
    assert_eq!(by_java, [committed.to_vec(), all.to_vec()]);
    assert_eq!(["read_committed", "read_uncommitted"].map(kcat), by_java);
    // The next producer with that id ends the transaction that the last one left open.
    let fences = at.kcat("-P -t orders -p 0 -X transactional.id=two").stdin("new\n").run();
    well(fences);
    let by_java: Vec<String> = java("read_committed");
    assert_eq!(by_java, ["idempotent", "committed", "after", "new", "committed"]);
}

#[test]
fn a_java_program_reads_and_writes_exactly_once_though_it_aborts_at_random() {
    let at = Boxed::start(&["orders:1", "bills:2"]);
    well(at.kcat("-P -t orders").stdin(numbers(0, 1000)).run());
    let form = "--input-topic orders --input-partition 0 --output-topic bills --transactional-id copier";
    let how = "--transaction-size 100 --max-messages 1000 --consumer-group copiers --enable-random-aborts";
    let way = "--group-mode --use-group-metadata"; // KIP-447
    well(at.java(COPIER, &format!("--broker-list {} {form} {how} {way}", at.bootstrap())).run());
    let read = well(at.kcat("-C -t bills -e -q -X isolation.level=read_committed").run());
    assert_eq!(read.len(), 1000);
    let expected: Vec<String> = numbers(0, 1000).lines().map(str::to_owned).collect();
    assert_eq!(sorted(read), sorted(expected));
    assert_eq!(at.tool.committed("copiers").into_values().collect::<Vec<_>>(), [1000]);
}

#[test]
fn kcat_writes_reads_and_asks() {
    let at = Boxed::start(&["orders:2", "bills:1"]);
    let kcat = |args: &str| at.kcat(args).run();
    let known: Value = serde_json::from_str(&well(kcat("-L -J")).concat()).expect("JSON");
    assert_eq!(known["brokers"].as_array().map(Vec::len), Some(3));
    let topics = known["topics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let topics: Vec<_> = topics
        .iter()
        .map(|topic| (topic["topic"].as_str(), topic["partitions"].as_array().map(Vec::len)))
        .collect();
    assert_eq!(topics, [(Some("bills"), Some(1)), (Some("orders"), Some(2))]);

    for (nth, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let form = format!("-P -t orders -p 0 -z {codec} -X enable.idempotence={}", nth % 2 == 0);
        well(at.kcat(&form).stdin(numbers(nth * 100, nth * 100 + 100)).run());
    }
    assert_eq!(well(kcat("-C -t orders -e -q")), numbers(0, 500).lines().collect::<Vec<_>>());
    assert_eq!(well(kcat("-C -t orders -p 0 -o -3 -e -q -f %o:%s\\n")), ["497:497", "498:498", "499:499"]);
    well(at.kcat("-P -t bills -K : -H h=1 -X acks=1").stdin("a:b\n").run());
    well(at.kcat("-P -t bills -X acks=0").stdin("c\n").run());
    // Nothing reports when an unacknowledged record has arrived.
    let bills = well(kcat("-C -t bills -c 2 -q -J"));
    let bills: Vec<Value> = bills.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(bills[0]["headers"], json!(["h", "1"]));
    let pairs: Vec<_> = bills.iter().map(|each| (each["key"].as_str(), each["payload"].as_str())).collect();
    assert_eq!(pairs, [(Some("a"), Some("b")), (None, Some("c"))]);
    let time = bills[1]["ts"].as_i64().expect("a time");
    let asked = |partition: &str| well(kcat(&format!("-Q -t {partition}"))).concat();
    assert_eq!(asked("orders:0:-1"), "orders [0] offset 500");
    assert_eq!(asked("orders:0:-2"), "orders [0] offset 0");
    assert_eq!(asked("orders:1:-1"), "orders [1] offset 0");
    assert_eq!(asked(&format!("bills:0:{time}")), "bills [0] offset 1");
    assert_eq!(asked(&format!("bills:0:{}", time + 1)), "bills [0] offset -1");
    let refused = at.kcat("-P -t nowhere -X message.timeout.ms=2000").stdin("x\n").run();
    assert_eq!(refused.code, Some(1), "{:?}", refused.stderr);
}

/// `kcat -G`: two members share, one leaves and the other has all.
fn kcat_shares(assignor: &str) {
    let at = Boxed::start(&["orders:4"]);
    at.tool.fill("orders", 4, 100, 10, json!({}));
    let start = || {
        let how = "-X auto.offset.reset=earliest -X heartbeat.interval.ms=200 -f %p:%o\\n -u";
        at.kcat(&format!("{how} -X partition.assignment.strategy={assignor} -G billing orders")).start()
    };
    // "% Group billing rebalanced (memberid …): assigned: orders [0], orders [1]", and in cooperation
    // "% Group billing rebalanced: incremental revoke of 1 partition(s) (memberid …): orders [3]"
    let share = |member: &Running, count: usize| {
        let held = |lines: &[String]| {
            let mut held = BTreeSet::new();
            for line in lines.iter().filter(|line| line.contains(" rebalanced")) {
                let (event, partitions) = line.rsplit_once(": ").unwrap_or_default();
                for each in partitions.split(", ").filter(|each| !each.is_empty()) {
                    if event.contains("revo") {
                        held.remove(each)
                    } else {
                        held.insert(each.to_owned())
                    };
                }
            }
            held
        };
        let came = member.stderr().wait_until(PATIENCE, |lines| held(lines).len() == count);
        assert!(came, "{assignor}: not {count} partitions: {:#?}", member.stderr().all());
    };
    let stays = start();
    share(&stays, 4);
    wait(&stays, "all records", |read| read.len() >= 100);
    let leaves = start();
    share(&leaves, 2);
    share(&stays, 2);
    at.tool.fill("orders", 4, 20, 10, json!({}));
    wait(&stays, "half of the new records", |read| read.len() >= 110);
    wait(&leaves, "half of the new records", |read| read.len() >= 10);
    leaves.signal("INT");
    share(&stays, 4);
    let left = well(leaves.finish(PATIENCE));
    stays.signal("INT");
    let all: Vec<String> = [left, well(stays.finish(PATIENCE))].concat();
    let expected = (0..4).flat_map(|partition| (0..30).map(move |offset| format!("{partition}:{offset}")));
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>()), (120, expected.collect()));
    assert_eq!(at.tool.committed("billing").into_values().collect::<Vec<_>>(), [30; 4]);
}

#[test]
fn members_of_kcat_share_eagerly() {
    kcat_shares("range,roundrobin");
}

#[test]
fn members_of_kcat_share_cooperatively() {
    kcat_shares("cooperative-sticky");
}

#[test]
fn our_own_command_does_all_it_does() {
    let at = Boxed::start(&["orders:3"]);
    let offtake = |args: &str| at.offtake(args).run();
    at.tool.fill("orders", 3, 3000, 50, json!({ "codec": "zstd", "key": true, "headers": 1 }));
    let java = at.tool.read(&["orders"], "read_uncommitted");
    let in_order = |mut records: Vec<Value>| {
        records.sort_by_key(|record| (record["partition"].as_i64(), record["offset"].as_i64()));
        records
    };
    for protocol in ["classic", "consumer"] {
        let form = format!(
            "consume orders --json --from earliest --until latest -g {protocol} --protocol {protocol}"
        );
        assert!(in_order(offtake(&form).json()) == java, "what Java reads, {protocol}");
        assert_eq!(offtake(&form).json(), [Value::Null; 0], "the group has read all");
        let committed = at.tool.committed(protocol);
        assert_eq!(committed.into_values().collect::<Vec<_>>(), [1000; 3]);
        let described = offtake(&format!("groups describe {protocol} --json")).json();
        assert_eq!((&described[0]["state"], &described[0]["type"]), (&json!("Empty"), &json!(protocol)));
    }
    let benched = &offtake("bench consume orders --json").json()[0];
    let expected = at.tool.checksum(&["orders"], false);
    assert_eq!(
        benched["checksum"].to_string().trim_matches('"'),
        expected["checksum"].as_str().unwrap_or("")
    );
    let listed: Vec<Value> = offtake("groups list --json").json();
    let listed: Vec<_> = listed.iter().filter_map(|group| group["group"].as_str()).collect();
    assert_eq!(listed, ["classic", "consumer"]);
    let ends: Vec<Value> = offtake("offsets orders --json").json();
    assert!(ends.iter().all(|end| end["latest"] == 1000) && ends.len() == 3, "{ends:?}");
    assert_eq!(offtake("topics create bills --partitions 2").code, Some(0));
    let topics = offtake("topics list --json").json();
    let topics: Vec<_> = topics.iter().filter_map(|topic| topic["topic"].as_str()).collect();
    assert_eq!(topics, ["bills", "orders"]);
    assert_eq!(offtake("topics delete bills").code, Some(0));

    let waits = at.offtake("consume orders --json --from latest --events").start();
    let began =
        waits.stderr().wait_until(PATIENCE, |lines| lines.iter().any(|line| line.contains("assigned")));
    assert!(began, "{:?}", waits.stderr().all());
    let ended = at.stop();
    assert_eq!((ended.code, ended.stdout.len(), ended.stderr.len()), (Some(0), 0, 1), "{:?}", ended.stderr);
    waits.signal("INT");
    assert_eq!(waits.finish(PATIENCE).code, Some(0), "a reader without a broker still ends when asked");
}
