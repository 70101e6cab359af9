//! Patterns that the broker matches.

use std::{collections::BTreeSet, fmt};

use super::Consumer;
use crate::{
    command::Subscription,
    config::GroupProtocol,
    error::{Error, Result},
};

/// A pattern of whole topic names, in RE2 syntax, which the group's coordinator matches (KIP-848). Lookaround and
/// back-references are none of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionPattern(String);

impl SubscriptionPattern {
    /// As it is written. Whether it is valid the coordinator says.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// As it is written.
    pub fn pattern(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Consumer {
    /// Joins the group and reads its share of all topics whose names match, now or later, by the coordinator's judgement:
    /// it sees new topics at once, and the client need not keep a list of all of them. Replaces an earlier subscription.
    /// Needs `group.protocol=consumer` and Kafka 4.0; [`subscribe_patterns`](Self::subscribe_patterns) does not.
    /// `exclude.internal.topics` is not asked: the pattern alone decides.
    ///
    /// # Errors
    /// `Misuse` with the classic protocol, without a `group.id`, while partitions are assigned by hand, or for an empty
    /// pattern. What the coordinator thinks of the pattern comes out of [`poll`](Self::poll): `Group` with
    /// `INVALID_REGULAR_EXPRESSION` if it cannot read it, `Unsupported` if it is too old; a new subscription starts afresh.
    pub async fn subscribe_pattern(&mut self, pattern: SubscriptionPattern) -> Result<()> {
        if self.config().group_protocol != GroupProtocol::Consumer {
            return Err(Error::misuse(
                "a pattern that the broker matches needs group.protocol=consumer; subscribe_patterns works with both",
            ));
        }
        if pattern.0.is_empty() {
            return Err(Error::misuse("the pattern to subscribe to is empty; unsubscribe leaves the group"));
        }
        self.subscribe_to(Subscription::BrokerPattern(pattern.0), BTreeSet::new()).await
    }
}
