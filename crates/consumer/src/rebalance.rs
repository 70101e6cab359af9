//! A rebalance as `poll` carries it out: commit, then notify the application, then tell the engine that it is
//! done. The state is kept in a value, so that a `poll` that is dropped in the middle leaves it for the next
//! one to continue.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use offtake_machine::TopicPartition;
use tokio::sync::oneshot;

use crate::{
    clock,
    command::{Command, CommitBy},
    engine::results::was_late,
    error::{Error, ErrorKind, NOT_COMMITTED, Result},
    event::{Event, OwnershipChange, RebalanceCall, Reporter},
    handle::Handle,
    ledger::Refusal,
    ledgers::Ledgers,
    listener::{ListenerError, ListenerFuture},
    partition_list::PartitionList,
};

/// An ownership change that the application is being notified of.
pub(crate) struct Running {
    /// The commit of what is finished, before the application is notified.
    commit: Option<oneshot::Receiver<Result<()>>>,
    /// That commit was not answered in time.
    is_uncommitted: bool,
    notification: Notification,
    /// The listener's result; what was finished while it ran is being committed.
    listened: Option<Result<()>>,
    alarm: clock::Alarm,
    pending: PendingChange,
}

/// How the application is notified.
pub(crate) enum Notification {
    Listener(SyncFuture),
    /// As a value, which `next` returns.
    Value,
}

/// The result of a notification.
pub(crate) enum Notified {
    /// The listener has ended, with this error of its own.
    Listened(Result<()>),
    /// The same, but what was finished could not be committed in time. `poll` ignores that, because the
    /// records are delivered again to their next owner; `close` reports it.
    Uncommitted(Result<()>),
    /// A value to return. Its receiver ends the change.
    Value,
}

/// A future that is reached only through `&mut`, so that sharing it is harmless: it keeps the consumer
/// `Sync`.
pub(crate) struct SyncFuture(Mutex<ListenerFuture>);

impl SyncFuture {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ListenerError>> {
        match self.0.get_mut() {
            Ok(future) => future.as_mut().poll(cx),
            Err(poisoned) => poisoned.into_inner().as_mut().poll(cx),
        }
    }
}

impl Notification {
    pub(crate) fn listener(future: ListenerFuture) -> Self {
        Self::Listener(SyncFuture(Mutex::new(future)))
    }
}

impl Running {
    pub(crate) fn new(notification: Notification, pending: PendingChange) -> Self {
        let alarm = clock::Alarm::default();
        Self { commit: None, is_uncommitted: false, notification, listened: None, alarm, pending }
    }

    /// Whether the application is notified by a value.
    pub(crate) fn is_value(&self) -> bool {
        matches!(self.notification, Notification::Value)
    }

    /// The same, with this way to notify the application.
    pub(crate) fn notification(self, notification: Notification) -> Self {
        Self { notification, ..self }
    }

    /// The same, once this commit is answered.
    pub(crate) fn after(self, commit: oneshot::Receiver<Result<()>>) -> Self {
        Self { commit: Some(commit), ..self }
    }

    pub(crate) fn pending(&self) -> &PendingChange {
        &self.pending
    }

    /// Ready when the listener has ended or its time is up, and the engine knows it; or when there is a value
    /// to return.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Notified> {
        let is_late = self.alarm.poll(cx, self.pending.deadline()).is_ready();
        ready!(self.poll_commit(cx, is_late));
        let listened = match (&mut self.notification, self.listened.take()) {
            (Notification::Value, _) => return Poll::Ready(Notified::Value),
            (Notification::Listener(_), Some(listened)) => listened,
            (Notification::Listener(listener), None) => match listen(listener, cx) {
                // It may have got more time when it was told.
                Poll::Pending if self.alarm.poll(cx, self.pending.deadline()).is_pending() => {
                    return Poll::Pending;
                }
                Poll::Pending => Err(self.pending.overdue()),
                Poll::Ready(listened) => {
                    self.commit = self.pending.close_ledgers();
                    listened
                }
            },
        };
        if self.poll_commit(cx, is_late).is_pending() {
            self.listened = Some(listened);
            return Poll::Pending;
        }
        Poll::Ready(self.ended(listened))
    }

    fn ended(&self, listened: Result<()>) -> Notified {
        self.pending.end();
        if self.is_uncommitted { Notified::Uncommitted(listened) } else { Notified::Listened(listened) }
    }

    fn poll_commit(&mut self, cx: &mut Context<'_>, is_late: bool) -> Poll<()> {
        if let Some(commit) = &mut self.commit {
            match Pin::new(commit).poll(cx) {
                Poll::Pending if !is_late => return Poll::Pending,
                Poll::Ready(Ok(Err(error))) => {
                    self.is_uncommitted |= was_late(&error);
                    self.pending.not_committed(error);
                }
                Poll::Pending => {
                    self.is_uncommitted = true;
                    self.pending.not_committed(Error::new(ErrorKind::Timeout, NOT_COMMITTED));
                }
                Poll::Ready(_) => {}
            }
            self.commit = None;
        }
        Poll::Ready(())
    }

    /// Stops waiting. A listener that has not been called yet is polled once, because it must be notified of
    /// every change.
    pub(crate) fn give_up(&mut self) -> Notified {
        let commits = self.commit.take().is_some();
        if commits {
            self.is_uncommitted = true;
            self.pending.not_committed(Error::new(ErrorKind::Timeout, NOT_COMMITTED));
        }
        let listened = match (&mut self.notification, self.listened.take()) {
            (_, Some(listened)) => listened,
            (Notification::Value, None) => Ok(()),
            (Notification::Listener(listener), None) => {
                match listen(listener, &mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(listened) => listened,
                    Poll::Pending if commits => Ok(()), // it had no time of its own
                    Poll::Pending => Err(self.pending.overdue()),
                }
            }
        };
        self.ended(listened)
    }
}

/// A listener that panics has failed: the rebalance continues (FAILURES D9).
fn listen(future: &mut SyncFuture, cx: &mut Context<'_>) -> Poll<Result<()>> {
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.poll(cx)));
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
        Ok(Poll::Ready(Err(error))) => {
            let message = format!("the rebalance listener failed: {error}");
            Poll::Ready(Err(Error::wrapping(ErrorKind::Listener, message, error)))
        }
        Err(_) => Poll::Ready(Err(Error::new(ErrorKind::Listener, "the rebalance listener panicked"))),
    }
}

/// The end of an ownership change, which happens once, by the listener, the value, or the consumer, whichever
/// is first.
#[derive(Clone)]
pub(crate) struct PendingChange(Arc<Mutex<Inner>>);

struct Inner {
    change: Change,
    handle: Handle,
    reporter: Reporter,
    /// The command for the engine.
    command: Option<Command>,
    ledgers: Option<OpenLedgers>,
    is_over: bool,
}

impl Inner {
    /// Why the group has taken its partitions away, if it has.
    fn loss(&self) -> Option<Arc<str>> {
        self.handle.vitals.loss_of_all(&self.change.of.partitions)
    }
}

/// Partitions whose records are finished one by one: records can be finished until the change ends.
pub(crate) struct OpenLedgers {
    pub(crate) ledgers: Arc<Ledgers>,
    pub(crate) partitions: Vec<TopicPartition>,
    /// The limit for the last commit, if auto-commit is on.
    pub(crate) commit_within: Option<Duration>,
}

impl OpenLedgers {
    /// Closes the ledgers, and reports what is finished. Returns whether that is new.
    fn end(&self, why: &Refusal, handle: &Handle) -> bool {
        let tell = |positions| drop(handle.send(Command::Finished { positions }));
        self.ledgers.close_and_report(&self.partitions, why, tell)
    }

    /// Closes the ledgers. Returns the answer to the last commit, if there is anything to commit.
    fn close(self, handle: &Handle) -> Option<oneshot::Receiver<Result<()>>> {
        let news = self.end(&Refusal::Revoked, handle);
        let deadline = clock::after(self.commit_within.filter(|_| news)?);
        let (reply, answer) = oneshot::channel();
        handle.send(Command::CommitFinished { deadline, by: CommitBy::Consumer, reply: Some(reply) }).ok()?;
        Some(answer)
    }
}

/// The notification of the application, and its deadline.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) call: RebalanceCall,
    pub(crate) of: OwnershipChange,
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
}

impl Change {
    pub(crate) fn limit(&self) -> Duration {
        self.deadline.saturating_duration_since(self.began)
    }
}

impl PendingChange {
    pub(crate) fn new(
        change: Change,
        handle: Handle,
        reporter: Reporter,
        command: Option<Command>,
        ledgers: Option<OpenLedgers>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Inner { change, handle, reporter, command, ledgers, is_over: false })))
    }

    fn with<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change(&self) -> Change {
        self.with(|inner| inner.change.clone())
    }

    /// The application is told now. What was to be revoked is lost if the group has gone on meanwhile, as the answer to the last commit may
    /// have shown; then nobody waits for it, and only the next `poll` is due. Returns what it is told.
    pub(crate) fn begin(&self) -> Change {
        self.with(|inner| {
            if inner.change.call == RebalanceCall::Revoked
                && let Some(why) = inner.loss()
            {
                inner.change.call = RebalanceCall::Lost;
                // A member that leaves has the time that its caller gives it.
                if let Some(Command::RevocationDone(_)) = inner.command {
                    inner.change.began = clock::now();
                    inner.change.deadline = clock::after(inner.handle.config.max_poll_interval);
                }
                if let Some(open) = inner.ledgers.take() {
                    open.end(&Refusal::Lost(Some(why)), &inner.handle);
                }
            }
            inner.change.clone()
        })
    }

    fn deadline(&self) -> Instant {
        self.with(|inner| inner.change.deadline)
    }

    /// Whether this change takes the partition away.
    pub(crate) fn gives_up(&self, partition: &TopicPartition) -> bool {
        self.with(|inner| {
            inner.change.call != RebalanceCall::Assigned && inner.change.of.partitions.contains(partition)
        })
    }

    /// Does this, unless the change is over. It cannot end meanwhile.
    pub(crate) fn unless_over<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        self.with(|inner| (!inner.is_over).then(what))
    }

    /// The finished records are delivered again, to their next owner.
    fn not_committed(&self, error: Error) {
        let reporter = self.with(|inner| inner.reporter.clone());
        reporter.log(|| tracing::warn!(%error, "the commit before a revoke failed"));
        reporter.report(|| Event::Error(error));
    }

    fn overdue(&self) -> Error {
        self.with(|inner| {
            let (call, limit) = (inner.change.call, inner.change.limit());
            let message = format!("the rebalance listener's `{call}` did not end within {limit:.1?}");
            Error::new(ErrorKind::Timeout, message)
        })
    }

    /// Closes the ledgers, so that no more records can be finished. Returns the answer to their commit, if
    /// there is one. All under the lock: whoever ends the change at the same time must not tell the engine so before the
    /// commit is sent.
    fn close_ledgers(&self) -> Option<oneshot::Receiver<Result<()>>> {
        self.with(|inner| {
            let open = inner.ledgers.take()?;
            inner.reporter.log(|| open.ledgers.log_held_back(&open.partitions));
            open.close(&inner.handle)
        })
    }

    /// Reports the end of the change, once; also for a listener that took too long.
    pub(crate) fn end(&self) {
        drop(self.close_ledgers());
        let Some((change, is_lost, reporter, handle, command)) = self.with(|inner| {
            let first = !mem::replace(&mut inner.is_over, true);
            first.then(|| {
                let (change, is_lost) = (inner.change.clone(), inner.loss().is_some());
                (change, is_lost, inner.reporter.clone(), inner.handle.clone(), inner.command.take())
            })
        }) else {
            return;
        };
        let is_late = clock::now() >= change.deadline;
        if is_late {
            let (call, limit) = (change.call, change.limit());
            let told = match call {
                // Of a `close`, for which a listener waited until its time was up.
                _ if limit.is_zero() => "no time was left for the handling of partitions that are given up",
                RebalanceCall::Assigned => "the handling of assigned partitions did not end in time",
                RebalanceCall::Revoked => {
                    "the handling of a revocation did not end in time; the partitions are lost"
                }
                RebalanceCall::Lost => "the handling of lost partitions did not end in time",
            };
            reporter.log(|| {
                let partitions = PartitionList(&change.of.partitions);
                let limit = (!limit.is_zero()).then_some(tracing::field::debug(limit));
                tracing::warn!(%call, limit, %partitions, "{told}");
            });
            let partitions = change.of.partitions.clone();
            reporter.report(|| Event::RebalanceOverdue { call, partitions, limit });
        }
        match change.call {
            RebalanceCall::Assigned => {}
            RebalanceCall::Revoked if !is_late && !is_lost => reporter.report(|| Event::Revoked(change.of)),
            RebalanceCall::Revoked | RebalanceCall::Lost => reporter.report(|| Event::Lost(change.of)),
        }
        if let Some(command) = command {
            let _ = handle.send(command);
        }
    }
}

impl fmt::Debug for PendingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingChange")
    }
}

/// Partitions to be given up, as [`Consumer::next`](crate::Consumer::next) returns them. No more of their
/// records are handed out. Dropping this, [`done`](Self::done), or the next call of `next` or `poll` gives
/// them up, whichever is first: keeping it too long delays nobody.
///
/// For [`Revoking`](crate::Next::Revoking), what is finished can be committed until then, with the consumer
/// or with [`consumer`](field@Self::consumer).
/// Commits that are not awaited, and with [`finish_each`](crate::Builder::finish_each) the automatic commit
/// of what was finished meanwhile, are sent when it ends; if they do not succeed in time, those records are
/// delivered again.
#[derive(Debug)]
#[must_use = "dropping it gives the partitions up"]
#[non_exhaustive]
pub struct Handover {
    /// The partitions that change; never empty.
    pub partitions: Vec<TopicPartition>,
    /// The partitions owned after the change.
    pub owned: Vec<TopicPartition>,
    /// The group's generation; with `group.protocol=consumer` the member's epoch.
    pub generation: i32,
    /// A handle to commit, and to read positions and lag, on any task.
    pub consumer: Handle,
    deadline: Instant,
    pending: PendingChange,
}

impl Handover {
    pub(crate) fn new(pending: PendingChange, handle: Handle) -> Self {
        let Change { of, deadline, .. } = pending.change();
        Self {
            partitions: of.partitions,
            owned: of.owned,
            generation: of.generation.unwrap_or_default(),
            consumer: handle,
            deadline,
            pending,
        }
    }

    /// The time by which they have to be given up: [`Rebalance::deadline`](crate::Rebalance::deadline).
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Gives the partitions up.
    pub fn done(self) {}
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.pending.end();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.commit, &self.notification) {
            (Some(_), _) => "Running(committing)",
            (None, Notification::Listener(_)) => "Running(listening)",
            (None, Notification::Value) => "Running(value)",
        })
    }
}
