//! The brokers' configuration: the settings that make Kafka quick to boot, quick to notice, and small.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The addresses of one broker, fixed for its life.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) id: i32,
    /// The port for the clients under test.
    pub(crate) port: u16,
    /// The advertised address: `port`, or a proxy before it.
    pub(crate) advertised: String,
    /// The port for brokers and Java's tools, past any proxy.
    pub(crate) internal: u16,
    pub(crate) controller: u16,
    /// More listeners for clients.
    pub(crate) others: Vec<Listener>,
}

/// One more listener for clients.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
    /// The advertised port: `port`, or that of a proxy before it.
    pub(crate) advertised: u16,
}

/// The settings that all brokers of a cluster share.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) id: String,
    pub(crate) nodes: Vec<Addresses>,
    /// The port of ZooKeeper, for versions that need one.
    pub(crate) zookeeper: Option<u16>,
    /// The test's own settings, in order; later ones win.
    pub(crate) properties: Vec<(String, String)>,
}

impl Cluster {
    /// The `server.properties` of one node.
    pub(crate) fn properties_of(&self, node: &Addresses, data: &Path) -> String {
        let copies = self.nodes.len().min(3);
        let in_sync = if copies == 1 { 1 } else { 2 };
        let Addresses { id, port, advertised, internal, controller, others } = node;
        let mut lines = String::new();
        let mut set = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(lines, "{key}={value}").expect("a String can be written to");
        };
        let mut clients = format!("PLAINTEXT://127.0.0.1:{port},INTERNAL://127.0.0.1:{internal}");
        let mut protocols = String::from("PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT");
        let mut known_as = format!("PLAINTEXT://{advertised},INTERNAL://127.0.0.1:{internal}");
        for Listener { name, protocol, port, advertised } in others {
            clients.push_str(&format!(",{name}://127.0.0.1:{port}"));
            known_as.push_str(&format!(",{name}://127.0.0.1:{advertised}"));
            protocols.push_str(&format!(",{name}:{protocol}"));
        }
        match self.zookeeper {
            Some(zookeeper) => {
                set("broker.id", id);
                set("listeners", &clients);
                set("zookeeper.connect", &format_args!("127.0.0.1:{zookeeper}"));
                set("zookeeper.session.timeout.ms", &4000);
            }
            None => {
                let voters: Vec<String> = self
                    .nodes
                    .iter()
                    .map(|each| format!("{}@127.0.0.1:{}", each.id, each.controller))
                    .collect();
                protocols.push_str(",CONTROLLER:PLAINTEXT");
                set("node.id", id);
                set("process.roles", &"broker,controller");
                set("controller.quorum.voters", &voters.join(","));
                set("controller.listener.names", &"CONTROLLER");
                set("listeners", &format_args!("{clients},CONTROLLER://127.0.0.1:{controller}"));
                // A dead broker is noticed, and may restart, after this long.
                set("broker.session.timeout.ms", &4000);
                set("broker.heartbeat.interval.ms", &500);
            }
        }
        set("listener.security.protocol.map", &protocols);
        set("advertised.listeners", &known_as);
        set("inter.broker.listener.name", &"INTERNAL");
        set("log.dirs", &data.display());
        // For clients with a rack; others see no difference.
        set("broker.rack", &format_args!("rack-{id}"));

        set("default.replication.factor", &copies);
        set("min.insync.replicas", &in_sync);
        set("offsets.topic.num.partitions", &4);
        set("offsets.topic.replication.factor", &copies);
        set("transaction.state.log.num.partitions", &4);
        set("transaction.state.log.replication.factor", &copies);
        set("transaction.state.log.min.isr", &in_sync);
        set("share.coordinator.state.topic.num.partitions", &4);
        set("share.coordinator.state.topic.replication.factor", &copies);
        set("share.coordinator.state.topic.min.isr", &in_sync);

        set("auto.create.topics.enable", &false);
        // Leaders move only when a test moves them.
        set("auto.leader.rebalance.enable", &false);
        set("group.initial.rebalance.delay.ms", &0);
        set("group.min.session.timeout.ms", &1000);
        // KIP-848: here the broker sets the heartbeat interval of members.
        set("group.consumer.min.heartbeat.interval.ms", &500);
        set("group.consumer.heartbeat.interval.ms", &500);
        set("group.consumer.min.session.timeout.ms", &1000);
        set("group.consumer.session.timeout.ms", &6000);
        set("transaction.max.timeout.ms", &900_000);
        // Records have timestamps chosen by tests, years ago: nothing is deleted unless a topic says so.
        set("log.retention.ms", &-1);
        set("replica.fetch.wait.max.ms", &100);
        set("message.max.bytes", &(4 << 20));

        set("num.network.threads", &2);
        set("num.io.threads", &4);
        set("num.recovery.threads.per.data.dir", &1);
        set("background.threads", &2);
        // The cleaner's table is 128 MiB by default: half of the heap that we give.
        set("log.cleaner.dedupe.buffer.size", &(8 << 20));
        set("log.cleaner.backoff.ms", &500);
        set("log.retention.check.interval.ms", &1000);
        set("log.initial.task.delay.ms", &1000);
        for (key, value) in &self.properties {
            set(key, value);
        }
        lines
    }

    /// The `meta.properties` of a formatted storage folder.
    pub(crate) fn meta_of(&self, node: &Addresses) -> String {
        let directory = uuid(&[b"folder", self.id.as_bytes(), &node.id.to_be_bytes()].concat());
        format!("version=1\ncluster.id={}\nnode.id={}\ndirectory.id={directory}\n", self.id, node.id)
    }
}

/// A Kafka Uuid (22 characters of base64) made from any bytes.
pub(crate) fn uuid(from: &[u8]) -> String {
    // FNV-1a over 128 bits: only distinctness matters.
    let mut hash: u128 = 0x6c62272e07bb014262b821756295c58d;
    for byte in from {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000000001000000000000000000013b);
    }
    URL_SAFE_NO_PAD.encode(hash.to_be_bytes())
}
