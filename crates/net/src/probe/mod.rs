//! [`Probe`]: makes one connection as [`Net`](crate::Net) does, and reports its findings on the way. For tools that find out why
//! a broker cannot be reached.

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

/// The most mechanisms of a broker that are reported.
const MAX_MECHANISMS: usize = 32;

/// Makes connections one at a time and reports its findings. Has no backoff: the caller decides when to connect.
#[derive(Clone, Debug)]
pub struct Probe(Arc<Shared>);

/// The findings at an address, step by step, up to the first failure.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Findings {
    /// The addresses that the host's name resolves to.
    pub addresses: Vec<SocketAddr>,
    /// The address that accepted the connection.
    pub connected: Option<Connected>,
    /// Facts about TLS, if the connection is encrypted.
    pub tls: Option<TlsFacts>,
    /// For each API, its name and the lowest and highest version that both the broker and this client support. Empty until known.
    pub versions: Vec<(&'static str, i16, i16)>,
    /// The SASL mechanisms that the listener accepts, as it reports them. `None` if it was not asked, or did not report them.
    pub mechanisms: Option<Vec<String>>,
    /// The login, if the connection has authenticated.
    pub login: Option<Login>,
    /// The connection, if no step failed.
    pub connection: Option<Connection>,
    /// The step that failed, and why.
    pub failure: Option<ProbeFailure>,
}

/// The address that accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// The address.
    pub address: SocketAddr,
    /// How long the connection took.
    pub took: Duration,
}

/// The result of a TLS handshake: the protocol, and the certificates of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`, in Java's notation.
    pub version: String,
    /// The cipher suite, by its IANA name.
    pub cipher_suite: String,
    /// The broker's certificate and the others of its chain, in the broker's order.
    pub certificates: Vec<CertificateFacts>,
}

/// A certificate. Texts are cut to a bounded length and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// The subject.
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// When it becomes valid.
    pub not_before: SystemTime,
    /// When it expires.
    pub not_after: SystemTime,
    /// The DNS names and IP addresses that it is valid for, at most eight.
    pub hosts: Vec<String>,
}

/// An authentication that the broker accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// The mechanism.
    pub mechanism: &'static str,
    /// The user, if the mechanism knows it.
    pub user: Option<String>,
    /// The time until the connection has to re-authenticate (KIP-368); `None` for no limit.
    pub session_lifetime: Option<Duration>,
}

/// A failed step, and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeFailure {
    /// The step.
    pub step: ProbeStep,
    /// The cause, in a sentence that includes the remedy where it is known.
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
    /// A probe by plain TCP.
    pub fn new(config: Config) -> Self {
        let dial = Tcp { send_buffer: config.send_buffer, receive_buffer: config.receive_buffer };
        Self::with_dial(config, Arc::new(dial))
    }

    /// A probe over connections made by `dial`.
    pub fn with_dial(config: Config, dial: Arc<dyn Dial>) -> Self {
        let (counters, frame_pool) = (Counters::default(), Arc::default());
        Self(Arc::new(Shared { config, dial, counters, frame_pool }))
    }

    /// Makes a connection: resolves, dials, begins TLS, sends ApiVersions, authenticates. Each step has its timeout
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

    /// The SASL mechanisms that a listener accepts; empty if it accepts no SASL at all. They are requested without
    /// authentication, on a connection of its own; `None` if that fails.
    pub async fn mechanisms(&self, host: &str, port: u16) -> Option<Vec<String>> {
        let mut config = self.0.config.clone();
        config.security.sasl = None;
        let mut findings = Self::with_dial(config, Arc::clone(&self.0.dial)).connect(host, port).await;
        // This is no mechanism's name, so that the refusal lists the accepted mechanisms.
        let request = SaslHandshakeRequest { mechanism: "?".to_owned() };
        let answer = findings.connection.as_mut()?.ask(request, None).await.ok()?;
        match answer.error_code {
            ErrorCode::None | ErrorCode::UnsupportedSaslMechanism => Some(shown(&answer.mechanisms)),
            ErrorCode::IllegalSaslState => Some(Vec::new()),
            _ => None,
        }
    }
}

/// The mechanisms reported by a broker, made safe for display.
pub(crate) fn shown(mechanisms: &[String]) -> Vec<String> {
    mechanisms.iter().take(MAX_MECHANISMS).map(|name| crate::authenticate::shown(name)).collect()
}
