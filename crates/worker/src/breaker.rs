//! [`Breaker`]: a circuit breaker, which stops attempts for a while.

use std::{fmt, time::Duration};

/// Opens when too many attempts fail. A service that is down is then not called for every record, and the records do not all
/// become dead letters.
///
/// While the breaker is open, nothing is handled and nothing is fetched; polling and the membership go on. After a pause a few
/// records are tried, one after the other; their failures do not count as attempts. When enough of these probes have succeeded,
/// the breaker closes. If one fails, the breaker opens for another pause and then counts from zero, unless that record had failed
/// before: the record itself may be at fault, so the successes of other records still count. Such a record finally becomes a dead
/// letter, because attempts count again once the breaker is closed. While the breaker is open, a record becomes a dead letter
/// only if its handler returns poison.
///
/// The breaker counts the last outcomes: the failures that can be retried (also panics and timeouts) against all others. Poison
/// does not count as a failure here.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    pub(crate) share: f64,
    pub(crate) window: usize,
    pub(crate) pause: Duration,
    pub(crate) probes: usize,
}

/// The minimum pause, so that a service that is down is not called at full speed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

impl Breaker {
    /// Opens when this share of the last outcomes are failures: above 0, and at most 1; anything else is refused when the worker
    /// starts. By default the last 100 outcomes count, the pause is 30 s, and 3 probes follow.
    ///
    /// While the breaker is not closed, a failure does not count as an attempt: [`Attempt::number`](crate::Attempt::number) does
    /// not rise, and no record runs out of attempts. A record that can never be handled should fail as
    /// [poison](crate::Failure::poison). Otherwise it keeps the breaker open until as many other records as there are
    /// [probes](Self::probes) have arrived and succeeded. A probe is a record that has never failed, if there is one: the worker
    /// reads on until it finds one. Records that have failed are tried in turn.
    pub fn open_at(share: f64) -> Self {
        Self { share, window: 100, pause: Duration::from_secs(30), probes: 3 }
    }

    /// Sets the number of outcomes that count; with fewer outcomes, the breaker does not open. 0 is refused when the worker
    /// starts, and so is 1: then every failure would open the breaker, none would count as an attempt, and a record that always
    /// fails would be tried for ever.
    #[must_use]
    pub fn of_last(self, outcomes: usize) -> Self {
        Self { window: outcomes, ..self }
    }

    /// Sets how long the breaker stays open before it probes. Less than 10 ms counts as 10 ms.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause: pause.max(SHORTEST_PAUSE), ..self }
    }

    /// Sets how many records must be handled before the breaker closes. They are tried one after the other, and records that had
    /// failed before may fail again in between. Default: 3. 0 is refused when the worker starts.
    #[must_use]
    pub fn probes(self, probes: usize) -> Self {
        Self { probes, ..self }
    }
}

/// The state of a [`Breaker`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything is let through.
    #[default]
    Closed,
    /// Nothing is let through.
    Open,
    /// One record at a time is let through, as a probe.
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
