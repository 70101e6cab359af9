//! [`Breaker`]: when to stop trying for a while.

use std::{fmt, time::Duration};

/// Opens when too many attempts fail, so that a service that is down is not tried with every record, and its records are not all dead-lettered.
///
/// While it is open nothing is handled and nothing is fetched; membership and polling go on. After a pause a few records are tried, one
/// after the other; their failures are not counted as attempts. When enough have succeeded it closes, and if one fails it is open for another pause. Then it begins to count anew,
/// unless that record had failed before: it may be its own fault, and where others succeed in between it ends in the dead letters, as attempts count
/// again once the breaker is closed. No record is dead-lettered while it is open unless its handler says that it is poison.
///
/// Counted are the last outcomes: failures that can be retried (panics and timeouts too) against all others. Poison is no failure here.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    pub(crate) share: f64,
    pub(crate) window: usize,
    pub(crate) pause: Duration,
    pub(crate) probes: usize,
}

/// A service that is down is not asked as fast as one can.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

impl Breaker {
    /// Opens when this share of the last outcomes are failures: above 0, and 1 at most; anything else is refused when the worker starts.
    /// Of the last 100, for 30 s, then 3 probes, unless said otherwise.
    ///
    /// While it is not closed a failure is no attempt: [`Attempt::number`](crate::Attempt::number) does not rise, and no record runs out of attempts. One that
    /// can never be handled should be [poison](crate::Failure::poison), as it keeps the breaker open otherwise, until so many others as there are
    /// [probes](Self::probes) have come and succeeded. A probe is a record that has never failed, if there is one: reading goes on until there is. Those that have failed are
    /// tried in turn.
    pub fn open_at(share: f64) -> Self {
        Self { share, window: 100, pause: Duration::from_secs(30), probes: 3 }
    }

    /// So many outcomes are looked at; with fewer it does not open. 0 is refused when the worker starts, and so is 1: every failure would open it, so that none would
    /// count as an attempt, and a record that always fails would be tried for ever.
    #[must_use]
    pub fn of_last(self, outcomes: usize) -> Self {
        Self { window: outcomes, ..self }
    }

    /// How long it stays open before it tries. Less than 10 ms counts as 10 ms.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause: pause.max(SHORTEST_PAUSE), ..self }
    }

    /// How many records must be handled before it closes, tried one after the other: of those that have failed before, others may fail in between. Default: 3. 0 is refused
    /// when the worker starts.
    #[must_use]
    pub fn probes(self, probes: usize) -> Self {
        Self { probes, ..self }
    }
}

/// What a [`Breaker`] lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything.
    #[default]
    Closed,
    /// Nothing.
    Open,
    /// A record at a time, to see how it goes.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    /// `closed`, `open`, `half-open`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}
