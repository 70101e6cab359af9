//! A topic with constant production, its readers, and their printed records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use offtake_tests::{JavaTool, Kafka, Offtake, RecordSpec, Running};
use serde_json::{Value, json};

/// Long, except for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two batches of a partition.
const PACE: Duration = Duration::from_millis(50);
const BATCH: usize = 5;

/// Values by partition and offset.
pub(crate) type Log = BTreeMap<(i32, i64), String>;

/// About a hundred records per second to each partition until it is stopped. Each partition has a producer of its own,
/// so that one without a leader does not delay the others.
pub(crate) struct Production {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Log>>,
}

impl Production {
    pub(crate) fn start(tool: &JavaTool, topic: &str, partitions: i32) -> Self {
        Self::paced(tool, topic, partitions, PACE)
    }

    /// The same with this pause between two batches of a partition.
    pub(crate) fn paced(tool: &JavaTool, topic: &str, partitions: i32, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicUsize::new(0));
        let produce = |partition: i32| {
            let (tool, topic, stop) = (tool.clone(), topic.to_owned(), Arc::clone(&stop));
            let taken = Arc::clone(&taken);
            std::thread::spawn(move || {
                let mut log = Log::new();
                loop {
                    let last = stop.load(Ordering::Relaxed);
                    let values: Vec<String> =
                        (0..BATCH).map(|at| format!("{partition}-{}", log.len() + at)).collect();
                    let spec = |value: &String| RecordSpec::to(&topic).partition(partition).value(value);
                    let specs: Vec<RecordSpec> = values.iter().map(spec).collect();
                    // Java's tool has one producer for each batch size.
                    let offsets = tool.produce_with(&specs, json!({ "batch_size": 16384 + partition }));
                    log.extend(offsets.into_iter().map(|offset| (partition, offset)).zip(values));
                    taken.fetch_add(BATCH, Ordering::Relaxed);
                    if last {
                        return log;
                    }
                    std::thread::sleep(pace);
                }
            })
        };
        let threads = (0..partitions).map(produce).collect();
        Self { stop, taken, threads }
    }

    /// How many records the brokers have accepted so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Stops, after a last batch to each partition, and returns all accepted records. The last batch is needed because
    /// a member of Java's whose commit was refused in the last rebalance commits again only when it gets records.
    pub(crate) fn stop(self) -> Log {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("Java produces")).collect()
    }
}

/// `offtake consume` of a topic, with the output that the tests need.
pub(crate) fn consume(kafka: &Kafka, topic: &str) -> Offtake {
    Offtake::new(["consume", topic, "--json", "--events", "--from", "earliest"]).brokers(kafka)
}

/// A member of a group that commits every second.
pub(crate) fn member(kafka: &Kafka, topic: &str, group: &str, assignor: &str, session: Duration) -> Running {
    let session = format!("session.timeout.ms={}", session.as_millis());
    consume(kafka, topic)
        .args([
            "--group",
            group,
            "--assignor",
            assignor,
            "-X",
            &session,
            "-X",
            "heartbeat.interval.ms=500",
            "-X",
            "auto.commit.interval.ms=1000",
        ])
        .start()
}

/// One record as it was printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) value: String,
}

/// The records on stdout, in order. `torn`: the process was killed, so its last line may be incomplete.
pub(crate) fn printed(lines: &[String], torn: bool) -> Vec<Printed> {
    let parse = |line: &String| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Printed {
            partition: i32::try_from(value["partition"].as_i64()?).ok()?,
            offset: value["offset"].as_i64()?,
            timestamp: value["timestamp"].as_i64()?,
            value: value["value"].as_str()?.to_owned(),
        })
    };
    let mut records = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        match parse(line) {
            Some(record) => records.push(record),
            None => assert!(torn && at + 1 == lines.len(), "not a record: {line}"),
        }
    }
    records
}

/// The next offset of each partition after these records.
pub(crate) fn ends<'a>(records: impl IntoIterator<Item = &'a Printed>) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for record in records {
        let end = ends.entry(record.partition).or_insert(0);
        *end = record.offset.saturating_add(1).max(*end);
    }
    ends
}

/// How often each record was printed. Fails the test if one of `log` is missing, or was printed with another value.
pub(crate) fn all_of<'a>(
    log: &Log,
    records: impl IntoIterator<Item = &'a Printed>,
) -> BTreeMap<(i32, i64), usize> {
    let mut times: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for record in records {
        let at = (record.partition, record.offset);
        *times.entry(at).or_default() += 1;
        if let Some(value) = log.get(&at) {
            assert_eq!(&record.value, value, "the record at {at:?}");
        }
    }
    let missing: Vec<&(i32, i64)> = log.keys().filter(|at| !times.contains_key(at)).collect();
    assert!(missing.is_empty(), "{} of {} records are missing: {missing:?}", missing.len(), log.len());
    times
}

/// Waits until every record of `log` is among the lines of these processes, and fails the test if that does not happen.
/// ([`all_of`] checks that each is there once, and right.)
pub(crate) fn wait_for_all(log: &Log, of: &[&Running], already: &[Printed]) {
    let mut left: BTreeSet<(i32, i64)> = log.keys().copied().collect();
    already.iter().for_each(|record| {
        left.remove(&(record.partition, record.offset));
    });
    let deadline = Instant::now() + PATIENCE;
    let mut seen = vec![0; of.len()];
    while !left.is_empty() {
        for (process, seen) in of.iter().zip(&mut seen) {
            process.stdout().wait_until(Duration::ZERO, |lines| {
                for record in printed(lines.get(*seen..).unwrap_or_default(), true) {
                    left.remove(&(record.partition, record.offset));
                }
                *seen = lines.len();
                true
            });
        }
        assert!(
            Instant::now() < deadline,
            "after {PATIENCE:?} {} records are not printed: {:?}; {:#?}",
            left.len(),
            left.iter().take(20).collect::<Vec<_>>(),
            of.iter().map(|process| process.stderr().all()).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The events that a process has written so far.
pub(crate) fn events(of: &Running) -> Vec<Value> {
    of.stderr().all().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The partitions in `[[topic, partition, …], …]` of an event.
pub(crate) fn partitions(list: &Value) -> BTreeSet<i32> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|each| i32::try_from(each[1].as_i64()?).ok()).collect()
}

/// The partitions that a member holds by its own account, and since when (epoch milliseconds).
pub(crate) fn holds(of: &Running) -> (BTreeSet<i32>, i64) {
    let last = events(of).into_iter().rev().find(|event| event["owned"].is_array());
    last.map(|event| (partitions(&event["owned"]), at(&event))).unwrap_or_default()
}

/// When an event happened, in epoch milliseconds.
pub(crate) fn at(event: &Value) -> i64 {
    event["at"].as_i64().expect("an event says when")
}

/// Waits until these members hold all partitions, at least this many each, and none twice. Returns since when (epoch
/// milliseconds).
pub(crate) fn wait_settled(members: &[&Running], count: i32, least: usize) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held: Vec<(BTreeSet<i32>, i64)> = members.iter().map(|member| holds(member)).collect();
        let union: BTreeSet<i32> = held.iter().flat_map(|(held, _)| held.iter().copied()).collect();
        let total: usize = held.iter().map(|(held, _)| held.len()).sum();
        if union == (0..count).collect() && total == union.len() && held.iter().all(|(h, _)| h.len() >= least)
        {
            return held.into_iter().map(|(_, since)| since).max().unwrap_or_default();
        }
        assert!(
            Instant::now() < deadline,
            "after {PATIENCE:?} the members hold {held:?}; {:#?}",
            members.iter().map(|member| member.stderr().all()).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The clock of the events.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_millis()).expect("it is not that late")
}

/// The group's committed offsets in a topic, by partition.
pub(crate) fn committed(tool: &JavaTool, group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let all = tool.committed(group).into_iter().filter(|((of, _), _)| of == topic);
    all.map(|((_, partition), offset)| (partition, offset)).collect()
}

/// Waits until every replica follows: otherwise the next death would leave too few in-sync replicas, and Kafka stops.
pub(crate) fn wait_in_sync(tool: &JavaTool, topic: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let now = tool.describe_topic(topic);
        let partitions = now["partitions"].as_array().cloned().unwrap_or_default();
        let whole =
            |each: &Value| each["isr"].as_array().map(Vec::len) == each["replicas"].as_array().map(Vec::len);
        if !partitions.is_empty() && partitions.iter().all(whole) {
            return;
        }
        assert!(Instant::now() < deadline, "{now}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
