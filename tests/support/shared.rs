//! Clusters that tests share, because a boot costs more than most tests. They end with the process.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, OnceLock};

use crate::java::JavaTool;
use crate::kafka::{Builder, Kafka, Version};

/// A cluster and Java's tool for it.
#[derive(Debug)]
pub struct Shared {
    /// The cluster.
    pub kafka: Kafka,
    /// Java's tool, on that cluster.
    pub tool: JavaTool,
}

impl Shared {
    fn start(builder: Builder) -> Self {
        let kafka = builder.start();
        let tool = JavaTool::start(&kafka);
        Self { kafka, tool }
    }
}

/// The single broker of a version. Many tests use it at once: use topics and groups of your own ([`unique`]), and leave
/// the broker alone.
pub fn shared(version: Version) -> &'static Shared {
    static ALL: [OnceLock<Shared>; 3] = [const { OnceLock::new() }; 3];
    version.of(&ALL).get_or_init(|| {
        let builder = Kafka::builder().version(version);
        Shared::start(match version {
            // There the consumer protocol is a preview.
            Version::V3_9_1 => builder.property("group.coordinator.rebalance.protocols", "classic,consumer"),
            Version::V2_8_2 | Version::V4_3_0 => builder,
        })
    })
}

/// A limited number of clusters of a kind, each used by one test at a time.
#[derive(Debug)]
struct Pool {
    clusters: [OnceLock<Shared>; 2],
    free: Mutex<Vec<usize>>,
    given_back: Condvar,
}

impl Pool {
    fn new(count: usize) -> Self {
        Self {
            clusters: [const { OnceLock::new() }; 2],
            free: Mutex::new((0..count).collect()),
            given_back: Condvar::new(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A free cluster, waiting for it; started if there is none yet, and healed after the last test.
    fn lease(&'static self, builder: impl FnOnce() -> Builder) -> Lease {
        let waited = self.given_back.wait_while(self.free(), |free| free.is_empty());
        let mut free = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = free.pop().expect("one was given back");
        drop(free);
        let turn = Turn { pool: self, at };
        let shared = self.clusters[at].get_or_init(|| Shared::start(builder()));
        shared.kafka.heal();
        Lease { shared, _turn: turn }
    }
}

/// Frees the cluster for the next test when it is dropped.
#[derive(Debug)]
struct Turn {
    pool: &'static Pool,
    at: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pool.free().push(self.at);
        self.pool.given_back.notify_one();
    }
}

/// A cluster for the exclusive use of one test at a time.
#[derive(Debug)]
pub struct Lease {
    shared: &'static Shared,
    _turn: Turn,
}

impl Deref for Lease {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

/// Three brokers of the newest version: a test may kill, pause and move, the next one finds all of them up. Waits for
/// its turn at one of two such clusters, as tests on them mostly wait.
pub fn three_brokers() -> Lease {
    static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(2));
    POOL.lease(|| Kafka::builder().brokers(3))
}

/// Three more, each behind a [`Proxy`](crate::Proxy) that forwards everything by default. Waits for its turn at the
/// only such cluster: tests with so many faults have many processes.
pub fn three_brokers_behind_proxies() -> Lease {
    static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(1));
    POOL.lease(|| Kafka::builder().brokers(3).proxied())
}

/// One broker of the newest version with an authorizer that allows everything that is not forbidden
/// ([`JavaTool::forbid`](crate::JavaTool::forbid)), behind a proxy that counts. Waits for its turn at one of two.
pub fn guarded() -> Lease {
    static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(2));
    POOL.lease(|| {
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let builder = Kafka::builder().proxied().property("authorizer.class.name", authorizer);
        builder.property("allow.everyone.if.no.acl.found", true)
    })
}

/// A name that no other test of this process uses.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
