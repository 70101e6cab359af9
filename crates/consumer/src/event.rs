//! What happens to a consumer besides records, as values: for logs, metrics and scripts.

use std::{fmt, sync::Arc, time::Duration};

use offtake_machine::TopicPartition;
pub use offtake_offsets::ResetReason;
use tracing::Span;

use crate::error::Error;

/// Something worth reporting other than a record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Partitions were assigned to this consumer; reported before their first record.
    Assigned(OwnershipChange),
    /// Partitions were revoked, after what was finished in them was committed. If the coordinator does not
    /// answer in time, they are released without that commit: an [`Error`](Self::Error) reports it, and
    /// `close` fails (`Timeout`).
    Revoked(OwnershipChange),
    /// Partitions were lost: another member may already own them, and nothing more can be committed.
    Lost(OwnershipChange),
    /// These offsets were committed.
    Committed {
        /// The next offset to read, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A position was invalid or missing, and `auto.offset.reset` (or [`begin_at`](crate::Builder::begin_at))
    /// chose another; or the application requested the policy. Reported at once;
    /// [`Records::resets`](crate::Records::resets) has it in order with the records.
    Reset {
        /// The partition.
        partition: TopicPartition,
        /// The invalid position; `None` if there was none.
        from: Option<i64>,
        /// The new position.
        to: i64,
        /// The reason.
        reason: ResetReason,
        /// How many offsets were skipped and will not be read; `None` if the two positions cannot be
        /// compared: there was none before, or it belonged to another log.
        skipped: Option<u64>,
    },
    /// The log is shorter than what was read of it: the cluster lost records (KIP-320). Reported at once;
    /// [`Records::resets`](crate::Records::resets) has it in order with the records.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The position before.
        from: i64,
        /// The new position: the end of what both logs have in common, if known.
        to: Option<i64>,
        /// The leader epoch that ends there, if known.
        epoch: Option<i32>,
    },
    /// Four fifths of `max.poll.interval.ms` have passed since the last `poll`. Reported once until the
    /// application polls again.
    PollIntervalWarning {
        /// The time since the last `poll`.
        since_poll: Duration,
        /// `max.poll.interval.ms`.
        limit: Duration,
        /// The probable reason.
        stall: Stall,
    },
    /// The application did not poll for `max.poll.interval.ms`: the group continues without this member until
    /// it polls again.
    PollIntervalExceeded {
        /// The time since the last `poll`.
        since_poll: Duration,
        /// `max.poll.interval.ms`.
        limit: Duration,
        /// The probable reason.
        stall: Stall,
    },
    /// The process did not run for some time: it was suspended (a stopped process, a laptop that slept, a
    /// paused virtual machine), or got no processor time. Reported by an engine on a thread of its own, which
    /// nothing else can delay, if a second or more is missing. A suspension of the machine is noticed when
    /// the engine next runs, at the latest when a heartbeat is due (`heartbeat.interval.ms`): until then the
    /// earlier assignment is considered valid.
    ProcessStopped {
        /// The least length of the gap.
        gap: Duration,
    },
    /// A listener, or the holder of a [`Handover`](crate::Handover), did not end before its
    /// [deadline](crate::Rebalance::deadline). If it was revoking partitions, these are lost: a commit for
    /// them is refused.
    RebalanceOverdue {
        /// The listener's method.
        call: RebalanceCall,
        /// The partitions concerned.
        partitions: Vec<TopicPartition>,
        /// The time that it was given.
        limit: Duration,
    },
    /// A record that was handed out is not finished ([`finish_each`](crate::Builder::finish_each)), and holds
    /// back the commits of its partition: it is unfinished for longer than `max.poll.interval.ms`, or its
    /// [`Ticket`](crate::Ticket) was dropped. Reported for a partition at most once in
    /// `max.poll.interval.ms`, for as long as it lasts.
    Unfinished {
        /// The record's partition.
        partition: TopicPartition,
        /// The offset of the record: the first unfinished one of the partition, or the first whose ticket was
        /// dropped.
        offset: i64,
        /// How long ago the first unfinished record was handed out, to within a second.
        age: Duration,
        /// The number of unfinished records of the partition.
        count: u64,
        /// Whether the record's ticket was dropped.
        ticket_dropped: bool,
    },
    /// An error. The consumer recovers from it if it can; otherwise `poll` returns it too.
    Error(Error),
}

impl Event {
    /// The partition of the event, if it concerns a single one.
    pub(crate) fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::Reset { partition, .. }
            | Self::Truncated { partition, .. }
            | Self::Unfinished { partition, .. } => Some(partition),
            Self::Error(error) => error.partition(),
            Self::Assigned(_)
            | Self::Revoked(_)
            | Self::Lost(_)
            | Self::Committed { .. }
            | Self::PollIntervalWarning { .. }
            | Self::PollIntervalExceeded { .. }
            | Self::ProcessStopped { .. }
            | Self::RebalanceOverdue { .. } => None,
        }
    }
}

/// Why an application does not poll, as far as that can be observed from outside.
///
/// The engine spawns a small task on the runtime on which `poll` was last called, and checks whether it is
/// run within 50 ms. On a runtime with several threads it is run as long as one of them is free: a handler
/// that blocks one thread delays only itself, and is [`Handler`](Self::Handler). An engine on the
/// application's own runtime ([`spawn_on`](crate::Builder::spawn_on)) is delayed with it, and notices only
/// afterwards: it cannot distinguish a stopped process from a blocked runtime, and reports
/// [`Blocked`](Self::Blocked) for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stall {
    /// `poll` has not been called since the subscription.
    NeverPolled,
    /// `poll` is not called, though the runtime runs other tasks: the handler is slow, or waits for
    /// something.
    Handler,
    /// `poll` is not called, or does not return from a listener, and the runtime runs nothing else either:
    /// the handler blocks its thread.
    Blocked,
    /// `poll` was called and has been woken since, because there is work for it, but its future is not
    /// polled: the runtime is busy elsewhere, or the future is kept and not polled.
    Starved,
    /// The time without a `poll` would not be this long if the process had not been stopped.
    Stopped {
        /// The least length of the gap.
        gap: Duration,
    },
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverPolled => f.write_str("poll has not been called yet"),
            Self::Handler => f.write_str("the handler is slow"),
            Self::Blocked => f.write_str("the handler blocks its thread"),
            Self::Starved => f.write_str("poll was woken, but its task is not run"),
            Self::Stopped { gap } => write!(f, "the process was stopped for {:.1} s", gap.as_secs_f64()),
        }
    }
}

/// The ownership change that the application is notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceCall {
    /// [`Listener::assigned`](crate::Listener::assigned).
    Assigned,
    /// [`Listener::revoked`](crate::Listener::revoked), [`Next::Revoking`](crate::Next::Revoking).
    Revoked,
    /// [`Listener::lost`](crate::Listener::lost), [`Next::Lost`](crate::Next::Lost).
    Lost,
}

impl fmt::Display for RebalanceCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        })
    }
}

/// The partitions of an ownership change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnershipChange {
    /// The partitions that changed.
    pub partitions: Vec<TopicPartition>,
    /// The partitions owned after it.
    pub owned: Vec<TopicPartition>,
    /// The group's generation, or with `group.protocol=consumer` the member's epoch; `None` for a manual
    /// assignment.
    pub generation: Option<i32>,
}

impl OwnershipChange {
    /// A change of these partitions, after which `owned` is owned.
    pub fn new(partitions: Vec<TopicPartition>, owned: Vec<TopicPartition>, generation: Option<i32>) -> Self {
        Self { partitions, owned, generation }
    }
}

/// The destination of a consumer's events and its log lines.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// Handles the events. Called from the engine's thread or from within `poll`; must not block.
    handler: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    /// The consumer's own span, which distinguishes the log lines of several consumers in one process.
    span: Span,
}

impl Reporter {
    pub(crate) fn none() -> Self {
        Self { handler: None, span: Span::none() }
    }

    pub(crate) fn to(handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self { handler: Some(Arc::new(handler)), span: Span::none() }
    }

    /// The same, with the log lines of this consumer.
    pub(crate) fn within(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Logs from outside the engine, which runs within the span all the time.
    pub(crate) fn log(&self, write: impl FnOnce()) {
        self.span.in_scope(write);
    }

    pub(crate) fn report(&self, event: impl FnOnce() -> Event) {
        if let Some(handler) = &self.handler {
            let event = event();
            let handle = || self.span.in_scope(|| handler(event));
            // A panicking handler must not harm the engine, whose thread this may be (FAILURES D9).
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(handle)).is_err() {
                self.log(|| tracing::error!("the event handler panicked"));
            }
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.handler.is_some() { "Reporter(to a handler)" } else { "Reporter(log only)" })
    }
}
