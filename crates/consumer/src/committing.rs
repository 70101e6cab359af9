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
    over: bool,
}

impl Committing {
    pub(crate) fn new(answer: oneshot::Receiver<Result<()>>, sink: Sink) -> Self {
        Self { answer, sink, over: false }
    }
}

impl Future for Committing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.over = true;
        Poll::Ready(answer.unwrap_or_else(|_| Err(Error::closed())))
    }
}

/// An answer that comes when nobody listens is told by the engine; one that has come, and was not looked at, here.
impl Drop for Committing {
    fn drop(&mut self) {
        self.answer.close();
        if !self.over
            && let Ok(Err(error)) = self.answer.try_recv()
        {
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
