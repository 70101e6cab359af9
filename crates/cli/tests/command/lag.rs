//! `offtake lag` against the embedded broker.
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::SystemTime,
};

use offtake_broker::{ApiKey, Fault, FaultRule, NewRecord};
use serde_json::{Value, json};

use super::operator::At;

/// `orders` with ten records in each of two partitions, two minutes old; `audit` has read seven of them.
async fn behind() -> At {
    behind_on(1).await
}

/// The same with this many brokers.
async fn behind_on(brokers: i32) -> At {
    let at = At::start_of(brokers, &[("orders", 2), ("other", 1)]).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let stamped = i64::try_from(now).unwrap() - 120_000;
    for partition in 0..2 {
        for _ in 0..10 {
            at.cluster.append("orders", partition, &[NewRecord::new("v").timestamp(stamped)]).unwrap();
        }
    }
    assert_eq!(at.run("consume orders -p 0 -n 7 -q").code, Some(0));
    for (group, plan) in
        [("audit", "--topic orders:0 --to-offset 3"), ("billing", "--topic other --to-latest")]
    {
        assert_eq!(at.run(&format!("groups reset {group} {plan} --execute")).code, Some(0));
    }
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_has_the_numbers_of_a_partition() {
    let at = behind().await;
    let rows = at.run("lag --json").json();
    let seconds = rows[0]["lag_seconds"].as_f64().unwrap();
    assert!((120.0..180.0).contains(&seconds), "{rows:?}");
    assert_eq!(
        rows[0],
        json!({
            "group": "audit", "topic": "orders", "partition": 0, "committed": 3, "end": 10, "lag": 7, "lag_seconds": seconds,
            "member": null, "client": null, "host": null, "status": null,
            "lag_bytes": rows[0]["lag_bytes"],
        })
    );
    // Ten batches of one record each, all of the same size.
    let bytes = rows[0]["lag_bytes"].as_u64().unwrap();
    assert!(bytes > 7 * 61 && bytes % 7 == 0, "{rows:?}");
    assert_eq!((rows.len(), &rows[1]["group"], &rows[1]["lag_seconds"]), (2, &json!("billing"), &json!(0.0)));
    assert_eq!(at.run("lag billing --json").json(), rows[1..]);
    let table = at.run("lag audit").stdout;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["audit", "orders", "0", "3", "10", "7"]);
    assert_eq!(row[7..], ["-", "-", "-", "-", bytes.to_string().as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_samples_tells_a_status_and_a_limit_ends_with_3() {
    let at = behind().await;
    let rows = at.run("lag --window 1s --json").json();
    assert_eq!([&rows[0]["status"], &rows[1]["status"]], ["stop", "ok"]);
    let bad = |args: &str, words: &str| {
        let done = at.run(args);
        assert_eq!(done.code, Some(3), "{args}: {done:?}");
        assert!(done.stderr.trim_end().ends_with(words), "{args}: {done:?}");
        assert!(done.stdout.starts_with('{'), "the rows are printed all the same: {done:?}");
    };
    bad("lag --json --fail-at err --window 1s", ", stop");
    bad("lag --json --fail-at warn --window 1s", ", stop");
    let seconds = at.run("lag --fail-at 60s");
    assert_eq!(seconds.code, Some(3));
    assert!(
        seconds.stderr.contains("group `audit` is too far behind on orders-0: 7 records, 1"),
        "{seconds:?}"
    );
    for good in ["lag billing --fail-at err --window 1s", "lag billing --fail-at 1ms", "lag --fail-at 1h"] {
        let done = at.run(good);
        assert_eq!(done.code, Some(0), "{good}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_and_a_part_that_cannot_be_asked_are_failures() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let at = behind().await;
    let missing = at.run("lag audit nosuch");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("there is no consumer group `nosuch`"), "{missing:?}");
    assert!(missing.stdout.contains("audit"), "the other is printed: {missing:?}");
    let rule = at.cluster.inject(FaultRule::on(ApiKey::ListOffsets, Fault::Fail(TOPIC_AUTHORIZATION_FAILED)));
    let refused = at.run("lag audit --json");
    assert_eq!(at.cluster.hits(rule), 2, "where the log begins and where it ends; it is not asked again");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("an ACL of the cluster forbids it"), "{refused:?}");
    let row: Value = serde_json::from_str(refused.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&row["committed"], &row["end"], &row["lag"]), (&json!(3), &Value::Null, &Value::Null));
}

/// One broker does not list its groups, and an age cannot be known: neither is a reason to wait a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_stays_is_waited_out_once_though_ages_are_unknown() {
    const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let at = behind_on(3).await;
    at.cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Fail(TOPIC_AUTHORIZATION_FAILED)));
    let mut seen = 0;
    for broker in 1..=3 {
        let fails =
            FaultRule::on(ApiKey::ListGroups, Fault::Fail(COORDINATOR_LOAD_IN_PROGRESS)).broker(broker);
        let rule = at.cluster.inject(fails);
        let lag = at.run("lag --json -X default.api.timeout.ms=2000");
        let rounds = at.cluster.hits(rule);
        at.cluster.withdraw(rule);
        assert_eq!(lag.code, Some(1), "{lag:?}");
        assert!(lag.stderr.contains("COORDINATOR_LOAD_IN_PROGRESS"), "{lag:?}");
        assert!((2..=13).contains(&rounds), "{rounds} rounds with pauses of 200 ms in 2 s");
        let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        seen += lag.stdout.lines().map(row).filter(|row| row["group"] == "audit").count();
    }
    assert_eq!(seen, 2, "by the brokers that answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_goes_on_until_it_is_stopped_or_too_bad() {
    let at = behind().await;
    let mut watching = at.command("lag audit --watch --interval 200ms");
    let mut child = watching.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // A header and a row, repeatedly; each time the history has one more block.
    let courses: Vec<_> = lines
        .map(|line| line.unwrap())
        .filter(|line| line.starts_with("audit"))
        .take(4)
        .map(|line| line.split_whitespace().last().unwrap().chars().count())
        .collect();
    assert_eq!(courses, [1, 2, 3, 4]);
    child.kill().unwrap();
    child.wait().unwrap();
    let done = at.run("lag audit --watch --interval 200ms --window 4s --fail-at err --json");
    assert_eq!(done.code, Some(3), "{done:?}");
    let samples = done.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let times: Vec<_> = samples.map(|row| row["at"].as_i64().unwrap()).collect();
    assert!(
        times.len() > 3 && times.is_sorted_by(|a, b| a < b),
        "each row has the time of its sample: {times:?}"
    );
}

/// It may be as old as any: it is not known to be fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_a_record_from_the_future_is_not_known() {
    let at = At::start_with(&[("early", 1)]).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let ahead = i64::try_from(now).unwrap() + 3_000_000;
    at.cluster.append("early", 0, &[NewRecord::new("v").timestamp(ahead)]).unwrap();
    assert_eq!(at.run("groups reset audit --topic early --to-earliest --execute").code, Some(0));
    let unknown = at.run("lag --fail-at 900s");
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("`audit` on early-0 is unknown"), "{unknown:?}");
    let aged = at.run("lag --fail-at 1s --window 2s");
    assert_eq!(aged.code, Some(3), "it is there since the first sample: {aged:?}");
}

/// A status that is too bad is told also if nobody reads the table to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_ends_with_3_also_if_the_reader_has_gone() {
    let at = At::start_with(&[("many", 1_100)]).await;
    for partition in 0..1_100 {
        at.cluster.append("many", partition, &[NewRecord::new("v").timestamp(1)]).unwrap();
    }
    assert_eq!(at.run("groups reset audit --topic many --to-earliest --execute").code, Some(0));
    let mut child = at.command("lag --fail-at 1s --json").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_age_that_is_not_known_is_neither_fine_nor_too_bad() {
    const PARTITIONS: i32 = 1_100;
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let at = At::start_with(&[("many", PARTITIONS)]).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    for partition in 0..PARTITIONS {
        // One round reads a thousand timestamps, and this one is not among them.
        let age = if partition == 1_050 { 1_000_000 } else { 0 };
        at.cluster.append("many", partition, &[NewRecord::new("v").timestamp(now - age)]).unwrap();
    }
    assert_eq!(at.run("groups reset audit --topic many --to-earliest --execute").code, Some(0));
    let old = at.run("lag --fail-at 900s --json");
    assert_eq!(old.code, Some(3), "{}", old.stderr);
    assert!(old.stderr.contains("`audit` is too far behind on many-1050"), "{}", old.stderr);
    for all in [
        at.run("lag audit --json").json(),
        at.run("groups describe audit --json").json()[0]["offsets"].as_array().unwrap().clone(),
    ] {
        let unknown = all.iter().filter(|row| row["lag_seconds"].is_null()).count();
        assert_eq!((all.len(), unknown), (1_100, 0));
    }
    at.cluster.inject(FaultRule::on(ApiKey::Fetch, Fault::Fail(TOPIC_AUTHORIZATION_FAILED)));
    let unknown = at.run("lag --fail-at 900s --json");
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("`audit` on many-0, ") && unknown.stderr.contains(" and 1095 more"),
        "{}",
        unknown.stderr
    );
    assert_eq!(
        at.run("lag --json").code,
        Some(0),
        "without the limit an age that nobody may read is no failure"
    );
}
