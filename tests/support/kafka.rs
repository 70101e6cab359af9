//! Real Apache Kafka on loopback: clusters of one broker or three, whose brokers can be killed, stopped, paused and
//! restarted at the same port.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::bytes_proxy::BytesProxy;
use crate::config::{Addresses, Cluster, Listener, uuid};
use crate::ports::free_port;
use crate::probe::brokers_known_to;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::{java, reaper};

/// The time that a broker may take to boot, on a busy machine.
const BOOT: Duration = Duration::from_secs(240);

/// The versions we test against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The last with the oldest protocol versions in wide use; needs ZooKeeper.
    V2_8_2,
    /// The last of the 3 line, here with KRaft.
    V3_9_1,
    /// The current one.
    V4_3_0,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V2_8_2, Self::V3_9_1, Self::V4_3_0];

    /// The version's name in Maven.
    pub fn name(self) -> &'static str {
        match self {
            Self::V2_8_2 => "2.8.2",
            Self::V3_9_1 => "3.9.1",
            Self::V4_3_0 => "4.3.0",
        }
    }

    /// A `java` as users start it, with the clients of this version and `tests/java` on its class path.
    pub fn java(self) -> Command {
        let mut command = Command::new("java");
        command.arg("-cp").arg(java::classes(&self.home()));
        command
    }

    /// The folder that `scripts/kafka-fetch` fills; fetched at the first use if missing.
    pub(crate) fn home(self) -> PathBuf {
        static FETCHED: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
        let fetch = || {
            // Without dots: the archive of classes names its jars by the script's paths.
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the workspace");
            let fetch = Command::new(root.join("scripts/kafka-fetch")).arg(self.name()).status();
            assert!(fetch.is_ok_and(|status| status.success()), "scripts/kafka-fetch {} failed", self.name());
            std::env::var_os("OFFTAKE_KAFKA_DIR")
                .map_or_else(|| root.join(".kafka"), PathBuf::from)
                .join(self.name())
        };
        self.of(&FETCHED).get_or_init(fetch).clone()
    }

    /// Selects the value for this version.
    pub(crate) fn of<T>(self, [oldest, middle, newest]: &[T; 3]) -> &T {
        match self {
            Self::V2_8_2 => oldest,
            Self::V3_9_1 => middle,
            Self::V4_3_0 => newest,
        }
    }
}

/// The configuration of a cluster. `Kafka::builder()` makes one.
#[derive(Debug)]
pub struct Builder {
    version: Version,
    brokers: usize,
    properties: Vec<(String, String)>,
    listeners: Vec<(String, String)>,
    jvm: Vec<String>,
    proxied: bool,
    listeners_proxied: bool,
}

impl Builder {
    /// By default 4.3.0.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// By default one. With three, everything has three replicas.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// Adds a line to every broker's `server.properties`; it overrides ours.
    pub fn property(mut self, key: &str, value: impl ToString) -> Self {
        self.properties.push((key.into(), value.to_string()));
        self
    }

    /// Adds a listener for clients, with this name and protocol (`SASL_SSL`); [`Kafka::listener`] returns its address.
    /// Its settings are [`property`](Self::property) lines, `listener.name.<name>.…`.
    pub fn listener(mut self, name: &str, protocol: &str) -> Self {
        self.listeners.push((name.into(), protocol.into()));
        self
    }

    /// An option of the brokers' JVM.
    pub fn jvm(mut self, option: &str) -> Self {
        self.jvm.push(option.into());
        self
    }

    /// Puts a [`Proxy`] before each broker and makes the brokers advertise it: all traffic of clients of
    /// [`bootstrap`](Kafka::bootstrap) goes through it. The brokers' own traffic, and Java's tool's, does not.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Puts a [`BytesProxy`] before each [`listener`](Self::listener) of each broker, and makes the brokers advertise it.
    pub fn proxied_listeners(mut self) -> Self {
        self.listeners_proxied = true;
        self
    }

    /// Boots it, and returns when every broker answers and knows all the others.
    pub fn start(self) -> Kafka {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = reaper::folder().join(format!("{}-{number}", self.version.name()));
        let home = self.version.home();
        let proxies: Vec<Proxy> =
            (0..self.brokers).filter(|_| self.proxied).map(|_| Proxy::listen()).collect();
        let mut listener_proxies = Vec::new();
        let mut listener = |id: i32, (name, protocol): &(String, String)| {
            let port = free_port();
            let mut advertised = port;
            if self.listeners_proxied {
                let proxy = BytesProxy::listen();
                proxy.to(port);
                advertised = proxy.port();
                listener_proxies.push((id, name.clone(), proxy));
            }
            Listener { name: name.clone(), protocol: protocol.clone(), port, advertised }
        };
        let nodes: Vec<Addresses> = (1..)
            .take(self.brokers)
            .map(|id| (id, free_port()))
            .enumerate()
            .map(|(at, (id, port))| {
                if let Some(proxy) = proxies.get(at) {
                    proxy.to(port);
                }
                let advertised = proxies.get(at).map_or(port, Proxy::port);
                Addresses {
                    id,
                    port,
                    advertised: format!("127.0.0.1:{advertised}"),
                    internal: free_port(),
                    controller: free_port(),
                    others: self.listeners.iter().map(|each| listener(id, each)).collect(),
                }
            })
            .collect();
        let zookeeper =
            (self.version == Version::V2_8_2).then(|| ZooKeeper::start(&home, &folder.join("zookeeper")));
        let cluster = Cluster {
            id: uuid(format!("{} {number}", folder.display()).as_bytes()),
            nodes,
            zookeeper: zookeeper.as_ref().map(|zookeeper| zookeeper.port),
            properties: self.properties,
        };
        let prepare = |node| Broker::prepare(&home, &folder, &cluster, node, &self.jvm);
        let brokers: Vec<Broker> = cluster.nodes.iter().map(prepare).collect();
        brokers.iter().for_each(Broker::launch);
        brokers.iter().for_each(|broker| broker.wait(cluster.nodes.len()));
        Kafka {
            version: self.version,
            cluster,
            brokers,
            proxies,
            listener_proxies,
            folder,
            _zookeeper: zookeeper,
        }
    }
}

/// A running cluster; when dropped, it is ended and its folder removed.
#[derive(Debug)]
pub struct Kafka {
    version: Version,
    cluster: Cluster,
    // Fields are dropped in this order: brokers first, then what they depend on.
    brokers: Vec<Broker>,
    proxies: Vec<Proxy>,
    /// By node id and name of the listener.
    listener_proxies: Vec<(i32, String, BytesProxy)>,
    folder: PathBuf,
    _zookeeper: Option<ZooKeeper>,
}

impl Kafka {
    /// One broker of 4.3.0 by default.
    pub fn builder() -> Builder {
        Builder {
            version: Version::V4_3_0,
            brokers: 1,
            properties: Vec::new(),
            listeners: Vec::new(),
            jvm: Vec::new(),
            proxied: false,
            listeners_proxied: false,
        }
    }

    /// The version of Kafka.
    pub fn version(&self) -> Version {
        self.version
    }

    /// `host:port,…` of all brokers, as they advertise themselves.
    pub fn bootstrap(&self) -> String {
        let all: Vec<&str> = self.cluster.nodes.iter().map(|node| node.advertised.as_str()).collect();
        all.join(",")
    }

    /// The same for one of the [`listener`](Builder::listener)s.
    pub fn listener(&self, name: &str) -> String {
        let of = |node: &Addresses| {
            let found = node.others.iter().find(|of| of.name == name).expect("a listener of that name");
            format!("127.0.0.1:{}", found.advertised)
        };
        self.cluster.nodes.iter().map(of).collect::<Vec<_>>().join(",")
    }

    /// The same past any proxy, on the brokers' own listener.
    pub fn direct(&self) -> String {
        let all: Vec<String> =
            self.cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.internal)).collect();
        all.join(",")
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster.id
    }

    /// The broker with this node id; they count from 1.
    pub fn broker(&self, id: i32) -> &Broker {
        self.brokers
            .iter()
            .find(|broker| broker.id == id)
            .unwrap_or_else(|| panic!("there is no broker {id}"))
    }

    /// All brokers by node id.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The proxy before a broker of a [`proxied`](Builder::proxied) cluster.
    pub fn proxy(&self, id: i32) -> &Proxy {
        let at = self.brokers.iter().position(|broker| broker.id == id);
        at.and_then(|at| self.proxies.get(at))
            .unwrap_or_else(|| panic!("broker {id} has no proxy: say .proxied()"))
    }

    /// The proxy before a broker's listener in a cluster with [`proxied_listeners`](Builder::proxied_listeners).
    pub fn listener_proxy(&self, id: i32, name: &str) -> &BytesProxy {
        let found = self.listener_proxies.iter().find(|(of, listener, _)| *of == id && listener == name);
        let (.., proxy) =
            found.unwrap_or_else(|| panic!("{name} of broker {id} has no proxy: say .proxied_listeners()"));
        proxy
    }

    /// Logs, configuration and data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Restarts or resumes every broker that is dead or paused, and waits until all know all. Proxies cause no more faults.
    pub fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
        for broker in &self.brokers {
            broker.resume();
            if !broker.is_running() {
                broker.launch();
            }
        }
        self.brokers.iter().for_each(|broker| broker.wait(self.brokers.len()));
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        java::forget(&self.direct());
        self.brokers.iter().for_each(Broker::kill9);
        let keep = std::env::var_os("OFFTAKE_KEEP").is_some_and(|value| !value.is_empty() && value != "0");
        if !keep {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

/// One broker of a [`Kafka`].
#[derive(Debug)]
pub struct Broker {
    id: i32,
    port: u16,
    home: Mutex<PathBuf>,
    folder: PathBuf,
    jvm: Vec<String>,
    /// With ZooKeeper a broker that restarts too early finds its own former registration, and ends.
    relaunched: bool,
    process: Mutex<Option<Process>>,
}

impl Broker {
    fn prepare(
        home: &Path,
        cluster_folder: &Path,
        cluster: &Cluster,
        node: &Addresses,
        jvm: &[String],
    ) -> Self {
        let folder = cluster_folder.join(format!("broker-{}", node.id));
        let data = folder.join("data");
        std::fs::create_dir_all(&data).expect("a folder for the broker");
        std::fs::write(folder.join("server.properties"), cluster.properties_of(node, &data))
            .expect("its configuration");
        if cluster.zookeeper.is_none() {
            std::fs::copy(home.join("formatted/bootstrap.checkpoint"), data.join("bootstrap.checkpoint"))
                .expect("scripts/kafka-fetch has formatted a folder");
            std::fs::write(data.join("meta.properties"), cluster.meta_of(node)).expect("its identity");
        }
        let relaunched = cluster.zookeeper.is_some();
        Self {
            id: node.id,
            port: node.port,
            home: Mutex::new(home.into()),
            folder,
            jvm: jvm.to_vec(),
            relaunched,
            process: Mutex::new(None),
        }
    }

    /// Its node id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Its port for clients, the same for its whole life (past any proxy).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with its output.
    pub fn log(&self) -> PathBuf {
        self.folder.join("kafka.log")
    }

    /// Whether its process exists, even if paused.
    pub fn is_running(&self) -> bool {
        self.lock().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Kills it (`kill -9`), and returns when it is dead.
    pub fn kill9(&self) {
        *self.lock() = None;
    }

    /// Controlled shutdown: leaders are moved away first.
    pub fn stop(&self) {
        let mut process = self.lock();
        if let Some(mut process) = process.take() {
            process.signal("TERM");
            assert!(process.wait(BOOT).is_some(), "broker {} does not stop; {}", self.id, self.last_words());
        }
    }

    /// Starts it again in its folder, and returns when it answers as a live member of its cluster.
    pub fn start(&self) {
        self.launch();
        self.wait(1);
    }

    /// Stops it in order, and starts it as another version of Kafka: a step of a rolling upgrade.
    pub fn upgrade(&self, to: Version) {
        self.stop();
        *self.home.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = to.home();
        self.start();
    }

    /// Stops it by SIGSTOP: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes it by SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(process) = self.lock().as_mut()
            && process.ended().is_none()
        {
            process.signal(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn launch(&self) {
        let mut process = self.lock();
        assert!(
            process.as_mut().is_none_or(|process| process.ended().is_some()),
            "broker {} runs already",
            self.id
        );
        let home = self.home.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut command = java::jvm(&home, "256m");
        command
            .args(&self.jvm)
            .arg("kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .current_dir(&self.folder);
        *process = Some(Process::start_logging(&mut command, &self.log()));
    }

    /// Waits until it lists itself and at least `count` brokers in all.
    fn wait(&self, count: usize) {
        let deadline = Instant::now() + BOOT;
        loop {
            let known = brokers_known_to(self.port).unwrap_or_default();
            if known.len() >= count && known.iter().any(|node| node.id == self.id) {
                return;
            }
            if !self.is_running() {
                assert!(
                    self.relaunched && Instant::now() < deadline,
                    "broker {} ended; {}",
                    self.id,
                    self.last_words()
                );
                self.launch();
            }
            assert!(
                Instant::now() < deadline,
                "broker {} is not up after {BOOT:?}; {}",
                self.id,
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default();
        format!("its last words:\n{}", last.join("\n"))
    }
}

/// The server that holds 2.8's cluster metadata.
#[derive(Debug)]
struct ZooKeeper {
    port: u16,
    _process: Process,
}

impl ZooKeeper {
    /// Brokers wait for it by themselves.
    fn start(home: &Path, folder: &Path) -> Self {
        let port = free_port();
        std::fs::create_dir_all(folder).expect("a folder for ZooKeeper");
        let config = folder.join("zoo.cfg");
        let text = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             admin.enableServer=false\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text).expect("its configuration");
        let mut command = java::jvm(home, "128m");
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&config).current_dir(folder);
        Self { port, _process: Process::start_logging(&mut command, &folder.join("zookeeper.log")) }
    }
}
