//! Commits: one at a time, by interval, before partitions are handed over, and at the end.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use offtake::{Error, ErrorCode, Handle, OffsetAndMetadata, TopicPartition};

use super::Runner;
use crate::{Event, machine::PartitionCommit};

/// A commit on its way.
pub(super) struct Committing {
    pub(super) commits: Vec<PartitionCommit>,
    answer: Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>,
}

impl Committing {
    pub(super) fn new(handle: Handle, commits: Vec<PartitionCommit>, timeout: Duration) -> Self {
        let offsets: Vec<_> = commits.iter().map(offset).collect();
        let answer = Box::pin(async move { handle.commit_offsets_within(offsets, timeout).await });
        Self { commits, answer }
    }

    pub(super) async fn ended(&mut self) -> Result<(), Error> {
        self.answer.as_mut().await
    }
}

fn offset(commit: &PartitionCommit) -> (TopicPartition, OffsetAndMetadata) {
    let what = &commit.what;
    let offset = OffsetAndMetadata::new(what.offset)
        .with_leader_epoch(what.epoch)
        .with_metadata(what.metadata.clone());
    (commit.name.clone(), offset)
}

/// When the commit that is on its way has ended; never, without one.
pub(super) async fn ended(committing: &mut Option<Committing>) -> Result<(), Error> {
    match committing {
        Some(committing) => committing.ended().await,
        None => std::future::pending().await,
    }
}

impl Runner {
    pub(super) fn commit_if_due(&mut self, now: Instant) {
        if self.committing.is_none() && self.machine.is_commit_due(now) {
            self.commit(now, None, self.consumer.config().client.default_api_timeout);
        }
    }

    /// Begins a commit of what is finished, of these partitions alone if they are named. None is on its way. Whether there is one.
    pub(super) fn commit(
        &mut self,
        now: Instant,
        only: Option<&[TopicPartition]>,
        timeout: Duration,
    ) -> bool {
        let commits = self.machine.take_commit(now, only);
        if commits.is_empty() {
            return false;
        }
        self.committing = Some(Committing::new(self.consumer.handle(), commits, timeout));
        true
    }

    /// The commit on its way has ended so. Whether it may go better at once.
    pub(super) fn commit_ended(&mut self, result: Result<(), Error>) -> bool {
        let Some(Committing { commits, .. }) = self.committing.take() else { return false };
        let is_committed = |partition: &TopicPartition| match &result {
            Ok(()) => true,
            Err(error) => error
                .commit_report()
                .is_some_and(|report| report.committed().any(|committed| committed == partition)),
        };
        self.machine.commit_ended(&commits, is_committed);
        let committed = commits.iter().filter(|commit| is_committed(&commit.name));
        let offsets: Vec<_> = committed.map(|commit| (commit.name.clone(), commit.what.offset)).collect();
        if !offsets.is_empty() {
            self.tell(Event::Committed { offsets });
        }
        let Err(error) = result else { return false };
        let is_too_large = |error: &Error| error.code() == Some(ErrorCode::OffsetMetadataTooLarge);
        let is_of_one =
            error.commit_report().is_some_and(|report| report.failed().any(|(_, error)| is_too_large(error)));
        let again = (is_of_one || is_too_large(&error)) && self.machine.shorten_metadata();
        self.tell(Event::Error(error));
        again
    }

    /// What is on its way is waited for no longer: whether it is committed nobody knows.
    pub(super) fn give_up_commit(&mut self) {
        if let Some(Committing { commits, .. }) = self.committing.take() {
            self.machine.commit_ended(&commits, |_| false);
        }
    }
}
