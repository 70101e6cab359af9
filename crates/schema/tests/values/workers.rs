//! Handlers of typed values.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use offtake_schema::{Deserializer, Json, worker::typed};
use offtake_worker::{DeadLetters, Retry, Worker};
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::support::*;

#[derive(Debug, Deserialize)]
struct Order {
    id: u32,
}

fn letters(cluster: &offtake_broker::Cluster) -> Vec<offtake_broker::NewRecord> {
    cluster.with(|model, _| model.records("orders.dlq", 0)).into_iter().map(|(_, record)| record).collect()
}

/// Runs a worker for three minutes, in which a record that fails has one attempt: the ids that its handler was given.
async fn handled<D: Deserializer>(cluster: &offtake_broker::Cluster, by: D) -> Vec<u32> {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ids);
    let handler = typed(by, move |order: Order, _, _| {
        noted.lock().unwrap().push(order.id);
        async { Ok(()) }
    });
    let inside = cluster.clone();
    let letters = DeadLetters::to("orders.dlq").producer(move |builder| {
        let inside = inside.clone();
        let dial = offtake_producer::dial::InMemory::new(move |port| inside.connect(port));
        builder.dial(dial).spawn_on(Handle::current())
    });
    let retry = Retry::fixed(ms(200)).attempts(1);
    let worker = Worker::new(builder(cluster)).subscribe("orders").retry(retry).dead_letters(letters);
    let worker = worker.replay(7, 1_700_000_000_000); // the wall clock is the cluster's, too
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
    // A value of this deserialiser is a plain number behind the frame.
    #[derive(Clone)]
    struct Numbers(Told);
    impl Deserializer for Numbers {
        fn missing(&self, payload: &offtake_schema::Payload<'_>) -> Option<offtake_schema::SchemaId> {
            self.0.missing(payload)
        }
        fn prepare(
            &self,
            id: offtake_schema::SchemaId,
            limit: Duration,
        ) -> offtake_schema::PrepareFuture<'_> {
            self.0.prepare(id, limit)
        }
        fn deserialize<'a, V: Deserialize<'a>>(
            &self,
            _: &offtake_schema::Payload<'a>,
        ) -> Result<V, offtake_schema::DecodeError> {
            Ok(serde_json::from_str(r#"{"id":7}"#).unwrap())
        }
    }
    let told = Told::default();
    let teller = told.clone();
    let telling = tokio::spawn(async move {
        tokio::time::sleep(ms(100_000)).await; // it is waited for 30 s at a time
        teller.tell(7);
    });
    assert_eq!(handled(&cluster, Numbers(told.clone())).await, [7]);
    assert_eq!(told.asked(), 4);
    assert!(letters(&cluster).is_empty());
    telling.await.unwrap();
}
