//! A consumer's subscription or assignment: `subscribe`, `assign`, `unsubscribe`.

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

/// A subscription sent to the engine, and the state to restore if the engine refuses it.
#[derive(Debug)]
pub(super) struct Subscribing {
    answer: oneshot::Receiver<Result<()>>,
    before: (Group, BTreeSet<Topic>),
}

impl Consumer {
    /// Joins the group and reads its share of these topics: `"orders"`, `["orders", "returns"]`, a
    /// `&Vec<String>` ([`OneOrMany`]). Replaces an earlier subscription; an empty list unsubscribes. The
    /// consumer waits for a topic that does not exist. Records of a topic that the list leaves out are handed out
    /// until the group has revoked its partitions.
    ///
    /// It first waits for the end of an [`unsubscribe`](Self::unsubscribe) whose future was dropped. If its own
    /// future is dropped while it waits for that, it has no effect; later, the subscription is in force
    /// nevertheless.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`, while partitions are assigned manually, for an empty name, and for one
    /// that looks like a pattern (`"^orders-"`, `"orders-*"`): use [`subscribe_patterns`](Self::subscribe_patterns).
    /// `UnknownTopic` for a name of more than 249 characters. `Closed` once a [`Handle`](crate::Handle) has begun to close the
    /// consumer. Other names that no topic can have are refused by [`poll`](Self::poll), once; the other topics are read.
    pub async fn subscribe<S>(&mut self, topics: impl OneOrMany<Topic, S>) -> Result<()> {
        let topics = topics.into_items();
        if topics.is_empty() {
            return self.unsubscribe().await;
        }
        if let Some(refused) = topics.iter().find_map(pattern_as_name) {
            return Err(refused);
        }
        if topics.iter().any(|topic| topic.as_str().trim().is_empty()) {
            return Err(Error::misuse(
                "cannot subscribe to a topic without a name: is a setting or a variable empty?",
            ));
        }
        let names = topics.iter().cloned().collect();
        self.subscribe_to(Subscription::Topics(topics), names).await
    }

    /// Joins the group and reads its share of all topics whose whole name matches one of these regular expressions
    /// (of the crate [`regex`](https://docs.rs/regex), without `\p{…}`), now or later. Internal topics do not match unless
    /// `exclude.internal.topics` is false. An empty list unsubscribes.
    ///
    /// Topics that exist are found at once, and begin as `auto.offset.reset` says; the same patterns again change nothing. A topic
    /// that is created later is found when the metadata is next refreshed, after `metadata.max.age.ms` (5 minutes) at the latest,
    /// and is read from its first record. In a classic group its partitions go to the members that have found it. While no topic
    /// matches, this is logged and reported once, as [`Event::Error`](crate::Event::Error) of the kind `UnknownTopic`.
    ///
    /// # Errors
    /// `Config` for an invalid regular expression, or an empty one; the others as for [`subscribe`](Self::subscribe).
    pub async fn subscribe_patterns<P: AsRef<str>>(
        &mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        let patterns = compile(patterns)?;
        if patterns.is_empty() {
            return self.unsubscribe().await;
        }
        self.subscribe_to(Subscription::Patterns(patterns), BTreeSet::new()).await
    }

    pub(super) async fn subscribe_to(&mut self, to: Subscription, names: BTreeSet<Topic>) -> Result<()> {
        self.check_not_closing()?;
        self.finish_leaving().await?;
        self.take_fatal_errors();
        let (reply, answer) = oneshot::channel();
        self.handle.send(Command::Subscribe { to, reply })?;
        // Set before the engine's answer, because its first messages may arrive together with the answer.
        let group = std::mem::replace(&mut self.group, Group::Subscribed);
        let subscribed = std::mem::replace(&mut self.subscribed, names);
        self.subscribing = Some(Subscribing { answer, before: (group, subscribed) });
        self.finish_subscribing().await
    }

    /// Waits for the answer to a `subscribe`, even of one whose future was dropped.
    pub(super) async fn finish_subscribing(&mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll_subscribing(cx)).await
    }

    /// Restores the earlier state if the engine refused the subscription.
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
    /// `[(&partition, StartAt::Earliest)]` ([`Assign`], [`OneOrMany`]). Partitions that were assigned before
    /// keep their position, whatever start is given ([`seek`](Self::seek) moves them). For partitions that
    /// are no longer assigned, what is finished is committed first if `enable.auto.commit` is on. An empty list
    /// unsubscribes, as in Java. There is no coordination: another consumer may read the same partitions. A
    /// partition that does not exist is waited for.
    ///
    /// # Errors
    /// `Misuse` while topics are subscribed to; and an error if what was finished could not be committed: the
    /// assignment is made even so. `Closed` once a [`Handle`](crate::Handle) has begun to close the consumer.
    pub async fn assign<S>(&mut self, partitions: impl OneOrMany<Assign, S>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_items().into_iter().map(Assign::into_parts).collect();
        self.check_not_closing()?;
        if partitions.is_empty() {
            return self.unsubscribe().await;
        }
        self.finish_leaving().await?;
        self.take_fatal_errors();
        let committed = self.commit_what_goes(&partitions).await;
        self.handle.ask(|reply| Command::Assign { partitions, reply }).await?;
        self.fatal = None;
        // The partitions are ours from here on: they can be paused, and have a position, before the first
        // `poll`.
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

    /// Refuses to start anything on a consumer that a handle closes or has closed.
    pub(super) fn check_not_closing(&self) -> Result<()> {
        if self.handle.inbox.is_closing() { Err(error::closed()) } else { Ok(()) }
    }

    /// Commits before a new manual assignment drops partitions, as `unsubscribe` does.
    async fn commit_what_goes(&mut self, partitions: &[(TopicPartition, StartAt)]) -> Result<()> {
        let stay: BTreeSet<_> = partitions.iter().map(|(partition, _)| partition).collect();
        if self.group != Group::Outside || self.delivery.owned().all(|held| stay.contains(held)) {
            return Ok(());
        }
        let deadline = self.handle.deadline();
        self.commit_by_hand(deadline, deadline).await
    }

    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, gives up
    /// everything and leaves the group. Commit and listener have `default.api.timeout.ms`, or
    /// `max.poll.interval.ms` if that is shorter.
    ///
    /// If its future is dropped once the commit and the listener have begun, the rest goes on in the next call,
    /// also in `poll`; nothing is subscribed to any more. Dropped before that, while it waits for an earlier
    /// change, it has no effect.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        let _ = self.finish_subscribing().await; // of a dropped call
        // After that time the group would refuse a commit.
        let deadline = self.while_polling(Some(self.handle.deadline()));
        let (reply, _) = oneshot::channel();
        let command = Command::Unsubscribe { reason: "the consumer unsubscribed", reply };
        let handed_over = self.revoke_all(deadline, deadline, Some(command)).await;
        self.group = Group::Leaving;
        self.finish_leaving().await?;
        handed_over
    }

    /// Completes an `unsubscribe`, even one that was dropped in the middle, and forgets its leftovers.
    pub(super) async fn finish_leaving(&mut self) -> Result<()> {
        let _ = self.finish_subscribing().await; // of a dropped call
        if self.group != Group::Leaving {
            return Ok(());
        }
        // Its error concerns a rebalance that no longer matters.
        let _ = self.finish_running(None).await;
        self.handle.ask(|reply| Command::Unsubscribe { reason: "the consumer unsubscribed", reply }).await?;
        // Everything that the engine sent before its answer belongs to the former subscription.
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

    /// The topics that were subscribed to by name, in order. None once an [`unsubscribe`](Self::unsubscribe) has
    /// begun to give them up.
    pub fn subscription(&self) -> Vec<Topic> {
        if self.has_begun_to_unsubscribe() { Vec::new() } else { self.subscribed.iter().cloned().collect() }
    }

    pub(super) fn has_begun_to_unsubscribe(&self) -> bool {
        self.group == Group::Leaving && !self.handle.inbox.is_closing()
    }

    /// The partitions that this consumer owns and hands out records of, as of the last `poll`, in order.
    /// Those that are being revoked are not included.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.delivery.owned().cloned().collect()
    }
}

/// Compiles patterns so that they match whole names.
pub(super) fn compile<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Vec<Regex>> {
    patterns
        .into_iter()
        .map(|pattern| {
            let pattern = pattern.as_ref();
            if pattern.is_empty() {
                let text =
                    "a pattern is empty, and no topic name matches it: is a setting or a variable empty?";
                return Err(Error::new(ErrorKind::Config, text));
            }
            // Compile the pattern alone first: an unmatched parenthesis in it could close ours.
            let alone = Regex::new(pattern);
            alone.and_then(|_| Regex::new(&format!("^(?:{pattern})$"))).map_err(|error| {
                // The parser's message shows a picture of several lines; its last line has the cause.
                let text = error.to_string();
                let why = text.lines().last().map_or("", |last| last.trim_start_matches("error: "));
                Error::new(ErrorKind::Config, format!("`{pattern}` is not a valid regular expression: {why}"))
                    .caused_by(error)
            })
        })
        .collect()
}

/// The error if a name is a pattern: librdkafka takes what begins with `^` as one, and shells take `*`. No topic name has either.
fn pattern_as_name(topic: &Topic) -> Option<Error> {
    let name = topic.as_str();
    let pattern = match name.strip_prefix('^') {
        // A regular expression that is searched: what follows its match is any text, and each alternative has its own `^`.
        Some(regex) if regex.contains('|') => format!(".*(?:^{regex}).*"),
        Some(regex) => match regex.strip_suffix('$') {
            Some(whole) => whole.to_owned(),
            None if regex.ends_with(".*") => regex.to_owned(),
            None => format!("{regex}.*"),
        },
        None if name.contains(".*") => name.to_owned(),
        None if name.contains('*') => name.replace('*', ".*"),
        None => return None,
    };
    Some(Error::misuse(format!(
        "`{name}` is a pattern, not a topic name: subscribe to it with subscribe_patterns, where the whole name has to match (`{pattern}`)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What librdkafka finds by searching, the proposed pattern matches as a whole name.
    #[test]
    fn the_proposed_pattern_matches_what_librdkafka_does() {
        for (name, topics) in [
            ("^orders[0-9]*", vec!["orders", "orders7", "orders-x"]),
            ("^.*-orders", vec!["eu-orders", "eu-orders-v2"]),
            ("^orders|^returns", vec!["orders-eu", "returns-eu"]),
            ("^orders|^returns$", vec!["orders-eu", "returns"]),
            ("^orders|^returns.*", vec!["orders-eu", "returns-eu"]),
            ("^orders|returns", vec!["orders-eu", "eu-returns"]),
            ("^(orders|returns)$", vec!["orders", "returns"]),
            ("^orders$", vec!["orders"]),
            ("^orders.*", vec!["orders", "orders-x"]),
        ] {
            let text = pattern_as_name(&Topic::from(name)).unwrap().to_string();
            let whole = compile([text.rsplit('`').nth(1).unwrap()]).unwrap().remove(0);
            let searched = Regex::new(name).unwrap();
            for topic in topics {
                assert!(searched.is_match(topic) && whole.is_match(topic), "{text}: {topic}");
            }
        }
    }

    #[test]
    fn a_pattern_among_topic_names_is_refused_with_the_one_that_is_meant() {
        for (name, meant) in [
            ("^orders-", "orders-.*"),
            ("^orders-.*", "orders-.*"),
            ("^orders$", "orders"),
            ("orders-*", "orders-.*"),
            ("*", ".*"),
            ("orders-.*", "orders-.*"),
        ] {
            let refused = pattern_as_name(&Topic::from(name)).map(|error| error.to_string());
            let is_named = refused.as_ref().is_some_and(|text| text.contains(&format!("(`{meant}`)")));
            assert!(is_named, "{name}: {refused:?}");
            assert_eq!(compile([meant]).map(|patterns| patterns.len()).ok(), Some(1));
        }
        assert!(pattern_as_name(&Topic::from("orders.v1-a_b")).is_none());
        assert!(pattern_as_name(&Topic::from("two words")).is_none(), "invalid, but no pattern");
    }
}
