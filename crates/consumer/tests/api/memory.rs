//! A cluster and a consumer in one process, without sockets, in virtual time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use offtake::{Builder, Consumer, ErrorKind, Event, StartAt, TopicPartition, dial::InMemory};
use offtake_broker::{ApiKey, Cluster, Fault, FaultRule};
use tokio::{runtime::Handle, time::Instant};

const AN_HOUR: Duration = Duration::from_secs(3600);

fn inside(cluster: &Cluster) -> Builder {
    let servers = cluster.bootstrap();
    Consumer::builder(&servers)
        .group("inside")
        .property("auto.offset.reset", "earliest")
        .dial(InMemory::new(cluster.connector()))
        .spawn_on(Handle::current())
}

/// Sockets would wait in real time, which a paused clock would overtake.
#[tokio::test(start_paused = true)]
async fn minutes_of_waiting_take_no_time() {
    let began = (Instant::now(), std::time::Instant::now());
    let cluster = Cluster::builder().brokers(2).topic("orders", 2).in_memory().start().await.unwrap();
    let mut consumer = inside(&cluster).build().await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    assert!(consumer.poll(Duration::from_secs(300)).await.unwrap().is_empty());
    // A commit whose response is lost, and a broker that is down for minutes.
    cluster.produce("orders", 0, None, Some(b"one")).unwrap();
    let records = consumer.poll(AN_HOUR).await.unwrap();
    assert_eq!(records.len(), 1);
    let lost = cluster.inject(FaultRule::on(ApiKey::OffsetCommit, Fault::ApplyThenLose).nth(1));
    consumer.commit(&records).await.unwrap();
    assert_eq!(cluster.hits(lost), 1);
    cluster.crash(1);
    assert!(consumer.poll(Duration::from_secs(300)).await.unwrap().is_empty());
    cluster.restart(1);
    for partition in 0..2 {
        cluster.produce("orders", partition, None, Some(b"two")).unwrap();
    }
    let mut read = 0;
    while read < 2 {
        read += consumer.poll(AN_HOUR).await.unwrap().len();
    }
    consumer.close(AN_HOUR).await.unwrap();
    assert!(began.0.elapsed() >= Duration::from_secs(600), "the clock says");
    assert!(began.1.elapsed() < Duration::from_secs(60), "no wall does");
}

/// The most frequent mistake: partitions are counted from 0. Nothing would ever come, and nothing would say why.
#[tokio::test(start_paused = true)]
async fn an_assigned_partition_that_does_not_exist_is_reported_and_waited_for() {
    let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
    let (told, events) = std::sync::mpsc::channel();
    let mut consumer = inside(&cluster).events(move |event| told.send(event).unwrap()).build().await.unwrap();
    consumer.assign([("orders", 0, StartAt::Earliest), ("orders", 1, StartAt::Earliest)]).await.unwrap();
    assert!(consumer.poll(Duration::from_secs(60)).await.unwrap().is_empty());
    let errors: Vec<_> = events
        .try_iter()
        .filter_map(|event| match event {
            Event::Error(error) => Some(error),
            _ => None,
        })
        .collect();
    let [error] = &errors[..] else { panic!("reported once: {errors:?}") };
    assert_eq!((error.kind(), error.partition().unwrap().partition), (ErrorKind::UnknownTopic, 1));
    assert!(error.to_string().contains("topic orders has 1 partition, counted from 0"), "{error}");
    cluster.with(|model, _| model.add_partitions("orders", 2)).unwrap();
    cluster.produce("orders", 1, None, Some(b"one")).unwrap();
    assert_eq!(consumer.poll(AN_HOUR).await.unwrap().len(), 1);
    consumer.close(AN_HOUR).await.unwrap();
}

/// A variable that is not set, for example. Java refuses it, too; the group would wait for ever.
#[tokio::test(start_paused = true)]
async fn a_topic_without_a_name_is_refused() {
    let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
    let mut consumer = inside(&cluster).build().await.unwrap();
    for names in [vec![""], vec!["orders", " "]] {
        assert_eq!(consumer.subscribe(names).await.unwrap_err().kind(), ErrorKind::Misuse);
    }
    assert!(consumer.subscription().is_empty());
    consumer.close(AN_HOUR).await.unwrap();
}

/// As in Java.
#[tokio::test(start_paused = true)]
async fn an_empty_assignment_unsubscribes() {
    let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
    cluster.produce("orders", 0, None, Some(b"one")).unwrap();
    let mut consumer = inside(&cluster).build().await.unwrap();
    let nothing = Vec::<TopicPartition>::new;
    consumer.assign(("orders", 0, StartAt::Earliest)).await.unwrap();
    assert_eq!(consumer.subscribe("orders").await.unwrap_err().kind(), ErrorKind::Misuse);
    consumer.assign(nothing()).await.unwrap();
    consumer.subscribe("orders").await.unwrap();
    assert_eq!(consumer.poll(AN_HOUR).await.unwrap().len(), 1);
    consumer.assign(nothing()).await.unwrap();
    assert!(consumer.subscription().is_empty() && consumer.assignment().is_empty());
    consumer.close(AN_HOUR).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_dialled_again() {
    let cluster = Cluster::builder().topic("orders", 1).in_memory().start().await.unwrap();
    cluster.produce("orders", 0, None, Some(b"one")).unwrap();
    let (servers, tries) = (cluster.bootstrap(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&tries);
    let dial = InMemory::new(move |port| match counted.fetch_add(1, Ordering::Relaxed) {
        0..3 => Err(io::ErrorKind::ConnectionRefused.into()),
        _ => cluster.connect(port),
    });
    let builder = Consumer::builder(&servers).dial(dial).spawn_on(Handle::current());
    let mut consumer = builder.build().await.unwrap();
    consumer.assign([("orders", 0, 0)]).await.unwrap();
    assert_eq!(consumer.poll(AN_HOUR).await.unwrap().len(), 1);
    assert!(tries.load(Ordering::Relaxed) > 3);
    consumer.close(AN_HOUR).await.unwrap();

    let nobody =
        InMemory::new(|_| Err::<tokio::io::DuplexStream, _>(io::ErrorKind::ConnectionRefused.into()));
    let builder = Consumer::builder("nobody:1").dial(nobody).spawn_on(Handle::current());
    let mut consumer = builder.group("alone").enable_auto_commit(false).build().await.unwrap();
    let orders = || TopicPartition::new("orders", 0);
    let known = consumer.partitions_for("orders").await.unwrap_err();
    assert_eq!((known.kind(), known.is_retriable()), (ErrorKind::Unreachable, true), "{known}");
    consumer.assign([("orders", 0, 0)]).await.unwrap();
    for error in [
        consumer.end_offsets(orders()).await.unwrap_err(),
        consumer.watermarks(orders()).await.unwrap_err(),
        consumer.offsets_for_times([(orders(), 0)]).await.unwrap_err(),
        consumer.committed(orders()).await.unwrap_err(),
        consumer.commit_offsets([(orders(), 0)]).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.is_retriable()), (ErrorKind::Unreachable, true), "{error}");
        assert!(error.to_string().contains(&known.to_string()), "{error}");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source, Some(known.to_string()));
    }
    consumer.close(AN_HOUR).await.unwrap();
}
