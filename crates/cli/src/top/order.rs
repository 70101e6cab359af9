//! The orders that rows may be in.

use std::cmp::Ordering;

use offtake_lag::{GroupReport, PartitionReport};

/// The sort key of rows: the worst or largest first, names in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Status,
    Lag,
    Seconds,
    Name,
}

impl Order {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Status => Self::Lag,
            Self::Lag => Self::Seconds,
            Self::Seconds => Self::Name,
            Self::Name => Self::Status,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Lag => "lag",
            Self::Seconds => "behind",
            Self::Name => "name",
        }
    }

    pub(super) fn groups(self, left: &GroupReport, right: &GroupReport) -> Ordering {
        let by_name = || left.group.cmp(&right.group);
        let by_lag = || right.lag.cmp(&left.lag);
        match self {
            Self::Status => right.status.cmp(&left.status).then_with(by_lag).then_with(by_name),
            Self::Lag => by_lag().then_with(by_name),
            Self::Seconds => seconds(right.lag_seconds, left.lag_seconds).then_with(by_name),
            Self::Name => by_name(),
        }
    }

    pub(super) fn partitions(self, left: &PartitionReport, right: &PartitionReport) -> Ordering {
        let by_name = || (&left.topic, left.partition).cmp(&(&right.topic, right.partition));
        let by_lag = || right.lag.cmp(&left.lag);
        match self {
            Self::Status => right.status.cmp(&left.status).then_with(by_lag).then_with(by_name),
            Self::Lag => by_lag().then_with(by_name),
            Self::Seconds => seconds(right.lag_seconds, left.lag_seconds).then_with(by_name),
            Self::Name => by_name(),
        }
    }
}

/// An unknown value is less than any other.
fn seconds(left: Option<f64>, right: Option<f64>) -> Ordering {
    left.unwrap_or(-1.0).total_cmp(&right.unwrap_or(-1.0))
}
