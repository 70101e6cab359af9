//! A cluster and a consumer in one process, without sockets, in virtual time.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use offtake::{Builder, Consumer, ErrorKind, dial::InMemory};
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
    let consumer = builder.build().await.unwrap();
    let error = consumer.end_offsets(("orders", 0)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable), "{error}");
    consumer.close(AN_HOUR).await.unwrap();
}
