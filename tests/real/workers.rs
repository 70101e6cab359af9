//! Workers of `offtake-worker` on real Kafka: transactions, retry topics, and the sink that writes to PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::{Consumer, OwnedRecord};
use offtake_tests::{Offtake, Shared, V2_8_2, V4_3_0, Version, shared, unique};
use offtake_worker::{
    Attempt, Batch, DeadLetters, Error, Failure, FailureKind, Handled, Order, ProducerRecord, Retry, Summary,
    Transactions, Worker, WorkerHandle,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/worker/examples/postgres_sink.rs"]
mod postgres_sink;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 6;

/// A topic with this many records, whose values are their numbers.
fn filled(at: &Shared, records: usize) -> String {
    let topic = at.tool.create_topic(&unique("work"), PARTITIONS, &[]);
    let lines: String = (0..records).map(|nth| format!("k{}:{nth}\n", nth % 100)).collect();
    let produced = Offtake::new(["produce", &topic, "-K", ":"]).brokers(&at.kafka).stdin(lines).run();
    assert_eq!(produced.code, Some(0), "{:?}", produced.stderr);
    topic
}

/// How often each value is in a topic, for `read_committed` readers.
fn values(at: &Shared, topic: &str) -> BTreeMap<String, usize> {
    let read =
        Offtake::new(["consume", topic, "--json", "--until", "latest", "--isolation", "read_committed"]);
    let mut values = BTreeMap::new();
    for record in read.brokers(&at.kafka).patience(PATIENCE).run().json() {
        *values.entry(record["value"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    values
}

fn consumer(at: &Shared, group: &str) -> offtake::Builder {
    Consumer::builder(at.kafka.bootstrap())
        .group(group)
        .property("auto.offset.reset", "earliest")
        .property("session.timeout.ms", 6000)
        .property("heartbeat.interval.ms", 500)
}

/// Every 50th is poison, and every 20th fails at first; a result is sent before.
async fn bill(to: String, record: OwnedRecord, attempt: Attempt) -> Result<(), Failure> {
    let value = std::str::from_utf8(record.value().unwrap_or_default())?;
    let number: usize = value.parse()?;
    attempt.send(ProducerRecord::to(&to).maybe_key(record.key()).value(value))?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    match (number % 50, attempt.number()) {
        (7, _) => Err(Failure::poison("never")),
        (number, 1) if number % 20 == 3 => Err(Failure::retry("not now")),
        _ => Ok(()),
    }
}

type Running = (WorkerHandle, JoinHandle<Result<Summary, Error>>);

/// Members that die, stop and are fenced: each record has its result once, or its dead letter.
async fn each_once(version: Version) {
    const RECORDS: usize = 6000;
    let at = shared(version);
    let (input, output) = (filled(at, RECORDS), at.tool.create_topic(&unique("out"), 3, &[]));
    let letters = at.tool.create_topic(&unique("dlq"), 1, &[]);
    let (group, id) = (unique("billing"), unique("billing"));
    let start = |nth: usize| -> Running {
        let worker = Worker::new(consumer(at, &group))
            .subscribe(input.as_str())
            .transactional(Transactions::by(format!("{id}-{nth}")).property("transaction.timeout.ms", 8000))
            .dead_letters(DeadLetters::to(&letters))
            .retry(Retry::fixed(Duration::from_millis(20)).attempts(3));
        let (handle, output) = (worker.handle(), output.clone());
        let handler = move |record, attempt| bill(output.clone(), record, attempt);
        (handle, tokio::spawn(worker.run(handler, std::future::pending::<()>())))
    };
    let mut members: Vec<_> = (0..3).map(start).collect();
    for turn in 0..9 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let (handle, task) = std::mem::replace(&mut members[turn % 3], start(turn % 3));
        match turn % 3 {
            0 => handle.stop(),
            // The one that takes its place already has its id.
            _ => task.abort(),
        }
    }
    let is_letter = |number: &usize| number % 50 == 7;
    let text = |numbers: Vec<usize>| numbers.iter().map(usize::to_string).collect::<BTreeSet<_>>();
    let results = text((0..RECORDS).filter(|number| !is_letter(number)).collect());
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        let found = values(at, &output);
        if found.len() == results.len() {
            break found;
        }
        for (nth, member) in members.iter_mut().enumerate() {
            if member.1.is_finished() {
                *member = start(nth);
            }
        }
        assert!(Instant::now() < deadline, "{} of {}", found.len(), results.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    for (handle, task) in members {
        handle.stop();
        let summary = task.await.expect("it did not panic").expect("it ended as it was asked to");
        assert!(summary.is_clean(), "{summary:?}");
    }
    assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), results);
    assert!(values(at, &output).values().all(|times| *times == 1), "a result is there twice");
    let dead = values(at, &letters);
    assert!(dead.values().all(|times| *times == 1), "{dead:?}");
    assert_eq!(dead.into_keys().collect::<BTreeSet<_>>(), text((0..RECORDS).filter(is_letter).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe11_k10_a_worker_in_transactions_has_the_effect_of_each_record_once() {
    each_once(V4_3_0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe11_k10_and_with_transactions_of_before_kip_890() {
    each_once(V2_8_2).await;
}

/// In each batch that has them, one record that can never be handled, or fails at first, makes the whole batch fail, after all of
/// its results were sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_batches_that_fail_as_a_whole_in_transactions_only_the_record_at_fault_is_given_up() {
    const RECORDS: usize = 600;
    let at = shared(V4_3_0);
    let input = filled(at, RECORDS);
    for (order, attempts, kind) in [
        (Order::Key, 3, FailureKind::Poison),
        (Order::Partition, 3, FailureKind::Poison),
        (Order::Unordered, 3, FailureKind::Poison),
        (Order::Partition, 1, FailureKind::Retry),
        (Order::Unordered, 1, FailureKind::Retry),
        (Order::Key, 10, FailureKind::Retry),
    ] {
        let what = format!("{order:?}, {attempts} attempts, {kind:?}");
        let output = at.tool.create_topic(&unique("out"), 3, &[]);
        let letters = at.tool.create_topic(&unique("dlq"), 1, &[]);
        let worker = Worker::new(consumer(at, &unique("batches")))
            .subscribe(input.as_str())
            .order(order)
            .transactional(Transactions::by(unique("batches")))
            .dead_letters(DeadLetters::to(&letters))
            .retry(Retry::fixed(Duration::from_millis(20)).attempts(attempts));
        let handle = worker.handle();
        let tries = Arc::<Mutex<BTreeMap<usize, u32>>>::default();
        let (noted, to) = (Arc::clone(&tries), output.clone());
        let handler = move |batch: Batch| {
            let (noted, to) = (Arc::clone(&noted), to.clone());
            async move {
                let mut outcome = Ok(Handled::All);
                for (record, attempt) in batch.attempts() {
                    let value = std::str::from_utf8(record.value().unwrap_or_default())?;
                    let number: usize = value.parse()?;
                    *noted.lock().expect("no test has panicked").entry(number).or_default() += 1;
                    attempt.send(ProducerRecord::to(&to).maybe_key(record.key()).value(value))?;
                    match (number % 50, attempt.number()) {
                        (7, _) if kind == FailureKind::Poison => outcome = Err(Failure::poison("never")),
                        (7, _) => outcome = Err(Failure::retry("never")),
                        (3, 1) if outcome.is_ok() && attempts > 1 => outcome = Err(Failure::retry("not now")),
                        _ => {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                outcome
            }
        };
        let task = tokio::spawn(worker.run_batches(20, handler, std::future::pending::<()>()));
        let began = Instant::now();
        while handle.metrics().handled + handle.metrics().dead_lettered < RECORDS as u64 {
            assert!(began.elapsed() < PATIENCE && !task.is_finished(), "{what}: {:?}", handle.metrics());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        handle.stop();
        let summary = task.await.expect("it did not panic").expect("it ended as it was asked to");
        assert!(summary.is_clean(), "{what}: {summary:?}");
        let text = |is_bad: bool| -> BTreeMap<String, usize> {
            (0..RECORDS).filter(|nth| (nth % 50 == 7) == is_bad).map(|nth| (nth.to_string(), 1)).collect()
        };
        assert_eq!(values(at, &letters), text(true), "{what}: each letter once");
        assert_eq!(values(at, &output), text(false), "{what}: each result once");
        let tries = tries.lock().expect("no test has panicked");
        assert!(tries.values().all(|tries| *tries <= attempts.max(2)), "{what}: {tries:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_fail_come_again_from_retry_topics_when_they_are_due() {
    const RECORDS: usize = 200;
    let at = shared(V4_3_0);
    let input = filled(at, RECORDS);
    let topics = ["2s", "4s"].map(|name| at.tool.create_topic(&unique(name), 2, &[]));
    let letters = at.tool.create_topic(&unique("dlq"), 1, &[]);
    let delays = [Duration::from_secs(2), Duration::from_secs(4)];
    let retry = Retry::never().then_topics(topics.iter().map(String::as_str).zip(delays));
    let worker = Worker::new(consumer(at, &unique("retry")))
        .subscribe(input.as_str())
        .order(Order::Unordered)
        .retry(retry)
        .dead_letters(DeadLetters::to(&letters));
    let handle = worker.handle();
    let handler = |record: OwnedRecord, attempt: Attempt| async move {
        let number: usize = std::str::from_utf8(record.value().unwrap_or_default())?.parse()?;
        match (number % 20, attempt.number()) {
            (7, _) | (3, 1) => Err(Failure::retry("not now")),
            _ => Ok(()),
        }
    };
    let task = tokio::spawn(worker.run(handler, std::future::pending::<()>()));
    let began = Instant::now();
    while handle.metrics().dead_lettered < 10 || handle.metrics().handled < 190 {
        assert!(began.elapsed() < PATIENCE, "{:?}", handle.metrics());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(6), "both delays are over");
    handle.stop();
    let summary = task.await.expect("it did not panic").expect("it ended as it was asked to");
    assert!(summary.is_clean() && summary.postponed == 30, "{summary:?}");
    assert_eq!(values(at, &letters).len(), 10);
}

/// A private PostgreSQL server, run as a user other than root. It ends with this value.
struct Postgres {
    server: Child,
    port: u16,
    folder: TempDir,
}

/// The path of a program in Debian's folder of a version.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| PathBuf::from(name))
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

impl Postgres {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let owned = Command::new("chown").args(["postgres"]).arg(folder.path()).status().expect("chown");
        assert!(owned.success(), "PostgreSQL is needed (`apt-get install postgresql`), and its user");
        let data = folder.path().join("data");
        let made = as_postgres(&program("initdb"))
            .args(["--auth=trust", "--no-sync", "-U", "postgres", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .expect("initdb");
        assert!(made.success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let server = as_postgres(&program("postgres"))
            .args(["-F", "-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(folder.path())
            .arg("-D")
            .arg(&data)
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres");
        Self { server, port, folder }
    }

    fn address(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres", self.port)
    }

    async fn client(&self) -> tokio_postgres::Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match tokio_postgres::connect(&self.address(), tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown: it does not wait for clients. `runuser` ends with the server, whose id is in this file.
        let file = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(server) = file.lines().next() {
            let _ = Command::new("kill").args(["-INT", server]).status();
        } else {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Members of the sink that die in the middle, whatever the group has committed: each sale is counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_with_its_offsets_in_the_same_transaction_counts_each_record_once() {
    const RECORDS: usize = 3000;
    let (at, postgres) = (shared(V4_3_0), Postgres::start());
    // The example's topic; its group begins at the start of what others left there, which is empty.
    let topic = at.tool.create_topic("sales", PARTITIONS, &[]);
    let lines: String = (0..RECORDS).map(|nth| format!("item-{}:{}\n", nth % 40, nth % 7)).collect();
    let produced = Offtake::new(["produce", &topic, "-K", ":"]).brokers(&at.kafka).stdin(lines).run();
    assert_eq!(produced.code, Some(0), "{:?}", produced.stderr);
    let client = postgres.client().await;
    client.batch_execute(postgres_sink::TABLES).await.expect("tables");
    let (group, database) = (unique("stock"), postgres.address());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sink = || {
        let (of, database, mut stopped) = (consumer(at, &group), database.clone(), stopped.clone());
        tokio::spawn(async move {
            let ended = postgres_sink::run(of, &database, async {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
            ended.await.map_err(|error| error.to_string())
        })
    };
    for kill_after in [700, 900, 1100] {
        let dies = sink();
        tokio::time::sleep(Duration::from_millis(kill_after)).await;
        dies.abort();
    }
    let last = [sink(), sink()];
    let deadline = Instant::now() + PATIENCE;
    let wanted: i64 = (0..RECORDS).map(|nth| i64::try_from(nth % 7).expect("small")).sum();
    loop {
        let sum = "SELECT COALESCE(SUM(sold), 0)::BIGINT FROM stock";
        let sold: i64 = client.query_one(sum, &[]).await.expect("what is sold").get(0);
        if sold >= wanted || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.send(true).expect("they run");
    for ended in last {
        let summary = ended.await.expect("it did not panic").expect("it ended as it was asked to");
        assert!(summary.is_clean(), "{summary:?}");
    }
    let rows = client.query("SELECT item, sold FROM stock", &[]).await.expect("what is sold");
    let sold: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut expected = BTreeMap::<String, i64>::new();
    for nth in 0..RECORDS {
        *expected.entry(format!("item-{}", nth % 40)).or_default() += i64::try_from(nth % 7).expect("small");
    }
    assert_eq!(sold, expected);
}
