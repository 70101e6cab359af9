//! [`Consumer`]: the handle that the application holds.

mod changes;
pub(crate) mod closing;
mod pattern;
mod polling;
mod positions;
mod subscribing;

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use offtake_machine::{GroupMetadata, GroupOffsets, Topic};
use tokio::sync::mpsc;

pub use self::{
    closing::{CloseOptions, GroupMembership},
    pattern::SubscriptionPattern,
    polling::{ConsumerStream, RecordStream},
};
use self::{polling::Polling, subscribing::Subscribing};
use crate::{
    batches::Batches,
    clock,
    command::Command,
    config::Config,
    delivery::{Delivery, Opener, PollOutput},
    error::{Error, Result},
    event::Reporter,
    freed::FreedMemory,
    handle::Handle,
    health::{Health, Vitals},
    inbox::{InboxReceiver, Taken},
    ledgers::Ledgers,
    listener::Listener,
    next::Next,
    poll_waker::PollWaker,
    progress::{Finishing, Progress},
    rebalance::{Notified, PendingChange, Running},
    records::Records,
    shared::Shared,
};

/// A Kafka consumer.
///
/// One engine does the work, by default on a thread of its own, so that heartbeats do not depend on the
/// application. This is the application's handle to it. [`poll`](Self::poll) hands out records, and runs the
/// listener when partitions are assigned or revoked.
///
/// Every future here may be dropped at any await: that loses no record, no rebalance and no commit that was
/// sent.
///
/// **[Close](Self::close) a consumer when you are done.** A consumer that is dropped, by a `?` for example,
/// waits for nothing. In the background, for a second at most, its engine commits what the application has
/// marked as finished (if `enable.auto.commit` is on; the records of the last `poll` are not included, as no
/// later `poll` has finished them), and leaves the group, so that its partitions are reassigned at once. No
/// listener runs. If the process ends at that moment, as at the end of `main`, even that is not certain: the
/// group then notices after `session.timeout.ms`, and what was finished since the last commit is delivered
/// again.
pub struct Consumer {
    handle: Handle,
    shared: Arc<Shared>,
    freed: Arc<FreedMemory>,
    listener: ListenerBox,
    reporter: Reporter,
    inbox: InboxReceiver,
    /// Taken out of the inbox, and not handled yet.
    taken: Taken,
    delivery: Delivery,
    progress: Progress,
    /// A rebalance whose listener has not ended yet: it continues in the next `poll`.
    running: Option<Running>,
    /// A change that was handed out as a value, and has perhaps ended.
    handed_out: Option<PendingChange>,
    /// Whether the current call returns changes as values.
    as_values: bool,
    waker: PollWaker,
    /// The runtime of the last `poll`.
    runtime: Option<tokio::runtime::Id>,
    generation: Option<i32>,
    group: Group,
    /// The time of the last automatic commit, and the alarm that wakes a waiting `poll` when the next one is
    /// due.
    last_commit: Instant,
    commit_alarm: clock::Alarm,
    in_poll: bool,
    /// The log says that nothing is subscribed to and nothing assigned.
    is_idle_logged: bool,
    /// [`Handle::wake`] was called, and no call has returned since.
    is_woken: bool,
    subscribed: BTreeSet<Topic>,
    /// A `subscribe` that was begun, and perhaps dropped before its answer.
    subscribing: Option<Subscribing>,
    fatal: Option<Fatal>,
    fatal_alarm: clock::Alarm,
}

/// The error that every `poll` returns, until the group assigns again or the application starts anew.
#[derive(Debug)]
struct Fatal {
    error: Error,
    /// When a `poll` last returned it.
    returned_at: Option<Instant>,
}

/// Prints its assignment and state, and none of the records that it holds.
impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("handle", &self.handle)
            .field("owned", &self.delivery.owned().count())
            .field("group", &self.group)
            .field("generation", &self.generation)
            .field("subscribed", &self.subscribed)
            .field("running", &self.running)
            .field("fatal", &self.fatal)
            .finish_non_exhaustive()
    }
}

/// The membership as this side knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Not subscribed: messages still arriving from a group are ignored.
    Outside,
    Subscribed,
    /// An `unsubscribe` was begun, and perhaps dropped before its end.
    Leaving,
}

/// A consumer is `Send` and `Sync`, and so are values that borrow it.
const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Consumer>();
};

struct ListenerBox(Arc<dyn Listener>);

impl fmt::Debug for ListenerBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// The inputs of a consumer besides its configuration.
pub(crate) struct ConsumerParts {
    pub(crate) listener: Arc<dyn Listener>,
    pub(crate) reporter: Reporter,
    /// Set if records are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// Opens batches ahead of the application.
    pub(crate) opener: Opener,
    /// What it is done with, for the engine.
    pub(crate) freed: Arc<FreedMemory>,
}

impl Consumer {
    pub(crate) fn new(
        commands: mpsc::UnboundedSender<Command>,
        config: Arc<Config>,
        shared: Arc<Shared>,
        vitals: Arc<Vitals>,
        parts: ConsumerParts,
        inbox: InboxReceiver,
    ) -> Self {
        let delivery = Delivery::new(&config, parts.opener, parts.reporter.clone());
        let ledgers = parts.ledgers;
        let (view, resumes) = (delivery.viewer(), delivery.resumes());
        let handle = Handle { commands, config, inbox: inbox.shared(), view, resumes, ledgers, vitals };
        let finishing = match &handle.ledgers {
            Some(ledgers) => Finishing::Each(ledgers.clone()),
            None if handle.config.enable_auto_offset_store => Finishing::ByPoll,
            None => Finishing::ByStore,
        };
        Self {
            handle,
            shared,
            freed: parts.freed,
            listener: ListenerBox(parts.listener),
            reporter: parts.reporter,
            inbox,
            taken: Taken::default(),
            delivery,
            progress: Progress::new(finishing),
            running: None,
            handed_out: None,
            as_values: false,
            waker: PollWaker::default(),
            runtime: None,
            generation: None,
            group: Group::Outside,
            last_commit: clock::now(),
            commit_alarm: clock::Alarm::default(),
            in_poll: false,
            is_idle_logged: false,
            is_woken: false,
            subscribed: BTreeSet::new(),
            subscribing: None,
            fatal: None,
            fatal_alarm: clock::Alarm::default(),
        }
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.handle.config
    }

    /// The current group metadata of this consumer (KIP-447).
    ///
    /// # Errors
    /// As [`Handle::group_metadata`].
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        self.handle.group_metadata().await
    }

    /// The offsets that mark these records as finished, for a producer to commit in a transaction (KIP-447).
    ///
    /// # Errors
    /// As [`Handle::offsets_for_transaction`].
    pub async fn offsets_for_transaction(&self, records: &Records) -> Result<GroupOffsets> {
        self.handle.offsets_for_transaction(records).await
    }

    /// Asks the group for a rebalance (KIP-568).
    ///
    /// # Errors
    /// As [`Handle::enforce_rebalance`].
    pub async fn enforce_rebalance(&self) -> Result<()> {
        self.handle.enforce_rebalance().await
    }

    /// The consumer's health; the same as [`Handle::health`], which a probe can call while `poll` runs.
    pub fn health(&self) -> Health {
        self.handle.health()
    }

    /// Whether the assignment is known to be this consumer's at this moment. It is not while the consumer is
    /// no member, nor when its session may have expired at the coordinator: a process that was stopped for
    /// longer than that learns only later that others own its partitions. [`poll`](Self::poll) and
    /// [`next`](Self::next) hand out nothing then; check it before starting later work on records that they
    /// handed out. Always true for partitions that were assigned manually.
    pub fn owns_assignment(&self) -> bool {
        self.shared.holds(clock::now())
    }

    /// A handle to control this consumer from other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// Returns records, at most `max.poll.records` of them, as soon as there are any; none after `timeout`. If
    /// there are none, even a timeout of zero takes a tick of tokio's timer, a millisecond, in which other tasks
    /// run.
    ///
    /// Calling it again marks the records of the last call as finished, unless `enable.auto.offset.store` is
    /// off or records are finished one by one ([`finish_each`](crate::Builder::finish_each)).
    /// It must be called every `max.poll.interval.ms` while subscribed, or the group continues without this
    /// member.
    ///
    /// Without a subscription and an assignment it returns nothing each time (Java's throws). That is logged (WARN),
    /// once until it changes.
    ///
    /// # Errors
    /// Errors that the client cannot recover from. An error with a [`partition`](Error::partition) stops that
    /// partition alone, and is returned once. A [fatal](Error::is_fatal) one is returned by every call until the
    /// application starts anew with [`subscribe`](Self::subscribe) or [`assign`](Self::assign): what a member was
    /// refused for (a fenced `group.instance.id`, no assignor in common) is not tried again by itself. What
    /// concerns the cluster or the coordinator as a whole (refused credentials, a missing right) also ends with
    /// its cause. Each call after the first waits for `retry.backoff.ms` before it returns that error, or for
    /// `timeout` if that is shorter, so that a loop that goes on after errors does not spin.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Records> {
        self.poll_for(timeout).await
    }

    /// As [`poll`](Self::poll), but returns whole batches, with their checksums verified and still
    /// compressed, to be decompressed and read on other threads. It returns as many as begin within the first
    /// `max.poll.records` records.
    ///
    /// Everything else is as with `poll`, and the two may be mixed. Calling it again marks the contents of
    /// the batches as finished, whether they were opened or not. An application that hands them to other
    /// threads turns that off (`enable.auto.offset.store`, [`finish_each`](crate::Builder::finish_each)) or
    /// waits for these threads first.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll). Errors inside a batch are returned by
    /// [`RecordBatch::open`](crate::RecordBatch::open).
    pub async fn poll_batches(&mut self, timeout: Duration) -> Result<Batches> {
        self.poll_for(timeout).await
    }

    async fn poll_for<H: PollOutput>(&mut self, timeout: Duration) -> Result<H> {
        let polling = Polling { consumer: self };
        let next = std::future::poll_fn(|cx| polling.consumer.poll_output(cx));
        match clock::timeout(timeout, next).await {
            Some(output) => output,
            None => {
                polling.consumer.release_freed();
                polling.consumer.is_woken = false;
                let consumer = &mut *polling.consumer;
                let waits_for_listener = consumer.running.is_some();
                let fatal = if waits_for_listener { None } else { consumer.return_fatal() };
                fatal.map_or_else(|| Ok(consumer.delivery.nothing()), Err)
            }
        }
    }

    /// Waits for the next value: records, an ownership change, or an event.
    ///
    /// An alternative to [`poll`](Self::poll) for applications that prefer a `match` to a
    /// [`Listener`](crate::Listener), with the same implementation and the same rules. Calling it again marks
    /// the records handed out before as finished (unless `enable.auto.offset.store` is off), and gives up
    /// partitions that were being revoked. Changes made by `unsubscribe` and `close` produce no value: the
    /// listener is notified of these, and of nothing that this returns.
    ///
    /// Without a subscription and an assignment it waits for ever. That is logged (WARN), once until it changes.
    ///
    /// The future may be dropped at any await.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll). `Closed` once a [`Handle`] has closed the consumer, and in every call
    /// after that; the resulting revocation is returned before it, as in a rebalance ([`Next::Revoking`]).
    pub async fn next(&mut self) -> Result<Next> {
        let polling = Polling { consumer: self };
        std::future::poll_fn(|cx| polling.consumer.poll_next(cx)).await
    }

    /// The same as [`poll`](Self::poll) as a stream: each item is the result of one `poll`, and taking the
    /// next item marks the last as finished. It ends when a [`Handle`] has closed the consumer, or after the
    /// error that reports that the engine has ended.
    pub fn stream(&mut self) -> RecordStream<'_> {
        RecordStream { polling: Polling { consumer: self }, has_ended: false }
    }

    /// The same as a stream that owns the consumer, so that a function can return it and a task can own it. A
    /// [`Handle`] closes it from elsewhere; [`into_consumer`](ConsumerStream::into_consumer) returns the
    /// consumer.
    pub fn into_stream(self) -> ConsumerStream {
        ConsumerStream { consumer: self, has_ended: false }
    }
}

#[cfg(test)]
mod tests;
