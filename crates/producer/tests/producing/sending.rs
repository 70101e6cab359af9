//! Records are written to the right place, in order, and complete.

use std::{
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Wake, Waker},
};

use offtake_broker::{Cluster, Config};
use offtake_producer::{
    ErrorKind, Partitioner, Producer, ProducerRecord,
    config::{Acks, Compression},
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::{cluster, logs, outcomes, producer, secs};

#[tokio::test(start_paused = true)]
async fn records_are_written_in_order_and_told_where() {
    let cluster = cluster().await;
    let producer = producer(&cluster).build().await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..5000 {
        let (key, value) = (format!("{}", n % 10), format!("{n}"));
        deliveries.push(producer.send(ProducerRecord::to("orders").key(&key).value(&value)));
    }
    let written: Vec<_> = outcomes(deliveries).await.into_iter().map(Result::unwrap).collect();
    let logs = logs(&cluster, "orders").await;
    assert_eq!(logs.values().map(Vec::len).sum::<usize>(), 5000);
    for (n, metadata) in written.iter().enumerate() {
        let log = &logs[&metadata.partition.partition];
        let offset = metadata.offset.unwrap();
        assert_eq!(log[usize::try_from(offset).unwrap()], (offset, n.to_string()));
        assert_eq!(metadata.partition, written[n % 10].partition, "equal keys, one partition");
    }
    for log in logs.values() {
        assert!(log.windows(2).all(|two| two[0].1.parse::<u32>().unwrap() < two[1].1.parse().unwrap()));
    }
    producer.close(secs(10)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_codec_is_read_again() {
    for codec in Compression::ALL {
        let cluster = cluster().await;
        let producer = producer(&cluster).compression(codec).build().await.unwrap();
        let deliveries = (0..2000).map(|n| {
            let value = format!("{n} {}", "x".repeat(n % 100));
            producer.send(ProducerRecord::to("orders").partition(1).value(&value).header("h", "v"))
        });
        let written = outcomes(deliveries.collect()).await;
        assert!(written.iter().all(Result::is_ok), "{codec}");
        let log = &logs(&cluster, "orders").await[&1];
        assert_eq!(log.len(), 2000, "{codec}");
        assert!(log.iter().enumerate().all(|(n, (_, value))| value.starts_with(&format!("{n} "))), "{codec}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_without_a_key_fill_one_partition_after_the_other() {
    let cluster = cluster().await;
    let producer = producer(&cluster).batch_size(1000).build().await.unwrap();
    let value = "x".repeat(100);
    let deliveries = (0..4000).map(|_| producer.send(ProducerRecord::to("orders").value(&value)));
    let written = outcomes(deliveries.collect()).await;
    let partitions: Vec<_> = written.into_iter().map(|one| one.unwrap().partition.partition).collect();
    let changes = partitions.windows(2).filter(|two| two[0] != two[1]).count();
    assert!((100..600).contains(&changes), "{changes} changes of the partition");
    for partition in 0..4 {
        let count = partitions.iter().filter(|one| **one == partition).count();
        assert!((600..1400).contains(&count), "{count} records in partition {partition}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partitioner_of_ones_own_chooses_or_leaves_the_choice() {
    struct Third;
    impl Partitioner for Third {
        fn partition(&self, record: &ProducerRecord<'_>, _: u32) -> Option<i32> {
            (record.key_bytes() == Some(b"mine")).then_some(3)
        }
    }
    let cluster = cluster().await;
    let producer = producer(&cluster).partitioner(Third).build().await.unwrap();
    let mine = producer.send(ProducerRecord::to("orders").key("mine").value("1")).await.unwrap();
    assert_eq!(mine.partition.partition, 3);
    let named =
        producer.send(ProducerRecord::to("orders").key("mine").partition(0).value("2")).await.unwrap();
    assert_eq!(named.partition.partition, 0, "a record's own partition comes first");
}

#[tokio::test(start_paused = true)]
async fn a_partitioner_that_panics_refuses_its_record_and_no_other() {
    struct Picky;
    impl Partitioner for Picky {
        fn partition(&self, record: &ProducerRecord<'_>, _: u32) -> Option<i32> {
            assert!(record.key_bytes() != Some(b"bad"), "a key that it does not like");
            None
        }
    }
    let cluster = cluster().await;
    let producer = producer(&cluster).partitioner(Picky).build().await.unwrap();
    let to = |key| ProducerRecord::to("orders").key(key).value("1");
    // The first records wait for the topic, so that the engine calls the partitioner. For the last one, `send` does.
    let waiting = ["good", "bad", "good"].map(|key| producer.send(to(key)));
    let mut written = outcomes(Vec::from(waiting)).await;
    written.push(producer.send(to("bad")).await);
    written.push(producer.send(to("good")).await);
    let is_written: Vec<_> = written.iter().map(Result::is_ok).collect();
    assert_eq!(is_written, [true, false, true, false, true]);
    for refused in written.into_iter().filter_map(Result::err) {
        assert_eq!(refused.kind(), ErrorKind::Misuse);
        assert!(refused.to_string().contains("partitioner panicked"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_without_the_lock_that_senders_need() {
    /// A task of an executor that runs it where it is woken; it sends the next record.
    struct SendsInPlace(Producer, UnboundedSender<bool>);
    impl Wake for SendsInPlace {
        fn wake(self: Arc<Self>) {
            let (producer, (done, is_done)) = (self.0.clone(), mpsc::channel());
            std::thread::spawn(move || {
                drop(producer.send(ProducerRecord::to("orders").value("2")));
                let _ = done.send(());
            });
            let _ = self.1.send(is_done.recv_timeout(secs(5)).is_ok());
        }
    }
    let cluster = cluster().await;
    let producer = producer(&cluster).build().await.unwrap();
    let sent = producer.send(ProducerRecord::to("orders").value("1"));
    let (told, mut was_sent) = unbounded_channel();
    let waker = Waker::from(Arc::new(SendsInPlace(producer.clone(), told)));
    let mut flush = pin!(producer.flush());
    assert!(flush.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(was_sent.recv().await, Some(true), "the flush was ended while the accumulator was locked");
    flush.await.unwrap();
    sent.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_made_by_its_first_record() {
    let mut config = Config::default();
    config.auto_create_topics = true;
    let cluster = Cluster::builder().config(config).in_memory().start().await.unwrap();
    let producer = producer(&cluster).build().await.unwrap();
    let written = producer.send(ProducerRecord::to("new").value("1")).await.unwrap();
    assert_eq!(written.offset, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_later_is_waited_for_and_others_are_not_held_up() {
    let cluster = cluster().await;
    let producer = producer(&cluster).build().await.unwrap();
    let to = |partition| ProducerRecord::to("orders").partition(partition).value("1");
    producer.send(to(0)).await.unwrap();
    let missing = tokio::spawn(producer.send(to(7)));
    producer.send(to(1)).await.unwrap();
    let error = missing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
    assert!(error.to_string().contains("it has 4"), "{error}");
    let error = producer.send(ProducerRecord::to("nowhere").value("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_sent_before() {
    let cluster = cluster().await;
    let producer = producer(&cluster).linger(secs(20)).build().await.unwrap();
    producer.flush().await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..100 {
        deliveries.push(producer.send(ProducerRecord::to("orders").key(&n.to_string()).value("1")));
    }
    let begun = tokio::time::Instant::now();
    producer.flush().await.unwrap();
    assert!(begun.elapsed() < secs(5), "it does not wait for linger.ms");
    for delivery in deliveries {
        let told = tokio::time::timeout(secs(0), delivery).await;
        told.expect("it has its outcome").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn closing_writes_what_there_is_and_takes_no_more() {
    let cluster = cluster().await;
    let producer = producer(&cluster).linger(secs(20)).build().await.unwrap();
    let other = producer.clone();
    let delivery = producer.send(ProducerRecord::to("orders").value("1"));
    producer.close(secs(60)).await.unwrap();
    delivery.await.unwrap();
    let error = other.send(ProducerRecord::to("orders").value("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(other.flush().await.unwrap_err().kind(), ErrorKind::Closed);
    other.close(std::time::Duration::MAX).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_is_dropped_writes_what_there_is() {
    let cluster = cluster().await;
    let producer = producer(&cluster).linger(secs(20)).build().await.unwrap();
    let delivery = producer.send(ProducerRecord::to("orders").value("1"));
    drop(producer);
    delivery.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn records_that_make_no_sense_are_refused_at_once() {
    let cluster = cluster().await;
    let producer = producer(&cluster).build().await.unwrap();
    let large = "x".repeat(2 << 20);
    let cases = [
        (ProducerRecord::to("").value("1"), ErrorKind::Misuse),
        (ProducerRecord::to("a/b").value("1"), ErrorKind::Misuse),
        (ProducerRecord::to("orders").partition(-1).value("1"), ErrorKind::Misuse),
        (ProducerRecord::to("orders").timestamp(-1).value("1"), ErrorKind::Misuse),
        (ProducerRecord::to("orders").value(&large), ErrorKind::TooLarge),
    ];
    producer.send(ProducerRecord::to("orders").value("1")).await.unwrap();
    for (record, kind) in cases {
        let shown = format!("{record:?}");
        let error = producer.send(record).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn acks_of_one_and_none_are_asked_for() {
    for (acks, knows_offsets) in [(Acks::Leader, true), (Acks::None, false)] {
        let cluster = cluster().await;
        let producer = producer(&cluster).acks(acks).build().await.unwrap();
        let deliveries =
            (0..1000).map(|n| producer.send(ProducerRecord::to("orders").partition(2).value(&n.to_string())));
        let written = outcomes(deliveries.collect()).await;
        assert!(written.iter().all(|one| one.as_ref().unwrap().offset.is_some() == knows_offsets), "{acks}");
        producer.close(secs(10)).await.unwrap();
        let log: Vec<_> = logs(&cluster, "orders").await[&2].iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(log, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>(), "{acks}");
    }
}

/// As in Java, where the topic leaves the metadata: a record of it waits for `max.block.ms`, and takes no memory.
#[tokio::test(start_paused = true)]
async fn a_topic_that_was_deleted_is_reported_and_takes_no_memory_of_others() {
    let mut config = Config::default();
    config.auto_create_topics = false;
    let builder = Cluster::builder().config(config).brokers(3).topic("orders", 4).topic("gone", 1);
    let cluster = builder.in_memory().start().await.unwrap();
    let builder = producer(&cluster).property("buffer.memory", 100_000).property("max.block.ms", 5000);
    let producer = builder.build().await.unwrap();
    let gone = || ProducerRecord::to("gone").value("x");
    producer.send(gone()).await.unwrap();
    producer.send(ProducerRecord::to("orders").value("x")).await.unwrap();
    cluster.with(|model, _| model.delete_topic("gone")).unwrap();
    // It was accepted before this was known.
    assert_eq!(producer.send(gone()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(producer.send(gone()).await.unwrap_err().kind(), ErrorKind::UnknownTopic);
    let value = "x".repeat(10_000);
    let _kept: Vec<_> = (0..10).map(|_| producer.send(ProducerRecord::to("gone").value(&value))).collect();
    producer.send(ProducerRecord::to("orders").value(&value)).await.unwrap();
    // It is created again.
    cluster.create_topic("gone", 1).unwrap();
    producer.send(gone()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_with_a_timestamp_that_the_broker_refuses_is_named() {
    let cluster = cluster().await;
    let producer = producer(&cluster).linger(secs(1)).build().await.unwrap();
    let to = || ProducerRecord::to("orders").partition(0).value("x");
    producer.send(to()).await.unwrap();
    let (good, bad) = (producer.send(to()), producer.send(to().timestamp(4_000_000_000_000)));
    let (good, bad) = (good.await.unwrap_err().to_string(), bad.await.unwrap_err().to_string());
    assert!(good.contains("another record") && !bad.contains("another record"), "{good}; {bad}");
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_never_blocks_finds_partitions_that_are_new() {
    let cluster = cluster().await;
    let producer = producer(&cluster).property("max.block.ms", 0).build().await.unwrap();
    let to = |partition| ProducerRecord::to("orders").partition(partition).value("x");
    let _ = producer.send(to(0)).await;
    tokio::time::sleep(secs(1)).await;
    producer.send(to(0)).await.unwrap();
    cluster.with(|model, _| model.add_partitions("orders", 5)).unwrap();
    assert_eq!(producer.send(to(4)).await.unwrap_err().kind(), ErrorKind::UnknownTopic);
    tokio::time::sleep(secs(1)).await;
    producer.send(to(4)).await.unwrap();
}
