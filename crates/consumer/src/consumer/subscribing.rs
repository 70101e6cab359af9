//! What a consumer reads: `subscribe`, `assign`, `unsubscribe`.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    task::{Context, Poll, ready},
};

use offtake_machine::{Topic, TopicPartition};
use regex::Regex;
use tokio::sync::oneshot;

use super::{Consumer, Group};
use crate::{
    command::{Command, Subscription},
    error::{self, Error, ErrorKind, Result},
    inbox::Control,
    ledger::Refusal,
    offsets::{Assign, StartAt},
    one_or_many::OneOrMany,
};

/// What the engine was asked, and what stands again if it refuses.
#[derive(Debug)]
pub(super) struct Subscribing {
    answer: oneshot::Receiver<Result<()>>,
    before: (Group, BTreeSet<Topic>),
}

impl Consumer {
    /// Joins the group and reads its share of these topics: `"orders"`, `["orders", "returns"]`, a `&Vec<String>`
    /// ([`OneOrMany`]). Replaces an earlier subscription; no topic at all unsubscribes. A topic that does not exist is waited
    /// for.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`, while partitions are assigned by hand, and for what looks like a pattern (`"^orders-"`),
    /// which is [`subscribe_patterns`](Self::subscribe_patterns)'. `Closed` once a [`Handle`](crate::Handle) has begun to close the consumer.
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

    pub(super) async fn subscribe_to(&mut self, to: Subscription, names: BTreeSet<Topic>) -> Result<()> {
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
    pub(super) async fn finish_subscribing(&mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_subscribing(cx)).await
    }

    /// A refused subscription leaves everything as it was.
    pub(super) fn poll_subscribing(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
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
    /// all the same. `Closed` once a [`Handle`](crate::Handle) has begun to close the consumer.
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
        let assigned: VecDeque<Control> = assigned;
        for control in assigned {
            self.handle_control(control);
        }
        committed
    }

    /// A consumer that a handle closes, or has closed, begins nothing.
    pub(super) fn check_not_closing(&self) -> Result<()> {
        if self.handle.inbox.is_closing() { Err(error::closed()) } else { Ok(()) }
    }

    /// With another assignment by hand partitions are given up: there is a commit before, as by `unsubscribe`.
    async fn commit_what_goes(&mut self, partitions: &[(TopicPartition, StartAt)]) -> Result<()> {
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
    pub(super) async fn finish_leaving(&mut self) -> Result<()> {
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
            self.delivery.receive(data);
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
}

/// Patterns match whole names.
pub(super) fn compile<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Vec<Regex>> {
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
