//! [`Probe`]: makes one connection to one broker, and tells what it finds on the way. For tools that look into why a client cannot
//! read: an [`Admin`](crate::Admin) says only that it cannot.

use std::sync::Arc;

use offtake_client::{ClientConfig, Dial, Result};
use offtake_net::probe;
pub use offtake_net::probe::{
    CertificateFacts, ClusterFacts, Connected, Connection, Findings, GroupFacts, Login, Operations,
    ProbeFailure, ProbeStep, TlsFacts, TopicFacts,
};

/// Makes connections one at a time, as the configuration says, and tells what it finds.
#[derive(Clone, Debug)]
pub struct Probe(probe::Probe);

impl Probe {
    /// With this configuration; a consumer's does too. No broker is asked yet.
    ///
    /// # Errors
    /// `Config`, with the property and what it may be, or the file that it names and what is wrong with it.
    pub fn new(config: impl Into<ClientConfig>) -> Result<Self> {
        Ok(Self(probe::Probe::new(connections(&config.into())?)))
    }

    /// The same, and brokers are reached this way instead of by plain TCP.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_dial(config: impl Into<ClientConfig>, dial: impl Dial) -> Result<Self> {
        Ok(Self(probe::Probe::with_dial(connections(&config.into())?, Arc::new(dial))))
    }

    /// Makes a connection: resolves the name, connects (`socket.connection.setup.timeout.ms`), begins TLS, asks for ApiVersions,
    /// authenticates. Each step and each question on the connection has `request.timeout.ms`, and 5 s at most. What failed is among
    /// the findings.
    pub async fn connect(&self, host: &str, port: u16) -> Findings {
        self.0.connect(host, port).await
    }

    /// The SASL mechanisms that a listener takes; empty if it takes no SASL at all. It is asked without authenticating, on a connection
    /// of its own; `None` if that fails.
    pub async fn mechanisms(&self, host: &str, port: u16) -> Option<Vec<String>> {
        self.0.mechanisms(host, port).await
    }
}

fn connections(config: &ClientConfig) -> Result<offtake_net::Config> {
    config.validate()?;
    config.log_ignored();
    Ok(config.connections(config.receive_message_max_bytes as usize, 1)?)
}
