//! Effects of an ACL that denies one topic of many, for a while, or the group. The application is told once, and
//! nothing else suffers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::{Builder, Consumer, Error, ErrorKind, Event};
use offtake_tests::{Lease, Oversleep, RecordSpec, guarded, unique};

use crate::flow::PATIENCE;
use crate::library::{A_MOMENT, program};

/// A consumer that is polled despite errors, with everything that it returned.
pub(crate) struct Application {
    pub(crate) consumer: Consumer,
    /// Offsets by topic, in order; topics here have one partition.
    pub(crate) read: BTreeMap<String, Vec<i64>>,
    pub(crate) errors: Vec<Error>,
    pub(crate) told: Arc<Mutex<Vec<Event>>>,
}

impl Application {
    async fn start(of: &Lease, group: &str, protocol: &str, topics: &[String]) -> Self {
        let builder = Consumer::builder(of.kafka.bootstrap());
        Self::start_with(builder, group, protocol, topics).await
    }

    pub(crate) async fn start_with(builder: Builder, group: &str, protocol: &str, topics: &[String]) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = Arc::clone(&told);
        let properties: &[(&str, &str)] = match protocol {
            "classic" => &[("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300")],
            _ => &[("group.protocol", "consumer")],
        };
        let common = [
            ("auto.offset.reset", "earliest"),
            ("metadata.max.age.ms", "1000"),
            ("auto.commit.interval.ms", "1000"),
        ];
        let builder = builder.group(group);
        let set = |builder: Builder, (name, value): &(&str, &str)| builder.property(name, value);
        let builder = properties.iter().chain(&common).fold(builder, set);
        let builder = builder.events(move |event| events.lock().unwrap().push(event));
        let mut consumer = builder.build().await.unwrap();
        consumer.subscribe(topics.iter().map(String::as_str)).await.unwrap();
        Self { consumer, read: BTreeMap::new(), errors: Vec::new(), told }
    }

    pub(crate) async fn poll(&mut self) {
        match self.consumer.poll(Duration::from_millis(100)).await {
            Ok(records) => {
                for record in &records {
                    self.read.entry(record.topic().to_owned()).or_default().push(record.offset());
                }
            }
            // A fatal error comes out of every poll: the application pauses between polls.
            Err(error) => {
                let is_new = self.errors.last().is_none_or(|last| last.to_string() != error.to_string());
                if is_new || !error.is_fatal() {
                    self.errors.push(error);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    pub(crate) async fn poll_for(&mut self, span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span {
            self.poll().await;
        }
    }

    /// Polls until this many records of each of these topics have arrived, each once and in order.
    pub(crate) async fn wait_read(&mut self, topics: &[String], each: i64) {
        let deadline = Instant::now() + PATIENCE;
        let count = |read: &BTreeMap<String, Vec<i64>>, of: &String| read.get(of).map_or(0, Vec::len) as i64;
        while topics.iter().any(|topic| count(&self.read, topic) < each) {
            assert!(Instant::now() < deadline, "{:?}; {:?}; {:?}", self.read, self.errors, self.told);
            self.poll().await;
        }
        for topic in topics {
            assert!(self.read[topic].iter().copied().eq(0..each), "{topic}: {:?}", self.read[topic]);
        }
    }

    /// The events so far about ownership of partitions, without the first assignment.
    pub(crate) fn changes(&self) -> Vec<Event> {
        let told = self.told.lock().unwrap();
        let change = |event: &&Event| matches!(event, Event::Revoked(_) | Event::Lost(_));
        told.iter().filter(change).cloned().collect()
    }

    /// Asserts that `poll` returned one refusal of this topic, with Kafka's reason, and no other error. Among the
    /// events, a commit may have been refused too, and no refusal is reported twice.
    pub(crate) fn assert_told_once(&self, topic: &str) {
        let [error] = self.errors.as_slice() else {
            panic!("told {} times: {:?}", self.errors.len(), self.errors)
        };
        assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
        assert!(error.to_string().contains(topic) && !error.is_fatal(), "{error}");
        let told = self.told.lock().unwrap();
        let mut errors = std::collections::BTreeSet::new();
        for event in told.iter() {
            if let Event::Error(error) = event {
                assert!(
                    error.to_string().contains(topic) && errors.insert(error.to_string()),
                    "again: {error}"
                );
            }
        }
    }
}

/// Writes five records to each.
fn fill(of: &Lease, topics: &[String]) {
    let specs = topics
        .iter()
        .flat_map(|topic| (0..5).map(|at| RecordSpec::to(topic).partition(0).value(at.to_string())));
    of.tool.produce(&specs.collect::<Vec<_>>());
}

fn topics(of: &Lease, count: usize) -> Vec<String> {
    (0..count).map(|_| of.tool.create_topic(&unique("orders"), 1, &[])).collect()
}

/// `operation`: the operation denied for one topic of ten. Without READ the topic is visible but cannot be fetched;
/// without DESCRIBE it is not even visible for an assignment.
fn one_of_ten(operation: &str, protocol: &str) {
    program(async {
        let of = guarded();
        let mut topics = topics(&of, 10);
        fill(&of, &topics);
        let refused = topics.remove(7);
        of.tool.forbid(operation, "TOPIC", &refused);
        let group = unique("group");
        let all: Vec<String> = topics.iter().chain([&refused]).cloned().collect();
        let mut application = Application::start(&of, &group, protocol, &all).await;
        application.wait_read(&topics, 5).await;
        fill(&of, &topics);
        application.wait_read(&topics, 10).await;
        // Several refreshes of metadata, several commits, and many fetches.
        application.poll_for(Duration::from_secs(3)).await;
        application.assert_told_once(&refused);
        assert!(application.changes().is_empty(), "{:?}", application.changes());
        assert!(!application.read.contains_key(&refused));
        let deadline = Instant::now() + PATIENCE;
        let committed = || of.tool.committed(&group);
        while !topics.iter().all(|topic| committed().get(&(topic.clone(), 0)) == Some(&10)) {
            assert!(Instant::now() < deadline, "{:?}", committed());
            application.poll_for(Duration::from_millis(500)).await;
        }
        // It is allowed again.
        of.tool.permit(operation, "TOPIC", &refused);
        application.wait_read(std::slice::from_ref(&refused), 5).await;
        application.assert_told_once(&refused);
        application.consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn b8_one_topic_of_ten_that_may_not_be_read_is_told_once_and_the_others_flow() {
    one_of_ten("READ", "classic");
}

#[test]
fn b8_one_topic_of_ten_that_may_not_be_seen_is_told_once_and_the_others_flow() {
    one_of_ten("DESCRIBE", "classic");
}

#[test]
fn b8_one_topic_of_ten_that_may_not_be_read_is_told_once_and_the_others_flow_by_the_consumer_protocol() {
    one_of_ten("READ", "consumer");
}

#[test]
fn b8_one_topic_of_ten_that_may_not_be_seen_is_told_once_and_the_others_flow_by_the_consumer_protocol() {
    one_of_ten("DESCRIBE", "consumer");
}

/// One topic is denied to its reader, and allowed again. Without DESCRIBE it disappears from the group, as it would
/// from Java's: the leader no longer sees such a topic.
fn taken_away_and_given_back(operation: &str, protocol: &str) {
    program(async {
        let of = guarded();
        let topics = topics(&of, 2);
        fill(&of, &topics);
        let mut application = Application::start(&of, &unique("group"), protocol, &topics).await;
        application.wait_read(&topics, 5).await;
        let (stays, goes) = topics.split_at(1);
        of.tool.forbid(operation, "TOPIC", &goes[0]);
        while application.errors.is_empty() {
            application.poll().await;
        }
        fill(&of, &topics);
        application.wait_read(stays, 10).await;
        application.poll_for(Duration::from_secs(3)).await;
        application.assert_told_once(&goes[0]);
        if operation == "READ" {
            assert!(application.changes().is_empty(), "{:?}", application.changes());
        }
        of.tool.permit(operation, "TOPIC", &goes[0]);
        application.wait_read(&topics, 10).await;
        application.assert_told_once(&goes[0]);
        println!("{operation}, {protocol}: {:?}", application.changes());
        application.consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn o5_a_permission_taken_away_is_told_once_and_reading_goes_on_when_it_is_restored() {
    taken_away_and_given_back("READ", "classic");
}

#[test]
fn o5_a_permission_taken_away_is_told_once_and_reading_goes_on_by_the_consumer_protocol() {
    taken_away_and_given_back("READ", "consumer");
}

#[test]
fn o5_a_topic_that_may_not_even_be_seen_any_more_is_read_on_when_it_may() {
    taken_away_and_given_back("DESCRIBE", "classic");
    taken_away_and_given_back("DESCRIBE", "consumer");
}

/// The group itself is denied: `poll` reports it, and the broker is not asked for it all the time.
fn group_refused(operation: &str, protocol: &str, while_running: bool) {
    program(async {
        let of = guarded();
        let topics = topics(&of, 1);
        fill(&of, &topics);
        let group = unique("group");
        if !while_running {
            of.tool.forbid(operation, "GROUP", &group);
        }
        let mut application = Application::start(&of, &group, protocol, &topics).await;
        if while_running {
            application.wait_read(&topics, 5).await;
            of.tool.forbid(operation, "GROUP", &group);
        }
        let deadline = Instant::now() + PATIENCE;
        while application.errors.is_empty() {
            assert!(Instant::now() < deadline, "poll says nothing: {:?}", application.told);
            application.poll().await;
        }
        let error = &application.errors[0];
        assert!(error.is_fatal() && error.to_string().contains(&group), "{error:?}");
        assert_eq!(error.code(), Some(offtake_wire::ErrorCode::GroupAuthorizationFailed));
        let proxy = of.kafka.proxy(1);
        let (before, _) = proxy.answers();
        application.poll_for(Duration::from_secs(2)).await;
        let asked = proxy.answers().0 - before;
        // Metadata, once a second.
        assert!(asked <= 8, "{asked} requests in two seconds after it was refused");
        assert!(application.errors.len() < 5, "{:?}", application.errors);
        let (machine, began) = (Oversleep::new(), Instant::now());
        application.consumer.close(A_MOMENT * 4).await.ok(); // it reports offsets that cannot be committed
        let took = began.elapsed();
        assert!(took < A_MOMENT * 5 + machine.allowance(), "{took:?}");
    });
}

#[test]
fn c6_a_group_that_may_not_be_joined_is_told_from_poll_and_not_asked_for_again() {
    group_refused("READ", "classic", false);
    group_refused("DESCRIBE", "classic", false);
}

#[test]
fn c6_a_group_that_may_not_be_joined_is_told_from_poll_by_the_consumer_protocol() {
    group_refused("READ", "consumer", false);
}

#[test]
fn c6_a_group_that_is_forbidden_to_its_member_is_told_from_poll() {
    group_refused("READ", "classic", true);
    group_refused("READ", "consumer", true);
}
