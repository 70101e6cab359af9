//! [`Admin`]: topics, groups and offsets of a cluster, as tools look at them.
//!
//! Needs a tokio runtime; it lives in the caller's task and keeps nothing going between two calls. Each call ends within
//! `default.api.timeout.ms`, retries included, or when [`within`](Admin::within) says; what passes by itself (a moved
//! leader, a coordinator that loads) is waited for until then.

mod calls;
mod coordinator;
mod describe;
mod each;
mod group_offsets;
mod groups;
mod offsets;
mod removal;
mod topics;
mod trouble;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{clock, config::Config, error::Result};
use calls::Calls;

pub use offtake_machine::BrokerId;
/// Kafka's error codes, which [`Error::code`](crate::Error::code) has.
pub use offtake_wire::ErrorCode;

pub use describe::{GroupDescription, GroupMember};
pub use groups::GroupListing;
pub use offsets::{ListedOffset, OffsetSpec};
pub use removal::MemberToRemove;
pub use topics::{NewTopic, TopicDescription};

/// A client for looking at a cluster, for creating and deleting topics, and for what groups have committed.
#[derive(Debug)]
pub struct Admin {
    calls: Calls,
    config: Arc<Config>,
    /// Overrides `default.api.timeout.ms`.
    deadline: Option<Instant>,
}

impl Admin {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// `Config`, with the property and what it may be.
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let config = Arc::new(config);
        Ok(Self { calls: Calls::new(&config), config, deadline: None })
    }

    /// Everything from now on ends within this, however many calls it takes.
    pub fn within(&mut self, limit: Duration) {
        self.deadline = Some(clock::now() + limit);
    }

    /// Closes the connections.
    pub async fn close(self) {
        self.calls.close().await;
    }

    fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(|| clock::now() + self.config.default_api_timeout)
    }
}
