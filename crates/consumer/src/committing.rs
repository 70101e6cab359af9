//! What becomes of a commit: one that is under way ([`Committing`]), and one that failed in part ([`CommitReport`]).

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

use offtake_machine::TopicPartition;
use tokio::sync::oneshot;

use crate::{
    error::{Error, Result},
    event::{Event, Sink},
};

/// A commit under way, made by [`Consumer::commit_async`](crate::Consumer::commit_async). It goes on whether or not this
/// is awaited, and ends by itself within `default.api.timeout.ms`.
///
/// Dropped without having been awaited to its end, it tells a failure as [`Event::Error`].
#[derive(Debug)]
pub struct Committing {
    answer: oneshot::Receiver<Result<()>>,
    sink: Sink,
}

impl Committing {
    pub(crate) fn new(answer: oneshot::Receiver<Result<()>>, sink: Sink) -> Self {
        Self { answer, sink }
    }
}

impl Future for Committing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(Error::closed())))
    }
}

/// An answer that comes when nobody listens is told by the engine; one that has come, and was not looked at, here. (One that
/// was looked at is gone from the channel.)
impl Drop for Committing {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Err(error)) = self.answer.try_recv() {
            self.sink.tell(|| Event::Error(error));
        }
    }
}

/// What became of each partition of a commit that failed, at least in part: [`Error::commit_report`].
#[derive(Clone, Debug)]
pub struct CommitReport {
    outcomes: BTreeMap<TopicPartition, Result<()>>,
}

impl CommitReport {
    /// Every partition, and why it was not committed if it was not.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, Result<(), &Error>)> {
        self.outcomes.iter().map(|(partition, outcome)| (partition, outcome.as_ref().copied()))
    }

    /// The partitions that were committed.
    pub fn committed(&self) -> impl Iterator<Item = &TopicPartition> {
        self.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(partition, _)| partition)
    }

    /// The partitions that were not, each with its reason.
    pub fn failed(&self) -> impl Iterator<Item = (&TopicPartition, &Error)> {
        self.iter().filter_map(|(partition, outcome)| Some((partition, outcome.err()?)))
    }

    /// The commit as a whole: an error if any partition failed. It is that of the partition that asks most of the
    /// application, so that what looks retriable is so for every partition.
    pub(crate) fn verdict(outcomes: BTreeMap<TopicPartition, Result<()>>) -> Result<()> {
        let report = Self { outcomes };
        let weight = |error: &Error| (error.is_fatal(), !error.is_retriable());
        let mut worst: Option<&Error> = None;
        for (_, error) in report.failed() {
            if worst.is_none_or(|worst| weight(error) > weight(worst)) {
                worst = Some(error);
            }
        }
        let Some(worst) = worst.cloned() else { return Ok(()) };
        let (failed, committed) = (report.failed().count(), report.committed().count());
        Err(worst.with_report(report, failed, committed))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        task::Waker,
    };

    use super::*;
    use crate::error::ErrorKind;

    fn orders(partition: i32) -> TopicPartition {
        TopicPartition::new("orders", partition)
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, format!("{kind:?}"))
    }

    /// A commit with this answer, and what the sink is told.
    fn answered(answer: Option<Result<()>>) -> (Committing, Arc<Mutex<Vec<ErrorKind>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = told.clone();
        let sink = Sink::to(move |event| match event {
            Event::Error(error) => into.lock().unwrap().push(error.kind()),
            other => panic!("{other:?}"),
        });
        let (reply, receiver) = oneshot::channel();
        if let Some(answer) = answer {
            reply.send(answer).unwrap();
        }
        (Committing::new(receiver, sink), told)
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

    /// What looks retriable is so for every partition.
    #[test]
    fn h5_a_commit_fails_with_what_asks_most_of_the_application_and_tells_of_each_partition() {
        let (retriable, not_owned) = (error(ErrorKind::Timeout), error(ErrorKind::NotOwned));
        assert!(retriable.is_retriable() && !not_owned.is_retriable());
        for (first, second) in [(&retriable, &not_owned), (&not_owned, &retriable)] {
            let outcomes =
                [(orders(0), Err(first.clone())), (orders(1), Ok(())), (orders(2), Err(second.clone()))];
            let failed = CommitReport::verdict(outcomes.into()).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::NotOwned);
            let report = failed.commit_report().unwrap();
            assert!(report.committed().eq([&orders(1)]));
            let failed: Vec<_> = report.failed().map(|(of, error)| (of.clone(), error.kind())).collect();
            assert_eq!(failed, [(orders(0), first.kind()), (orders(2), second.kind())]);
            assert_eq!(report.iter().count(), 3);
        }
        assert!(CommitReport::verdict([(orders(0), Ok(()))].into()).is_ok());
    }
}
