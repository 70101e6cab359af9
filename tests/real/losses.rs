//! A log that changes under its reader: records are deleted, the topic is created again, an election loses the end of
//! the log. Losses are reported, and no later record is read from the wrong place.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::{Consumer, ErrorKind, Event};
use offtake_tests::{RecordSpec, Shared, V4_3_0, shared, three_brokers, unique};
use serde_json::{Value, json};

use crate::flow::{self, PATIENCE, printed};
use crate::library::{A_MOMENT, at, more, program};

/// Offsets and values in order of arrival.
type Read = Vec<(i64, String)>;

struct Reader {
    consumer: Consumer,
    told: Arc<Mutex<Vec<Event>>>,
    read: Read,
}

impl Reader {
    /// A reader of one partition by hand; one batch per fetch, and little fetched ahead.
    async fn of(of: &Shared, topic: &str, policy: &str) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let events = Arc::clone(&told);
        let builder = Consumer::builder(of.kafka.bootstrap()).property("auto.offset.reset", policy);
        let builder =
            builder.property("max.partition.fetch.bytes", "1").property("fetch.buffer.max.bytes", "1");
        let builder = builder.property("max.poll.records", "10").property("metadata.max.age.ms", "1000");
        let builder = builder.events(move |event| events.lock().unwrap().push(event));
        let mut consumer = builder.build().await.unwrap();
        let start = offtake::StartAt::Offset(0.into());
        consumer.assign([(at(topic, 0), start)]).await.unwrap();
        Self { consumer, told, read: Read::new() }
    }

    /// Polls until this many records have arrived in all, or it fails.
    async fn read(&mut self, count: usize) -> offtake::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.read.len() < count {
            assert!(Instant::now() < deadline, "{} of {count}: {:?}", self.read.len(), self.told);
            for record in &self.consumer.poll(A_MOMENT).await? {
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                self.read.push((record.offset(), value));
            }
        }
        Ok(())
    }

    /// Every reset so far: from, to and why.
    fn resets(&self) -> Vec<(Option<i64>, i64, String)> {
        let told = self.told.lock().unwrap();
        let reset = |event: &Event| match event {
            Event::Reset { from, to, reason, .. } => Some((*from, *to, reason.to_string())),
            _ => None,
        };
        told.iter().filter_map(reset).collect()
    }
}

/// Twenty batches of ten records in one partition.
fn two_hundred(of: &Shared) -> String {
    let topic = of.tool.create_topic(&unique("losses"), 1, &[]);
    (0..20).for_each(|_| more(of, &topic, 1, 10, "gzip"));
    topic
}

#[test]
fn l1_records_deleted_before_a_lagging_reader_are_a_reset_that_is_told() {
    program(async {
        let of = shared(V4_3_0);
        let topic = two_hundred(of);
        let mut reader = Reader::of(of, &topic, "earliest").await;
        reader.read(10).await.unwrap();
        assert_eq!(of.tool.delete_records(&topic, 0, 155), 155);
        more(of, &topic, 1, 5, "none");
        // Records fetched before are handed out, the others are gone.
        while reader.read.last().is_none_or(|(last, _)| *last < 204) {
            let count = reader.read.len();
            reader.read(count + 1).await.unwrap();
        }
        let resets = reader.resets();
        let [(Some(from), 155, reason)] = resets.as_slice() else { panic!("{resets:?}") };
        assert!((10..155).contains(from) && reason.contains("out of range"), "{resets:?}");
        let offsets: Vec<i64> = reader.read.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (0..*from).chain(155..205).collect::<Vec<_>>());
        reader.consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn l1_records_deleted_before_a_lagging_reader_are_an_error_where_there_is_no_policy() {
    program(async {
        let of = shared(V4_3_0);
        let topic = two_hundred(of);
        let mut reader = Reader::of(of, &topic, "none").await;
        reader.read(10).await.unwrap();
        of.tool.delete_records(&topic, 0, 155);
        let error = reader.read(200).await.unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::NoOffset, Some(&at(&topic, 0))), "{error}");
        // It stays at its position, until the application decides.
        let stopped = reader.read.len();
        assert!(reader.consumer.poll(A_MOMENT).await.unwrap().is_empty());
        assert_eq!((reader.read.len(), reader.resets()), (stopped, Vec::new()));
        reader.consumer.seek(at(&topic, 0), offtake::StartAt::Earliest).await.unwrap();
        reader.read(stopped + 45).await.unwrap();
        assert_eq!(reader.read[stopped].0, 155);
        reader.consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn b3_a_topic_that_is_made_anew_is_read_from_its_beginning() {
    program(async {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("losses"), 1, &[]);
        let produce = |what: &str, count: usize| {
            let spec = |nth: usize| RecordSpec::to(&topic).partition(0).value(format!("{what} {nth}"));
            of.tool.produce(&(0..count).map(spec).collect::<Vec<_>>());
        };
        produce("old", 50);
        let mut reader = Reader::of(of, &topic, "earliest").await;
        reader.read(50).await.unwrap();
        of.tool.delete_topic(&topic);
        of.tool.create_topic(&topic, 1, &[]);
        // More than before: the old position is within the new log.
        produce("new", 80);
        reader.read(130).await.unwrap();
        let expected =
            |what: &str, count: i64| -> Read { (0..count).map(|at| (at, format!("{what} {at}"))).collect() };
        assert_eq!(reader.read, [expected("old", 50), expected("new", 80)].concat());
        let resets = reader.resets();
        assert!(
            matches!(resets.as_slice(), [(Some(50), 0, reason)] if reason.contains("created again")),
            "{resets:?}"
        );
        reader.consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn b3_a_topic_that_is_made_anew_is_read_and_committed_from_its_beginning_by_a_member() {
    let of = shared(V4_3_0);
    let (topic, group) = (of.tool.create_topic(&unique("losses"), 1, &[]), unique("group"));
    let produce = |what: &str, count: usize| {
        let spec = |nth: usize| RecordSpec::to(&topic).partition(0).value(format!("{what} {nth}"));
        of.tool.produce(&(0..count).map(spec).collect::<Vec<_>>());
    };
    let wait = |what: &str, enough: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !enough() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let committed = || flow::committed(&of.tool, &group, &topic).get(&0).copied();
    produce("old", 50);
    let member = flow::member(&of.kafka, &topic, &group, "cooperative-sticky", Duration::from_secs(6));
    wait("all is committed", &|| committed() == Some(50));
    of.tool.delete_topic(&topic);
    of.tool.create_topic(&topic, 1, &[]);
    produce("new", 80);
    wait("all of the new one is read", &|| member.stdout().len() >= 130);
    wait("all of the new one is committed", &|| committed() == Some(80));
    member.signal("TERM");
    let finished = member.finish(PATIENCE);
    assert_eq!(finished.code, Some(0), "{:#?}", finished.stderr);
    let read: Vec<String> = printed(&finished.stdout, false).into_iter().map(|record| record.value).collect();
    let part = |what: &'static str, count: i64| (0..count).map(move |nth| format!("{what} {nth}"));
    assert_eq!(read, part("old", 50).chain(part("new", 80)).collect::<Vec<_>>());
}

#[test]
fn l3_an_unclean_election_cuts_the_log_which_is_told_and_what_replaces_it_is_read() {
    let at = three_brokers();
    let topic = unique("losses");
    let configs = json!({ "unclean.leader.election.enable": "true", "min.insync.replicas": "1" });
    let args = json!({ "topic": topic, "partitions": 1, "replication": 2, "configs": configs });
    at.tool.call("create_topic", args).expect("Java makes the topic");
    let produce = |what: &str, count: usize| {
        let spec = |nth: usize| RecordSpec::to(&topic).partition(0).value(format!("{what} {nth}"));
        at.tool.produce(&(0..count).map(spec).collect::<Vec<_>>());
    };
    let replicas = |which: &str| -> Vec<i64> {
        let ids = at.tool.describe_topic(&topic)["partitions"][0][which].clone();
        ids.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
    };
    let leader = at.tool.leader(&topic, 0);
    let other = replicas("replicas").into_iter().find(|id| *id != i64::from(leader)).expect("a follower");
    let other = i32::try_from(other).expect("a node id");
    produce("kept", 20);
    let reader = flow::consume(&at.kafka, &topic).start();
    at.kafka.broker(other).stop();
    produce("lost", 20);
    assert!(reader.stdout().wait_until(PATIENCE, |lines| lines.len() == 40), "{:?}", reader.stderr().all());
    // The only broker with all records dies, and the other leads with those it has.
    at.kafka.broker(leader).kill9();
    at.kafka.broker(other).start();
    let deadline = Instant::now() + PATIENCE;
    while at.tool.leader(&topic, 0) != other {
        assert!(Instant::now() < deadline, "{}", at.tool.describe_topic(&topic));
        std::thread::sleep(Duration::from_millis(100));
    }
    produce("new", 30);
    assert!(reader.stdout().wait_until(PATIENCE, |lines| lines.len() >= 70), "{:?}", reader.stderr().all());
    reader.signal("TERM");
    let finished = reader.finish(PATIENCE);
    let read: Vec<(i64, String)> =
        printed(&finished.stdout, false).into_iter().map(|record| (record.offset, record.value)).collect();
    let part = |what: &'static str, from: i64, count: i64| {
        (0..count).map(move |nth| (from + nth, format!("{what} {nth}")))
    };
    let expected = part("kept", 0, 20).chain(part("lost", 20, 20)).chain(part("new", 20, 30));
    assert_eq!(read, expected.collect::<Vec<_>>());
    let truncated = finished.events("truncated");
    assert_eq!(truncated.len(), 1, "{:#?}", finished.stderr);
    assert_eq!((&truncated[0]["from"], &truncated[0]["to"]), (&json!(40), &json!(20)));
}
