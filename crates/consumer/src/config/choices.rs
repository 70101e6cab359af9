//! The properties that take one of a few words. Shown, each is the word that the property takes.

use std::{fmt, time::Duration};

pub use offtake_machine::{GroupProtocol, IsolationLevel};

/// Where to begin in a partition for which the group has committed nothing, or whose offset the broker no longer has:
/// `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the first record that is still there.
    Earliest,
    /// After the last record: only what is written from now on.
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

/// A way to divide partitions among the members of a classic group: `partition.assignment.strategy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AssignmentStrategy {
    /// Topic by topic, neighbouring partitions to the same member.
    Range,
    /// All partitions in turn.
    RoundRobin,
    /// Balanced, moving as few partitions as can be; everything is given up while it happens.
    Sticky,
    /// The same, giving up only what moves (KIP-429).
    CooperativeSticky,
    /// The application's own of that name, given to [`Builder::assignor`](crate::Builder::assignor).
    Custom(String),
}

impl fmt::Display for AssignmentStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AssignmentStrategy {
    /// Those that every Kafka client has.
    pub const ALL: &'static [Self] = &[Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// The name that members tell one another.
    pub fn name(&self) -> &str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Custom(name) => name,
        }
    }

    /// Java's class of that name; Java has none for the application's own.
    pub fn java_class(&self) -> Option<&'static str> {
        match self {
            Self::Range => Some("org.apache.kafka.clients.consumer.RangeAssignor"),
            Self::RoundRobin => Some("org.apache.kafka.clients.consumer.RoundRobinAssignor"),
            Self::Sticky => Some("org.apache.kafka.clients.consumer.StickyAssignor"),
            Self::CooperativeSticky => Some("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"),
            Self::Custom(_) => None,
        }
    }

    /// By either name, the class with or without its package; any other name is that of an assignor of one's own.
    pub fn named(text: &str) -> Self {
        let known = Self::ALL.iter().find(|strategy| {
            let class = strategy.java_class().unwrap_or_default();
            let simple = class.rsplit('.').next().unwrap_or(class);
            text.eq_ignore_ascii_case(strategy.name()) || text == class || text == simple
        });
        known.cloned().unwrap_or_else(|| Self::Custom(text.to_owned()))
    }
}
