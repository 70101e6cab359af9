//! Inside `poll`: notices heeded, listeners run, records handed out. All of its state is the consumer's, none the
//! future's: it may be left at any point.

use std::{
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures_core::Stream;
use offtake_machine::{TopicPartition, mutant};
use tokio::sync::oneshot;

use super::{Consumer, Group};
use crate::{
    clock,
    engine::command::{CLOSING_COMMIT, Command, Notice},
    error::{Error, ErrorKind, Result},
    event::{Event, OwnershipChange},
    listener::{Listener, ListenerFuture, Rebalance},
    rebalance::{After, Running, Settling},
    records::{Records, Spot},
};

/// Of a consumer that ends while the coordinator is away.
const NOT_COMMITTED: &str =
    "what was finished could not be committed in time: no answer from the coordinator; it will be read again";

impl Consumer {
    pub(super) fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<Result<Records>> {
        if !self.in_poll {
            self.in_poll = true;
            self.shared.poll_begins();
            self.begin_poll();
        }
        let mut result = ready!(self.next_records(cx));
        self.end_poll();
        if let Ok(records) = &mut result {
            self.progress.hand_out(records);
            if mutant!(2) {
                self.progress.finish_handed();
                self.report_finished();
            }
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

    /// What earlier polls handed out is finished, if that is how it is said.
    pub(super) fn finish_passed(&mut self) {
        self.progress.go_on(self.delivery.passed());
    }

    pub(super) fn end_poll(&mut self) {
        if self.in_poll {
            self.in_poll = false;
            self.shared.poll_ends(clock::now());
        }
    }

    pub(super) fn commits_by_itself(&self) -> bool {
        self.handle.config.enable_auto_commit && self.handle.config.group_id.is_some()
    }

    pub(super) fn report_finished(&mut self) {
        self.progress.report(&self.handle);
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
                if mutant!(1) {
                    let (partition, token, next) = (chunk.partition.clone(), chunk.token, chunk.next);
                    self.progress.finish(Spot { partition, token, next });
                }
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
            Notice::Started { partition, token, position, run, jumps } => {
                self.delivery.started(&partition, token, position, run, jumps)
            }
            Notice::AtEnd { partition, token, watermarks } => {
                self.delivery.at_end(&partition, token, watermarks)
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
        if !mutant!(13) {
            self.delivery.remove(&partitions, &self.handle);
        }
        let within = CLOSING_COMMIT.min(self.handle.config.max_poll_interval);
        let deadline = clock::now() + within;
        let (reply, answer) = oneshot::channel();
        let commit = if self.commits_by_itself() {
            self.report_finished();
            Command::CommitFinished { deadline, reply: Some(reply) }
        } else {
            // What the application has asked for and not waited for goes out while the partitions are still ours (H2).
            Command::SettleCommits { deadline, reply }
        };
        let _ = self.handle.send(commit);
        let mut after = self.after(command);
        after.settling = self.progress.hand_over(&partitions).map(|ledgers| Settling {
            ledgers,
            partitions: partitions.clone(),
            commit_within: self.commits_by_itself().then_some(within),
        });
        let change = OwnershipChange { partitions, owned, generation: Some(generation) };
        let listening = self.listening(Listener::revoked, &change, generation);
        Running::new(Some(answer), listening, after.told(Event::Revoked, change))
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
        After { handle: self.handle.clone(), sink: self.sink.clone(), event: None, command, settling: None }
    }

    pub(super) fn give_up(&mut self, partitions: &[TopicPartition]) {
        self.delivery.remove(partitions, &self.handle);
        self.progress.forget(partitions);
    }

    /// Revokes everything that is owned, as a rebalance would: commit, listener, then the command to the engine, which is
    /// sent in any case.
    pub(super) async fn hand_over(&mut self, deadline: Instant, command: Option<Command>) -> Result<()> {
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
            let late = || Err(Error::new(ErrorKind::Timeout, NOT_COMMITTED));
            committed = clock::timeout_at(deadline, commit).await.unwrap_or_else(late);
        }
        self.give_up(&owned);
        if let Some(command) = command {
            self.handle.send(command)?;
        }
        before.and(committed)
    }

    /// Until the listener that is running has ended, or the time is up.
    pub(super) async fn finish_running(&mut self, deadline: Instant) -> Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let listened = clock::timeout_at(deadline, std::future::poll_fn(|cx| running.poll(cx))).await;
        let late = if running.is_committing() { NOT_COMMITTED } else { "the listener did not end in time" };
        if listened.is_none() {
            running.end();
        }
        self.running = None;
        listened.unwrap_or_else(|| Err(Error::new(ErrorKind::Timeout, late)))
    }
}

enum Heeded {
    On,
    Woken,
    Failed(Error),
}

/// Tells the engine that `poll` runs, for as long as it lives.
#[derive(Debug)]
pub(super) struct Polling<'a> {
    pub(super) consumer: &'a mut Consumer,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.consumer.end_poll();
    }
}

/// Made by [`Consumer::stream`].
#[derive(Debug)]
pub struct RecordStream<'a> {
    pub(super) polling: Polling<'a>,
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
