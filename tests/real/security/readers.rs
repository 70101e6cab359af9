//! A group of three that reads a topic with constant production, while its security is changed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offtake::security::Sasl;
use offtake::{Consumer, Event};

use offtake_tests::unique;

use super::Secured;
use crate::flow::{Log, PATIENCE, Production};

/// Two for each member.
const PARTITIONS: i32 = 6;

/// The pause between two batches of five records to a partition: about two hundred records per second in all.
const PACE: Duration = Duration::from_millis(130);

/// A topic for [`Readers`], with production until it is stopped.
pub(super) fn produce(secured: &Secured) -> (String, Production) {
    let topic = secured.tool.create_topic(&unique("orders"), PARTITIONS, &[]);
    let production = Production::paced(&secured.tool, &topic, PARTITIONS, PACE);
    (topic, production)
}

/// One record as it was read.
#[derive(Debug)]
struct Read {
    partition: i32,
    offset: i64,
    value: String,
    at: Instant,
}

/// A member of the group, on a thread of its own.
struct Reader {
    read: Arc<Mutex<Vec<Read>>>,
    told: Arc<Mutex<Vec<(Instant, Event)>>>,
    owned: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Reader {
    /// `sasl`: in place of the properties' settings.
    fn start(
        bootstrap: String,
        group: &str,
        topic: &str,
        properties: Vec<(String, String)>,
        sasl: Option<Sasl>,
    ) -> Self {
        let (read, told, owned, stop) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let (log, events, count, end) =
            (Arc::clone(&read), Arc::clone(&told), Arc::clone(&owned), Arc::clone(&stop));
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let run = async move {
            let log: Arc<Mutex<Vec<Read>>> = log;
            let events: Arc<Mutex<Vec<(Instant, Event)>>> = events;
            let (count, end): (Arc<AtomicUsize>, Arc<AtomicBool>) = (count, end);
            let mut consumer = Consumer::builder(bootstrap)
                .group(group)
                .property("auto.offset.reset", "earliest")
                .property("partition.assignment.strategy", "cooperative-sticky")
                .properties(properties)
                .configure(|config| config.client.security.sasl = sasl)
                .events(move |event| events.lock().unwrap().push((Instant::now(), event)))
                .build()
                .await
                .unwrap();
            consumer.subscribe(&topic).await.unwrap();
            while !end.load(Ordering::Relaxed) {
                let records = consumer.poll(Duration::from_millis(100)).await.unwrap();
                let at = Instant::now();
                log.lock().unwrap().extend(records.iter().map(|record| Read {
                    partition: record.partition(),
                    offset: record.offset(),
                    value: String::from_utf8(record.value().unwrap().to_vec()).unwrap(),
                    at,
                }));
                count.store(consumer.assignment().len(), Ordering::Relaxed);
            }
            consumer.close(PATIENCE).await.unwrap();
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run);
        });
        Self { read, told, owned, stop, thread }
    }
}

/// A group of three members.
pub(super) struct Readers<'a> {
    secured: &'a Secured,
    group: String,
    members: Vec<Reader>,
    /// When each member had its share, and how often the group had rebalanced by then.
    settled: (Instant, usize),
}

/// The group's results once each of its members had its share.
pub(super) struct Outcome {
    /// When each record arrived, by partition and offset.
    pub(super) came: BTreeMap<(i32, i64), Instant>,
    /// The longest time between two polls of a member that had records.
    pub(super) longest_gap: Duration,
    /// When each member had its share.
    pub(super) settled: Instant,
}

impl<'a> Readers<'a> {
    /// Returns once each member has its share. `listener`: one of [`Secured`]'s, or none for the one without TLS and SASL.
    pub(super) fn start(
        secured: &'a Secured,
        listener: Option<&str>,
        group: &str,
        topic: &str,
        properties: &[(&str, String)],
    ) -> Self {
        Self::start_with(secured, listener, group, topic, properties, || None)
    }

    /// The same with credentials by value.
    pub(super) fn start_as(
        secured: &'a Secured,
        listener: &str,
        group: &str,
        topic: &str,
        sasl: impl Fn() -> Sasl,
    ) -> Self {
        Self::start_with(secured, Some(listener), group, topic, &[], || Some(sasl()))
    }

    fn start_with(
        secured: &'a Secured,
        listener: Option<&str>,
        group: &str,
        topic: &str,
        properties: &[(&str, String)],
        sasl: impl Fn() -> Option<Sasl>,
    ) -> Self {
        let properties: Vec<(String, String)> =
            properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let bootstrap =
            || listener.map_or_else(|| secured.kafka.bootstrap(), |name| secured.kafka.listener(name));
        let members: Vec<_> =
            (0..3).map(|_| Reader::start(bootstrap(), group, topic, properties.clone(), sasl())).collect();
        let deadline = Instant::now() + PATIENCE;
        while members.iter().any(|member| member.owned.load(Ordering::Relaxed) != 2) {
            assert!(Instant::now() < deadline, "the members have no equal shares");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut readers = Self { secured, group: group.to_owned(), members, settled: (Instant::now(), 0) };
        readers.wait_flow("the beginning");
        readers.settled = (Instant::now(), readers.rebalances());
        readers
    }

    /// How often the coordinators logged that the group began to rebalance.
    fn rebalances(&self) -> usize {
        let begins = format!("Preparing to rebalance group {} in state", self.group);
        let logs =
            self.secured.kafka.brokers().iter().map(|broker| fs::read_to_string(broker.log()).unwrap());
        let count = logs.map(|log| log.matches(&begins).count()).sum();
        assert!(count > 0, "a group that was made has rebalanced: {begins}");
        count
    }

    /// Waits until each member has got a record that was written after this call.
    pub(super) fn wait_flow(&self, after: &str) {
        let called = Instant::now();
        let flows = |member: &Reader| member.read.lock().unwrap().last().is_some_and(|read| read.at > called);
        while !self.members.iter().all(flows) {
            assert!(called.elapsed() < PATIENCE, "nothing more is read after {after}: {:?}", self.errors());
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("{after}: all three read on after {:?}", called.elapsed());
    }

    fn errors(&self) -> Vec<String> {
        let told = self.members.iter().flat_map(|member| member.told.lock().unwrap().clone());
        told.filter(|(_, event)| matches!(event, Event::Error(_)))
            .map(|(_, event)| format!("{event:?}"))
            .collect()
    }

    /// Waits until everything in the log has been read. Asserts that each record was read once, as it was produced,
    /// that no member got a lasting error, and that the group did not rebalance after the members had their shares.
    pub(super) fn finish(self, log: &Log) -> Outcome {
        let count = || self.members.iter().map(|member| member.read.lock().unwrap().len()).sum::<usize>();
        let deadline = Instant::now() + PATIENCE;
        while count() < log.len() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (settled, before) = self.settled;
        let rebalances = self.rebalances() - before;
        let left = Instant::now();
        self.members.iter().for_each(|member| member.stop.store(true, Ordering::Relaxed));
        let (mut came, mut longest_gap) = (BTreeMap::new(), Duration::ZERO);
        // A cut connection may be reported; an error that waiting does not repair may not.
        println!("{}: told of {:?}", self.group, self.errors());
        let told = self.members.iter().flat_map(|member| member.told.lock().unwrap().clone());
        let mut errors: Vec<String> = told
            .filter(|(_, event)| matches!(event, Event::Error(error) if !error.is_retriable()))
            .map(|(_, event)| format!("{event:?}"))
            .collect();
        for member in self.members {
            member.thread.join().unwrap();
            let read = std::mem::take(&mut *member.read.lock().unwrap());
            for pair in read.windows(2) {
                if pair[0].at >= settled {
                    longest_gap = longest_gap.max(pair[1].at - pair[0].at);
                }
            }
            for Read { partition, offset, value, at } in read {
                assert_eq!(log.get(&(partition, offset)), Some(&value), "{partition} {offset}");
                assert!(
                    came.insert((partition, offset), at).is_none(),
                    "{partition} {offset} was read twice"
                );
            }
            for (at, event) in
                member.told.lock().unwrap().iter().filter(|(at, _)| (settled..left).contains(at))
            {
                if matches!(event, Event::Assigned(_) | Event::Revoked(_) | Event::Lost(_)) {
                    errors.push(format!("after {:?}: {event:?}", *at - settled));
                }
            }
        }
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(rebalances, 0, "the group did not rebalance");
        assert_eq!(came.len(), log.len(), "each record is read");
        println!("{}: {} records, the longest gap of a member {longest_gap:?}", self.group, log.len());
        Outcome { came, longest_gap, settled }
    }
}
