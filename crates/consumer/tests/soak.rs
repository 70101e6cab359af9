//! An hour of a consumer with nothing to read, in virtual time: nothing that it holds grows. A separate
//! binary, because the memory of the whole process is measured.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(clippy::disallowed_methods, reason = "the application under test waits, in virtual time")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use offtake::{Consumer, dial::InMemory};
use offtake_broker::Cluster;
use tokio::{runtime::Handle, time::Instant};

/// The growth in KiB that a process may show without a leak: the allocator keeps pages, and the broker its
/// log.
const MOST_GROWTH: u64 = 4 << 10;

/// The resources held.
#[derive(Clone, Copy, Debug)]
struct Held {
    tasks: usize,
    /// All connections ever made.
    dials: u64,
    descriptors: usize,
    memory_kib: u64,
}

impl Held {
    fn now(dials: &AtomicU64) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            dials: dials.load(Relaxed),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            memory_kib: resident
                .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or(0),
        }
    }
}

async fn read_for(consumer: &mut Consumer, time: Duration) -> usize {
    let (end, mut records) = (Instant::now() + time, 0);
    while Instant::now() < end {
        records += consumer.poll(Duration::from_secs(1)).await.unwrap().len();
    }
    records
}

#[tokio::test(start_paused = true)]
async fn p3_an_idle_hour_costs_no_task_no_connection_no_descriptor_and_no_memory() {
    for protocol in ["classic", "consumer"] {
        let cluster = Cluster::builder().brokers(3).topic("orders", 6).in_memory().start().await.unwrap();
        let dials = Arc::new(AtomicU64::new(0));
        let (broker, count) = (cluster.clone(), Arc::clone(&dials));
        let mut consumer = Consumer::builder(cluster.bootstrap())
            .group("readers")
            .dial(InMemory::new(move |port| {
                count.fetch_add(1, Relaxed);
                broker.connect(port)
            }))
            .spawn_on(Handle::current())
            .property("auto.offset.reset", "earliest")
            .property("group.protocol", protocol)
            .build()
            .await
            .unwrap();
        consumer.subscribe("orders").await.unwrap();
        for partition in 0..6 {
            cluster.produce("orders", partition, None, Some(b"one")).unwrap();
        }
        assert_eq!(read_for(&mut consumer, Duration::from_secs(15 * 60)).await, 6);

        let before = Held::now(&dials);
        assert_eq!(read_for(&mut consumer, Duration::from_secs(60 * 60)).await, 0);
        let after = Held::now(&dials);

        assert_eq!(after.tasks, before.tasks, "{protocol}: {before:?}, {after:?}");
        assert_eq!(after.descriptors, before.descriptors, "{protocol}: {before:?}, {after:?}");
        // Connections without traffic for nine minutes are closed, and made again when needed: for metadata
        // every five minutes.
        assert!(after.dials <= before.dials + 20, "{protocol}: {before:?}, {after:?}");
        assert!(after.memory_kib <= before.memory_kib + MOST_GROWTH, "{protocol}: {before:?}, {after:?}");
        cluster.produce("orders", 0, None, Some(b"two")).unwrap();
        assert_eq!(read_for(&mut consumer, Duration::from_secs(5)).await, 1, "{protocol}: and it reads on");
        consumer.close(Duration::from_secs(10)).await.unwrap();
    }
}
