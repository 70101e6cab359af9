//! Notifications of a rebalance, in time to react.

use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

use offtake_machine::TopicPartition;

use crate::handle::Handle;

/// A future that a listener returns.
pub type ListenerFuture = Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'static>>;

/// The error of a listener. The `poll` that ran the listener returns it as the `source` of an [`Error`](crate::Error), and the
/// rebalance continues. If it is an `Error`, or one is among its sources, then the kind, the code and the partition of the
/// returned error are that one's, and [`is_retriable`](crate::Error::is_retriable) answers for it. Otherwise, and for `Closed` and
/// fatal errors, which may be those of another client, the kind is [`ErrorKind::Listener`](crate::ErrorKind::Listener).
pub type ListenerError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The partitions of an ownership change.
#[derive(Clone, Debug)]
pub struct Rebalance {
    /// The partitions that changed; never empty.
    pub partitions: Vec<TopicPartition>,
    /// The partitions owned after the change.
    pub owned: Vec<TopicPartition>,
    /// The group's generation; with `group.protocol=consumer` the member's epoch.
    pub generation: i32,
    /// A handle to commit, seek or pause from within the listener, and to read positions and lag. It holds no
    /// lock.
    pub consumer: Handle,
    pub(crate) deadline: Instant,
}

impl Rebalance {
    /// The time by which the listener must have ended. A `revoked` that has not ended by then is dropped, and
    /// its partitions are lost: the group waits no longer, and commits are refused with
    /// [`ErrorKind::NotOwned`](crate::ErrorKind::NotOwned) from then on. The other methods have at most
    /// `max.poll.interval.ms`. While the consumer is being closed it is the deadline of closing.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Is notified of every ownership change. The futures run inside `poll` (or `close`), one after the other, on
/// the application's task: while one runs, no record is handed out, and heartbeats continue in the
/// background.
///
/// If a `poll` is dropped while a listener runs, the next `poll` continues the same future.
///
/// A future that has not ended at [`Rebalance::deadline`] is dropped,
/// [`Event::RebalanceOverdue`](crate::Event) reports it, and the `poll` that ran it fails with
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). (One that blocks its thread cannot be dropped. Its
/// partitions are lost even so.)
///
/// [`Consumer::next`](crate::Consumer::next) returns changes as values instead.
///
/// A partition's calls follow the pattern `(assigned (revoked | lost))*`.
pub trait Listener: Send + Sync + 'static {
    /// These were assigned to this consumer. Their first record is handed out after this future has ended, so
    /// that it may still [`seek`](Handle::seek).
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }

    /// These are about to be revoked: still ours until this future ends, so that what is finished can be
    /// committed. It must end before [`Rebalance::deadline`].
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }

    /// These are lost, and perhaps owned by another member: a commit would be refused.
    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }
}

/// A listener that the application shares.
impl<L: Listener + ?Sized> Listener for Arc<L> {
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        L::assigned(self, rebalance)
    }

    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        L::revoked(self, rebalance)
    }

    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        L::lost(self, rebalance)
    }
}

/// A listener that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoopListener;

impl Listener for NoopListener {}
