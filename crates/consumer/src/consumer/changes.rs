//! Changes of ownership: partitions are assigned, and given up once the application has been told, by its listener or as a
//! value.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use offtake_group::RevocationId;
use offtake_machine::TopicPartition;
use tokio::sync::oneshot;

use super::{Consumer, Group, Notified, PendingChange, Running};
use crate::{
    clock,
    command::{CLOSING_COMMIT, Command},
    error::{Error, ErrorKind, NOT_COMMITTED, Result},
    event::{Event, OwnershipChange, RebalanceCall},
    inbox::Control,
    ledger::Refusal,
    listener::Rebalance,
    next::Next,
    partition_list::PartitionList,
    rebalance::{Change, Handover, Notification, OpenLedgers},
};

impl Consumer {
    /// What of it comes out of `poll` or `next`, if anything.
    pub(super) fn handle_control(&mut self, control: Control) -> Option<Result<Next>> {
        match control {
            // Of a group that this end has left.
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
            // The group has gone on: it waits for nothing, and would take no commit.
            Control::Revoke { id, partitions, owned, generation, revoke_by: Some(by) }
                if by <= clock::now() =>
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
            Control::LookAgain => {}
            Control::Recovered => self.fatal = None,
            Control::Failed(error) => {
                // A group has no say in what is read by hand.
                if error.is_fatal() && (self.group == Group::Subscribed || error.kind() != ErrorKind::Group) {
                    self.fatal = Some(error.clone());
                }
                return Some(Err(error));
            }
        }
        None
    }

    /// What every `poll` fails with. A consumer that reads by hand reads what it gets, whatever its group or some broker says.
    pub(super) fn current_fatal(&mut self) -> Option<Error> {
        if self.group == Group::Outside && !self.taken.data.is_empty() {
            self.fatal = None;
        }
        self.fatal.clone()
    }

    /// Takes what has come. A fatal error among it ends with what the application begins now, or is told by every `poll` if it
    /// cannot.
    pub(super) fn take_fatal_errors(&mut self) {
        self.inbox.take(&mut self.taken);
        self.taken.control.retain(|control| match control {
            Control::Failed(error) if error.is_fatal() => {
                self.fatal = Some(error.clone());
                false
            }
            Control::Recovered => {
                self.fatal = None;
                false
            }
            _ => true,
        });
    }

    /// Somebody else may have them already.
    fn lose(&mut self, id: RevocationId, change: OwnershipChange) -> Running {
        let why = self.handle.vitals.loss_of(&change.partitions);
        self.give_up(&change.partitions, Refusal::Lost(why));
        let deadline = self.while_polling(None);
        self.notify(RebalanceCall::Lost, change, deadline, Some(Command::RevocationDone(id)))
    }

    /// A member that leaves begins to revoke all that it owns, as in a rebalance; it loses it where the engine has ended before,
    /// as others may have it. False, and nothing is done, where no group has given it anything.
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
        } else {
            let longer =
                if by > deadline { by.saturating_duration_since(clock::now()) } else { Duration::ZERO };
            self.revoke(change, deadline, longer..=Duration::MAX, command.take())
        });
        true
    }

    /// Before the listener hears of it, or anything is committed.
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

    /// Nothing more of these is handed out; what is finished is committed if that is our task, within nine tenths of the time
    /// that there is, as the listener needs some too, or what of `commit_within` is nearest; the application is told; then the
    /// engine hears of it.
    pub(super) fn revoke(
        &mut self,
        change: OwnershipChange,
        revoke_by: Instant,
        commit_within: RangeInclusive<Duration>,
        command: Option<Command>,
    ) -> Running {
        self.delivery.leave(&change.partitions);
        let running = self.notify(RebalanceCall::Revoked, change, revoke_by, command);
        let change = running.pending().change();
        let within = (change.limit() / 10 * 9).clamp(*commit_within.start(), *commit_within.end());
        let deadline = clock::later(change.began, within);
        let (reply, answer) = oneshot::channel();
        let commit = if self.commits_by_itself() {
            self.report_finished();
            Command::CommitFinished { deadline, reply: Some(reply) }
        } else {
            // What the application has asked for and not waited for goes out while the partitions are still ours (FAILURES H2).
            // Those of what is kept hold nobody up; who leaves keeps nothing.
            let of_these = (self.group != Group::Leaving).then(|| change.of.partitions.clone());
            Command::SettleCommits { partitions: of_these, deadline, reply }
        };
        let _ = self.handle.send(commit);
        running.after(answer)
    }

    /// How long what runs inside of `poll`, or instead of it, may take: until the group waits no longer, or waits for the next `poll` no longer.
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
        let notification =
            if self.as_values { Notification::Value } else { self.listening(call, &of, deadline) };
        let ledgers =
            self.progress.of_each().filter(|_| call == RebalanceCall::Revoked).map(|ledgers| OpenLedgers {
                ledgers: ledgers.clone(),
                partitions: of.partitions.clone(),
                commit_within: self.commits_by_itself().then_some(CLOSING_COMMIT),
            });
        let change = Change { call, of, began, deadline };
        Running::new(
            notification,
            PendingChange::new(change, self.handle.clone(), self.reporter.clone(), command, ledgers),
        )
    }

    /// A change that a dropped `next` was to hand out is the listener's where something else goes on with it.
    pub(super) fn notify_listener(&mut self) {
        let Some(change) = self.running.as_ref().filter(|it| it.is_value()).map(|it| it.pending().change())
        else {
            return;
        };
        let notification = self.listening(change.call, &change.of, change.deadline);
        self.running = self.running.take().map(|running| running.notification(notification));
    }

    /// The listener's future; its first step too is taken inside `poll`, where a panic is contained (FAILURES D9).
    fn listening(&self, call: RebalanceCall, change: &OwnershipChange, deadline: Instant) -> Notification {
        let rebalance = Rebalance {
            partitions: change.partitions.clone(),
            owned: change.owned.clone(),
            generation: change.generation.unwrap_or_default(),
            consumer: self.handle.clone(),
            deadline,
        };
        let listener = self.listener.0.clone();
        Notification::listener(Box::pin(async move {
            match call {
                RebalanceCall::Assigned => listener.assigned(rebalance).await,
                RebalanceCall::Revoked => listener.revoked(rebalance).await,
                RebalanceCall::Lost => listener.lost(rebalance).await,
            }
        }))
    }

    /// The application has been told of a change: what comes out of `poll` or `next` for that, if anything.
    pub(super) fn on_notified(&mut self, notified: Notified) -> Option<Result<Next>> {
        let pending = self.running.take()?.pending().clone();
        match notified {
            Notified::Listened(listened) | Notified::Uncommitted(listened) => {
                self.forget_given_up(&pending);
                listened.err().map(Err)
            }
            Notified::Value => {
                self.handed_out = Some(pending.clone());
                let is_lost = pending.change().call == RebalanceCall::Lost;
                let value = Handover::new(pending, self.handle.clone());
                Some(Ok(if is_lost { Next::Lost(value) } else { Next::Revoking(value) }))
            }
        }
    }

    /// Ends a change that was handed out as a value, if that has not happened yet.
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
        self.delivery.remove(partitions);
        self.progress.forget(partitions, &why);
        self.release_freed();
    }

    /// Revokes everything that is owned, as a rebalance would: commit, listener, then the command to the engine, which is
    /// sent in any case. It is waited for until `deadline`; the engine goes on with the commit until `by`, where that is later.
    pub(super) async fn revoke_all(
        &mut self,
        deadline: Instant,
        by: Instant,
        mut command: Option<Command>,
    ) -> Result<()> {
        // A rebalance that is under way comes first.
        let before = self.finish_running(Some(deadline)).await;
        self.as_values = false;
        // What was handed out last is finished if the next `poll` would have said so.
        self.finish_passed();
        if self.begin_to_leave(deadline, by, &mut command) {
            return before.and(self.finish_running(Some(deadline)).await);
        }
        // By hand, or with nothing left: nobody is told.
        let partitions: Vec<_> = self.delivery.owned().cloned().collect();
        self.log_giving_up(&partitions);
        // What a change before has left to be committed goes out while it is ours (FAILURES H2). An engine that closes waits for it.
        let may_commit = !partitions.is_empty() || command.is_some() && self.generation.is_some();
        let committed = if may_commit { self.commit_by_hand(deadline, by).await } else { Ok(()) };
        self.give_up(&partitions, Refusal::Revoked);
        if let Some(command) = command {
            self.handle.send(command)?;
        }
        before.and(committed)
    }

    /// Before partitions that were assigned by hand are given up: what is finished is committed, if that is our task; otherwise
    /// what the application has asked for and not waited for goes out (FAILURES H2).
    pub(super) async fn commit_by_hand(&mut self, deadline: Instant, by: Instant) -> Result<()> {
        let by_itself = self.commits_by_itself();
        if by_itself {
            self.finish_passed();
            self.report_finished();
        }
        let commit = self.handle.ask(|reply| match by_itself {
            true => Command::CommitFinished { deadline: by, reply: Some(reply) },
            false => Command::SettleCommits { partitions: None, deadline: by, reply },
        });
        let late = || Err(Error::new(ErrorKind::Timeout, NOT_COMMITTED));
        clock::timeout_at(deadline, commit).await.unwrap_or_else(late)
    }

    /// Until what the application is being told of is over, or the time is up: its own, or `until`.
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
