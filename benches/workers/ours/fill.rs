//! Fills the topics: values of 100 bytes that begin with their number, keys that look random.

use std::collections::VecDeque;

use offtake_producer::{Delivery, Producer, ProducerRecord};

const VALUE: usize = 100;
/// The most records in flight.
const WAITING: usize = 20_000;

pub(crate) async fn fill(bootstrap: &str, topic: &str, keys: u64, count: u64) -> Result<(), offtake::Error> {
    let producer = Producer::builder(bootstrap).property("linger.ms", 5).build().await?;
    let mut waiting = VecDeque::<Delivery>::new();
    let mut random = 7u64;
    for number in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("key-{:06}", (random >> 33) % keys);
        let value = format!("{number:<VALUE$}");
        waiting.push_back(producer.send(ProducerRecord::to(topic).key(&key).value(&value)));
        if waiting.len() > WAITING
            && let Some(first) = waiting.pop_front()
        {
            first.await?;
        }
    }
    for delivery in waiting {
        delivery.await?;
    }
    producer.close(std::time::Duration::from_secs(10)).await
}
