//! The end of a worker: nothing new begins, running handlers end or are cancelled, finished records are committed, and the member
//! leaves the group.

use std::time::{Duration, Instant};

use offtake::TopicPartition;

use super::{
    Runner,
    committing::{Committing, Outcome},
    letters::DeadLetterWriter,
};
use crate::{Error, Summary, clock, handle::StopStage};

/// A cancelled handler ends at its next `await`. The wait for one that blocks is limited to this.
const LONGEST_END: Duration = Duration::from_secs(1);

/// The least time for leaving the group. A consumer that is closed in less than this goes on in the background.
const SHORTEST_CLOSE: Duration = Duration::from_secs(1);

/// The progress of a worker towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    /// Running handlers may end until `jobs_until`, and dead letters may be written until `letters_until`.
    Stopping {
        jobs_until: Instant,
        letters_until: Instant,
    },
    /// Only the last commit is outstanding. The worker ends by this time.
    Over {
        by: Instant,
    },
}

impl Stage {
    pub(super) fn wake(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Stopping { jobs_until, .. } if now < jobs_until => Some(jobs_until),
            Self::Stopping { letters_until, .. } => Some(letters_until),
            Self::Running | Self::Over { .. } => None,
        }
    }

    /// The time that running handlers of partitions being handed over may take.
    pub(super) fn revoke_grace(self, grace: Duration, now: Instant) -> Duration {
        match self {
            Self::Running => grace,
            Self::Stopping { jobs_until, .. } => grace.min(jobs_until.saturating_duration_since(now)),
            Self::Over { .. } => Duration::ZERO,
        }
    }
}

impl Runner {
    /// Moves to this stage of stopping.
    pub(super) fn reach(&mut self, stage: StopStage) {
        let now = clock::now();
        match stage {
            StopStage::Running => {}
            StopStage::Stopping if self.stage == Stage::Running => {
                let jobs_until = clock::later(now, self.settings.options.grace);
                // The rest of `close_timeout` is left for the last commit, and for closing the clients.
                let letters_until = clock::later(jobs_until, self.settings.options.close_timeout / 2);
                self.stage = Stage::Stopping { jobs_until, letters_until };
                self.machine.stop();
                tracing::info!("the worker is stopping: no new handlers are started");
            }
            StopStage::Stopping => {}
            StopStage::Now => {
                self.machine.stop();
                self.take_ended_jobs();
                self.machine.cancel_all();
                self.be_over(now);
            }
        }
    }

    /// Ends the worker because of this error.
    pub(super) fn end_with(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.reach(StopStage::Stopping);
    }

    /// Waits only for the last commit, and no longer than that may take.
    fn be_over(&mut self, now: Instant) {
        let from = match self.stage {
            Stage::Running => now,
            Stage::Stopping { jobs_until, .. } => now.min(jobs_until),
            Stage::Over { .. } => return,
        };
        let by = clock::later(from, self.settings.options.close_timeout);
        self.stage = Stage::Over { by };
        if let Some(handing) = &mut self.handing {
            handing.shorten(now, by.saturating_duration_since(now) / 2);
        }
    }

    /// Cancels running handlers when their time has ended, and stops waiting for letters that cannot be written.
    pub(super) fn go_on_stopping(&mut self, now: Instant) {
        if let Stage::Stopping { jobs_until, letters_until } = self.stage {
            if now >= jobs_until && !self.machine.has_no_jobs() {
                self.take_ended_jobs();
                self.machine.cancel_all();
            }
            if let (Some(form), Some(letters)) = (&self.form, &mut self.letters) {
                letters.ask(form, &self.consumer.handle());
            }
            let gives_up =
                now >= letters_until || self.letters.as_ref().is_some_and(DeadLetterWriter::are_hopeless);
            if self.machine.is_idle() || (self.machine.has_no_jobs() && gives_up) {
                self.be_over(now);
            }
        }
    }

    /// The time by which the worker ends, if only the last commit is outstanding.
    pub(super) fn is_over(&self) -> Option<Instant> {
        match self.stage {
            Stage::Over { by } if self.handing.is_none() => Some(by),
            Stage::Running | Stage::Stopping { .. } | Stage::Over { .. } => None,
        }
    }

    /// Notes that partitions are handed over in haste, without confirmation that their finished records are committed.
    pub(super) fn note_uncommitted(&mut self, now: Instant, partitions: &[TopicPartition]) {
        let left = self.machine.take_commit(now, Some(partitions));
        self.machine.commit_ended(&left, |_| false);
        if !left.is_empty() {
            self.uncommitted.get_or_insert_with(|| not_committed(&self.committing));
        }
    }

    /// Makes the last commit, and closes the clients.
    pub(super) async fn end(mut self, by: Instant) -> Result<Summary, Error> {
        let left = || by.saturating_duration_since(clock::now());
        self.act(clock::now());
        self.cancelled_end((left() / 4).min(LONGEST_END)).await;
        // The member leaves its group in the rest of the time.
        let timeout = left() - left() / 4;
        let deadline = clock::later(clock::now(), timeout);
        let mut last_commit = Ok(());
        // The commit in flight comes first, then a commit of whatever is not committed yet.
        if self.committing.is_on_its_way() {
            let Outcome { error, .. } = self.commit_by(deadline).await;
            // A transaction without a timely outcome is the last one.
            if self.committing.is_on_its_way() {
                last_commit = error.map_or(Ok(()), Err);
            }
        }
        while self.commit(clock::now(), None, timeout) {
            let Outcome { error, again } = self.commit_by(deadline).await;
            last_commit = error.map_or(Ok(()), Err);
            if !again || !self.rest_before(deadline).await {
                break;
            }
        }
        if let Some(error) = self.uncommitted.take() {
            last_commit = last_commit.and(Err(error));
        }
        self.act(clock::now());
        let stopped = self.machine.stopped();
        let Self { settings, consumer, letters, committing, mut jobs, mut loads, machine, error, .. } = self;
        let metrics = machine.metrics();
        jobs.abort_all();
        loads.abort_all();
        let left = left().max(SHORTEST_CLOSE);
        let consumer_closes = async {
            if let Err(error) = consumer.close(left).await {
                tracing::warn!(%error, "the consumer was not closed cleanly");
            }
        };
        let letters_close = async {
            if let Some(letters) = letters {
                letters.close(left).await;
            }
        };
        tokio::join!(committing.close(left), consumer_closes, letters_close);
        let summary = Summary {
            handled: metrics.handled,
            retried: metrics.retried,
            dead_lettered: metrics.dead_lettered,
            postponed: metrics.postponed,
            skipped: metrics.skipped,
            cancelled: metrics.cancelled,
            failed_unfinished: machine.count_failed_unfinished(),
            stopped,
            last_commit,
        };
        if summary.failed_unfinished > 0 {
            tracing::warn!(
                records = summary.failed_unfinished,
                "records that failed are left to the next owners of their partitions: they waited for another attempt, or for their \
                 dead letters to be written"
            );
        }
        settings.handle.publish(metrics.at_the_end());
        match error {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }

    /// Waits until cancelled handlers have ended, so that no other member handles their records at the same time.
    async fn cancelled_end(&mut self, timeout: Duration) {
        let ended = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(timeout, ended).await.is_err() {
            tracing::warn!("cancelled handlers are still running");
        }
    }

    /// Waits for the commit in flight.
    async fn commit_by(&mut self, deadline: Instant) -> Outcome {
        loop {
            let Ok(answer) = tokio::time::timeout_at(deadline.into(), self.committing.answer()).await else {
                let error = not_committed(&self.committing);
                self.give_up_commit();
                return Outcome { error: Some(error), again: false };
            };
            if let Some(outcome) = self.commit_answered(answer) {
                return outcome;
            }
        }
    }

    /// Waits until another commit may be made. Returns whether there is time for it.
    async fn rest_before(&mut self, deadline: Instant) -> bool {
        let Some(at) = self.machine.commit_rests_until(clock::now()) else { return true };
        tokio::time::sleep_until(at.min(deadline).into()).await;
        at < deadline
    }
}

fn not_committed(committing: &Committing) -> offtake::Error {
    let text = match committing {
        Committing::Transaction { .. } => {
            "the last finished records are not committed: their transaction was still open, because brokers did not respond in time or a topic \
             that records were sent to does not exist"
        }
        _ => "the last finished records are not committed: the coordinator did not respond in time",
    };
    offtake::Error::new(offtake::ErrorKind::Timeout, text)
}
