//! [`Admin`]: topics, groups and offsets of a Kafka cluster, for tools.
//!
//! ```no_run
//! # async fn run() -> Result<(), offtake_admin::Error> {
//! use offtake_admin::{Admin, ClientConfig};
//!
//! let config = ClientConfig::from_properties([("bootstrap.servers", "localhost:9092")])?;
//! let mut admin = Admin::new(config)?;
//! for topic in admin.list_topics(false).await? {
//!     println!("{}: {} partitions", topic.name, topic.partitions.len());
//! }
//! admin.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Needs a tokio runtime; it runs in the caller's task, and does nothing between two calls. Each call ends within
//! `default.api.timeout.ms`, retries included, or within the limit set by [`within`](Admin::within). Transient errors (a moved
//! leader, a coordinator that loads) are retried until then.

mod attempts;
mod calls;
mod coordinator;
mod deletion;
mod describe;
mod group_offsets;
mod groups;
mod offsets;
mod outcomes;
pub mod probe;
mod removal;
pub mod survey;
mod topics;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::calls::Calls;
use offtake_client::clock;

/// The configuration, with Java's names.
pub mod config {
    pub use offtake_client::config::{
        ClientConfig, ConfigError, Ignored, MetadataRecoveryStrategy, Shown, parse_properties,
    };
}
/// Custom connections to brokers, where plain TCP will not do: the types that [`Admin::with_dial`] takes.
///
/// With `offtake-broker`, a test needs no network, and with tokio's clock paused it takes no time either:
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use offtake_admin::{Admin, ClientConfig, dial::InMemory};
/// use offtake_broker::Cluster;
///
/// let cluster = Cluster::builder().topic("orders", 6).in_memory().start().await?;
/// let config = ClientConfig::from_properties([("bootstrap.servers", cluster.bootstrap())])?;
/// let mut admin = Admin::with_dial(config, InMemory::new(cluster.connector()))?;
/// assert_eq!(admin.describe_topics("orders").await?[0].partitions.len(), 6);
/// # Ok(())
/// # }
/// ```
pub mod dial {
    pub use offtake_client::dial::{ByteStream, Dial, DialFuture, InMemory, Tcp};
}
/// Custom security of connections, where properties will not do: the types that [`ClientConfig::security`] takes.
pub mod security {
    pub use offtake_client::security::*;
}
pub use config::ClientConfig;
pub use describe::{GroupDescription, GroupMember};
pub use groups::GroupListing;
pub use offsets::{ListedOffset, OffsetSpec};
pub use offtake_client::{CommitReport, Dial, Error, ErrorKind, OneOrMany, Result};
pub use offtake_machine::{
    BrokerId, InvalidTopic, IsolationLevel, OffsetAndMetadata, ParseTopicPartitionError, PartitionInfo,
    Position, Topic, TopicPartition,
};
/// Kafka's error codes, as returned by [`Error::code`].
pub use offtake_wire::ErrorCode;
pub use removal::MemberToRemove;
pub use topics::{NewTopic, TopicDescription};

/// A client for inspecting a cluster, creating and deleting topics, and managing the committed offsets of groups.
#[derive(Debug)]
pub struct Admin {
    calls: Calls,
    default_timeout: Duration,
    /// Overrides `default.api.timeout.ms`.
    deadline: Option<Instant>,
}

impl Admin {
    /// Creates a client with this configuration, which may also be a consumer's. Sends no request yet.
    ///
    /// # Errors
    /// `Config`, with the property and the values that it may have.
    pub fn new(config: impl Into<ClientConfig>) -> Result<Self> {
        Self::start(&config.into(), None)
    }

    /// The same with custom connections instead of plain TCP: through a proxy, or to a cluster that runs in this process
    /// ([`dial::InMemory`]).
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn with_dial(config: impl Into<ClientConfig>, dial: impl Dial) -> Result<Self> {
        Self::start(&config.into(), Some(Arc::new(dial)))
    }

    fn start(config: &ClientConfig, dial: Option<Arc<dyn Dial>>) -> Result<Self> {
        config.validate()?;
        config.log_ignored();
        let calls = Calls::new(config, dial)?;
        Ok(Self { calls, default_timeout: config.default_api_timeout, deadline: None })
    }

    /// Limits the total time of all calls from now on.
    pub fn within(&mut self, limit: Duration) {
        self.deadline = Some(clock::after(limit));
    }

    /// Closes the connections.
    pub async fn close(self) {
        self.calls.close().await;
    }

    fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(|| clock::after(self.default_timeout))
    }
}

/// The README's examples, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
