//! Whatever faults occur, a record is written once and in order, or its outcome is reported truthfully.

use std::collections::BTreeMap;

use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule};
use offtake_producer::{
    ErrorKind, Producer, ProducerRecord,
    config::{Acks, Compression},
};

use crate::support::{Log, cluster, logs, outcomes, producer, secs};

const NOT_LEADER: i16 = 6;
const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;

/// Sends this many numbered records to four partitions, a few at a time.
async fn send(
    producer: &Producer,
    count: usize,
) -> Vec<Result<offtake_producer::RecordMetadata, offtake_producer::Error>> {
    let mut deliveries = Vec::new();
    for n in 0..count {
        let partition = i32::try_from(n % 4).unwrap();
        deliveries
            .push(producer.send(ProducerRecord::to("orders").partition(partition).value(&n.to_string())));
        if n % 20 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    outcomes(deliveries).await
}

/// Asserts that each number occurs once, in order, in its partition.
fn assert_once_in_order(logs: &BTreeMap<i32, Log>, count: usize) {
    for (partition, log) in logs {
        let read: Vec<usize> = log.iter().map(|(_, value)| value.parse().unwrap()).collect();
        let sent: Vec<usize> = (0..count).filter(|n| n % 4 == usize::try_from(*partition).unwrap()).collect();
        assert_eq!(read, sent, "partition {partition}");
    }
}

async fn survives(name: &str, rules: Vec<FaultRule>) {
    let cluster = cluster().await;
    let ids: Vec<_> = rules.into_iter().map(|rule| cluster.inject(rule)).collect();
    let producer =
        producer(&cluster).batch_size(300).property("request.timeout.ms", 2000).build().await.unwrap();
    let outcomes = send(&producer, 4000).await;
    for outcome in &outcomes {
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
    }
    for id in ids {
        assert!(cluster.hits(id) > 3, "{name}: it struck {} times", cluster.hits(id));
        cluster.withdraw(id);
    }
    assert_once_in_order(&logs(&cluster, "orders").await, 4000);
}

fn on(harm: Fault) -> FaultRule {
    FaultRule::on(ApiKey::Produce, harm).probably(0.1)
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_write_nothing_twice() {
    survives("lost", vec![on(Fault::ApplyThenLose)]).await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_lose_nothing() {
    survives("reset", vec![on(Fault::Reset)]).await;
}

#[tokio::test(start_paused = true)]
async fn brokers_that_fall_silent_lose_nothing_and_write_nothing_twice() {
    survives("silent", vec![on(Fault::Drop), on(Fault::Swallow)]).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_that_pass_keep_the_order() {
    survives("refused", vec![on(Fault::Fail(NOT_LEADER)), on(Fault::Fail(NOT_ENOUGH_REPLICAS_AFTER_APPEND))])
        .await;
}

#[tokio::test(start_paused = true)]
async fn everything_at_once_keeps_the_order() {
    let rules = vec![
        on(Fault::ApplyThenLose),
        on(Fault::Reset),
        on(Fault::Fail(NOT_LEADER)),
        on(Fault::Delay(secs(1))),
        FaultRule::on(ApiKey::Metadata, Fault::Reset).probably(0.2),
    ];
    survives("everything", rules).await;
}

#[tokio::test(start_paused = true)]
async fn leaders_that_move_and_brokers_that_die_keep_the_order() {
    let cluster = cluster().await;
    let producer = producer(&cluster).batch_size(300).build().await.unwrap();
    let moves = async {
        for round in 0..40_i32 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let to = round % 3 + 1;
            cluster.with(|model, _| model.move_leader("orders", round % 4, to)).unwrap();
            if round % 8 == 7 {
                cluster.crash(to);
                tokio::time::sleep(secs(1)).await;
                cluster.restart(to);
            }
        }
    };
    let (outcomes, ()) = tokio::join!(send(&producer, 4000), moves);
    for outcome in &outcomes {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_once_in_order(&logs(&cluster, "orders").await, 4000);
}

/// A broker that does not know a producer accepts any first sequence. No batch may be in flight behind a first batch that was
/// refused.
#[tokio::test(start_paused = true)]
async fn the_first_batches_of_200_topics_are_written_though_each_is_refused_once() {
    let mut config = Config::default();
    config.auto_create_topics = true;
    let cluster = Cluster::builder().brokers(3).config(config).in_memory().start().await.unwrap();
    let rules: Vec<_> = (0..200)
        .map(|n| {
            cluster.inject(
                FaultRule::on(ApiKey::Produce, Fault::Fail(NOT_LEADER)).topic(format!("topic-{n}")).once(),
            )
        })
        .collect();
    let producer = producer(&cluster).batch_size(100).linger(secs(0)).build().await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..200 {
        let topic = format!("topic-{n}");
        for value in 0..20 {
            let value = format!("{value} {}", "x".repeat(50));
            deliveries.push(producer.send(ProducerRecord::to(&topic).partition(0).value(&value)));
        }
    }
    for (at, outcome) in outcomes(deliveries).await.into_iter().enumerate() {
        assert_eq!(outcome.unwrap().offset, Some(i64::try_from(at % 20).unwrap()));
    }
    assert!(rules.into_iter().all(|rule| cluster.hits(rule) == 1));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_nobody_told_is_told_as_unknown_and_what_follows_is_written_once() {
    for (harm, is_written) in [(Fault::Swallow, true), (Fault::Drop, false)] {
        let cluster = cluster().await;
        let producer = producer(&cluster)
            .property("request.timeout.ms", 5000)
            .delivery_timeout(secs(12))
            .build()
            .await
            .unwrap();
        let to = |value| ProducerRecord::to("orders").partition(0).value(value);
        producer.send(to("first")).await.unwrap();
        let rule = cluster.inject(FaultRule::on(ApiKey::Produce, harm));
        let error = producer.send(to("second")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        cluster.withdraw(rule);
        producer.send(to("third")).await.unwrap();
        let log: Vec<_> = logs(&cluster, "orders").await[&0].iter().map(|(_, value)| value.clone()).collect();
        let expected: &[&str] = if is_written { &["first", "second", "third"] } else { &["first", "third"] };
        assert_eq!(log, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_never_sent_is_reported_as_not_written() {
    let cluster = cluster().await;
    let producer = producer(&cluster).delivery_timeout(secs(40)).build().await.unwrap();
    let to = |value| ProducerRecord::to("orders").partition(0).value(value);
    producer.send(to("first")).await.unwrap();
    for broker in 1..=3 {
        cluster.crash(broker);
    }
    let error = producer.send(to("second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    for broker in 1..=3 {
        cluster.restart(broker);
    }
    producer.send(to("third")).await.unwrap();
    let log: Vec<_> = logs(&cluster, "orders").await[&0].iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(log, ["first", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_the_broker_does_not_know_goes_on_in_a_new_epoch() {
    const UNKNOWN_PRODUCER_ID: i16 = 59;
    const OUT_OF_ORDER: i16 = 45;
    for code in [UNKNOWN_PRODUCER_ID, OUT_OF_ORDER] {
        let cluster = cluster().await;
        let producer = producer(&cluster).batch_size(300).build().await.unwrap();
        let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Fail(code)).probably(0.05));
        let outcomes = send(&producer, 4000).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert!(cluster.hits(rule) > 3);
        cluster.withdraw(rule);
        assert_once_in_order(&logs(&cluster, "orders").await, 4000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_is_halved_until_it_fits() {
    let mut config = Config::default();
    config.max_message_bytes = 300;
    let cluster = Cluster::builder().config(config).topic("orders", 4).in_memory().start().await.unwrap();
    for codec in [Compression::None, Compression::Lz4] {
        let producer = producer(&cluster).batch_size(10_000).compression(codec).build().await.unwrap();
        let outcomes = send(&producer, 1000).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            assert!(outcome.is_ok(), "{n}: {outcome:?}");
        }
        if codec == Compression::None {
            let large = "x".repeat(400);
            let error =
                producer.send(ProducerRecord::to("orders").partition(0).value(&large)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        }
        let logs = logs(&cluster, "orders").await;
        let halves = logs
            .into_iter()
            .map(|(partition, log)| (partition, log.into_iter().rev().take(250).rev().collect()));
        assert_once_in_order(&halves.collect(), 1000);
    }
}

/// Requests that the old leader never answers must not delay records that the new leader could accept.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_silent_holds_up_nothing_once_another_one_leads() {
    let cluster = cluster().await;
    let producer = producer(&cluster)
        .property("max.in.flight.requests.per.connection", 1)
        .property("metadata.max.age.ms", 1000)
        .build()
        .await
        .unwrap();
    let leaders = |model: &mut offtake_broker::Model, leader| {
        for partition in 0..4 {
            model.move_leader("orders", partition, leader).unwrap();
        }
    };
    cluster.with(|model, _| leaders(model, 1));
    let to = |partition| ProducerRecord::to("orders").partition(partition).value("1");
    for partition in 0..4 {
        producer.send(to(partition)).await.unwrap();
    }
    let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Drop).broker(1));
    let stuck = producer.send(to(0));
    tokio::time::sleep(secs(1)).await;
    let behind = producer.send(to(1));
    tokio::time::sleep(secs(1)).await;
    cluster.with(|model, _| leaders(model, 2));
    tokio::time::timeout(secs(10), behind).await.expect("it goes to the new leader").unwrap();
    stuck.await.unwrap();
    cluster.withdraw(rule);
}

/// A batch that a former leader wrote without a response must not count as unwritten because later batches stand behind it.
#[tokio::test(start_paused = true)]
async fn nothing_overtakes_what_a_former_leader_wrote_and_did_not_tell() {
    for in_flight in [1, 5] {
        let cluster = cluster().await;
        let producer = producer(&cluster)
            .property("max.in.flight.requests.per.connection", in_flight)
            .property("metadata.max.age.ms", 1000)
            .property("request.timeout.ms", 8000)
            .linger(secs(0))
            .build()
            .await
            .unwrap();
        cluster.with(|model, _| model.move_leader("orders", 0, 1)).unwrap();
        let send = |n: u32| producer.send(ProducerRecord::to("orders").partition(0).value(&n.to_string()));
        send(0).await.unwrap();
        let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Delay(secs(60))).broker(1));
        let mut deliveries = Vec::new();
        for n in 1..20 {
            deliveries.push(send(n));
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        cluster.with(|model, _| model.move_leader("orders", 0, 2)).unwrap();
        for n in 20..40 {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            deliveries.push(send(n));
        }
        for outcome in outcomes(deliveries).await {
            outcome.unwrap();
        }
        cluster.withdraw(rule);
        let read: Vec<u32> =
            logs(&cluster, "orders").await[&0].iter().map(|(_, value)| value.parse().unwrap()).collect();
        assert_eq!(read, (0..40).collect::<Vec<_>>(), "{in_flight} in flight");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_the_parts_of_a_batch_that_was_too_large() {
    let mut config = Config::default();
    config.max_message_bytes = 300;
    let cluster = Cluster::builder().config(config).topic("orders", 1).in_memory().start().await.unwrap();
    let producer = producer(&cluster).linger(secs(20)).build().await.unwrap();
    producer.send(ProducerRecord::to("orders").value("0")).await.unwrap();
    let deliveries: Vec<_> =
        (0..200).map(|n| producer.send(ProducerRecord::to("orders").value(&n.to_string()))).collect();
    producer.flush().await.unwrap();
    for delivery in deliveries {
        tokio::time::timeout(secs(0), delivery).await.expect("it has its outcome").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_gets_no_id_ends_once() {
    const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    let cluster = cluster().await;
    let rule =
        cluster.inject(FaultRule::on(ApiKey::InitProducerId, Fault::Fail(CLUSTER_AUTHORIZATION_FAILED)));
    let producer = producer(&cluster).build().await.unwrap();
    let error = producer.send(ProducerRecord::to("orders").value("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
    tokio::time::sleep(secs(60)).await;
    assert_eq!(cluster.hits(rule), 1, "it is not asked for again");
    assert_eq!(
        producer.send(ProducerRecord::to("orders").value("1")).await.unwrap_err().kind(),
        error.kind()
    );
    assert_eq!(producer.close(secs(1)).await.unwrap_err().kind(), error.kind());
}

/// Sends a round of records. Returns how many went to each partition.
async fn went_to(producer: &Producer, records: usize) -> BTreeMap<i32, usize> {
    let mut deliveries = Vec::new();
    for _ in 0..records {
        // Each record fills a batch.
        deliveries.push(producer.send(ProducerRecord::to("orders").value(&[7; 200])));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let written = tokio::time::timeout(secs(5), outcomes(deliveries)).await;
    let mut went_to = BTreeMap::new();
    for metadata in written.expect("none waits for a broker that does not answer") {
        *went_to.entry(metadata.unwrap().partition.partition).or_default() += 1;
    }
    went_to
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_takes_nothing_gets_no_records_that_may_go_elsewhere() {
    let cluster = cluster().await;
    let builder = producer(&cluster)
        .property("batch.size", 100)
        .property("max.in.flight.requests.per.connection", 1)
        .property("partitioner.availability.timeout.ms", 500);
    let producer = builder.build().await.unwrap();
    assert_eq!(went_to(&producer, 400).await.len(), 4);
    let leader = |partition| cluster.with(|model, _| model.leader_of("orders", partition)).unwrap();
    let silent = leader(0);
    let led: Vec<_> = (0..4).filter(|partition| leader(*partition) == silent).collect();
    let rule = cluster.inject(FaultRule::on(ApiKey::Produce, Fault::HoldRequest).broker(silent));
    // Until the stall is noticed, some records go there. In the end, one partition has more than one batch ready.
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(producer.send(ProducerRecord::to("orders").value(&[7; 200])));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    tokio::time::sleep(secs(1)).await;
    let went = went_to(&producer, 1000).await;
    assert_eq!(went.len(), 4 - led.len(), "{silent} leads {led:?}: {went:?}");
    assert!(led.iter().all(|partition| !went.contains_key(partition)), "{silent} leads {led:?}: {went:?}");
    // The broker responds, and gets its share again.
    cluster.withdraw(rule);
    cluster.release(rule);
    outcomes(waiting).await.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    let went = went_to(&producer, 400).await;
    assert_eq!(went.len(), 4, "{went:?}");
    producer.close(secs(60)).await.unwrap();
}

/// The former leader closes the connection, its only way to tell a producer with `acks=0`.
#[tokio::test(start_paused = true)]
async fn without_acks_a_leader_that_has_moved_is_found_by_the_connections_that_the_old_one_closes() {
    let mut config = Config::default();
    config.replication_factor = 3;
    let cluster = Cluster::builder().config(config).brokers(3).topic("orders", 4);
    let cluster = cluster.in_memory().start().await.unwrap();
    let producer = producer(&cluster).acks(Acks::None).build().await.unwrap();
    let send = async |n: i32| {
        let value = n.to_string();
        let record = ProducerRecord::to("orders").partition(0).value(&value);
        assert!(producer.send(record).await.is_ok(), "{n}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    for n in 0..10 {
        send(n).await;
    }
    let led = cluster.with(|model, _| model.leader_of("orders", 0)).unwrap();
    let (moved, to) =
        (cluster.inject(FaultRule::on(ApiKey::Produce, Fault::Delay(secs(0))).broker(led)), led % 3 + 1);
    cluster.with(|model, _| model.move_leader("orders", 0, to)).unwrap();
    for n in 10..30 {
        send(n).await;
    }
    producer.close(secs(10)).await.unwrap();
    let log: Vec<_> = logs(&cluster, "orders").await[&0].iter().map(|(_, value)| value.clone()).collect();
    assert!(cluster.hits(moved) <= 2, "{} were sent to the old leader", cluster.hits(moved));
    assert!(log.len() >= 28, "all but those: {log:?}");
}
