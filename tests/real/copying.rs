//! A job that copies a topic in transactions (`offtake-exactly-once`), while its members and its brokers are killed,
//! stopped and restarted: whatever happens, the copy has each record once.
//!
//! Members are processes. Records that they did not commit are delivered again, and a member that lost its producer is
//! started again, as a service is. With `OFFTAKE_CHAOS=full` each job runs for ten minutes, or for as many seconds as
//! `OFFTAKE_COPY_SECONDS` says (`scripts/test full`: 180).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind};
use offtake_exactly_once::{Ended, ExactlyOnce};
use offtake_producer::{ProducerRecord, TransactionalProducer};
use offtake_tests::{
    Dice, JavaTool, Kafka, Offtake, Running, Shared, V2_8_2, V3_9_1, Version, three_brokers, unique,
};
use serde_json::{Value, json};

use crate::flow::{PATIENCE, Production};

const PARTITIONS: i32 = 6;
const SESSION: Duration = Duration::from_secs(6);
const TRANSACTION: Duration = Duration::from_secs(8);
/// A broker checks every ten seconds for transactions that have timed out.
const PAST_ALL: Duration = Duration::from_secs(8 + 10 + 2);
/// The pause between two batches of a partition of the input.
const PACE: Duration = Duration::from_millis(100);
/// The time that a member spends on one transaction, so that faults often strike in the middle of one.
const WORK: Duration = Duration::from_millis(30);
/// The time for all remaining work after the faults.
const REST: Duration = Duration::from_secs(180);

/// Prints one line of a member.
fn tell(event: &str, records: usize, why: &str) {
    println!("\n{}", json!({ "event": event, "records": records, "why": why }));
}

fn setting(name: &str) -> String {
    std::env::var(name).expect("the tests after it set what it is")
}

async fn copies() -> offtake::Result<()> {
    let mut consumer = Consumer::builder(setting("BOOTSTRAP"))
        .group(setting("GROUP"))
        .property("enable.auto.commit", "false")
        .property("auto.offset.reset", "earliest")
        .property("isolation.level", "read_committed")
        .property("max.poll.records", 40)
        .property("request.timeout.ms", 5000);
    consumer = match setting("PROTOCOL").as_str() {
        "consumer" => consumer.property("group.protocol", "consumer"),
        assignor => consumer
            .property("partition.assignment.strategy", assignor)
            .property("session.timeout.ms", SESSION.as_millis())
            .property("heartbeat.interval.ms", 500),
    };
    let mut consumer = consumer.build().await?;
    consumer.subscribe(setting("INPUT")).await?;
    let producer = TransactionalProducer::builder(setting("BOOTSTRAP"), setting("ID"))
        .property("transaction.timeout.ms", TRANSACTION.as_millis())
        .property("request.timeout.ms", 5000)
        .property("compression.type", "lz4")
        .build_transactional()
        .await?;
    let mut once = ExactlyOnce::new(consumer, producer)?;
    tell("ready", 0, "");
    let output = setting("OUTPUT");
    for steps in 1_u64.. {
        let step = match once.next().await {
            Ok(Some(step)) => step,
            Ok(None) => break,
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                tell("refused", 0, &error.to_string());
                continue;
            }
        };
        let records = step.records().len();
        for record in step.records() {
            let copy = ProducerRecord::to(&output).partition(record.partition());
            step.send(copy.maybe_key(record.key()).maybe_value(record.value()));
        }
        tokio::time::sleep(WORK).await;
        match steps % 32 {
            10 => {
                step.abort().await?;
                tell("aborts", records, "");
            }
            20 => {
                drop(step);
                tell("drops", records, "");
            }
            _ => match step.commit().await? {
                Ended::Committed => tell("committed", records, ""),
                Ended::Aborted(why) => tell("aborted", records, &why.to_string()),
                Ended::Unknown(why) => tell("unknown", records, &why.to_string()),
                _ => tell("ended otherwise", records, ""),
            },
        }
    }
    Ok(())
}

/// Not a test: a member of the jobs below.
#[test]
#[ignore = "run by the tests after it, as a process that is killed"]
fn a_member_that_copies() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Err(error) = runtime.block_on(copies()) {
        let event = match error.kind() {
            ErrorKind::Fenced => "fenced",
            ErrorKind::Timeout => "timeout",
            _ => "failed",
        };
        tell(event, 0, &error.to_string());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    /// Kafka's own TransactionalMessageCopier.
    Java,
}

/// A fault to members and brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// `kill -9` of a member, and its restart.
    Kill,
    /// `kill -9` of all members: their committed results are checked before they restart.
    KillAll,
    /// SIGSTOP of a member past its session and its transaction timeout, then SIGCONT.
    Sleep,
    /// The same, with another in its place when it resumes.
    SleepReplaced,
    /// `kill -9` of a broker, and its restart.
    KillBroker,
    /// Every broker is stopped in order and started, one after the other.
    Roll,
}

const FAULTS: [Fault; 6] =
    [Fault::Kill, Fault::Sleep, Fault::KillBroker, Fault::SleepReplaced, Fault::Roll, Fault::KillAll];

struct Member {
    kind: Kind,
    id: String,
    process: Running,
}

struct Job<'a> {
    of: &'a Shared,
    input: String,
    output: String,
    group: String,
    protocol: &'a str,
    kinds: &'a [Kind],
    members: Vec<Member>,
    /// How often each message of the members occurred, and each fault.
    tally: BTreeMap<String, usize>,
    /// The messages of ended members, except `committed`.
    said: Vec<String>,
}

impl<'a> Job<'a> {
    fn start(of: &'a Shared, protocol: &'a str, kinds: &'a [Kind]) -> Self {
        let new = |name: &str| of.tool.create_topic(&unique(name), PARTITIONS, &[]);
        let (input, output) = (new("input"), new("output"));
        let group = unique("copying");
        let mut job = Self {
            of,
            input,
            output,
            group,
            protocol,
            kinds,
            members: Vec::new(),
            tally: BTreeMap::new(),
            said: Vec::new(),
        };
        for kind in kinds {
            let id = unique("copier");
            let process = job.process(*kind, &id);
            job.members.push(Member { kind: *kind, id, process });
        }
        job
    }

    fn process(&self, kind: Kind, id: &str) -> Running {
        let Self { of, input, output, group, .. } = self;
        if kind == Kind::Java {
            let bootstrap = of.kafka.bootstrap();
            let timeout = TRANSACTION.as_millis();
            return of
                .tool
                .program(
                    "org.apache.kafka.tools.TransactionalMessageCopier",
                    &format!(
                        "--broker-list {bootstrap} --input-topic {input} --input-partition 0 --output-topic {output} \
                         --consumer-group {group} --transactional-id {id} --transaction-size 40 \
                         --transaction-timeout {timeout} --enable-random-aborts --group-mode --use-group-metadata"
                    ),
                )
                .start();
        }
        Offtake::new(["--ignored", "--exact", "copying::a_member_that_copies", "--nocapture"])
            .instead(std::env::current_exe().unwrap())
            .env("BOOTSTRAP", of.kafka.bootstrap())
            .env("INPUT", input)
            .env("OUTPUT", output)
            .env("GROUP", group)
            .env("ID", id)
            .env("PROTOCOL", self.protocol)
            .start()
    }

    fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }

    /// Waits for the end of a process, and counts its messages.
    fn collect(&mut self, kind: Kind, process: Running) -> Vec<String> {
        let finished = process.finish(PATIENCE);
        let mut last = Vec::new();
        let lines = finished.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.collect();
        // The count of the whole process, which Java's prints again and again.
        let javas = lines.iter().filter_map(|line| line["totalProcessed"].as_u64()).max().unwrap_or(0);
        *self.tally.entry("records of Java's".to_owned()).or_default() += usize::try_from(javas).unwrap();
        for line in lines.iter().filter(|line| kind == Kind::Ours && line["event"].is_string()) {
            let event = line["event"].as_str().unwrap_or_default();
            self.count(event);
            if event == "committed" {
                let records = line["records"].as_u64().unwrap_or(0);
                *self.tally.entry("records of ours".to_owned()).or_default() +=
                    usize::try_from(records).unwrap();
            }
            if !["ready", "committed", "aborts", "drops"].contains(&event) {
                self.said.push(line.to_string());
            }
            last.push(event.to_owned());
        }
        if kind == Kind::Java && finished.code.is_some() {
            self.count("ends of Java's");
            self.said.push(finished.stderr.last().cloned().unwrap_or_default());
        }
        last
    }

    /// Starts a member again that has ended or is ending.
    fn replace(&mut self, nth: usize) -> Running {
        let Member { kind, id, .. } = &self.members[nth];
        let process = self.process(*kind, id);
        std::mem::replace(&mut self.members[nth].process, process)
    }

    fn start_ended(&mut self) {
        for nth in 0..self.members.len() {
            if !self.members[nth].process.is_running() {
                let kind = self.members[nth].kind;
                let ended = self.replace(nth);
                self.collect(kind, ended);
            }
        }
    }

    /// Lets the job run for a while.
    fn go_on(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            self.start_ended();
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait(&mut self, what: &str, starts: bool, mut holds: impl FnMut(&Self) -> Result<(), String>) {
        let deadline = Instant::now() + REST;
        while let Err(why) = holds(self) {
            if starts {
                self.start_ended();
            }
            assert!(
                Instant::now() < deadline,
                "{what}: not within {REST:?}: {why}; {:?}, {:#?}",
                self.tally,
                self.said
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn inject(&mut self, fault: Fault, dice: &mut Dice) {
        self.count(&format!("{fault:?}"));
        let nth = dice.index(self.members.len());
        match fault {
            Fault::Kill => {
                let kind = self.members[nth].kind;
                self.members[nth].process.signal("KILL");
                let ended = self.replace(nth);
                self.collect(kind, ended);
                self.go_on(Duration::from_secs(3 + dice.roll(6)));
            }
            Fault::KillAll => {
                self.end_all();
                self.agrees();
                for nth in 0..self.members.len() {
                    let kind = self.members[nth].kind;
                    let ended = self.replace(nth);
                    self.collect(kind, ended);
                }
                self.go_on(Duration::from_secs(5));
            }
            Fault::Sleep => {
                self.members[nth].process.signal("STOP");
                self.go_on(PAST_ALL);
                self.members[nth].process.signal("CONT");
                self.go_on(Duration::from_secs(3));
            }
            Fault::SleepReplaced => {
                let kind = self.members[nth].kind;
                self.members[nth].process.signal("STOP");
                self.go_on(SESSION + Duration::from_secs(1));
                let stopped = self.replace(nth);
                self.go_on(Duration::from_secs(3));
                stopped.signal("CONT");
                let said = self.collect(kind, stopped);
                if kind == Kind::Ours && said.iter().any(|event| event == "ready") {
                    assert_eq!(said.last().map(String::as_str), Some("fenced"), "{said:?}");
                }
            }
            Fault::KillBroker => {
                let brokers = self.of.kafka.brokers();
                let broker = dice.pick(brokers);
                broker.kill9();
                self.go_on(Duration::from_secs(1 + dice.roll(4)));
                broker.start();
                self.go_on(Duration::from_secs(3));
            }
            Fault::Roll => {
                for broker in self.of.kafka.brokers() {
                    broker.stop();
                    broker.start();
                    self.go_on(Duration::from_secs(2));
                }
            }
        }
    }

    fn end_all(&mut self) {
        for nth in 0..self.members.len() {
            self.members[nth].process.signal("KILL");
        }
    }

    fn ends(&self, topic: &str, isolation: &str) -> Vec<i64> {
        self.of.tool.list_offsets(topic, "latest", isolation)
    }

    /// The group's committed offsets, by partition of the input.
    fn committed(&self) -> Vec<i64> {
        let all = self.of.tool.committed(&self.group);
        (0..PARTITIONS).map(|index| all.get(&(self.input.clone(), index)).copied().unwrap_or(0)).collect()
    }

    /// Waits until no transaction is open: without members, open ones are aborted.
    fn wait_decided(&mut self) {
        self.wait("no transaction is open", false, |job| {
            let (stable, all) =
                (job.ends(&job.output, "read_committed"), job.ends(&job.output, "read_uncommitted"));
            (stable == all).then_some(()).ok_or_else(|| format!("{stable:?} of {all:?} is decided"))
        });
    }

    /// Without members: the number of committed input records equals the number of records in the output.
    fn agrees(&mut self) {
        self.wait_decided();
        let args = json!({ "topics": [self.output], "isolation": "read_committed" });
        let seen = self.of.tool.call("checksum", args).unwrap().1["records"].as_i64();
        self.wait("offsets and output agree", false, |job| {
            let committed: i64 = job.committed().into_iter().sum();
            (Some(committed) == seen)
                .then_some(())
                .ok_or_else(|| format!("{committed} are committed, {seen:?} are in the output"))
        });
    }

    /// Key and value of each record, by partition.
    fn read(&self, topic: &str, isolation: &str) -> BTreeMap<i64, Vec<(Value, Value)>> {
        let mut logs: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for mut record in self.of.tool.read(&[topic], isolation) {
            let partition = record["partition"].as_i64().unwrap_or(-1);
            logs.entry(partition).or_default().push((record["key"].take(), record["value"].take()));
        }
        logs
    }

    /// Asserts that Java's consumers read the input at the end, record by record.
    fn check_result(mut self) {
        let ends = self.ends(&self.input, "read_uncommitted");
        let began = Instant::now();
        self.wait("all is copied", true, |job| {
            let committed = job.committed();
            (committed == ends).then_some(()).ok_or_else(|| format!("{committed:?} of {ends:?} is committed"))
        });
        let rest = began.elapsed();
        self.end_all();
        self.agrees();
        for Member { kind, process, .. } in std::mem::take(&mut self.members) {
            self.collect(kind, process);
        }
        let (from, to) =
            (self.read(&self.input, "read_committed"), self.read(&self.output, "read_committed"));
        let records: usize = from.values().map(Vec::len).sum();
        let written: usize = self.read(&self.output, "read_uncommitted").values().map(Vec::len).sum();
        println!(
            "{:?}, {}: {records} records, {} more under read_uncommitted, all copied {rest:?} after the last fault; {:?}",
            self.of.kafka.version(),
            self.protocol,
            written - records.min(written),
            self.tally
        );
        println!("{:#?}", self.said);
        for (partition, log) in &from {
            let copy = to.get(partition).map(Vec::as_slice).unwrap_or_default();
            let differs = log.iter().zip(copy).position(|(record, copy)| record != copy);
            assert!(
                differs.is_none() && log.len() == copy.len(),
                "partition {partition}: {} records, {} in the copy; the first that differs: {:?}",
                log.len(),
                copy.len(),
                differs.map(|at| (at, &log[at], &copy[at]))
            );
        }
        assert_eq!(from.len(), to.len());
        for what in self
            .kinds
            .iter()
            .map(|kind| if *kind == Kind::Java { "records of Java's" } else { "records of ours" })
        {
            assert!(self.tally.get(what).is_some_and(|count| *count > 0), "{what}: {:?}", self.tally);
        }
    }
}

/// How long the faults go on after those that each run has.
fn span() -> Duration {
    let given = std::env::var("OFFTAKE_COPY_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let is_full = std::env::var("OFFTAKE_CHAOS").is_ok_and(|size| size == "full");
    Duration::from_secs(given.unwrap_or(if is_full { 600 } else { 0 }))
}

/// Makes `faults` while the job runs, and in a long run all kinds, until the time is over.
fn copies_each_record_once(of: &Shared, protocol: &str, kinds: &[Kind], faults: &[Fault]) {
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut job = Job::start(of, protocol, kinds);
    let production = Production::paced(&of.tool, &job.input, PARTITIONS, PACE);
    job.wait("the job has begun", true, |job| {
        let committed = job.committed();
        committed
            .iter()
            .all(|end| *end > 0)
            .then_some(())
            .ok_or_else(|| format!("{committed:?} is committed"))
    });
    let until = Instant::now() + span();
    for fault in faults {
        job.inject(*fault, &mut dice);
    }
    let mut all = FAULTS;
    while Instant::now() < until {
        dice.shuffle(&mut all);
        for fault in all {
            job.inject(fault, &mut dice);
        }
    }
    production.stop();
    job.check_result();
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn safe11_k10_a_job_whose_members_and_brokers_die_copies_each_record_once() {
    let faults = [Fault::Kill, Fault::SleepReplaced, Fault::KillBroker, Fault::KillAll];
    copies_each_record_once(&three_brokers(), "cooperative-sticky", &[Kind::Ours; 3], &faults);
}

#[test]
#[ignore = "minutes with three brokers: scripts/test full runs it"]
fn safe11_k10_a_job_of_the_consumer_protocol_copies_each_record_once_though_brokers_restart() {
    copies_each_record_once(&three_brokers(), "consumer", &[Kind::Ours; 3], &[Fault::Roll, Fault::Kill]);
}

#[test]
fn safe11_k10_a_job_of_ours_and_javas_copies_each_record_once() {
    let kinds = [Kind::Ours, Kind::Java, Kind::Ours, Kind::Java];
    copies_each_record_once(&three_brokers(), "range", &kinds, &[Fault::Kill, Fault::Sleep]);
}

fn on_one_broker(version: Version) {
    let kafka = Kafka::builder().version(version).start();
    let tool = JavaTool::start(&kafka);
    let of = Shared { kafka, tool };
    copies_each_record_once(&of, "cooperative-sticky", &[Kind::Ours; 3], &[Fault::Kill, Fault::KillBroker]);
}

#[test]
#[ignore = "minutes of faults: scripts/test full runs it"]
fn safe11_k10_a_job_on_kafka_3_9_copies_each_record_once() {
    on_one_broker(V3_9_1);
}

#[test]
#[ignore = "minutes of faults: scripts/test full runs it"]
fn safe11_k10_a_job_on_kafka_2_8_copies_each_record_once() {
    on_one_broker(V2_8_2);
}
