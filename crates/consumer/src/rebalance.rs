//! A rebalance as `poll` carries it out: commit, listener, release. A value that is polled, so that a `poll` which is
//! dropped in the middle leaves it where it was, for the next one to go on with.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use crate::{
    engine::command::Command,
    error::{Error, ErrorKind, Result},
    event::{Event, OwnershipChange, Sink},
    handle::Handle,
    listener::ListenerFuture,
};

/// What changed hands.
#[derive(Clone, Debug)]
pub(crate) struct Change(pub(crate) OwnershipChange);

type Begin = Box<dyn FnOnce() -> ListenerFuture + Send + Sync>;

/// A listener at work.
pub(crate) struct Running {
    step: Step,
    then: Then,
    failed: Option<Error>,
}

enum Step {
    /// What is finished is being committed, before the listener hears of it.
    Committing {
        answer: oneshot::Receiver<Result<()>>,
        begin: Option<Begin>,
    },
    Listening(SyncFuture),
    Done,
}

enum Then {
    Nothing,
    Release {
        handle: Handle,
        tell_engine: bool,
        sink: Sink,
        event: fn(OwnershipChange) -> Event,
        change: Change,
    },
}

/// A future that only `&mut` access reaches, so that sharing it is harmless: it makes the consumer `Sync`.
struct SyncFuture(std::sync::Mutex<ListenerFuture>);

impl SyncFuture {
    fn new(future: ListenerFuture) -> Self {
        Self(std::sync::Mutex::new(future))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), crate::listener::ListenerError>> {
        match self.0.get_mut() {
            Ok(future) => future.as_mut().poll(cx),
            Err(poisoned) => poisoned.into_inner().as_mut().poll(cx),
        }
    }
}

impl Running {
    pub(crate) fn assigned(future: ListenerFuture) -> Self {
        Self { step: Step::Listening(SyncFuture::new(future)), then: Then::Nothing, failed: None }
    }

    pub(crate) fn revoked(
        commit: Option<oneshot::Receiver<Result<()>>>,
        begin: Begin,
        handle: Handle,
        sink: Sink,
        change: Change,
        tell_engine: bool,
    ) -> Self {
        let step = match commit {
            Some(answer) => Step::Committing { answer, begin: Some(begin) },
            None => Step::Listening(SyncFuture::new(begin())),
        };
        Self {
            step,
            then: Then::Release { handle, tell_engine, sink, event: Event::Revoked, change },
            failed: None,
        }
    }

    pub(crate) fn lost(future: ListenerFuture, handle: Handle, sink: Sink, change: Change) -> Self {
        let then = Then::Release { handle, tell_engine: true, sink, event: Event::Lost, change };
        Self { step: Step::Listening(SyncFuture::new(future)), then, failed: None }
    }

    /// Ready when the listener has ended and the engine knows it; the error is the listener's, or the commit's.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.step {
                Step::Committing { answer, begin } => {
                    let committed = ready!(std::pin::Pin::new(answer).poll(cx));
                    if let Ok(Err(error)) = committed {
                        // The records come again, to whoever owns them next: worth knowing, not worth failing for.
                        tracing::warn!(%error, "the commit before a revoke failed");
                    }
                    self.step = match begin.take() {
                        Some(begin) => Step::Listening(SyncFuture::new(begin())),
                        None => Step::Done,
                    };
                }
                Step::Listening(future) => {
                    if let Err(error) = ready!(listen(future, cx)) {
                        self.failed = Some(error);
                    }
                    self.step = Step::Done;
                    self.release();
                }
                Step::Done => {
                    return Poll::Ready(match self.failed.take() {
                        Some(error) => Err(error),
                        None => Ok(()),
                    });
                }
            }
        }
    }

    fn release(&mut self) {
        if let Then::Release { handle, tell_engine, sink, event, change } =
            std::mem::replace(&mut self.then, Then::Nothing)
        {
            sink.tell(|| event(change.0));
            if tell_engine {
                let _ = handle.send(Command::Released);
            }
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
        f.write_str(match self.step {
            Step::Committing { .. } => "Running(committing)",
            Step::Listening(_) => "Running(listening)",
            Step::Done => "Running(done)",
        })
    }
}
