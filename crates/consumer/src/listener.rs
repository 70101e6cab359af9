//! Being told of a rebalance, in time to do something about it.

use std::{future::Future, pin::Pin};

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
    /// The group's generation.
    pub generation: i32,
    /// To commit, seek or pause from within the listener. It holds no lock.
    pub consumer: Handle,
}

/// Told of every change of ownership. The futures run inside `poll` (or `close`), one after the other, on the
/// application's task: while one runs, no record is handed out, and heartbeats go on in the background.
///
/// A `poll` that is dropped while a listener runs does not end it: the next `poll` goes on with the same future.
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
    /// committed. It must end within `max.poll.interval.ms`.
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

/// A listener that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silent;

impl Listener for Silent {}
