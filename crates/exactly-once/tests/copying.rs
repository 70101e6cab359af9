//! A job that copies a topic: whatever faults occur, each record is in the copy once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods)] // tests have tasks and deadlines of their own

use std::{collections::BTreeMap, time::Duration};

use offtake::{Consumer, ErrorKind};
use offtake_broker::{ApiKey, Cluster, Config, Fault, FaultRule};
use offtake_exactly_once::{Ended, ExactlyOnce};
use offtake_producer::{Producer, ProducerRecord, TransactionalProducer};
use tokio::time::Instant;

const RECORDS: usize = 600;
/// The clusters' clock at their start.
const WALL_MS: i64 = 1_700_000_000_000;

async fn cluster(transaction_version: i16) -> Cluster {
    let mut config = Config::default();
    config.transaction_version = transaction_version;
    let cluster = Cluster::builder().config(config).brokers(3).topic("in", 6).topic("out", 3);
    let cluster = cluster.in_memory().start().await.unwrap();
    let inside = cluster.clone();
    let producer = Producer::builder(cluster.bootstrap())
        .replay(7, WALL_MS)
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake_producer::dial::InMemory::new(move |port| inside.connect(port)))
        .build()
        .await
        .unwrap();
    let mut deliveries = Vec::new();
    for n in 0..RECORDS {
        let partition = i32::try_from(n % 6).unwrap();
        deliveries.push(producer.send(ProducerRecord::to("in").partition(partition).value(&n.to_string())));
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(Duration::from_secs(60)).await.unwrap();
    cluster
}

async fn consumer(cluster: &Cluster, protocol: &str) -> Consumer {
    let inside = cluster.clone();
    let builder = Consumer::builder(cluster.bootstrap())
        .group("copy")
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("enable.auto.commit", "false")
        .property("auto.offset.reset", "earliest")
        .property("max.poll.records", "20")
        .property("request.timeout.ms", "2000")
        .property("isolation.level", "read_committed");
    let builder = match protocol {
        "consumer" => builder.property("group.protocol", "consumer"),
        assignor => {
            builder.property("partition.assignment.strategy", assignor).property("session.timeout.ms", "6000")
        }
    };
    builder.build().await.unwrap()
}

/// One instance of the job, as it is restarted each time.
async fn copy(cluster: Cluster, protocol: &'static str, id: usize) -> offtake::Result<()> {
    let mut consumer = consumer(&cluster, protocol).await;
    consumer.subscribe("in").await?;
    let inside = cluster.clone();
    let producer = TransactionalProducer::builder(cluster.bootstrap(), format!("copy-{id}"))
        .replay(7, WALL_MS)
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake_producer::dial::InMemory::new(move |port| inside.connect(port)))
        .property("request.timeout.ms", 2000)
        .property("delivery.timeout.ms", 10_000)
        .property("transaction.timeout.ms", 20_000)
        .build_transactional()
        .await?;
    let mut once = ExactlyOnce::new(consumer, producer)?;
    let mut steps = 0;
    while let Some(step) = once.next().await? {
        for record in step.records() {
            step.send(ProducerRecord::to("out").value(record.value().unwrap_or_default()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        steps += 1;
        match steps % 7 {
            3 => step.abort().await?,
            5 => drop(step),
            _ => match step.commit().await? {
                Ended::Committed | Ended::Aborted(_) | Ended::Unknown(_) => {}
                _ => unreachable!(),
            },
        }
    }
    Ok(())
}

/// How often each number occurs in the committed output.
async fn copied(cluster: &Cluster) -> BTreeMap<usize, usize> {
    let inside = cluster.clone();
    let mut consumer = Consumer::builder(cluster.bootstrap())
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake::dial::InMemory::new(move |port| inside.connect(port)))
        .property("isolation.level", "read_committed")
        .build()
        .await
        .unwrap();
    consumer.assign([("out", 0, 0), ("out", 1, 0), ("out", 2, 0)]).await.unwrap();
    let mut copied = BTreeMap::new();
    loop {
        let records = consumer.poll(Duration::from_millis(500)).await.unwrap();
        if records.is_empty() {
            return copied;
        }
        for record in &records {
            let number = std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap();
            *copied.entry(number).or_default() += 1;
        }
    }
}

/// Checks that each record is copied once. Returns how often each rule was applied.
async fn each_record_once(
    name: &str,
    protocol: &'static str,
    version: i16,
    rules: Vec<FaultRule>,
) -> Vec<u64> {
    let cluster = cluster(version).await;
    let rules: Vec<_> = rules.into_iter().map(|rule| cluster.inject(rule)).collect();
    let start = |id| tokio::spawn(copy(cluster.clone(), protocol, id));
    let mut members: Vec<_> = (0..3).map(start).collect();
    // Members die and restart, in turn; a member that failed is restarted.
    for turn in 0..9 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        members[turn % 3].abort();
        for (id, member) in members.iter_mut().enumerate() {
            if member.is_finished() || id == turn % 3 {
                *member = start(id);
            }
        }
    }
    let hits = rules.iter().map(|rule| cluster.hits(*rule)).collect();
    rules.into_iter().for_each(|rule| cluster.withdraw(rule));
    for _ in 0..120 {
        for (id, member) in members.iter_mut().enumerate() {
            if member.is_finished() {
                let ended = std::mem::replace(member, start(id)).await;
                if let Ok(Err(error)) = ended {
                    assert_eq!(error.kind(), ErrorKind::Fenced, "{name}: {error}");
                }
            }
        }
        if copied(&cluster).await.len() == RECORDS {
            break;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let copied = copied(&cluster).await;
    let missing: Vec<_> = (0..RECORDS).filter(|number| !copied.contains_key(number)).take(20).collect();
    let double: Vec<_> = copied.iter().filter(|(_, times)| **times > 1).take(20).collect();
    assert!(missing.is_empty() && double.is_empty(), "{name}: missing {missing:?}, double {double:?}");
    members.into_iter().for_each(|member| member.abort());
    hits
}

/// The number of faults of each API.
const FAULTS: usize = 4;

fn harms() -> Vec<FaultRule> {
    let asked = [
        ApiKey::InitProducerId,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::EndTxn,
        ApiKey::Produce,
        ApiKey::OffsetFetch,
    ];
    let harms: [_; FAULTS] =
        [Fault::ApplyThenLose, Fault::Drop, Fault::Reset, Fault::Late(Duration::from_millis(700))];
    let often = |api| if api == ApiKey::InitProducerId { 0.1 } else { 0.02 };
    let rule = |api, harm| FaultRule::on(api, harm).probably(often(api));
    asked.iter().flat_map(|api| harms.clone().map(|harm| rule(*api, harm))).collect()
}

/// Asserts that for each API at least one kind of fault was applied.
fn check_struck(hits: &[u64]) {
    assert!(hits.chunks(FAULTS).all(|of_api| of_api.iter().any(|hits| *hits > 0)), "{hits:?}");
    let mut kinds = (0..FAULTS).map(|nth| hits.iter().skip(nth).step_by(FAULTS));
    assert!(kinds.all(|mut of_kind| of_kind.any(|hits| *hits > 0)), "{hits:?}");
}

#[tokio::test(start_paused = true)]
async fn safe11_k10_members_that_die_and_come_back_copy_each_record_once() {
    for version in [0, 2] {
        for protocol in ["range", "cooperative-sticky", "consumer"] {
            each_record_once(&format!("{protocol}, {version}"), protocol, version, Vec::new()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn safe11_k10_each_record_is_copied_once_under_broker_faults() {
    let mut hits = vec![0; harms().len()];
    for version in [0, 2] {
        for protocol in ["range", "cooperative-sticky", "consumer"] {
            let name = format!("{protocol}, {version}, harmed");
            let struck = each_record_once(&name, protocol, version, harms()).await;
            hits.iter_mut().zip(struck).for_each(|(sum, hits)| *sum += hits);
        }
    }
    check_struck(&hits);
}

async fn producer(cluster: &Cluster) -> TransactionalProducer {
    let inside = cluster.clone();
    TransactionalProducer::builder(cluster.bootstrap(), "copy")
        .replay(7, WALL_MS)
        .spawn_on(tokio::runtime::Handle::current())
        .dial(offtake_producer::dial::InMemory::new(move |port| inside.connect(port)))
        .build_transactional()
        .await
        .unwrap()
}

/// Each step is aborted once, while fetches of offsets are late or never answered.
#[tokio::test(start_paused = true)]
async fn k9_a_load_of_offsets_does_not_undo_the_way_back_after_an_abort() {
    for (harm, protocol) in
        [(Fault::Late(Duration::from_millis(900)), "range"), (Fault::ApplyThenLose, "consumer")]
    {
        let cluster = cluster(2).await;
        let rule = cluster.inject(FaultRule::on(ApiKey::OffsetFetch, harm).probably(0.5));
        let mut consumer = consumer(&cluster, protocol).await;
        consumer.subscribe("in").await.unwrap();
        let mut once = ExactlyOnce::new(consumer, producer(&cluster).await).unwrap();
        let mut aborts = false;
        let mut steps = 0;
        while copied(&cluster).await.len() < RECORDS {
            let step = once.next().await.unwrap().unwrap();
            for record in step.records() {
                step.send(ProducerRecord::to("out").value(record.value().unwrap_or_default()));
            }
            aborts = !aborts;
            if aborts {
                step.abort().await.unwrap();
            } else {
                assert!(matches!(step.commit().await.unwrap(), Ended::Committed));
            }
            steps += 1;
            assert!(steps < RECORDS, "{protocol}: it does not come to an end");
        }
        assert!(cluster.hits(rule) > 10, "{protocol}: it struck {} times", cluster.hits(rule));
        assert!(copied(&cluster).await.into_values().all(|times| times == 1), "{protocol}");
        once.close(Duration::from_secs(30)).await.unwrap();
    }
}

/// A step that is aborted again and again does not cause a storm of transactions, and a committed step ends the waiting.
#[tokio::test(start_paused = true)]
async fn steps_that_are_aborted_again_and_again_wait_longer_and_longer() {
    let cluster = cluster(2).await;
    let mut consumer = consumer(&cluster, "range").await;
    consumer.subscribe("in").await.unwrap();
    let mut once = ExactlyOnce::new(consumer, producer(&cluster).await).unwrap();
    let mut waits = Vec::new();
    for aborts in [true, true, true, true, true, true, true, false, true, true] {
        let began = Instant::now();
        let step = once.next().await.unwrap().unwrap();
        waits.push(began.elapsed().as_millis());
        match aborts {
            true => step.abort().await.unwrap(),
            false => assert!(matches!(step.commit().await.unwrap(), Ended::Committed)),
        }
    }
    // `retry.backoff.ms` is 100, `retry.backoff.max.ms` 1,000. The brokers' time is added.
    for (at, least) in [(2, 100), (3, 200), (4, 400), (5, 800), (6, 1000), (7, 1000)] {
        assert!((least..least + 100).contains(&waits[at]), "wait {at}: {waits:?}");
    }
    for at in [1, 8, 9] {
        assert!(waits[at] < 100, "wait {at}: {waits:?}");
    }
    once.close(Duration::from_secs(30)).await.unwrap();
}

/// A loop that does other things too waits as long as one that does nothing else.
#[tokio::test(start_paused = true)]
async fn a_next_that_is_dropped_and_called_again_counts_once() {
    let cluster = cluster(2).await;
    let mut consumer = consumer(&cluster, "range").await;
    consumer.subscribe("in").await.unwrap();
    let mut once = ExactlyOnce::new(consumer, producer(&cluster).await).unwrap();
    let mut waits = Vec::new();
    for _ in 0..7 {
        let began = Instant::now();
        let step = loop {
            tokio::select! {
                step = once.next() => break step.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(30)) => {}
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not go on: {waits:?}");
        };
        waits.push(began.elapsed().as_millis());
        step.abort().await.unwrap();
    }
    for (at, least) in [(2, 100), (3, 200), (4, 400), (5, 800), (6, 1000)] {
        assert!((least..least + 150).contains(&waits[at]), "wait {at}: {waits:?}");
    }
    once.close(Duration::from_secs(30)).await.unwrap();
}
