//! Patterns that the broker matches.

use std::{collections::BTreeSet, fmt};

use super::Consumer;
use crate::{
    command::Subscription,
    config::GroupProtocol,
    error::{Error, Result},
};

/// A pattern for whole topic names, in RE2 syntax, which the group's coordinator matches (KIP-848). RE2 has
/// no lookaround and no back-references.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionPattern(String);

impl SubscriptionPattern {
    /// Creates a pattern from its text. The coordinator decides whether it is valid.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// The pattern's text.
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
    /// Joins the group and reads its share of all topics whose names match, now or later. The coordinator
    /// does the matching, and the client need not keep a list of all topics. A topic that is created later is read from its first
    /// record, whatever `auto.offset.reset` says, some 10 s after: Kafka 4 matches no more often.
    /// Replaces an earlier subscription. Needs `group.protocol=consumer` and Kafka 4.0;
    /// [`subscribe_patterns`](Self::subscribe_patterns) does not. `exclude.internal.topics` is ignored: the
    /// pattern alone decides. Where none of the topics that exist matches, one warning and one [`Event::Error`](crate::Event::Error) say so.
    ///
    /// # Errors
    /// `Misuse` with the classic protocol, without a `group.id`, while partitions are assigned manually, or
    /// for an empty pattern. The coordinator's verdict on the pattern is returned by [`poll`](Self::poll):
    /// `Group` with `INVALID_REGULAR_EXPRESSION` if the pattern is invalid, `Unsupported` if the coordinator
    /// is too old; a new subscription starts afresh.
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
