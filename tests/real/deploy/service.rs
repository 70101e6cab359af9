//! A group of consumers in this process, each with a task and an engine of its own, and their events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use offtake::{Builder, Consumer, Event, OwnershipChange, TopicPartition};
use offtake_tests::{Shared, V4_3_0, shared, unique};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{MEMBERS, PACE, PARTITIONS, POLL, SESSION};
use crate::flow::{self, PATIENCE, Production};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Cooperative,
    Consumer,
}

/// The number of the observer, which reads without being a member.
pub(super) const OBSERVER: usize = usize::MAX;

/// Events and deliveries of members, in order of time (epoch milliseconds).
#[derive(Clone, Default)]
pub(super) struct Diary(Arc<Mutex<Vec<(i64, usize, Entry)>>>);

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Told { what: &'static str, partitions: BTreeSet<i32>, owned: BTreeSet<i32>, generation: Option<i32> },
    Given { partition: i32, offset: i64, value: String },
    Failed(String),
}

impl Diary {
    fn all(&self) -> MutexGuard<'_, Vec<(i64, usize, Entry)>> {
        self.0.lock().unwrap()
    }

    fn write(&self, member: usize, entry: Entry) {
        self.all().push((flow::now(), member, entry));
    }

    fn hear(&self, member: usize, event: Event) {
        let told = |what, change: OwnershipChange| {
            let indices = |all: Vec<TopicPartition>| all.iter().map(|of| of.partition).collect();
            let (partitions, owned) = (indices(change.partitions), indices(change.owned));
            Entry::Told { what, partitions, owned, generation: change.generation }
        };
        self.write(
            member,
            match event {
                Event::Assigned(change) => told("assigned", change),
                Event::Revoked(change) => told("revoked", change),
                Event::Lost(change) => told("lost", change),
                Event::Error(error) => Entry::Failed(error.to_string()),
                _ => return,
            },
        );
    }

    /// The last assignment of each member, and the generation reported with it.
    fn held(&self) -> BTreeMap<usize, (BTreeSet<i32>, Option<i32>)> {
        let mut held = BTreeMap::new();
        for (_, member, entry) in self.all().iter() {
            if let Entry::Told { owned, generation, .. } = entry {
                held.insert(*member, (owned.clone(), *generation));
            }
        }
        held
    }
}

/// A member of the deploy, here a consumer with a task and an engine of its own.
pub(super) struct Member {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Member {
    /// The observer assigns all partitions by hand.
    fn start(builder: Builder, topic: &str, number: usize, diary: Diary) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let topic = topic.to_owned();
        let task = tokio::spawn(async move {
            let mut consumer = builder.build().await.unwrap();
            if number == OBSERVER {
                consumer
                    .assign((0..PARTITIONS).map(|index| TopicPartition::new(topic.as_str(), index)))
                    .await
                    .unwrap();
            } else {
                consumer.subscribe([topic.as_str()]).await.unwrap();
            }
            loop {
                let records = tokio::select! {
                    _ = &mut stopped => break,
                    records = consumer.poll(POLL) => records.unwrap(),
                };
                for record in &records {
                    let (partition, offset) = (record.partition(), record.offset());
                    let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
                    diary.write(number, Entry::Given { partition, offset, value });
                }
            }
            consumer.close(PATIENCE).await.unwrap();
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it listens");
        self.task.await.expect("it ends well");
    }
}

/// A group under load.
pub(super) struct Service {
    of: &'static Shared,
    topic: String,
    group: String,
    diary: Diary,
    protocol: Protocol,
    /// Whether members have a `group.instance.id`.
    statics: bool,
    pub(super) members: BTreeMap<usize, Member>,
    observer: Option<Member>,
}

impl Service {
    pub(super) async fn begin(protocol: Protocol, statics: bool) -> (Self, Production) {
        let of = shared(V4_3_0);
        let topic = of.tool.create_topic(&unique("deploy"), PARTITIONS, &[]);
        let production = Production::paced(&of.tool, &topic, PARTITIONS, PACE);
        let (group, diary) = (unique("deploy"), Diary::default());
        let mut service =
            Self { of, topic, group, diary, protocol, statics, members: BTreeMap::new(), observer: None };
        (0..MEMBERS).for_each(|number| service.start(number));
        service.settle().await;
        (service, production)
    }

    pub(super) fn start(&mut self, number: usize) {
        let instance = format!("instance-{number}");
        let mut properties = vec![("auto.offset.reset", "earliest")];
        properties.extend(match self.protocol {
            Protocol::Consumer => vec![("group.protocol", "consumer")],
            Protocol::Cooperative => vec![
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("session.timeout.ms", SESSION),
                ("heartbeat.interval.ms", "500"),
            ],
        });
        if self.statics {
            properties.push(("group.instance.id", &instance));
        }
        let builder = Consumer::builder(self.of.kafka.bootstrap()).group(&self.group);
        let builder = properties.iter().fold(builder, |builder, (name, value)| builder.property(name, value));
        let heard = self.diary.clone();
        let builder = builder.events(move |event| heard.hear(number, event));
        let member = Member::start(builder, &self.topic, number, self.diary.clone());
        self.members.insert(number, member);
    }

    /// Starts the observer, a reader without a group that records when each record was available.
    pub(super) fn observe(&mut self) {
        let builder = Consumer::builder(self.of.kafka.bootstrap()).property("auto.offset.reset", "earliest");
        self.observer = Some(Member::start(builder, &self.topic, OBSERVER, self.diary.clone()));
    }

    pub(super) async fn stop(&mut self, number: usize) {
        self.members.remove(&number).expect("it runs").stop().await;
    }

    /// Waits until each member holds its one partition, and those of a classic group all know of its last rebalance.
    /// Returns its generation, or the group's epoch.
    pub(super) async fn settle(&self) -> i32 {
        let began = Instant::now();
        loop {
            let mut held = self.diary.held();
            held.retain(|member, _| self.members.contains_key(member));
            let all: BTreeSet<i32> = held.values().flat_map(|(held, _)| held.iter().copied()).collect();
            let generations: BTreeSet<Option<i32>> =
                held.values().map(|(_, generation)| *generation).collect();
            let each = held.len() == MEMBERS && held.values().all(|(held, _)| held.len() == 1);
            // In the consumer protocol a member whose assignment does not change is not told of every epoch.
            let agreed = generations.len() == 1 || self.protocol == Protocol::Consumer;
            if each && agreed && all == (0..PARTITIONS).collect() {
                return generations
                    .last()
                    .copied()
                    .flatten()
                    .expect("who was assigned was told a generation");
            }
            assert!(began.elapsed() < PATIENCE, "they do not settle: {held:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The number of entries in the diary.
    pub(super) fn entries(&self) -> usize {
        self.diary.all().len()
    }

    /// Waits until a member gets a record after this many entries.
    pub(super) async fn wait_given(&self, number: usize, since: usize) {
        let began = Instant::now();
        let given = |(_, member, entry): &(i64, usize, Entry)| {
            *member == number && matches!(entry, Entry::Given { .. })
        };
        while !self.diary.all().iter().skip(since).any(given) {
            assert!(began.elapsed() < PATIENCE, "member {number} is given nothing: {:?}", self.diary.held());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asserts that all produced records were delivered once. All members leave.
    pub(super) async fn end(mut self, production: Production) -> Vec<(i64, usize, Entry)> {
        let log = tokio::task::spawn_blocking(|| production.stop()).await.unwrap();
        let count = |diary: &Diary| {
            let own = |(_, member, entry): &&(i64, usize, Entry)| {
                *member != OBSERVER && matches!(entry, Entry::Given { .. })
            };
            diary.all().iter().filter(own).count()
        };
        let began = Instant::now();
        while count(&self.diary) < log.len() {
            assert!(began.elapsed() < PATIENCE, "{} of {} records", count(&self.diary), log.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let diary = self.diary.all().clone();
        for number in self.members.keys().copied().collect::<Vec<_>>() {
            self.stop(number).await;
        }
        if let Some(observer) = self.observer.take() {
            observer.stop().await;
        }
        let mut given = BTreeMap::new();
        for (_, member, entry) in diary.iter().filter(|(_, member, _)| *member != OBSERVER) {
            if let Entry::Given { partition, offset, value, .. } = entry {
                let before = given.insert((*partition, *offset), value.clone());
                assert_eq!(before, None, "{partition}:{offset} was given to {member} and to another");
            }
        }
        assert!(given == log, "what was delivered is what was produced: {} of {}", given.len(), log.len());
        diary
    }
}
