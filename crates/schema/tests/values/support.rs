//! A cluster, its consumers, and a deserializer whose schemas become known under a test's control.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use offtake::Consumer;
use offtake_broker::Cluster;
use offtake_schema::{
    DecodeError, DecodeErrorKind, Deserializer, Framing, Payload, Plain, PrepareFuture, Prepared, SchemaId,
};
use tokio::{runtime::Handle, sync::Notify};

pub(crate) async fn cluster(partitions: i32) -> Cluster {
    let builder = Cluster::builder().topic("orders", partitions).topic("orders.dlq", 1);
    builder.in_memory().start().await.unwrap()
}

/// A consumer in the group `job`, from the beginning, on this runtime.
pub(crate) fn builder(cluster: &Cluster) -> offtake::Builder {
    Consumer::builder(cluster.bootstrap())
        .group("job")
        .spawn_on(Handle::current())
        .dial(offtake::dial::InMemory::new(cluster.connector()))
        .property("auto.offset.reset", "earliest")
        .property("session.timeout.ms", 6000)
        .property("heartbeat.interval.ms", 500)
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A value framed like that of a registry's serializer.
pub(crate) fn framed(id: u32, value: &str) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), value.as_bytes()].concat()
}

/// Schemas that become known under a test's control. A value is the text after the frame.
#[derive(Clone, Default)]
pub(crate) struct Told {
    known: Arc<Mutex<BTreeSet<SchemaId>>>,
    asked: Arc<Mutex<Vec<SchemaId>>>,
    answered: Arc<AtomicUsize>,
    told: Arc<Notify>,
}

impl Told {
    pub(crate) fn knowing(ids: impl IntoIterator<Item = u32>) -> Self {
        let told = Self::default();
        ids.into_iter().for_each(|id| told.tell(id));
        told
    }

    pub(crate) fn tell(&self, id: u32) {
        self.known.lock().unwrap().insert(SchemaId::Id(id));
        self.told.notify_waiters();
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// The number of requests whose result was awaited.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    fn knows(&self, id: SchemaId) -> bool {
        self.known.lock().unwrap().contains(&id)
    }
}

impl Deserializer for Told {
    fn missing(&self, payload: &Payload<'_>) -> Option<SchemaId> {
        let id = Framing::Confluent.unframe(payload).ok()?.id;
        (!self.knows(id)).then_some(id)
    }

    fn prepare(&self, id: SchemaId, limit: Duration) -> PrepareFuture<'_> {
        self.asked.lock().unwrap().push(id);
        Box::pin(async move {
            let known = async {
                loop {
                    let told = self.told.notified();
                    if self.knows(id) {
                        return;
                    }
                    told.await;
                }
            };
            let waited = tokio::time::timeout(limit, known).await;
            self.answered.fetch_add(1, Ordering::Relaxed);
            waited
                .map(|()| Prepared::default())
                .map_err(|_| DecodeError::new(DecodeErrorKind::Unavailable, "nobody has told"))
        })
    }

    fn deserialize<'a, V: serde::Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
        let framed = Framing::Confluent.unframe(payload)?;
        if !self.knows(framed.id) {
            return Err(DecodeError::new(DecodeErrorKind::Unavailable, "nobody has told"));
        }
        Plain.deserialize(&Payload::new(payload.part(), payload.topic(), Some(framed.rest)))
    }
}
