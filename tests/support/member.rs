//! A Java consumer as a member of a group, for mixed groups and for comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::growing::Growing;
use crate::java::{Answer, JavaTool, partition};
use crate::kafka::Kafka;

/// The settings of a member; `JavaMember::of` makes one.
#[derive(Debug)]
pub struct MemberBuilder {
    tool: JavaTool,
    alone: bool,
    args: Map<String, Value>,
    configs: Map<String, Value>,
}

impl MemberBuilder {
    /// Sets the topics that it subscribes to.
    pub fn topics(mut self, topics: &[&str]) -> Self {
        self.args.insert("topics".into(), json!(topics));
        self
    }

    /// Its assignors, in order of preference: `range` (the default), `roundrobin`, `sticky`, `cooperative-sticky`.
    pub fn assignors(mut self, assignors: &[&str]) -> Self {
        self.args.insert("assignors".into(), json!(assignors));
        self
    }

    /// `session.timeout.ms`, by default 6 s.
    pub fn session(mut self, timeout: Duration) -> Self {
        self.args.insert("session".into(), json!(timeout.as_millis()));
        self
    }

    /// `group.instance.id`.
    pub fn instance(mut self, id: &str) -> Self {
        self.args.insert("instance".into(), json!(id));
        self
    }

    /// Any other property of Java's consumer.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.configs.insert(key.into(), json!(value));
        self
    }

    /// Begins to poll; it joins in the background.
    pub fn start(mut self) -> JavaMember {
        self.args.insert("configs".into(), Value::Object(self.configs));
        let (id, answers) = self.tool.jvm.send("member", &self.tool.bootstrap, Value::Object(self.args));
        let events = Growing::default();
        let heard = events.clone();
        std::thread::Builder::new()
            .name("java-member".into())
            .spawn(move || {
                for answer in answers {
                    match answer {
                        Answer::Row(event) => heard.push(event),
                        Answer::Done(_) => heard.push(json!({ "event": "stopped" })),
                        Answer::Failed(why) => heard.push(json!({ "event": "failed", "message": why })),
                    }
                }
                heard.close();
            })
            .expect("a thread can be started");
        JavaMember { tool: self.tool, alone: self.alone, id, events }
    }
}

/// A live member. Polls, commits polled records before it polls again, and reports events. Dropping it makes it leave,
/// without waiting for that.
#[derive(Debug)]
pub struct JavaMember {
    tool: JavaTool,
    alone: bool,
    id: u64,
    events: Growing<Value>,
}

impl JavaMember {
    /// A member in the JVM that all tests share.
    pub fn of(kafka: &Kafka, group: &str) -> MemberBuilder {
        Self::with(JavaTool::start(kafka), group, false)
    }

    /// The same in a cluster that is not Kafka's.
    pub fn at(tool: &JavaTool, group: &str) -> MemberBuilder {
        Self::with(tool.clone(), group, false)
    }

    /// A member in a JVM of its own, which can be killed.
    pub fn alone(kafka: &Kafka, group: &str) -> MemberBuilder {
        Self::with(JavaTool::start_alone(kafka), group, true)
    }

    fn with(tool: JavaTool, group: &str, alone: bool) -> MemberBuilder {
        let mut args = Map::new();
        args.insert("group".into(), json!(group));
        args.insert("assignors".into(), json!(["range"]));
        MemberBuilder { tool, alone, args, configs: Map::new() }
    }

    /// Its events so far: `assigned`, `revoked`, `lost`, `committed` in the format of `offtake consume --events`,
    /// `records` (`"records": [[topic, partition, offset]…]`), `error`, and last `stopped` or `failed`.
    pub fn events(&self) -> &Growing<Value> {
        &self.events
    }

    /// The partitions that it holds, by its own account.
    pub fn owned(&self) -> BTreeSet<(String, i32)> {
        owned(&self.events.all())
    }

    /// The generation of its last rebalance.
    pub fn generation(&self) -> Option<i64> {
        self.events.all().iter().rev().find_map(|event| event["generation"].as_i64())
    }

    /// Every record it got, as `(topic, partition) → offsets` in order of arrival.
    pub fn records(&self) -> BTreeMap<(String, i32), Vec<i64>> {
        records(&self.events.all())
    }

    /// Waits until `enough` accepts its records; fails the test if that does not happen.
    pub fn wait_records(
        &self,
        patience: Duration,
        mut enough: impl FnMut(&BTreeMap<(String, i32), Vec<i64>>) -> bool,
    ) {
        let came = self.events.wait_until(patience, |events| enough(&records(events)));
        assert!(came, "after {patience:?} the Java member was given {:?}", self.records());
    }

    /// Waits until `enough` accepts its partitions; fails the test if that does not happen.
    pub fn wait_owned(&self, patience: Duration, mut enough: impl FnMut(&BTreeSet<(String, i32)>) -> bool) {
        let came = self.events.wait_until(patience, |events| enough(&owned(events)));
        assert!(
            came,
            "after {patience:?} the Java member holds {:?}; events: {:?}",
            self.owned(),
            self.events.all()
        );
    }

    /// Leaves the group and waits until it has.
    pub fn stop(self) {
        self.tool.jvm.send("stop", &self.tool.bootstrap, json!({ "member": self.id }));
        let gone = |event: &Value| matches!(event["event"].as_str(), Some("stopped" | "failed"));
        let last = self.events.wait_for(Duration::from_secs(60), gone);
        assert_eq!(
            last.map(|event| event["event"].clone()),
            Some(json!("stopped")),
            "the Java member did not stop well"
        );
    }

    /// `kill -9` of a member that is [`alone`](Self::alone) in its JVM.
    pub fn kill9(&self) {
        self.tool.kill9();
    }
}

impl Drop for JavaMember {
    fn drop(&mut self) {
        self.tool.jvm.send("stop", &self.tool.bootstrap, json!({ "member": self.id }));
        if self.alone && Arc::strong_count(&self.tool.jvm) == 1 {
            self.tool.jvm.kill9();
        }
    }
}

fn owned(events: &[Value]) -> BTreeSet<(String, i32)> {
    let last = events.iter().rev().find_map(|event| event["owned"].as_array());
    last.map(|owned| owned.iter().filter_map(partition).collect()).unwrap_or_default()
}

fn records(events: &[Value]) -> BTreeMap<(String, i32), Vec<i64>> {
    let mut all: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "records") {
        for record in event["records"].as_array().map(Vec::as_slice).unwrap_or_default() {
            if let (Some(partition), Some(offset)) = (partition(record), record[2].as_i64()) {
                all.entry(partition).or_default().push(offset);
            }
        }
    }
    all
}
