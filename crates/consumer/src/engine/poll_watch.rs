//! [`PollWatch`]: the reason why the application does not poll, as far as the engine can find out (FAILURES
//! M1, M3, M4).
//!
//! Three observations show it: the application's calls to `poll`; whether its runtime runs a probe, a task
//! that does nothing; and whether time has passed in which the engine itself did not run.

use std::time::{Duration, Instant};

use tokio::runtime;

use super::Engine;
use crate::{
    event::{Event, Stall},
    shared::Application,
};

/// How long a runtime may take to run a probe. One with a free thread takes microseconds.
const PROBE: Duration = Duration::from_millis(50);
/// If the engine wakes up this late, the process was stopped: a busy machine alone does not cause it.
const STOPPED: Duration = Duration::from_secs(1);

/// What is known of the time since the last poll.
#[derive(Debug, Default)]
pub(super) struct PollWatch {
    /// The runtime on which `poll` was last called.
    runtime: Option<runtime::Handle>,
    /// Whether nothing but a stopped process keeps the engine from running.
    own_thread: bool,
    /// How much of that time the engine did not run either.
    gap: Duration,
    /// When it ran again.
    ran_again: Option<Instant>,
    probe: Probe,
    /// Since when the application has not polled, once that is worth a warning.
    since: Option<Instant>,
    /// A warning waits for the probe.
    warns: bool,
}

impl PollWatch {
    pub(super) fn new(own_thread: bool) -> Self {
        Self { own_thread, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    Idle,
    Wanted,
    Sent(Instant),
    Answered,
}

impl Engine {
    pub(super) fn runs_on(&mut self, runtime: runtime::Handle) {
        self.poll_watch.runtime = Some(runtime);
    }

    /// Notes that the engine ran late by this time. The consequences are found by the clock, before anything
    /// is handed out or committed.
    pub(crate) fn on_late_wakeup(&mut self, now: Instant, by: Duration) {
        if by < STOPPED {
            return;
        }
        self.poll_watch.gap = self.poll_watch.gap.saturating_add(by);
        self.poll_watch.ran_again = Some(now);
        self.report_stopped(by);
    }

    pub(super) fn report_stopped(&self, by: Duration) {
        if self.poll_watch.own_thread {
            tracing::warn!(gap = ?by, "the process did not run: it was suspended, or the machine had no time for it");
            self.reporter.report(|| Event::ProcessStopped { gap: by });
        }
    }

    /// Notes that the application has polled. That may have been a while ago, and be known only now.
    pub(super) fn on_poll(&mut self, polled: Instant) {
        (self.poll_watch.probe, self.poll_watch.since) = (Probe::Idle, None);
        if self.poll_watch.ran_again.is_none_or(|at| at <= polled) {
            self.poll_watch.gap = Duration::ZERO;
        }
    }

    /// `max.poll.interval.ms` has nearly passed: reported as soon as the runtime has run a probe, or has
    /// failed to.
    pub(super) fn on_poll_interval_near(&mut self, since: Instant) {
        (self.poll_watch.since, self.poll_watch.warns) = (Some(since), true);
        self.poll_watch.probe = Probe::Wanted;
    }

    /// Returns the runtime if it is to run a probe.
    pub(crate) fn wants_probe(&mut self, now: Instant) -> Option<runtime::Handle> {
        if self.poll_watch.probe != Probe::Wanted {
            return None;
        }
        // If no poll has run on a runtime, there is nothing to probe.
        self.poll_watch.probe =
            if self.poll_watch.runtime.is_some() { Probe::Sent(now) } else { Probe::Answered };
        self.poll_watch.runtime.clone()
    }

    /// Notes that the probe was run.
    pub(crate) fn probe_answered(&mut self, now: Instant) {
        if matches!(self.poll_watch.probe, Probe::Sent(_)) {
            self.poll_watch.probe = Probe::Answered;
        }
        self.warn_of_silence(now);
    }

    pub(super) fn silence_timeout(&self) -> Option<Instant> {
        match self.poll_watch.probe {
            Probe::Sent(at) if self.poll_watch.warns => at.checked_add(PROBE),
            Probe::Idle | Probe::Wanted | Probe::Sent(_) | Probe::Answered => None,
        }
    }

    pub(super) fn warn_of_silence(&mut self, now: Instant) {
        let waits = match self.poll_watch.probe {
            Probe::Wanted => true,
            Probe::Sent(at) => now.saturating_duration_since(at) < PROBE,
            Probe::Idle | Probe::Answered => false,
        };
        if !self.poll_watch.warns || waits {
            return;
        }
        self.poll_watch.warns = false;
        // The application may have polled at the last moment: then there is nothing to warn of any more.
        let Some(since) = self.poll_watch.since else { return };
        let limit = self.config.max_poll_interval;
        let (since_poll, stall) = self.diagnose(now, since, limit / 5 * 4);
        tracing::warn!(?since_poll, ?limit, %stall, "max.poll.interval.ms is near, and poll is not called");
        self.reporter.report(|| Event::PollIntervalWarning { since_poll, limit, stall });
    }

    /// `max.poll.interval.ms` has passed: the event to report.
    pub(super) fn on_poll_interval_exceeded(&mut self, now: Instant) -> Event {
        let limit = self.config.max_poll_interval;
        let since = self.poll_watch.since.or(self.polled).or_else(|| now.checked_sub(limit)).unwrap_or(now);
        // A pending warning is obsolete.
        self.poll_watch.warns = false;
        let (since_poll, stall) = self.diagnose(now, since, limit);
        tracing::warn!(?since_poll, ?limit, %stall, "poll was not called for max.poll.interval.ms: leaving the group");
        let event = Event::PollIntervalExceeded { since_poll, limit, stall };
        self.reporter.report(|| event.clone());
        event
    }

    /// How long the application has not polled, and why it has not for `limit`.
    fn diagnose(&self, now: Instant, since: Instant, limit: Duration) -> (Duration, Stall) {
        let silent = now.saturating_duration_since(since);
        let gap = self.poll_watch.gap;
        let stall = if !gap.is_zero() && silent.saturating_sub(gap) < limit {
            if self.poll_watch.own_thread { Stall::Stopped { gap } } else { Stall::Blocked }
        } else {
            match (self.shared.application(), self.poll_watch.probe) {
                (Application::Never, _) => Stall::NeverPolled,
                (Application::Woken(_), _) => Stall::Starved,
                (Application::Running(_), _) => Stall::Blocked,
                (_, Probe::Sent(at)) if now.saturating_duration_since(at) >= PROBE => Stall::Blocked,
                (Application::Away(_) | Application::Waiting, _) => Stall::Handler,
            }
        };
        (silent, stall)
    }
}
