//! The severity of a lag, by thresholds that can be set per group.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The severity of a lag in seconds. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Below the warning threshold, or unknown.
    #[default]
    Healthy,
    /// Someone should look when there is time.
    Warning,
    /// The second line should be alerted.
    High,
    /// Someone should be alerted at once.
    Critical,
    /// Records are being lost, or are about to be.
    DataLoss,
}

impl Severity {
    /// The machine-readable name: `healthy`, `data_loss`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::High => "high",
            Self::Critical => "critical",
            Self::DataLoss => "data_loss",
        }
    }
}

/// The thresholds of severities, for the lag of a partition in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// The lag from which it is a [`Warning`](Severity::Warning). Default: 10 s.
    pub warning: Duration,
    /// The lag from which it is [`High`](Severity::High). Default: 1 min.
    pub high: Duration,
    /// The lag from which it is [`Critical`](Severity::Critical). Default: 5 min.
    pub critical: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            warning: Duration::from_secs(10),
            high: Duration::from_secs(60),
            critical: Duration::from_secs(300),
        }
    }
}

impl Thresholds {
    /// The severity of this lag in seconds.
    #[must_use]
    pub fn severity(&self, lag_seconds: f64) -> Severity {
        let reached = |threshold: Duration| lag_seconds >= threshold.as_secs_f64();
        if reached(self.critical) {
            Severity::Critical
        } else if reached(self.high) {
            Severity::High
        } else if reached(self.warning) {
            Severity::Warning
        } else {
            Severity::Healthy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_as_bad_as_the_highest_threshold_that_it_reaches() {
        let thresholds = Thresholds::default();
        let severities =
            [0.0, 9.9, 10.0, 59.9, 60.0, 299.9, 300.0, f64::INFINITY].map(|lag| thresholds.severity(lag));
        use Severity::{Critical, Healthy, High, Warning};
        assert_eq!(severities, [Healthy, Healthy, Warning, Warning, High, High, Critical, Critical]);
        assert_eq!(thresholds.severity(f64::NAN), Healthy);
    }

    #[test]
    fn the_names_are_those_that_are_serialized() {
        use Severity::{Critical, DataLoss, Healthy, High, Warning};
        for severity in [Healthy, Warning, High, Critical, DataLoss] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.name());
        }
    }
}
