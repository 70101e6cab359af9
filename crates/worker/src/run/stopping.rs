//! The end: nothing new begins, what runs ends or is cancelled, what is finished is committed, the group is left.

use std::time::{Duration, Instant};

use offtake::TopicPartition;

use super::{Runner, committing::Outcome, letters::Letters};
use crate::{Error, Summary, clock, handle::StopStage};

/// A handler that was cancelled ends at its next `await`; one that blocks is waited for no longer than this.
const LONGEST_END: Duration = Duration::from_secs(1);

/// How far a worker is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    /// What runs may end until the one time, dead letters be written until the other.
    Stopping {
        jobs_until: Instant,
        letters_until: Instant,
    },
    /// Only the last commit is waited for.
    Over,
}

impl Stage {
    pub(super) fn wake(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Stopping { jobs_until, .. } if now < jobs_until => Some(jobs_until),
            Self::Stopping { letters_until, .. } => Some(letters_until),
            Self::Running | Self::Over => None,
        }
    }

    /// How long what runs of partitions that are handed over may take.
    pub(super) fn revoke_grace(self, grace: Duration, now: Instant) -> Duration {
        match self {
            Self::Running => grace,
            Self::Stopping { jobs_until, .. } => grace.min(jobs_until.saturating_duration_since(now)),
            Self::Over => Duration::ZERO,
        }
    }
}

impl Runner {
    /// It was asked to stop, so far.
    pub(super) fn reach(&mut self, stage: StopStage) {
        let now = clock::now();
        match stage {
            StopStage::Running => {}
            StopStage::Stopping if self.stage == Stage::Running => {
                let jobs_until = clock::later(now, self.settings.options.grace);
                let letters_until = clock::later(jobs_until, self.settings.options.close_timeout);
                self.stage = Stage::Stopping { jobs_until, letters_until };
                self.machine.stop();
                tracing::info!("the worker stops: nothing new begins");
            }
            StopStage::Stopping => {}
            StopStage::Now => {
                self.machine.stop();
                self.machine.cancel_all();
                self.be_over(now);
            }
        }
    }

    /// It ends by itself.
    pub(super) fn end_with(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.reach(StopStage::Stopping);
    }

    /// Only the last commit is waited for, and no longer than it may take.
    fn be_over(&mut self, now: Instant) {
        self.stage = Stage::Over;
        if let Some(handing) = &mut self.handing {
            handing.hurry(now, self.settings.options.close_timeout);
        }
    }

    /// Cancels what runs when its time is over, and waits for no letter that cannot be written.
    pub(super) fn go_on_stopping(&mut self, now: Instant) {
        if let Stage::Stopping { jobs_until, letters_until } = self.stage {
            if now >= jobs_until && !self.machine.has_no_jobs() {
                self.machine.cancel_all();
            }
            if let (Some(form), Some(letters)) = (&self.form, &mut self.letters) {
                letters.ask(form, &self.consumer.handle());
            }
            let gives_up = now >= letters_until || self.letters.as_ref().is_some_and(Letters::are_hopeless);
            if self.machine.is_idle() || (self.machine.has_no_jobs() && gives_up) {
                self.be_over(now);
            }
        }
    }

    /// Whether there is nothing left to wait for but the last commit.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over && self.handing.is_none()
    }

    /// Partitions are handed over in haste, and nothing says that what is finished of them is committed.
    pub(super) fn note_uncommitted(&mut self, now: Instant, partitions: &[TopicPartition]) {
        let left = self.machine.take_commit(now, Some(partitions));
        self.machine.commit_ended(&left, |_| false);
        if !left.is_empty() {
            self.uncommitted.get_or_insert_with(not_committed);
        }
    }

    /// The last commit, and the end of both clients.
    pub(super) async fn end(mut self) -> Result<Summary, Error> {
        let timeout = self.settings.options.close_timeout;
        self.act(clock::now());
        self.cancelled_end(timeout.min(LONGEST_END)).await;
        let deadline = clock::later(clock::now(), timeout);
        let mut last_commit = Ok(());
        // The one on its way first; then what is finished since, or was not committed.
        if self.committing.is_on_its_way() {
            let Outcome { error, .. } = self.commit_by(deadline).await;
            // A transaction that is not decided in time is the last one.
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
        committing.close(timeout).await;
        if let Err(error) = consumer.close(timeout).await {
            tracing::warn!(%error, "the consumer was not closed in order");
        }
        if let Some(letters) = letters {
            letters.close(timeout).await;
        }
        let summary = Summary {
            handled: metrics.handled,
            retried: metrics.retried,
            dead_lettered: metrics.dead_lettered,
            postponed: metrics.postponed,
            skipped: metrics.skipped,
            cancelled: metrics.cancelled,
            stopped,
            last_commit,
        };
        settings.handle.publish(metrics);
        match error {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }

    /// Waits until what was cancelled has ended, so that nobody else has its records at the same time.
    async fn cancelled_end(&mut self, timeout: Duration) {
        let ended = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(timeout, ended).await.is_err() {
            tracing::warn!("handlers that were cancelled run on");
        }
    }

    /// Waits for the commit that is on its way.
    async fn commit_by(&mut self, deadline: Instant) -> Outcome {
        loop {
            let Ok(answer) = tokio::time::timeout_at(deadline.into(), self.committing.answer()).await else {
                self.give_up_commit();
                return Outcome { error: Some(not_committed()), again: false };
            };
            if let Some(outcome) = self.commit_answered(answer) {
                return outcome;
            }
        }
    }

    /// Waits until another commit may be made. Whether there is time for it.
    async fn rest_before(&mut self, deadline: Instant) -> bool {
        let Some(at) = self.machine.commit_rests_until(clock::now()) else { return true };
        tokio::time::sleep_until(at.min(deadline).into()).await;
        at < deadline
    }
}

fn not_committed() -> offtake::Error {
    let text = "what was finished last is not committed: the coordinator did not answer in time";
    offtake::Error::new(offtake::ErrorKind::Timeout, text)
}
