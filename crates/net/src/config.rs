//! [`Config`]: the settings of connections.

use std::time::Duration;

use offtake_machine::BackoffConfig;

use crate::security::Security;

/// The settings of connections. The defaults are those of Kafka's Java client, except where a field says why not.
#[derive(Clone, Debug)]
pub struct Config {
    /// `client.id`: how the broker's logs and quotas name us.
    pub client_id: String,
    /// How the broker's metrics name this software (KIP-511): letters, digits, `-` and `.`, or it refuses us.
    pub software_name: String,
    /// And its version.
    pub software_version: String,
    /// `socket.connection.setup.timeout.ms`: for resolving a name, and for each of its addresses to accept a connection.
    /// Doubles with every failure in a row.
    pub connect_timeout: Duration,
    /// `socket.connection.setup.timeout.max.ms`: how far it doubles.
    pub connect_timeout_max: Duration,
    /// How long a new connection waits for the response to ApiVersions: 5 s. Java waits for `request.timeout.ms`, which hides for
    /// half a minute that a port is silent. A broker that needs longer is tried again at the next dial.
    pub handshake_timeout: Duration,
    /// How long a broker may take for each answer of SASL: 30 s. It may have to ask somebody else.
    pub authentication_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`: between two dials of one address after a failure.
    pub reconnect: BackoffConfig,
    /// `connections.max.idle.ms`: a connection that carried nothing for so long is closed.
    pub max_idle: Duration,
    /// `send.buffer.bytes`; `None` leaves it to the system.
    pub send_buffer: Option<usize>,
    /// `receive.buffer.bytes`; `None`, the default here, leaves it to the system, which grows it as needed. Java's default of
    /// 64 KiB limits the throughput of connections with a long round trip.
    pub receive_buffer: Option<usize>,
    /// `receive.message.max.bytes`: the largest frame that is read. It should exceed `fetch.max.bytes`, as the first batch of a
    /// response may do so (KIP-74).
    pub max_frame: usize,
    /// `security.protocol` and what belongs to it.
    pub security: Security,
    /// Whether a response with bytes left over is malformed. Tests say yes; for brokers that are newer than this client it is no.
    pub strict: bool,
    /// Seeds the jitter of backoffs and where the rotation over brokers begins.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: "offtake".to_owned(),
            software_name: "offtake".to_owned(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            connect_timeout: Duration::from_secs(10),
            connect_timeout_max: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            authentication_timeout: Duration::from_secs(30),
            reconnect: BackoffConfig { base: Duration::from_millis(50), max: Duration::from_secs(1) },
            max_idle: Duration::from_secs(540),
            send_buffer: Some(128 * 1024),
            receive_buffer: None,
            max_frame: 100 * 1024 * 1024,
            security: Security::default(),
            strict: false,
            seed: 0,
        }
    }
}
