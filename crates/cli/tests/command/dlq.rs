//! `offtake dlq`, on dead letters of all three kinds.

use std::collections::BTreeMap;

use offtake_broker::NewRecord;
use serde_json::{Value, json};

use crate::operator::{At, Done};

/// The time of the records; they failed one minute apart from here on.
const THEN: i64 = 1_700_000_000_000;

/// A dead letter written by Offtake: the record at `offset` of `orders-0`, which failed in that minute.
fn letter(offset: i64, reason: &str) -> NewRecord {
    let failed = ["2023-11-14T22:13:20.000Z", "2023-11-14T22:14:20.000Z", "2023-11-14T22:15:20.000Z"];
    NewRecord::new(format!("v{offset}"))
        .key(format!("k{offset}"))
        .header("trace", "abc")
        .header("original_topic", "orders")
        .header("original_partition", "0")
        .header("original_offset", offset.to_string())
        .header("original_timestamp", (THEN - 1000).to_string())
        .header("original_group", "billing")
        .header("error_reason", reason.to_owned())
        .header("error_attempts", "5")
        .header("failed_at", failed[usize::try_from(offset).unwrap() % 3])
        .timestamp(THEN)
}

fn spring() -> NewRecord {
    NewRecord::new("spring")
        .header("kafka_dlt-original-topic", "returns")
        .header("kafka_dlt-original-partition", 7_i32.to_be_bytes().to_vec())
        .header("kafka_dlt-original-offset", 42_i64.to_be_bytes().to_vec())
        .header("kafka_dlt-exception-message", "no\nstack trace")
        .header("kafka_dlt-exception-stacktrace", "at com.example")
        .timestamp(THEN)
}

fn connect() -> NewRecord {
    NewRecord::new("connect")
        .key("c")
        .header("__connect.errors.topic", "orders")
        .header("__connect.errors.partition", "1")
        .header("__connect.errors.offset", "3")
        .header("__connect.errors.stage", "VALUE_CONVERTER")
        .header("__connect.errors.exception.message", "no such table")
        .timestamp(THEN)
}

/// Topics `orders` and `returns`, empty, and dead letters in `dlq`: three of Offtake's in partition 0; one of
/// Spring's and one of Connect's in partition 1.
async fn dead_letters() -> At {
    let at = At::start_with(&[("orders", 2), ("returns", 1), ("dlq", 2)]).await;
    let ours = [letter(0, "no such customer"), letter(1, "locked"), letter(2, "no such customer")];
    at.cluster.append("dlq", 0, &ours).unwrap();
    at.cluster.append("dlq", 1, &[spring(), connect()]).unwrap();
    at
}

impl At {
    /// All records of a topic, by value.
    fn records(&self, topic: &str) -> BTreeMap<String, Value> {
        let read = self.run(&format!("consume {topic} --json --until latest --isolation read_committed"));
        let rows = read.json().into_iter();
        rows.map(|row| (row["value"].as_str().unwrap_or_default().to_owned(), row)).collect()
    }

    fn count(&self, topic: &str) -> usize {
        let read = self.run(&format!("consume {topic} --json --until latest --isolation read_committed"));
        read.json().len()
    }
}

fn failed(done: &Done, words: &str) {
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.lines().last().is_some_and(|line| line.contains(words)), "{words}: {done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_counted_by_where_they_came_from_and_why() {
    let at = dead_letters().await;
    let listed = at.run("dlq list dlq --json").json();
    let row = |topic: &str, reason: &str, count: u64, span: [i64; 2], per_hour: Option<f64>| {
        let [oldest, newest] = span.map(|after| THEN + after);
        json!({
            "topic": topic, "reason": reason, "count": count, "oldest": oldest, "newest": newest, "per_hour": per_hour,
        })
    };
    let expected = [
        row("orders", "no such customer", 2, [0, 120_000], Some(30.0)),
        row("orders", "locked", 1, [60_000; 2], None),
        row("orders", "no such table", 1, [0; 2], None),
        row("returns", "no", 1, [0; 2], None),
    ];
    assert_eq!(listed, expected);
    let filtered = |options: &str| at.run(&format!("dlq list dlq --json {options}")).json().len();
    assert_eq!(filtered("--from-topic returns"), 1);
    assert_eq!(filtered("--reason ^no.such"), 2);
    assert_eq!(filtered("--since 2023-11-14T22:14:00Z --until 2023-11-14T22:15:00Z"), 1);
    assert_eq!(filtered("--key-contains k1"), 1);
    assert_eq!(filtered("--from-topic returns --key-contains k1"), 0);
    let table = at.run("dlq list dlq").stdout;
    assert!(table.starts_with("FROM") && table.contains("no such customer"), "{table}");
    at.run("dlq list dlq --reason (").refused("--reason");
    failed(&at.run("dlq list nosuch -X default.api.timeout.ms=2000"), "nosuch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_shown_with_where_it_came_from_and_why() {
    let at = dead_letters().await;
    let shown = at.run("dlq show dlq --json --from-topic returns").json();
    let [row] = shown.as_slice() else { panic!("{shown:?}") };
    for (field, value) in [
        ("value", json!("spring")),
        ("original_topic", json!("returns")),
        ("original_partition", json!(7)),
        ("original_offset", json!(42)),
        ("error_reason", json!("no\nstack trace")),
        ("error_attempts", Value::Null),
        ("failed_at", json!("2023-11-14T22:13:20.000Z")),
    ] {
        assert_eq!(row[field], value, "{field}: {row}");
    }
    assert_eq!(at.run("dlq show dlq --json -n 2").json().len(), 2);
    assert_eq!(at.run("dlq show dlq --json").json().len(), 5);
    let text = at.run("dlq show dlq --reason locked").stdout;
    for part in [
        "dlq-0, offset 1, failed 2023-11-14T22:14:20.000Z",
        "orders-0, offset 1, group billing",
        "locked",
        "trace: abc",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("original_topic"), "what is told is not shown twice: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe12_a_replay_restores_the_original_records_and_never_twice() {
    let at = dead_letters().await;
    let planned = at.run("dlq replay dlq --json").json();
    let row = |partition: i32, end: i64, records: Value, executed: bool| {
        json!({
            "group": "offtake-dlq-replay-dlq", "topic": "dlq", "partition": partition, "from": 0, "end": end,
            "records": records, "left_out": 0, "executed": executed,
        })
    };
    let rows = |executed| {
        vec![
            row(0, 3, json!({"orders": 3}), executed),
            row(1, 2, json!({"orders": 1, "returns": 1}), executed),
        ]
    };
    assert_eq!(planned, rows(false));
    assert_eq!((at.count("orders"), at.count("returns")), (0, 0), "a plan changes nothing");
    let dry = at.run("dlq replay dlq");
    assert!(dry.stderr.contains("nothing was changed; add --execute to replay 5 records"), "{dry:?}");

    assert_eq!(at.run("dlq replay dlq --execute --json").json(), rows(true));
    let orders = at.records("orders");
    let first = &orders["v0"];
    assert_eq!((&first["key"], &first["headers"]), (&json!("k0"), &json!([["trace", "abc"]])));
    assert_eq!(first["timestamp"], json!(THEN - 1000), "as the record had it");
    assert_eq!(orders["connect"]["headers"], json!([]));
    assert_eq!(orders["connect"]["timestamp"], json!(THEN));
    assert_eq!(at.records("returns")["spring"]["headers"], json!([]));

    for _ in 0..2 {
        let again = at.run("dlq replay dlq --execute --json").json();
        assert!(
            again.iter().all(|row| row["from"] == row["end"] && row["executed"] == json!(false)),
            "{again:?}"
        );
    }
    for replay in ["dlq replay dlq", "dlq replay dlq --execute"] {
        let again = at.run(replay);
        assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""), "{again:?}");
        assert!(
            again.stderr.starts_with("there is nothing to replay: group `offtake-dlq-replay-dlq`"),
            "{again:?}"
        );
    }
    assert_eq!((at.count("orders"), at.count("returns")), (4, 1));
    at.cluster.append("dlq", 0, &[letter(1, "late")]).unwrap();
    assert_eq!(at.run("dlq replay dlq --execute --json").json()[0]["records"], json!({"orders": 1}));
    assert_eq!(at.count("orders"), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_decides_the_partition_of_what_is_replayed() {
    let at = dead_letters().await;
    assert_eq!(at.run("dlq replay dlq --execute --to orders").code, Some(0));
    let replayed = at.records("orders");
    assert_eq!(replayed.len(), 5, "{replayed:?}");
    at.cluster.create_topic("beside", 2).unwrap();
    // The command's own producer sends the same key to the same partition.
    let of = |value: &str| replayed[value]["partition"].clone();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "k0:v0\nk1:v1\nk2:v2\nc:connect\n").unwrap();
    let mut produce = at.command("produce beside -K :");
    produce.stdin(std::fs::File::open(file.path()).unwrap());
    assert_eq!(crate::operator::done(&mut produce).code, Some(0));
    for (value, row) in at.records("beside") {
        assert_eq!(row["partition"], of(&value), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_left_out_by_a_filter_are_skipped_for_that_group_alone() {
    let at = dead_letters().await;
    let replayed = at.run("dlq replay dlq --execute --json --reason locked -g locked").json();
    assert_eq!((&replayed[0]["records"], &replayed[0]["left_out"]), (&json!({"orders": 1}), &json!(2)));
    assert_eq!(replayed[1]["left_out"], json!(2));
    assert_eq!(at.count("orders"), 1);
    let again = at.run("dlq replay dlq --execute --json -g locked").json();
    assert!(again.iter().all(|row| row["from"] == row["end"]), "{again:?}");
    assert_eq!(at.run("dlq replay dlq --execute").code, Some(0));
    assert_eq!(at.count("orders"), 5, "another group is another replay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_replayed_where_something_cannot_be() {
    let at = dead_letters().await;
    at.cluster.append("dlq", 0, &[NewRecord::new("from nowhere").timestamp(THEN)]).unwrap();
    for options in ["", "--execute"] {
        failed(&at.run(&format!("dlq replay dlq {options}")), "1 dead letter does not say which topic");
    }
    assert_eq!(at.count("orders"), 0);
    at.cluster.create_topic("other", 1).unwrap();
    let lost = NewRecord::new("lost").header("original_topic", "deleted").timestamp(THEN);
    at.cluster.append("other", 0, &[lost]).unwrap();
    let refused = at.run("dlq replay other --execute -X default.api.timeout.ms=2000");
    failed(&refused, "topic `deleted`, which does not exist");
    assert_eq!(at.run("dlq replay other --execute --to returns").code, Some(0));
    assert_eq!(at.count("returns"), 1);
    at.run("dlq replay dlq --to dlq").refused("replay them to another");
    assert_eq!(at.run("dlq replay dlq --execute --from-topic orders --from-topic returns").code, Some(0));
    assert_eq!(at.count("orders"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_deletes_replayed_records_and_nothing_else() {
    let at = dead_letters().await;
    failed(&at.run("dlq purge dlq"), "nothing is replayed under group `offtake-dlq-replay-dlq`");
    assert_eq!(at.run("dlq replay dlq --execute -g some --reason locked").code, Some(0));
    let purged = at.run("dlq purge dlq -g some --execute --json").json();
    assert!(purged.iter().all(|row| row["from"] == row["to"]), "the first ones were left out: {purged:?}");
    assert_eq!(at.count("dlq"), 5);

    assert_eq!(at.run("dlq replay dlq --execute").code, Some(0));
    at.cluster.append("dlq", 0, &[letter(1, "late")]).unwrap();
    let plan = at.run("dlq purge dlq --json").json();
    let row = |partition: i32, to: i64, executed: bool| json!({"topic": "dlq", "partition": partition, "from": 0, "to": to, "executed": executed});
    assert_eq!(plan, [row(0, 3, false), row(1, 2, false)]);
    assert_eq!(at.count("dlq"), 6, "a plan deletes nothing");
    assert_eq!(at.run("dlq purge dlq --json --execute").json(), [row(0, 3, true), row(1, 2, true)]);
    assert_eq!(at.count("dlq"), 1);
    assert_eq!(at.run("dlq replay dlq --execute --json").json()[0]["records"], json!({"orders": 1}));
}

/// Offsets 0 and 2 of partition 0 are left out, and the metadata of the commit names only the first of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn left_out_records_stay_when_the_first_of_them_is_gone() {
    let at = dead_letters().await;
    assert_eq!(at.run("dlq replay dlq --execute -g some --reason locked").code, Some(0));
    assert_eq!(at.run("dlq purge dlq --before 2023-11-14T22:14:00Z --execute").code, Some(0));
    for again in 0..2 {
        let purged = at.run("dlq purge dlq -g some --execute --json").json();
        assert_eq!((&purged[0]["from"], &purged[0]["to"]), (&json!(1), &json!(1)), "{again}: {purged:?}");
        assert!(at.records("dlq").contains_key("v2"));
        at.cluster.append("dlq", 0, &[letter(1, "locked")]).unwrap();
        assert_eq!(at.run("dlq replay dlq --execute -g some --reason locked").code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_purged_by_age_or_all() {
    let at = dead_letters().await;
    let purged = at.run("dlq purge dlq --before 2023-11-14T22:14:30Z --execute --json").json();
    assert_eq!((&purged[0]["to"], &purged[1]["to"]), (&json!(2), &json!(2)), "{purged:?}");
    assert_eq!(at.records("dlq").into_keys().collect::<Vec<_>>(), ["v2"]);
    assert_eq!(at.run("dlq purge dlq --all --execute").code, Some(0));
    assert_eq!(at.count("dlq"), 0);
    let again = at.run("dlq purge dlq --all --execute --json").json();
    assert!(again.iter().all(|row| row["executed"] == json!(false)), "{again:?}");
    at.run("dlq purge dlq --all --before @0").refused("--before");
    // The user named the wrong topic.
    at.cluster.append("orders", 0, &[NewRecord::new("no dead letter").timestamp(THEN)]).unwrap();
    for what in ["--all", "--before 2030-01-01T00:00:00Z"] {
        failed(
            &at.run(&format!("dlq purge orders {what} --execute")),
            "no header of 1 of these records says",
        );
    }
    assert_eq!(at.count("orders"), 1);
    assert_eq!(at.run("dlq purge orders --all --foreign --execute").code, Some(0));
    assert_eq!(at.count("orders"), 0);
    at.run("dlq purge dlq --all -g some").refused("--group");
}

/// It would be refused if it had to be deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_record_that_stays_does_not_hold_up_a_purge() {
    let at = dead_letters().await;
    at.cluster.append("dlq", 0, &[NewRecord::new("no dead letter").timestamp(THEN)]).unwrap();
    let purged = at.run("dlq purge dlq --before 2023-11-14T22:14:30Z --execute --json").json();
    assert_eq!((&purged[0]["to"], &purged[1]["to"]), (&json!(2), &json!(2)), "{purged:?}");
    assert_eq!(at.count("dlq"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_are_more_than_the_memory_of_a_producer_are_replayed() {
    let at = At::start_with(&[("orders", 2), ("dlq", 1)]).await;
    for nth in 0..40 {
        let letter =
            NewRecord::new(vec![b'x'; 50_000]).key(format!("k{nth}")).header("original_topic", "orders");
        at.cluster.append("dlq", 0, &[letter]).unwrap();
    }
    let replayed = at.run("dlq replay dlq --execute -X buffer.memory=200000");
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert_eq!(at.count("orders"), 40);
}
