//! `offtake pipe` with a handler in Python, and `offtake dlq`, on real Kafka: handlers that are killed at random, stops
//! in the middle, and replays that are killed and restarted.
//!
//! The handlers write a ledger of their work, which is compared with the produced records.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use offtake_tests::{Dice, Offtake, Running, Shared, V2_8_2, V4_3_0, Version, shared, unique};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 6;
const KEYS: usize = 100;

/// The setting of a test: a cluster with a topic, and the folder for the handler's script and its ledger.
struct Bench {
    at: &'static Shared,
    topic: String,
    group: String,
    folder: TempDir,
}

impl Bench {
    /// A topic with this many records; the keys take turns, and a value is its number.
    fn with(version: Version, records: usize) -> Self {
        let at = shared(version);
        let topic = at.tool.create_topic(&unique("pipe"), PARTITIONS, &[]);
        let lines: String = (0..records).map(|nth| format!("k{}:{nth}\n", nth % KEYS)).collect();
        let produced = Offtake::new(["produce", &topic, "-K", ":"]).brokers(&at.kafka).stdin(lines).run();
        assert_eq!(produced.code, Some(0), "{:?}", produced.stderr);
        Self { at, topic, group: unique("pipe"), folder: tempfile::tempdir().expect("a folder") }
    }

    fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// `offtake pipe` with a handler that notes each finished record, unless `body` continues before that.
    fn pipe(&self, body: &str, options: &str) -> Running {
        let script = self.folder.path().join("handler.py");
        let text = format!(
            "
import json, os, sys, time
ledger = os.open({:?}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    record = json.loads(line)
    place = {{key: record[key] for key in ('topic', 'partition', 'offset')}}
    def answer(result, reason=None):
        print(json.dumps({{**place, 'result': result, 'reason': reason}}), flush=True)
    number = int(record['value'])
{body}
    os.write(ledger, f\"{{record['key']}} {{number}}\\n\".encode())
    answer('ok')
",
            self.ledger()
        );
        fs::write(&script, text).expect("a handler");
        let exec = format!("python3 {}", script.display());
        Offtake::new(["pipe", &self.topic, "-g", &self.group, "--events", "--exec", &exec])
            .args(options.split_whitespace())
            .brokers(&self.at.kafka)
            .start()
    }

    /// Numbers by key, in the order in which they were finished.
    fn done(&self) -> BTreeMap<String, Vec<usize>> {
        let mut done = BTreeMap::<String, Vec<usize>>::new();
        for line in fs::read_to_string(self.ledger()).unwrap_or_default().lines() {
            let (key, number) = line.split_once(' ').expect("a line of the ledger");
            done.entry(key.to_owned()).or_default().push(number.parse().expect("a number"));
        }
        done
    }

    /// Waits until this many different records are finished.
    fn wait_done(&self, wanted: usize, of: &mut Running) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = self.done().values().flatten().collect::<BTreeSet<_>>().len();
            if done >= wanted {
                return;
            }
            assert!(
                of.is_running() && Instant::now() < deadline,
                "{done} are done: {:#?}",
                of.stderr().all()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all is committed, and stops it.
    fn stop(&self, pipe: Running) {
        pipe.signal("TERM");
        let ended = pipe.finish(PATIENCE);
        assert_eq!(ended.code, Some(0), "{:#?}", ended.stderr);
    }

    fn offtake(&self, args: &str) -> Offtake {
        Offtake::new(args.split_whitespace()).brokers(&self.at.kafka)
    }

    /// How often each value is in a topic.
    fn values(&self, topic: &str) -> BTreeMap<String, usize> {
        let read = self.offtake(&format!("consume {topic} --json --until latest --isolation read_committed"));
        let mut values = BTreeMap::new();
        for record in read.patience(PATIENCE).run().json() {
            *values.entry(record["value"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        values
    }
}

/// The records of a key in the order of its log.
fn expected(key: &str, records: usize) -> Vec<usize> {
    let first: usize = key.trim_start_matches('k').parse().expect("a key");
    (first..records).step_by(KEYS).collect()
}

/// The live handlers.
fn handlers(of: &Running) -> Vec<i64> {
    let mut live = BTreeMap::new();
    for line in of.stderr().all() {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["event"] == "child" {
            let pid = (event["state"] == "started").then(|| event["pid"].as_i64()).flatten();
            live.insert(event["child"].as_i64(), pid);
        }
    }
    live.into_values().flatten().collect()
}

#[test]
fn safe1_handlers_that_are_killed_at_random_lose_nothing_and_keep_the_order_of_each_key() {
    const RECORDS: usize = 6000;
    let bench = Bench::with(V4_3_0, RECORDS);
    let options = "--workers 3 --in-flight 8 --attempts 1000 --backoff 1ms..20ms --breaker 100%/100000";
    let mut pipe = bench.pipe("    time.sleep(0.001)", options);
    pipe.wait_event("child", PATIENCE, |_| true);
    let mut dice = Dice::new(7);
    let (mut killed, mut done) = (0, 0);
    // The next kill follows after some more are done, so that a slow machine has no more restarts than a fast one.
    while done < RECORDS * 9 / 10 {
        done += 20 + dice.index(180);
        bench.wait_done(done, &mut pipe);
        std::thread::sleep(Duration::from_millis(dice.roll(10)));
        if let live @ [_, ..] = handlers(&pipe).as_slice() {
            let victim = dice.pick(live).to_string();
            killed +=
                u32::from(Command::new("kill").args(["-9", &victim]).status().is_ok_and(|it| it.success()));
        }
    }
    bench.wait_done(RECORDS, &mut pipe);
    bench.stop(pipe);
    assert!(killed >= 20, "{killed} handlers were killed");
    let done = bench.done();
    assert_eq!(done.len(), KEYS);
    for (key, mut numbers) in done {
        numbers.dedup(); // finished, and killed before its answer
        assert_eq!(numbers, expected(&key, RECORDS), "{key}");
    }
    let committed = bench.at.tool.committed(&bench.group).values().sum::<i64>();
    assert_eq!(committed, i64::try_from(RECORDS).expect("few"));
}

#[test]
fn safe2_a_clean_stop_in_the_middle_repeats_nothing() {
    const RECORDS: usize = 3000;
    let bench = Bench::with(V4_3_0, RECORDS);
    // One key in ten is slow, so that others are finished far beyond it.
    let body = "    time.sleep(0.05 if number % 10 == 3 else 0.001)";
    for share in [1, 2, 3] {
        let mut pipe = bench.pipe(body, "--workers 4 --commit-interval 100ms");
        bench.wait_done(RECORDS * share / 4, &mut pipe);
        bench.stop(pipe);
    }
    let mut pipe = bench.pipe(body, "--workers 4");
    bench.wait_done(RECORDS, &mut pipe);
    bench.stop(pipe);
    for (key, numbers) in bench.done() {
        assert_eq!(numbers, expected(&key, RECORDS), "{key}");
    }
}

#[test]
fn safe12_dead_letters_are_complete_and_a_replay_that_is_killed_replays_nothing_twice() {
    const RECORDS: usize = 3000;
    for version in [V2_8_2, V4_3_0] {
        let bench = Bench::with(version, RECORDS);
        let dlq = bench.at.tool.create_topic(&unique("dlq"), 3, &[]);
        let back = bench.at.tool.create_topic(&unique("back"), PARTITIONS, &[]);
        let body = "
    if number % 2:
        answer('poison', f'odd {number % 6}')
        continue";
        let mut pipe = bench.pipe(body, &format!("--workers 2 --in-flight 32 --dlq {dlq}"));
        bench.wait_done(RECORDS / 2, &mut pipe);
        let deadline = Instant::now() + PATIENCE;
        while bench.at.tool.list_offsets(&dlq, "latest", "read_uncommitted").iter().sum::<i64>()
            < (RECORDS / 2) as i64
        {
            assert!(pipe.is_running() && Instant::now() < deadline, "{:#?}", pipe.stderr().all());
            std::thread::sleep(Duration::from_millis(50));
        }
        bench.stop(pipe);
        let odd: BTreeMap<String, usize> = (1..RECORDS).step_by(2).map(|nth| (nth.to_string(), 1)).collect();
        assert_eq!(bench.values(&dlq), odd, "{version:?}: each once");
        let listed = bench.offtake(&format!("dlq list {dlq} --json")).run().json();
        let counts: BTreeMap<_, _> = listed
            .iter()
            .map(|row| (row["reason"].as_str().unwrap_or(""), row["count"].as_u64().unwrap_or(0)))
            .collect();
        let third = (RECORDS / 6) as u64;
        assert_eq!(counts, BTreeMap::from([("odd 1", third), ("odd 3", third), ("odd 5", third)]));

        // A transaction for each letter, so that there is time to kill one in the middle.
        let replay =
            |records: u8| format!("dlq replay {dlq} --to {back} --execute -X max.poll.records={records}");
        let committed =
            || bench.at.tool.committed(&format!("offtake-dlq-replay-{dlq}")).values().sum::<i64>();
        let mut in_the_middle = 0;
        for _ in 0..4 {
            let before = committed();
            let mut running = bench.offtake(&replay(1)).start();
            while running.is_running() && committed() == before {}
            running.signal("KILL");
            running.finish(PATIENCE);
            in_the_middle += i32::from((1..odd.len() as i64).contains(&committed()));
        }
        assert!(in_the_middle > 0, "{version:?}: no replay was killed before its end");
        for _ in 0..2 {
            let replayed = bench.offtake(&replay(10)).patience(PATIENCE).run();
            assert_eq!(replayed.code, Some(0), "{version:?}: {:#?}", replayed.stderr);
        }
        assert_eq!(bench.values(&back), odd, "{version:?}: each once, whatever was killed");
        let purged = bench.offtake(&format!("dlq purge {dlq} --execute")).run();
        assert_eq!(purged.code, Some(0), "{:#?}", purged.stderr);
        assert!(bench.values(&dlq).is_empty());
    }
}

#[test]
fn safe1_records_of_a_killed_member_are_handled_by_another_and_its_handlers_end() {
    const RECORDS: usize = 4000;
    let bench = Bench::with(V4_3_0, RECORDS);
    let options = "--workers 2 --in-flight 4 -X session.timeout.ms=6000 -X heartbeat.interval.ms=500";
    let mut stays = bench.pipe("    time.sleep(0.002)", options);
    let killed = bench.pipe("    time.sleep(0.002)", options);
    let owns = |event: &Value| event["owned"].as_array().is_some_and(|owned| owned.len() == 3);
    killed.wait_event("assigned", PATIENCE, owns);
    let before = bench.done().values().map(Vec::len).sum::<usize>();
    bench.wait_done((before + 500).min(RECORDS / 2), &mut stays);
    let orphans = handlers(&killed);
    killed.signal("KILL");
    let deadline = Instant::now() + Duration::from_secs(20);
    let ended = killed.finish(PATIENCE);
    assert_eq!((ended.code, orphans.len()), (None, 2));
    while orphans.iter().any(|pid| fs::exists(format!("/proc/{pid}/exe")).unwrap_or(false)) {
        assert!(Instant::now() < deadline, "{orphans:?} outlive the command");
        std::thread::sleep(Duration::from_millis(20));
    }
    bench.wait_done(RECORDS, &mut stays);
    bench.stop(stays);
    for (key, numbers) in bench.done() {
        let mut seen = BTreeSet::new();
        let first: Vec<_> = numbers.into_iter().filter(|number| seen.insert(*number)).collect();
        assert_eq!(
            first,
            expected(&key, RECORDS),
            "{key}: what was not committed comes again, and nothing is overtaken"
        );
    }
}

#[test]
fn safe12_the_later_of_two_concurrent_replays_ends_the_earlier() {
    const RECORDS: usize = 600;
    let at = shared(V4_3_0);
    let [dlq, back] = ["dlq", "back"].map(|name| at.tool.create_topic(&unique(name), 2, &[]));
    let lines: String = (0..RECORDS).map(|nth| format!("{nth}\n")).collect();
    let produced = Offtake::new(["produce", &dlq, "-H", &format!("original_topic={back}")]);
    assert_eq!(produced.brokers(&at.kafka).stdin(lines).run().code, Some(0));
    let replay = |more: &str| {
        let command = format!("dlq replay {dlq} --execute {more}");
        Offtake::new(command.split_whitespace()).brokers(&at.kafka)
    };
    let mut first = replay("-X max.poll.records=1").start();
    let written = || at.tool.list_offsets(&back, "latest", "read_uncommitted").iter().sum::<i64>();
    while first.is_running() && written() == 0 {}
    let second = replay("").run();
    assert_eq!(second.code, Some(0), "{:#?}", second.stderr);
    let first = first.finish(PATIENCE);
    assert_eq!(first.code, Some(1), "{:#?}", first.stdout);
    // It reports that it is fenced, or first that its transaction is no longer open: the later replay has aborted it.
    let last = first.last_line();
    assert!(last.contains("are replayed; run it again for the rest"), "{last}");
    let read =
        Offtake::new(["consume", &back, "--json", "--until", "latest", "--isolation", "read_committed"]);
    let read = read.brokers(&at.kafka).run().json();
    let mut numbers: Vec<usize> =
        read.iter().filter_map(|record| record["value"].as_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
}
