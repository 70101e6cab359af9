//! Committed records become visible, all of them; uncommitted ones do not.

use std::time::Duration;

use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule, KafkaVersion};
use offtake_producer::{
    Error, ErrorKind, GroupMetadata, GroupOffsets, OffsetAndMetadata, ProducerRecord, TopicPartition,
    TransactionalProducer,
};

use crate::support::{committed_logs, producer, secs};

const REQUEST_TIMED_OUT: i16 = 7;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const UNKNOWN_SERVER_ERROR: i16 = -1;

/// One cluster to which partitions are announced (KIP-98), and one that learns of them from brokers (KIP-890).
pub(crate) async fn clusters() -> Vec<Cluster> {
    let mut clusters = Vec::new();
    for version in [0, 2] {
        let mut config = Config::default();
        config.transaction_version = version;
        let builder = Cluster::builder().config(config).brokers(3).topic("orders", 4).topic("paid", 2);
        clusters.push(builder.in_memory().start().await.unwrap());
    }
    let old =
        Cluster::builder().brokers(3).topic("orders", 4).topic("paid", 2).in_memory().start().await.unwrap();
    old.with(|model, _| (1..=3).for_each(|broker| model.set_kafka_version(broker, KafkaVersion::V2_8)));
    clusters.push(old);
    clusters
}

pub(crate) async fn transactional(cluster: &Cluster, id: &str) -> TransactionalProducer {
    producer(cluster)
        .transactional_id(id)
        .property("request.timeout.ms", 2000)
        .property("delivery.timeout.ms", 20_000)
        .build_transactional()
        .await
        .unwrap()
}

/// The records that `read_committed` consumers see, sorted.
pub(crate) async fn seen(cluster: &Cluster) -> Vec<String> {
    let logs = committed_logs(cluster, "orders").await;
    let mut seen: Vec<_> = logs.into_values().flatten().map(|(_, value)| value).collect();
    seen.sort();
    seen
}

pub(crate) fn order(value: &str) -> ProducerRecord<'_> {
    ProducerRecord::to("orders").key(value).value(value)
}

#[tokio::test(start_paused = true)]
async fn committed_records_are_seen_and_aborted_ones_are_not() {
    for cluster in clusters().await {
        let mut producer = transactional(&cluster, "t").await;
        let mut expected = Vec::new();
        for n in 0..30 {
            let transaction = producer.begin().await.unwrap();
            for part in 0..5 {
                let value = format!("{n:03}-{part}");
                transaction.send(order(&value));
                if n % 3 == 0 {
                    expected.push(value);
                }
            }
            match n % 3 {
                0 => transaction.commit().await.unwrap(),
                1 => transaction.abort().await.unwrap(),
                _ => drop(transaction),
            }
        }
        // An empty transaction needs no request.
        producer.begin().await.unwrap().commit().await.unwrap();
        producer.begin().await.unwrap().abort().await.unwrap();
        producer.close(secs(60)).await.unwrap();
        assert_eq!(seen(&cluster).await, expected);
    }
}

/// Commits transactions under these faults, and checks which records are visible.
async fn survives(name: &str, rules: impl Fn() -> Vec<FaultRule>) {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let name = format!("{name}, cluster {at}");
        let ids: Vec<_> = rules().into_iter().map(|rule| cluster.inject(rule)).collect();
        let mut producer = transactional(&cluster, "t").await;
        let (mut expected, mut aborted) = (Vec::new(), 0);
        for n in 0..60 {
            let transaction = match producer.begin().await {
                Ok(transaction) => transaction,
                Err(error) if error.kind() == ErrorKind::Timeout => continue,
                Err(error) => panic!("{name}: {error}"),
            };
            let values: Vec<_> = (0..5).map(|part| format!("{n:03}-{part}")).collect();
            for value in &values {
                transaction.send(order(value));
            }
            let group = GroupMetadata::new("g");
            let done = [(TopicPartition::new("paid", 0), OffsetAndMetadata::new(n + 1))];
            let sent = transaction.send_offsets(GroupOffsets::new(group, done)).await;
            let ended = match sent {
                Ok(()) => transaction.commit().await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => expected.extend(values),
                Err(error) if error.kind() == ErrorKind::TransactionAborted => aborted += 1,
                Err(error) => panic!("{name}: {error}"),
            }
        }
        for id in ids {
            cluster.withdraw(id);
        }
        producer.close(secs(60)).await.unwrap();
        assert!(expected.len() > 100, "{name}: {} seen, {aborted} aborted", expected.len());
        assert_eq!(seen(&cluster).await, expected, "{name}");
    }
}

const ASKED: [ApiKey; 7] = [
    ApiKey::FindCoordinator,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::EndTxn,
    ApiKey::Produce,
];

fn on_all(harm: Fault) -> Vec<FaultRule> {
    ASKED.map(|api| FaultRule::on(api, harm.clone()).probably(0.15)).to_vec()
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_change_nothing() {
    survives("lost", || on_all(Fault::ApplyThenLose)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_lost_change_nothing() {
    survives("swallowed", || on_all(Fault::Drop)).await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_change_nothing() {
    survives("reset", || on_all(Fault::Reset)).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_late_change_nothing() {
    survives("late", || on_all(Fault::Late(Duration::from_millis(900)))).await;
}

#[tokio::test(start_paused = true)]
async fn coordinators_that_load_or_move_or_are_busy_are_asked_again() {
    survives("refused", || {
        let asked = [
            ApiKey::InitProducerId,
            ApiKey::AddPartitionsToTxn,
            ApiKey::AddOffsetsToTxn,
            ApiKey::TxnOffsetCommit,
            ApiKey::EndTxn,
        ];
        let codes = [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS];
        asked
            .into_iter()
            .flat_map(|api| codes.map(|code| FaultRule::on(api, Fault::Fail(code)).probably(0.1)))
            .collect()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn k8_an_end_that_nobody_tells_of_is_not_told_as_committed() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        // Kafka returns these codes even when the decision is in its log, or may be.
        let codes = [UNKNOWN_SERVER_ERROR, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, REQUEST_TIMED_OUT];
        let harms = [Fault::ApplyThenLose, Fault::Drop, Fault::Reset];
        for harm in codes.map(Fault::Fail).into_iter().chain(harms) {
            let topic_before = seen(&cluster).await.len();
            let builder =
                producer(&cluster).transactional_id("t").property("transaction.timeout.ms", 900_000);
            let mut producer =
                builder.property("request.timeout.ms", 2000).build_transactional().await.unwrap();
            let rule = cluster.inject(FaultRule::on(ApiKey::EndTxn, harm.clone()));
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("first"));
            let error = transaction.commit().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at} {harm:?}: {error}");
            // The next transaction does not begin before that is decided.
            let error: Error = producer.begin().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{at} {harm:?}: {error}");
            cluster.withdraw(rule);
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("second"));
            transaction.abort().await.unwrap();
            producer.close(secs(60)).await.unwrap();
            // It was committed in the end: the request was repeated until its outcome was known.
            assert_eq!(seen(&cluster).await.len(), topic_before + 1, "{at} {harm:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_later_producer_of_an_id_fences_the_earlier() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut first = transactional(&cluster, "t").await;
        let transaction = first.begin().await.unwrap();
        let sent = transaction.send(order("of the first"));
        sent.await.unwrap();
        let mut second = transactional(&cluster, "t").await;
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{at}: {error}");
        let error = first.begin().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{at}: {error}");
        first.close(secs(5)).await.unwrap_err();
        let transaction = second.begin().await.unwrap();
        transaction.send(order("of the second"));
        transaction.commit().await.unwrap();
        second.close(secs(5)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["of the second"], "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_without_one_of_its_records_is_not_committed() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        // One record is refused here, one by the broker, and one for want of a place.
        let large = vec![0; 2 << 20];
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("a"));
        transaction.send(ProducerRecord::to("orders").value(&large));
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{at}: {error}");

        let transaction = producer.begin().await.unwrap();
        transaction.send(order("b"));
        transaction.send(order("no time").timestamp(-7));
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{at}: {error}");

        let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(29)).once());
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("c"));
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{at}: {error}");
        cluster.withdraw(rule);

        let transaction = producer.begin().await.unwrap();
        transaction.send(ProducerRecord::to("nowhere").value("d"));
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{at}: {error}");

        let transaction = producer.begin().await.unwrap();
        transaction.send(order("e"));
        transaction.commit().await.unwrap();
        producer.close(secs(5)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["e"], "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_lasts_too_long_is_aborted() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = producer(&cluster)
            .transactional_id("t")
            .property("transaction.timeout.ms", 10_000)
            .build_transactional()
            .await
            .unwrap();
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("late")).await.unwrap();
        tokio::time::sleep(secs(30)).await;
        let error = transaction.commit().await.unwrap_err();
        // With an epoch for each transaction, the coordinator knows that it was this one.
        let expected = if at == 1 { ErrorKind::TransactionAborted } else { ErrorKind::Fenced };
        assert_eq!(error.kind(), expected, "{at}: {error}");
        assert!(error.to_string().contains("transaction.timeout.ms"), "{error}");
        assert!(seen(&cluster).await.is_empty(), "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_lasts_too_long_is_aborted_whichever_request_finds_out() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = producer(&cluster)
            .transactional_id("t")
            .property("transaction.timeout.ms", 10_000)
            .build_transactional()
            .await
            .unwrap();
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("late")).await.unwrap();
        tokio::time::sleep(secs(30)).await;
        let done = [(TopicPartition::new("paid", 0), OffsetAndMetadata::new(1))];
        let error =
            transaction.send_offsets(GroupOffsets::new(GroupMetadata::new("g"), done)).await.unwrap_err();
        let expected = if at == 1 { ErrorKind::TransactionAborted } else { ErrorKind::Fenced };
        assert_eq!(error.kind(), expected, "{at}: {error}");
        let error = transaction.commit().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{at}: {error}");
        if at == 1 {
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("in time"));
            transaction.commit().await.unwrap();
            assert_eq!(seen(&cluster).await, ["in time"]);
        } else {
            assert!(seen(&cluster).await.is_empty(), "{at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_a_transactional_id_excludes_are_refused() {
    let cluster = clusters().await.remove(0);
    let error = producer(&cluster).transactional_id("t").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("build_transactional"), "{error}");
    let error = producer(&cluster).build_transactional().await.unwrap_err();
    assert!(error.to_string().contains("transactional.id"), "{error}");
    for (name, value) in [("acks", "1"), ("enable.idempotence", "false"), ("retries", "0")] {
        let error = producer(&cluster)
            .transactional_id("t")
            .property(name, value)
            .build_transactional()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("needs `enable.idempotence=true`"), "{error}");
    }
    let error = producer(&cluster)
        .transactional_id("t")
        .property("transaction.timeout.ms", 16 * 60 * 1000)
        .build_transactional()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn after_an_abort_of_what_waits_to_be_sent_again_the_next_is_written() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        for round in ["a", "b", "c"] {
            let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(19))); // NOT_ENOUGH_REPLICAS
            let transaction = producer.begin().await.unwrap();
            let sent = transaction.send(order("given up"));
            tokio::time::sleep(secs(2)).await;
            match round {
                "a" => transaction.abort().await.unwrap(),
                _ => drop(transaction),
            }
            assert_eq!(sent.await.unwrap_err().kind(), ErrorKind::TransactionAborted, "{at}");
            cluster.withdraw(rule);
            let began = tokio::time::Instant::now();
            let transaction = producer.begin().await.unwrap();
            // To the same partition, which now has a gap in its sequences.
            transaction.send(ProducerRecord::to("orders").key("given up").value(round));
            transaction.commit().await.unwrap();
            assert!(began.elapsed() < secs(10), "{at}: {:?}", began.elapsed());
        }
        producer.close(secs(60)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["a", "b", "c"], "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_halved_within_its_transaction() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        let mut expected = Vec::new();
        for round in 0..3 {
            let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(10)).times(3));
            let transaction = producer.begin().await.unwrap();
            for n in 0..40 {
                let value = format!("{round}-{n:02}");
                transaction.send(ProducerRecord::to("orders").partition(1).value(&value));
                expected.push(value);
            }
            transaction.commit().await.unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(cluster.hits(rule), 3, "{at}");
            cluster.withdraw(rule);
        }
        producer.close(secs(60)).await.unwrap();
        let log = committed_logs(&cluster, "orders").await.remove(&1).unwrap();
        let read: Vec<_> = log.into_iter().map(|(_, value)| value).collect();
        assert_eq!(read, expected, "{at}: once, and in order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_is_given_up_leaves_no_transaction_open() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        for polled in [false, true] {
            let mut begin = Box::pin(producer.begin());
            if polled {
                let once =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(begin.as_mut().poll(cx).is_ready()));
                assert!(!once.await);
                // The engine replies before the future is dropped.
                tokio::time::sleep(secs(1)).await;
            }
            drop(begin);
            producer.ready().await.unwrap_or_else(|error| panic!("{at}: {error}"));
            let transaction = producer.begin().await.unwrap();
            transaction.send(order("x"));
            transaction.commit().await.unwrap();
        }
        producer.close(secs(60)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["x", "x"], "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_the_coordinator_does_not_know_does_not_hold_up_the_abort() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        let rule = cluster.inject(FaultRule::on(ApiKey::AddPartitionsToTxn, Fault::Fail(3))); // UNKNOWN_TOPIC_OR_PARTITION
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("a"));
        tokio::time::sleep(secs(2)).await;
        transaction.abort().await.unwrap();
        let transaction = producer.begin().await.unwrap();
        transaction.abort().await.unwrap();
        cluster.withdraw(rule);
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("b"));
        transaction.commit().await.unwrap();
        producer.close(secs(60)).await.unwrap();
        assert_eq!(seen(&cluster).await, ["b"], "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_offsets_are_no_offsets() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        let transaction = producer.begin().await.unwrap();
        transaction.send_offsets(GroupOffsets::new(GroupMetadata::new("g"), [])).await.unwrap();
        transaction.commit().await.unwrap_or_else(|error| panic!("{at}: {error}"));
        producer.close(secs(60)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn closing_or_dropping_a_producer_aborts_its_open_transaction() {
    for (at, cluster) in clusters().await.into_iter().enumerate() {
        let mut producer = transactional(&cluster, "t").await;
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("a"));
        drop(transaction);
        producer.close(secs(60)).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        // A producer that is dropped with an open transaction aborts it, too.
        let mut producer = transactional(&cluster, "t").await;
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("b")).await.unwrap();
        drop(transaction);
        drop(producer);
        tokio::time::sleep(secs(1)).await;
        let mut producer = transactional(&cluster, "u").await;
        let transaction = producer.begin().await.unwrap();
        transaction.send(order("c"));
        transaction.commit().await.unwrap();
        producer.close(Duration::MAX).await.unwrap();
        assert_eq!(seen(&cluster).await, ["c"], "{at}");
    }
}
