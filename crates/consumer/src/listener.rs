//! Being told of a rebalance, in time to do something about it.

use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

use offtake_machine::TopicPartition;

use crate::handle::Handle;

/// A future that a listener returns.
pub type ListenerFuture = Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'static>>;

/// What a listener may fail with. It comes out of the `poll` that ran the listener; the rebalance goes on.
pub type ListenerError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Partitions that change hands.
#[derive(Clone, Debug)]
pub struct Rebalance {
    /// Those that changed; never empty.
    pub partitions: Vec<TopicPartition>,
    /// Those held after the change.
    pub owned: Vec<TopicPartition>,
    /// The group's generation; with `group.protocol=consumer` the member's epoch.
    pub generation: i32,
    /// To commit, seek or pause from within the listener, and to read positions and lag. It holds no lock.
    pub consumer: Handle,
    pub(crate) deadline: Instant,
}

impl Rebalance {
    /// Until when the listener must have ended. A `revoked` that has not is left where it is, and its partitions are
    /// lost: the group does not wait longer, and commits are refused with
    /// [`ErrorKind::NotOwned`](crate::ErrorKind::NotOwned) from then on. The others, too, are waited for no longer: at most
    /// `max.poll.interval.ms`. While the consumer is being closed it is the deadline of closing.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Told of every change of ownership. The futures run inside `poll` (or `close`), one after the other, on the
/// application's task: while one runs, no record is handed out, and heartbeats go on in the background.
///
/// A `poll` that is dropped while a listener runs does not end it: the next `poll` goes on with the same future.
///
/// A future that has not ended at [`Rebalance::deadline`] is dropped, [`Event::RebalanceOverdue`](crate::Event) says so,
/// and the `poll` that ran it fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). (One that blocks its thread
/// cannot be dropped. Its partitions are lost all the same.)
///
/// Who would rather have changes as values takes them from [`Consumer::next`](crate::Consumer::next).
///
/// A partition's calls follow the pattern `(assigned (revoked | lost))*`.
pub trait Listener: Send + Sync + 'static {
    /// These were given to this consumer. Their first record comes after this future has ended, so that it may still
    /// [`seek`](Handle::seek).
    fn assigned(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }

    /// These are about to be handed over: still ours until this future ends, so that what is finished can be
    /// committed. Must end before [`Rebalance::deadline`].
    fn revoked(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }

    /// These are gone already, perhaps to another member: a commit would be refused.
    fn lost(&self, rebalance: Rebalance) -> ListenerFuture {
        let _ = rebalance;
        Box::pin(async { Ok(()) })
    }
}

/// One that the application keeps a part in.
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
