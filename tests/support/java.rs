//! Java's own clients in one JVM that serves many commands (`tests/java/Tool.java` has the other half).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::command::Offtake;
use crate::kafka::{Kafka, Version};
use crate::process::Process;
use crate::reaper;
use crate::record::RecordSpec;

/// The longest that one command may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long brokers may take to hear of a topic that one of them has created.
const HEARD_OF: Duration = Duration::from_secs(20);

/// A `java` that starts fast and stays small, with all jars of a version on its class path.
pub(crate) fn jvm(home: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    // An archive of another JVM, or of other jars, is ignored; without `-Xlog:disable` a message about that would be on stdout.
    let archive = home.join("classes.jsa");
    if archive.exists() {
        command.arg("-Xlog:disable").arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    }
    command
        .arg(format!("-Xmx{heap}"))
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto"])
        .args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ])
        .arg("-cp")
        .arg(classes(home));
    command
}

/// All jars of a version: those of Kafka first, in the order of the archive of their classes.
pub(crate) fn classes(home: &Path) -> OsString {
    let mut classes = OsString::from(home.join("libs/*"));
    classes.push(":");
    classes.push(home.join("tool/tool.jar"));
    classes
}

/// One line of the JVM's answer to one command.
pub(crate) enum Answer {
    Row(Value),
    Done(Value),
    Failed(String),
}

type Waiting = Arc<Mutex<BTreeMap<u64, Sender<Answer>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) struct Jvm {
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    process: Mutex<Process>,
}

impl Jvm {
    fn start() -> Arc<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // The newest clients work with every broker since 2.1, so one JVM serves all clusters.
        let home = Version::V4_3_0.home();
        let log = reaper::folder().join(format!("tool-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let log = std::fs::File::create(log).expect("a log file can be opened");
        let mut command = jvm(&home, "512m");
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg("Tool");
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log));
        let stdin = Mutex::new(process.child().stdin.take().expect("a pipe"));
        let stdout = process.child().stdout.take().expect("a pipe");
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("java-tool".into())
            .spawn(move || {
                for line in BufReader::with_capacity(1 << 16, stdout).lines().map_while(Result::ok) {
                    deliver(&answers, &line);
                }
                lock(&answers).clear(); // waiting callers see that no answer will come
            })
            .expect("a thread can be started");
        Arc::new(Self { stdin, waiting, next: AtomicU64::new(1), process: Mutex::new(process) })
    }

    /// The JVM of this test process. It ends when its stdin does, with the process.
    fn shared() -> &'static Arc<Self> {
        SHARED.get_or_init(Self::start)
    }

    /// Sends a command; its answers come through the receiver, which hangs up when the JVM ends.
    pub(crate) fn send(&self, verb: &str, bootstrap: &str, mut args: Value) -> (u64, Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let fields = args.as_object_mut().expect("arguments are an object");
        fields.insert("id".into(), json!(id));
        fields.insert("do".into(), json!(verb));
        fields.insert("bootstrap".into(), json!(bootstrap));
        let (sender, receiver) = channel();
        lock(&self.waiting).insert(id, sender);
        let mut line = args.to_string();
        line.push('\n');
        if lock(&self.stdin).write_all(line.as_bytes()).is_err() {
            lock(&self.waiting).remove(&id);
        }
        (id, receiver)
    }

    pub(crate) fn kill9(&self) {
        lock(&self.process).kill9();
    }
}

static SHARED: OnceLock<Arc<Jvm>> = OnceLock::new();

fn deliver(waiting: &Waiting, line: &str) {
    let Ok(Value::Object(mut answer)) = serde_json::from_str::<Value>(line) else {
        eprintln!("java tool: {line}");
        return;
    };
    let id = answer.get("id").and_then(Value::as_u64).unwrap_or_default();
    let mut waiting = lock(waiting);
    let message = if let Some(row) = answer.remove("row") {
        Answer::Row(row)
    } else if let Some(done) = answer.remove("done") {
        Answer::Done(done)
    } else {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Answer::Failed(format!("{}: {}", text("kind"), text("failed")))
    };
    let last = !matches!(message, Answer::Row(_));
    if let Some(sender) = waiting.get(&id) {
        sender.send(message).ok();
    }
    if last {
        waiting.remove(&id);
    }
}

/// Closes the shared JVM's clients of a cluster that goes away.
pub(crate) fn forget(bootstrap: &str) {
    if let Some(jvm) = SHARED.get() {
        jvm.send("forget", bootstrap, json!({}));
    }
}

/// Java's producer, consumer and admin client on one cluster. Every method panics when Java refuses, with Java's reason.
#[derive(Clone)]
pub struct JavaTool {
    pub(crate) jvm: Arc<Jvm>,
    pub(crate) bootstrap: String,
}

impl std::fmt::Debug for JavaTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JavaTool").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl JavaTool {
    /// Uses the JVM that all tests of this process share; it costs about a second the first time only.
    pub fn start(kafka: &Kafka) -> Self {
        Self { jvm: Arc::clone(Jvm::shared()), bootstrap: kafka.direct() }
    }

    /// The same for a cluster that is not Kafka's.
    pub fn at(bootstrap: &str) -> Self {
        Self { jvm: Arc::clone(Jvm::shared()), bootstrap: bootstrap.to_owned() }
    }

    /// Has a JVM of its own, for tests that kill it.
    pub fn start_alone(kafka: &Kafka) -> Self {
        Self { jvm: Jvm::start(), bootstrap: kafka.direct() }
    }

    /// One of Kafka's own programs, by its class, in a JVM of its own, with arguments separated by blanks. They differ
    /// in the option for the cluster's address.
    pub fn program(&self, class: &str, args: &str) -> Offtake {
        let jvm = jvm(&Version::V4_3_0.home(), "256m");
        Offtake::new(jvm.get_args())
            .instead(jvm.get_program())
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", class])
            .args(args.split_whitespace())
    }

    /// Java's `kafka-consumer-groups` on this cluster.
    pub fn consumer_groups(&self, args: &str) -> Offtake {
        const CLASS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        self.program(CLASS, &format!("--bootstrap-server {} {args}", self.bootstrap))
    }

    /// Calls any verb of `tests/java`, with its arguments; returns rows, then the result. Errors are Java's.
    pub fn call(&self, verb: &str, args: Value) -> Result<(Vec<Value>, Value), String> {
        let (_, answers) = self.jvm.send(verb, &self.bootstrap, args);
        let mut rows = Vec::new();
        loop {
            match answers.recv_timeout(PATIENCE) {
                Ok(Answer::Row(row)) => rows.push(row),
                Ok(Answer::Done(done)) => return Ok((rows, done)),
                Ok(Answer::Failed(why)) => return Err(why),
                Err(_) => return Err(format!("the JVM ended, or took more than {PATIENCE:?}")),
            }
        }
    }

    fn ask(&self, verb: &str, args: Value) -> Value {
        self.call(verb, args.clone()).unwrap_or_else(|why| panic!("java {verb} {args}: {why}")).1
    }

    // Records.

    /// Produces uncompressed, all in one batch per partition where they fit; returns the offsets, in the order of `records`.
    pub fn produce(&self, records: &[RecordSpec]) -> Vec<i64> {
        self.produce_with(records, json!({}))
    }

    /// The same with a codec: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn produce_in(&self, codec: &str, records: &[RecordSpec]) -> Vec<i64> {
        self.produce_with(records, json!({ "codec": codec }))
    }

    /// The same as part of the open transaction of an id.
    pub fn produce_within(&self, transaction: &str, records: &[RecordSpec]) -> Vec<i64> {
        self.produce_with(records, json!({ "transaction": transaction }))
    }

    /// The same with any of `codec`, `transaction`, `batch_size` (bytes), `flush_every` (records, where a batch ends)
    /// and `idempotent` (must be false where a log has a format before 2).
    pub fn produce_with(&self, records: &[RecordSpec], mut options: Value) -> Vec<i64> {
        options["records"] = records.iter().map(RecordSpec::to_json).collect();
        let done = self.call("produce", options).unwrap_or_else(|why| panic!("java produce: {why}")).1;
        let offsets = done["offsets"].as_array().map(Vec::as_slice).unwrap_or_default();
        offsets.iter().filter_map(|each| each[2].as_i64()).collect()
    }

    /// Opens a transaction; there is one producer per id, which on first use fences the last one of that id.
    pub fn begin(&self, transaction: &str) {
        self.ask("begin", json!({ "transaction": transaction }));
    }

    /// The same with a codec, which counts at the first use of the id.
    pub fn begin_in(&self, codec: &str, transaction: &str) {
        self.ask("begin", json!({ "transaction": transaction, "codec": codec }));
    }

    /// Commits the transaction.
    pub fn commit(&self, transaction: &str) {
        self.ask("commit", json!({ "transaction": transaction }));
    }

    /// Aborts the transaction.
    pub fn abort(&self, transaction: &str) {
        self.ask("abort", json!({ "transaction": transaction }));
    }

    /// Writes `count` records of `size` bytes of seeded text, over `partitions` in turn. `options` may contain `codec`,
    /// `key` (bool), `headers` (how many), `seed`, `create` (bool) with `configs`, `batch_size`.
    pub fn fill(&self, topic: &str, partitions: i32, count: u64, size: usize, mut options: Value) {
        options["topic"] = json!(topic);
        options["partitions"] = json!(partitions);
        options["count"] = json!(count);
        options["size"] = json!(size);
        self.ask("fill", options);
    }

    /// Every record from the first to the end (under `read_committed` the last stable offset) by topic, partition and
    /// offset, each as `offtake consume --json` prints it.
    pub fn read(&self, topics: &[&str], isolation: &str) -> Vec<Value> {
        let args = json!({ "topics": topics, "isolation": isolation });
        self.call("read", args).unwrap_or_else(|why| panic!("java read {topics:?}: {why}")).0
    }

    /// `records`, `bytes`, `seconds`, `order_errors` and `checksum` (as text) of `offtake bench consume`.
    pub fn checksum(&self, topics: &[&str], headers: bool) -> Value {
        self.ask("checksum", json!({ "topics": topics, "headers": headers }))
    }

    // Topics.

    /// Creates a topic and returns its name once every partition has a leader.
    pub fn create_topic(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let configs: Map<String, Value> =
            configs.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
        self.ask("create_topic", json!({ "topic": topic, "partitions": partitions, "configs": configs }));
        topic.into()
    }

    /// Removes a topic.
    pub fn delete_topic(&self, topic: &str) {
        self.ask("delete_topic", json!({ "topic": topic }));
    }

    /// Extends the topic to `partitions`.
    pub fn create_partitions(&self, topic: &str, partitions: i32) {
        self.ask("create_partitions", json!({ "topic": topic, "partitions": partitions }));
    }

    /// Sets configs of a topic.
    pub fn alter_configs(&self, topic: &str, configs: &[(&str, &str)]) {
        let configs: Map<String, Value> =
            configs.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
        self.ask("alter_configs", json!({ "topic": topic, "configs": configs }));
    }

    /// Sets configs of a running broker. Java waits until the cluster has accepted them; the broker follows soon.
    pub fn alter_broker(&self, broker: i32, configs: &[(&str, &str)]) {
        let configs: Map<String, Value> =
            configs.iter().map(|(key, value)| ((*key).into(), json!(value))).collect();
        self.ask("alter_broker", json!({ "broker": broker, "configs": configs }));
    }

    /// `topic`, `topic_id`, `partitions`: `{partition, leader, replicas, isr}` each. The topic must exist; the broker that is asked may
    /// not have heard of it yet.
    pub fn describe_topic(&self, topic: &str) -> Value {
        let began = Instant::now();
        loop {
            match self.call("describe_topic", json!({ "topic": topic })) {
                Ok((_, described)) => return described,
                Err(why) if why.contains("UnknownTopicOrPartition") && began.elapsed() < HEARD_OF => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(why) => panic!("java describe_topic {topic}: {why}"),
            }
        }
    }

    /// The node id of a partition's leader.
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let topic = self.describe_topic(topic);
        let leader = topic["partitions"][usize::try_from(partition).expect("a partition")]["leader"].as_i64();
        leader.and_then(|id| i32::try_from(id).ok()).expect("a leader")
    }

    /// Makes broker `to` lead a partition, moving a replica there if necessary; returns when it does.
    pub fn move_leader(&self, topic: &str, partition: i32, to: i32) {
        self.ask("move_leader", json!({ "topic": topic, "partition": partition, "to": to }));
    }

    /// Removes the records before an offset (−1: all); returns the new low watermark.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> i64 {
        let done =
            self.ask("delete_records", json!({ "topic": topic, "partition": partition, "before": before }));
        done["low_watermark"].as_i64().expect("a low watermark")
    }

    /// Offsets by partition at `earliest`, `latest`, `max_timestamp` or epoch milliseconds (−1 where there is none).
    pub fn list_offsets(&self, topic: &str, at: &str, isolation: &str) -> Vec<i64> {
        let done = self.ask("list_offsets", json!({ "topic": topic, "at": at, "isolation": isolation }));
        done["offsets"]
            .as_array()
            .map(|all| all.iter().filter_map(|each| each[1].as_i64()).collect())
            .unwrap_or_default()
    }

    /// Makes the log cleaner compact a topic now and waits for it. Adds records with the key `roll`, which end
    /// segments; with `tombstones` those are cleaned away too.
    pub fn compact(&self, topic: &str, tombstones: bool) {
        self.ask("compact", json!({ "topic": topic, "tombstones": tombstones }));
    }

    // Groups.

    /// `group`, `state`, `type` of each.
    pub fn list_groups(&self) -> Vec<Value> {
        self.ask("list_groups", json!({}))["groups"].as_array().cloned().unwrap_or_default()
    }

    /// `group`, `state`, `type`, `assignor`, `coordinator` (node id), `members` as `offtake groups describe --json`.
    pub fn describe_group(&self, group: &str) -> Value {
        self.ask("describe_group", json!({ "group": group }))
    }

    /// Deletes an empty group.
    pub fn delete_group(&self, group: &str) {
        self.ask("delete_group", json!({ "group": group }));
    }

    /// A group's committed offsets, by topic and partition.
    pub fn committed(&self, group: &str) -> BTreeMap<(String, i32), i64> {
        let done = self.ask("committed", json!({ "group": group }));
        let all = done["offsets"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(|each| Some((partition(each)?, each[2].as_i64()?))).collect()
    }

    /// Commits for a group without members.
    pub fn alter_offsets(&self, group: &str, offsets: &[(&str, i32, i64)]) {
        self.ask("alter_offsets", json!({ "group": group, "offsets": offsets }));
    }

    /// Moves a group's coordinator to another broker (any, or this one); returns `(from, to)` when it is there.
    pub fn move_coordinator(&self, group: &str, to: Option<i32>) -> (i64, i64) {
        let done = self.ask("move_coordinator", json!({ "group": group, "to": to }));
        (done["from"].as_i64().unwrap_or(-1), done["to"].as_i64().unwrap_or(-1))
    }

    // Permissions, of a cluster with an authorizer.

    /// Makes the cluster refuse `operation` (`READ`, `DESCRIBE`) on a `resource` (`TOPIC`, `GROUP`) of that name to
    /// every client without a name, this tool included; all other operations on it stay allowed.
    pub fn forbid(&self, operation: &str, resource: &str, name: &str) {
        self.ask("forbid", json!({ "operation": operation, "resource": resource, "name": name }));
    }

    /// Undoes a [`forbid`](Self::forbid).
    pub fn permit(&self, operation: &str, resource: &str, name: &str) {
        self.ask("permit", json!({ "operation": operation, "resource": resource, "name": name }));
    }

    /// Allows `operation` on a `resource` of that name to a principal (`User:alice`), on a cluster that allows nothing else.
    pub fn grant(&self, principal: &str, operation: &str, resource: &str, name: &str) {
        let args =
            json!({ "principal": principal, "operation": operation, "resource": resource, "name": name });
        self.ask("grant", args);
    }

    /// Undoes a [`grant`](Self::grant).
    pub fn withdraw(&self, principal: &str, operation: &str, resource: &str, name: &str) {
        let args =
            json!({ "principal": principal, "operation": operation, "resource": resource, "name": name });
        self.ask("withdraw", args);
    }

    /// Creates a SCRAM user, or changes its password.
    pub fn user(&self, name: &str, password: &str, mechanism: &str, iterations: u32) {
        let iterations = iterations.to_string();
        let user =
            json!({ "name": name, "password": password, "mechanism": mechanism, "iterations": iterations });
        self.ask("user", user);
    }

    /// The assignment of Java's assignor of that name for a group, without a broker; see `tests/java/Assigning.java`.
    pub fn assign(&self, assignor: &str, topics: &[(&str, i32)], members: Value) -> Value {
        let topics: Map<String, Value> =
            topics.iter().map(|(topic, count)| ((*topic).into(), json!(count))).collect();
        self.ask("assign", json!({ "assignor": assignor, "topics": topics, "members": members }))
    }

    /// Kills the JVM of [`start_alone`](Self::start_alone), with everything in it.
    pub fn kill9(&self) {
        assert!(!Arc::ptr_eq(&self.jvm, Jvm::shared()), "this JVM belongs to all tests");
        self.jvm.kill9();
    }
}

/// The first two elements of `[topic, partition, …]`.
pub(crate) fn partition(pair: &Value) -> Option<(String, i32)> {
    Some((pair[0].as_str()?.to_owned(), i32::try_from(pair[1].as_i64()?).ok()?))
}
