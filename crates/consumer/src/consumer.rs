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
/// One engine does the work, by default on a thread of its own, so that heartbeats do not depend on the application;
/// this is the application's end of it. [`poll`](Self::poll) hands out records, and runs the listener when partitions
/// change hands.
///
/// Every future here may be dropped at any await: no record, no rebalance and no commit that was sent is lost by it.
///
/// **A consumer wants to be [closed](Self::close).** One that is dropped, by a `?` for example, waits for nothing: in the
/// background, for a second at most, its engine commits what the application has said is finished (if `enable.auto.commit`
/// is on; the records of the last `poll` are not among that, as no later `poll` has said so), and leaves the group, so that
/// its partitions go to others at once. No listener runs. Where the process ends with it, as at the end of `main`, even that
/// is not certain: the group then notices after `session.timeout.ms`, and what was finished since the last commit is read again.
pub struct Consumer {
    handle: Handle,
    shared: Arc<Shared>,
    listener: ListenerBox,
    reporter: Reporter,
    inbox: InboxReceiver,
    /// Taken out of the inbox, and not handled yet.
    taken: Taken,
    delivery: Delivery,
    progress: Progress,
    /// A rebalance whose listener has not ended yet: it goes on in the next `poll`.
    running: Option<Running>,
    /// A change that was handed out as a value, and has perhaps ended.
    handed_out: Option<PendingChange>,
    /// Whether the call that runs takes changes as values.
    as_values: bool,
    waker: PollWaker,
    /// Where `poll` was called last.
    runtime: Option<tokio::runtime::Id>,
    generation: Option<i32>,
    group: Group,
    /// When the last automatic commit was asked for, and what wakes a `poll` that waits when the next is due.
    last_commit: Instant,
    commit_alarm: clock::Alarm,
    in_poll: bool,
    /// [`Handle::wake`] was called, and no call has returned since.
    is_woken: bool,
    subscribed: BTreeSet<Topic>,
    /// A `subscribe` that was begun, and perhaps dropped before it was answered.
    subscribing: Option<Subscribing>,
    /// The fatal error that every `poll` fails with, until the group assigns again or the application begins anew.
    fatal: Option<Error>,
}

/// What it owns and how it stands, and nothing of the records that it holds.
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

/// What this end knows of its membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Not subscribed: what a group may still say is not for us.
    Outside,
    Subscribed,
    /// An `unsubscribe` was begun, and perhaps dropped before its end.
    Leaving,
}

/// It goes to any thread, and so does what borrows it.
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

/// What a consumer is told beside its configuration.
pub(crate) struct ConsumerParts {
    pub(crate) listener: Arc<dyn Listener>,
    pub(crate) reporter: Reporter,
    /// Of records that are finished one by one.
    pub(crate) ledgers: Option<Arc<Ledgers>>,
    /// Who opens batches ahead of the application.
    pub(crate) opener: Opener,
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
            is_woken: false,
            subscribed: BTreeSet::new(),
            subscribing: None,
            fatal: None,
        }
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.handle.config
    }

    /// As whom the group knows this consumer now (KIP-447).
    ///
    /// # Errors
    /// As [`Handle::group_metadata`].
    pub async fn group_metadata(&self) -> Result<GroupMetadata> {
        self.handle.group_metadata().await
    }

    /// That these records are finished, for a producer that says so in a transaction (KIP-447).
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

    /// How it fares; the same as [`Handle::health`], which a probe can ask while `poll` runs.
    pub fn health(&self) -> Health {
        self.handle.health()
    }

    /// Whether what is assigned is known to be this consumer's at this moment. It is not while it is no member, nor when its session may be over at the
    /// coordinator: a process that was stopped for longer than that hears only next that others have its partitions. [`poll`](Self::poll) and
    /// [`next`](Self::next) hand out nothing then; this is for whoever begins work later with what they handed out. Always, of partitions that were
    /// assigned by hand.
    pub fn owns_assignment(&self) -> bool {
        self.shared.holds(clock::now())
    }

    /// Speaks to this consumer from other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// Records, at most `max.poll.records` of them, as soon as there are any; none after `timeout`.
    ///
    /// Calling it again says that the records of the last call are finished, unless `enable.auto.offset.store` is off or
    /// records are finished one by one ([`finish_each`](crate::Builder::finish_each)).
    /// It must be called every `max.poll.interval.ms` while subscribed, or the group goes on without this member.
    ///
    /// # Errors
    /// What the client cannot mend. An error with a [`partition`](Error::partition) stops that one alone, and comes once. A
    /// [fatal](Error::is_fatal) one, as of a group that refuses this consumer, comes out of every call until its cause is gone,
    /// or the application begins anew with [`subscribe`](Self::subscribe) or [`assign`](Self::assign).
    pub async fn poll(&mut self, timeout: Duration) -> Result<Records> {
        self.poll_for(timeout).await
    }

    /// As [`poll`](Self::poll), but whole batches, with their checksums compared and as yet packed: to be unpacked and read
    /// on other threads. As many as begin before `max.poll.records` records are together.
    ///
    /// Everything else is as with `poll`, and the two may be mixed. Calling it again says that what the batches hold is
    /// finished, whether they were opened or not: who hands them to other threads turns that off
    /// (`enable.auto.offset.store`, [`finish_each`](crate::Builder::finish_each)) or waits for them first.
    ///
    /// # Errors
    /// As of [`poll`](Self::poll). What is wrong inside of a batch is told by [`RecordBatch::open`](crate::RecordBatch::open).
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
                Ok(polling.consumer.delivery.nothing())
            }
        }
    }

    /// What comes next: records, or a change of ownership, or an event, as a value. Waits until there is something.
    ///
    /// In place of [`poll`](Self::poll), for those who prefer a `match` to a [`Listener`](crate::Listener): the same
    /// machinery behind it, and the same rules. Calling it again says that the records handed out before are finished
    /// (unless `enable.auto.offset.store` is off), and gives up partitions that were being revoked. What `unsubscribe`
    /// and `close` give up, they give up without a value; a listener hears of that, and of nothing that comes out here.
    ///
    /// The future may be dropped at any await.
    ///
    /// # Errors
    /// As of [`poll`](Self::poll). `Closed` once the consumer has been closed by a [`Handle`], and in every call after that;
    /// what that gives up comes out before it, as in a rebalance ([`Next::Revoking`]).
    pub async fn next(&mut self) -> Result<Next> {
        let polling = Polling { consumer: self };
        std::future::poll_fn(|cx| polling.consumer.poll_next(cx)).await
    }

    /// The same as [`poll`](Self::poll) as a stream: each item is what one `poll` would hand out, and taking the next says that
    /// the last is finished. It ends when a [`Handle`] has closed the consumer, or behind the error that says that its engine
    /// has ended.
    pub fn stream(&mut self) -> RecordStream<'_> {
        RecordStream { polling: Polling { consumer: self }, has_ended: false }
    }

    /// The same as a stream that owns the consumer, so that a function can return it and a task can take it along. A
    /// [`Handle`] closes it from elsewhere; [`into_consumer`](ConsumerStream::into_consumer) gives the consumer back.
    pub fn into_stream(self) -> ConsumerStream {
        ConsumerStream { consumer: self, has_ended: false }
    }
}

#[cfg(test)]
mod tests;
