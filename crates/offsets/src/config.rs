//! The configuration of [`Offsets`](crate::Offsets), and the places where a partition can start.

use std::time::{Duration, Instant};

use offtake_machine::{BackoffConfig, IsolationLevel, Position};

use crate::OffsetAndMetadata;

/// How offsets are looked up and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.id`. Without one nothing is committed, and the policy decides where to start.
    pub group: Option<String>,
    /// `auto.offset.reset`.
    pub reset: ResetPolicy,
    /// `isolation.level`. Under `read_committed` the end of a log is its last stable offset.
    pub isolation: IsolationLevel,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub backoff: BackoffConfig,
    /// One moment on both clocks, the second in milliseconds since 1970, from which
    /// [`ResetPolicy::ByDuration`] counts until [`set_wall_clock`](crate::Offsets::set_wall_clock) replaces
    /// it.
    pub wall: (Instant, i64),
    /// The seed of the jitter in backoffs.
    pub seed: u64,
}

impl Config {
    /// `ago` before `now`, in milliseconds since 1970.
    pub(crate) fn millis_before(&self, now: Instant, ago: Duration) -> i64 {
        let (then, wall) = self.wall;
        let since = millis(now.saturating_duration_since(then));
        wall.saturating_add(since).saturating_sub(millis(ago)).max(0)
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Where to start if nothing is committed, or if the position is not in the log: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    /// At the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// Nowhere. The application decides.
    None,
    /// At the first record that is at most this old (KIP-1106).
    ByDuration(Duration),
}

/// Where a partition starts, or continues after a seek.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartAt {
    /// At the committed offset; without one, according to `auto.offset.reset`.
    Committed,
    /// At the committed offset; without one, at this place. [`committed_or`](Self::committed_or) creates it.
    CommittedOr(Box<Self>),
    /// According to `auto.offset.reset`, even if an offset is committed.
    Policy,
    /// At this position; [`offset`](Self::offset) creates it. With a leader epoch it is first validated
    /// against the leader's log (KIP-320).
    Offset(Position),
    /// At the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// At the first record with this timestamp (milliseconds since 1970) or a later one; at the end if there is none.
    Timestamp(i64),
    /// This many offsets before the end, or at the first record if there are fewer.
    BeforeEnd(u64),
}

/// A place in a log that does not depend on a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartPlace {
    Policy,
    Offset(Position),
    Earliest,
    Latest,
    Timestamp(i64),
    BeforeEnd(u64),
}

impl From<i64> for StartAt {
    fn from(offset: i64) -> Self {
        Self::Offset(Position::at(offset))
    }
}

impl From<Position> for StartAt {
    fn from(position: Position) -> Self {
        Self::Offset(position)
    }
}

/// The committed offset, with its leader epoch.
impl From<OffsetAndMetadata> for StartAt {
    fn from(committed: OffsetAndMetadata) -> Self {
        Self::Offset(committed.position())
    }
}

impl From<&OffsetAndMetadata> for StartAt {
    fn from(committed: &OffsetAndMetadata) -> Self {
        Self::Offset(committed.position())
    }
}

impl StartAt {
    /// Starts at this offset, a number or a [`Position`].
    pub fn offset(at: impl Into<Position>) -> Self {
        Self::Offset(at.into())
    }

    /// Starts at the committed offset; without one, at `otherwise`.
    pub fn committed_or(otherwise: impl Into<Self>) -> Self {
        Self::CommittedOr(Box::new(otherwise.into()))
    }

    /// Whether the committed offset is looked up first, and the place otherwise.
    pub(crate) fn parts(&self) -> (bool, StartPlace) {
        match self {
            Self::Committed => (true, StartPlace::Policy),
            // The committed offset is looked up only once.
            Self::CommittedOr(otherwise) => (true, otherwise.parts().1),
            Self::Policy => (false, StartPlace::Policy),
            Self::Offset(position) => (false, StartPlace::Offset(*position)),
            Self::Earliest => (false, StartPlace::Earliest),
            Self::Latest => (false, StartPlace::Latest),
            Self::Timestamp(at) => (false, StartPlace::Timestamp(*at)),
            Self::BeforeEnd(records) => (false, StartPlace::BeforeEnd(*records)),
        }
    }
}
