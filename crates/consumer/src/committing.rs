//! [`Committing`]: a commit in flight.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use crate::{
    error::{self, Result},
    event::{Event, Reporter},
};

/// A commit in flight, made by [`Consumer::commit_async`](crate::Consumer::commit_async) or
/// [`Consumer::commit_offsets_async`](crate::Consumer::commit_offsets_async). It continues whether or not
/// this is awaited, and ends by itself within `default.api.timeout.ms`.
///
/// If it is dropped before it was awaited to its end, a failure is reported as [`Event::Error`].
#[derive(Debug)]
pub struct Committing {
    answer: oneshot::Receiver<Result<()>>,
    reporter: Reporter,
}

impl Committing {
    pub(crate) fn new(answer: oneshot::Receiver<Result<()>>, reporter: Reporter) -> Self {
        Self { answer, reporter }
    }
}

impl Future for Committing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(error::closed())))
    }
}

/// If the answer arrives after the drop, the engine reports it. If it has arrived and was not read, it is
/// reported here. (An answer that was read is no longer in the channel.)
impl Drop for Committing {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Err(error)) = self.answer.try_recv() {
            self.reporter.report(|| Event::Error(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        task::Waker,
    };

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, format!("{kind:?}"))
    }

    /// A commit with this answer, and the errors reported to the reporter.
    fn answered(answer: Option<Result<()>>) -> (Committing, Arc<Mutex<Vec<ErrorKind>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let reporter = Reporter::to(move |event| match event {
            Event::Error(error) => into.lock().unwrap().push(error.kind()),
            other => panic!("{other:?}"),
        });
        let (reply, receiver) = oneshot::channel();
        if let Some(answer) = answer {
            reply.send(answer).unwrap();
        }
        (Committing::new(receiver, reporter), told)
    }

    #[test]
    fn h5_a_failure_that_nobody_has_looked_at_is_told_when_the_commit_is_dropped() {
        let (committing, told) = answered(Some(Err(error(ErrorKind::NotOwned))));
        drop(committing);
        assert_eq!(*told.lock().unwrap(), [ErrorKind::NotOwned]);
        let (committing, told) = answered(Some(Ok(())));
        drop(committing);
        assert!(told.lock().unwrap().is_empty(), "it has not failed");
    }

    #[test]
    fn h5_a_failure_that_was_awaited_is_not_told_again() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut committing, told) = answered(Some(Err(error(ErrorKind::NotOwned))));
        let Poll::Ready(Err(failed)) = Pin::new(&mut committing).poll(&mut cx) else { panic!("a failure") };
        drop(committing);
        assert_eq!(failed.kind(), ErrorKind::NotOwned);
        assert!(told.lock().unwrap().is_empty());
        let (mut committing, told) = answered(None);
        let Poll::Ready(Err(failed)) = Pin::new(&mut committing).poll(&mut cx) else { panic!("no engine") };
        drop(committing);
        assert_eq!(failed.kind(), ErrorKind::Closed);
        assert!(told.lock().unwrap().is_empty());
    }
}
