//! The properties that take one of a few words. `Display` prints the word that the property takes.

use std::{fmt, time::Duration};

pub use offtake_machine::{GroupProtocol, IsolationLevel};

/// Where to start in a partition if the group has committed nothing for it, or if the broker no longer has
/// the offset: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the first record that still exists.
    Earliest,
    /// After the last record: only records written from now on.
    Latest,
    /// Nowhere: the application gets an error and decides.
    None,
    /// At the first record that is not older than this (KIP-1106).
    ByDuration(Duration),
}

impl fmt::Display for AutoOffsetReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::None => f.write_str("none"),
            Self::ByDuration(age) => write!(f, "by_duration:PT{}.{:09}S", age.as_secs(), age.subsec_nanos()),
        }
    }
}

/// A strategy to divide partitions among the members of a classic group: `partition.assignment.strategy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AssignmentStrategy {
    /// Topic by topic; neighbouring partitions go to the same member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Balanced, moving as few partitions as possible; members revoke everything during the rebalance.
    Sticky,
    /// The same, but only partitions that move are revoked (KIP-429).
    CooperativeSticky,
    /// The application's own assignor with that name, given to
    /// [`Builder::assignor`](crate::Builder::assignor).
    Custom(String),
}

impl fmt::Display for AssignmentStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AssignmentStrategy {
    /// The strategies that every Kafka client has.
    pub const ALL: &'static [Self] = &[Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// The name in the group protocol.
    pub fn name(&self) -> &str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Custom(name) => name,
        }
    }

    /// The name of Java's class for it; none for the application's own assignors.
    pub fn java_class(&self) -> Option<&'static str> {
        match self {
            Self::Range => Some("org.apache.kafka.clients.consumer.RangeAssignor"),
            Self::RoundRobin => Some("org.apache.kafka.clients.consumer.RoundRobinAssignor"),
            Self::Sticky => Some("org.apache.kafka.clients.consumer.StickyAssignor"),
            Self::CooperativeSticky => Some("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"),
            Self::Custom(_) => None,
        }
    }

    /// Accepts either name, the class with or without its package; any other name is that of a custom
    /// assignor.
    pub fn named(text: &str) -> Self {
        let known = Self::ALL.iter().find(|strategy| {
            let class = strategy.java_class().unwrap_or_default();
            let simple = class.rsplit('.').next().unwrap_or(class);
            text.eq_ignore_ascii_case(strategy.name()) || text == class || text == simple
        });
        known.cloned().unwrap_or_else(|| Self::Custom(text.to_owned()))
    }
}
