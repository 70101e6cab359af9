//! `offtake lag` beside Kafka's own command, and beside the facts.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use offtake_tests::{
    JavaMember, JavaTool, Kafka, Offtake, RecordSpec, Running, V2_8_2, V3_9_1, V4_3_0, unique,
};
use serde_json::{Value, json};

use crate::administration::{At, on};

const PATIENCE: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

/// Asserts that Kafka's own command prints the same rows for a group as `lag` and `groups describe`.
fn is_equal(at: &At, group: &str, rows: usize) {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = ["topic", "partition", "committed", "end", "lag", "member", "host", "client"];
    let columns =
        ["TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"];
    let cells = |all: &[Value]| {
        let mut rows: Vec<_> = all.iter().map(|row| fields.map(|field| cell(&row[field]))).collect();
        rows.sort();
        rows
    };
    // A member may commit between two requests.
    let mut attempts = 0;
    let javas = loop {
        let lag = cells(&at.offtake(&format!("lag {group} --json")).run().json());
        let described = at.offtake(&format!("groups describe {group} --json")).run().json().remove(0);
        let described = cells(described["offsets"].as_array().expect("a list"));
        let mut javas = at.table_of_java(group, columns);
        javas.sort();
        attempts += 1;
        if lag == javas && described == javas || attempts == 3 {
            assert_eq!(lag, javas, "{group}");
            assert_eq!(described, javas, "{group}");
            break javas;
        }
    };
    assert_eq!(javas.len(), rows, "{group}: {javas:?}");
}

/// A command that reads as a member, and keeps running.
fn member(at: &At, args: &str) -> Running {
    let member = at.offtake(&format!("consume --events {args}")).start();
    member.wait_event("assigned", PATIENCE, |event| {
        event["owned"].as_array().is_some_and(|owned| !owned.is_empty())
    });
    member
}

fn leave(member: Running) {
    member.signal("TERM");
    assert_eq!(member.finish(PATIENCE).code, Some(0));
}

#[test]
fn on_odd_groups_every_number_is_that_of_kafkas_own_command() {
    on([V4_3_0], |at| {
        // Partitions of 5 to 20, 0 to 20 and 0 to 0.
        let topic = at.topic();
        let group = |name: &str| unique(name);

        // Everything read; some read; nothing read.
        let plain = group("plain");
        at.tool.alter_offsets(&plain, &[(&topic, 0, 20), (&topic, 1, 7), (&topic, 2, 0)]);
        is_equal(at, &plain, 3);

        // Before the log start, and beyond its end: the lag counts deleted records, and is negative.
        let outside = group("outside");
        at.tool.alter_offsets(&outside, &[(&topic, 0, 1), (&topic, 1, 1000)]);
        is_equal(at, &outside, 2);

        // A deleted topic; Kafka removes its committed offsets.
        let (gone, deleted) = (at.tool.create_topic(&unique("gone"), 1, &[]), group("deleted"));
        at.tool.alter_offsets(&deleted, &[(&gone, 0, 0), (&topic, 1, 3)]);
        at.tool.delete_topic(&gone);
        let began = Instant::now();
        while at.tool.committed(&deleted).len() > 1 {
            assert!(began.elapsed() < PATIENCE, "it is forgotten");
            thread::sleep(Duration::from_millis(100));
        }
        is_equal(at, &deleted, 1);

        // A compacted topic: offsets have gaps, and count.
        let compacted = at.tool.create_topic(&unique("compacted"), 1, &[("cleanup.policy", "compact")]);
        let record = |nth: i64| RecordSpec::to(&compacted).partition(0).key("k").value(nth.to_string());
        at.tool.produce_with(&(0..50).map(record).collect::<Vec<_>>(), json!({"flush_every": 5}));
        at.tool.compact(&compacted, false);
        let gaps = group("gaps");
        at.tool.alter_offsets(&gaps, &[(&compacted, 0, 10)]);
        is_equal(at, &gaps, 1);

        // An open transaction: Kafka's command counts to the high watermark.
        let (transactional, open) = (at.tool.create_topic(&unique("tx"), 1, &[]), unique("open"));
        let within = [RecordSpec::to(&transactional).partition(0).value("v")];
        at.tool.produce(&within);
        at.tool.begin(&open);
        at.tool.produce_within(&open, &within);
        let pending = group("pending");
        at.tool.alter_offsets(&pending, &[(&transactional, 0, 1)]);
        is_equal(at, &pending, 1);
        let stable = at.offtake(&format!("lag {pending} --isolation read_committed --json")).run().json();
        assert_eq!(
            (&stable[0]["end"], &stable[0]["lag"], &stable[0]["lag_seconds"]),
            (&json!(1), &json!(0), &json!(0.0))
        );
        at.tool.abort(&open);

        // A member without commits in some partitions, a static one, one of KIP-848, and one with many topics.
        let silent = group("silent");
        let reading =
            member(at, &format!("{topic} -g {silent} -X enable.auto.commit=false -X client.id=reader"));
        is_equal(at, &silent, 3);
        leave(reading);
        for (name, options) in [
            ("static", "--instance-id one"),
            ("modern", "--protocol consumer"),
            ("roomy", "--protocol classic"),
        ] {
            let group = group(name);
            at.tool.alter_offsets(&group, &[(&topic, 1, 5)]);
            let reading = member(at, &format!("{topic} -g {group} {options} -X enable.auto.commit=false"));
            is_equal(at, &group, 3);
            leave(reading);
        }
        let java = group("java");
        let reading = JavaMember::at(&at.tool, &java).topics(&[&topic]).start();
        reading.wait_owned(PATIENCE, |owned| owned.len() == 3);
        is_equal(at, &java, 3);
        reading.stop();
        let (stem, many) = (unique("many"), group("many"));
        let topics: Vec<_> =
            (0..20).map(|nth| at.tool.create_topic(&format!("{stem}-{nth}"), 2, &[])).collect();
        let offsets: Vec<_> =
            topics.iter().flat_map(|topic| [(topic.as_str(), 0, 0), (topic, 1, 0)]).collect();
        at.tool.alter_offsets(&many, &offsets);
        is_equal(at, &many, 40);
    });
}

/// For each log: the written records with their times, the group's offset, and its first unread record.
#[test]
fn a_lag_in_seconds_is_the_age_of_the_first_unread_record() {
    on([V4_3_0, V3_9_1, V2_8_2], |at| {
        let began = now_ms();
        let stamped = |topic: &str, ages: &[i64]| -> Vec<RecordSpec> {
            let record = |(nth, age): (usize, &i64)| {
                let value = "v".repeat(1 + nth);
                RecordSpec::to(topic)
                    .partition(0)
                    .value(value)
                    .key(format!("k{nth}"))
                    .timestamp(began - age * 1000)
            };
            ages.iter().enumerate().map(record).collect()
        };
        let topic = |configs: &[(&str, &str)]| at.tool.create_topic(&unique("age"), 1, configs);
        let check = |topic: &str, committed: i64, stamp: i64| {
            let group = unique("age");
            at.tool.alter_offsets(&group, &[(topic, 0, committed)]);
            let before = now_ms();
            let row = at.offtake(&format!("lag {group} --json")).run().json().remove(0);
            let after = now_ms();
            let seconds = row["lag_seconds"].as_f64().unwrap_or_else(|| panic!("{row}"));
            let (least, most) = ((before - stamp) as f64 / 1000.0, (after - stamp) as f64 / 1000.0);
            assert!(seconds >= least - 0.01 && seconds <= most + 0.01, "{row}: {least} to {most}");
        };

        // Each codec, in one batch and in many.
        for codec in ["none", "gzip", "snappy", "lz4"] {
            let topic = topic(&[]);
            at.tool.produce_in(codec, &stamped(&topic, &[600, 500, 400, 300]));
            for (offset, age) in [(0, 600), (1, 500), (3, 300)] {
                check(&topic, offset, began - age * 1000);
            }
        }
        // Out of order: the first unread record counts, not the oldest.
        let mixed = topic(&[]);
        at.tool.produce_with(&stamped(&mixed, &[60, 3000, 20, 900]), json!({"flush_every": 2}));
        check(&mixed, 0, began - 60_000);
        check(&mixed, 1, began - 3_000_000);
        check(&mixed, 2, began - 20_000);
        // The broker's own time, whatever timestamp the producer sends.
        let appended = topic(&[("message.timestamp.type", "LogAppendTime")]);
        let before = now_ms();
        at.tool.produce(&stamped(&appended, &[6000, 5000]));
        let group = unique("appended");
        at.tool.alter_offsets(&group, &[(&appended, 0, 1)]);
        let row = at.offtake(&format!("lag {group} --json")).run().json().remove(0);
        let age = row["lag_seconds"].as_f64().unwrap();
        assert!(age <= (now_ms() - before) as f64 / 1000.0, "{row}");
        // Compaction has removed the next record: the first remaining one counts.
        let compacted = topic(&[("cleanup.policy", "compact")]);
        let twice: Vec<_> = [(0, 900), (1, 800), (1, 700), (2, 600)]
            .map(|(key, age)| {
                let record = RecordSpec::to(&compacted).partition(0).key(format!("k{key}")).value("v");
                record.timestamp(began - age * 1000)
            })
            .to_vec();
        at.tool.produce_with(&twice, json!({"flush_every": 1}));
        at.tool.compact(&compacted, false);
        check(&compacted, 1, began - 700_000);
        // Transaction markers are not records, though Kafka counts them.
        let (marked, id) = (topic(&[]), unique("marks"));
        for age in [90, 30] {
            at.tool.begin(&id);
            at.tool.produce_within(&id, &stamped(&marked, &[age]));
            at.tool.commit(&id);
        }
        check(&marked, 1, began - 30_000); // after the marker at 1
        let group = unique("markers");
        at.tool.alter_offsets(&group, &[(&marked, 0, 3)]);
        let row = at.offtake(&format!("lag {group} --json")).run().json().remove(0);
        assert_eq!((&row["lag"], &row["lag_seconds"]), (&json!(1), &json!(0.0)), "{row}");
        // Larger than what one request reads of many partitions.
        let large = topic(&[]);
        let record = |age: i64| {
            RecordSpec::to(&large).partition(0).value("x".repeat(300_000)).timestamp(began - age * 1000)
        };
        at.tool.produce_with(&[record(70), record(50)], json!({"flush_every": 1}));
        check(&large, 0, began - 70_000);
        check(&large, 1, began - 50_000);
    });
}

/// A group that progresses each second, and the data observed meanwhile.
struct Story {
    tool: JavaTool,
    topic: String,
    group: String,
    /// The bytes of each record.
    size: usize,
    end: i64,
    committed: i64,
}

impl Story {
    /// A fifth of a second: two records are written, and `read` are read.
    fn step(&mut self, read: i64) {
        let record =
            || RecordSpec::to(&self.topic).partition(0).value("v".repeat(self.size)).timestamp(now_ms());
        self.tool.produce(&[record(), record()]);
        self.end += 2;
        let committed = (self.committed + read).min(self.end);
        if committed != self.committed {
            self.committed = committed;
            self.tool.alter_offsets(&self.group, &[(&self.topic, 0, committed)]);
        }
        thread::sleep(Duration::from_millis(200));
    }

    /// The log start.
    fn start(&self) -> i64 {
        self.tool.list_offsets(&self.topic, "earliest", "read_uncommitted")[0]
    }
}

/// `lag --watch` of a group, line by line.
fn watch(kafka: &Kafka, group: &str) -> Running {
    let watch = format!("lag {group} --watch --interval 500ms --window 4s --json");
    Offtake::new(watch.split_whitespace()).brokers(kafka).start()
}

/// The last line.
fn last_row(watching: &Running) -> Option<Value> {
    serde_json::from_str(watching.stdout().all().last()?).ok()
}

/// A consumer is slowed down and then stands still, with a retention of 40 s: a warning, an error, and the imminent
/// loss of data are reported, the last one before the first record is gone. Then it catches up, and all is well.
#[test]
fn a_slow_consumer_is_told_of_before_retention_deletes_what_it_has_not_read() {
    let kafka = Kafka::builder().property("log.retention.check.interval.ms", 500).start();
    let tool = JavaTool::start_alone(&kafka);
    let short = [("retention.ms", "40000"), ("segment.ms", "2000"), ("file.delete.delay.ms", "100")];
    let topic = tool.create_topic(&unique("short"), 1, &short);
    let group = unique("slow");
    tool.alter_offsets(&group, &[(&topic, 0, 0)]);
    let watching = watch(&kafka, &group);
    let mut story = Story { tool, topic, group, size: 1, end: 0, committed: 0 };
    let status = || Some(last_row(&watching)?["status"].as_str()?.to_owned());
    let mut play = |read: i64, until: &str| {
        let began = Instant::now();
        while status().as_deref() != Some(until) {
            assert!(began.elapsed() < PATIENCE, "no {until}: {:?}", watching.stdout().all().last());
            story.step(read);
        }
        (story.committed, story.start())
    };
    play(2, "ok");
    play(1, "warn");
    play(0, "stop");
    let (committed, start) = play(0, "data_loss_imminent");
    assert!(start <= committed, "the first unread record {committed} is still there: {start}");
    // Nothing is done about it, and the data is lost as predicted.
    let told = Instant::now();
    loop {
        story.step(0);
        if story.start() > story.committed {
            break;
        }
        assert!(told.elapsed() < PATIENCE, "it is deleted");
    }
    // It was reported at half of the 40 s.
    assert!(told.elapsed() > Duration::from_secs(10), "in time: {:?}", told.elapsed());
    let began = Instant::now();
    while status().as_deref() != Some("ok") {
        assert!(began.elapsed() < PATIENCE, "{:?}", watching.stdout().all().last());
        story.step(1000);
    }
    watching.signal("TERM");
    assert_eq!(watching.finish(PATIENCE).code, Some(0));
}

/// The same with a retention of 16 MiB, a fraction of which is written each second.
#[test]
fn a_consumer_that_stands_is_told_of_before_the_size_of_its_log_deletes_what_it_has_not_read() {
    const MIB: usize = 1 << 20;
    let kafka = Kafka::builder().property("log.retention.check.interval.ms", 300).start();
    let tool = JavaTool::start_alone(&kafka);
    let limit = (16 * MIB).to_string();
    let small =
        [("retention.bytes", limit.as_str()), ("segment.bytes", "1048576"), ("file.delete.delay.ms", "100")];
    let topic = tool.create_topic(&unique("small"), 1, &small);
    let group = unique("stands");
    tool.alter_offsets(&group, &[(&topic, 0, 0)]);
    let watching = watch(&kafka, &group);
    let mut story = Story { tool, topic, group, size: MIB / 8, end: 0, committed: 0 };
    let status = || Some(last_row(&watching)?["status"].as_str()?.to_owned());
    let began = Instant::now();
    // Until the log has lost a segment whose records were all read.
    while status().as_deref() != Some("ok") || story.start() == 0 {
        assert!(began.elapsed() < 4 * PATIENCE, "{:?}", watching.stdout().all().last());
        story.step(1000);
    }
    // Nothing is read; and the loss is predicted while all records are there.
    let began = Instant::now();
    while status().as_deref() != Some("data_loss_imminent") {
        assert!(story.start() <= story.committed, "lost untold: {:?}", watching.stdout().all().last());
        assert!(began.elapsed() < 4 * PATIENCE, "{:?}", watching.stdout().all().last());
        story.step(0);
    }
    let (told, row) = (Instant::now(), last_row(&watching).unwrap());
    while story.start() <= story.committed {
        assert!(told.elapsed() < 4 * PATIENCE, "it is deleted");
        story.step(0);
    }
    let bytes = row["lag_bytes"].as_u64().unwrap() as f64 / MIB as f64;
    eprintln!("told {:?} before it was lost, with {bytes:.1} MiB unread", told.elapsed());
    assert!((4.0..=17.0).contains(&bytes), "{row}");
    watching.signal("TERM");
    assert_eq!(watching.finish(PATIENCE).code, Some(0));
}

#[test]
fn a_lag_in_bytes_of_a_whole_log_is_its_size_as_kafkas_own_command_has_it() {
    on([V4_3_0, V3_9_1, V2_8_2], |at| {
        let topic = at.tool.create_topic(&unique("sizes"), 3, &[]);
        let record =
            |partition: i32, size: usize| RecordSpec::to(&topic).partition(partition).value("v".repeat(size));
        at.tool.produce(&[record(0, 10), record(0, 5000), record(1, 70)]);
        at.tool.produce_in("gzip", &vec![record(1, 900); 50]);
        let group = unique("sizes");
        at.tool.alter_offsets(&group, &[(&topic, 0, 0), (&topic, 1, 0), (&topic, 2, 0)]);
        let ours: Vec<_> = at.offtake(&format!("lag {group} --json")).run().json();
        let ours: Vec<_> = ours.iter().map(|row| row["lag_bytes"].as_i64()).collect();
        let args = format!("--describe --topic-list {topic} --bootstrap-server {}", at.bootstrap);
        let told = at.tool.program("org.apache.kafka.tools.LogDirsCommand", &args).patience(PATIENCE).run();
        let told: Value = told
            .stdout
            .iter()
            .find_map(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("{told:?}"));
        let mut javas = vec![None; 3];
        for replica in told["brokers"][0]["logDirs"][0]["partitions"].as_array().unwrap() {
            let name = replica["partition"].as_str().unwrap();
            let index: usize = name.rsplit_once('-').unwrap().1.parse().unwrap();
            javas[index] = replica["size"].as_i64();
        }
        assert_eq!(ours, javas);
        assert!(ours[0] > Some(5000) && ours[2] == Some(0), "{ours:?}");
    });
}
