//! Three workers (`offtake pipe`, with handlers in Python) on three real brokers: workers are killed, brokers restart,
//! and the service that the handlers call is down for a while, so that breakers open. Handlers write a ledger of their
//! work. It is checked against the produced records, the dead letters and the committed offsets.
//!
//! `OFFTAKE_CHAOS=full` makes a longer run: each of these several times, and all brokers restart one after the other.

mod check;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use offtake_tests::{Lease, Offtake, Running, three_brokers, unique};
use serde_json::Value;
use tempfile::TempDir;

use self::check::{Entry, Member, check_dead_letters, check_order, check_repeats, fails_always, is_poison};
use crate::flow::{now, wait_in_sync};

const PATIENCE: Duration = Duration::from_secs(180);
const PARTITIONS: i32 = 6;
const KEYS: usize = 1000;
const MEMBERS: usize = 3;
/// Records are produced by processes of this many each.
const BATCH: usize = 1000;
const RATE: &str = "600";
const ATTEMPTS: u64 = 8;

struct World {
    at: Lease,
    topic: String,
    dlq: String,
    group: String,
    folder: TempDir,
    live: Vec<(usize, Running)>,
    gone: Vec<Member>,
    names: usize,
}

impl World {
    fn begin() -> Self {
        let at = three_brokers();
        let topic = at.tool.create_topic(&unique("working"), PARTITIONS, &[]);
        let dlq = at.tool.create_topic(&unique("working-dlq"), 3, &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let group = unique("working");
        let mut world = Self { at, topic, dlq, group, folder, live: Vec::new(), gone: Vec::new(), names: 0 };
        fs::write(world.file("handler.py"), world.handler()).expect("a handler");
        (0..MEMBERS).for_each(|_| world.join());
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn handler(&self) -> String {
        format!(
            "
import json, os, sys, time
ledger = os.open({:?}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    record = json.loads(line)
    number = int(record['value'])
    def note(what):
        words = [what, record['key'], number, record['partition'], record['offset'], sys.argv[1], int(time.time() * 1000)]
        os.write(ledger, (' '.join(map(str, words)) + '\\n').encode())
    note('b')
    time.sleep(0.001)
    what, result, reason = 'd', 'ok', None
    if os.path.exists({:?}):
        what, result, reason = 'f', 'retry', 'down'
    elif number % 97 == 13:
        what, result, reason = 'p', 'poison', f'poison {{number}}'
    elif number % 211 == 5:
        what, result, reason = 'f', 'retry', 'never'
    elif number % 101 == 7 and record['attempt'] == 1:
        what, result, reason = 'f', 'retry', 'not now'
    note(what)
    place = {{key: record[key] for key in ('topic', 'partition', 'offset')}}
    print(json.dumps({{**place, 'result': result, 'reason': reason}}), flush=True)
",
            self.file("ledger"),
            self.file("down"),
        )
    }

    fn join(&mut self) {
        self.names += 1;
        let exec = format!("python3 {} {}", self.file("handler.py").display(), self.names);
        let options = "--workers 2 --in-flight 4 --backoff 50ms..200ms --commit-interval 200ms --breaker 50%/200 \
                       --breaker-pause 1s -X session.timeout.ms=6000 -X heartbeat.interval.ms=500";
        let pipe = Offtake::new(["pipe", &self.topic, "-g", &self.group, "--events", "--exec", &exec])
            .args(["--dlq", &self.dlq, "--attempts", &ATTEMPTS.to_string()])
            .args(options.split_whitespace())
            .brokers(&self.at.kafka)
            .start();
        self.live.push((self.names, pipe));
    }

    /// Waits until each member has as many partitions as the others.
    fn settle(&self) {
        let share = usize::try_from(PARTITIONS).expect("few") / MEMBERS;
        let owns = |(_, pipe): &(usize, Running)| {
            let events = events(pipe);
            let last = events.iter().rev().find(|event| event["owned"].is_array());
            last.and_then(|event| event["owned"].as_array()).is_some_and(|owned| owned.len() == share)
        };
        self.wait("the partitions are shared", || self.live.iter().all(owns));
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if Instant::now() > deadline {
                let said: Vec<_> = self.live.iter().map(|(_, pipe)| pipe.stderr().all()).collect();
                let last: Vec<_> = said.iter().flat_map(|lines| lines.iter().rev().take(20).rev()).collect();
                panic!("not within {PATIENCE:?}: {what}; {last:#?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ledger(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.file("ledger")).unwrap_or_default();
        text.lines().filter_map(Entry::parse).collect()
    }

    /// The first of the members is killed, and another starts.
    fn kill(&mut self) {
        let before = self.ledger().len();
        self.wait("handlers go on", || self.ledger().len() > before + 200);
        let (name, pipe) = self.live.remove(0);
        pipe.signal("KILL");
        let finished = pipe.finish(PATIENCE);
        let events = finished.stderr.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        self.gone.push(Member { name, events, was_killed: true });
        self.join();
    }

    /// The handlers' service is down for a while: each member notices, and retries later.
    fn trip(&self) {
        let since = now();
        let of = |pipe: &Running, state: &str| {
            events(pipe).iter().any(|event| {
                event["event"] == "breaker"
                    && event["state"] == state
                    && event["at"].as_i64().is_some_and(|at| at >= since)
            })
        };
        fs::write(self.file("down"), "").expect("a file");
        self.wait("the breakers open", || self.live.iter().all(|(_, pipe)| of(pipe, "open")));
        // So that some probes fail.
        self.wait("a probe", || self.live.iter().any(|(_, pipe)| of(pipe, "half_open")));
        fs::remove_file(self.file("down")).expect("it is there");
        self.wait("the breakers close", || self.live.iter().all(|(_, pipe)| of(pipe, "closed")));
    }

    /// Restarts this many brokers one after the other, the coordinator first.
    fn roll(&self, brokers: usize) {
        let first = self.at.tool.describe_group(&self.group)["coordinator"].as_i64().expect("a coordinator");
        for turn in 0..brokers {
            let id = (first - 1 + i64::try_from(turn).expect("few")) % 3 + 1;
            let broker = self.at.kafka.broker(i32::try_from(id).expect("one of three"));
            broker.stop();
            broker.start();
            [self.topic.as_str(), &self.dlq, "__consumer_offsets"]
                .iter()
                .for_each(|topic| wait_in_sync(&self.at.tool, topic));
        }
    }

    fn dead_letters(&self) -> Vec<Value> {
        let read = Offtake::new(["consume", &self.dlq, "--json", "--until", "latest"]);
        read.brokers(&self.at.kafka).patience(PATIENCE).run().json()
    }

    /// The group's committed offsets by partition.
    fn committed(&self) -> Vec<i64> {
        self.at.tool.committed(&self.group).into_values().collect()
    }

    fn ends(&self) -> Vec<i64> {
        self.at.tool.list_offsets(&self.topic, "latest", "read_uncommitted")
    }

    /// Waits until this many are handled, except for those that cannot be.
    fn until_handled(&self, records: usize) {
        let expected = expected_letters(records).len();
        self.wait("all is handled", || {
            let ledger = self.ledger();
            let done = ledger.iter().filter(|entry| entry.what == 'd' && entry.number < records);
            done.map(|entry| entry.number).collect::<BTreeSet<_>>().len() >= records - expected
        });
    }

    /// Waits until all is finished; then all leave in order.
    fn end(mut self, records: usize) {
        let expected = expected_letters(records);
        self.until_handled(records);
        let written = || {
            let ends = self.at.tool.list_offsets(&self.dlq, "latest", "read_uncommitted");
            usize::try_from(ends.iter().sum::<i64>()).expect("a count")
        };
        self.wait("all dead letters are written", || written() >= expected.len());
        let letters = |world: &Self| -> BTreeSet<usize> {
            world.dead_letters().iter().filter_map(|letter| letter["value"].as_str()?.parse().ok()).collect()
        };
        self.wait("each dead letter is written", || letters(&self).len() >= expected.len());
        // What a killed member had handled and not committed is handled again, for a while after the ledger is full, and a
        // member that stops leaves what waits for another attempt.
        self.wait("all is committed", || self.committed() == self.ends());
        for (name, pipe) in std::mem::take(&mut self.live) {
            pipe.signal("TERM");
            let ended = pipe.finish(PATIENCE);
            assert_eq!(ended.code, Some(0), "{:#?}", ended.stderr);
            let events = ended.stderr.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
            self.gone.push(Member { name, events, was_killed: false });
        }
        let ledger = self.ledger();
        check_order(&ledger, records);
        check_dead_letters(&self.dead_letters(), &ledger, &expected, &self.topic, &self.group);
        let repeats = check_repeats(&ledger, &self.gone);
        assert_eq!(self.committed(), self.ends());
        assert_eq!(usize::try_from(self.ends().iter().sum::<i64>()), Ok(records));
        eprintln!(
            "working: {records} records, {} attempts, {} dead letters, {} of {} members killed, {repeats} done again",
            ledger.iter().filter(|entry| entry.what == 'b').count(),
            expected.len(),
            self.gone.iter().filter(|member| member.was_killed).count(),
            self.gone.len(),
        );
    }
}

fn events(pipe: &Running) -> Vec<Value> {
    pipe.stderr().all().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Those of the first `records` that can only end in the dead letters.
fn expected_letters(records: usize) -> BTreeSet<usize> {
    (0..records).filter(|it| is_poison(*it) || fails_always(*it)).collect()
}

/// Produces until it is stopped. Returns the number of records.
fn produce(bootstrap: &str, topic: &str, is_over: &AtomicBool, so_far: &AtomicUsize) -> usize {
    let mut records = 0;
    while !is_over.load(Ordering::Relaxed) {
        let lines: String =
            (records..records + BATCH).map(|number| format!("k{}:{number}\n", number % KEYS)).collect();
        let produce = Offtake::new(["produce", topic, "-K", ":", "--rate", RATE, "--brokers", bootstrap]);
        let produced = produce.stdin(lines).patience(PATIENCE).run();
        assert_eq!(produced.code, Some(0), "{:#?}", produced.stderr);
        records += BATCH;
        so_far.store(records, Ordering::Relaxed);
    }
    records
}

#[test]
fn safe1_safe2_safe12_workers_die_brokers_restart_and_breakers_open_and_nothing_is_lost_or_overtaken() {
    let (rounds, brokers) = match std::env::var("OFFTAKE_CHAOS").as_deref() {
        Ok("full") => (4, 3),
        _ => (1, 1),
    };
    let mut world = World::begin();
    let (is_over, so_far) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (topic, bootstrap) = (world.topic.clone(), world.at.kafka.bootstrap());
    let records = std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(&bootstrap, &topic, &is_over, &so_far));
        let story = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..rounds {
                world.settle();
                world.kill();
                world.settle();
                world.trip();
                world.roll(brokers);
                world.kill();
            }
            // While more records arrive: an open breaker closes by a record that has never failed, and some that always
            // fail remain.
            world.until_handled(so_far.load(Ordering::Relaxed));
        }));
        is_over.store(true, Ordering::Relaxed);
        let records = producing.join().expect("all is produced");
        story.map(|()| records).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    world.end(records);
}
