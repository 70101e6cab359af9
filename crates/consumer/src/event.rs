//! What happens to a consumer beside records, as values: for logs, metrics and scripts.

use std::{fmt, sync::Arc, time::Duration};

use offtake_machine::TopicPartition;
pub use offtake_offsets::ResetReason;
use tracing::Span;

use crate::error::Error;

/// Something worth knowing that is no record.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Partitions were given to this consumer; told before their first record.
    Assigned(OwnershipChange),
    /// Partitions were handed over, after what was finished in them was committed. Where the coordinator does not answer in time
    /// they are handed over without: an [`Error`](Self::Error) tells it, and `close` fails (`Timeout`).
    Revoked(OwnershipChange),
    /// Partitions were taken away: somebody else may already have them, nothing more can be committed.
    Lost(OwnershipChange),
    /// These offsets are committed.
    Committed {
        /// The next offset to read, by partition.
        offsets: Vec<(TopicPartition, i64)>,
    },
    /// A position had no record to go on from, and `auto.offset.reset` (or [`begin_at`](crate::Builder::begin_at)) chose
    /// another; or the application asked for the policy. Told at once; [`Records::resets`](crate::Records::resets) has it in
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
        /// How many offsets were skipped, and will not be read; `None` where the two positions cannot be compared:
        /// there was none before, or it belonged to another log.
        skipped: Option<u64>,
    },
    /// The log is shorter than what was read of it: records were lost by the cluster (KIP-320). Told at once;
    /// [`Records::resets`](crate::Records::resets) has it in order with the records.
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
    /// Four fifths of `max.poll.interval.ms` have passed since the application last polled. Once, until it polls again.
    PollIntervalWarning {
        /// How long ago that is.
        since_poll: Duration,
        /// `max.poll.interval.ms`.
        limit: Duration,
        /// Why it seems not to poll.
        stall: Stall,
    },
    /// The application did not poll for `max.poll.interval.ms`: the group goes on without this member until it polls
    /// again.
    PollIntervalExceeded {
        /// How long ago it last did.
        since_poll: Duration,
        /// `max.poll.interval.ms`.
        limit: Duration,
        /// Why it seems not to poll.
        stall: Stall,
    },
    /// The process did not run for some time: it was suspended (a stopped process, a laptop that slept, a paused virtual
    /// machine), or the machine had no time for it. Told by an engine on a thread of its own, which cannot be held up by
    /// anything else, when a second or more is missing. That the machine was suspended is noticed when the engine runs next, at the
    /// latest when a heartbeat is due (`heartbeat.interval.ms`): until then what was owned before counts as owned.
    ProcessStopped {
        /// For at least so long.
        gap: Duration,
    },
    /// A listener, or whoever holds a [`Handover`](crate::Handover), did not end before its
    /// [deadline](crate::Rebalance::deadline). What was to be revoked, if that was its task, is lost: a commit of it is refused.
    RebalanceOverdue {
        /// Which of the listener's methods.
        call: RebalanceCall,
        /// Of these partitions.
        partitions: Vec<TopicPartition>,
        /// How long it was given.
        limit: Duration,
    },
    /// A record that was handed out is not finished ([`finish_each`](crate::Builder::finish_each)), and holds back what its
    /// partition may commit: for longer than `max.poll.interval.ms`, or its [`Ticket`](crate::Ticket) was dropped. At most once a
    /// partition in `max.poll.interval.ms`, for as long as it lasts.
    Unfinished {
        /// The record's.
        partition: TopicPartition,
        /// The record's: of those that the partition has, the first, or the first whose ticket was dropped.
        offset: i64,
        /// How long ago the first that is not finished was handed out, to within a second.
        age: Duration,
        /// How many records of the partition are not finished.
        count: u64,
        /// Whether the ticket of the record was dropped.
        ticket_dropped: bool,
    },
    /// Something went wrong. What can be mended is being mended; the rest also comes out of `poll`.
    Error(Error),
}

impl Event {
    /// The partition that it is about, of an event that is about one.
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

/// Why an application does not poll, as far as it can be told from outside.
///
/// The engine gives a small task to the runtime on which `poll` was last called, and looks whether it is run within
/// 50 ms. On a runtime with several threads it is, as long as one of them is free: a handler that blocks one of them holds
/// up nobody but itself, and is [`Handler`](Self::Handler). An engine that was put on the application's own runtime
/// ([`spawn_on`](crate::Builder::spawn_on)) is held up with it, and finds out only afterwards: it cannot tell a stopped
/// process from a blocked runtime, and says [`Blocked`](Self::Blocked) of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stall {
    /// `poll` has never been called, since whatever is subscribed to was subscribed to.
    NeverPolled,
    /// `poll` is not called, though the runtime runs other tasks: the handler is slow, or waits for something.
    Handler,
    /// `poll` is not called, or does not return from a listener, and the runtime runs nothing else either: the handler
    /// blocks its thread.
    Blocked,
    /// `poll` was called and has been woken since, as there is something for it to do, but nobody runs it: the runtime is
    /// busy elsewhere, or the future is kept and not polled.
    Starved,
    /// It would not have been silent for so long if the process had not been stopped.
    Stopped {
        /// For at least so long.
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

/// Which change of ownership the application is told of.
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

/// Which partitions changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnershipChange {
    /// What changed.
    pub partitions: Vec<TopicPartition>,
    /// What is held after it.
    pub owned: Vec<TopicPartition>,
    /// The group's generation, or with `group.protocol=consumer` the member's epoch; `None` for a hand assignment.
    pub generation: Option<i32>,
}

impl OwnershipChange {
    /// These partitions change hands, and `owned` is held afterwards.
    pub fn new(partitions: Vec<TopicPartition>, owned: Vec<TopicPartition>, generation: Option<i32>) -> Self {
        Self { partitions, owned, generation }
    }
}

/// Where a consumer's events and its log lines go.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// Takes the events. Called from the engine's thread or from within `poll`; must not block.
    handler: Option<Arc<dyn Fn(Event) + Send + Sync>>,
    /// The consumer's own, so that the lines of many consumers in one process can be told apart.
    span: Span,
}

impl Reporter {
    pub(crate) fn none() -> Self {
        Self { handler: None, span: Span::none() }
    }

    pub(crate) fn to(handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self { handler: Some(Arc::new(handler)), span: Span::none() }
    }

    /// The same, for the lines of this consumer.
    pub(crate) fn within(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// Logs outside of the engine, which is within the span all the time.
    pub(crate) fn log(&self, write: impl FnOnce()) {
        self.span.in_scope(write);
    }

    pub(crate) fn report(&self, event: impl FnOnce() -> Event) {
        if let Some(handler) = &self.handler {
            let event = event();
            let handle = || self.span.in_scope(|| handler(event));
            // A handler that panics harms nobody but itself: not the engine, whose thread this may be (FAILURES D9).
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(handle)).is_err() {
                self.log(|| tracing::error!("the function that takes the consumer's events panicked"));
            }
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.handler.is_some() { "Reporter(to a handler)" } else { "Reporter(log only)" })
    }
}
