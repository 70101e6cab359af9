//! Tests that each example does what it demonstrates.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use offtake::{Consumer, OwnedRecord, TopicPartition};
use offtake_broker::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};

use crate::support::{A_WHILE, cluster, orders, reading};

#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/faults.rs"]
mod faults;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/flush_on_revoke.rs"]
mod flush_on_revoke;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/http_state.rs"]
mod http_state;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/many_threads.rs"]
mod many_threads;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/read_to_end.rs"]
mod read_to_end;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/service.rs"]
mod service;

/// The committed offsets of a group for both partitions of `orders`.
async fn committed(cluster: &Cluster, group: &str) -> Vec<i64> {
    let reader = Consumer::builder(cluster.bootstrap().as_str()).group(group).build().await.unwrap();
    let committed = reader.committed([orders(0), orders(1)]).await.unwrap();
    reader.close(A_WHILE).await.unwrap();
    committed.into_values().map(|committed| committed.offset).collect()
}

#[test]
fn an_example_is_short() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut count = 0;
    for example in std::fs::read_dir(folder).unwrap() {
        let path = example.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 60, "{} has {lines} lines", path.display());
        count += 1;
    }
    assert_eq!(count, 6, "each has a test here");
}

#[tokio::test(start_paused = true)]
async fn a_test_with_faults() {
    faults::run().await.unwrap();
}

/// The signal is sent to this process, which has no other use for it.
#[tokio::test]
async fn a_service_ends_with_sigterm_and_has_committed() {
    let cluster = cluster().await;
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let servers = cluster.bootstrap();
    let service = async move {
        let handle = move |_: &offtake::Record<'_>| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        service::run(&servers, handle).await.unwrap();
    };
    let signals = async {
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < 20 {
            assert!(began.elapsed() < A_WHILE);
            tokio::task::yield_now().await;
        }
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        terminate.recv().await.unwrap();
    };
    tokio::join!(service, signals);
    assert_eq!(committed(&cluster, "service").await, [10, 10]);
}

async fn get(listener: &std::net::SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(listener).await.unwrap();
    connection.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_handle_is_the_state_of_a_web_service() {
    let cluster = cluster().await;
    let mut consumer = reading(&cluster).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(http_state::serve(listener, consumer.handle()));
    assert_eq!(get(&address, "/lag").await, "orders-0 Some(0)\norders-1 Some(0)\n");
    assert_eq!(get(&address, "/pause").await, "paused\n");
    assert_eq!(consumer.paused().len(), 2);
    assert_eq!(get(&address, "/resume").await, "resumed\n");
    assert!(consumer.paused().is_empty());
    let polling = tokio::spawn(async move { while consumer.poll(A_WHILE).await.is_ok() {} });
    assert_eq!(get(&address, "/stop").await, "stopped\n");
    polling.await.unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn collected_records_are_written_before_their_partition_is_revoked() {
    let cluster = cluster().await;
    let mut consumer = flush_on_revoke::consumer(&cluster.bootstrap()).await.unwrap();
    let handle = consumer.handle();
    let written = Arc::new(Mutex::new(Vec::<(TopicPartition, usize)>::new()));
    let into = Arc::clone(&written);
    let write = move |partition: &TopicPartition, records: Vec<OwnedRecord>| {
        into.lock().unwrap().push((partition.clone(), records.len()));
    };
    let task = tokio::spawn(async move { flush_on_revoke::run(&mut consumer, write).await });
    let began = Instant::now();
    while [0, 1].iter().any(|index| handle.position(("orders", *index)) != Some(10)) {
        assert!(began.elapsed() < A_WHILE);
        tokio::task::yield_now().await;
    }
    assert!(written.lock().unwrap().is_empty(), "it is not enough yet");
    assert!(committed(&cluster, "archive").await.is_empty());
    handle.close(A_WHILE).await.unwrap();
    task.await.unwrap().unwrap();
    assert_eq!(*written.lock().unwrap(), [(orders(0), 10), (orders(1), 10)]);
    assert_eq!(committed(&cluster, "archive").await, [10, 10]);
}

#[tokio::test]
async fn a_whole_topic_is_read_once_and_what_comes_later_is_not() {
    let cluster = cluster().await;
    let mut seen = BTreeSet::new();
    let servers = cluster.bootstrap();
    read_to_end::run(&servers, "orders", |record| {
        cluster.produce("orders", 0, None, Some(b"later")).unwrap();
        seen.insert((record.partition(), record.offset()));
    })
    .await
    .unwrap();
    assert!((0..20).all(|n| seen.contains(&(n / 10, i64::from(n % 10)))), "{seen:?}");
}

#[tokio::test]
async fn several_threads_handle_what_one_consumer_reads() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let cluster = cluster().await;
    let consumer = many_threads::consumer(&cluster.bootstrap()).await.unwrap();
    let handle = consumer.handle();
    let task = many_threads::run(consumer, |_| {
        COUNT.fetch_add(1, Ordering::Relaxed);
    });
    let closes = async {
        let began = Instant::now();
        while COUNT.load(Ordering::Relaxed) < 20 {
            assert!(began.elapsed() < A_WHILE);
            tokio::task::yield_now().await;
        }
        // The last counted records are finished a moment later.
        while committed(&cluster, "threads").await != [10, 10] {
            assert!(began.elapsed() < A_WHILE);
            handle.commit_finished().await.unwrap();
        }
        handle.close(A_WHILE).await.unwrap();
    };
    let (ended, ()) = tokio::join!(task, closes);
    ended.unwrap();
}
