//! A rebalance as `poll` carries it out: commit, listener, release. A value that is polled, so that a `poll` which is
//! dropped in the middle leaves it where it was, for the next one to go on with.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use offtake_machine::TopicPartition;
use tokio::sync::oneshot;

use crate::{
    clock,
    engine::command::Command,
    error::{Error, ErrorKind, Result},
    event::{Event, OwnershipChange, Sink},
    handle::Handle,
    ledgers::Ledgers,
    listener::{ListenerError, ListenerFuture},
};

/// A listener at work.
pub(crate) struct Running {
    /// What is finished is being committed, before the listener hears of it.
    commit: Option<oneshot::Receiver<Result<()>>>,
    listener: Option<SyncFuture>,
    after: After,
    failed: Option<Error>,
}

/// What follows when the listener has ended.
pub(crate) struct After {
    pub(crate) handle: Handle,
    pub(crate) sink: Sink,
    /// What the world is told.
    pub(crate) event: Option<Event>,
    /// What the engine is told.
    pub(crate) command: Option<Command>,
    /// What was finished while the listener ran, one by one.
    pub(crate) settling: Option<Settling>,
}

/// Partitions that are given up when the listener has ended: until then what is finished of them counts.
pub(crate) struct Settling {
    pub(crate) ledgers: Arc<Ledgers>,
    pub(crate) partitions: Vec<TopicPartition>,
    /// How long the commit of it may take, if that is our task.
    pub(crate) commit_within: Option<Duration>,
}

impl Settling {
    /// Nothing more counts. The answer to the last commit, if there is anything to commit.
    fn settle(self, handle: &Handle) -> Option<oneshot::Receiver<Result<()>>> {
        let tell = |positions| drop(handle.send(Command::Finished { positions }));
        let news = self.ledgers.settle(&self.partitions, tell);
        let deadline = clock::now() + self.commit_within.filter(|_| news)?;
        let (reply, answer) = oneshot::channel();
        handle.send(Command::CommitFinished { deadline, reply: Some(reply) }).ok()?;
        Some(answer)
    }
}

impl After {
    /// The event for a change of ownership.
    pub(crate) fn told(mut self, event: fn(OwnershipChange) -> Event, change: OwnershipChange) -> Self {
        self.event = Some(event(change));
        self
    }
}

/// A future that is reached through `&mut` alone, so that sharing it is harmless: it keeps the consumer `Sync`.
struct SyncFuture(Mutex<ListenerFuture>);

impl SyncFuture {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ListenerError>> {
        match self.0.get_mut() {
            Ok(future) => future.as_mut().poll(cx),
            Err(poisoned) => poisoned.into_inner().as_mut().poll(cx),
        }
    }
}

impl Running {
    pub(crate) fn new(
        commit: Option<oneshot::Receiver<Result<()>>>,
        listener: ListenerFuture,
        after: After,
    ) -> Self {
        Self { commit, listener: Some(SyncFuture(Mutex::new(listener))), after, failed: None }
    }

    /// Ready when the listener has ended and the engine knows it; the error is the listener's.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_commit(cx));
        if let Some(listener) = &mut self.listener {
            let listened = ready!(listen(listener, cx));
            self.listener = None;
            self.failed = listened.err();
            self.commit = self.after.settling.take().and_then(|settling| settling.settle(&self.after.handle));
            ready!(self.poll_commit(cx));
        }
        self.end();
        Poll::Ready(self.failed.take().map_or(Ok(()), Err))
    }

    fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(commit) = &mut self.commit {
            let committed = ready!(Pin::new(commit).poll(cx));
            self.commit = None;
            if let Ok(Err(error)) = committed {
                // The records come again, to whoever owns them next: worth knowing, not worth failing for.
                tracing::warn!(%error, "the commit before a revoke failed");
            }
        }
        Poll::Ready(())
    }

    /// Whether it is a commit that is waited for, and not the listener.
    pub(crate) fn is_committing(&self) -> bool {
        self.commit.is_some()
    }

    /// Tells what follows, once; also of a listener that took too long.
    pub(crate) fn end(&mut self) {
        if let Some(settling) = self.after.settling.take() {
            drop(settling.settle(&self.after.handle));
        }
        if let Some(event) = self.after.event.take() {
            self.after.sink.tell(|| event);
        }
        if let Some(command) = self.after.command.take() {
            let _ = self.after.handle.send(command);
        }
    }
}

/// A listener that panics is one that failed: the rebalance goes on (FAILURES D9).
fn listen(future: &mut SyncFuture, cx: &mut Context<'_>) -> Poll<Result<()>> {
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| future.poll(cx)));
    let failed = |what: String| Error::new(ErrorKind::Misuse, format!("the rebalance listener {what}"));
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
        Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(failed(format!("failed: {error}")))),
        Err(_) => Poll::Ready(Err(failed("panicked".to_owned()))),
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.commit, &self.listener) {
            (Some(_), _) => "Running(committing)",
            (None, Some(_)) => "Running(listening)",
            (None, None) => "Running(done)",
        })
    }
}
