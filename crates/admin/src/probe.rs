//! [`Probe`]: makes one connection to one broker, and reports its findings on the way. For tools that find out why a client
//! cannot read: an [`Admin`](crate::Admin) reports only that it cannot.

use std::sync::Arc;

use offtake_client::{ClientConfig, Dial, Result};
use offtake_net::probe;
pub use offtake_net::probe::{
    CertificateFacts, ClusterFacts, Connected, Connection, Findings, GroupFacts, Login, Operations,
    ProbeFailure, ProbeStep, TlsFacts, TopicFacts,
};

/// Makes connections one at a time with the given configuration, and reports its findings.
#[derive(Clone, Debug)]
pub struct Probe(probe::Probe);

impl Probe {
    /// Creates a probe with this configuration, which may also be a consumer's. Sends no request yet.
    ///
    /// # Errors
    /// `Config`, with the property and the values that it may have, or the file that it names and the error in it.
    pub fn new(config: impl Into<ClientConfig>) -> Result<Self> {
        Ok(Self(probe::Probe::new(connections(&config.into())?)))
    }

    /// The same with custom connections instead of plain TCP.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_dial(config: impl Into<ClientConfig>, dial: impl Dial) -> Result<Self> {
        Ok(Self(probe::Probe::with_dial(connections(&config.into())?, Arc::new(dial))))
    }

    /// Makes a connection: resolves the name, connects (`socket.connection.setup.timeout.ms`), begins TLS, sends ApiVersions,
    /// authenticates. Each step and each request on the connection has a timeout of `request.timeout.ms`, but at most 5 s. A
    /// failure is among the findings.
    pub async fn connect(&self, host: &str, port: u16) -> Findings {
        self.0.connect(host, port).await
    }

    /// The SASL mechanisms that a listener accepts; empty if it accepts no SASL at all. They are requested without
    /// authentication, on a connection of its own; `None` if that fails.
    pub async fn mechanisms(&self, host: &str, port: u16) -> Option<Vec<String>> {
        self.0.mechanisms(host, port).await
    }
}

fn connections(config: &ClientConfig) -> Result<offtake_net::Config> {
    config.validate()?;
    config.log_ignored();
    Ok(config.connections(config.receive_message_max_bytes as usize, 1)?)
}
