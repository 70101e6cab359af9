//! Ownership changes: assigned partitions, and revoked or lost ones, which are given up after the application
//! has been notified through its listener or a value.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use offtake_group::RevocationId;
use offtake_machine::TopicPartition;
use tokio::{runtime, sync::oneshot};

use super::{Consumer, Fatal, Group, Notified, PendingChange, Running};
use crate::{
    clock,
    command::{CLOSING_COMMIT, Command, CommitBy},
    error::{Error, ErrorKind, NOT_COMMITTED, Result},
    event::{Event, OwnershipChange, RebalanceCall},
    inbox::Control,
    ledger::Refusal,
    listener::Rebalance,
    next::Next,
    partition_list::PartitionList,
    rebalance::{Change, Handover, Notification, OpenLedgers},
};

/// The shortest wait before a fatal error is returned again, however short `retry.backoff.ms` is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl Consumer {
    /// Handles a control message. Returns the result of `poll` or `next` for it, if any.
    pub(super) fn handle_control(&mut self, control: Control) -> Option<Result<Next>> {
        match control {
            // These are from a group that this consumer has left.
            Control::Assigned { generation: Some(_), .. } | Control::Revoke { .. } | Control::Lost { .. }
                if self.group != Group::Subscribed => {}
            Control::Assigned { added, owned, generation } => {
                let partitions: Vec<_> = added.iter().map(|(partition, _)| partition.clone()).collect();
                if generation.is_none() {
                    let gone: Vec<_> = {
                        let kept: BTreeSet<_> = owned.iter().collect();
                        self.delivery.owned().filter(|held| !kept.contains(held)).cloned().collect()
                    };
                    self.give_up(&gone, Refusal::Revoked);
                }
                self.delivery.start(added);
                self.generation = generation;
                self.fatal = None;
                let change = OwnershipChange { partitions, owned, generation };
                self.reporter.report(|| Event::Assigned(change.clone()));
                if generation.is_some() && !change.partitions.is_empty() {
                    if self.as_values {
                        return Some(Ok(Next::Assigned(change)));
                    }
                    let deadline = self.while_polling(None);
                    self.running = Some(self.notify(RebalanceCall::Assigned, change, deadline, None));
                }
            }
            // The group has continued without us: it no longer waits, and would refuse a commit.
            Control::Revoke { id, partitions, owned, generation, revoke_by }
                if revoke_by.is_some_and(|by| by <= clock::now())
                    || self.handle.vitals.loss_of_all(&partitions).is_some() =>
            {
                self.running =
                    Some(self.lose(id, OwnershipChange { partitions, owned, generation: Some(generation) }));
            }
            Control::Revoke { id, partitions, owned, generation, revoke_by } => {
                let change = OwnershipChange { partitions, owned, generation: Some(generation) };
                let command = Some(Command::RevocationDone(id));
                let deadline = self.while_polling(revoke_by);
                self.running = Some(self.revoke(change, deadline, Duration::ZERO..=CLOSING_COMMIT, command));
            }
            Control::Lost { id, partitions, owned, generation } => {
                self.running =
                    Some(self.lose(id, OwnershipChange { partitions, owned, generation: Some(generation) }));
            }
            Control::PollIntervalExceeded(event) => {
                let _ = self.handle.send(Command::Polled);
                return Some(Ok(Next::Event(event)));
            }
            Control::Close { deadline, reply } => self.close_for_handle(deadline, reply),
            Control::Wake => self.is_woken = true,
            Control::Recheck => {}
            Control::Recovered => self.fatal = None,
            Control::Failed(error) => {
                // Group errors do not affect manually assigned partitions.
                if error.is_fatal() && (self.group == Group::Subscribed || error.kind() != ErrorKind::Group) {
                    self.fatal = Some(Fatal { error: error.clone(), returned_at: Some(clock::now()) });
                }
                return Some(Err(error));
            }
        }
        None
    }

    /// Ready with the fatal error when it may be returned, or with nothing if there is none. It is returned again only
    /// after a while: an application that polls on after errors would otherwise leave its thread to nobody, not
    /// even to the engine. A consumer with manually assigned partitions keeps reading while it receives data,
    /// whatever its group or some broker reports.
    pub(super) fn poll_fatal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if self.group == Group::Outside && !self.taken.data.is_empty() {
            self.fatal = None;
        }
        ready!(self.poll_pause(cx));
        Poll::Ready(self.return_fatal())
    }

    /// Ready when a fatal error may be returned again.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let returned_at = self.fatal.as_ref().and_then(|fatal| fatal.returned_at);
        match returned_at.filter(|_| !self.is_woken) {
            Some(returned_at) => {
                let pause = self.handle.config.client.retry_backoff.max(SHORTEST_PAUSE);
                self.fatal_alarm.poll(cx, clock::later(returned_at, pause))
            }
            None => Poll::Ready(()),
        }
    }

    /// Ready with the error of an engine that has ended: at once, and again after the same pause. One that was not asked to end may have lacked a
    /// timer, so this uses none then, nor without a runtime, where nothing would wake the task.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let ended = self.inbox.ended();
        if !self.handle.inbox.is_closing() || runtime::Handle::try_current().is_err() {
            return Poll::Ready(ended);
        }
        if self.fatal.as_ref().is_none_or(|fatal| fatal.error.kind() != ended.kind()) {
            self.fatal = Some(Fatal { error: ended.clone(), returned_at: None });
        }
        ready!(self.poll_pause(cx));
        Poll::Ready(self.return_fatal().unwrap_or(ended))
    }

    /// The fatal error, which is returned now.
    pub(super) fn return_fatal(&mut self) -> Option<Error> {
        let fatal = self.fatal.as_mut()?;
        fatal.returned_at = Some(clock::now());
        Some(fatal.error.clone())
    }

    /// Takes the inbox's contents. A fatal error among them is dropped if the application now starts anew;
    /// otherwise every `poll` returns it.
    pub(super) fn take_fatal_errors(&mut self) {
        self.inbox.take(&mut self.taken);
        self.taken.control.retain(|control| match control {
            Control::Failed(error) if error.is_fatal() => {
                self.fatal = Some(Fatal { error: error.clone(), returned_at: None });
                false
            }
            Control::Recovered => {
                self.fatal = None;
                false
            }
            _ => true,
        });
    }

    /// Others may own these partitions already.
    fn lose(&mut self, id: RevocationId, change: OwnershipChange) -> Running {
        let why = self.handle.vitals.loss_of(&change.partitions);
        if self.handle.vitals.loss_of_all(&change.partitions).is_some() {
            // The engine knows of the loss: it commits nothing of these, but a commit while the application handles the loss fails for them.
            self.report_finished();
        }
        self.give_up(&change.partitions, Refusal::Lost(why));
        let deadline = self.while_polling(None);
        self.notify(RebalanceCall::Lost, change, deadline, Some(Command::RevocationDone(id)))
    }

    /// Begins to revoke, as in a rebalance, all that a leaving member owns. If the group has taken all of it away, or the engine has
    /// ended before, it is lost instead, as others may own it. (If it has taken a part away, the commit fails for that.) Returns false, and does nothing, if no group has assigned anything.
    pub(super) fn begin_to_leave(
        &mut self,
        deadline: Instant,
        by: Instant,
        command: &mut Option<Command>,
    ) -> bool {
        let partitions: Vec<_> = self.delivery.owned().cloned().collect();
        let is_member = self.group == Group::Subscribed && self.generation.is_some();
        if !is_member || partitions.is_empty() {
            return false;
        }
        self.group = Group::Leaving;
        self.log_giving_up(&partitions);
        let change = OwnershipChange { partitions, owned: Vec::new(), generation: self.generation };
        self.running = Some(if self.handle.is_engine_gone() {
            self.give_up(&change.partitions, Refusal::ConsumerClosed);
            self.notify(RebalanceCall::Lost, change, deadline, None)
        } else if let Some(why) = self.handle.vitals.loss_of_all(&change.partitions) {
            self.report_finished();
            self.give_up(&change.partitions, Refusal::Lost(Some(why)));
            self.notify(RebalanceCall::Lost, change, deadline, command.take())
        } else {
            let longer =
                if by > deadline { by.saturating_duration_since(clock::now()) } else { Duration::ZERO };
            self.revoke(change, deadline, longer..=Duration::MAX, command.take())
        });
        true
    }

    /// Logs before the listener is notified and before anything is committed.
    pub(super) fn log_giving_up(&self, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let member = self.handle.vitals.member_id();
        let is_closing = self.handle.inbox.is_closing();
        let reason = if is_closing { "the consumer is being closed" } else { "the consumer unsubscribes" };
        self.reporter.log(|| {
            let (count, partitions) = (partitions.len(), PartitionList(partitions));
            tracing::info!(member, count, %partitions, reason, "partitions given up");
        });
    }

    /// Stops handing out records of these partitions. If auto-commit is on, commits what is finished, within
    /// nine tenths of the available time (the listener needs some too), clamped to `commit_within`. Then
    /// notifies the application, and last the engine.
    pub(super) fn revoke(
        &mut self,
        change: OwnershipChange,
        revoke_by: Instant,
        commit_within: RangeInclusive<Duration>,
        command: Option<Command>,
    ) -> Running {
        self.delivery.discard(&change.partitions, &mut self.taken.data);
        self.delivery.leave(&change.partitions);
        // Now, and not after the listener: the partitions that stay need the memory meanwhile.
        self.release_freed();
        let running = self.notify(RebalanceCall::Revoked, change, revoke_by, command);
        let change = running.pending().change();
        let within = (change.limit() / 10 * 9).clamp(*commit_within.start(), *commit_within.end());
        let deadline = clock::later(change.began, within);
        let (reply, answer) = oneshot::channel();
        let commit = if self.commits_by_itself() {
            self.report_finished();
            Command::CommitFinished { deadline, by: CommitBy::Consumer, reply: Some(reply) }
        } else {
            // Commits that the application requested without waiting are sent while the partitions are still
            // ours (FAILURES H2).
            // Commits of partitions that we keep delay nothing; a member that leaves keeps none.
            let of_these = (self.group != Group::Leaving).then(|| change.of.partitions.clone());
            Command::SettleCommits { partitions: of_these, deadline, reply }
        };
        let _ = self.handle.send(commit);
        running.after(answer)
    }

    /// The deadline for work inside `poll`, or in its place: when the group stops waiting for the revocation,
    /// or for the next `poll`.
    pub(super) fn while_polling(&self, revoke_by: Option<Instant>) -> Instant {
        let longest = clock::after(self.handle.config.max_poll_interval);
        revoke_by.map_or(longest, |by| by.min(longest))
    }

    fn notify(
        &self,
        call: RebalanceCall,
        of: OwnershipChange,
        deadline: Instant,
        command: Option<Command>,
    ) -> Running {
        let began = clock::now();
        let ledgers =
            self.progress.of_each().filter(|_| call == RebalanceCall::Revoked).map(|ledgers| OpenLedgers {
                ledgers: ledgers.clone(),
                partitions: of.partitions.clone(),
                commit_within: self.commits_by_itself().then_some(CLOSING_COMMIT),
            });
        let change = Change { call, of, began, deadline };
        let pending =
            PendingChange::new(change, self.handle.clone(), self.reporter.clone(), command, ledgers);
        let notification = if self.as_values { Notification::Value } else { self.listening(&pending) };
        Running::new(notification, pending)
    }

    /// Passes a change that a dropped `next` was to return to the listener, if another call continues it.
    pub(super) fn notify_listener(&mut self) {
        let Some(pending) = self.running.as_ref().filter(|it| it.is_value()).map(Running::pending) else {
            return;
        };
        let notification = self.listening(pending);
        self.running = self.running.take().map(|running| running.notification(notification));
    }

    /// The listener's future. Its first step also runs inside `poll`, where a panic is contained (FAILURES
    /// D9).
    fn listening(&self, pending: &PendingChange) -> Notification {
        let (listener, pending, consumer) = (self.listener.0.clone(), pending.clone(), self.handle.clone());
        Notification::listener(Box::pin(async move {
            let Change { call, of, deadline, .. } = pending.begin();
            let rebalance = Rebalance {
                partitions: of.partitions,
                owned: of.owned,
                generation: of.generation.unwrap_or_default(),
                consumer,
                deadline,
            };
            match call {
                RebalanceCall::Assigned => listener.assigned(rebalance).await,
                RebalanceCall::Revoked => listener.revoked(rebalance).await,
                RebalanceCall::Lost => listener.lost(rebalance).await,
            }
        }))
    }

    /// Handles the end of a notification. Returns the result of `poll` or `next` for it, if any.
    pub(super) fn on_notified(&mut self, notified: Notified) -> Option<Result<Next>> {
        let pending = self.running.take()?.pending().clone();
        match notified {
            Notified::Listened(listened) | Notified::Uncommitted(listened) => {
                self.forget_given_up(&pending);
                listened.err().map(Err)
            }
            Notified::Value => {
                self.handed_out = Some(pending.clone());
                let is_lost = pending.begin().call == RebalanceCall::Lost;
                let value = Handover::new(pending, self.handle.clone());
                Some(Ok(if is_lost { Next::Lost(value) } else { Next::Revoking(value) }))
            }
        }
    }

    /// Ends a change that was handed out as a value, unless it has already ended.
    pub(super) fn end_handed_out(&mut self) {
        if let Some(pending) = self.handed_out.take() {
            pending.end();
            self.forget_given_up(&pending);
        }
    }

    fn forget_given_up(&mut self, pending: &PendingChange) {
        let change = pending.change();
        if change.call != RebalanceCall::Assigned {
            self.progress.forget(&change.of.partitions, &Refusal::Revoked);
            self.delivery.left(&change.of.partitions);
        }
    }

    pub(super) fn give_up(&mut self, partitions: &[TopicPartition], why: Refusal) {
        if let Some(ledgers) = self.progress.of_each() {
            self.reporter.log(|| ledgers.log_held_back(partitions));
        }
        self.delivery.discard(partitions, &mut self.taken.data);
        self.delivery.remove(partitions);
        self.progress.forget(partitions, &why);
        self.release_freed();
    }

    /// Revokes everything that is owned, as a rebalance would: commit, listener, then the command to the
    /// engine, which is sent in any case. It is awaited until `deadline`; the engine continues the commit
    /// until `by`, if that is later.
    pub(super) async fn revoke_all(
        &mut self,
        deadline: Instant,
        by: Instant,
        mut command: Option<Command>,
    ) -> Result<()> {
        // A rebalance in progress comes first.
        let before = self.finish_running(Some(deadline)).await;
        self.as_values = false;
        // Records handed out last are finished if the next `poll` would have finished them.
        self.finish_passed();
        if self.begin_to_leave(deadline, by, &mut command) {
            return before.and(self.finish_running(Some(deadline)).await);
        }
        // Manual assignment, or nothing is owned any more: the listener is not called.
        let partitions: Vec<_> = self.delivery.owned().cloned().collect();
        self.log_giving_up(&partitions);
        // Commits left by an earlier change are sent while the partitions are ours (FAILURES H2). An engine
        // that closes waits for them.
        let may_commit = !partitions.is_empty() || command.is_some() && self.generation.is_some();
        let committed = if may_commit { self.commit_by_hand(deadline, by).await } else { Ok(()) };
        self.give_up(&partitions, Refusal::Revoked);
        if let Some(command) = command {
            self.handle.send(command)?;
        }
        before.and(committed)
    }

    /// Commits before manually assigned partitions are given up: what is finished, if auto-commit is on;
    /// otherwise waits for the commits that the application requested without waiting (FAILURES H2).
    pub(super) async fn commit_by_hand(&mut self, deadline: Instant, by: Instant) -> Result<()> {
        let by_itself = self.commits_by_itself();
        if by_itself {
            self.finish_passed();
            self.report_finished();
        }
        let commit = self.handle.ask(|reply| match by_itself {
            true => Command::CommitFinished { deadline: by, by: CommitBy::Consumer, reply: Some(reply) },
            false => Command::SettleCommits { partitions: None, deadline: by, reply },
        });
        let late = || Err(Error::new(ErrorKind::Timeout, NOT_COMMITTED));
        clock::timeout_at(deadline, commit).await.unwrap_or_else(late)
    }

    /// Waits until the change in progress has been handled, or its own deadline or `until` has passed.
    pub(super) async fn finish_running(&mut self, until: Option<Instant>) -> Result<()> {
        self.end_handed_out();
        self.notify_listener();
        let Some(running) = &mut self.running else { return Ok(()) };
        let until = until.unwrap_or(running.pending().change().deadline);
        let told = clock::timeout_at(until, std::future::poll_fn(|cx| running.poll(cx))).await;
        let told = told.unwrap_or_else(|| running.give_up());
        let is_uncommitted = matches!(told, Notified::Uncommitted(_));
        let told = self.on_notified(told);
        self.end_handed_out();
        match told {
            Some(Err(error)) => Err(error),
            _ if is_uncommitted => Err(Error::new(ErrorKind::Timeout, NOT_COMMITTED)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
