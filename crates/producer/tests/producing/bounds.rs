//! A producer's memory and its waiting times are bounded.

use offtake_broker::{ApiKey, Fault, FaultRule};
use offtake_producer::{ErrorKind, ProducerRecord};

use crate::support::{cluster, producer, secs};

#[tokio::test(start_paused = true)]
async fn sending_waits_for_memory_and_fails_at_its_deadline() {
    let cluster = cluster().await;
    let producer = producer(&cluster).property("buffer.memory", 10_000).build().await.unwrap();
    let value = "x".repeat(1000);
    let to = || ProducerRecord::to("orders").partition(0).value(&value);
    producer.send(to()).await.unwrap();
    let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::HoldRequest));
    let mut kept: Vec<_> = (0..9).map(|_| tokio::spawn(producer.send(to()))).collect();
    let waiting = producer.send(to());
    let error = waiting.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("buffer.memory"), "{error}");
    // The queue of waiting records is bounded, too.
    let mut flood = Vec::new();
    let refused = loop {
        let delivery = tokio::spawn(producer.send(to()));
        tokio::task::yield_now().await;
        if delivery.is_finished() {
            break delivery.await.unwrap().unwrap_err();
        }
        flood.push(delivery);
        assert!(flood.len() < 20);
    };
    assert!(refused.to_string().contains("await what was sent"), "{refused}");
    cluster.withdraw(rule);
    cluster.release(rule);
    for delivery in kept.drain(..).chain(flood) {
        delivery.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn max_block_of_zero_means_now_or_never() {
    let cluster = cluster().await;
    let producer = producer(&cluster).property("max.block.ms", 0).build().await.unwrap();
    let record = || ProducerRecord::to("orders").value("1");
    assert_eq!(producer.send(record()).await.unwrap_err().kind(), ErrorKind::Timeout, "nothing is known yet");
    tokio::time::sleep(secs(1)).await;
    producer.send(record()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_at_its_deadline_and_says_what_is_not_known() {
    let cluster = cluster().await;
    let producer = producer(&cluster).build().await.unwrap();
    let to = |partition| ProducerRecord::to("orders").partition(partition).value("1");
    producer.send(to(0)).await.unwrap();
    let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Drop));
    let sent = producer.send(to(0));
    tokio::time::sleep(secs(1)).await;
    let behind = producer.send(to(0));
    let begun = tokio::time::Instant::now();
    let error = producer.close(secs(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < secs(3));
    assert_eq!(sent.await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let behind = behind.await.unwrap_err();
    assert!(matches!(behind.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Closed), "{behind}");
    cluster.withdraw(rule);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_partitions_get_their_records() {
    let cluster = offtake_broker::Cluster::builder()
        .brokers(3)
        .topic("wide", 10_000)
        .in_memory()
        .start()
        .await
        .unwrap();
    let producer = producer(&cluster).build().await.unwrap();
    let deliveries: Vec<_> =
        (0..10_000).map(|n| producer.send(ProducerRecord::to("wide").partition(n).value("1"))).collect();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(secs(10)).await.unwrap();
}

#[test]
fn records_hear_that_the_runtime_of_their_engine_is_gone() {
    let cluster_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let engine_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    cluster_runtime.block_on(async {
        let cluster = cluster().await;
        let producer = producer(&cluster).spawn_on(engine_runtime.handle().clone()).build().await.unwrap();
        let to = || ProducerRecord::to("orders").partition(0).value("1");
        producer.send(to()).await.unwrap();
        cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Drop));
        let (sent, behind) = (producer.send(to()), producer.send(to()));
        engine_runtime.shutdown_background();
        for delivery in [sent, behind] {
            let error = tokio::time::timeout(secs(20), delivery).await.unwrap().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::OutcomeUnknown), "{error}");
        }
        assert_eq!(producer.send(to()).await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(producer.flush().await.unwrap_err().kind(), ErrorKind::Closed);
    });
}
