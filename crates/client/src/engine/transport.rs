//! The transport of an engine's requests: connections, or a simulation in their place.

use std::{fmt, future::poll_fn, sync::Arc, time::Instant};

use offtake_machine::{BrokerId, Cluster, Transmit};
use offtake_net::{Carrier, Dial, Lane, Net, NetEvent};

use crate::config::{ClientConfig, ConfigError};

/// The way to reach brokers. The connections are made by the loop, on its own runtime.
pub struct Transport(Kind);

enum Kind {
    Net { config: Box<offtake_net::Config>, bootstrap: Vec<(String, u16)>, dial: Option<Arc<dyn Dial>> },
    Carrier(Box<dyn Carrier>),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Net { config, bootstrap, .. } => f
                .debug_struct("Net")
                .field("config", config)
                .field("bootstrap", bootstrap)
                .finish_non_exhaustive(),
            Kind::Carrier(_) => f.write_str("Carrier"),
        }
    }
}

impl Transport {
    /// Uses connections: those that `dial` makes, or plain TCP. `max_frame` is the largest accepted response,
    /// in bytes.
    ///
    /// # Errors
    /// An error in a property of TLS or SASL, or in the file that it names.
    pub fn connections(
        config: &ClientConfig,
        max_frame: usize,
        seed: u64,
        dial: Option<Arc<dyn Dial>>,
    ) -> Result<Self, ConfigError> {
        Ok(Self(Kind::Net {
            config: Box::new(config.connections(max_frame, seed)?),
            bootstrap: config.bootstrap_servers.clone(),
            dial,
        }))
    }

    /// Uses this instead of connections.
    pub fn carrier(carrier: Box<dyn Carrier>) -> Self {
        Self(Kind::Carrier(carrier))
    }

    pub(super) fn connect(self) -> Io {
        match self.0 {
            Kind::Net { config, bootstrap, dial: Some(dial) } => {
                Io::Net(Box::new(Net::with_dial(*config, bootstrap, dial)))
            }
            Kind::Net { config, bootstrap, dial: None } => Io::Net(Box::new(Net::new(*config, bootstrap))),
            Kind::Carrier(carrier) => Io::Carrier(carrier),
        }
    }
}

/// A transport in use.
pub(super) enum Io {
    Net(Box<Net>),
    Carrier(Box<dyn Carrier>),
}

impl Io {
    pub(super) fn send(&mut self, tag: u64, lane: Lane, transmit: Transmit) {
        match self {
            Self::Net(net) => net.send(tag, lane, transmit),
            Self::Carrier(carrier) => carrier.send(tag, lane, transmit),
        }
    }

    pub(super) fn withdraw(&mut self, tag: u64) {
        match self {
            Self::Net(net) => net.withdraw(tag),
            Self::Carrier(carrier) => carrier.withdraw(tag),
        }
    }

    pub(super) async fn next(&mut self) -> NetEvent {
        match self {
            Self::Net(net) => net.next_event().await,
            Self::Carrier(carrier) => NetEvent::Completed(poll_fn(|cx| carrier.poll_next(cx)).await),
        }
    }

    pub(super) fn update_brokers(&mut self, cluster: &Cluster) {
        match self {
            Self::Net(net) => net.update_brokers(cluster),
            Self::Carrier(carrier) => carrier.update_brokers(cluster),
        }
    }

    pub(super) fn learn_broker(&mut self, id: BrokerId, host: &str, port: u16) {
        match self {
            Self::Net(net) => net.learn_broker(id, host, port),
            Self::Carrier(carrier) => carrier.learn_broker(id, host, port),
        }
    }

    /// A carrier has no connections that have to be made.
    pub(super) fn dial(&mut self, broker: BrokerId, lane: Lane) {
        if let Self::Net(net) = self {
            net.dial(broker, lane);
        }
    }

    pub(super) fn forget_brokers(&mut self) {
        match self {
            Self::Net(net) => net.forget_brokers(),
            Self::Carrier(carrier) => carrier.forget_brokers(),
        }
    }

    pub(super) async fn close(self, deadline: Instant) {
        match self {
            Self::Net(net) => net.close(deadline).await,
            Self::Carrier(carrier) => drop(carrier),
        }
    }
}
