//! The served state: the last report, and the state of the rounds.

use std::sync::Arc;

use offtake_lag::Report;

/// The number of rounds without a report after which the last report is too old for `/metrics`.
const STALE_AFTER: u32 = 3;

/// The state of the monitor after a round. Connections get it as a snapshot.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last report; `None` before the first.
    pub report: Option<Arc<Report>>,
    /// The error of the last round, or the notice that the present one is late.
    pub failure: Option<String>,
    /// Rounds that ended with a report.
    pub rounds: u64,
    /// Rounds that ended without one.
    pub failed_rounds: u64,
    /// The duration of the last round with a report, in seconds.
    pub round_seconds: f64,
    /// The number of rounds without a report since the last one with a report.
    failed_since: u32,
}

impl View {
    /// The cluster's name in labels: the configured one, otherwise its id.
    pub(crate) fn cluster<'a>(&'a self, given: Option<&'a str>) -> &'a str {
        given.or_else(|| self.report.as_ref()?.cluster.as_deref()).unwrap_or("")
    }

    /// Whether the last round ended with a report.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report.is_some() && self.failure.is_none()
    }

    /// The last report, unless it is too old to represent the present.
    #[must_use]
    pub fn fresh(&self) -> Option<&Arc<Report>> {
        self.report.as_ref().filter(|_| self.failed_since < STALE_AFTER)
    }

    pub(crate) fn on_report(&mut self, report: Arc<Report>, seconds: f64) {
        self.report = Some(report);
        self.failure = None;
        self.rounds += 1;
        self.round_seconds = seconds;
        self.failed_since = 0;
    }

    pub(crate) fn on_failure(&mut self, failure: String) {
        self.failure = Some(failure);
        self.failed_rounds += 1;
        self.failed_since = self.failed_since.saturating_add(1);
    }

    /// Notes that a round takes too long; its result is not known yet.
    pub(crate) fn on_delay(&mut self, failure: String) {
        self.failure = Some(failure);
        self.failed_since = STALE_AFTER;
    }
}
