//! A cluster in memory, its consumer, and the consumer's log as text.

use std::{
    io,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use offtake::{Builder, Consumer, Event, dial::InMemory};
use offtake_broker::Cluster;
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

pub(crate) const A_MOMENT: Duration = Duration::from_millis(100);

/// Runs a program in virtual time, with a limit of an hour.
pub(crate) fn virtually<T>(body: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(3600), body).await.unwrap() })
}

/// `orders` with this number of partitions and three records in each.
pub(crate) async fn cluster(partitions: i32) -> Cluster {
    let cluster = Cluster::builder().in_memory().topic("orders", partitions).start().await.unwrap();
    for partition in 0..partitions {
        for value in 0..3_u8 {
            cluster.produce("orders", partition, None, Some(&[value])).unwrap();
        }
    }
    cluster
}

/// A member of the group `readers`.
pub(crate) fn member(cluster: &Cluster, client_id: &str) -> Builder {
    Consumer::builder(cluster.bootstrap())
        .group("readers")
        .client_id(client_id)
        .dial(InMemory::new(cluster.connector()))
        .spawn_on(tokio::runtime::Handle::current())
        .property("auto.offset.reset", "earliest")
}

/// The events other than records.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub(crate) fn of(&self, builder: Builder) -> Builder {
        let events = self.0.clone();
        builder.events(move |event| events.lock().unwrap_or_else(PoisonError::into_inner).push(event))
    }

    pub(crate) fn count(&self, is_meant: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is_meant(event)).count()
    }
}

/// The log of this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Logs from INFO up, until the guard is dropped.
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        Self::from(tracing::Level::INFO)
    }

    pub(crate) fn from(level: tracing::Level) -> (Self, tracing::subscriber::DefaultGuard) {
        // While only one subscriber is known, tracing queries the subscriber of the thread on which a
        // callsite is first reached: one without any would disable the callsite for all.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE
            .call_once(|| tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap());
        let log = Self::default();
        let to = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
        let to = to.without_time().with_target(false).with_writer(log.clone()).finish();
        let guard = tracing::subscriber::set_default(to);
        (log, guard)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The lines with this text.
    pub(crate) fn with(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Polls until this many records have arrived.
pub(crate) async fn read(consumer: &mut Consumer, count: usize) {
    let mut read = 0;
    while read < count {
        read += consumer.poll(A_MOMENT).await.unwrap().len();
    }
}

/// Polls, without records, until the condition is true.
pub(crate) async fn poll_until(consumer: &mut Consumer, is_so: impl Fn(&Consumer) -> bool) {
    while !is_so(consumer) {
        consumer.poll(A_MOMENT).await.unwrap();
    }
}

/// Polls for this time, without records.
pub(crate) async fn poll_for(consumer: &mut Consumer, time: Duration) {
    for _ in 0..time.as_millis() / A_MOMENT.as_millis() {
        assert!(consumer.poll(A_MOMENT).await.unwrap().is_empty());
    }
}
