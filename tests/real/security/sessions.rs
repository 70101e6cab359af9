//! Sessions that end, and credentials that change, while a group reads.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::security::Sasl;
use offtake::{Consumer, Event};
use offtake_tests::{RecordSpec, V4_3_0};

use super::{PASSWORD, SASL_CLEAR, SASL_TLS, Secured};
use crate::flow::PATIENCE;

/// How long records keep coming, and how many a second.
const SPAN: Duration = Duration::from_secs(20);
const RATE: u32 = 200;

/// A member of the group, on a thread of its own: what it read, when, and what it was told.
pub(super) struct Reader {
    read: Arc<Mutex<Vec<(i32, i64, Instant)>>>,
    told: Arc<Mutex<Vec<Event>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Reader {
    /// `sasl`: instead of what the properties say.
    fn start(bootstrap: String, topic: &str, properties: Vec<(String, String)>, sasl: Option<Sasl>) -> Self {
        let (read, told, stop) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let (topic, log, events, end) =
            (topic.to_owned(), Arc::clone(&read), Arc::clone(&told), Arc::clone(&stop));
        let run = async move {
            let told: Arc<Mutex<Vec<Event>>> = events;
            let mut consumer = Consumer::builder(bootstrap)
                .group("readers")
                .property("auto.offset.reset", "earliest")
                .property("partition.assignment.strategy", "cooperative-sticky")
                .properties(properties)
                .configure(|config| config.client.security.sasl = sasl)
                .events(move |event| told.lock().unwrap().push(event))
                .build()
                .await
                .unwrap();
            consumer.subscribe(&topic).await.unwrap();
            let read: Arc<Mutex<Vec<(i32, i64, Instant)>>> = log;
            while !end.load(Ordering::Relaxed) {
                let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
                let now = Instant::now();
                read.lock()
                    .unwrap()
                    .extend(records.iter().map(|record| (record.partition(), record.offset(), now)));
            }
            consumer.close(PATIENCE).await.unwrap();
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run);
        });
        Self { read, told, stop, thread }
    }

    /// Leaves, and gives what it read.
    fn finish(self) -> (Vec<(i32, i64, Instant)>, Vec<Event>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (std::mem::take(&mut self.read.lock().unwrap()), std::mem::take(&mut self.told.lock().unwrap()))
    }
}

/// Records come for a while and `change` is done in the middle; three members read them all, each once, without a rebalance after the
/// first.
pub(super) fn all_is_read_once(secured: &Secured, readers: Vec<Reader>, topic: &str, change: impl FnOnce()) {
    let mut change = Some(change);
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < SPAN {
        let due = u32::try_from(start.elapsed().as_millis()).unwrap() * RATE / 1000;
        let spec = |nth: u32| RecordSpec::to(topic).partition((nth % 6) as i32).value(format!("v{nth}"));
        let batch: Vec<_> = (sent..due.max(sent)).map(spec).collect();
        if !batch.is_empty() {
            secured.tool.produce(&batch);
        }
        sent = due.max(sent);
        if start.elapsed() > SPAN / 2
            && let Some(change) = change.take()
        {
            change();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let count = || readers.iter().map(|reader| reader.read.lock().unwrap().len()).sum::<usize>();
    let deadline = Instant::now() + PATIENCE;
    while count() < sent as usize && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut seen = BTreeSet::new();
    let mut worst = Duration::ZERO;
    for (read, told) in readers.into_iter().map(Reader::finish) {
        for pair in read.windows(2) {
            worst = worst.max(pair[1].2 - pair[0].2);
        }
        for (partition, offset, _) in &read {
            assert!(seen.insert((*partition, *offset)), "{partition} {offset} was read twice");
        }
        // Members come one after the other, so that partitions may move up to twice; afterwards nothing happens.
        let errors: Vec<_> = told.iter().filter(|event| matches!(event, Event::Error(_))).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let late = told.iter().filter(|event| matches!(event, Event::Lost(_))).count();
        assert_eq!(late, 0, "{told:?}");
    }
    println!("{sent} records, the longest gap between two polls with records of a member {worst:?}");
    assert_eq!(seen.len(), sent as usize, "each record is read");
}

pub(super) fn members(
    secured: &Secured,
    listener: &str,
    topic: &str,
    properties: &[(&str, String)],
) -> Vec<Reader> {
    start(secured, listener, topic, properties, || None)
}

/// With credentials by value.
pub(super) fn members_with(
    secured: &Secured,
    listener: &str,
    topic: &str,
    sasl: impl Fn() -> Sasl,
) -> Vec<Reader> {
    start(secured, listener, topic, &[], || Some(sasl()))
}

fn start(
    secured: &Secured,
    listener: &str,
    topic: &str,
    properties: &[(&str, String)],
    sasl: impl Fn() -> Option<Sasl>,
) -> Vec<Reader> {
    let properties: Vec<(String, String)> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let one = |_| Reader::start(secured.kafka.listener(listener), topic, properties.clone(), sasl());
    (0..3).map(one).collect()
}

#[test]
fn sessions_of_three_seconds_are_renewed_under_load_and_nothing_is_lost() {
    let secured = Secured::start_with(V4_3_0, |builder| {
        builder.brokers(3).property("listener.name.saslclear.connections.max.reauth.ms", 3000)
    });
    let topic = secured.tool.create_topic("orders", 6, &[]);
    let readers = members(
        &secured,
        SASL_CLEAR,
        &topic,
        &[
            ("security.protocol", "SASL_PLAINTEXT".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-256".to_owned()),
            ("sasl.username", "alice".to_owned()),
            ("sasl.password", PASSWORD.to_owned()),
        ],
    );
    all_is_read_once(&secured, readers, &topic, || {});
}

#[test]
fn a_password_that_is_rotated_is_used_without_a_restart_or_a_rebalance() {
    let secured = Secured::start_with(V4_3_0, |builder| {
        builder.property("listener.name.sasltls.connections.max.reauth.ms", 3000)
    });
    let topic = secured.tool.create_topic("orders", 6, &[]);
    let file = secured.settings("secrets.properties", "password=first\n");
    secured.tool.user("bob", "first", "SCRAM-SHA-512", 4096);
    let readers = members(
        &secured,
        SASL_TLS,
        &topic,
        &[
            ("config.providers", "file".to_owned()),
            ("security.protocol", "SASL_SSL".to_owned()),
            ("ssl.ca.location", secured.path("ca.pem").display().to_string()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", "bob".to_owned()),
            ("sasl.password", format!("${{file:{}:password}}", file.display())),
        ],
    );
    // The file first: what begins a session in between fails once, and is tried again.
    all_is_read_once(&secured, readers, &topic, || {
        fs::write(&file, "password=second\n").unwrap();
        secured.tool.user("bob", "second", "SCRAM-SHA-512", 4096);
    });
}
