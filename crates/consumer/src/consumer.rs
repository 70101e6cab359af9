//! The consumer: the handle that the application holds.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_core::Stream;
use offtake_fetch::Chunk;
use offtake_machine::{PartitionInfo, Topic, TopicPartition};
use regex::Regex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    builder::{Builder, Parts},
    clock,
    config::Config,
    delivery::Delivery,
    engine::command::{CLOSING_COMMIT, Command, ListAt, Notice, Subscription},
    error::{Error, ErrorKind, Result},
    event::{Event, OwnershipChange, Sink},
    handle::Handle,
    listener::{Listener, ListenerFuture, Rebalance},
    offsets::{OffsetAndMetadata, OffsetAndTimestamp, StartAt},
    progress::Progress,
    rebalance::{After, Running},
    records::{Delivered, Records},
    shared::Shared,
};

/// A Kafka consumer.
///
/// One engine does the work, by default on a thread of its own, so that heartbeats do not depend on the application;
/// this is the application's end of it. [`poll`](Self::poll) hands out records, and runs the listener when partitions
/// change hands.
///
/// Every future here may be dropped at any await: no record, no rebalance and no commit that was sent is lost by it.
#[derive(Debug)]
pub struct Consumer {
    handle: Handle,
    shared: Arc<Shared>,
    listener: ListenerBox,
    sink: Sink,
    notices: mpsc::UnboundedReceiver<Notice>,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    /// A chunk that came before the notice that explains it.
    early: Option<Chunk>,
    delivery: Delivery,
    progress: Progress,
    /// A rebalance whose listener has not ended yet: it goes on in the next `poll`.
    running: Option<Running>,
    generation: Option<i32>,
    group: Group,
    /// Errors that stopped a partition, to be told when everything before them has been handed out.
    deferred: VecDeque<Error>,
    next_commit: Instant,
    in_poll: bool,
    subscribed: BTreeSet<Topic>,
    /// Dropped with the consumer: the engine then leaves the group and ends.
    _alive: oneshot::Sender<()>,
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

struct ListenerBox(Arc<dyn Listener>);

impl std::fmt::Debug for ListenerBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Consumer {
    pub(crate) fn new(
        handle: Handle,
        shared: Arc<Shared>,
        parts: Parts,
        notices: mpsc::UnboundedReceiver<Notice>,
        chunks: mpsc::UnboundedReceiver<Chunk>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let next_commit = clock::now() + handle.config.auto_commit_interval;
        let delivery = Delivery::new(&handle.config);
        Self {
            handle,
            shared,
            listener: ListenerBox(parts.listener),
            sink: parts.sink,
            notices,
            chunks,
            early: None,
            delivery,
            progress: Progress::default(),
            running: None,
            generation: None,
            group: Group::Outside,
            deferred: VecDeque::new(),
            next_commit,
            in_poll: false,
            subscribed: BTreeSet::new(),
            _alive: alive,
        }
    }

    /// Starts to build a consumer that finds its cluster through these brokers: `host:port`, separated by commas.
    pub fn builder(bootstrap: &str) -> Builder {
        Builder::new(bootstrap)
    }

    /// The configuration it runs with.
    pub fn config(&self) -> &Config {
        &self.handle.config
    }

    /// Speaks to this consumer from other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    // ---- what to read --------------------------------------------------------------------------------------------

    /// Joins the group and reads its share of these topics. Replaces an earlier subscription. A topic that does not
    /// exist is waited for.
    ///
    /// # Errors
    /// `Misuse` without a `group.id`, or while partitions are assigned by hand.
    pub async fn subscribe<T: Into<Topic>>(&mut self, topics: impl IntoIterator<Item = T>) -> Result<()> {
        let topics: Vec<Topic> = topics.into_iter().map(Into::into).collect();
        if topics.is_empty() {
            return self.unsubscribe().await;
        }
        let names = topics.iter().cloned().collect();
        self.subscribe_to(Subscription::Topics(topics)).await?;
        self.subscribed = names;
        Ok(())
    }

    /// Joins the group and reads its share of all topics whose whole name matches one of these regular expressions,
    /// now or later. Internal topics do not match unless `exclude.internal.topics` is false.
    ///
    /// # Errors
    /// `Config` for a pattern that is no regular expression.
    pub async fn subscribe_patterns<P: AsRef<str>>(
        &mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<()> {
        let patterns = compile(patterns)?;
        self.subscribe_to(Subscription::Patterns(patterns)).await?;
        self.subscribed.clear();
        Ok(())
    }

    async fn subscribe_to(&mut self, to: Subscription) -> Result<()> {
        self.finish_leaving().await?;
        // Before the engine hears of it: its first notices may come with the answer.
        let before = std::mem::replace(&mut self.group, Group::Subscribed);
        let subscribed = self.handle.ask(|reply| Command::Subscribe { to, reply }).await;
        if subscribed.is_err() {
            self.group = before;
        }
        subscribed
    }

    /// Reads these partitions, with or without a group, and no others. Partitions that were assigned before keep their
    /// position. Nobody else is asked: another consumer may read the same.
    ///
    /// # Errors
    /// `Misuse` while topics are subscribed to.
    pub async fn assign<A: Into<Assign>>(&mut self, partitions: impl IntoIterator<Item = A>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_iter().map(|assign| assign.into().parts()).collect();
        self.finish_leaving().await?;
        self.handle.ask(|reply| Command::Assign { partitions, reply }).await
    }

    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, gives up everything and
    /// leaves the group.
    pub async fn unsubscribe(&mut self) -> Result<()> {
        let deadline = self.handle.deadline();
        let (reply, _) = oneshot::channel();
        let command = Command::Unsubscribe { reason: "the consumer unsubscribed", reply };
        let handed_over = self.hand_over(deadline, Some(command)).await;
        self.group = Group::Leaving;
        self.finish_leaving().await?;
        handed_over
    }

    /// Brings an `unsubscribe` to its end, be it one that was dropped in the middle, and forgets what it left behind.
    async fn finish_leaving(&mut self) -> Result<()> {
        if self.group != Group::Leaving {
            return Ok(());
        }
        if let Some(running) = &mut self.running {
            // Its error is of a rebalance that no longer matters.
            let _ = std::future::poll_fn(|cx| running.poll(cx)).await;
            self.running = None;
        }
        self.handle.ask(|reply| Command::Unsubscribe { reason: "the consumer unsubscribed", reply }).await?;
        // Everything that the engine said before its answer is of the time before.
        while self.notices.try_recv().is_ok() {}
        self.deferred.clear();
        let owned: Vec<_> = self.delivery.owned().cloned().collect();
        self.give_up(&owned);
        self.subscribed.clear();
        self.generation = None;
        self.group = Group::Outside;
        Ok(())
    }

    /// The topics subscribed to by name.
    pub fn subscription(&self) -> impl Iterator<Item = &Topic> {
        self.subscribed.iter()
    }

    /// The partitions that this consumer owns, as far as `poll` has told.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.delivery.owned()
    }

    // ---- records -------------------------------------------------------------------------------------------------

    /// Records, at most `max.poll.records` of them, as soon as there are any; none after `timeout`.
    ///
    /// Calling it again says that the records of the last call are finished (unless `enable.auto.offset.store` is off).
    /// It must be called every `max.poll.interval.ms` while subscribed, or the group goes on without this member.
    ///
    /// # Errors
    /// What the client cannot mend, once each. An error with a [`partition`](Error::partition) stops that one alone.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Records> {
        let polling = Polling { consumer: self };
        let next = std::future::poll_fn(|cx| polling.consumer.poll_records(cx));
        match clock::timeout(timeout, next).await {
            Some(records) => records,
            None => Ok(Records::default()),
        }
    }

    /// The same as a stream, without end: each item is what one `poll` would hand out, and taking the next says that
    /// the last is finished.
    pub fn stream(&mut self) -> RecordStream<'_> {
        RecordStream { polling: Polling { consumer: self } }
    }

    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Result<Records>> {
        if !self.in_poll {
            self.in_poll = true;
            self.shared.poll_begins();
            self.begin_poll();
        }
        let result = ready!(self.next_records(cx));
        self.end_poll();
        if let Ok(records) = &result {
            self.progress.hand_out(records);
        }
        Poll::Ready(result)
    }

    fn begin_poll(&mut self) {
        self.finish_passed();
        if self.commits_by_itself() {
            let now = clock::now();
            if now >= self.next_commit {
                self.next_commit = now + self.handle.config.auto_commit_interval;
                self.report_finished();
                let _ = self.handle.send(Command::CommitSoon);
            }
        }
    }

    /// What earlier polls handed out is finished, unless the application says itself what is (FAILURES H3), and with it
    /// what came after it without a record.
    fn finish_passed(&mut self) {
        if self.handle.config.enable_auto_offset_store {
            self.progress.finish_handed();
        } else {
            self.progress.forget_handed();
        }
        self.progress.pass(self.delivery.passed(), self.handle.config.enable_auto_offset_store);
    }

    fn end_poll(&mut self) {
        if self.in_poll {
            self.in_poll = false;
            self.shared.poll_ends(clock::now());
        }
    }

    fn commits_by_itself(&self) -> bool {
        self.handle.config.enable_auto_commit && self.handle.config.group_id.is_some()
    }

    fn report_finished(&mut self) {
        if let Some(positions) = self.progress.report() {
            let _ = self.handle.send(Command::Finished { positions });
        }
    }

    /// Everything that happens inside `poll`. All of its state is in `self`: it may be left at any point.
    fn next_records(&mut self, cx: &mut Context<'_>) -> Poll<Result<Records>> {
        loop {
            if let Some(running) = &mut self.running {
                let listened = ready!(running.poll(cx));
                self.running = None;
                if let Err(error) = listened {
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            match self.notices.poll_recv(cx) {
                Poll::Ready(Some(notice)) => match self.heed(notice) {
                    Heeded::On => continue,
                    Heeded::Woken => return Poll::Ready(Ok(Records::default())),
                    Heeded::Failed(error) => return Poll::Ready(Err(error)),
                },
                Poll::Ready(None) => return Poll::Ready(Err(Error::closed())),
                // Pending may also mean that the runtime wants its turn, and it has seen to our waking already: what has
                // come is heeded before any record.
                Poll::Pending if !self.notices.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
            // After a pause of the process, say: the engine finds out, and tells by a notice (FAILURES M2, M4).
            if !self.shared.is_valid(clock::now()) {
                return Poll::Pending;
            }
            if let Some(chunk) = self.early.take() {
                self.delivery.take_in(chunk, &self.handle);
            }
            let handed_out = self.delivery.hand_out(&self.handle);
            for (partition, token) in self.delivery.moved_back() {
                self.progress.forget(std::slice::from_ref(&partition));
                let _ = self.handle.send(Command::MovedBack { partition, token });
            }
            match handed_out {
                Some(Ok(records)) => return Poll::Ready(Ok(records)),
                Some(Err(error)) => {
                    self.sink.tell(|| Event::Error(error.clone()));
                    return Poll::Ready(Err(error));
                }
                None => self.finish_passed(),
            }
            match self.chunks.poll_recv(cx) {
                // Its notice was sent before it: once more round, and it is known or stale.
                Poll::Ready(Some(chunk)) => self.early = Some(chunk),
                Poll::Ready(None) => return Poll::Ready(Err(Error::closed())),
                Poll::Pending if !self.chunks.is_empty() => return Poll::Pending,
                Poll::Pending => match self.deferred.pop_front() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => return Poll::Pending,
                },
            }
        }
    }

    fn heed(&mut self, notice: Notice) -> Heeded {
        match notice {
            // Of a group that this end has left.
            Notice::Assigned { generation: Some(_), .. } | Notice::Revoke { .. } | Notice::Lost { .. }
                if self.group != Group::Subscribed => {}
            Notice::Assigned { added, owned, generation } => {
                let partitions: Vec<_> = added.iter().map(|(partition, _)| partition.clone()).collect();
                if generation.is_none() {
                    let gone: Vec<_> = {
                        let kept: BTreeSet<_> = owned.iter().collect();
                        self.delivery.owned().filter(|held| !kept.contains(held)).cloned().collect()
                    };
                    self.give_up(&gone);
                }
                for (partition, token) in added {
                    self.delivery.start(partition, token, &self.handle);
                }
                self.generation = generation;
                let change = OwnershipChange { partitions, owned, generation };
                self.sink.tell(|| Event::Assigned(change.clone()));
                if let (Some(generation), false) = (generation, change.partitions.is_empty()) {
                    let listening = self.listening(Listener::assigned, &change, generation);
                    self.running = Some(Running::new(None, listening, self.after(None)));
                }
            }
            Notice::Revoke { partitions, owned, generation } => {
                self.running = Some(self.revoke(partitions, owned, generation, Some(Command::Released)));
            }
            Notice::Lost { partitions, owned, generation } => {
                self.give_up(&partitions);
                let change = OwnershipChange { partitions, owned, generation: Some(generation) };
                let listening = self.listening(Listener::lost, &change, generation);
                let after = self.after(Some(Command::Released)).told(Event::Lost, change);
                self.running = Some(Running::new(None, listening, after));
            }
            Notice::Started { partition, token, position } => {
                self.delivery.started(&partition, token, position)
            }
            Notice::Sought { partition, token } => {
                self.progress.forget(std::slice::from_ref(&partition));
                self.deferred.retain(|error| error.partition() != Some(&partition));
                self.delivery.sought(&partition, token, &self.handle);
            }
            Notice::Paused { partitions } => self.delivery.pause(&partitions),
            Notice::Resumed { partitions } => self.delivery.resume(&partitions),
            Notice::PollIntervalExceeded => {
                let _ = self.handle.send(Command::Polled);
            }
            Notice::Current => {}
            Notice::Wake => return Heeded::Woken,
            Notice::Failed { error, last: true } => self.deferred.push_back(error),
            Notice::Failed { error, last: false } => return Heeded::Failed(error),
        }
        Heeded::On
    }

    /// Nothing more of these is handed out; what is finished is committed if that is our task; the listener runs; then the
    /// engine hears of it.
    fn revoke(
        &mut self,
        partitions: Vec<TopicPartition>,
        owned: Vec<TopicPartition>,
        generation: i32,
        command: Option<Command>,
    ) -> Running {
        self.delivery.remove(&partitions, &self.handle);
        let commit = self.commits_by_itself().then(|| {
            self.report_finished();
            let deadline = clock::now() + CLOSING_COMMIT.min(self.handle.config.max_poll_interval);
            let (reply, answer) = oneshot::channel();
            let _ = self.handle.send(Command::CommitFinished { deadline, reply: Some(reply) });
            answer
        });
        self.progress.forget(&partitions);
        let change = OwnershipChange { partitions, owned, generation: Some(generation) };
        let listening = self.listening(Listener::revoked, &change, generation);
        Running::new(commit, listening, self.after(command).told(Event::Revoked, change))
    }

    /// The listener's future; its first step too is taken inside `poll`, where a panic is contained (FAILURES D9).
    fn listening(
        &self,
        tell: fn(&dyn Listener, Rebalance) -> ListenerFuture,
        change: &OwnershipChange,
        generation: i32,
    ) -> ListenerFuture {
        let rebalance = Rebalance {
            partitions: change.partitions.clone(),
            owned: change.owned.clone(),
            generation,
            consumer: self.handle.clone(),
        };
        let listener = self.listener.0.clone();
        Box::pin(async move { tell(&*listener, rebalance).await })
    }

    fn after(&self, command: Option<Command>) -> After {
        After { handle: self.handle.clone(), sink: self.sink.clone(), event: None, command }
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.delivery.remove(partitions, &self.handle);
        self.progress.forget(partitions);
    }

    /// Revokes everything that is owned, as a rebalance would: commit, listener, then the command to the engine, which is
    /// sent in any case.
    async fn hand_over(&mut self, deadline: Instant, command: Option<Command>) -> Result<()> {
        // A rebalance that is under way comes first.
        let before = self.finish_running(deadline).await;
        // What was handed out last is finished if the next `poll` would have said so.
        self.finish_passed();
        let owned: Vec<_> = self.delivery.owned().cloned().collect();
        if let (Group::Subscribed, Some(generation), false) = (self.group, self.generation, owned.is_empty())
        {
            self.group = Group::Leaving;
            self.running = Some(self.revoke(owned, Vec::new(), generation, command));
            return before.and(self.finish_running(deadline).await);
        }
        // By hand: nobody is told, but what is finished is committed.
        let mut committed = Ok(());
        if self.commits_by_itself() && !owned.is_empty() {
            self.report_finished();
            let commit = self.handle.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) });
            committed = clock::timeout_at(deadline, commit).await.unwrap_or(Ok(()));
        }
        self.give_up(&owned);
        if let Some(command) = command {
            self.handle.send(command)?;
        }
        before.and(committed)
    }

    /// Until the listener that is running has ended, or the time is up.
    async fn finish_running(&mut self, deadline: Instant) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let listened = clock::timeout_at(deadline, std::future::poll_fn(|cx| running.poll(cx))).await;
        if listened.is_none() {
            running.end();
        }
        self.running = None;
        listened.unwrap_or_else(|| Err(Error::new(ErrorKind::Timeout, "the listener did not end in time")))
    }

    // ---- offsets -------------------------------------------------------------------------------------------------

    /// Commits that exactly these records are finished, retrying for `default.api.timeout.ms`.
    ///
    /// # Errors
    /// `NotOwned` if a partition was given up since (nothing is sent for it), `CommitFailed` where the group refused:
    /// the records will be delivered again, perhaps to another member.
    pub async fn commit(&mut self, records: &Records) -> Result<()> {
        let command = self.commit_of(records);
        self.handle.ask(|reply| command(Some(reply))).await
    }

    /// The same without waiting. What becomes of it comes as an [`Event`].
    ///
    /// # Errors
    /// `Closed`.
    pub fn commit_async(&mut self, records: &Records) -> Result<()> {
        let command = self.commit_of(records);
        self.handle.send(command(None))
    }

    fn commit_of(
        &mut self,
        records: &Records,
    ) -> impl FnOnce(Option<crate::engine::command::Reply<()>>) -> Command + use<> {
        let mut last = BTreeMap::new();
        for part in &records.parts {
            last.insert(part.partition.clone(), part.spot());
        }
        for place in last.values() {
            self.progress.finish(place.clone());
        }
        let offsets = last
            .into_values()
            .map(|place| {
                let offset = OffsetAndMetadata {
                    offset: place.next.offset,
                    leader_epoch: place.next.epoch,
                    metadata: String::new(),
                };
                (place.partition, Some(place.token), offset)
            })
            .collect();
        let deadline = self.handle.deadline();
        move |reply| Command::CommitThese { offsets, deadline, reply }
    }

    /// Commits everything that is finished: what was stored, and with `enable.auto.offset.store` (the default) also
    /// what `poll` has handed out so far.
    pub async fn commit_finished(&mut self) -> Result<()> {
        if self.handle.config.enable_auto_offset_store {
            self.progress.finish_handed();
        }
        self.report_finished();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::CommitFinished { deadline, reply: Some(reply) }).await
    }

    /// Commits exactly these offsets; see [`Handle::commit_offsets`].
    pub async fn commit_offsets(
        &mut self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        self.handle.commit_offsets(offsets).await
    }

    /// Says that everything up to and including this is finished: the next commit, by interval or by
    /// [`commit_finished`](Self::commit_finished), includes it. Of use with `enable.auto.offset.store=false`.
    ///
    /// # Errors
    /// `NotOwned` if its partition was given up since.
    pub fn store(&mut self, delivered: &impl Delivered) -> Result<()> {
        let place = delivered.spot();
        if !self.delivery.owns(&place.partition, place.token) {
            return Err(crate::engine::not_assigned(&place.partition));
        }
        self.progress.finish(place);
        Ok(())
    }

    /// Reads on from elsewhere. Records fetched before are not handed out after. May be called as soon as the partition
    /// is assigned, also from a listener (through its [`Handle`]).
    pub async fn seek(&mut self, partition: impl Into<TopicPartition>, at: StartAt) -> Result<()> {
        self.handle.seek(partition.into(), at).await
    }

    /// Hands out nothing more of these until [`resume`](Self::resume); what is buffered is kept.
    pub fn pause<P: Into<TopicPartition>>(&mut self, partitions: impl IntoIterator<Item = P>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_iter().map(Into::into).collect();
        self.delivery.pause(&partitions);
        self.handle.pause(partitions)
    }

    /// Hands them out again.
    pub fn resume<P: Into<TopicPartition>>(&mut self, partitions: impl IntoIterator<Item = P>) -> Result<()> {
        let partitions: Vec<_> = partitions.into_iter().map(Into::into).collect();
        self.delivery.resume(&partitions);
        self.handle.resume(partitions)
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> impl Iterator<Item = &TopicPartition> {
        self.delivery.paused()
    }

    /// The offset that `poll` hands out next; `None` while it is not known yet, or the partition is not ours.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.delivery.position(partition)
    }

    /// How many records of a partition are still to be handed out, as of the last fetch and under the isolation level;
    /// `None` before the first.
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.delivery.lag(partition)
    }

    /// The group's committed offsets; partitions without one are absent.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        self.handle.committed(partitions).await
    }

    /// The offset of the first record of each partition, or of where it would be.
    pub async fn beginning_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(partitions, ListAt::Earliest).await
    }

    /// The offset after the last record of each partition: the high watermark, or under read_committed the last stable
    /// offset.
    pub async fn end_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ends(partitions, ListAt::Latest).await
    }

    async fn ends(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        at: ListAt,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let partitions = partitions.into_iter().map(|partition| (partition, at)).collect();
        let deadline = self.handle.deadline();
        let listed = self.handle.ask(|reply| Command::List { partitions, deadline, reply }).await?;
        Ok(listed.into_iter().map(|(partition, at)| (partition, at.offset)).collect())
    }

    /// First and next offset of a partition, asked of its leader.
    pub async fn watermarks(&self, partition: impl Into<TopicPartition>) -> Result<(i64, i64)> {
        let partition = partition.into();
        let first = self.beginning_offsets([partition.clone()]).await?;
        let next = self.end_offsets([partition.clone()]).await?;
        match (first.get(&partition), next.get(&partition)) {
            (Some(first), Some(next)) => Ok((*first, *next)),
            _ => Err(Error::new(ErrorKind::Malformed, format!("the broker told no offsets of {partition}"))),
        }
    }

    /// The first record of each partition with this timestamp (milliseconds since 1970) or a later one; partitions
    /// that have none are absent.
    pub async fn offsets_for_times(
        &self,
        times: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let partitions =
            times.into_iter().map(|(partition, at)| (partition, ListAt::Timestamp(at))).collect();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::List { partitions, deadline, reply }).await
    }

    /// The topic's partitions and who leads them.
    ///
    /// # Errors
    /// `UnknownTopic` or what kept the brokers from answering, after `default.api.timeout.ms`; at once where waiting
    /// cannot help.
    pub async fn partitions_for(&self, topic: impl Into<Topic>) -> Result<BTreeMap<i32, PartitionInfo>> {
        let topic = topic.into();
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::Partitions { topic, deadline, reply }).await
    }

    /// The topics whose whole names match one of the patterns now.
    pub async fn topics_matching<P: AsRef<str>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Vec<Topic>> {
        let patterns = compile(patterns)?;
        let deadline = self.handle.deadline();
        self.handle.ask(|reply| Command::Matching { patterns, deadline, reply }).await
    }

    // ---- the end -------------------------------------------------------------------------------------------------

    /// Commits what is finished if `enable.auto.commit` is on, runs the listener's `revoked`, leaves the group, ends the
    /// fetch sessions and closes the connections, all within `timeout`.
    ///
    /// # Errors
    /// What the last commit or the listener failed with. The consumer is closed all the same.
    pub async fn close(mut self, timeout: Duration) -> Result<()> {
        let deadline = clock::now() + timeout;
        let handed_over = self.hand_over(deadline, None).await;
        let closed = self.handle.ask(|reply| Command::Close { deadline, reply }).await;
        handed_over.and(match closed {
            Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
            closed => closed,
        })
    }
}

enum Heeded {
    On,
    Woken,
    Failed(Error),
}

/// A partition to read, and from where: the committed offset unless it is told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Assign {
    partition: TopicPartition,
    at: StartAt,
}

impl Assign {
    fn parts(self) -> (TopicPartition, StartAt) {
        (self.partition, self.at)
    }
}

impl From<TopicPartition> for Assign {
    fn from(partition: TopicPartition) -> Self {
        Self { partition, at: StartAt::Committed }
    }
}

impl From<(TopicPartition, StartAt)> for Assign {
    fn from((partition, at): (TopicPartition, StartAt)) -> Self {
        Self { partition, at }
    }
}

impl<T: Into<Topic>> From<(T, i32)> for Assign {
    fn from((topic, partition): (T, i32)) -> Self {
        TopicPartition::new(topic, partition).into()
    }
}

impl<T: Into<Topic>> From<(T, i32, StartAt)> for Assign {
    fn from((topic, partition, at): (T, i32, StartAt)) -> Self {
        Self { partition: TopicPartition::new(topic, partition), at }
    }
}

/// Tells the engine that `poll` runs, for as long as it lives.
#[derive(Debug)]
struct Polling<'a> {
    consumer: &'a mut Consumer,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.consumer.end_poll();
    }
}

/// Made by [`Consumer::stream`].
#[derive(Debug)]
pub struct RecordStream<'a> {
    polling: Polling<'a>,
}

impl RecordStream<'_> {
    /// The consumer, between two items: to commit, pause or seek.
    pub fn consumer(&mut self) -> &mut Consumer {
        self.polling.consumer
    }
}

impl Stream for RecordStream<'_> {
    type Item = Result<Records>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let result = ready!(self.polling.consumer.poll_records(cx));
        Poll::Ready(match result {
            Err(error) if error.kind() == ErrorKind::Closed => None,
            result => Some(result),
        })
    }
}

/// Patterns match whole names.
fn compile<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Vec<Regex>> {
    patterns
        .into_iter()
        .map(|pattern| {
            let pattern = pattern.as_ref();
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                // The parser draws a picture of several lines; its last one says what is wrong.
                let text = error.to_string();
                let why = text.lines().last().map_or("", |last| last.trim_start_matches("error: "));
                Error::new(ErrorKind::Config, format!("`{pattern}` is no regular expression: {why}"))
            })
        })
        .collect()
}
