//! The consumer: the handle that the application holds.

mod changes;
pub(crate) mod closing;
mod pattern;
mod polling;
mod positions;

use std::{
    collections::BTreeSet,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use offtake_machine::{GroupMetadata, GroupOffsets, Topic, TopicPartition};
use regex::Regex;
use tokio::sync::{mpsc, oneshot};

use self::polling::Polling;
pub use self::{
    closing::{CloseOptions, GroupMembership},
    pattern::SubscriptionPattern,
    polling::{ConsumerStream, RecordStream},
};
use crate::{
    batches::Batches,
    clock,
    command::{Command, Subscription},
    config::Config,
    delivery::{Delivery, Opener, PollOutput},
    error::{self, Error, ErrorKind, Result},
    event::Reporter,
    handle::Handle,
    health::{Health, Vitals},
    inbox::{Control, InboxReceiver, Taken},
    ledger::Refusal,
    ledgers::Ledgers,
    listener::Listener,
    next::Next,
    offsets::Assign,
    one_or_many::OneOrMany,
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

/// What the engine was asked, and what stands again if it refuses.
#[derive(Debug)]
struct Subscribing {
    answer: oneshot::Receiver<Result<()>>,
    before: (Group, BTreeSet<Topic>),
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

    // ---- what to read --------------------------------------------------------------------------------------------

    /// Joins the group and reads its share of these topics: `"orders"`, `["orders", "returns"]`, a `&Vec<String>`
    /// ([`OneOrMany`]). Replaces an earlier subscription; no topic at all unsubscribes. A topic that does not exist is waited
    /// for.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`, while partitions are assigned by hand, and for what looks like a pattern (`"^orders-"`),
    /// which is [`subscribe_patterns`](Self::subscribe_patterns)'. `Closed` once a [`Handle`] has begun to close the consumer.
    pub async fn subscribe<S>(&mut self, topics: impl OneOrMany<Topic, S>) -> Result<()> {
        let topics = topics.into_items();
        if topics.is_empty() {
            return self.unsubscribe().await;
        }
        // As librdkafka has it. No topic's name can begin so.
        if let Some(pattern) = topics.iter().find(|topic| topic.as_str().starts_with('^')) {
            return Err(Error::misuse(format!(
                "`{pattern}` is a pattern and no topic's name: subscribe to it with subscribe_patterns, where the whole name has to match (`^orders-` is `orders-.*`)"
            )));
        }
        let names = topics.iter().cloned().collect();
        self.subscribe_to(Subscription::Topics(topics), names).await
    }

    /// Joins the group and reads its share of all topics whose whole name matches one of these regular expressions,
    /// now or later. Internal topics do not match unless `exclude.internal.topics` is false.
    ///
    /// # Errors
    /// `Config` for a pattern that is no regular expression; the others as of [`subscribe`](Self::subscribe).
    pub async fn subscribe_patterns<P: AsRef<str>>(
        &mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        let patterns = compile(patterns)?;
        self.subscribe_to(Subscription::Patterns(patterns), BTreeSet::new()).await
    }

    async fn subscribe_to(&mut self, to: Subscription, names: BTreeSet<Topic>) -> Result<()> {
        self.check_not_closing()?;
        self.finish_leaving().await?;
        self.take_fatal_errors();
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Subscribe { to, reply })?;
        // Before the engine is heard: what it says first may come with the answer.
        let group = std::mem::replace(&mut self.group, Group::Subscribed);
        let subscribed = std::mem::replace(&mut self.subscribed, names);
        self.subscribing = Some(Subscribing { answer, before: (group, subscribed) });
        self.finish_subscribing().await
    }

    /// Waits for the answer to a `subscribe`, be it one that was dropped before it came.
    async fn finish_subscribing(&mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_subscribing(cx)).await
    }

    /// A refused subscription leaves everything as it was.
    fn poll_subscribing(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(subscribing) = &mut self.subscribing else { return Poll::Ready(Ok(())) };
        let answer = ready!(Pin::new(&mut subscribing.answer).poll(cx));
        let answer = answer.unwrap_or_else(|_| Err(self.handle.inbox.ended()));
        if let Some(Subscribing { before, .. }) = self.subscribing.take()
            && answer.is_err()
        {
            (self.group, self.subscribed) = before;
        } else {
            self.fatal = None;
        }
        Poll::Ready(answer)
    }

    /// Reads these partitions, with or without a group, and no others: `("orders", 0)`, `("orders", 0, 42)`,
    /// `[(&partition, StartAt::Earliest)]` ([`Assign`], [`OneOrMany`]). Partitions that were assigned before keep their
    /// position, wherever they are told to begin ([`seek`](Self::seek) moves them); of those that were and are no more, what
    /// is finished is committed first if `enable.auto.commit` is on. Nobody else is asked: another consumer may read the same.
    ///
    /// # Errors
    /// `Misuse` while topics are subscribed to; and that what was finished could not be committed, with the assignment made
    /// all the same. `Closed` once a [`Handle`] has begun to close the consumer.
    pub async fn assign<S>(&mut self, partitions: impl OneOrMany<Assign, S>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_items().into_iter().map(Assign::into_parts).collect();
        self.check_not_closing()?;
        self.finish_leaving().await?;
        self.take_fatal_errors();
        let committed = self.commit_what_goes(&partitions).await;
        self.handle.ask(|reply| Command::Assign { partitions, reply }).await?;
        self.fatal = None;
        // They are ours from here on: they can be paused, and asked for their position, before the first `poll`.
        self.inbox.take(&mut self.taken);
        let by_hand = |control: &Control| matches!(control, Control::Assigned { generation: None, .. });
        let (assigned, others) = std::mem::take(&mut self.taken.control).into_iter().partition(by_hand);
        self.taken.control = others;
        let assigned: std::collections::VecDeque<Control> = assigned;
        for control in assigned {
            self.handle_control(control);
        }
        committed
    }

    /// A consumer that a handle closes, or has closed, begins nothing.
    fn check_not_closing(&self) -> Result<()> {
        if self.handle.inbox.is_closing() { Err(error::closed()) } else { Ok(()) }
    }

    /// With another assignment by hand partitions are given up: there is a commit before, as by `unsubscribe`.
    async fn commit_what_goes(&mut self, partitions: &[(TopicPartition, crate::StartAt)]) -> Result<()> {
        let stay: BTreeSet<_> = partitions.iter().map(|(partition, _)| partition).collect();
        if self.group != Group::Outside || self.delivery.owned().all(|held| stay.contains(held)) {
            return Ok(());
        }
        let deadline = self.handle.deadline();
        self.commit_by_hand(deadline, deadline).await
    }

    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, gives up everything and
    /// leaves the group. Commit and listener have `default.api.timeout.ms`, or `max.poll.interval.ms` if that is shorter.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        let _ = self.finish_subscribing().await; // of a call that was dropped
        // Beyond that the group would take no commit.
        let deadline = self.while_polling(Some(self.handle.deadline()));
        let (reply, _) = oneshot::channel();
        let command = Command::Unsubscribe { reason: "the consumer unsubscribed", reply };
        let handed_over = self.revoke_all(deadline, deadline, Some(command)).await;
        self.group = Group::Leaving;
        self.finish_leaving().await?;
        handed_over
    }

    /// Brings an `unsubscribe` to its end, be it one that was dropped in the middle, and forgets what it left behind.
    async fn finish_leaving(&mut self) -> Result<()> {
        let _ = self.finish_subscribing().await; // of a call that was dropped
        if self.group != Group::Leaving {
            return Ok(());
        }
        // Its error is of a rebalance that no longer matters.
        let _ = self.finish_running(None).await;
        self.handle.ask(|reply| Command::Unsubscribe { reason: "the consumer unsubscribed", reply }).await?;
        // Everything that the engine said before its answer is of the time before.
        self.take_fatal_errors();
        self.fatal = None;
        self.taken
            .control
            .retain(|control| matches!(control, Control::Wake | Control::Failed(_) | Control::Close { .. }));
        while let Some(data) = self.taken.data.pop_front() {
            self.delivery.take_in(data);
        }
        let owned: Vec<_> = self.delivery.owned().cloned().collect();
        self.give_up(&owned, Refusal::Revoked);
        self.subscribed.clear();
        self.generation = None;
        self.group = Group::Outside;
        Ok(())
    }

    /// The topics subscribed to by name, in order.
    pub fn subscription(&self) -> Vec<Topic> {
        self.subscribed.iter().cloned().collect()
    }

    /// The partitions that this consumer owns and hands records out of, as far as `poll` has told: those that are being
    /// revoked are not among them. In order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.delivery.owned().cloned().collect()
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

/// Patterns match whole names.
fn compile<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Vec<Regex>> {
    patterns
        .into_iter()
        .map(|pattern| {
            let pattern = pattern.as_ref();
            // By itself first: a parenthesis that closes nothing would close ours.
            let alone = Regex::new(pattern);
            alone.and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).map_err(|error| {
                // The parser draws a picture of several lines; its last one says what is wrong.
                let text = error.to_string();
                let why = text.lines().last().map_or("", |last| last.trim_start_matches("error: "));
                Error::new(ErrorKind::Config, format!("`{pattern}` is no regular expression: {why}"))
                    .caused_by(error)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
