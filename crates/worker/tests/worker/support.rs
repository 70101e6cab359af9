//! A cluster with records, workers for it, and a ledger of what their handlers did.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake::{Consumer, OffsetAndMetadata, OwnedRecord, TopicPartition};
use offtake_broker::{Cluster, Config, NewRecord};
use offtake_worker::{Attempt, DeadLetters, Error, Event, Failure, Retry, Summary, Worker, WorkerHandle};
use tokio::{runtime::Handle, task::JoinHandle};

pub(crate) const PARTITIONS: i32 = 3;
/// The number of records in each partition.
pub(crate) const RECORDS: i64 = 40;
pub(crate) const KEYS: i64 = 5;
/// The wall clock at the start.
pub(crate) const WALL_MS: i64 = 1_700_000_000_000;

pub(crate) fn orders(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) async fn cluster() -> Cluster {
    cluster_with(Config::default()).await
}

/// A cluster with `orders`, whose records have their offset as value and `offset % KEYS` as key, and an empty `orders.dlq`.
pub(crate) async fn cluster_with(config: Config) -> Cluster {
    let builder =
        Cluster::builder().config(config).brokers(2).topic("orders", PARTITIONS).topic("orders.dlq", 2);
    let cluster = builder.in_memory().start().await.unwrap();
    for partition in 0..PARTITIONS {
        let records: Vec<_> = (0..RECORDS)
            .map(|offset| {
                let record = NewRecord::new(offset.to_string()).key((offset % KEYS).to_string());
                record.timestamp(WALL_MS + offset).header("n", offset.to_string())
            })
            .collect();
        // Ten records in each batch.
        for batch in records.chunks(10) {
            cluster.append("orders", partition, batch).unwrap();
        }
    }
    cluster
}

/// A consumer in the group `job`, from the beginning, on this runtime.
pub(crate) fn builder(cluster: &Cluster) -> offtake::Builder {
    let inside = cluster.clone();
    Consumer::builder(cluster.bootstrap())
        .group("job")
        .spawn_on(Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("auto.offset.reset", "earliest")
        .property("partition.assignment.strategy", "cooperative-sticky")
        .property("session.timeout.ms", 6000)
        .property("heartbeat.interval.ms", 500)
        .property("request.timeout.ms", 2000)
}

pub(crate) fn worker(cluster: &Cluster) -> Worker {
    worker_of(builder(cluster))
}

pub(crate) fn worker_of(builder: offtake::Builder) -> Worker {
    let retry = Retry::fixed(Duration::from_millis(200)).attempts(3);
    Worker::new(builder).subscribe("orders").retry(retry).concurrency(8).replay(7, WALL_MS)
}

pub(crate) fn dead_letters(cluster: &Cluster) -> DeadLetters {
    dead_letters_to("orders.dlq", cluster)
}

pub(crate) fn dead_letters_to(topic: &str, cluster: &Cluster) -> DeadLetters {
    let inside = cluster.clone();
    DeadLetters::to(topic)
        .property("delivery.timeout.ms", 10_000)
        .property("request.timeout.ms", 2000)
        .producer(move |builder| {
            let inside = inside.clone();
            let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
            builder.dial(dial).spawn_on(Handle::current())
        })
}

/// A handler of any type. Each type would have the whole worker compiled once more.
pub(crate) type Handler = Box<
    dyn Fn(OwnedRecord, Attempt) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync,
>;

/// The actions of handlers, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Began(u32),
    Done,
    Failed,
}

impl Ledger {
    pub(crate) fn note(&self, record: &OwnedRecord, what: What) {
        let entry = Entry { partition: record.partition(), offset: record.offset(), what };
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// The number of times that each record was handled.
    pub(crate) fn done(&self) -> BTreeMap<(i32, i64), usize> {
        let mut done = BTreeMap::new();
        for entry in self.entries().iter().filter(|entry| entry.what == What::Done) {
            *done.entry((entry.partition, entry.offset)).or_default() += 1;
        }
        done
    }

    pub(crate) fn begun(&self) -> BTreeSet<(i32, i64)> {
        self.entries().iter().map(|entry| (entry.partition, entry.offset)).collect()
    }

    /// A handler that notes its beginning, then runs this, then notes how it ended.
    pub(crate) fn around<F, T>(&self, handler: F) -> Handler
    where
        F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let ledger = self.clone();
        Box::new(move |record, attempt| {
            ledger.note(&record, What::Began(attempt.number()));
            let (ledger, handled) = (ledger.clone(), handler(record.clone(), attempt));
            Box::pin(async move {
                let result = handled.await;
                ledger.note(&record, if result.is_ok() { What::Done } else { What::Failed });
                result
            })
        })
    }

    /// Asserts for each key that no record begins before all earlier ones are done, or in this set.
    pub(crate) fn check_order(&self, others: &BTreeSet<(i32, i64)>) {
        let mut done = others.clone();
        for entry in self.entries() {
            let at = (entry.partition, entry.offset);
            match entry.what {
                What::Began(_) => {
                    let earlier = (0..entry.offset).filter(|offset| offset % KEYS == entry.offset % KEYS);
                    for offset in earlier {
                        assert!(done.contains(&(entry.partition, offset)), "{entry:?} overtook {offset}");
                    }
                }
                What::Done => drop(done.insert(at)),
                What::Failed => {}
            }
        }
    }
}

pub(crate) fn all() -> BTreeSet<(i32, i64)> {
    (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |offset| (partition, offset))).collect()
}

/// A running worker.
pub(crate) struct Running {
    pub(crate) handle: WorkerHandle,
    pub(crate) task: JoinHandle<Result<Summary, Error>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Running {
    pub(crate) fn start<F, T>(worker: Worker, handler: F) -> Self
    where
        F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self::start_told(worker, handler, |_| ())
    }

    /// The same, with another event handler in addition.
    pub(crate) fn start_told<F, T>(
        worker: Worker,
        handler: F,
        also: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Self
    where
        F: Fn(OwnedRecord, Attempt) -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let handler: Handler = Box::new(move |record, attempt| Box::pin(handler(record, attempt)));
        Self::start_any(worker, handler, Box::new(also))
    }

    fn start_any(worker: Worker, handler: Handler, also: Box<dyn Fn(&Event) + Send + Sync>) -> Self {
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let told = Arc::clone(&events);
        let worker = worker.events(move |event| {
            also(&event);
            told.lock().unwrap().push(event);
        });
        let handle = worker.handle();
        let task = tokio::spawn(worker.run(handler, std::future::pending::<()>()));
        Self { handle, task, events }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until the condition holds, for at most ten minutes.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        self.until_any(what, &mut is_so).await;
    }

    async fn until_any(&self, what: &str, is_so: &mut dyn FnMut(&Self) -> bool) {
        for _ in 0..6000 {
            if is_so(self) {
                return;
            }
            assert!(!self.task.is_finished(), "the worker ended before: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not within ten minutes: {what}; {:?}", self.handle.metrics());
    }

    pub(crate) async fn stop(self) -> Summary {
        self.handle.stop();
        self.task.await.unwrap().unwrap()
    }
}

/// The group's committed offsets with their metadata.
pub(crate) async fn committed(cluster: &Cluster) -> BTreeMap<i32, OffsetAndMetadata> {
    let reader = builder(cluster).build().await.unwrap();
    let committed = reader.committed((0..PARTITIONS).map(orders).collect::<Vec<_>>()).await.unwrap();
    reader.close(secs(5)).await.unwrap();
    committed.into_iter().map(|(partition, offset)| (partition.partition, offset)).collect()
}

/// The group's committed offsets.
pub(crate) async fn committed_offsets(cluster: &Cluster) -> Vec<(i32, i64)> {
    committed(cluster).await.into_iter().map(|(partition, committed)| (partition, committed.offset)).collect()
}

pub(crate) fn everything() -> Vec<(i32, i64)> {
    (0..PARTITIONS).map(|partition| (partition, RECORDS)).collect()
}

/// The dead letters of both partitions.
pub(crate) fn letters(cluster: &Cluster) -> Vec<NewRecord> {
    let read = |partition| cluster.with(|model, _| model.records("orders.dlq", partition));
    (0..2).flat_map(read).map(|(_, record)| record).collect()
}

pub(crate) fn header(letter: &NewRecord, name: &str) -> Option<String> {
    let (_, value) = letter.headers.iter().find(|(key, _)| key == name)?;
    Some(String::from_utf8(value.as_ref()?.to_vec()).unwrap())
}
