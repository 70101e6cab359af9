//! What happens to a consumer beside records, as values: for logs, metrics and scripts.

use std::{fmt, sync::Arc};

use offtake_machine::TopicPartition;
pub use offtake_offsets::ResetReason;

use crate::error::Error;

/// Something worth knowing that is no record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Partitions were given to this consumer; told before their first record.
    Assigned(OwnershipChange),
    /// Partitions were handed over, after what was finished in them was committed.
    Revoked(OwnershipChange),
    /// Partitions were taken away: somebody else may already have them, nothing more can be committed.
    Lost(OwnershipChange),
    /// These offsets are committed.
    Committed {
        /// The next offset to read, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A position had no record to go on from, and `auto.offset.reset` (or [`begin_at`](crate::Builder::begin_at)) chose
    /// another; or the application asked for the policy. Told at once; [`Records::jumps`](crate::Records::jumps) has it in
    /// order with the records.
    Reset {
        /// Where.
        partition: TopicPartition,
        /// The position that was of no use; `None` where there was none.
        from: Option<i64>,
        /// Where reading goes on.
        to: i64,
        /// Why.
        reason: ResetReason,
        /// How many offsets were jumped over, and will not be read; `None` where the two positions cannot be compared:
        /// there was none before, or it belonged to another log.
        skipped: Option<u64>,
    },
    /// The log is shorter than what was read of it: records were lost by the cluster (KIP-320). Told at once;
    /// [`Records::jumps`](crate::Records::jumps) has it in order with the records.
    Truncated {
        /// Where.
        partition: TopicPartition,
        /// The position before.
        from: i64,
        /// Where reading goes on: the end of what both logs have in common, if known.
        to: Option<i64>,
        /// The leader epoch that ends there, if known.
        epoch: Option<i32>,
    },
    /// `poll` was not called for `max.poll.interval.ms`: the group goes on without this member until it polls again.
    PollIntervalExceeded,
    /// Something went wrong. What can be mended is being mended; the rest also comes out of `poll`.
    Error(Error),
}

/// Which partitions changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipChange {
    /// What changed.
    pub partitions: Vec<TopicPartition>,
    /// What is held after it.
    pub owned: Vec<TopicPartition>,
    /// The group's generation; `None` for a hand assignment.
    pub generation: Option<i32>,
}

/// Where events go. Called from the engine's thread or from within `poll`; must not block.
#[derive(Clone)]
pub(crate) struct Sink(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Sink {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn to(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(sink) = &self.0 {
            sink(event());
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Sink(set)" } else { "Sink(none)" })
    }
}
