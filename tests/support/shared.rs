//! Clusters that tests share, because a boot costs more than most tests do. They end with the process.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

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

/// The single broker of a version. Many tests use it at once: take topics and groups of your own ([`unique`]), and leave
/// the broker alone.
pub fn shared(version: Version) -> &'static Shared {
    static ALL: [OnceLock<Shared>; 3] = [const { OnceLock::new() }; 3];
    let [oldest, middle, newest] = &ALL;
    let cell = match version {
        Version::V2_8_2 => oldest,
        Version::V3_9_1 => middle,
        Version::V4_3_0 => newest,
    };
    cell.get_or_init(|| {
        let builder = Kafka::builder().version(version);
        Shared::start(match version {
            // There the consumer protocol is a preview.
            Version::V3_9_1 => builder.property("group.coordinator.rebalance.protocols", "classic,consumer"),
            Version::V2_8_2 | Version::V4_3_0 => builder,
        })
    })
}

/// A cluster that is one test's at a time.
#[derive(Debug)]
pub struct Lease {
    shared: &'static Shared,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Lease {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

/// Three brokers of the newest version: a test may kill, pause and move, the next one finds all of them up. Waits for its
/// turn.
pub fn three_brokers() -> Lease {
    static THREE: OnceLock<Shared> = OnceLock::new();
    lease(&THREE, |builder| builder)
}

/// Three more, each behind a [`Proxy`](crate::Proxy) that passes on what is said until it is told otherwise. Their turn is
/// the same: six brokers at work are too many.
pub fn three_brokers_behind_proxies() -> Lease {
    static THREE: OnceLock<Shared> = OnceLock::new();
    lease(&THREE, Builder::proxied)
}

fn lease(cell: &'static OnceLock<Shared>, with: impl FnOnce(Builder) -> Builder) -> Lease {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shared =
        cell.get_or_init(|| Shared::start(with(Kafka::builder().version(Version::V4_3_0).brokers(3))));
    shared.kafka.heal();
    Lease { shared, _turn: turn }
}

/// One broker of the newest version with an authorizer that allows what nobody forbids
/// ([`JavaTool::forbid`](crate::JavaTool::forbid)), behind a proxy that counts. Waits for its turn.
pub fn guarded() -> Lease {
    static TURN: Mutex<()> = Mutex::new(());
    static GUARDED: OnceLock<Shared> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shared = GUARDED.get_or_init(|| {
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let builder = Kafka::builder().proxied().property("authorizer.class.name", authorizer);
        Shared::start(builder.property("allow.everyone.if.no.acl.found", true))
    });
    Lease { shared, _turn: turn }
}

/// A name that no other test of this process has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
