//! Handlers of typed values.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_schema::{
    DecodeError, DecodeErrorKind, Deserializer, Json, Payload, PrepareFuture, Prepared, SchemaId,
    worker::typed,
};
use offtake_worker::{DeadLetters, Retry, Worker};
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::support::*;

#[derive(Debug, Deserialize)]
struct Order {
    id: u32,
}

/// Its values are orders, whatever the bytes after the frame.
#[derive(Clone)]
struct Numbers(Told);

impl Deserializer for Numbers {
    fn missing(&self, payload: &Payload<'_>) -> Option<SchemaId> {
        self.0.missing(payload)
    }

    fn prepare(&self, id: SchemaId, limit: Duration) -> PrepareFuture<'_> {
        self.0.prepare(id, limit)
    }

    fn deserialize<'a, V: Deserialize<'a>>(&self, _: &Payload<'a>) -> Result<V, DecodeError> {
        Ok(serde_json::from_str(r#"{"id":7}"#).unwrap())
    }
}

fn letters(cluster: &offtake_broker::Cluster) -> Vec<offtake_broker::NewRecord> {
    cluster.with(|model, _| model.records("orders.dlq", 0)).into_iter().map(|(_, record)| record).collect()
}

/// Runs a worker for three minutes, in which a failing record has one attempt. Returns the ids that its handler got.
async fn handled<D: Deserializer>(cluster: &offtake_broker::Cluster, by: D) -> Vec<u32> {
    handled_within(cluster, by, None).await
}

/// The same, with a time limit for each attempt.
async fn handled_within<D: Deserializer>(
    cluster: &offtake_broker::Cluster,
    by: D,
    limit: Option<Duration>,
) -> Vec<u32> {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ids);
    let handler = typed(by, move |order: Order, _, _| {
        noted.lock().unwrap().push(order.id);
        async { Ok(()) }
    });
    let inside = cluster.clone();
    let letters = DeadLetters::to("orders.dlq").producer(move |builder| {
        let dial = offtake_producer::dial::InMemory::new(inside.connector());
        builder.dial(dial).spawn_on(Handle::current())
    });
    let retry = Retry::fixed(ms(200)).attempts(1);
    let worker = Worker::new(builder(cluster)).subscribe("orders").retry(retry).dead_letters(letters);
    let mut worker = worker.replay(7, 1_700_000_000_000); // the wall clock is also the cluster's
    if let Some(limit) = limit {
        worker = worker.timeout(limit);
    }
    let summary = worker.run(handler, tokio::time::sleep(Duration::from_secs(180))).await.unwrap();
    assert!(summary.is_clean(), "{summary:?}");
    let mut ids = ids.lock().unwrap().clone();
    ids.sort_unstable();
    ids
}

#[tokio::test(start_paused = true)]
async fn j6_a_value_that_cannot_be_decoded_is_dead_lettered_with_its_bytes_and_the_reason() {
    let cluster = cluster(1).await;
    let values = [&br#"{"id":1}"#[..], b"\xff\x00 no JSON", br#"{"id":"x"}"#, br#"{"id":2}"#];
    for value in values {
        cluster.produce("orders", 0, Some(b"k"), Some(value)).unwrap();
    }
    assert_eq!(handled(&cluster, Json).await, [1, 2], "those after it are handled");
    let letters = letters(&cluster);
    let bytes: Vec<_> = letters.iter().map(|letter| letter.value.clone().unwrap().to_vec()).collect();
    assert_eq!(bytes, [values[1].to_vec(), values[2].to_vec()]);
    for (letter, (offset, part)) in letters.iter().zip([(1, "expected value"), (2, "invalid type")]) {
        let header = |name: &str| {
            let found =
                letter.headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.clone());
            String::from_utf8(found.unwrap().to_vec()).unwrap()
        };
        let reason = header("error_reason");
        assert!(reason.starts_with(&format!("value of orders-0 at offset {offset}: ")), "{reason}");
        assert!(reason.contains(part), "{reason}");
        assert_eq!(header("error_attempts"), "1", "no attempt can mend it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_is_none_of_the_records_fault_however_long_that_takes() {
    let cluster = cluster(1).await;
    cluster.produce("orders", 0, None, Some(&framed(7, "7"))).unwrap();
    let told = Told::default();
    let teller = told.clone();
    let telling = tokio::spawn(async move {
        tokio::time::sleep(ms(100_000)).await; // the schema is requested for 30 s at a time
        teller.tell(7);
    });
    assert_eq!(handled(&cluster, Numbers(told.clone())).await, [7]);
    assert!((3..=4).contains(&told.asked()), "{}", told.asked());
    assert!(letters(&cluster).is_empty());
    telling.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_is_none_of_the_records_fault_however_short_an_attempt_may_be() {
    for limit in [ms(10_000), ms(500)] {
        let cluster = cluster(1).await;
        cluster.produce("orders", 0, None, Some(&framed(7, "7"))).unwrap();
        let told = Told::default();
        let teller = told.clone();
        let telling = tokio::spawn(async move {
            tokio::time::sleep(ms(100_000)).await;
            teller.tell(7);
        });
        assert_eq!(handled_within(&cluster, Numbers(told), Some(limit)).await, [7], "{limit:?}");
        assert!(letters(&cluster).is_empty());
        telling.await.unwrap();
    }
}

/// A registry that takes longer than a record keeps its place: the request goes on, and its result is used later, even one that
/// counts.
#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_had_whatever_it_is() {
    #[derive(Clone)]
    struct Slow;
    impl Deserializer for Slow {
        fn missing(&self, payload: &Payload<'_>) -> Option<SchemaId> {
            offtake_schema::Framing::Confluent.unframe(payload).ok().map(|framed| framed.id)
        }
        fn prepare(&self, id: SchemaId, _: Duration) -> PrepareFuture<'_> {
            Box::pin(async move {
                tokio::time::sleep(ms(3_000)).await;
                match id {
                    SchemaId::Id(7) => Ok(Prepared::default()),
                    _ => Err(DecodeError::new(DecodeErrorKind::RegistrySetup, "no answer of a registry")),
                }
            })
        }
        fn deserialize<'a, V: Deserialize<'a>>(&self, _: &Payload<'a>) -> Result<V, DecodeError> {
            Ok(serde_json::from_str(r#"{"id":7}"#).unwrap())
        }
    }
    let cluster = cluster(1).await;
    for id in [8, 7] {
        cluster.produce("orders", 0, None, Some(&framed(id, "7"))).unwrap();
    }
    assert_eq!(handled(&cluster, Slow).await, [7]);
    assert_eq!(letters(&cluster).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn records_that_wait_for_a_schema_hold_up_no_others() {
    let cluster = cluster(1).await;
    for id in [[8; 40], [7; 40]].as_flattened() {
        cluster.produce("orders", 0, None, Some(&framed(*id, "7"))).unwrap();
    }
    let (began, last) = (tokio::time::Instant::now(), Arc::new(Mutex::new(None)));
    let noted = Arc::clone(&last);
    let handler = typed(Numbers(Told::knowing([7])), move |_: Order, _, _| {
        *noted.lock().unwrap() = Some(began.elapsed());
        async { Ok(()) }
    });
    let worker = Worker::new(builder(&cluster)).subscribe("orders").replay(7, 1_700_000_000_000);
    let summary = worker.run(handler, tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
    assert_eq!(summary.handled, 40);
    let last = last.lock().unwrap().unwrap();
    assert!(last < Duration::from_secs(15), "{last:?}");
}

/// An invalid response of the registry may be corrected, or not: the attempt counts, and the partition goes on.
#[tokio::test(start_paused = true)]
async fn j6_an_answer_of_the_registry_that_is_no_schema_does_not_stop_a_partition_for_ever() {
    let cluster = cluster(1).await;
    for value in ["1", "too large", "2"] {
        cluster.produce("orders", 0, None, Some(value.as_bytes())).unwrap();
    }
    #[derive(Clone)]
    struct Numbers;
    impl Deserializer for Numbers {
        fn deserialize<'a, V: Deserialize<'a>>(&self, payload: &Payload<'a>) -> Result<V, DecodeError> {
            let bytes = payload.bytes().unwrap();
            match bytes {
                b"1" => Ok(serde_json::from_str(r#"{"id":1}"#).unwrap()),
                b"2" => Ok(serde_json::from_str(r#"{"id":2}"#).unwrap()),
                _ => Err(DecodeError::new(DecodeErrorKind::RegistrySetup, "no answer of a registry")),
            }
        }
    }
    assert_eq!(handled(&cluster, Numbers).await, [1, 2]);
    assert_eq!(letters(&cluster).len(), 1);
}
