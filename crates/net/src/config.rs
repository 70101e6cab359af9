//! [`Config`]: the settings of connections.

use std::time::Duration;

use offtake_machine::BackoffConfig;

use crate::security::Security;

/// The settings of connections. The defaults are those of Kafka's Java client, except where a field explains the difference.
#[derive(Clone, Debug)]
pub struct Config {
    /// `client.id`: the name of this client in the broker's logs and quotas.
    pub client_id: String,
    /// The name of this software in the broker's metrics (KIP-511). Only letters, digits, `-` and `.` are allowed; otherwise the
    /// broker refuses the connection.
    pub software_name: String,
    /// The version of this software in the broker's metrics.
    pub software_version: String,
    /// `socket.connection.setup.timeout.ms`: the timeout for resolving a name, and for each of its addresses to accept a
    /// connection. Doubles with every failure in a row.
    pub connect_timeout: Duration,
    /// `socket.connection.setup.timeout.max.ms`: the limit of that doubling.
    pub connect_timeout_max: Duration,
    /// The timeout for the response to ApiVersions on a new connection: 5 s. Java uses `request.timeout.ms`, which hides a silent
    /// port for half a minute. A broker that needs longer is tried again at the next dial.
    pub handshake_timeout: Duration,
    /// The timeout for each SASL response: 30 s. The broker may have to ask another service.
    pub authentication_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`: the pause between two dials of one address after a failure.
    pub reconnect: BackoffConfig,
    /// `connections.max.idle.ms`: a connection that carried nothing for this long is closed.
    pub max_idle: Duration,
    /// `send.buffer.bytes`; `None` leaves it to the system.
    pub send_buffer: Option<usize>,
    /// `receive.buffer.bytes`; `None`, the default here, leaves it to the system, which grows the buffer as needed. Java's
    /// default of 64 KiB limits the throughput of connections with a long round trip.
    pub receive_buffer: Option<usize>,
    /// `receive.message.max.bytes`: the largest frame that is read. It should exceed `fetch.max.bytes`, because the first batch
    /// of a response may exceed that (KIP-74).
    pub max_frame: usize,
    /// `security.protocol` and the properties that belong to it.
    pub security: Security,
    /// Whether a response with bytes left over is malformed. Tests set this; it is off for brokers that are newer than this
    /// client.
    pub strict: bool,
    /// Seeds the jitter of backoffs and the start of the rotation over brokers.
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
