//! The configuration of clients, under Java's names: [`ClientConfig`] has what every client has, and
//! [`Properties`] extends it to a client's own configuration.
//!
//! A property keeps Kafka's name with `_` for `.` and its unit in its type: `request.timeout.ms` is
//! [`request_timeout`](ClientConfig::request_timeout). As text, both Java's and librdkafka's names are
//! accepted; an unknown name is refused, with a suggestion of what was probably meant. Defaults are those of
//! Java's clients 4.3, except where noted. An error lists all mistakes, not only the first.

mod address;
mod error;
mod file;
mod machines;
pub mod names;
mod nearest;
mod properties;
mod security;
mod setters;
mod sources;
mod table;
mod value;

use std::{collections::BTreeSet, fmt, time::Duration};

pub use error::{ConfigError, Shown};
pub use file::parse_properties;
pub use names::owner;
pub use properties::{
    Meaning, Properties, Property, ignored, is_given, is_secret, known_names, p, set, set_in_any_order,
    validate,
};
pub use security::{SecurityConfig, SecurityProtocol};
pub use sources::{
    Ignored, Others, apply_env, apply_variables, from_file, from_properties, is_of_providers, warn_of_readers,
};
pub use value::{ENDLESS, Value, parse_iso_duration};

/// The settings of every client: where the brokers are, and how long to wait for them. See the [module](self)
/// for the names.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// `bootstrap.servers`: the brokers to contact first, as host and port. Must not be empty.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// `client.id`: the name of this client in the brokers' logs and quotas. If empty, `offtake` is sent.
    pub client_id: String,
    /// `client.rack`: where this client is, so that it may read from a nearby replica (KIP-392). Empty:
    /// unknown.
    pub client_rack: String,

    /// `request.timeout.ms`: 30 s for one response of one broker.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: 60 s for a call of the application, retries included.
    pub default_api_timeout: Duration,
    /// `retry.backoff.ms`: 100 ms before the first retry.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`: 1 s before the later ones.
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`: 50 ms before the first attempt to connect again.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`: 1 s before the later ones.
    pub reconnect_backoff_max: Duration,
    /// `connections.max.idle.ms`: 9 min until an unused connection is closed; `None` (any negative number) for never.
    pub connections_max_idle: Option<Duration>,
    /// `socket.connection.setup.timeout.ms`: 10 s for the first attempt to connect.
    pub socket_connection_setup_timeout: Duration,
    /// `socket.connection.setup.timeout.max.ms`: 30 s for the later ones.
    pub socket_connection_setup_timeout_max: Duration,
    /// `send.buffer.bytes`: 128 KiB; `None` (-1) for the system's choice.
    pub send_buffer: Option<u32>,
    /// `receive.buffer.bytes`: `None` (-1), the system's choice, which it enlarges as needed. Not Java's 64
    /// KiB, which limits the speed of a connection over any distance.
    pub receive_buffer: Option<u32>,
    /// `receive.message.max.bytes`, librdkafka's: 100 000 000, the largest accepted response.
    pub receive_message_max_bytes: u32,
    /// `metadata.max.age.ms`: 5 min, after which the client looks for new partitions and topics.
    pub metadata_max_age: Duration,
    /// `metadata.recovery.strategy`: rebootstrap.
    pub metadata_recovery_strategy: MetadataRecoveryStrategy,
    /// `metadata.recovery.rebootstrap.trigger.ms`: 5 min without metadata (KIP-1102).
    pub metadata_recovery_rebootstrap_trigger: Duration,
    /// `security.protocol`, and the properties of TLS and SASL.
    pub security: SecurityConfig,

    /// The properties that were set by name: some combinations are refused only if both were set explicitly.
    given: BTreeSet<&'static str>,
    /// The properties that were set and have no effect, by name.
    ignored: Vec<Ignored>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            client_id: String::new(),
            client_rack: String::new(),
            request_timeout: Duration::from_secs(30),
            default_api_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            connections_max_idle: Some(Duration::from_secs(540)),
            socket_connection_setup_timeout: Duration::from_secs(10),
            socket_connection_setup_timeout_max: Duration::from_secs(30),
            send_buffer: Some(128 << 10),
            receive_buffer: None,
            receive_message_max_bytes: 100_000_000,
            metadata_max_age: Duration::from_secs(300),
            metadata_recovery_strategy: MetadataRecoveryStrategy::Rebootstrap,
            metadata_recovery_rebootstrap_trigger: Duration::from_secs(300),
            security: SecurityConfig::default(),
            given: BTreeSet::new(),
            ignored: Vec::new(),
        }
    }
}

#[doc(hidden)] // applications have the methods of `property_methods!`
impl Properties for ClientConfig {
    const CLIENT: &'static str = "this client";
    const NAMES: &'static [&'static [&'static str]] = &[]; // its tables are beside those lists

    fn own() -> &'static [&'static [Property<Self>]] {
        &[]
    }

    fn client(&self) -> &ClientConfig {
        self
    }

    fn client_mut(&mut self) -> &mut ClientConfig {
        self
    }

    fn conflicts(&self) -> Vec<String> {
        let no_servers = "`bootstrap.servers` is empty: give at least one `host:port`";
        let mut conflicts = Vec::from_iter(self.bootstrap_servers.is_empty().then(|| no_servers.to_owned()));
        conflicts.extend(self.security.conflicts());
        conflicts
    }
}

crate::property_methods!(ClientConfig);

impl ClientConfig {
    /// The client id sent to brokers: `client.id`, or our default.
    pub fn sent_client_id(&self) -> &str {
        if self.client_id.is_empty() { "offtake" } else { &self.client_id }
    }

    /// `client.rack`, if it is known.
    pub fn rack(&self) -> Option<String> {
        Some(self.client_rack.clone()).filter(|rack| !rack.is_empty())
    }

    /// Notes that this property has no effect. True if that is new.
    fn note_ignored(&mut self, name: &str, reason: String, is_left_out: bool) -> bool {
        let is_new = self.ignored.iter().all(|ignored| ignored.name != name);
        if is_new {
            self.ignored.push(Ignored { name: name.to_owned(), reason, is_left_out });
        }
        is_new
    }

    /// Notes a known property that has no effect.
    fn ignore(&mut self, name: &str, why: &str) {
        self.note_ignored(name, why.to_owned(), false);
    }

    /// Logs which properties have no effect, all in one line (WARN). Those of other programs were logged when
    /// they were left out.
    #[doc(hidden)] // for clients, when they start
    pub fn log_ignored(&self) {
        let ignored = self.ignored.iter().filter(|ignored| !ignored.is_left_out);
        let ignored: Vec<_> = ignored.map(ToString::to_string).collect();
        if !ignored.is_empty() {
            tracing::warn!("these properties have no effect: {}", ignored.join("; "));
        }
    }
}

/// What to do if none of the known brokers can be reached: `metadata.recovery.strategy` (KIP-899).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataRecoveryStrategy {
    /// Keep trying them.
    None,
    /// Start again from `bootstrap.servers`.
    Rebootstrap,
}

impl fmt::Display for MetadataRecoveryStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Rebootstrap => f.write_str("rebootstrap"),
        }
    }
}
