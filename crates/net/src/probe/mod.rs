//! [`Probe`]: makes one connection as [`Net`](crate::Net) makes it, and tells what it finds on the way. For tools that look into
//! why a broker cannot be reached.

mod connection;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use offtake_wire::{ErrorCode, SaslHandshakeRequest};

pub use connection::{ClusterFacts, Connection, GroupFacts, Operations, TopicFacts};

use crate::{
    address::Address,
    address_state::AddressState,
    clock,
    config::Config,
    dial::{Dial, Tcp},
    establish::{connect, resolve},
    handshake::ConnectError,
    phase::PhaseCell,
    shared::{Counters, Shared},
};

/// At most so many mechanisms of a broker are told.
const MAX_MECHANISMS: usize = 32;

/// Makes connections one at a time and tells what it finds. Has no backoff: whoever asks decides when.
#[derive(Clone, Debug)]
pub struct Probe(Arc<Shared>);

/// What was found at an address, step by step, as far as it came.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Findings {
    /// What the host's name resolves to.
    pub addresses: Vec<SocketAddr>,
    /// Which of them accepted the connection.
    pub connected: Option<Connected>,
    /// Of a connection that is encrypted.
    pub tls: Option<TlsFacts>,
    /// API, lowest and highest version that both the broker and this client speak. Empty until they are known.
    pub versions: Vec<(&'static str, i16, i16)>,
    /// The SASL mechanisms that the listener takes, as it says itself. `None` where it was not asked, or did not say.
    pub mechanisms: Option<Vec<String>>,
    /// Of a connection that has authenticated.
    pub login: Option<Login>,
    /// The connection, if nothing failed.
    pub connection: Option<Connection>,
    /// What failed.
    pub failure: Option<ProbeFailure>,
}

/// The address that accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// It.
    pub address: SocketAddr,
    /// How long that took.
    pub took: Duration,
}

/// What a TLS handshake agreed on, and whom it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`, as Java calls them.
    pub version: String,
    /// The cipher suite, by IANA's name.
    pub cipher_suite: String,
    /// The broker's certificate and those that it shows with it, in its order.
    pub certificates: Vec<CertificateFacts>,
}

/// A certificate. Texts are cut to a bounded length and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// The DNS names and IP addresses that it is for: eight of them at most.
    pub hosts: Vec<String>,
}

/// An authentication that the broker accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// The mechanism.
    pub mechanism: &'static str,
    /// As whom, if the mechanism tells.
    pub user: Option<String>,
    /// How long the connection may be used before it has to authenticate anew (KIP-368); `None`: for ever.
    pub session_lifetime: Option<Duration>,
}

/// What failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeFailure {
    /// The step.
    pub step: ProbeStep,
    /// Why, in a sentence that says what to do where we can know it.
    pub reason: String,
}

/// The steps of a connection, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProbeStep {
    /// Resolving the host's name.
    Resolve,
    /// Connecting to one of its addresses.
    Connect,
    /// The TLS handshake.
    Tls,
    /// ApiVersions.
    Versions,
    /// SASL.
    Authenticate,
    /// A request on the connection.
    Ask,
}

impl Probe {
    /// By plain TCP.
    pub fn new(config: Config) -> Self {
        let dial = Tcp { send_buffer: config.send_buffer, receive_buffer: config.receive_buffer };
        Self::with_dial(config, Arc::new(dial))
    }

    /// By connections that `dial` makes.
    pub fn with_dial(config: Config, dial: Arc<dyn Dial>) -> Self {
        let (counters, frame_pool) = (Counters::default(), Arc::default());
        Self(Arc::new(Shared { config, dial, counters, frame_pool }))
    }

    /// Makes a connection: resolves, dials, begins TLS, asks for ApiVersions, authenticates. Each has its timeout
    /// ([`Config::connect_timeout`], [`Config::handshake_timeout`]).
    pub async fn connect(&self, host: &str, port: u16) -> Findings {
        let mut findings = Findings::default();
        let error = match self.walk(&Address::new(host, port), &mut findings).await {
            Ok(connection) => {
                findings.connection = Some(connection);
                return findings;
            }
            Err(error) => error,
        };
        let has_tls = self.0.config.security.is_encrypted();
        let step = match &findings {
            found if found.addresses.is_empty() => ProbeStep::Resolve,
            found if found.connected.is_none() => ProbeStep::Connect,
            found if found.tls.is_none() && has_tls => ProbeStep::Tls,
            found if found.versions.is_empty() => ProbeStep::Versions,
            _ => ProbeStep::Authenticate,
        };
        findings.failure = Some(ProbeFailure { step, reason: error.reason });
        findings
    }

    async fn walk(&self, address: &Address, found: &mut Findings) -> Result<Connection, ConnectError> {
        let config = &self.0.config;
        let plan = AddressState::new(config, config.seed).plan(clock::now(), config, false);
        found.addresses = resolve(&self.0, address, &plan).await?;
        let mut error = ConnectError::unreachable("the name resolves to no address");
        for socket in found.addresses.clone() {
            let phase = PhaseCell::default();
            match connect(&self.0, address, socket, &plan, &phase, Some(&mut *found)).await {
                Ok(handshake) => {
                    return Ok(Connection { shared: Arc::clone(&self.0), handshake });
                }
                Err(new) if new.weight() > 0 => return Err(new),
                Err(new) => error = new,
            }
        }
        Err(error)
    }

    /// The SASL mechanisms that a listener takes; empty if it takes no SASL at all. It is asked without authenticating, on a connection
    /// of its own; `None` if that fails.
    pub async fn mechanisms(&self, host: &str, port: u16) -> Option<Vec<String>> {
        let mut config = self.0.config.clone();
        config.security.sasl = None;
        let mut findings = Self::with_dial(config, Arc::clone(&self.0.dial)).connect(host, port).await;
        // No mechanism's name, so that it is refused with the list of those that are taken.
        let request = SaslHandshakeRequest { mechanism: "?".to_owned() };
        let answer = findings.connection.as_mut()?.ask(request, None).await.ok()?;
        match answer.error_code {
            ErrorCode::None | ErrorCode::UnsupportedSaslMechanism => Some(shown(&answer.mechanisms)),
            ErrorCode::IllegalSaslState => Some(Vec::new()),
            _ => None,
        }
    }
}

/// What a broker says of its mechanisms, fit for a person.
pub(crate) fn shown(mechanisms: &[String]) -> Vec<String> {
    mechanisms.iter().take(MAX_MECHANISMS).map(|name| crate::authenticate::shown(name)).collect()
}
