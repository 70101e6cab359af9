//! [`Builder`]: settings of a cluster before it starts.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "tls")]
use super::secure::Tls;
use super::{
    Cluster, Inner, listen, now,
    secure::{Sasl, SaslMechanism},
    shared::{Secured, Shared, wall_ms},
};
use crate::{
    config::{Config, DEFAULT_WALL_MS},
    model::Model,
};

/// Settings of a cluster before it starts.
#[derive(Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    config: Config,
    topics: Vec<(String, i32)>,
    transport: Transport,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// Mechanism, name and password.
    users: Vec<(SaslMechanism, String, String)>,
    session_lifetime: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Memory,
    /// The address of the first broker; the others listen on the ports that follow, or each on a free one if the port is 0.
    Sockets(SocketAddr),
}

impl Default for Builder {
    fn default() -> Self {
        let transport = Transport::Sockets(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        Self {
            config: Config::default(),
            topics: Vec::new(),
            transport,
            #[cfg(feature = "tls")]
            tls: None,
            users: Vec::new(),
            session_lifetime: None,
        }
    }
}

impl Builder {
    /// The number of brokers, by default 1. Topics then have up to 3 replicas, as many as there are brokers.
    pub fn brokers(mut self, brokers: i32) -> Self {
        self.config.brokers = brokers;
        self.config.replication_factor = i16::try_from(brokers.clamp(1, 3)).unwrap_or(1);
        self
    }

    /// Sets all of the cluster's settings, the number of brokers included.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Adds a topic that exists from the start.
    pub fn topic(mut self, name: impl Into<String>, partitions: i32) -> Self {
        self.topics.push((name.into(), partitions));
        self
    }

    /// The address of the first broker; the others take the ports that follow. With port 0, which is the default on
    /// 127.0.0.1, each takes a free one.
    pub fn listen(self, address: SocketAddr) -> Self {
        Self { transport: Transport::Sockets(address), ..self }
    }

    /// Uses no sockets: the brokers advertise 127.0.0.1, from port 9092 on, and can be reached only through
    /// [`Cluster::connect`].
    pub fn in_memory(self) -> Self {
        Self { transport: Transport::Memory, ..self }
    }

    /// Makes the brokers use TLS, also on connections in memory ([`Cluster::connect`] returns the stream under the TLS).
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Adds a user that may log in by this mechanism. Connections then have to authenticate, by any mechanism that has
    /// a user. For OAUTHBEARER the password does not matter. [`Cluster::set_sasl_user`] changes it later.
    pub fn sasl_user(
        mut self,
        mechanism: SaslMechanism,
        name: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.users.push((mechanism, name.into(), password.into()));
        self
    }

    /// `connections.max.reauth.ms`: how long a connection may be used before it has to authenticate anew (KIP-368), in
    /// whole milliseconds. Without it only OAUTHBEARER tokens expire.
    pub fn session_lifetime(self, lifetime: Duration) -> Self {
        Self { session_lifetime: Some(lifetime), ..self }
    }

    /// Starts the cluster on the current tokio runtime.
    ///
    /// # Errors
    /// The system's error, where a broker cannot listen; `InvalidInput` for a topic that Kafka would not create, or a
    /// certificate that cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[expect(clippy::unused_async, reason = "says that it needs a runtime, and leaves room to wait in")]
    pub async fn start(mut self) -> io::Result<Cluster> {
        let now = now();
        if self.config.wall_ms == DEFAULT_WALL_MS {
            // Not earlier than the default: a test's clients may have fixed clocks.
            self.config.wall_ms = wall_ms().max(DEFAULT_WALL_MS);
        }
        let mut sasl = Sasl::new(self.session_lifetime, self.config.seed);
        for (mechanism, name, password) in &self.users {
            sasl.set_user(*mechanism, name, password);
        }
        let mut model = Model::new(now, self.config);
        let brokers: Vec<i32> = model.brokers().map(|(id, ..)| id).collect();
        let mut listeners = Vec::new();
        for (nth, broker) in brokers.into_iter().enumerate() {
            match self.transport {
                Transport::Memory => {
                    let port =
                        model.brokers().find(|(id, ..)| *id == broker).map_or(0, |(_, _, port, _)| port);
                    model.readdress(now, broker, &Ipv4Addr::LOCALHOST.to_string(), port);
                }
                Transport::Sockets(first) => {
                    let port = match first.port() {
                        0 => 0,
                        port => u16::try_from(nth)
                            .ok()
                            .and_then(|nth| port.checked_add(nth))
                            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no port is left"))?,
                    };
                    let listener = TcpListener::bind((first.ip(), port))?;
                    let bound = listener.local_addr()?;
                    model.readdress(now, broker, &advertised_name(bound.ip()), bound.port());
                    listeners.push((bound, listener));
                }
            }
        }
        for (name, partitions) in self.topics {
            model.create_topic(&name, partitions, -1, &[]).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("topic {name}: {error}"))
            })?;
        }
        let bind = match self.transport {
            Transport::Memory => None,
            Transport::Sockets(first) => Some(first.ip()),
        };
        let secured = Secured {
            #[cfg(feature = "tls")]
            tls: match self.tls {
                Some(tls) => Some(tls.listener(model.brokers().map(|(_, host, ..)| host.to_owned()))?),
                None => None,
            },
            sasl: sasl.into(),
        };
        let shared = Arc::new(Shared::new(model, bind, secured));
        shared.start_clock();
        listen::start(&shared, listeners)?;
        Ok(Cluster { inner: Arc::new(Inner { shared }) })
    }
}

/// Leaves out the passwords.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<_> = self.users.iter().map(|(mechanism, name, _)| (mechanism, name)).collect();
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("topics", &self.topics)
            .field("transport", &self.transport)
            .field("users", &users)
            .field("session_lifetime", &self.session_lifetime)
            .finish_non_exhaustive()
    }
}

/// The name by which clients reach a broker that listens here. The unspecified address cannot be dialled: `localhost` then.
fn advertised_name(address: IpAddr) -> String {
    if address.is_unspecified() { "localhost".to_owned() } else { address.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use super::*;

    /// A producer stamps its records by the machine's clock, and the brokers refuse the future.
    #[tokio::test]
    async fn a_cluster_goes_by_the_machines_clock_unless_it_was_given_another() {
        let before = wall_ms();
        for builder in [Cluster::builder(), Cluster::builder().in_memory()] {
            let cluster = builder.start().await.unwrap();
            assert!(cluster.with(|model, _| model.wall_ms()) >= before.max(DEFAULT_WALL_MS));
        }
        let config = Config { wall_ms: 7, ..Config::default() };
        let cluster = Cluster::builder().config(config).start().await.unwrap();
        assert!(cluster.with(|model, _| model.wall_ms()) < 1_000_000);
    }
}
