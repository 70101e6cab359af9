//! What is served: the last report, and how its making goes.

use std::sync::Arc;

use offtake_lag::Report;

/// So many rounds without an answer make what is known too old for `/metrics`.
const STALE_AFTER: u32 = 3;

/// What the monitor knows after a round. Connections have it as a snapshot.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last report; `None` before the first.
    pub report: Option<Arc<Report>>,
    /// What the last round failed with, or the first that has not ended in time.
    pub failure: Option<String>,
    /// Rounds that ended with a report.
    pub rounds: u64,
    /// Rounds that ended without one.
    pub failed_rounds: u64,
    /// How long the last round took that ended with a report, in seconds.
    pub round_seconds: f64,
    /// Rounds without a report since the last one with it.
    failed_since: u32,
}

impl View {
    /// The cluster's name in labels: the one that was given, else its id.
    pub(crate) fn cluster<'a>(&'a self, given: Option<&'a str>) -> &'a str {
        given.or_else(|| self.report.as_ref()?.cluster.as_deref()).unwrap_or("")
    }

    /// Whether the last round ended with a report.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report.is_some() && self.failure.is_none()
    }

    /// The last report, unless it is too old to be taken for the present.
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

    /// A round takes too long: what it will end with is not known yet.
    pub(crate) fn on_delay(&mut self, failure: String) {
        self.failure = Some(failure);
        self.failed_since = STALE_AFTER;
    }
}
